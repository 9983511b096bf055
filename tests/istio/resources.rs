//! Static resources in place of those that istiod's discovery services would send.

use serde_json::{Value, json};

use crate::patch::Generated;

/// The filter's name where the tests look for it.
pub(crate) const FILTER: &str = "waykeeper";

/// The generated listener (of a sidecar's the chain for port 8080), its routes within it.
pub(crate) fn listener(generated: &Generated, address: Value) -> Value {
    let mut listener = generated.listeners[0].clone();
    listener["name"] = json!("gateway");
    listener["address"] = address;
    let fields = listener.as_object_mut().expect("a message");
    // No packets are redirected here, so none has another destination.
    fields.remove("use_original_dst");
    let chain = &mut fields["filter_chains"][0];
    chain
        .as_object_mut()
        .expect("a message")
        .remove("filter_chain_match");
    let mut chain = chain.take();
    let manager = &mut chain["filters"][0]["typed_config"];

    let manager_fields = manager.as_object_mut().expect("a message");
    let discovery = manager_fields.remove("rds").expect("routes by discovery");
    let is_wanted = |routes: &&Value| routes["name"] == discovery["route_config_name"];
    let routes = generated
        .routes
        .iter()
        .find(is_wanted)
        .expect("the routes that are asked for");
    manager["route_config"] = routes.clone();
    for filter in manager["http_filters"].as_array_mut().into_iter().flatten() {
        let source = filter.pointer_mut("/config_discovery/config_source");
        if let Some(source) = source.and_then(Value::as_object_mut) {
            source.remove("ads").expect("configuration from istiod");
            filter["name"] = json!(FILTER);
        }
    }
    listener["filter_chains"] = json!([chain]);
    listener
}

/// A cluster whose hosts are told at once.
pub(crate) fn cluster(generated: &Value) -> Value {
    let mut cluster = generated.clone();
    cluster
        .as_object_mut()
        .expect("a message")
        .remove("eds_cluster_config");
    if cluster["type"] == "EDS" {
        cluster["type"] = json!("STATIC");
    }
    cluster
}
