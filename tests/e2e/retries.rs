//! Second attempts: what never reached an agent is tried at another host, and what failed, where the route says so.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{Draft, Puppet, World, free_address};

const NOTES: &str = "/api/v1/memory/notes";

/// The memory has two hosts, of which one refuses, and nobody has noticed yet.
fn half_refusing(draft: &mut Draft, refusing: SocketAddr) {
    let memory = draft.services.agent("memory").expect("the agent").address();
    draft.connect("memory", &[memory, refusing]);
    let cluster = draft.cluster("memory");
    cluster["outlier_detection"] = json!({"enforcing_consecutive_local_origin_failure": 0});
    cluster["lb_policy"] = json!("ROUND_ROBIN");
}

#[tokio::test]
async fn a_host_that_refuses_is_passed_over() {
    let refusing = free_address();
    let world = World::with(|draft| half_refusing(draft, refusing)).await;

    let mut attempts = 0;
    for _ in 0..20 {
        let served = world.get(NOTES).key("demo-premium").send().await;
        assert_eq!(served.status, 200, "{}", served.text());
        attempts += world.access_log(&served).await["attempts"]
            .as_u64()
            .expect("a number");
    }

    assert!(attempts > 20, "no request met the refusing host");
}

#[tokio::test]
async fn a_host_that_refuses_is_left_out_once_noticed() {
    let refusing = free_address();
    let world = World::with(|draft| {
        let health_checks = draft.cluster("memory")["health_checks"].clone();
        half_refusing(draft, refusing);
        draft.cluster("memory")["health_checks"] = health_checks;
    })
    .await;

    for _ in 0..10 {
        let served = world.get(NOTES).key("demo-premium").send().await;
        assert_eq!(world.access_log(&served).await["attempts"], 1);
    }
}

#[tokio::test]
async fn a_route_says_which_statuses_are_worth_another_attempt() {
    let world = World::start().await;
    let chat = |id: &str, failures: &str, status: &str| {
        world
            .post("/api/v1/chat")
            .key("demo-premium")
            .header("x-agent", "chat-gpu")
            .header("x-demo-id", id)
            .header("x-demo-fail-first", failures)
            .header("x-demo-status", status)
    };

    let once = chat("once", "1", "503").send().await;
    let twice = chat("twice", "2", "503").send().await;
    let other = chat("other", "1", "500").send().await;

    assert_eq!(once.status, 200);
    // Two attempts in all, and then the agent's own answer.
    assert_eq!(twice.status, 503);
    assert_eq!(other.status, 500);
    let stats = world.agent("chat-gpu").stats();
    assert_eq!(stats.attempts_of("once"), 2);
    assert_eq!(stats.attempts_of("twice"), 2);
    assert_eq!(stats.attempts_of("other"), 1);
}

#[tokio::test]
async fn a_route_that_says_nothing_repeats_nothing_that_reached_its_agent() {
    let world = World::start().await;

    let failed = world
        .get(NOTES)
        .key("demo-premium")
        .header("x-demo-id", "once")
        .header("x-demo-status", "503")
        .send()
        .await;

    assert_eq!(failed.status, 503);
    assert_eq!(world.agent("memory").stats().attempts_of("once"), 1);
}

#[tokio::test]
async fn an_attempt_that_is_silent_for_too_long_is_followed_by_another() {
    let world = World::with(|draft| {
        let route = draft.route("/api/v1/memory");
        route["first_byte_timeout"] = json!("1500ms");
        route["retry"] = json!({"max_attempts": 2, "retry_on": [503]});
    })
    .await;

    let served = world
        .get(NOTES)
        .key("demo-premium")
        .header("x-demo-id", "slow")
        .header("x-demo-fail-first", "1")
        .header("x-demo-delay", "1h")
        .send()
        .await;

    assert_eq!(served.status, 200, "{}", served.text());
    assert_eq!(world.agent("memory").stats().attempts_of("slow"), 2);
}

#[tokio::test]
async fn the_first_attempt_is_one_of_the_most() {
    let world = World::with(|draft| {
        let route = |most: u32| {
            json!({
                "prefix": format!("/most/{most}"),
                "agents": ["memory"],
                "retry": {"max_attempts": most, "retry_on": [502]},
            })
        };
        draft.routes().extend([route(1), route(2), route(4)]);
    })
    .await;

    for most in [1, 2, 4] {
        let id = most.to_string();
        let failed = world
            .get(&format!("/most/{most}"))
            .key("demo-premium")
            .header("x-demo-id", &id)
            .header("x-demo-status", "502")
            .send()
            .await;
        assert_eq!(failed.status, 502);
        assert_eq!(world.agent("memory").stats().attempts_of(&id), most);
        assert_eq!(world.access_log(&failed).await["attempts"], most);
    }
}

