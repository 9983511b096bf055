//! What keeps requests at one host of their agent, as far as the gateway has to do with it.

use serde_json::json;

use super::*;

const ENVELOPE: &str = "MTAuMC4wLjE6OTAwMA==;UV:YWJj";

fn world(sticky: serde_json::Value) -> World {
    World::with(|document| {
        document["agents"]["one"]["sticky"] = sticky;
        document["sessions"] = json!({"keys": ["7".repeat(64)]});
    })
}

fn sent(world: &World, id: StreamId, name: &str) -> Option<Vec<u8>> {
    let stream = world.stream(id);
    let found = stream
        .request
        .iter()
        .find(|(other, _)| other == name.as_bytes());
    found.map(|(_, value)| value.clone())
}

fn told(world: &World, id: StreamId) -> Option<String> {
    let stream = world.stream(id);
    let found = stream
        .response
        .iter()
        .find(|(name, _)| name == b"mcp-session-id");
    found.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
}

#[test]
fn a_session_is_sealed_opened_and_told_again_as_it_was_sent() {
    let mut world = world(json!({"header": "mcp-session-id"}));
    let (first, second, third) = (StreamId(1), StreamId(2), StreamId(3));
    assert_eq!(world.request(first, "POST", "/open", &[]), Flow::Continue);
    let header = sent(&world, first, "x-waykeeper-session");
    assert_eq!(header.as_deref(), Some(&b"mcp-session-id"[..]));
    world.answered(first, &[(":status", "200"), ("mcp-session-id", ENVELOPE)]);
    let sealed = told(&world, first).unwrap();
    assert!(!sealed.contains("UV"), "{sealed}");

    let own = [
        ("mcp-session-id", sealed.as_str()),
        ("mcp_session_id", "abc"),
    ];
    assert_eq!(world.request(second, "POST", "/open", &own), Flow::Continue);
    let opened = sent(&world, second, "mcp-session-id");
    assert_eq!(opened.as_deref(), Some(ENVELOPE.as_bytes()));
    assert_eq!(sent(&world, second, "mcp_session_id"), None);
    world.answered(second, &[(":status", "200"), ("mcp-session-id", ENVELOPE)]);
    assert_eq!(told(&world, second), Some(sealed.clone()));

    assert_eq!(
        world.request(third, "POST", "/open", &own[..1]),
        Flow::Continue
    );
    let other = "MTAuMC4wLjI6OTAwMA==;UV:YWJj";
    world.answered(third, &[(":status", "200"), ("mcp-session-id", other)]);
    let moved = told(&world, third).unwrap();
    assert!(moved != sealed && moved != other, "{moved}");
}

#[test]
fn a_session_that_does_not_open_is_refused_and_none_goes_out_that_would_not() {
    let mut world = world(json!({"header": "mcp-session-id"}));
    let (first, second) = (StreamId(1), StreamId(2));
    for values in [&[ENVELOPE][..], &[""], &["a", "b"]] {
        let headers: Vec<_> = values.iter().map(|it| ("mcp-session-id", *it)).collect();
        assert_eq!(world.request(first, "POST", "/open", &headers), Flow::Hold);
        let reply = world.stream(first).reply.unwrap();
        assert_eq!(
            (reply.status, reply.details.as_str()),
            (404, "waykeeper_unknown_session")
        );
    }
    for named in [&["abc"][..], &[ENVELOPE, ENVELOPE]] {
        world.request(second, "POST", "/open", &[]);
        let mut answer = vec![(":status", "200")];
        answer.extend(named.iter().map(|it| ("mcp-session-id", *it)));
        world.answered(second, &answer);
        assert_eq!(told(&world, second), None);
    }
}

#[test]
fn the_hash_is_the_clients_or_the_addresss() {
    let mut world = world(json!({"client": true}));
    let (first, second) = (StreamId(1), StreamId(2));
    world.request(first, "GET", "/open", &[("x-waykeeper-hash", "mine")]);
    let anybodys = sent(&world, first, "x-waykeeper-hash").unwrap();
    assert_eq!(anybodys.len(), 16);
    world.validated(second, "GET", "/open", &[]);
    let clients = sent(&world, second, "x-waykeeper-hash").unwrap();
    assert_ne!(anybodys, clients);
    world.validated(first, "GET", "/open", &[]);
    assert_eq!(sent(&world, first, "x-waykeeper-hash"), Some(clients));
}
