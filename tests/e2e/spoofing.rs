//! Headers that belong to the gateway and come from a caller: none may reach an agent, steer Envoy, or pass for what
//! the gateway itself says. Proven for the filter alone, with Envoy's own defences switched off.

use hyper::header::{HeaderMap, HeaderName};
use serde_json::json;

use crate::harness::{Puppet, World, eventually};

const NOTES: &str = "/api/v1/memory/notes";

/// Names that agents read as `x-waykeeper-client` and the like, in every spelling.
const SPELLINGS: [&str; 8] = [
    "x-waykeeper-client",
    "X-Waykeeper-Client",
    "x_waykeeper_client",
    "x-waykeeper_client",
    "X_WAYKEEPER-CLIENT",
    "x_waykeeper-team",
    "x-waykeeper-admin",
    "x-waykeeper-",
];

/// Headers of Envoy's that change how a request is handled, or that agents believe.
const ENVOYS: [&str; 21] = [
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-max-retries",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-envoy-original-dst-host",
    "x-envoy-original-url",
    "x-envoy-attempt-count",
    "x-envoy-internal",
    "x-envoy-force-trace",
    "x-envoy-decorator-operation",
    "x-envoy-is-timeout-retry",
    "x-envoy-overloaded",
    "x_envoy_original_path",
    "x-envoy-made-up",
];

