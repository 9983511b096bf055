//! The filter in an agent's own sidecar, live: the inbound listener that Istio generates for the pod, patched.

use serde_json::json;

use crate::generated;
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
