//! Agents over real sockets.

mod chats;
mod echoes;
mod faults;
mod streams;
mod websockets;

use std::time::{Duration, Instant};

use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use super::{Agent, Stats, start};

/// An agent called `chat-gpu` on a port of its own.
async fn agent() -> Agent {
    start("chat-gpu", "127.0.0.1:0").await.unwrap()
}

fn url(agent: &Agent, path: &str) -> String {
    format!("http://{}{path}", agent.address())
}

fn get(agent: &Agent, path: &str) -> RequestBuilder {
    reqwest::Client::new().get(url(agent, path))
}

fn post(agent: &Agent, path: &str) -> RequestBuilder {
    reqwest::Client::new().post(url(agent, path))
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.unwrap()
}

async fn json(request: RequestBuilder) -> Value {
    let response = send(request).await;
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

/// The events of a stream, as their names and data.
async fn events(request: RequestBuilder) -> Vec<(Option<String>, String)> {
    let response = send(request).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap().replace("\r\n", "\n");
    let events = text
        .strip_suffix("\n\n")
        .expect("ends with an event")
        .split("\n\n");
    events
        .map(|event| match event.split_once('\n') {
            Some((name, data)) => (
                Some(name.strip_prefix("event: ").unwrap().to_owned()),
                data.strip_prefix("data: ").unwrap().to_owned(),
            ),
            None => (None, event.strip_prefix("data: ").unwrap().to_owned()),
        })
        .collect()
}

/// Waits until the agent's counts are as they should be.
async fn until(agent: &Agent, reached: impl Fn(&Stats) -> bool) -> Stats {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let stats = agent.stats();
        if reached(&stats) {
            return stats;
        }
        assert!(Instant::now() < deadline, "{stats:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
