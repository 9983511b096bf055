//! Envoy's own part: what it answers before the filter is asked, what it forwards to operators, and the shape of what
//! it says when an agent fails.

use std::time::Duration;

use serde_json::{Value, json};
use waykeeper_demo::gateway::Discovery;

use crate::harness::{Answer, Puppet, World, eventually, free_address, needed};

const NOTES: &str = "/api/v1/memory/notes";

/// What Envoy has to compile in each worker when it starts. The goal is 600,000 bytes; docs/performance.md says why it is missed, and
/// whoever passes this bound too says it there.
#[test]
fn the_module_is_no_larger_than_it_may_be() {
    let module = needed("target/waykeeper.wasm", "make build");
    let size = module.metadata().expect("a file").len();
    assert!(size <= 1_430_000, "{size} bytes");
}

#[tokio::test]
async fn health_needs_no_key_and_is_not_logged() {
    let world = World::start().await;

    for (method, path, status) in [
        ("GET", "/healthz", 200),
        ("HEAD", "/healthz", 200),
        ("GET", "/healthz?", 200),
        ("GET", "/healthz?from=balancer&t=1", 200),
        ("GET", "/healthz/?x=1", 404),
        ("GET", "/healthzz", 404),
        ("POST", "/healthz?x=1", 404),
    ] {
        let answer = world.request(method, path).send().await;
        assert_eq!(answer.status, status, "{method} {path}");
    }
    let logged = world.get(NOTES).send().await;

    assert_eq!(logged.status, 401);
    world.access_log(&logged).await;
    // The three that are no health checks.
    assert_eq!(world.gateway().access_log().matches("/healthz").count(), 3);
}

#[tokio::test]
async fn health_fails_while_the_gateway_is_being_emptied() {
    let world = World::start().await;

    let told = world.gateway().admin().post("/healthcheck/fail").await;

    told.expect("the admin interface");
    assert_eq!(world.get("/healthz").send().await.status, 503);
    // Whoever still comes is served.
    assert_eq!(
        world.get(NOTES).key("demo-premium").send().await.status,
        200
    );
}

