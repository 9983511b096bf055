//! How a WebSocket ends says nothing of its agent: whoever closes it, the agent is to close the connection (RFC 6455, section 7.1.1),
//! and that looks like one that breaks off.

use std::net::SocketAddr;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::{CHAT, finished, handshake, next, open, send};
use crate::harness::{Draft, PATIENCE, Puppet, World, eventually};
use crate::resting::stand_on_agents_side;

/// Its agent rests after one failure.
const JUDGED: &str = "/judged";
/// The same, judged by each attempt.
const ATTEMPTS: &str = "/attempts";
/// Has a canary.
const TRIED: &str = "/tried";
/// Its agent, which rests as well, is a test's.
const RUDE: &str = "/rude";

const KEY: (&str, &str) = ("x-api-key", "demo-premium");

#[tokio::test]
async fn however_a_socket_ends_its_agent_neither_rests_nor_is_a_canary_that_fails() {
    let rude = Puppet::listen().await;
    let rude_at = rude.address();
    let world = World::with(|draft| routes(draft, rude_at)).await;
    for path in [JUDGED, ATTEMPTS, TRIED] {
        // The caller says the last word.
        let (mut socket, _) = open(&world, path, &[KEY]).await;
        send(&mut socket, Message::Close(None)).await;
        assert_eq!(next(&mut socket).await, Message::Close(None));
        finished(&mut socket).await;
        // The agent does.
        let (mut socket, _) = open(&world, path, &[KEY, ("x-demo-close", "4001")]).await;
        send(&mut socket, Message::text("go")).await;
        assert_eq!(next(&mut socket).await, Message::text("go"));
        assert!(matches!(next(&mut socket).await, Message::Close(Some(_))));
        finished(&mut socket).await;
        // Nobody says anything for its `idle_timeout`.
        let (mut socket, _) = open(&world, path, &[KEY]).await;
        let end = timeout(PATIENCE, socket.next()).await.expect("no end");
        assert!(!matches!(end, Some(Ok(_))), "{end:?}");
        // The caller is gone without a word.
        let (socket, _) = open(&world, path, &[KEY]).await;
        drop(socket);
        // And it is asked as before.
        open(&world, path, &[KEY]).await;
    }
    // Nor where the agent hangs up without a word.
    for _ in 0..3 {
        let opened = handshake(&world, RUDE, &[KEY]);
        let (answer, ()) = tokio::join!(opened, async {
            let mut exchange = rude.accept().await;
            exchange.read_until("\r\n\r\n").await;
            exchange.write("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n").await;
        });
        assert_eq!(answer.status, 101, "{}", answer.text());
    }
    eventually("the canary's sockets", || async {
        let metrics = world.metrics().await;
        let canary = |outcome: &'static str| {
            let labels = [("agent", "rag"), ("outcome", outcome)];
            metrics.sum("waykeeper_canary_requests_total", &labels)
        };
        assert_eq!(canary("failed"), 0.0);
        (canary("answered") == 5.0).then_some(())
    })
    .await;
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("waykeeper_agent_failures_total", &[]), 0.0);
    assert_eq!(metrics.sum("waykeeper_agent_rests_total", &[]), 0.0);
}

fn routes(draft: &mut Draft, rude: SocketAddr) {
    draft.add_cluster("rude", &[rude]);
    let configuration = draft.configuration();
    configuration["limits"] = json!([]);
    let rest = json!({"failures": 1, "first": "1h", "longest": "1h"});
    for agent in ["chat-gpu", "chat-cpu"] {
        configuration["agents"][agent]["rest"] = rest.clone();
    }
    configuration["agents"]["rude"] = json!({"cluster": "rude", "rest": rest});
    let canary = json!({"agent": "rag", "percent": 100, "abort_at": "0%"});
    for (prefix, agent, canary) in [
        (JUDGED, "chat-gpu", Value::Null),
        (ATTEMPTS, "chat-cpu", Value::Null),
        (TRIED, "memory", canary),
        (RUDE, "rude", Value::Null),
    ] {
        let mut route = json!({"prefix": prefix, "agents": [agent], "protocol": "websocket", "prefix_rewrite": CHAT, "idle_timeout": "1s"});
        if !canary.is_null() {
            route["canary"] = canary;
        }
        draft.routes().push(route);
    }
    stand_on_agents_side(draft, "chat-cpu");
}
