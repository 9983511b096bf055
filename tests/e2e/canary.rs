//! A canary is tried by a part of a route's requests, and gets nothing any more when it fails.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Puppet, Request, World, eventually};

fn canary(percent: u32, abort_at: &str) -> Value {
    json!({"agent": "rag", "percent": percent, "header": "x-canary", "abort_at": abort_at})
}

async fn world(canary: Value, sticky: Option<Value>) -> World {
    World::with(|draft| {
        draft.workers(2);
        draft.configuration()["limits"] = json!([]);
        draft.configuration()["plans"] = json!({"standard": {}, "premium": {}});
        let mut route =
            json!({"prefix": "/try", "name": "try", "agents": ["memory"], "canary": canary});
        if let Some(sticky) = sticky {
            route["sticky"] = sticky;
        }
        *draft.routes() = vec![route, json!({"prefix": "/other", "agents": ["memory"]})];
    })
    .await
}

/// Sends so many of these, some at a time; who has answered how many.
async fn answers(requests: impl IntoIterator<Item = Request>) -> HashMap<String, usize> {
    let mut parts: Vec<Vec<Request>> = (0..8).map(|_| Vec::new()).collect();
    for (index, request) in requests.into_iter().enumerate() {
        parts[index % 8].push(request);
    }
    let mut callers = JoinSet::new();
    for part in parts {
        callers.spawn(async move {
            let mut agents = Vec::new();
            for request in part {
                let answer = request.send().await;
                agents.push(
                    answer
                        .header("x-demo-agent")
                        .expect("an agent's answer")
                        .to_owned(),
                );
            }
            agents
        });
    }
    let mut answers = HashMap::new();
    for agent in callers.join_all().await.into_iter().flatten() {
        *answers.entry(agent).or_default() += 1;
    }
    answers
}

const KEYS: [&str; 3] = ["demo-standard", "demo-premium", "demo-admin"];

/// One client after the other.
fn asking(world: &World, status: &str) -> Request {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let key = KEYS[ASKED.fetch_add(1, Ordering::SeqCst) % KEYS.len()];
    let request = world.get("/try/x").key(key);
    request.header("x-demo-status", status)
}

async fn counted(world: &World, outcome: &str) -> u64 {
    let labels = [("route", "try"), ("agent", "rag"), ("outcome", outcome)];
    let metrics = world.metrics().await;
    metrics.sum("waykeeper_canary_requests_total", &labels) as u64
}

async fn aborted(world: &World) -> u64 {
    let metrics = world.metrics().await;
    metrics.sum(
        "waykeeper_canary_aborted",
        &[("route", "try"), ("agent", "rag")],
    ) as u64
}

fn lines(world: &World) -> usize {
    let log = world.gateway().envoy_log();
    log.matches("the canary of the route \"try\" is aborted")
        .count()
}

#[tokio::test]
async fn a_part_of_the_requests_tries_the_canary_and_a_caller_may_choose() {
    let world = world(canary(20, "50%"), None).await;
    let all = answers((0..2000).map(|_| asking(&world, "200"))).await;
    // 5.5 standard deviations.
    assert!((302..=498).contains(&all["rag"]), "{all:?}");
    assert_eq!(all["rag"] + all["memory"], 2000);
    for (says, agent) in [("always", "rag"), ("never", "memory")] {
        let all = answers((0..40).map(|_| asking(&world, "200").header("x-canary", says))).await;
        assert_eq!(all, HashMap::from([(agent.to_owned(), 40)]));
    }
    assert_eq!(counted(&world, "answered").await, all["rag"] as u64 + 40);
    assert_eq!(aborted(&world).await, 0);
}

#[tokio::test]
async fn a_session_tries_it_or_not_and_stays_so_when_more_of_them_do() {
    let mut world = world(canary(20, "50%"), Some(json!({"header": "x-session"}))).await;
    let ask = |world: &World, session: usize| {
        asking(world, "200").header("x-session", session.to_string())
    };
    let mut trying = Vec::new();
    for session in 0..100 {
        let all = answers((0..3).map(|_| ask(&world, session))).await;
        assert_eq!(all.len(), 1, "{session}: {all:?}");
        trying.push(all.contains_key("rag"));
    }
    assert!(trying.contains(&true) && trying.contains(&false));
    world
        .reconfigure(|now| now["routes"][0]["canary"]["percent"] = json!(60))
        .await;
    for (session, tried) in trying.iter().enumerate() {
        let all = answers([ask(&world, session)]).await;
        assert!(!tried || all.contains_key("rag"), "{session}");
    }
}