#[tokio::test]
async fn operators_see_metrics_and_readiness_and_nothing_else() {
    let world = World::start().await;

    for path in ["/ready", "/stats/prometheus"] {
        assert_eq!(
            world.operations("GET", path).send().await.status,
            200,
            "{path}"
        );
    }
    for path in [
        "/",
        "/config_dump",
        "/stats",
        "/stats/prometheus/",
        "/ready/../config_dump",
        "/quitquitquit",
    ] {
        assert_eq!(
            world.operations("GET", path).send().await.status,
            404,
            "{path}"
        );
    }
    for path in [
        "/ready",
        "/stats/prometheus",
        "/quitquitquit",
        "/healthcheck/fail",
    ] {
        assert_eq!(
            world.operations("POST", path).send().await.status,
            404,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_preflight_needs_no_key() {
    let world = World::start().await;

    let preflight = world
        .request("OPTIONS", "/v1/chat/completions")
        .header("origin", "http://localhost:3000")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,x-stainless-os",
        )
        .send()
        .await;

    assert_eq!(preflight.status, 200);
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        Some("http://localhost:3000")
    );
    for (list, member) in [
        ("access-control-allow-headers", "authorization"),
        ("access-control-allow-headers", "x-stainless-os"),
        ("access-control-allow-headers", "mcp-session-id"),
        ("access-control-allow-methods", "POST"),
    ] {
        assert!(lists(&preflight, list, member), "{list}: {preflight:?}");
    }
}

#[tokio::test]
async fn a_preflight_from_a_foreign_page_is_not_allowed() {
    let world = World::start().await;

    let preflight = world
        .request("OPTIONS", "/v1/chat/completions")
        .header("origin", "http://localhost.example.com")
        .header("access-control-request-method", "POST")
        .send()
        .await;

    assert_eq!(preflight.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn a_page_may_read_a_refusal_and_its_limits() {
    let world = World::start().await;

    let refused = world
        .post("/v1/chat/completions")
        .header("origin", "http://127.0.0.1:5173")
        .send()
        .await;

    assert_eq!(refused.status, 401);
    assert_eq!(
        refused.header("access-control-allow-origin"),
        Some("http://127.0.0.1:5173")
    );
    for name in ["x-request-id", "ratelimit", "retry-after", "mcp-session-id"] {
        let list = "access-control-expose-headers";
        assert!(lists(&refused, list, name), "{name}: {refused:?}");
    }
}

#[tokio::test]
async fn every_response_carries_a_request_id_that_is_not_the_callers() {
    let world = World::start().await;
    let requests = [
        ("an answer", world.get(NOTES).key("demo-premium")),
        ("a refusal of the filter", world.get(NOTES)),
        (
            "a route that is not there",
            world.get("/nowhere").key("demo-premium"),
        ),
        ("health", world.get("/healthz")),
        (
            "a refusal of Envoy's",
            world.get(NOTES).header("x_under_score", "1"),
        ),
        ("too many headers", {
            (0..110).fold(world.get(NOTES), |request, number| {
                request.header(&format!("x-{number}"), "1")
            })
        }),
    ];
    for (what, request) in requests {
        let answer = request.header("x-request-id", "mine").send().await;
        let id = answer.header("x-request-id");
        assert!(id.is_some_and(|id| id.len() == 36), "{what}: {answer:?}");
    }
}

/// Anthropic's clients read `request-id`.
#[tokio::test]
async fn refusals_carry_their_id_for_anthropic_s_clients_too_and_answers_only_the_agent_s_own() {
    let agent = Puppet::listen().await;
    let world = World::with(|draft| {
        draft.connect("rag", &[agent.address()]);
        let late = json!({"prefix": "/late", "agents": ["memory"], "timeout": "100ms"});
        draft.routes().push(late);
    })
    .await;
    let notes = || world.get(NOTES).key("demo-premium");
    let late = || {
        let late = world.get("/late").key("demo-premium");
        late.header("x-demo-delay", "1h")
    };
    let grpc = ("content-type", "application/grpc");

    for (what, request) in [
        ("the filter", world.get(NOTES)),
        (
            "the filter, to gRPC",
            world.get(NOTES).header(grpc.0, grpc.1),
        ),
        ("Envoy", late()),
        ("Envoy, to gRPC", late().header(grpc.0, grpc.1)),
        ("Envoy, over HTTP/2", late().http2()),
    ] {
        let refused = request.send().await;
        assert_ne!(refused.header("grpc-status"), Some("0"), "{what}");
        let id = refused.header("x-request-id");
        assert!(id.is_some_and(|id| id.len() == 36), "{what}: {refused:?}");
        assert_eq!(refused.header("request-id"), id, "{what}");
    }

    for plain in [notes(), world.get("/healthz")] {
        let served = plain.send().await;
        assert_eq!(served.status, 200);
        assert_eq!(served.header("request-id"), None);
    }
    // Also with an error, which is the agent's own.
    let search = world.post("/api/v1/search").key("demo-premium");
    let search = tokio::spawn(search.send());
    let mut exchange = agent.accept().await;
    exchange.read_until("\r\n\r\n").await;
    let failed = "HTTP/1.1 500 Sorry\r\nrequest-id: req_1\r\ncontent-length: 0\r\n\r\n";
    exchange.write(failed).await;
    let failed = search.await.expect("the exchange");
    assert_eq!(
        (failed.status, failed.header("request-id")),
        (500, Some("req_1"))
    );
}

#[tokio::test]
async fn an_agent_that_nobody_listens_for_is_503_and_worth_another_try() {
    let nobody = free_address();
    let world = World::with(|draft| {
        draft.connect("memory", &[nobody]);
    })
    .await;

    let refused = world.get(NOTES).key("demo-premium").send().await;

    assert_eq!(refused.refused(), (503, "agent_unreachable".to_owned()));
    assert_eq!(refused.json()["error"]["type"], "api_error");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let logged = world.access_log(&refused).await;
    assert_eq!(logged["agent"], "memory");
    assert!(
        logged["flags"]
            .as_str()
            .is_some_and(|flags| flags.contains("UF")),
        "{logged}"
    );
}

#[tokio::test]
async fn an_agent_without_a_healthy_host_is_503_at_once() {
    let nobody = free_address();
    let world = World::with(|draft| {
        draft.lead("memory", &[nobody]);
    })
    .await;

    let refused = eventually("the health check", || async {
        let refused = world.get(NOTES).key("demo-premium").send().await;
        let logged = world.access_log(&refused).await;
        (logged["flags"] == "UH").then_some(refused)
    })
    .await;

    assert_eq!(refused.refused(), (503, "agent_unreachable".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn an_agent_that_is_too_slow_is_504() {
    let world = World::with(|draft| {
        draft.route("/api/v1/memory")["timeout"] = json!("100ms");
    })
    .await;

    let refused = world
        .get(NOTES)
        .key("demo-premium")
        .header("x-demo-delay", "10s")
        .send()
        .await;

    assert_eq!(refused.refused(), (504, "agent_timeout".to_owned()));
    assert_eq!(refused.json()["error"]["type"], "api_error");
}

#[tokio::test]
async fn an_agents_own_error_passes_untouched() {
    let world = World::start().await;

    for status in ["400", "404", "429", "500", "503", "504"] {
        let answer = world
            .get(NOTES)
            .key("demo-premium")
            .header("x-demo-status", status)
            .send()
            .await;
        assert_eq!(answer.status.to_string(), status);
        assert_ne!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(answer.header("x-demo-agent"), Some("memory"), "{status}");
    }
}

#[tokio::test]
async fn what_envoy_refuses_has_the_same_shape() {
    let world = World::start().await;
    let large = "x".repeat(70 * 1024);

    let notes = || world.get(NOTES).header("origin", "http://localhost:3000");
    let too_large = || notes().header("x-large", &large);
    let too_many = || {
        (0..110).fold(notes(), |request, number| {
            request.header(&format!("x-{number}"), "1")
        })
    };
    let underscore = || notes().header("x_waykeeper_client", "root");

    // Over HTTP/2 Envoy answers nothing, and resets the stream.
    for silent in [too_large(), too_many(), underscore()] {
        let cut = silent.http2().try_send().await;
        assert!(cut.is_err(), "{cut:?}");
    }
    let too_large = too_large().send().await;
    let too_many = too_many().send().await;
    let underscore = underscore().send().await;
    let null = world.get("/api/v1/memory/%00").send().await;

    for refused in [&too_large, &too_many] {
        assert_eq!(refused.refused(), (431, "headers_too_large".to_owned()));
    }
    assert_eq!(underscore.refused(), (400, "bad_request".to_owned()));
    // No filter has seen them, so no page may read them.
    for refused in [&too_large, &underscore] {
        assert_eq!(refused.header("access-control-allow-origin"), None);
    }
    assert_eq!(null.status, 400);
    null.refusal();
}

/// What Envoy refuses before it makes an id has only the caller's own word for one.
#[tokio::test]
async fn an_id_that_a_caller_makes_up_stays_within_its_quotes() {
    let world = World::start().await;
    for (request, id) in [
        (
            "GET /x HTTP/1.1",
            "a\",\"error\":null,\"x\":\"<b>".to_owned(),
        ),
        ("GET /x#y HTTP/1.1\r\nhost: a", "\"".to_owned()),
        ("GET /x HTTP/1.1", "x".repeat(50_000)),
    ] {
        let answer = world
            .raw(format!("{request}\r\nx-request-id: {id}\r\n\r\n"))
            .await;
        let text = answer.text();
        assert_eq!(answer.status(), Some(400), "{text}");
        let (_, body) = text.split_once("\r\n\r\n").expect("a body");
        let problem: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(problem["instance"], *id);
        assert_eq!(problem["error"]["code"], "bad_request");
        let line = eventually("its line in the log", || async {
            let log = world.gateway().access_log();
            let mut lines = log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let beginning = &id[..id.len().min(64)];
            lines.find(|line| line["request_id"] == beginning)
        })
        .await;
        assert_eq!(line["status"], 400);
    }
}

#[tokio::test]
async fn nothing_passes_without_the_filter() {
    let world = World::with(|draft| {
        draft.setup.discovery = Discovery::Absent;
    })
    .await;

    let refused = world
        .get(NOTES)
        .header("x-waykeeper-kind", "sse")
        .header("x-waykeeper-cluster", "memory")
        .send()
        .await;

    assert_eq!(refused.refused(), (503, "agent_unreachable".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_key_in_the_query_is_not_logged() {
    let world = World::start().await;

    // The first reaches the filter, the second does not.
    let by_filter = world
        .get("/api/v1/memory/n?api_key=s3cret&x=1")
        .send()
        .await;
    let by_envoy = world.get("/api/v1/%00?api_key=s3cret").send().await;

    for answer in [by_filter, by_envoy] {
        world.access_log(&answer).await;
    }
    assert!(!world.gateway().access_log().contains("s3cret"));
    assert!(!world.gateway().envoy_log().contains("s3cret"));
}

#[tokio::test]
async fn the_access_log_says_who_how_and_where() {
    let world = World::start().await;

    let served = world.get(NOTES).key("demo-premium").send().await;
    let refused = world.get(NOTES).send().await;

    let line = world.access_log(&served).await;
    assert_eq!(line["client"], "globex");
    assert_eq!(line["plan"], "premium");
    assert_eq!(line["route"], "/api/v1/memory");
    assert_eq!(line["agent"], "memory");
    assert_eq!(line["cluster"], "memory");
    assert_eq!(line["status"], 200);
    assert_eq!(line["details"], "via_upstream");
    assert_eq!(line["path"], NOTES);
    assert_eq!(line["address"], "127.0.0.1");
    let line = world.access_log(&refused).await;
    assert_eq!(line["details"], "waykeeper_missing_key");
    assert_eq!(line["client"], json!(null));
    assert_eq!(line["route"], "/api/v1/memory");
}

#[tokio::test]
async fn requests_under_way_finish_before_the_gateway_ends() {
    let mut world = World::start().await;
    let slow = world
        .get(NOTES)
        .key("demo-premium")
        .header("x-demo-delay", "500ms");
    let answer = tokio::spawn(slow.send());
    eventually("the request to be under way", || async {
        let admin = world.gateway().admin();
        let active = admin.stat("http.gateway.downstream_rq_active").await;
        (active.ok()? == 1).then_some(())
    })
    .await;

    world.drain(Duration::from_secs(10)).await;

    assert_eq!(answer.await.expect("the caller").status, 200);
}

/// Whether a header that lists things, separated by commas, has this one among them.
fn lists(answer: &Answer, header: &str, member: &str) -> bool {
    let list = answer.header(header).unwrap_or_default();
    list.split(',').any(|listed| listed.trim() == member)
}
