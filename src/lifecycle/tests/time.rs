//! How long a request may go on, as far as the filter keeps the time.

use super::*;

#[test]
fn a_stream_that_falls_silent_is_ended_and_one_that_does_not_is_not() {
    let mut world = World::new();
    world.validated(STREAM, "GET", "/events", &[]);
    world.validated(StreamId(2), "GET", "/events", &[]);
    for id in [STREAM, StreamId(2)] {
        world.answered(id, &[(":status", "200")]);
    }
    for _ in 0..4 {
        world.tick();
        world.piece_passes(StreamId(2));
    }
    assert_eq!(world.refusal(STREAM).as_deref(), Some("agent_timeout"));
    assert!(world.stream(STREAM).cut_off);
    assert_eq!(world.refusal(StreamId(2)), None);
}

#[test]
fn an_agent_that_never_begins_to_answer_is_told_of_as_a_timeout() {
    let mut world = World::new();
    world.validated(STREAM, "GET", "/events", &[]);
    world.body(STREAM, 0, true);
    for _ in 0..3 {
        world.tick();
    }
    assert_eq!(
        world.refusal(STREAM),
        None,
        "three ticks may be little more than two seconds"
    );
    world.tick();
    assert_eq!(world.refusal(STREAM).as_deref(), Some("agent_timeout"));
    assert!(!world.stream(STREAM).cut_off);
}

#[test]
fn waiting_for_the_validator_is_no_silence() {
    let mut world = World::with(|document| {
        document["clients"]["validator"]["timeout"] = serde_json::json!("10s");
    });
    world.request(STREAM, "GET", "/events", &[("x-api-key", "secret")]);
    for _ in 0..10 {
        world.tick();
    }
    world.answer(200, ACME);
    assert!(world.stream(STREAM).resumed);
}

/// A world with a route whose answers may be streams.
fn streams() -> World {
    World::with(|document| {
        let routes = document["routes"].as_array_mut().unwrap();
        routes.push(serde_json::json!({
            "prefix": "/either", "agents": ["one"], "auth_required": false, "streams": true, "timeout": "1500ms",
            "idle_timeout": "5s",
        }));
    })
}

#[test]
fn an_answer_that_may_be_a_stream_has_its_time_and_a_stream_as_much_as_it_uses() {
    let mut world = streams();
    let content_types = [
        None,
        Some("application/json"),
        Some("text/event-streams"),
        Some("application/json; text/event-stream"),
        Some("text/event-stream"),
        Some(" Text/Event-Stream ; charset=utf-8"),
        Some("application/x-ndjson"),
        Some("application/vnd.amazon.eventstream"),
    ];
    for (number, content_type) in (1..).zip(content_types) {
        let id = StreamId(number);
        world.request(id, "GET", "/either", &[]);
        world.body(id, 0, true);
        let content_type = content_type.map(|value| ("content-type", value));
        let headers: Vec<_> = [(":status", "200")]
            .into_iter()
            .chain(content_type)
            .collect();
        world.answered(id, &headers);
    }
    let over = |world: &World| {
        (1..=8)
            .filter(|id| world.refusal(StreamId(*id)).is_some())
            .count()
    };
    for _ in 0..2 {
        world.tick();
        (1..=8).for_each(|id| world.piece_passes(StreamId(id)));
    }
    assert_eq!(over(&world), 0);
    // Whatever they say.
    world.tick();
    assert_eq!(over(&world), 4);
    assert_eq!(world.refusal(StreamId(1)).as_deref(), Some("agent_timeout"));
    // From now on the streams are silent.
    (0..2).for_each(|_| world.tick());
    assert_eq!(over(&world), 4);
    world.piece_passes(StreamId(8));
    (0..3).for_each(|_| world.tick());
    assert_eq!(over(&world), 7);
}

#[test]
fn the_time_for_an_answer_begins_when_the_request_is_there() {
    let mut world = streams();
    for id in [STREAM, StreamId(2)] {
        let flow = world.request(id, "POST", "/either", &[]);
        assert_eq!(flow, Flow::Continue);
    }
    for _ in 0..4 {
        world.tick();
        assert_eq!(world.body(STREAM, 1, false), Flow::Continue);
    }
    world.body(STREAM, 1, true);
    (0..2).for_each(|_| world.tick());
    // A caller who stops in the middle of it is silent.
    assert_eq!(world.refusal(STREAM), None);
    assert_eq!(
        world.refusal(StreamId(2)).as_deref(),
        Some("request_timeout")
    );
    world.tick();
    assert_eq!(world.refusal(STREAM).as_deref(), Some("agent_timeout"));
}

#[test]
fn where_answers_may_be_streams_the_host_bounds_each_try_and_not_the_whole() {
    let mut world = streams();
    world.request(STREAM, "GET", "/either", &[]);
    for (name, value) in [
        ("x-envoy-upstream-rq-timeout-ms", "0"),
        ("x-envoy-upstream-rq-per-try-timeout-ms", "1500"),
        ("x-waykeeper-kind", "sse"),
    ] {
        assert_eq!(
            world.upstream(STREAM, name).as_deref(),
            Some(value),
            "{name}"
        );
    }
}

/// Behind its last byte only the caller takes time, who may read slowly.
#[test]
fn an_answer_that_has_passed_is_never_late() {
    let mut world = streams();
    for (number, content_type) in (1..).zip(["application/json", "text/event-stream"]) {
        for end in [End::Headers, End::Body, End::Trailers] {
            let id = StreamId(number * 10 + end as u32);
            world.request(id, "GET", "/either", &[]);
            world.body(id, 0, true);
            let headers = [(":status", "200"), ("content-type", content_type)];
            world.host.respond(id, &headers);
            let io = world.host.io(id);
            let gateway = &mut world.gateway;
            gateway.on_response_headers(id, &io, matches!(end, End::Headers));
            match end {
                End::Headers => Flow::Continue,
                End::Body => gateway.on_response_body(id, &io, 0, true),
                End::Trailers => gateway.on_response_trailers(id, &io),
            };
        }
    }
    (0..20).for_each(|_| world.tick());
    for id in (0..30).map(StreamId) {
        assert_eq!(world.refusal(id), None, "{id:?}");
    }
    assert!(!world.gateway.streams.is_empty());
}

/// How an answer ends.
#[derive(Clone, Copy)]
enum End {
    Headers,
    Body,
    Trailers,
}
