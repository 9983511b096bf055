//! Who has given an answer is asked again, where rules, rests, capabilities or a canary would choose another.

use super::*;

const GOLD: &[(&str, &str)] = &[("x-tier", "gold")];
const LEAD: &[(&str, &str)] = &[("x-tier", "lead")];

/// A route to `one`, with a rule for `two` and one for `three`.
fn ruled(change: impl FnOnce(&mut Value)) -> World {
    world_with(&json!({"response": true}), |document| {
        document["agents"]["three"] = json!({"cluster": "cluster-three"});
        let route = route(document);
        route["agents"] = json!(["one"]);
        route["rules"] = json!([
            {"match": {"header": {"x-tier": "gold"}}, "agents": ["two"]},
            {"match": {"header": {"x-tier": "lead"}}, "agents": ["three"]},
        ]);
        change(document);
    })
}

fn route(document: &mut Value) -> &mut Value {
    document["routes"]
        .as_array_mut()
        .unwrap()
        .last_mut()
        .unwrap()
}

/// Begins a conversation; who has given its first answer.
fn begin(world: &mut World, headers: &[(&str, &str)]) -> String {
    world.post(STREAM, headers, &["{}"]);
    let agent = place(world, STREAM).0.unwrap();
    let answer = r#"{"id":"resp_1","object":"response"}"#;
    world.answers(STREAM, "10.0.0.1:8000", "application/json", &[answer]);
    agent
}

