//! Routes whose answers may be event streams: whatever is none has its time to the end, a stream has as much as it uses.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;

use crate::harness::{Request, World, eventually};

const CHAT: &str = "/v1/chat/completions";
const NOTES: &str = "/api/v1/memory/notes";

/// Chats and notes are to be answered within a second, unless they are streams; these may be silent for two.
async fn world() -> World {
    World::with(|draft| {
        for route in [CHAT, "/api/v1/memory"] {
            let route = draft.route(route);
            route["streams"] = json!(true);
            route["timeout"] = json!("1s");
            route["idle_timeout"] = json!("2s");
        }
        draft.route("/api/v1/memory")["retry"] = json!({"max_attempts": 10, "retry_on": [503]});
    })
    .await
}

/// A chat of fourteen words, one each `interval`.
fn chat(world: &World, interval: &str) -> Request {
    world
        .request("POST", CHAT)
        .key("demo-premium")
        .header("content-type", "application/json")
        .header("x-demo-events", "14")
        .header("x-demo-interval", interval)
        .body(r#"{"model":"demo","stream":true,"messages":[{"role":"user","content":"Hello"}]}"#)
}

#[tokio::test]
async fn a_stream_outlives_the_timeout_of_its_route_and_anything_else_does_not() {
    let world = world().await;
    let notes = || world.get(NOTES).key("demo-premium");

    let whole = async {
        let begun = Instant::now();
        let answer = chat(&world, "200ms").send().await;
        assert!(answer.text().ends_with("data: [DONE]\n\n"), "{answer:?}");
        assert!(begun.elapsed() > Duration::from_secs(2));
    };
    let silent = async {
        // The gateway has passed the event on before it is seen here.
        let begun = Instant::now();
        let mut stream = chat(&world, "1h").http2().begin().await;
        stream.chunk().await.expect("an event");
        stream.cut_off().await;
        assert!(begun.elapsed() > Duration::from_secs(2));
    };
    // No stream: it is cut off in the middle, however much it says.
    let long = async {
        let begun = Instant::now();
        let request = notes()
            .header("x-demo-size", "50000000")
            .header("x-demo-interval", "50ms");
        let mut answer = request.begin().await;
        assert_eq!(answer.status, 200);
        let id = answer.header("x-request-id").expect("an id").to_owned();
        answer.cut_off().await;
        in_time(begun);
        let logged = world.access_log_of(&id).await;
        assert_eq!(logged["details"], "waykeeper_agent_timeout");
    };
    // Before its headers Envoy keeps the time, to the millisecond.
    let late = async {
        let begun = Instant::now();
        let refused = chat(&world, "1h").header("x-demo-delay", "1h").send().await;
        assert_eq!(refused.refused(), (504, "agent_timeout".to_owned()));
        in_time(begun);
        let logged = world.access_log(&refused).await;
        assert_eq!(logged["flags"], "UT", "{logged}");
        refused.json()
    };
    // One try after the other, each in time.
    let retried = async {
        let begun = Instant::now();
        let refused = notes()
            .header("x-demo-status", "503")
            .header("x-demo-delay", "150ms")
            .send()
            .await;
        assert_eq!(refused.refused(), (504, "agent_timeout".to_owned()));
        in_time(begun);
        let logged = world.access_log(&refused).await;
        assert_eq!(logged["details"], "waykeeper_agent_timeout");
        assert!(logged["attempts"].as_u64() > Some(1), "{logged}");
        refused.json()
    };
    let ((), (), (), by_envoy, by_filter) = tokio::join!(whole, silent, long, late, retried);

    // Whoever keeps the time, callers are told the same.
    for field in ["type", "title", "detail"] {
        assert_eq!(by_envoy[field], by_filter[field], "{field}");
    }
}

/// What has left the agent is answered, however slowly its caller reads.
#[tokio::test]
async fn a_slow_reader_is_not_the_agents_fault() {
    const SIZE: usize = 200_000;
    let world = world().await;
    let stream = TcpStream::connect(world.address()).await.expect("connect");
    let mut narrow = http2::Builder::new(TokioExecutor::new());
    narrow.initial_stream_window_size(1000);
    let connected = narrow.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.expect("HTTP/2");
    tokio::spawn(connection);
    let request = hyper::Request::get(format!("http://a{NOTES}"))
        .header("x-api-key", "demo-premium")
        .header("x-demo-size", SIZE.to_string())
        .body(Empty::<Bytes>::new());
    let response = sender.send_request(request.expect("a request")).await;
    let body = response.expect("an answer").into_body();

    // Another stream has its whole time meanwhile, and more.
    let mut silent = chat(&world, "1h").begin().await;
    silent.cut_off().await;

    let whole = body.collect().await.expect("all of it").to_bytes();
    assert_eq!(whole.len(), SIZE);
    let allowed = [("route", "/api/v1/memory"), ("outcome", "allowed")];
    eventually("its end", || async {
        let metrics = world.metrics().await;
        (metrics.sum("waykeeper_requests_total", &allowed) == 1.0).then_some(())
    })
    .await;
    let late = [("route", "/api/v1/memory"), ("outcome", "agent_timeout")];
    assert_eq!(
        world.metrics().await.sum("waykeeper_requests_total", &late),
        0.0
    );
}

/// A caller that stops in the middle of its question is told so, and no agent is blamed.
#[tokio::test]
async fn a_question_that_stops_is_the_caller_s_fault() {
    let world = world().await;
    let mut upload = world.request("POST", NOTES).key("demo-premium").upload();
    assert!(upload.write("half").await);

    let refused = upload.answer().await;

    assert_eq!(refused.refused(), (408, "request_timeout".to_owned()));
    let logged = world.access_log(&refused).await;
    assert_eq!(logged["details"], "waykeeper_request_timeout");
}

/// The time begins when the request is there: a slow caller takes none of the agent's.
#[tokio::test]
async fn a_caller_may_take_longer_for_its_question_than_the_agent_may_for_its_answer() {
    let world = world().await;
    let begun = Instant::now();
    let mut upload = world.request("POST", NOTES).key("demo-premium").upload();

    while begun.elapsed() < Duration::from_millis(2500) {
        assert!(upload.write("a word").await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    upload.end();

    let echo = upload.answer().await.echo();
    assert!(echo.body_bytes > 0);
}

/// That it is a second later, but for the milliseconds that Envoy's timers may be early, and as much as two ticks and a busy
/// machine add.
fn in_time(earlier: Instant) {
    let passed = earlier.elapsed();
    let expected = Duration::from_millis(950)..Duration::from_secs(15);
    assert!(expected.contains(&passed), "{passed:?}");
}
