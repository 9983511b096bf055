//! What became of a request, as operators read it in the metrics and in the access log: also where Envoy answers in an agent's
//! place, where a caller leaves, and where an answer is cut off in the middle.

use serde_json::{Value, json};
use waykeeper::host::OwnAnswer;
use waykeeper::reply::code_of;
use waykeeper_demo::auth::Fault;

use crate::harness::{Puppet, Request, World, eventually, free_address};

const NOTES: &str = "/api/v1/memory/notes";
const SEARCH: &str = "/api/v1/search";
const STREAM: &str = "/api/v1/chat/stream";

#[tokio::test]
async fn what_envoy_answers_in_an_agents_place_counts_under_the_code_that_the_caller_is_told() {
    let (nonsense, closing) = (Puppet::listen().await, Puppet::listen().await);
    let closed = free_address();
    let world = World::with(|draft| {
        draft.workers(2);
        draft.connect("rag", &[nonsense.address()]);
        draft.connect("chat-gpu", &[closing.address()]);
        draft.connect("chat-cpu", &[closed]);
        let full = json!({"thresholds": [{"max_requests": 0, "max_pending_requests": 0}]});
        draft.cluster("tools")["circuit_breakers"] = full;
        for (agent, cluster) in [
            ("none-of-envoys", "none-of-envoys"),
            ("nobody", "waykeeper/nobody"),
        ] {
            draft.configuration()["agents"][agent] = json!({"cluster": cluster});
        }
        *draft.routes() = [
            ("/closed", "chat-cpu"),
            ("/closing", "chat-gpu"),
            ("/unknown", "none-of-envoys"),
            ("/without-hosts", "nobody"),
            ("/full", "tools"),
            ("/late", "memory"),
            ("/late-stream", "memory"),
            ("/nonsense", "rag"),
        ]
        .map(|(prefix, agent)| json!({"prefix": prefix, "agents": [agent]}))
        .to_vec();
        for late in ["/late", "/late-stream"] {
            draft.route(late)["timeout"] = json!("100ms");
        }
        draft.route("/late-stream")["streams"] = json!(true);
    })
    .await;
    let get = |path: &str| world.get(path).key("demo-premium");
    let late = |path: &str| get(path).header("x-demo-delay", "1h");
    let agents = tokio::spawn(async move {
        closing.accept().await.read_until("\r\n\r\n").await;
        let mut exchange = nonsense.accept().await;
        exchange.read_until("\r\n\r\n").await;
        exchange.write("HTTP/1.1 nonsense\r\n\r\n").await;
        exchange
    });

    for (agent, request, flag, code) in [
        ("chat-cpu", get("/closed"), "UF", "agent_unreachable"),
        ("chat-gpu", get("/closing"), "UC", "agent_unreachable"),
        ("none-of-envoys", get("/unknown"), "NC", "agent_unreachable"),
        ("nobody", get("/without-hosts"), "UH", "agent_unreachable"),
        ("tools", get("/full"), "UO", "agent_unreachable"),
        ("memory", late("/late"), "UT", "agent_timeout"),
        ("memory", late("/late").http2(), "UT", "agent_timeout"),
        ("memory", late("/late-stream"), "UT", "agent_timeout"),
        ("rag", get("/nonsense"), "UPE", "bad_answer"),
    ] {
        let before = counted(&world, None, agent, code).await;
        let refused = request.send().await;
        assert_eq!(refused.refused().1, code, "{agent}");
        let logged = world.access_log(&refused).await;
        let flags = logged["flags"].as_str().expect("flags");
        assert!(flags.split(',').any(|it| it == flag), "{logged}");
        counts(&world, None, agent, code, before + 1.0).await;
    }
    agents.await.expect("the agents");

    // To gRPC Envoy answers 200; it counts as what it is.
    let grpc = get("/closed").header("content-type", "application/grpc");
    let grpc = grpc.send().await;
    assert_eq!((grpc.status, grpc.header("grpc-status")), (200, Some("14")));
    counts(
        &world,
        Some("/closed"),
        "chat-cpu",
        "agent_unreachable",
        2.0,
    )
    .await;

    assert_eq!(outcomes(&world, "allowed").await, 0.0);
    assert_eq!(outcomes(&world, "caller_left").await, 0.0);
}

/// The codes that Envoy's configuration writes into its answers are those that they are counted under.
#[tokio::test]
async fn each_answer_of_envoys_has_one_code() {
    let mut mappers = Vec::new();
    let world = World::try_with(|draft| {
        let replies = &draft.connection_manager()["local_reply_config"];
        mappers = replies["mappers"].as_array().expect("mappers").clone();
        // Nobody is asked anything.
        draft.setup.program = "/bin/false".into();
    });
    assert!(world.await.is_err());

    let codes: Vec<_> = mappers.iter().filter_map(Mapper::read).collect();
    assert_eq!(codes.len(), 10);
    for status in [
        400, 403, 404, 408, 413, 426, 429, 431, 500, 501, 502, 503, 504, 505,
    ] {
        for unreached in [false, true] {
            let mut all = codes.iter();
            let told = all.find(|mapper| mapper.takes(status, unreached));
            let told = told.map(|mapper| &*mapper.code);
            let answer = OwnAnswer {
                status,
                unreached,
                asks_credential: false,
                fault: None,
            };
            assert_eq!(Some(code_of(&answer)), told, "{answer:?}");
        }
    }
}

