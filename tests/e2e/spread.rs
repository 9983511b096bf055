//! Requests that have something in common go to one agent of their route, as many as the agents' weights say.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Request, World};

const SESSIONS: usize = 4000;
const AGAIN: usize = 800;

/// As many standard deviations as a fair choice strays from less than once in twenty million times: three agents are looked at,
/// a few times.
const STRAYS: f64 = 5.5;

async fn world() -> World {
    World::with(|draft| {
        draft.workers(2);
        draft.configuration()["limits"] = json!([]);
        draft.configuration()["plans"] = json!({"standard": {}, "premium": {}});
        let agents = json!([
            {"agent": "chat-gpu", "weight": 5},
            {"agent": "chat-cpu", "weight": 3},
            {"agent": "memory", "weight": 2},
        ]);
        *draft.routes() = vec![
            json!({"prefix": "/session", "agents": agents, "sticky": {"header": "x-session"}}),
            json!({"prefix": "/client", "agents": agents, "sticky": {"client": true}}),
            json!({
                "prefix": "/ruled",
                "agents": ["rag"],
                "rules": [{"match": {"method": "GET"}, "agents": agents}],
                "sticky": {"query": "s"},
            }),
        ];
    })
    .await
}

/// Who answers each of these requests, sent some at a time.
async fn answers(requests: impl Iterator<Item = Request>) -> Vec<String> {
    let mut parts: Vec<Vec<(usize, Request)>> = (0..16).map(|_| Vec::new()).collect();
    for (index, request) in requests.enumerate() {
        parts[index % 16].push((index, request));
    }
    let mut callers = JoinSet::new();
    for part in parts {
        callers.spawn(async move {
            let mut agents = Vec::new();
            for (index, request) in part {
                let answer = request.send().await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                let agent = answer.header("x-demo-agent").expect("an agent's answer");
                agents.push((index, agent.to_owned()));
            }
            agents
        });
    }
    let all = callers.join_all().await.into_iter().flatten();
    let all: BTreeMap<usize, String> = all.collect();
    all.into_values().collect()
}

async fn of_sessions(world: &World, number: usize) -> Vec<String> {
    let request = |session: usize| {
        let request = world.get("/session/x").key("demo-premium");
        request.header("x-session", format!("session {session}"))
    };
    answers((0..number).map(request)).await
}

fn assert_shares(answers: &[String], expected: &[(&str, f64)]) {
    let mut shares = HashMap::<&str, f64>::new();
    for agent in answers {
        *shares.entry(agent).or_default() += 1.0;
    }
    assert_eq!(shares.len(), expected.len(), "{shares:?}");
    for (agent, part) in expected {
        let mean = answers.len() as f64 * part;
        let strays = (shares[agent] - mean).abs() / (mean * (1.0 - part)).sqrt();
        assert!(strays < STRAYS, "{agent}: {shares:?}");
    }
}

async fn assert_on_both_workers(world: &World) {
    for worker in ["worker_0", "worker_1"] {
        let connections = format!("listener.127.0.0.1_0.{worker}.downstream_cx_total");
        let admin = world.gateway().admin();
        assert_ne!(admin.stat(&connections).await.expect("a statistic"), 0);
    }
}

#[tokio::test]
async fn sessions_are_shared_by_weight_and_stay_and_only_the_changed_share_moves() {
    let mut world = world().await;
    let first = of_sessions(&world, SESSIONS).await;
    assert_shares(
        &first,
        &[("chat-gpu", 0.5), ("chat-cpu", 0.3), ("memory", 0.2)],
    );
    let again = of_sessions(&world, AGAIN).await;
    assert_eq!(again, first[..AGAIN], "each session stays");
    assert_on_both_workers(&world).await;

    // One more agent, with a part of what all others have: it gets that of each, and nothing else moves.
    world
        .reconfigure(|now| {
            let agents = now["routes"][0]["agents"].as_array_mut().expect("agents");
            agents.insert(0, json!({"agent": "rag", "weight": 10}));
        })
        .await;
    let second = of_sessions(&world, SESSIONS).await;
    assert_shares(
        &second,
        &[
            ("rag", 0.5),
            ("chat-gpu", 0.25),
            ("chat-cpu", 0.15),
            ("memory", 0.1),
        ],
    );
    for (before, after) in first.iter().zip(&second) {
        assert!(before == after || after == "rag", "{before} to {after}");
    }

    // And it gives all of that back.
    world
        .reconfigure(|now| {
            let agents = now["routes"][0]["agents"].as_array_mut().expect("agents");
            agents.remove(0);
        })
        .await;
    assert_eq!(of_sessions(&world, AGAIN).await, first[..AGAIN]);
}

#[tokio::test]
async fn who_says_nothing_is_spread_at_random_and_who_names_an_agent_gets_it() {
    let world = world().await;
    let nothing = || world.get("/session/x").key("demo-premium");
    let empty = || nothing().header("x-session", "");
    let requests = (0..2000).flat_map(|_| [nothing(), empty()]);
    assert_shares(
        &answers(requests).await,
        &[("chat-gpu", 0.5), ("chat-cpu", 0.3), ("memory", 0.2)],
    );
    for agent in ["chat-gpu", "chat-cpu", "memory"] {
        let named = nothing()
            .header("x-session", "one")
            .header("x-agent", agent);
        assert_eq!(named.send().await.echo().agent, agent);
    }
}

#[tokio::test]
async fn a_clients_requests_go_to_one_agent_and_so_do_those_that_a_rule_takes() {
    let world = world().await;
    for (path, key) in [
        ("/client/x", "demo-premium"),
        ("/client/x", "demo-standard"),
        ("/ruled/x?s=one", "demo-premium"),
        ("/ruled/x?s=%6fne", "demo-premium"),
    ] {
        let all = answers((0..40).map(|_| world.get(path).key(key))).await;
        assert!(
            all.iter().all(|agent| *agent == all[0]),
            "{path} {key}: {all:?}"
        );
        assert_ne!(all[0], "rag");
    }
    let sessions = (0..200).map(|session| {
        let path = format!("/ruled/x?s={session}");
        world.get(&path).key("demo-premium")
    });
    let mut all = answers(sessions).await;
    all.sort();
    all.dedup();
    assert_eq!(all, ["chat-cpu", "chat-gpu", "memory"]);
}

#[tokio::test]
async fn a_session_that_an_agent_names_cannot_say_which_agent() {
    let mut world = world().await;
    let refused = |sticky: Value| move |now: &mut Value| now["routes"][0]["sticky"] = sticky;
    for (sticky, said) in [
        (
            json!({"header": "mcp-session-id"}),
            "routes[0].sticky: a session that an agent names",
        ),
        (
            json!({"header": "x-api-key"}),
            "routes[0].sticky: that is where keys stand",
        ),
    ] {
        assert!(!world.offer(refused(sticky)).await);
        assert!(world.gateway().envoy_log().contains(said), "{said}");
    }
}
