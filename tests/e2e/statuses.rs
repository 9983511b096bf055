//! Statuses that are none of HTTP's: Envoy passes on what it can read as a number, and the agent has failed by them.

use std::future::Future;

use serde_json::json;

use crate::harness::{Puppet, World, eventually};

#[tokio::test]
async fn an_agent_has_failed_by_a_status_that_is_none_and_by_one_that_nobody_can_read() {
    let agent = Puppet::listen().await;
    let world = World::with(|draft| {
        draft.connect("rag", &[agent.address()]);
        let rest = json!({"failures": 1000, "error_rate": "100%"});
        draft.configuration()["agents"]["rag"]["rest"] = rest;
        let canary = json!({"agent": "rag", "percent": 100});
        *draft.routes() =
            vec![json!({"prefix": "/try", "name": "try", "agents": ["memory"], "canary": canary})];
    })
    .await;
    let ask = |status: &'static str| {
        let request = "GET /try/x HTTP/1.1\r\nhost: a\r\nx-api-key: demo-premium\r\nconnection: close\r\n\r\n";
        let (world, agent) = (&world, &agent);
        async move {
            let answers = async {
                let mut exchange = agent.accept().await;
                exchange.read_until("\r\n\r\n").await;
                let line = format!("HTTP/1.1 {status} Odd\r\ncontent-length: 0\r\n\r\n");
                exchange.write(&line).await;
            };
            let (answer, ()) = tokio::join!(world.raw(request), answers);
            let line = answer.text().lines().next().unwrap_or_default().to_owned();
            line.split(' ').nth(1).unwrap_or_default().to_owned()
        }
    };
    let sum = |name: &'static str, labels: [(&'static str, &'static str); 2]| {
        let world = &world;
        async move { world.metrics().await.sum(name, &labels) }
    };
    let failed = |outcome| {
        sum(
            "waykeeper_agent_failures_total",
            [("agent", "rag"), ("outcome", outcome)],
        )
    };
    let canary = |outcome| {
        sum(
            "waykeeper_canary_requests_total",
            [("agent", "rag"), ("outcome", outcome)],
        )
    };
    for status in ["204", "304", "499"] {
        assert_eq!(ask(status).await, status);
    }
    for status in ["599", "600", "999", "1000", "99", "50", "5", "0"] {
        assert_eq!(ask(status).await, status);
    }
    // Interim answers, and no other behind them; and no numbers.
    for status in ["100", "103", "199"] {
        assert_eq!(ask(status).await, "503", "{status}");
    }
    for status in ["5xx", "-200"] {
        assert_eq!(ask(status).await, "502", "{status}");
    }
    is(8.0, "status", || failed("status")).await;
    is(5.0, "no answer", || failed("no_answer")).await;
    is(3.0, "answered", || canary("answered")).await;
    is(13.0, "failed", || canary("failed")).await;
    let allowed = [("route", "try"), ("outcome", "allowed")];
    assert_eq!(
        sum("waykeeper_requests_total", allowed).await,
        11.0,
        "they were passed on"
    );
}

async fn is<F: Future<Output = f64>>(expected: f64, what: &str, count: impl Fn() -> F) {
    eventually(what, || async { (count().await == expected).then_some(()) }).await;
}
