//! The filter in an agent's own sidecar, live: the inbound listener that Istio generates for the pod, patched.

use serde_json::json;

use crate::generated;
use crate::harness::{World, eventually};
use crate::manifests::Manifests;
use crate::patch::{EnvoyFilter, Generated, apply};
use crate::render;

fn patched() -> Generated {
    let manifests = Manifests::of("sidecar");
    let mut generated = generated::sidecar();
    let filter = EnvoyFilter::from_manifest(manifests.get("EnvoyFilter", "waykeeper-chat-gpu"))
        .expect("patches that are modelled");
    let unused = apply(&[filter], &mut generated).expect("patches for this pod");
    assert_eq!(unused, [""; 0], "each patch finds what it is for");
    generated
}

#[test]
fn other_ports_of_the_pod_are_left_alone() {
    let (before, after) = (generated::sidecar(), patched());
    let chain = |of: &Generated, index: usize| of.listeners[0]["filter_chains"][index].clone();
    assert_ne!(chain(&after, 0), chain(&before, 0));
    assert_eq!(chain(&after, 1), chain(&before, 1));
    assert_ne!(after.routes[0], before.routes[0]);
    assert_eq!(after.routes[1], before.routes[1]);
}

#[tokio::test]
async fn the_application_answers_who_has_a_key() {
    let world = render::start(&patched(), None).await;
    let chat = "/v1/chat/completions";
    assert_eq!(
        world.post(chat).send().await.refused(),
        (401, "missing_key".to_owned())
    );
    let answer = world.post(chat).key("demo-standard").send().await;
    assert_eq!(answer.json()["system_fingerprint"], "chat-gpu");
    let unknown = world.get("/metrics").key("demo-standard").send().await;
    assert_eq!(unknown.refused(), (404, "no_route".to_owned()));
    let underscore = world
        .post(chat)
        .key("demo-standard")
        .header("x_waykeeper_client", "me")
        .send()
        .await;
    assert_eq!(underscore.refused(), (400, "bad_request".to_owned()));
    assert_eq!(world.get("/healthz").send().await.status, 200);
    // Whom a gateway before it has let in, without the key that it took: see behind-gateway.yaml.
    let handed_on = world.post(chat).header("x-waykeeper-client", "acme");
    assert_eq!(
        handed_on.send().await.refused(),
        (401, "missing_key".to_owned())
    );
}

#[tokio::test]
async fn without_the_filter_s_decision_the_application_is_closed() {
    let mut generated = patched();
    let filters = &mut generated.listeners[0]["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"];
    let filters = filters.as_array_mut().expect("filters");
    filters.retain(|filter| filter["name"] != json!("waykeeper-chat-gpu"));
    generated.extensions.clear();
    let world = render::start(&generated, None).await;
    assert_eq!(world.post("/v1/chat/completions").send().await.status, 503);
}

/// What a pod is like whose module was not there when its proxy started: closed, and seen to be so by whoever asks through
/// the filter, as the README tells.
#[tokio::test]
async fn a_pod_without_its_module_answers_500_until_its_configuration_comes_again() {
    let generated = patched();
    let mut whole = None;
    let world = World::try_with(|draft| {
        let log = draft.connection_manager()["access_log"].clone();
        render::install(draft, &generated, None);
        draft.connection_manager()["access_log"] = log;
        whole = Some(draft.setup.filter.clone());
        let file = "/resources/0/typed_config/config/vm_config/code/local/filename";
        let document = draft.setup.filter.document_mut();
        *document.pointer_mut(file).expect("the module") =
            json!("/var/lib/waykeeper/waykeeper.wasm");
    })
    .await
    .expect("Envoy starts all the same");

    let answer = world.post("/v1/chat/completions").key("demo-standard");
    assert_eq!(answer.send().await.status, 500);
    let health = world.get("/healthz").send().await;
    assert_eq!(health.status, 500, "what a probe through the proxy sees");
    assert_eq!(world.access_log(&health).await["flags"], "NFCF");
    let failed = "extension_config_discovery.http_filter.waykeeper.config_fail";
    let stats = world.gateway().admin().get("/stats").await.expect("stats");
    assert!(stats.contains(&format!("{failed}: 1\n")), "{stats}");
    let log = world.gateway().envoy_log();
    let line = "Invalid path: /var/lib/waykeeper/waykeeper.wasm";
    assert!(log.contains(line), "{log}");

    world
        .gateway()
        .reconfigure(&whole.expect("the configuration"))
        .expect("write");
    eventually("the filter", || async {
        (world.get("/healthz").send().await.status == 200).then_some(())
    })
    .await;
    let answer = world.post("/v1/chat/completions").send().await;
    assert_eq!(answer.refused(), (401, "missing_key".to_owned()));
}
