//! Members whose pointers are alike, by the case of a letter or by their beginning: each rule takes what it names, and that alone.

use serde_json::{Value, json};

use super::post;
use crate::harness::{Shape, World};

/// By members whose names begin alike, or stand elsewhere.
const ALIKE: &str = "/ruled/alike";
/// By members that lie in one another, and by whether a stream is asked for.
const WITHIN: &str = "/ruled/within";
/// By members whose names have a capital, and by the same without it.
const UPPER: &str = "/ruled/upper";
const LOWER: &str = "/ruled/lower";

pub(super) async fn each_rule_takes_what_it_names(world: &World) {
    for (path, body, agent) in [
        (ALIKE, r#"{"tier": "x"}"#, "tools"),
        (ALIKE, r#"{"tie": "x"}"#, "rag"),
        (ALIKE, r#"{"tiers": "x"}"#, "chat-cpu"),
        (ALIKE, r#"{"metadata": {"tier": "x"}}"#, "chat-gpu"),
        (
            ALIKE,
            r#"{"metadata": {"tie": "x", "tiers": "x"}}"#,
            "memory",
        ),
        (
            ALIKE,
            r#"{"metadata": {"metadata": {"tier": "x"}}}"#,
            "memory",
        ),
        (
            ALIKE,
            r#"{"metadata/tier": "x", "ti": "x", "": "x"}"#,
            "memory",
        ),
        (WITHIN, r#"{"metadata": "x"}"#, "tools"),
        (WITHIN, r#"{"metadata": {"tier": "x"}}"#, "rag"),
        (WITHIN, r#"{"metadata": {"tier": {"tier": "x"}}}"#, "memory"),
        (WITHIN, r#"{"stream": true}"#, "chat-cpu"),
        (WITHIN, r#"{"streams": true}"#, "chat-gpu"),
        (
            WITHIN,
            r#"{"a": {"stream": true}, "strea": true}"#,
            "memory",
        ),
        (UPPER, r#"{"metadata": {"Tier": "x"}}"#, "tools"),
        (UPPER, r#"{"Tier": "x", "tier": "x"}"#, "memory"),
        (UPPER, r#"{"Stream": true}"#, "rag"),
        (LOWER, r#"{"metadata": {"tier": "x"}}"#, "tools"),
        (LOWER, r#"{"Tier": "x", "tier": "x"}"#, "memory"),
        (LOWER, r#"{"stream": true}"#, "rag"),
    ] {
        for shape in [Shape::WithLength, Shape::Http2] {
            let echo = shape.send(post(world, path), body.into()).await.echo();
            assert_eq!(echo.agent, agent, "{path} {shape:?} {body}");
        }
    }
    // What some agents would take for the named one is no other member.
    for (path, body) in [
        (UPPER, r#"{"metadata": {"tier": "x"}}"#),
        (UPPER, r#"{"stream": true}"#),
        (LOWER, r#"{"metadata": {"Tier": "x"}}"#),
        (LOWER, r#"{"metadata": {"tier": "other", "Tier": "x"}}"#),
        (LOWER, r#"{"Stream": true}"#),
    ] {
        for shape in [Shape::WithLength, Shape::Http2] {
            let refused = shape.send(post(world, path), body.into()).await;
            let said = (400, "bad_body".to_owned());
            assert_eq!(refused.refused(), said, "{path} {shape:?} {body}");
        }
    }
}

/// A route of which one rule asks for the capital and another does not is not taken, and what was so goes on.
pub(super) async fn no_route_tells_them_apart(world: &mut World) {
    for (beside, more) in [
        (UPPER, json!({"body": {"/metadata/tier": "x"}})),
        (UPPER, json!({"stream": true})),
        (LOWER, json!({"body": {"/Stream": true}})),
        (LOWER, json!({"body": {"/Metadata/tier/of": "x"}})),
    ] {
        let taken = world
            .offer(|configuration| {
                let mut routes = configuration["routes"]
                    .as_array_mut()
                    .expect("routes")
                    .iter_mut();
                let route = routes.find(|route| route["prefix"] == beside).expect("it");
                let rules = route["rules"].as_array_mut().expect("rules");
                rules.push(json!({"match": more, "agents": ["memory"]}));
            })
            .await;
        assert!(!taken, "{beside} {more}");
    }
    each_rule_takes_what_it_names(world).await;
}

pub(super) fn routes() -> Vec<Value> {
    let rule = |conditions: Value, agent: &str| json!({"match": conditions, "agents": [agent]});
    let member = |pointer: &str, agent: &str| rule(json!({"body": {pointer: "x"}}), agent);
    let flag = |pointer: &str, agent: &str| rule(json!({"body": {pointer: true}}), agent);
    vec![
        json!({"prefix": ALIKE, "agents": ["memory"], "rules": [
            member("/tier", "tools"),
            member("/tie", "rag"),
            member("/tiers", "chat-cpu"),
            member("/metadata/tier", "chat-gpu"),
        ]}),
        json!({"prefix": WITHIN, "agents": ["memory"], "rules": [
            member("/metadata", "tools"),
            member("/metadata/tier", "rag"),
            rule(json!({"stream": true}), "chat-cpu"),
            flag("/streams", "chat-gpu"),
        ]}),
        json!({"prefix": UPPER, "agents": ["memory"], "rules": [
            member("/metadata/Tier", "tools"),
            flag("/Stream", "rag"),
        ]}),
        json!({"prefix": LOWER, "agents": ["memory"], "rules": [
            member("/metadata/tier", "tools"),
            rule(json!({"stream": true}), "rag"),
        ]}),
    ]
}
