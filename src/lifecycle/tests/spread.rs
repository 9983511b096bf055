//! How requests that are kept together are spread over agents, however callers say what they have in common.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

const KEYS: usize = 20_000;

/// How many of these keys an agent gets is binomial. Fair choices lie further from what its weight says than four standard deviations
/// once in 15,800 times, and in one of the 36 comparisons below once in some 440. The keys are always the same: what
/// passes once passes each time, until the choice is another.
const DEVIATIONS: f64 = 4.0;

const AGENTS: [(&str, u32); 4] = [("a", 1), ("b", 2), ("c", 3), ("d", 10)];

/// Where each key's request goes, by what is written of the route.
fn places(sticky: &Value, without: Option<&str>) -> Vec<&'static str> {
    let agents = || AGENTS.iter().filter(|(name, _)| Some(*name) != without);
    let mut world = World::with(|document| {
        let of = |(name, weight): &(&str, u32)| {
            (
                (*name).to_owned(),
                json!({"cluster": name, "weight": weight}),
            )
        };
        document["agents"] = Value::Object(agents().map(of).collect());
        document["limits"] = json!([]);
        let names: Vec<&str> = agents().map(|(name, _)| *name).collect();
        document["routes"] = json!([{
            "prefix": "/open", "agents": names, "auth_required": false, "sticky": sticky,
        }]);
    });
    let place = |key| {
        let (path, cookie) = (format!("/open?user={key}"), format!("a=1; user=c-{key}"));
        let headers = [("content-type", "application/json"), ("cookie", &cookie)];
        if world.request(STREAM, "POST", &path, &headers) == Flow::Hold {
            let body = format!("{{\"user\":\"u{key}\"}}");
            world.host.send(STREAM, body.as_bytes());
            assert_eq!(world.body(STREAM, body.len(), true), Flow::Continue);
        }
        let cluster = world.upstream(STREAM, "x-waykeeper-cluster").unwrap();
        world.gateway.on_log(STREAM, &world.host.io(STREAM));
        agents().find(|(name, _)| *name == cluster).unwrap().0
    };
    (0..KEYS).map(place).collect()
}

/// Each of these agents has about so many of all as its weight says.
fn assert_fair<'p>(places: impl Iterator<Item = &'p str>, without: Option<&str>) {
    let mut shares = BTreeMap::<&str, f64>::new();
    places.for_each(|agent| *shares.entry(agent).or_default() += 1.0);
    let all: f64 = shares.values().sum();
    let agents = || AGENTS.iter().filter(|(name, _)| Some(*name) != without);
    let whole: f64 = agents().map(|(_, weight)| f64::from(*weight)).sum();
    for (name, weight) in agents() {
        let part = f64::from(*weight) / whole;
        let deviation = (all * part * (1.0 - part)).sqrt();
        let off = shares.get(name).copied().unwrap_or_default() - all * part;
        assert!(
            off.abs() <= DEVIATIONS * deviation,
            "{name}: {off} off, of {all}"
        );
    }
}

fn spreads(sticky: &Value) {
    let before = places(sticky, None);
    assert_fair(before.iter().copied(), None);
    for gone in ["b", "d"] {
        let after = places(sticky, Some(gone));
        let both = || before.iter().copied().zip(after.iter().copied());
        assert!(both().all(|(old, new)| old == new || old == gone), "{gone}");
        // Its keys are spread over the others as all are.
        let moved = both().filter(|(old, _)| *old == gone);
        assert_fair(moved.map(|(_, new)| new), Some(gone));
    }
}

#[test]
fn cookies_are_spread_by_weight_and_of_an_agent_that_goes_only_its_own_move() {
    spreads(&json!({"cookie": "user"}));
}

#[test]
fn parameters_are_spread_by_weight_and_of_an_agent_that_goes_only_its_own_move() {
    spreads(&json!({"query": "user"}));
}

#[test]
fn members_of_bodies_are_spread_by_weight_and_of_an_agent_that_goes_only_its_own_move() {
    spreads(&json!({"body": "/user"}));
}
