use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config;
use crate::host::HeaderBlock;

/// A policy with one route, which has these rules.
fn policy(rules: &Value) -> Policy {
    let agents = json!({"a": {"cluster": "a"}, "b": {"cluster": "b"}, "c": {"cluster": "c"}});
    let route = json!({"prefix": "/", "agents": ["c"], "auth_required": false, "rules": rules, "max_scan": "1KiB"});
    let document = json!({"agents": agents, "routes": [route], "plans": {"gold": {}}});
    config::read(&document).unwrap_or_else(|faults| panic!("{faults}"))
}

/// A request to `/` by nobody in particular.
fn head(headers: &HeaderBlock) -> Head<'_> {
    Head {
        method: b"POST",
        authority: None,
        headers,
        path: b"/",
        plan: None,
        team: None,
        roles: &[],
        tool: None,
        model: None,
    }
}

/// What a request comes to whose body arrives in these pieces; `whole`: no more comes.
fn decided(policy: &Policy, pieces: &[&[u8]], whole: bool) -> Result<String, BadBody> {
    let route = &policy.routes[0];
    let rules = Rules::new(policy, route).expect("rules");
    let headers = HeaderBlock::default();
    let wanted = rules.wanted().expect("something of the body");
    let mut content = Content::new(wanted, &headers, None);
    let head = head(&headers);
    let mut decision = String::new();
    for (index, piece) in pieces.iter().enumerate() {
        content.feed(piece);
        if whole && index + 1 == pieces.len() {
            content.end();
        }
        let found = rules.decide(&route.rules, policy, &head, Some(&content))?;
        decision = match found {
            Decision::Rule(rule) => return Ok(rule.name.clone()),
            Decision::NoRule => return Ok("none".to_owned()),
            Decision::Wait => "wait".to_owned(),
        };
    }
    Ok(decision)
}

#[test]
fn a_rule_is_met_as_soon_as_the_body_has_said_so() {
    let policy = policy(&json!([
        {"name": "gpt", "match": {"model": "gpt-4*"}, "agents": ["a"]},
        {"name": "big", "match": {"size": {"from": "1KiB"}}, "agents": ["b"], "otherwise": "skip"},
    ]));
    for (pieces, expected) in [
        (&["{\"model\": \"gpt-4o\""][..], "gpt"),
        (&["{\"mod", "el\": \"gpt-4o\", \"user\": \""], "gpt"),
        (&["{\"model\": \"gpt-4o"], "wait"),
        (&["{\"model\": \"other\","], "wait"),
        (&["{\"other\": "], "wait"),
    ] {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        assert_eq!(
            decided(&policy, &pieces, false).as_deref(),
            Ok(expected),
            "{pieces:?}"
        );
    }
}

/// However a body is split, it decides the same: also where it is longer than what is read.
#[test]
fn pieces_decide_nothing() {
    let policy = policy(&json!([
        {"name": "gpt", "match": {"model": "gpt-4*"}, "agents": ["a"], "otherwise": "skip"},
        {"name": "gold", "match": {"body": {"/m/tier": "gold"}}, "agents": ["b"], "otherwise": "take"},
    ]));
    proptest!(|(before in 0usize..1100, between in 0usize..200, tier in "gold|lead", cuts in prop::collection::vec(0usize..1500, 0..6))| {
        let (before, between) = ("x".repeat(before), "y".repeat(between));
        let body = format!(r#"{{"m": {{"tier": "{tier}"}}, "x": "{before}", "model": "gpt-4", "y": "{between}"}}"#);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
        cuts.sort_unstable();
        cuts.push(body.len());
        let mut start = 0;
        let pieces: Vec<&[u8]> = cuts.iter().map(|cut| {
            let piece = &body.as_bytes()[start..*cut];
            start = *cut;
            piece
        }).collect();
        let whole = decided(&policy, &[body.as_bytes()], true);
        prop_assert_eq!(decided(&policy, &pieces, true), whole);
    });
}

/// What cannot be read has a size all the same.
#[test]
fn a_body_of_another_type_is_as_large_as_it_is() {
    let policy = policy(&json!([
        {"name": "big", "match": {"size": {"from": "1KiB"}}, "agents": ["a"], "otherwise": "skip"},
        {"name": "small", "match": {"size": {"below": "100B"}}, "agents": ["b"], "otherwise": "skip"},
    ]));
    let route = &policy.routes[0];
    let rules = Rules::new(&policy, route).expect("rules");
    let headers = HeaderBlock::from_pairs(&[("content-type", "application/octet-stream")]);
    let head = head(&headers);
    for (size, expected) in [
        (99, "small"),
        (100, "none"),
        (1023, "none"),
        (1024, "big"),
        (5000, "big"),
    ] {
        let wanted = rules.wanted().expect("something of the body");
        let mut content = Content::new(wanted, &headers, None);
        content.pass(size);
        content.end();
        let found = match rules.decide(&route.rules, &policy, &head, Some(&content)) {
            Ok(Decision::Rule(rule)) => rule.name.clone(),
            Ok(Decision::NoRule) => "none".to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected, "{size}");
    }
}
