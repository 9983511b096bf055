//! Which models callers are told that they may use.

use serde_json::{Value, json};

use super::*;

fn world(endpoint: Value) -> World {
    World::with(|document| {
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        document["clients"]["keys"] =
            json!([{"sha256": hash, "client_id": "acme", "plan": "standard", "roles": ["admin"]}]);
        document["agents"] = json!({"one": {"cluster": "cluster-one", "models": ["a", "b", "c/d", "e\"f"]}, "two": {"cluster": "cluster-two"}});
        document["routes"] = json!([{"prefix": "/v1", "agents": ["one"]}]);
        document["models_endpoint"] = endpoint;
    })
}

impl World {
    /// What is answered. `None`: a route has it.
    fn ask_for_models(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Option<Value> {
        let mut all = vec![("x-api-key", "secret")];
        all.extend(headers);
        self.request(STREAM, method, path, &all);
        let reply = self.stream(STREAM).reply?;
        assert_eq!(reply.details.as_str(), "waykeeper_answered", "{path}");
        Some(serde_json::from_slice(&reply.body).unwrap())
    }
}

#[test]
fn models_are_told_in_two_shapes() {
    let mut world = world(json!({}));
    let model =
        |id: &str| json!({"id": id, "object": "model", "created": 0, "owned_by": "waykeeper"});
    let all = ["a", "b", "c/d", "e\"f"].map(model);
    let told = world.ask_for_models("GET", "/v1/models?x=1", &[]);
    assert_eq!(told, Some(json!({"object": "list", "data": all})));
    for path in ["/v1/models/c%2fd", "/v1/models/c/d"] {
        assert_eq!(world.ask_for_models("GET", path, &[]), Some(model("c/d")));
    }
    let anthropic = [("anthropic-version", "2023-06-01")];
    let model = |id: &str| json!({"type": "model", "id": id, "display_name": id, "created_at": "1970-01-01T00:00:00Z"});
    for (query, ids, more) in [
        ("", &["a", "b", "c/d", "e\"f"][..], false),
        ("?limit=2", &["a", "b"], true),
        ("?limit=2&after_id=b", &["c/d", "e\"f"], false),
        ("?after_id=c%2Fd&limit=1", &["e\"f"], false),
        ("?limit=1&before_id=c/d", &["b"], true),
        ("?before_id=a", &[], false),
        ("?after_id=c/d&before_id=a", &[], false),
    ] {
        let told = world.ask_for_models("GET", &format!("/v1/models{query}"), &anthropic);
        let data: Vec<_> = ids.iter().map(|id| model(id)).collect();
        let expected =
            json!({"data": data, "has_more": more, "first_id": ids.first(), "last_id": ids.last()});
        assert_eq!(told, Some(expected), "{query}");
    }
    let one = world.ask_for_models("GET", "/v1/models/a", &anthropic);
    assert_eq!(one, Some(model("a")));
}

#[test]
fn what_is_no_question_about_models_is_refused_or_left_to_routes() {
    let mut world = self::world(json!({"path": "/v1/list"}));
    for (method, path) in [
        ("POST", "/v1/list"),
        ("GET", "/v1/lists"),
        ("GET", "/v1/models"),
    ] {
        assert_eq!(
            world.ask_for_models(method, path, &[]),
            None,
            "{method} {path}"
        );
        assert_eq!(world.refusal(STREAM), None, "{method} {path}");
    }
    let anthropic = ("anthropic-version", "2023-06-01");
    for (path, headers, code) in [
        (
            "/v1/list/z",
            vec![("x-api-key", "secret")],
            "model_not_found",
        ),
        ("/v1/list/", vec![], "missing_key"),
        (
            "/v1/list",
            vec![("x-api-key", "secret"), ("upgrade", "websocket")],
            "upgrade_not_allowed",
        ),
        (
            "/v1/list?limit=0",
            vec![("x-api-key", "secret"), anthropic],
            "bad_query",
        ),
        (
            "/v1/list?after_id=z",
            vec![("x-api-key", "secret"), anthropic],
            "bad_query",
        ),
        ("/v1/list/../x", vec![("x-api-key", "secret")], "bad_path"),
    ] {
        world.request(StreamId(2), "GET", path, &headers);
        assert_eq!(world.refusal(StreamId(2)).as_deref(), Some(code), "{path}");
    }
}