/// What Envoy says of some of its own answers.
struct Mapper {
    status: u16,
    or_above: bool,
    unreached: bool,
    code: String,
}

impl Mapper {
    /// `None`: it is for another protocol, or for the filter's answers.
    fn read(mapper: &Value) -> Option<Self> {
        let filter = &mapper["filter"];
        let parts = match filter["and_filter"]["filters"].as_array() {
            Some(parts) => parts.clone(),
            None => vec![filter.clone()],
        };
        if parts.iter().any(|part| part.get("header_filter").is_some()) {
            return None;
        }
        let mut comparisons = parts
            .iter()
            .map(|part| &part["status_code_filter"]["comparison"]);
        let comparison = comparisons.find(|comparison| !comparison.is_null())?;
        let code = mapper["body_format_override"]["json_format"]["error"]["code"].as_str()?;
        let status = comparison["value"]["default_value"].as_u64()?;
        Some(Self {
            status: u16::try_from(status).ok()?,
            or_above: comparison["op"] == "GE",
            unreached: parts
                .iter()
                .any(|part| part.get("response_flag_filter").is_some()),
            code: code.to_owned(),
        })
    }

    fn takes(&self, status: u16, unreached: bool) -> bool {
        let status = self.status == status || (self.or_above && self.status < status);
        status && (unreached || !self.unreached)
    }
}

/// An agent's own errors are its answers, also if they look like Envoy's.
#[tokio::test]
async fn what_an_agent_answers_counts_as_allowed_whatever_it_says() {
    let agent = Puppet::listen().await;
    let world = to_puppet(&agent).await;

    for head in [
        "503 Service Unavailable\r\nrequest-id: req_1\r\nserver: envoy",
        "504 Gateway Timeout\r\nrequest-id: req_1",
        "200 OK\r\nrequest-id:",
    ] {
        let asked = tokio::spawn(search(&world).send());
        let mut exchange = agent.accept().await;
        exchange.read_until("\r\n\r\n").await;
        let answer = format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        exchange.write(&answer).await;
        let answer = asked.await.expect("an answer");
        assert_eq!(answer.status.to_string(), head[..3]);
    }

    // One that takes no WebSockets, of which Envoy says more than that it has answered.
    let handshake = world.get("/ws").key("demo-premium");
    let handshake = handshake
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13");
    let asked = tokio::spawn(handshake.send());
    let mut exchange = agent.accept().await;
    exchange.read_until("\r\n\r\n").await;
    let answer = "HTTP/1.1 200 OK\r\nrequest-id: 1\r\ncontent-length: 0\r\n\r\n";
    exchange.write(answer).await;
    assert_eq!(asked.await.expect("an answer").status, 200);

    counts(&world, Some(SEARCH), "rag", "allowed", 3.0).await;
    counts(&world, Some("/ws"), "rag", "allowed", 1.0).await;
    assert_eq!(all(&world).await, 4.0);
}

#[tokio::test]
async fn a_caller_who_leaves_has_left_until_the_answer_begins() {
    let agent = Puppet::listen().await;
    let world = to_puppet(&agent).await;

    // Before the answer.
    let leaver = tokio::spawn(search(&world).send());
    let mut exchange = agent.accept().await;
    exchange.read_until("\r\n\r\n").await;
    leaver.abort();
    counts(&world, Some(SEARCH), "rag", "caller_left", 1.0).await;

    // In the middle of it.
    let begun = tokio::spawn(search(&world).begin());
    let mut exchange = agent.accept().await;
    exchange.read_until("\r\n\r\n").await;
    exchange
        .write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        .await;
    let mut answer = begun.await.expect("an answer");
    answer.chunk().await.expect("half of it");
    drop(answer);
    counts(&world, Some(SEARCH), "rag", "allowed", 1.0).await;

    // While the validator is asked.
    world.auth().set_fault(Fault::hang());
    let leaver = tokio::spawn(world.get(NOTES).key("unheard-of").send());
    eventually("the question", || async {
        (world.auth().stats().calls_about("unheard-of") > 0).then_some(())
    })
    .await;
    leaver.abort();
    counts(&world, Some("/api/v1/memory"), "none", "caller_left", 1.0).await;
    assert_eq!(all(&world).await, 3.0);
}

