//! What bodies and answers say of what requests have in common, as far as the gateway waits for it and remembers it.

mod returns;

use serde_json::{Value, json};

use super::*;

const TYPE: (&str, &str) = ("content-type", "application/json");

/// A route without keys to both agents, which are sticky as it is.
fn world(sticky: &Value) -> World {
    world_with(sticky, |_| {})
}

fn world_with(sticky: &Value, change: impl FnOnce(&mut Value)) -> World {
    World::with(|document| {
        document["clients"]["hold"] =
            json!({"request": "64KiB", "worker": "1MiB", "collected": "1MiB"});
        document["plans"]["standard"]["requests"] = "999/hour".into();
        for agent in ["one", "two"] {
            document["agents"][agent]["sticky"] = sticky.clone();
            document["agents"][agent]["weight"] = 1.into();
        }
        let mut route = json!({
            "prefix": "/v1", "agents": ["one", "two"], "auth_required": false, "sticky": sticky,
        });
        if *sticky != json!({"client": true}) {
            route["body_timeout"] = "3s".into();
        }
        document["routes"].as_array_mut().unwrap().push(route);
        change(document);
    })
}

/// Where a request was sent: its agent, and the hash and the host that keep it at one place there.
fn place(world: &World, id: StreamId) -> (Option<String>, Option<String>, Option<String>) {
    let header = |name| world.upstream(id, name);
    (
        header("x-waykeeper-agent"),
        header("x-waykeeper-hash"),
        header("x-waykeeper-host"),
    )
}

impl World {
    fn piece(&mut self, id: StreamId, piece: &str, end: bool) -> Flow {
        self.host.send(id, piece.as_bytes());
        self.body(id, piece.len(), end)
    }

    fn post(&mut self, id: StreamId, headers: &[(&str, &str)], pieces: &[&str]) -> Flow {
        self.post_to(id, "/v1/responses", headers, pieces)
    }

    fn post_to(
        &mut self,
        id: StreamId,
        path: &str,
        headers: &[(&str, &str)],
        pieces: &[&str],
    ) -> Flow {
        let headers = [headers, &[TYPE]].concat();
        let mut flow = self.request(id, "POST", path, &headers);
        for (index, piece) in pieces.iter().enumerate() {
            flow = self.piece(id, piece, index + 1 == pieces.len());
        }
        flow
    }

    /// The agent answers from this host, in these pieces.
    fn answers(&mut self, id: StreamId, host: &str, content_type: &str, pieces: &[&str]) {
        self.host.respond_from(id, host);
        self.answered(id, &[(":status", "200"), ("content-type", content_type)]);
        for piece in pieces {
            self.host.pass(id, piece.as_bytes());
            let io = self.host.io(id);
            self.gateway.on_response_body(id, &io, piece.len(), false);
        }
    }
}