#[tokio::test]
async fn a_body_is_sent_again_as_far_as_envoy_keeps_it() {
    let world = World::with(|draft| {
        draft.route("/api/v1/search")["retry"] = json!({"max_attempts": 2, "retry_on": [503]});
    })
    .await;
    let upload = |id: &str, bytes: usize| {
        world
            .request("POST", "/api/v1/search")
            .key("demo-premium")
            .header("x-demo-id", id)
            .header("x-demo-fail-first", "1")
            .body("b".repeat(bytes))
            .send()
    };

    let kept = upload("kept", 900 * 1024).await;
    let too_large = upload("too-large", 3 * 1024 * 1024).await;

    assert_eq!(kept.echo().body_bytes, 900 * 1024);
    assert_eq!(world.agent("rag").stats().attempts_of("kept"), 2);
    // It passes all the same, and what the agent says of it comes back.
    assert_eq!(too_large.status, 503);
    assert_eq!(too_large.header("x-demo-agent"), Some("rag"));
    assert_eq!(world.agent("rag").stats().attempts_of("too-large"), 1);
}

#[tokio::test]
async fn a_host_that_refuses_costs_no_upload_and_no_stream() {
    let refusing = free_address();
    let world = World::with(|draft| {
        half_refusing(draft, refusing);
        draft.workers(2);
        draft.route("/api/v1/memory")["protocol"] = json!("sse");
    })
    .await;

    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let request = world.request("POST", NOTES).key("demo-premium");
        let request = request.body("c".repeat(caller * 100_000));
        callers.spawn(async move {
            for _ in 0..5 {
                let served = request.clone().send().await;
                assert_eq!(served.echo().body_bytes, caller as u64 * 100_000);
            }
        });
    }
    callers.join_all().await;

    let refused = "cluster.memory.upstream_cx_connect_fail";
    let refused = world.gateway().admin().stat(refused).await;
    assert_ne!(refused.expect("a statistic"), 0);
}

/// The draw knows nothing of health, and no attempt goes to another agent.
#[tokio::test]
async fn an_agent_is_drawn_once_whatever_its_health() {
    let refusing = free_address();
    let world = World::with(|draft| {
        draft.lead("chat-gpu", &[refusing]);
        for agent in ["chat-gpu", "chat-cpu"] {
            draft.configuration()["agents"][agent]["weight"] = json!(1);
        }
    })
    .await;

    let mut served = 0;
    for _ in 0..60 {
        let answer = world.post("/api/v1/chat").key("demo-premium").send().await;
        match answer.status {
            200 => served += 1,
            _ => assert_eq!(answer.refused(), (503, "agent_unreachable".to_owned())),
        }
    }

    // Half of them, give or take what happens less than once in a million times.
    assert!((10..=50).contains(&served), "{served}");
}

#[tokio::test]
async fn an_agents_wait_is_waited_for_where_envoys_route_says_so_and_else_not() {
    let agent = Puppet::listen().await;
    let world = World::with(|draft| {
        draft.connect("memory", &[agent.address()]);
        let retry = json!({"max_attempts": 2, "retry_on": [429]});
        draft.route("/api/v1/memory")["retry"] = retry.clone();
        draft.routes().push(
            json!({"prefix": "/events", "agents": ["memory"], "protocol": "sse", "retry": retry}),
        );
        let hosts = &mut draft.connection_manager()["route_config"]["virtual_hosts"];
        let routes = hosts[0]["routes"].as_array_mut().expect("routes");
        let http = routes.iter_mut().find(|route| route["name"] == "http");
        http.expect("the route")["route"]["retry_policy"]["rate_limited_retry_back_off"] =
            json!({"reset_headers": [{"name": "retry-after", "format": "SECONDS"}]});
    })
    .await;

    // An hour is longer than this test.
    for (path, wait, least) in [
        ("/events", 3600, Duration::ZERO),
        (NOTES, 1, Duration::from_secs(1)),
    ] {
        let caller = tokio::spawn(world.get(path).key("demo-premium").send());
        let mut exchange = agent.accept().await;
        exchange.read_until("\r\n\r\n").await;
        let refused = Instant::now();
        exchange
            .write(&format!(
                "HTTP/1.1 429 Too Many Requests\r\nretry-after: {wait}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            ))
            .await;
        drop(exchange);
        let mut exchange = agent.accept().await;
        exchange.read_until("\r\n\r\n").await;
        assert!(refused.elapsed() >= least, "{path}");
        exchange
            .write("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
            .await;
        assert_eq!(caller.await.expect("the caller").status, 204);
    }
}