/// Envoy as it is without the reference's care: it takes underscores, trusts the caller's network and leaves the
/// filter's headers alone.
async fn careless() -> World {
    World::with(|draft| {
        draft.route("/api/v1/memory")["auth_required"] = json!(false);
        let manager = draft.connection_manager();
        manager["common_http_protocol_options"]["headers_with_underscores_action"] = json!("ALLOW");
        manager["internal_address_config"] =
            json!({"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]});
        manager["early_header_mutation_extensions"] = json!([]);
        manager["route_config"]["virtual_hosts"][0]["request_headers_to_remove"] = json!([]);
    })
    .await
}

#[tokio::test]
async fn the_gateways_names_are_the_gateways_in_every_spelling() {
    let world = careless().await;

    for name in SPELLINGS {
        for request in [world.get(NOTES), world.get(NOTES).key("demo-premium")] {
            let known = request.clone().send().await.echo();
            let spoofed = request.header(name, "root").send().await.echo();

            let names = |echo: &waykeeper_demo::agent::Echo| {
                let mut names: Vec<String> = serde_json::to_value(&echo.headers)
                    .expect("headers")
                    .as_object()
                    .expect("an object")
                    .keys()
                    .filter(|name| name.replace('_', "-").starts_with("x-waykeeper"))
                    .cloned()
                    .collect();
                names.sort();
                names
            };
            assert_eq!(names(&known), names(&spoofed), "{name}");
            assert!(!format!("{:?}", spoofed.headers).contains("root"), "{name}");
        }
    }
}

#[tokio::test]
async fn trailers_carry_neither_the_gateways_names_nor_keys() {
    let world = World::with(|draft| {
        let manager = draft.connection_manager();
        manager["common_http_protocol_options"]["headers_with_underscores_action"] = json!("ALLOW");
        manager["http_protocol_options"] = json!({"enable_trailers": true});
        // Two agents have sessions, of which one is asked below.
        let configuration = draft.configuration();
        configuration["sessions"] = json!({"keys": ["7".repeat(64)]});
        configuration["agents"]["tools"]["sticky"] =
            json!({"header": "x-thread", "named_by": "agent"});
        configuration["agents"]["memory"]["sticky"] = json!({"header": "mcp-session-id"});
        let files = json!({"prefix": "/api/v1/files", "agents": ["memory"], "methods": ["POST"]});
        draft.routes().push(files);
        let sources = &mut draft.configuration()["clients"]["key_sources"];
        sources[1] = json!({"header": "x-auth", "scheme": "Bearer"});
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        draft.cluster("memory")["typed_extension_protocol_options"][options]
            ["explicit_http_config"] = json!({"http2_protocol_options": {}});
    })
    .await;
    let mut trailers = HeaderMap::new();
    let mut add = |name: &str, value: &str| {
        let name: HeaderName = name.parse().expect("a name");
        trailers.append(name, value.parse().expect("a value"));
    };
    for name in SPELLINGS.iter().chain(&ENVOYS) {
        add(name, "root");
    }
    add("x-api-key", "secret");
    add("x-auth", "Bearer secret");
    add("x-auth", "Basic Zm9v");
    add("sec-websocket-protocol", "chat, waykeeper.key.secret");
    // What says where a request goes or comes from is not believed so late, and names no session.
    for name in [
        "mcp-session-id",
        "Mcp_Session_Id",
        "x-thread",
        "x-agent",
        "X-Agent-Capability",
        "x-request-id",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-client-cert",
    ] {
        add(name, "root");
    }
    add("x-checksum", "kept");
    let names: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
    let announced = names.join(", ");
    let post = |key: &str| {
        let request = world.request("POST", "/api/v1/files").key(key);
        request.header("trailer", &announced)
    };

    // The first request of a key waits for the validator.
    for (what, request) in [
        ("over HTTP/1.1, waiting", post("demo-premium")),
        ("over HTTP/1.1", post("demo-premium")),
        ("over HTTP/2, waiting", post("demo-admin").http2()),
        ("over HTTP/2", post("demo-admin").http2()),
    ] {
        let mut upload = request.upload();
        assert!(upload.write("the body").await);
        upload.end_with(trailers.clone()).await;

        let arrived = upload.answer().await.echo().trailers;

        let arrived: Vec<_> = arrived
            .iter()
            .map(|(name, values)| (name, values.join(",")))
            .collect();
        let kept = [
            ("sec-websocket-protocol", "chat"),
            ("x-auth", "Basic Zm9v"),
            ("x-checksum", "kept"),
        ];
        assert_eq!(
            sorted(arrived),
            kept.map(|(name, value)| (name, value.to_owned())),
            "{what}"
        );
    }
    assert_eq!(world.auth().stats().total, 2);
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

#[tokio::test]
async fn a_caller_cannot_choose_its_cluster_or_kind() {
    let world = careless().await;

    let served = world
        .get(NOTES)
        .header("x-waykeeper-cluster", "tools")
        .header("x-waykeeper-kind", "websocket")
        .header("x-waykeeper-agent", "tools")
        .send()
        .await;

    assert_eq!(served.echo().agent, "memory");
    let mut filter = world.filter().clone();
    let chosen = filter.configuration_mut().expect("a configuration");
    let chosen = chosen["agents"]["memory"]["cluster"].as_str();
    assert_eq!(
        served.echo().headers.all("x-waykeeper-cluster"),
        [chosen.expect("a cluster")]
    );
    assert_eq!(served.echo().headers.get("x-waykeeper-kind"), None);
    assert_eq!(served.echo().headers.all("x-waykeeper-agent"), ["memory"]);
}

#[tokio::test]
async fn envoys_names_from_a_caller_reach_nobody() {
    let world = careless().await;

    let request = ENVOYS
        .iter()
        .fold(world.get(NOTES), |request, name| request.header(name, "9"));
    let served = request.send().await;

    let headers = served.echo().headers;
    for name in ENVOYS {
        // Envoy's router itself may say how long it waits and that a call is internal.
        assert_ne!(headers.get(name), Some("9"), "{name}");
    }
}

#[tokio::test]
async fn a_caller_cannot_shorten_or_repeat_its_request() {
    let world = careless().await;

    let slow = world
        .get(NOTES)
        .header("x-envoy-upstream-rq-timeout-ms", "20")
        .header("x-envoy-upstream-rq-per-try-timeout-ms", "20")
        .header("x-demo-delay", "200ms")
        .send()
        .await;
    let failing = world
        .get(NOTES)
        .header("x-envoy-max-retries", "5")
        .header("x-envoy-retry-on", "5xx")
        .header("x-demo-id", "once")
        .header("x-demo-status", "500")
        .send()
        .await;

    assert_eq!(slow.status, 200);
    assert_eq!(failing.status, 500);
    assert_eq!(world.agent("memory").stats().attempts_of("once"), 1);
}

#[tokio::test]
async fn the_reference_refuses_underscores_before_the_filter_sees_them() {
    let world = World::start().await;

    let refused = world
        .get(NOTES)
        .key("demo-premium")
        .header("x_waykeeper_client", "root")
        .send()
        .await;

    assert_eq!(refused.refused(), (400, "bad_request".to_owned()));
    assert_eq!(
        world.metrics().await.sum("waykeeper_requests_total", &[]),
        0.0
    );
}

#[tokio::test]
async fn a_forged_address_is_not_counted_for_another() {
    let world = World::with(|draft| {
        draft.configuration()["limits"] =
            json!([{"name": "per-address", "each": "address", "requests": "2/hour"}]);
    })
    .await;
    let from = |address: &str| {
        world
            .get(NOTES)
            .key("demo-premium")
            .header("x-forwarded-for", address)
            .header("x-envoy-external-address", address)
            .header("x-real-ip", address)
    };

    for (address, status) in [("1.1.1.1", 200), ("2.2.2.2", 200), ("3.3.3.3", 429)] {
        assert_eq!(from(address).send().await.status, status, "{address}");
    }
}

#[tokio::test]
async fn what_envoy_refuses_before_the_filter_writes_nothing_of_the_callers_into_the_logs() {
    let world = World::start().await;
    let forged = "x-waykeeper-client: FORGED\r\nx-waykeeper-plan: FORGED\r\nx-waykeeper-route: FORGED\r\nx-waykeeper-agent: FORGED\r\n";
    let ask = |line: &str, rest: &str| {
        let request = format!("GET {line} HTTP/1.1\r\n{rest}{forged}\r\n");
        async { world.raw(request).await.status() }
    };

    for (path, headers, status) in [
        ("/early#x", "host: a\r\n", 400),
        ("/early%00", "host: a\r\n", 400),
        ("/early", "", 400),
        // This one is the filter's to refuse, and counts at the gate.
        (
            "/early?api_key=secret",
            "host: a\r\nconnection: upgrade\r\nupgrade: connect-UDP\r\n",
            404,
        ),
    ] {
        assert_eq!(ask(path, headers).await, Some(status), "{path} {headers}");
    }

    let lines = eventually("four lines", || async {
        let log = world.gateway().access_log();
        let lines: Vec<_> = log
            .lines()
            .filter(|line| line.contains("/early"))
            .map(str::to_owned)
            .collect();
        (lines.len() == 4).then_some(lines)
    })
    .await;
    for line in &lines {
        assert!(
            !line.contains("FORGED") && !line.contains("secret"),
            "{line}"
        );
    }
    assert!(lines[3].contains("waykeeper_no_route"), "{}", lines[3]);
    let gate = world.metrics().await;
    assert_eq!(gate.sum("waykeeper_requests_total", &[]), 1.0);
    let log = world.gateway().envoy_log();
    assert!(!log.contains("secret"), "{log}");
}

/// Callers take them for the gateway's, and an Envoy in front of it heeds those of Envoy's.
#[tokio::test]
async fn an_agent_cannot_speak_for_the_gateway() {
    let agent = Puppet::listen().await;
    let world = World::with(|draft| {
        draft.connect("memory", &[agent.address()]);
    })
    .await;
    let names = [
        "x-waykeeper-agent",
        "X-Waykeeper-Limit-Warning",
        "x-envoy-degraded",
        "x-envoy-immediate-health-check-fail",
        "x-envoy-ratelimited",
    ];
    let said: String = names.map(|name| format!("{name}: root\r\n")).concat();
    let asked = tokio::spawn(world.get(NOTES).key("demo-premium").send());
    let mut exchange = agent.accept().await;
    exchange.read_until("\r\n\r\n").await;
    exchange
        .write(&format!(
            "HTTP/1.1 200 OK\r\n{said}x-own: kept\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        ))
        .await;
    let answer = asked.await.expect("an answer");
    assert_eq!((answer.status, answer.header("x-own")), (200, Some("kept")));
    for name in names {
        assert_eq!(answer.header(&name.to_lowercase()), None, "{name}");
    }
}