#[test]
fn a_request_waits_until_its_body_has_said_it_and_no_longer() {
    let mut world = world(&json!([{"header": "x-session"}, {"body": "/user"}]));
    assert_eq!(world.post(STREAM, &[], &[]), Flow::Hold);
    assert_eq!(world.piece(STREAM, r#"{"us"#, false), Flow::Hold);
    assert_eq!(world.piece(STREAM, r#"er":"joe""#, false), Flow::Continue);
    let (agent, hash, host) = place(&world, STREAM);
    assert!(agent.is_some() && hash.is_some() && host.is_none());
    assert_eq!(world.piece(STREAM, r#","user":"#, false), Flow::Continue);
    assert_eq!(world.piece(STREAM, "broken", true), Flow::Continue);
    assert_eq!(world.refusal(STREAM), None);
    // The same in one piece, and in many.
    let body = r#"{"user":"joe"}"#;
    for pieces in [
        vec![body],
        body.split_inclusive(|_| true).collect::<Vec<_>>(),
    ] {
        let id = StreamId(2);
        assert_eq!(world.post(id, &[], &pieces), Flow::Continue);
        assert_eq!(place(&world, id), (agent.clone(), hash.clone(), None));
    }
    // A header that comes first is not waited behind.
    let id = StreamId(3);
    assert_eq!(world.post(id, &[("x-session", "joe")], &[]), Flow::Continue);
    assert_eq!(place(&world, id), (agent, hash, None));
    // Nor is a body of another kind.
    let form = [("content-type", "text/plain")];
    assert_eq!(world.request(id, "POST", "/v1/x", &form), Flow::Continue);
}

#[test]
fn nothing_is_refused_for_what_would_have_kept_it_together() {
    let filler = " ".repeat(30_000);
    let mut world = world(&json!({"body": "/user"}));
    // Late: it goes on when the time has come.
    assert_eq!(world.post(STREAM, &[], &[]), Flow::Hold);
    assert_eq!(world.piece(STREAM, r#"{"a":"#, false), Flow::Hold);
    (0..2).for_each(|_| world.tick());
    assert!(!world.stream(STREAM).resumed);
    (0..2).for_each(|_| world.tick());
    assert!(world.stream(STREAM).resumed);
    assert_eq!(place(&world, STREAM).1, None);
    // More than one may have held, and more than is left for others.
    let large = StreamId(2);
    world.post(large, &[], &[]);
    assert_eq!(world.piece(large, &filler, false), Flow::Hold);
    assert_eq!(world.piece(large, &filler, false), Flow::Hold);
    assert_eq!(world.piece(large, &filler, false), Flow::Continue);
    let many = 3..60;
    for id in many.clone().map(StreamId) {
        assert_eq!(world.post(id, &[], &[]), Flow::Hold);
    }
    let flows: Vec<_> = (many.clone())
        .map(|id| world.piece(StreamId(id), &filler, false))
        .collect();
    let held = flows.iter().filter(|flow| **flow == Flow::Hold).count();
    assert!((15..=17).contains(&held), "{held}");
    assert!(world.held() <= 1 << 19);
    for id in (1..60).map(StreamId) {
        assert_eq!(world.refusal(id), None);
    }
    // They give back what they held.
    for id in many.map(StreamId) {
        world.gateway.on_end(id);
    }
    assert_eq!(world.post(StreamId(60), &[], &[]), Flow::Hold);
    assert_eq!(world.piece(StreamId(60), &filler, false), Flow::Hold);
}

#[test]
fn rules_and_models_may_ask_the_same_body() {
    let sticky = json!({"body": "/user"});
    let mut world = world_with(&sticky, |document| {
        document["agents"]["one"]["models"] = json!([{"model": "m", "as": "longer-name"}]);
        document["agents"]["two"]["models"] = json!(["other"]);
    });
    // Who is asked for it is known before the user.
    assert_eq!(world.post(STREAM, &[], &[]), Flow::Collect);
    let piece = r#"{"model":"m","#;
    assert_eq!(world.piece(STREAM, piece, false), Flow::Collect);
    let whole = r#"{"model":"m","user":"joe"}"#;
    assert_eq!(world.piece(STREAM, whole, true), Flow::Continue);
    assert_eq!(
        world.stream(STREAM).body,
        br#"{"model":"longer-name","user":"joe"}"#
    );
    assert_eq!(place(&world, STREAM).0.as_deref(), Some("one"));
    assert!(place(&world, STREAM).1.is_some());
    // What would break a rule's body breaks nothing that only keeps together.
    let id = StreamId(2);
    let twice = r#"{"user":"a","model":"m","user":"b"}"#;
    assert_eq!(world.post(id, &[], &[twice]), Flow::Continue);
    let model_twice = r#"{"user":"a","model":"m","model":"m"}"#;
    assert_eq!(world.post(id, &[], &[model_twice]), Flow::Hold);
    assert_eq!(world.refusal(id).as_deref(), Some("bad_body"));
}

#[test]
fn the_beginning_of_a_prompt_is_waited_for() {
    let mut world = world(&json!({"prompt": "1KiB"}));
    let first = r#"{"messages":[{"role":"user","content":"Hi"}"#;
    assert_eq!(world.post(STREAM, &[], &[]), Flow::Hold);
    assert_eq!(world.piece(STREAM, &first[..20], false), Flow::Hold);
    assert_eq!(world.piece(STREAM, &first[20..], false), Flow::Continue);
    let id = StreamId(2);
    let later = format!(r#"{first},{{"role":"assistant","content":"Hello"}}]}}"#);
    assert_eq!(world.post(id, &[], &[&later]), Flow::Continue);
    assert_eq!(place(&world, id), place(&world, STREAM));
}

#[test]
fn an_answer_is_remembered_while_it_passes_and_names_agent_and_host() {
    let mut world = world(&json!([{"response": true}, {"body": "/user"}]));
    let events = [
        "event: response.created\ndata: {\"type\":\"response.created\",\"respo",
        "nse\":{\"id\":\"resp_2\"",
    ];
    let json = [r#"{"id":"resp_1","#, r#""object":"response""#];
    for (number, content_type, pieces) in [
        (1, "application/json", json),
        (2, "text/event-stream", events),
    ] {
        let first = StreamId(number);
        world.post(
            first,
            &[("accept-encoding", "gzip")],
            &[r#"{"input":"Hi"}"#],
        );
        assert_eq!(
            world.upstream(first, "accept-encoding").as_deref(),
            Some("identity")
        );
        let (agent, ..) = place(&world, first);
        world.answers(first, "10.0.0.1:8000", content_type, &pieces);

        let id = StreamId(10 + number);
        let named = format!(r#"{{"previous_response_id":"resp_{number}"}}"#);
        for _ in 0..8 {
            assert_eq!(world.post(id, &[], &[&named]), Flow::Continue);
            let at = place(&world, id);
            assert_eq!((&at.0, at.1.as_deref()), (&agent, None));
            assert_eq!(at.2.as_deref(), Some("MTAuMC4wLjE6ODAwMA==;UV:LQ=="));
            let session = world.upstream(id, "x-waykeeper-session");
            assert_eq!(session.as_deref(), Some("x-waykeeper-host"));
        }
        // By the path nothing is waited for, where there is no body; and the user finds a place if the host is gone.
        let path = format!("/v1/responses/resp_{number}/cancel");
        assert_eq!(
            world.post_to(id, &path, &[], &[r#"{"user":"joe"}"#]),
            Flow::Continue
        );
        let at = place(&world, id);
        assert!(at.0 == agent && at.2.is_some(), "{at:?}");
        // Who names an agent gets it, and at another one no host.
        for (other, is_same) in [
            ("one", agent.as_deref() == Some("one")),
            ("two", agent.as_deref() == Some("two")),
        ] {
            world.post(id, &[("x-agent", other)], &[&named]);
            let at = place(&world, id);
            assert_eq!((at.0.as_deref(), at.2.is_some()), (Some(other), is_same));
        }
        // Another client's it is not.
        let key = [("x-api-key", "secret"), TYPE];
        world.request(id, "POST", "/v1/responses", &key);
        if number == 1 {
            world.answer(200, ACME);
        }
        world.piece(id, &named, true);
        assert_eq!(place(&world, id).2, None);
    }
}

#[test]
fn what_is_no_answer_of_an_agents_is_not_remembered() {
    let mut world = world(&json!({"response": true}));
    let (first, id) = (StreamId(1), StreamId(2));
    let answer = r#"{"id":"resp_1","object":"response"}"#;
    let is_known = |world: &mut World| {
        world.post(id, &[], &[r#"{"previous_response_id":"resp_1"}"#]);
        place(world, id).2.is_some()
    };
    for headers in [
        &[(":status", "404"), ("content-type", "application/json")][..],
        &[(":status", "200")],
        &[(":status", "200"), ("content-type", "text/plain")],
        &[
            (":status", "200"),
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
        ],
    ] {
        world.post(first, &[], &["{}"]);
        world.host.respond_from(first, "10.0.0.1:8000");
        world.answered(first, headers);
        world.host.pass(first, answer.as_bytes());
        let io = world.host.io(first);
        world
            .gateway
            .on_response_body(first, &io, answer.len(), true);
        assert!(!is_known(&mut world), "{headers:?}");
    }
    // Nor of another interface; nor if the host says more than there is.
    world.post_to(first, "/v1/chat/completions", &[], &["{}"]);
    world.answers(first, "10.0.0.1:8000", "application/json", &[answer]);
    assert!(!is_known(&mut world));
    world.post(first, &[], &["{}"]);
    world.answers(first, "10.0.0.1:8000", "application/json", &[]);
    let io = world.host.io(first);
    world.gateway.on_response_body(first, &io, 1_000, false);
    assert!(!is_known(&mut world));
    // And one that says all of it is.
    world.post(first, &[], &["{}"]);
    world.answers(first, "10.0.0.1:8000", "application/json", &[answer]);
    assert!(is_known(&mut world));
}

#[test]
fn an_aborted_canary_keeps_no_conversation() {
    let mut world = world_with(&json!({"response": true}), |document| {
        let routes = document["routes"].as_array_mut().unwrap();
        let route = routes.last_mut().unwrap();
        route["agents"] = json!(["one"]);
        route["canary"] = json!({"agent": "two", "percent": 100, "abort_at": "5%"});
    });
    let (first, id) = (StreamId(1), StreamId(2));
    world.post(first, &[], &["{}"]);
    assert_eq!(place(&world, first).0.as_deref(), Some("two"));
    let answer = r#"{"id":"resp_1","object":"response"}"#;
    world.answers(first, "10.0.0.1:8000", "application/json", &[answer]);
    let named = r#"{"previous_response_id":"resp_1"}"#;
    world.post(id, &[], &[named]);
    assert_eq!(place(&world, id).0.as_deref(), Some("two"));
    for number in 10..70 {
        let id = StreamId(number);
        // Of one client they would count once.
        world
            .host
            .call_from(["192.0.2.1:1", "192.0.2.2:1"][number as usize % 2]);
        world.post(id, &[], &["{}"]);
        world.answered(id, &[(":status", "500")]);
        world.gateway.on_end(id);
    }
    world.post(id, &[], &[named]);
    assert_eq!(place(&world, id).0.as_deref(), Some("one"));
    assert_eq!(place(&world, id).2, None);
}

#[test]
fn what_is_not_sticky_so_reads_no_answer_and_no_body() {
    let mut world = world(&json!({"client": true}));
    assert_eq!(
        world.post(STREAM, &[("accept-encoding", "gzip")], &[]),
        Flow::Continue
    );
    assert_eq!(
        world.upstream(STREAM, "accept-encoding").as_deref(),
        Some("gzip")
    );
    assert!(world.gateway.shared.compiled.responses.is_none());
    let facts = &world.gateway.streams[&STREAM].common.facts;
    assert!(facts.borrow().learns.is_none());
}
