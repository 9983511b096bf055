//! Agents that rest, judged by each attempt: the module stands in their clusters too, where `waykeeper envoy` has put it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use tokio::time::sleep;

use crate::caller::Caller;
use crate::gateway::{Around, Gateway, free_address};
use crate::stand_in::{Came, StandIn};

/// Fails each request that asks for it the first time that it comes.
async fn flaky() -> StandIn {
    let came = AtomicUsize::new(0);
    StandIn::start(move |request: &Came| {
        let asked = request.header("x-fail").is_some();
        let fails = asked && came.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        let answer = Response::builder().status(if fails { 500 } else { 200 });
        answer
            .body(Full::from(Bytes::from("flaky")))
            .expect("an answer")
    })
    .await
}

async fn rests(version: Option<&'static str>) {
    let directory = tempfile::tempdir().expect("a directory");
    let flaky = flaky().await;
    let [listen, operations] = [(); 2].map(|()| free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
clients:
  keys:
    - {{sha256: 'c018c41c1afaf2c0b66c64f97d0ee135657b699ad260f299234cd40a5d625e0e', client_id: me}}
agents:
  flaky: {{url: 'http://{flaky}', sees: [], rest: {{failures: 1, first: 1m, each_attempt: true}}}}
  other: {{url: 'http://{flaky}', weight: 0}}
routes:
  - {{prefix: /v1, agents: [flaky, other], retry: {{max_attempts: 2, retry_on: [500]}}}}
",
        flaky = flaky.address,
    );
    let around = Around {
        version,
        ..Around::default()
    };
    let _gateway = Gateway::start_with(directory.path(), &text, &around, operations).await;
    let caller = Caller::of(listen);
    let key = ("x-api-key", "example-key");
    let answer = caller.get("/v1/chat", &[key, ("x-fail", "first")]).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "flaky"));
    // The caller's side may go by what it has read before for 50 ms.
    sleep(Duration::from_millis(100)).await;
    let refused = caller.get("/v1/chat", &[key]).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["error"]["code"], "agents_resting");
    assert!(refused.header("retry-after").is_some());
    let named = caller.get("/v1/chat", &[key, ("x-agent", "other")]).await;
    assert_eq!(named.status, 200);
    let came = flaky.came();
    assert_eq!(came.len(), 3, "two attempts, and the other's");
    let reserved = |came: &Came| {
        let mut names = came.headers.keys().map(|name| name.as_str());
        names.any(|name| name.starts_with("x-waykeeper-"))
    };
    assert!(!came[..2].iter().any(reserved));
}

#[tokio::test]
async fn an_attempt_that_failed_within_a_request_counts() {
    rests(None).await;
}

#[tokio::test]
async fn so_it_does_with_older_envoys() {
    for version in ["1.36.4", "1.39.3"] {
        rests(Some(version)).await;
    }
}
