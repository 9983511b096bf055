//! A body of as many bytes as its route takes becomes longer at the gateway, and passes: Envoy has room for what is added.

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::gateway::{Gateway, free_address};
use crate::stand_in::{StandIn, json as answer};

const JSON: (&str, &str) = ("content-type", "application/json");

/// The most that each route takes.
const MOST: usize = 1 << 20;

/// How the agent calls a model.
const LONG_NAME: &str = "deployments/of-the-north/a-model-that-is-called-short-elsewhere";

#[tokio::test]
async fn a_body_in_which_members_are_set_may_become_longer_than_its_route_takes() {
    let route =
        "agents: [plain], request: {body: {set: {/added: '{route}, and more of it', /number: 7}}}";
    grows(
        route,
        &json!({"added": "/grown, and more of it", "number": 7}),
    )
    .await;
}

#[tokio::test]
async fn so_may_one_whose_model_has_a_longer_name() {
    let route = "agents: [named], collect_body: true";
    grows(route, &json!({"model": LONG_NAME})).await;
}

/// `changes`: what an agent gets of a body that goes by this route.
async fn grows(route: &str, changes: &Value) {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = StandIn::start(|_| answer(200, "{}")).await;
    let [listen, operations] = [(); 2].map(|()| free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
agents:
  plain: {{url: 'http://{address}'}}
  named: {{url: 'http://{address}', models: [{{model: short, as: {LONG_NAME}}}]}}
routes:
  - {{prefix: /grown, auth_required: false, max_body: 1MiB, {route}}}
",
        address = agent.address,
    );
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let caller = Caller::of(listen);
    let body = |user: &str| json!({"model": "short", "user": user}).to_string();
    let body = body(&"x".repeat(MOST - body("").len()));
    assert_eq!(body.len(), MOST);
    let mut changed: Value = serde_json::from_str(&body).expect("JSON");
    for (name, value) in changes.as_object().expect("an object") {
        changed[name] = value.clone();
    }

    for caller in [caller.clone(), caller.http2()] {
        let answer = caller.post("/grown", &[JSON], &body).await;

        assert_eq!(answer.status, 200, "{answer:?}");
        let came = &agent.came()[0].body;
        assert!(came.len() > MOST, "{}", came.len());
        let came: Value = serde_json::from_slice(came).expect("JSON");
        assert!(came == changed, "it is another body");
        // One byte more is too many, of what its caller sends.
        let refused = caller.post("/grown", &[JSON], &format!("{body} ")).await;
        assert_eq!(refused.status, 413, "{refused:?}");
        assert_eq!(refused.json()["error"]["code"], "body_too_large");
        assert_eq!(agent.came().len(), 0);
    }
}