#[tokio::test]
async fn a_request_that_turns_out_to_be_no_http_is_no_answer_of_an_agent() {
    let agent = Puppet::listen().await;
    let world = to_puppet(&agent).await;
    let head = format!("POST {SEARCH} HTTP/1.1\r\nhost: a\r\nx-api-key: demo-premium\r\n");

    // While the validator is asked, and when the agent has some of it.
    for (agent, outcomes) in [("none", 1.0), ("rag", 2.0)] {
        let body = "transfer-encoding: chunked\r\n\r\n1\r\na\r\nno chunk\r\n\r\n";
        let refused = world.raw(format!("{head}{body}")).await;
        assert_eq!(refused.status(), Some(400), "{}", refused.text());
        counts(&world, Some(SEARCH), agent, "bad_request", 1.0).await;
        assert_eq!(all(&world).await, outcomes);
        eventually("the key to be known", || async {
            let metrics = world.metrics().await;
            (metrics.sum("waykeeper_validator_calls_total", &[]) > 0.0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_off_for_its_silence_leaves_a_trace() {
    let world = World::with(|draft| {
        draft.route(STREAM)["idle_timeout"] = json!("1s");
    })
    .await;
    let ask = || {
        let ask = world.post(STREAM).key("demo-premium");
        ask.header("x-demo-interval", "1h")
    };

    for (number, request) in (1_u8..).zip([ask(), ask().http2()]) {
        let mut stream = request.begin().await;
        assert_eq!(stream.status, 200);
        let id = stream.header("x-request-id").expect("an id").to_owned();
        stream.cut_off().await;

        let logged = world.access_log_of(&id).await;
        assert_eq!(
            (&logged["status"], &logged["details"]),
            (&json!(200), &json!("waykeeper_agent_timeout"))
        );
        counts(
            &world,
            Some(STREAM),
            "chat-gpu",
            "agent_timeout",
            number.into(),
        )
        .await;
    }
    assert_eq!(all(&world).await, 2.0);
}

/// Both are told: what the caller has asked for, and what the agent was asked.
#[tokio::test]
async fn the_log_tells_the_caller_s_path_and_beside_it_the_agent_s_where_that_is_another() {
    let world = World::with(|draft| {
        draft.route("/api/v1/memory")["prefix_rewrite"] = json!("/handle");
        draft.route("/api/v1/memory")["max_body"] = json!("10B");
        draft.route("/api/v1/memory")["timeout"] = json!("100ms");
    })
    .await;
    let notes = |path: &str| world.get(path).key("demo-premium");
    let too_large = world
        .request("POST", NOTES)
        .key("demo-premium")
        .body("eleven bytes");
    for (request, path, agents) in [
        (
            notes("/api/v1/memory/notes?x=1"),
            NOTES,
            json!("/handle/notes"),
        ),
        (
            notes(NOTES).header("x-demo-delay", "1h").http2(),
            NOTES,
            json!("/handle/notes"),
        ),
        (world.get(NOTES), NOTES, Value::Null),
        (too_large, NOTES, Value::Null),
        (
            world.post("/api/v1/%73earch").key("demo-premium"),
            SEARCH,
            Value::Null,
        ),
        (world.get("/nowhere?x"), "/nowhere", Value::Null),
    ] {
        let logged = world.access_log(&request.send().await).await;
        assert_eq!(
            (&logged["path"], &logged["agent_path"]),
            (&json!(path), &agents),
            "{logged}"
        );
    }
}

/// Sends a search to the agent whose part the test plays.
fn search(world: &World) -> Request {
    world.post(SEARCH).key("demo-premium")
}

async fn to_puppet(agent: &Puppet) -> World {
    World::with(|draft| {
        draft.connect("rag", &[agent.address()]);
        draft.configuration()["clients"]["validator"]["timeout"] = json!("2s");
        let ws = json!({"prefix": "/ws", "agents": ["rag"], "protocol": "websocket"});
        draft.routes().push(ws);
    })
    .await
}

/// Waits until so many requests of a route and an agent have ended so.
async fn counts(world: &World, route: Option<&str>, agent: &str, outcome: &str, number: f64) {
    let what = format!("{number} × {outcome} of {agent}");
    eventually(&what, || async {
        (counted(world, route, agent, outcome).await == number).then_some(())
    })
    .await;
}

async fn counted(world: &World, route: Option<&str>, agent: &str, outcome: &str) -> f64 {
    let mut labels = vec![("agent", agent), ("outcome", outcome)];
    labels.extend(route.map(|route| ("route", route)));
    world
        .metrics()
        .await
        .sum("waykeeper_requests_total", &labels)
}

async fn outcomes(world: &World, outcome: &str) -> f64 {
    world
        .metrics()
        .await
        .sum("waykeeper_requests_total", &[("outcome", outcome)])
}

async fn all(world: &World) -> f64 {
    world.metrics().await.sum("waykeeper_requests_total", &[])
}
