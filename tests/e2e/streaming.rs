//! Streams pass as they are made, and end when they should: event by event, piece by piece in both directions, for as
//! long as somebody says something, and no longer.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::{Arriving, Puppet, Request, World, eventually};

const STREAM: &str = "/api/v1/chat/stream";
const NOTES: &str = "/api/v1/memory/notes";

#[tokio::test]
async fn an_event_has_arrived_before_the_next_one_is_sent() {
    let world = World::start().await;
    let mut stream = ask(&world, "1s", 6).begin().await;

    let mut sent = Vec::new();
    let mut arrived = Vec::new();
    while let Some(event) = next_event(&mut stream).await {
        arrived.push(now_ms());
        sent.push(event["demo"]["sent_ms"].as_u64().expect("a time"));
    }

    // The six words, one each; the last is followed by others at once.
    assert!(sent.len() >= 6, "{sent:?}");
    for (next_sent, arrived) in sent.iter().skip(1).zip(&arrived).take(5) {
        assert!(arrived < next_sent, "sent {sent:?}, arrived {arrived:?}");
    }
}

#[tokio::test]
async fn nothing_is_held_back_in_either_direction() {
    let puppet = Puppet::listen().await;
    let world = World::with(|draft| {
        for cluster in ["chat-gpu", "chat-cpu"] {
            draft.connect(cluster, &[puppet.address()]);
        }
    })
    .await;
    let to = |path: &str| world.request("POST", path).key("demo-premium");
    for (what, request) in [
        ("http", to("/v1/chat/completions")),
        ("sse", to(STREAM)),
        ("sse over HTTP/2", to(STREAM).http2()),
    ] {
        let mut upload = request.upload();

        // The second piece of the question is written when the first is at the agent, and so are the answer's.
        assert!(upload.write("question one").await, "{what}");
        let mut agent = puppet.accept().await;
        agent.read_until("question one").await;
        agent
            .write("HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        let mut answer = upload.response().await;
        for number in 1..=3 {
            agent.write(&format!("9\r\ndata: {number}\n\n\r\n")).await;
            assert_eq!(
                answer.chunk().await.expect("a piece").as_deref(),
                Some(format!("data: {number}\n\n").as_bytes()),
                "{what}"
            );
        }
        assert!(upload.write("question two").await, "{what}");
        agent.read_until("question two").await;
        upload.end();
        agent.read_until("\r\n0\r\n\r\n").await;
        agent.write("0\r\n\r\n").await;
        assert_eq!(answer.chunk().await.expect("the end"), None, "{what}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_agents_stream() {
    let world = World::start().await;
    let agent = world.agent("chat-gpu");

    let mut stream = ask(&world, "20ms", 1_000_000).begin().await;
    next_event(&mut stream).await.expect("an event");
    assert_eq!((agent.stats().in_flight, agent.stats().aborted), (1, 0));
    drop(stream);

    eventually("the agent to be told", || async {
        let stats = agent.stats();
        (stats.in_flight == 0 && stats.aborted == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_never_begins_is_504_after_its_idle_timeout() {
    let world = idle_after_a_second().await;
    let begun = Instant::now();

    let refused = ask(&world, "20ms", 1)
        .header("x-demo-delay", "60s")
        .send()
        .await;

    assert_eq!(refused.refused(), (504, "agent_timeout".to_owned()));
    assert_eq!(refused.json()["error"]["type"], "api_error");
    after_a_second(begun);
    let logged = world.access_log(&refused).await;
    assert_eq!(logged["details"], "waykeeper_agent_timeout");
    let agent = world.agent("chat-gpu");
    eventually("the agent to be told", || async {
        (agent.stats().aborted == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_cut_off_after_its_idle_timeout() {
    let world = World::with(|draft| {
        draft.workers(2);
        draft.route(STREAM)["idle_timeout"] = json!("1s");
    })
    .await;
    let streams = (0..6).map(|number| {
        let request = ask(&world, "60s", 10);
        if number % 2 == 0 {
            request
        } else {
            request.http2()
        }
    });
    let silent = streams.map(|request| {
        tokio::spawn(async move {
            // The gateway has passed the event on before it is seen here.
            let begun = Instant::now();
            let mut stream = request.begin().await;
            assert_eq!(stream.status, 200);
            next_event(&mut stream).await.expect("an event");
            stream.cut_off().await;
            after_a_second(begun);
        })
    });
    for stream in silent.collect::<Vec<_>>() {
        stream.await.expect("a stream");
    }
    let agent = world.agent("chat-gpu");
    eventually("the agent to be told", || async {
        (agent.stats().aborted == 6).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_idle_timeout_is_kept_for_streams_of_the_configuration_before() {
    let mut world = idle_after_a_second().await;
    let mut stream = ask(&world, "60s", 10).begin().await;
    next_event(&mut stream).await.expect("an event");

    world
        .reconfigure(|configuration| {
            configuration["plans"]["premium"] = json!({"requests": "7/minute"})
        })
        .await;

    let silent = Instant::now();
    stream.cut_off().await;
    assert!(silent.elapsed() < Duration::from_secs(15), "{silent:?}");
}

#[tokio::test]
async fn a_stream_that_goes_on_outlives_its_idle_timeout() {
    let world = idle_after_a_second().await;
    let begun = Instant::now();

    let answer = ask(&world, "200ms", 14).send().await;

    assert!(answer.text().ends_with("data: [DONE]\n\n"), "{answer:?}");
    assert!(begun.elapsed() > Duration::from_millis(2600));
    assert_eq!(world.agent("chat-gpu").stats().complete, 1);
}

#[tokio::test]
async fn the_timeout_of_a_route_bounds_its_whole_answer() {
    let world = World::with(|draft| draft.route("/api/v1/memory")["timeout"] = json!("1s")).await;
    let slow = world
        .get(NOTES)
        .key("demo-premium")
        .header("x-demo-events", "1000")
        .header("x-demo-interval", "50ms");
    let begun = Instant::now();

    let mut answer = slow.begin().await;

    assert_eq!(answer.status, 200);
    answer.cut_off().await;
    after_a_second(begun);
}

/// The filter does not say what Envoy's routes do by themselves, and beats them where a route is to be different.
#[tokio::test]
async fn the_default_timeout_is_that_of_envoys_routes_and_any_other_beats_it() {
    let world = World::with(|draft| {
        *draft.routes() = vec![
            json!({"prefix": "/default", "agents": ["memory"]}),
            json!({"prefix": "/longer", "agents": ["memory"], "timeout": "30s"}),
            json!({"prefix": "/events", "agents": ["memory"], "protocol": "sse"}),
        ];
        for kind in ["http", "sse", "websocket"] {
            let route = draft.setup.bootstrap.route_mut(kind).expect("the route");
            assert_eq!(route["route"]["timeout"], "300s", "{kind}");
            route["route"]["timeout"] = json!("0.5s");
        }
    })
    .await;
    let slow = |path| {
        let request = world.get(path).key("demo-premium");
        request.header("x-demo-delay", "1s").send()
    };

    let (default, longer, events) =
        tokio::join!(slow("/default"), slow("/longer"), slow("/events"));

    assert_eq!(default.refused(), (504, "agent_timeout".to_owned()));
    assert_eq!((longer.status, events.status), (200, 200));
}

#[tokio::test]
async fn a_first_byte_that_comes_too_late_is_504() {
    let world = World::with(|draft| {
        draft.route("/api/v1/memory")["first_byte_timeout"] = json!("200ms");
    })
    .await;

    let refused = world
        .get(NOTES)
        .key("demo-premium")
        .header("x-demo-delay", "60s")
        .send()
        .await;

    assert_eq!(refused.refused(), (504, "agent_timeout".to_owned()));
}

#[tokio::test]
async fn a_stream_may_last_longer_than_its_first_byte_may_take() {
    let world = World::with(|draft| {
        draft.route(STREAM)["first_byte_timeout"] = json!("2s");
    })
    .await;

    let answer = ask(&world, "500ms", 8).send().await;

    assert!(answer.text().ends_with("data: [DONE]\n\n"), "{answer:?}");
}

#[tokio::test]
async fn a_host_whose_first_byte_is_late_is_passed_over() {
    let silent = Puppet::listen().await;
    let world = World::with(|draft| {
        let agent = draft.services.agent("memory").expect("the agent").address();
        draft.connect("memory", &[silent.address(), agent]);
        draft.route("/api/v1/memory")["first_byte_timeout"] = json!("1500ms");
        draft.route("/api/v1/memory")["retry"] = json!({"max_attempts": 2});
    })
    .await;

    // Which host is tried first is chance.
    eventually("a second try", || async {
        let answer = world.get(NOTES).key("demo-premium").send().await;
        assert_eq!(answer.echo().agent, "memory");
        let logged = world.access_log(&answer).await;
        (logged["attempts"] == 2).then_some(())
    })
    .await;
}

/// A streamed chat answer of so many words, one each `interval`.
fn ask(world: &World, interval: &str, words: u32) -> Request {
    world
        .post(STREAM)
        .key("demo-premium")
        .header("x-demo-interval", interval)
        .header("x-demo-events", words.to_string())
}

/// A world whose stream route takes a second of silence for the end.
async fn idle_after_a_second() -> World {
    World::with(|draft| draft.route(STREAM)["idle_timeout"] = json!("1s")).await
}

/// That it is a second later, give or take the tick and what a busy machine adds; never less.
fn after_a_second(earlier: Instant) {
    let passed = earlier.elapsed();
    let expected = Duration::from_secs(1)..Duration::from_secs(15);
    assert!(expected.contains(&passed), "{passed:?}");
}

/// The next event's data; none at the end and for `[DONE]`. Each arrives as one piece.
async fn next_event(stream: &mut Arriving) -> Option<Value> {
    let piece = stream.chunk().await.expect("an event or the end")?;
    let text = String::from_utf8_lossy(&piece).into_owned();
    let data = text.lines().find_map(|line| line.strip_prefix("data: "))?;
    serde_json::from_str(data).ok()
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock");
    u64::try_from(since.as_millis()).expect("milliseconds")
}