/// Goes on with it; at which clusters that is tried, in their order.
fn go_on(world: &mut World, headers: &[(&str, &str)]) -> Vec<String> {
    let (id, named) = (StreamId(2), r#"{"previous_response_id":"resp_1"}"#);
    world.post(id, headers, &[named]);
    tried(world, id)
}

fn tried(world: &World, id: StreamId) -> Vec<String> {
    let first = ["x-waykeeper-cluster", "x-waykeeper-further"];
    let first = first.into_iter().find_map(|it| world.upstream(id, it));
    let stream = world.stream(id);
    let noted = |name: &str| {
        let mut notes = stream.notes.iter().rev();
        let found = notes.find(|(other, _)| other == name.as_bytes());
        found.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
    };
    let next = ["waykeeper_cluster_2", "waykeeper_cluster_3"].into_iter();
    first.into_iter().chain(next.filter_map(noted)).collect()
}

fn clusters<const N: usize>(agents: [&str; N]) -> Vec<String> {
    agents.map(|name| format!("cluster-{name}")).to_vec()
}

/// Requests with these headers fail, each of another caller.
fn fail(world: &mut World, headers: &[(&str, &str)], times: u8) {
    for number in 1..=times {
        let id = StreamId(100 + u32::from(number));
        world.host.call_from(&format!("192.0.2.{number}:1"));
        world.post(id, headers, &["{}"]);
        world.answered(id, &[(":status", "500")]);
        world.gateway.on_log(id, &world.host.io(id));
        world.gateway.on_end(id);
    }
}

#[test]
fn no_rule_sends_a_conversation_elsewhere() {
    for (headers, agent) in [(GOLD, "two"), (LEAD, "three"), (&[], "one")] {
        let mut world = ruled(|_| {});
        assert_eq!(begin(&mut world, headers), agent);
        for others in [GOLD, LEAD, &[]] {
            let at = go_on(&mut world, others);
            assert_eq!(at, clusters([agent]), "{others:?}");
        }
    }
}

#[test]
fn where_the_rule_has_other_agents_its_fallback_comes_next() {
    let mut world = ruled(|document| {
        let route = route(document);
        route["rules"][0]["fallback"] = json!(["three"]);
    });
    assert_eq!(begin(&mut world, &[]), "one");
    assert_eq!(go_on(&mut world, GOLD), clusters(["one", "three"]));
    assert_eq!(go_on(&mut world, LEAD), clusters(["one"]));
}

#[test]
fn where_nothing_else_takes_a_request_a_conversation_does() {
    let mut world = ruled(|document| {
        let fields = route(document).as_object_mut().unwrap();
        fields.remove("agents");
    });
    assert_eq!(begin(&mut world, GOLD), "two");
    assert_eq!(go_on(&mut world, &[]), clusters(["two"]));
    let id = StreamId(3);
    world.post(id, &[], &[r#"{"previous_response_id":"resp_2"}"#]);
    assert_eq!(world.refusal(id).as_deref(), Some("no_rule"));
}

#[test]
fn while_its_agent_rests_a_conversation_goes_where_others_do() {
    let mut world = ruled(|document| {
        document["agents"]["two"]["rest"] = json!({"failures": 2, "first": "10s"});
        route(document)["fallback"] = json!(["three"]);
    });
    assert_eq!(begin(&mut world, GOLD), "two");
    assert_eq!(go_on(&mut world, &[]), clusters(["two", "three"]));
    fail(&mut world, GOLD, 2);
    assert_eq!(go_on(&mut world, &[]), clusters(["one", "three"]));
    // The host that has given the answer is none of theirs.
    assert_eq!(place(&world, StreamId(2)).2, None);
    world.process.pass(Duration::from_secs(11));
    assert_eq!(go_on(&mut world, &[]), clusters(["two", "three"]));
    assert!(place(&world, StreamId(2)).2.is_some());
}

#[test]
fn who_cannot_do_what_is_asked_for_is_not_asked_again() {
    let mut world = ruled(|document| {
        document["agents"]["one"]["capabilities"] = json!(["vision"]);
    });
    assert_eq!(begin(&mut world, GOLD), "two");
    let asks = [("x-agent-capability", "vision")];
    assert_eq!(go_on(&mut world, &asks), clusters(["one"]));
    assert_eq!(go_on(&mut world, &[]), clusters(["two"]));
}

#[test]
fn who_may_not_use_an_agent_does_not_return_to_it() {
    let mut world = ruled(|document| {
        route(document)["rules"][0]["roles"] = json!(["ops"]);
    });
    // Two keys of one client.
    let of = |roles: &str| format!(r#"{{"client_id":"acme","plan":"standard","roles":[{roles}]}}"#);
    let (first, other) = (("x-api-key", "first"), ("x-api-key", "other"));
    assert_eq!(world.post(StreamId(8), &[first], &["{}"]), Flow::Hold);
    world.answer(200, &of(r#""ops""#));
    assert_eq!(world.post(StreamId(9), &[other], &["{}"]), Flow::Hold);
    world.answer(200, &of(""));
    assert_eq!(begin(&mut world, &[first, GOLD[0]]), "two");
    assert_eq!(go_on(&mut world, &[first]), clusters(["two"]));
    assert_eq!(go_on(&mut world, &[other]), clusters(["one"]));
}

#[test]
fn an_aborted_canary_keeps_no_conversation_that_rules_and_a_fallback_could_have() {
    let mut world = ruled(|document| {
        let route = route(document);
        route["rules"] = json!([route["rules"][1]]);
        route["fallback"] = json!(["three"]);
        route["canary"] = json!({"agent": "two", "percent": 100, "abort_at": "5%"});
    });
    assert_eq!(begin(&mut world, &[]), "two");
    // By a rule that would not try it, too.
    assert_eq!(go_on(&mut world, LEAD), clusters(["two", "three"]));
    fail(&mut world, &[], 60);
    assert_eq!(go_on(&mut world, &[]), clusters(["one", "three"]));
    assert_eq!(go_on(&mut world, LEAD), clusters(["three"]));
}

#[test]
fn who_answered_in_anothers_place_goes_on_with_the_conversation() {
    let mut world = ruled(|document| route(document)["fallback"] = json!(["three"]));
    world.post(STREAM, &[], &["{}"]);
    assert_eq!(tried(&world, STREAM), clusters(["one", "three"]));
    world.host.try_at(STREAM, "cluster-three");
    let answer = r#"{"id":"resp_1","object":"response"}"#;
    world.answers(STREAM, "10.0.0.1:8000", "application/json", &[answer]);
    assert_eq!(go_on(&mut world, &[]), clusters(["three"]));
}
