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

/// What only some readers would read so decides nothing, and neither does what is longer than what is kept.
#[test]
fn a_value_that_readers_differ_on_is_refused() {
    let policy = policy(&json!([
        {"name": "pro", "match": {"model": "*-pro"}, "agents": ["a"]},
        {"name": "paid", "match": {"body": {"/tier": "paid-*"}}, "agents": ["a"]},
        {"name": "vip", "match": {"body": {"/tier": ["vip", "*-vip"]}}, "agents": ["a"]},
        {"name": "five", "match": {"body": {"/n": 5}}, "agents": ["b"]},
    ]));
    let route = &policy.routes[0];
    let rules = Rules::new(&policy, route).expect("rules");
    let headers = HeaderBlock::default();
    let head = head(&headers);
    let long = "x".repeat(1100);
    for (body, expected) in [
        (json!({"tier": "paid-1"}), Ok("paid")),
        (json!({"tier": format!("paid-{long}")}), Ok("paid")),
        (json!({"tier": "paid-1\nand more"}), Ok("paid")),
        (json!({"tier": format!("paid-\n{long}")}), Ok("paid")),
        (json!({"tier": long}), Err(BadBody::LongValue)),
        (
            json!({"tier": format!("pai\u{0}d-{long}")}),
            Err(BadBody::Control),
        ),
        (json!({"tier": "vip\u{0}"}), Err(BadBody::Control)),
        (json!({"tier": "\nvip"}), Err(BadBody::Control)),
        (json!({"tier": "x\u{0}-vip"}), Err(BadBody::Control)),
        (json!({"tier": "x\ny"}), Ok("none")),
        (json!({"n": 5.0}), Ok("five")),
        (json!({"model": "x\u{0}-pro"}), Err(BadBody::NoModelName)),
        (json!({"model": "x\n"}), Err(BadBody::NoModelName)),
    ] {
        let wanted = rules.wanted().expect("something of the body");
        let mut content = Content::new(wanted, &headers, None);
        content.most = 4096;
        content.feed(body.to_string().as_bytes());
        content.end();
        let found = match rules.decide(&route.rules, &policy, &head, Some(&content)) {
            Ok(Decision::Rule(rule)) => Ok(rule.name.clone()),
            Ok(Decision::NoRule) => Ok("none".to_owned()),
            Ok(Decision::Wait) => panic!("{body}"),
            Err(bad) => Err(bad),
        };
        assert_eq!(found, expected.map(str::to_owned), "{body}");
    }
    let number = format!("{{\"n\": 5.{}}}", "0".repeat(1100));
    let mut content = Content::new(rules.wanted().unwrap(), &headers, None);
    content.most = 4096;
    content.feed(number.as_bytes());
    content.end();
    let found = rules.decide(&route.rules, &policy, &head, Some(&content));
    assert_eq!(found, Err(BadBody::LongValue));
}

/// The configuration refuses such a route. Were it not to, no condition may be lost.
#[test]
fn where_a_member_cannot_be_looked_for_no_body_decides() {
    let mut policy = policy(&json!([
        {"match": {"body": {"/tier": "x"}}, "agents": ["a"]},
        {"match": {"body": {"/other": "x"}}, "agents": ["b"]},
    ]));
    policy.routes[0].rules[1].conditions.members[0].0 = "/Tier".to_owned();
    let found = decided(&policy, &[b"{\"any\": 1}"], true);
    assert_eq!(found, Err(BadBody::Confused));
}

#[test]
fn a_resource_is_named_in_path_and_body_alike() {
    let agents = json!({"a": {"cluster": "a", "models": ["*"]}});
    let route = json!({"prefix": "/", "agents": ["a"], "auth_required": false});
    let policy = config::read(&json!({"agents": agents, "routes": [route]})).expect("a policy");
    let rules = Rules::new(&policy, &policy.routes[0]).expect("rules");
    let headers = HeaderBlock::default();
    let google = "/v1beta/models/g-flash:embedContent";
    let vertex = "/v1/projects/p/publishers/google/models/g-flash:countTokens";
    let azure = "/openai/deployments/g-flash/chat";
    for (path, model, agrees) in [
        (google, "g-flash", true),
        (google, "models/g-flash", true),
        (vertex, "models/g-flash", true),
        (vertex, "projects/p/publishers/google/models/g-flash", true),
        (google, "models/g-pro", false),
        (google, "tunedModels/g-flash", false),
        (google, "flash", false),
        (google, "", false),
        (azure, "g-flash", true),
        (azure, "deployments/g-flash", false),
    ] {
        let in_path = super::super::model_in_path(path.as_bytes())
            .unwrap()
            .unwrap();
        let mut content = Content::new(rules.wanted().unwrap(), &headers, None);
        rules.settle(&mut content, &in_path);
        content.feed(json!({"model": model}).to_string().as_bytes());
        let bad = (!agrees).then_some(&BadBody::OtherModel);
        assert_eq!(content.bad(), bad, "{path} {model}");
    }
}
