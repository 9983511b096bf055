//! Runs what Istio would send to a proxy: static resources in place of its discovery services, the demo's services in
//! place of the cluster's, another address to listen on. Everything else stays as it was generated and patched.

use serde_json::{Value, json};
use waykeeper_demo::stack::AGENTS;

use crate::harness::{Draft, World};
use crate::patch::Generated;
use crate::resources::{FILTER, cluster, listener};

/// Starts Envoy with what was generated for a gateway or a sidecar.
pub(crate) async fn start(generated: &Generated, stats_config: Option<Value>) -> World {
    World::with(|draft| install(draft, generated, stats_config)).await
}

/// Puts it into a draft of the reference, of which remain the admin interface and the listener for operators.
pub(crate) fn install(draft: &mut Draft, generated: &Generated, stats_config: Option<Value>) {
    let document = draft.setup.bootstrap.document_mut();
    let resources = &mut document["static_resources"];
    let gateway = named(&mut resources["listeners"], "gateway");
    *gateway = listener(generated, gateway["address"].take());
    let is_admin = |cluster: &&Value| cluster["name"] == "waykeeper/admin";
    let admin = resources["clusters"]
        .as_array()
        .and_then(|clusters| clusters.iter().find(is_admin))
        .cloned();
    let clusters = generated.clusters.iter().map(cluster).chain(admin);
    resources["clusters"] = clusters.collect();
    if let Some(stats_config) = stats_config {
        document["stats_config"] = stats_config;
    }
    if let [extension] = generated.extensions.as_slice() {
        let mut extension = extension.clone();
        extension["@type"] = json!("type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig");
        extension["name"] = json!(FILTER);
        let module = draft.setup.filter.document_mut().clone();
        let module =
            module.pointer("/resources/0/typed_config/config/vm_config/code/local/filename");
        let module = module
            .and_then(Value::as_str)
            .expect("the filter's module")
            .to_owned();
        *draft.setup.filter.document_mut() = json!({"resources": [extension]});
        draft
            .setup
            .filter
            .set_module(module.as_ref())
            .expect("a local module");
    } else {
        // A world always has a filter to configure; here it stands in no listener.
        let manager = draft.connection_manager();
        let filters = manager["http_filters"].as_array_mut().expect("filters");
        let place = filters.len() - 1;
        filters.insert(
            place,
            json!({"name": FILTER, "disabled": true, "config_discovery": {
                "config_source": {"resource_api_version": "V3"},
                "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
            }}),
        );
    }
    connect(draft, generated);
}

/// Points the clusters at the services of this world.
fn connect(draft: &mut Draft, generated: &Generated) {
    let auth = draft.services.auth().address();
    let mut hosts = vec![
        ("waykeeper-validator".to_owned(), auth),
        (
            "outbound|8000||auth-service.agents.svc.cluster.local".to_owned(),
            auth,
        ),
    ];
    for (agent, (_, service)) in draft.services.agents().iter().zip(AGENTS) {
        hosts.push((
            format!("outbound|8000||{service}.agents.svc.cluster.local"),
            agent.address(),
        ));
    }
    // In a sidecar the application is the agent itself, `chat-gpu`.
    for port in [8080, 8081, 9090] {
        hosts.push((
            format!("inbound|{port}||"),
            draft.services.agents()[0].address(),
        ));
    }
    for (cluster, address) in hosts {
        if generated.clusters.iter().any(|it| it["name"] == cluster) {
            draft
                .setup
                .bootstrap
                .set_endpoints(&cluster, &[address])
                .expect("a cluster");
        }
    }
}

fn named<'a>(list: &'a mut Value, name: &str) -> &'a mut Value {
    let elements = list.as_array_mut().expect("a list");
    elements
        .iter_mut()
        .find(|it| it["name"] == name)
        .expect("an element of that name")
}