#[tokio::test]
async fn a_canary_that_begins_to_fail_gets_nothing_any_more_until_its_own_lines_change() {
    let mut world = world(canary(50, "20%"), None).await;
    // Nothing is concluded of so few, whatever they say.
    let mut tried = 0;
    while tried < 40 {
        let all = answers([asking(&world, "500")]).await;
        tried += all.get("rag").copied().unwrap_or_default();
    }
    assert_eq!((aborted(&world).await, lines(&world)), (0, 0));
    // Of two failures of one client in a row the second does not count. Those under way when it is aborted still come to an end
    // there.
    let all = answers((0..1_000).map(|_| asking(&world, "500"))).await;
    tried += all["rag"];
    assert!((50..150).contains(&tried), "{tried}");
    assert_eq!(counted(&world, "failed").await, tried as u64);
    eventually("the log", || async { (lines(&world) == 1).then_some(()) }).await;
    assert_eq!(aborted(&world).await, 1);
    let only_memory = HashMap::from([("memory".to_owned(), 100)]);
    let ask = |world: &World| answers((0..100).map(|_| asking(world, "200")).collect::<Vec<_>>());
    assert_eq!(ask(&world).await, only_memory);

    // A reload of anything else leaves it so.
    for timeout in ["7s", "8s"] {
        world
            .reconfigure(|now| {
                now["routes"][0]["timeout"] = json!(timeout);
                now["routes"].as_array_mut().expect("routes").swap(0, 1);
                now["routes"].as_array_mut().expect("routes").swap(0, 1);
                now["routes"][1]["timeout"] = json!(timeout);
            })
            .await;
        assert_eq!(ask(&world).await, only_memory);
        assert_eq!(aborted(&world).await, 1);
    }
    // Its callers may ask for it all the same.
    let forced = asking(&world, "200").header("x-canary", "always");
    assert!(answers([forced]).await.contains_key("rag"));

    // One of its own lines: it is tried again, and counted anew.
    world
        .reconfigure(|now| now["routes"][0]["canary"]["percent"] = json!(60))
        .await;
    assert_eq!(aborted(&world).await, 0);
    let all = ask(&world).await;
    assert!(all["rag"] > 20, "{all:?}");
    assert_eq!(lines(&world), 1);
}

#[tokio::test]
async fn a_canary_that_is_gone_late_or_breaks_off_has_failed() {
    let agent = Puppet::listen().await;
    let world = World::with(|draft| {
        draft.connect("rag", &[agent.address()]);
        let canary = canary(100, "50%");
        *draft.routes() = vec![json!({
            "prefix": "/try", "name": "try", "agents": ["memory"], "canary": canary, "timeout": "10s", "streams": true,
            "first_byte_timeout": "2s",
        })];
    })
    .await;
    let asked = || tokio::spawn(world.get("/try/x").key("demo-premium").send());

    // It says nothing.
    let caller = asked();
    let silent = agent.accept().await;
    assert_eq!(caller.await.expect("a caller").status, 504);
    drop(silent);
    eventually("late", || async {
        (counted(&world, "failed").await == 1).then_some(())
    })
    .await;

    // It breaks its answer off.
    let caller = tokio::spawn(world.get("/try/x").key("demo-premium").begin());
    let mut breaking = agent.accept().await;
    breaking.read_until("\r\n\r\n").await;
    breaking
        .write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
        .await;
    let mut stream = caller.await.expect("a caller");
    stream.chunk().await.expect("an event");
    drop(breaking);
    assert!(stream.chunk().await.is_err());
    eventually("broken off", || async {
        (counted(&world, "failed").await == 2).then_some(())
    })
    .await;

    // It is not there.
    drop(agent);
    assert_eq!(asked().await.expect("a caller").status, 503);
    eventually("gone", || async {
        (counted(&world, "failed").await == 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_client_ends_no_canary_for_others_and_two_do() {
    let world = world(canary(100, "5%"), None).await;
    let ask = |key: &str, status: &str| {
        let request = world.get("/try/x").key(key);
        request.header("x-demo-status", status)
    };
    let other = || (0..5).map(|_| ask("demo-admin", "200"));
    // A request in ten is another client's, and is answered.
    for _ in 0..12 {
        answers(other()).await;
        let all = answers((0..45).map(|_| ask("demo-premium", "500"))).await;
        assert_eq!(all.get("rag"), Some(&45));
    }
    assert_eq!((aborted(&world).await, lines(&world)), (0, 0));
    assert_eq!(counted(&world, "failed").await, 12 * 45);
    // It fails for another as well.
    let both = (0..20).flat_map(|_| [ask("demo-premium", "500"), ask("demo-admin", "500")]);
    answers(both).await;
    eventually("its end", || async {
        (aborted(&world).await == 1).then_some(())
    })
    .await;
}
