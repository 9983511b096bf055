//! What is counted lies in Envoy's memory: a change of the file keeps it, and a new process begins with full buckets and empty
//! windows.

use rustix::process::Signal;

use crate::caller::Caller;
use crate::gateway::{agent, free_address};
use crate::running::{Running, at, gateway, lives};

/// The limits of the file: a bucket and two windows, whoever calls.
const LIMITS: &str = "limits:
  - {name: bucket, each: route, match: {route: /bucket}, requests: 3/day}
  - {name: sliding, each: route, match: {route: /sliding}, requests: 3/day, algorithm: sliding_window}
  - {name: fixed, each: route, match: {route: /fixed}, requests: 3/month, algorithm: fixed_window}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_keeps_what_is_counted_and_a_restart_begins_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = agent("one").await;
    let listen = free_address();
    let caller = Caller::of(listen);
    let routes = ["bucket", "sliding", "fixed"];
    let agents = routes.map(|route| (route, at(agent.address())));
    let text = gateway(listen, &agents, LIMITS);
    let ask = async |expected: &[u16]| {
        for route in routes {
            for status in expected {
                let answer = caller.get(&format!("/{route}"), &[]).await;
                assert_eq!(answer.status, *status, "{route}: {}", answer.text());
            }
        }
    };

    let mut running = Running::start(directory.path(), &text, &[]).await;
    let envoy = running.envoy();
    ask(&[200, 200]).await;

    // All of it that may change: agents, limits beside these, a plan.
    let changed = text
        .replace(
            "\nagents:",
            "\nplans: {standard: {requests: 9/hour}}\nagents:",
        )
        .replace(
            "  - {name: sliding",
            "  - {name: more, each: route, requests: 900/hour}\n  - {name: sliding",
        )
        .replacen(
            &at(agent.address()),
            &format!("{{url: 'http://{}', weight: 2}}", agent.address()),
            1,
        );
    running.change(&changed).await;
    ask(&[200, 429, 429]).await;
    assert_eq!(running.envoy(), envoy, "Envoy was started again");

    running.signal(Signal::INT);
    assert_eq!(running.ended().await.code(), Some(0), "{}", running.said());
    assert!(!lives(envoy));
    let _again = Running::start(directory.path(), &changed, &[]).await;
    ask(&[200, 200, 200, 429]).await;
}
