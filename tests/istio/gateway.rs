//! The full way, live: what the `EnvoyFilter`s make of the listener, routes and clusters that Istio generates for the
//! gateway, in a real Envoy with the demo's services as the agents of the mesh.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use waykeeper_demo::auth::Fault;

use crate::generated;
use crate::harness::{Answer, World, eventually};
use crate::manifests::Manifests;
use crate::patch::{EnvoyFilter, Generated, apply};
use crate::render;

const NOTES: &str = "/api/v1/memory/notes";

/// The gateway as istiod would configure it.
fn patched() -> (Generated, Value) {
    let manifests = Manifests::of(".");
    let mut generated = generated::gateway(&manifests);
    let filters = manifests
        .of_kind("EnvoyFilter")
        .into_iter()
        .map(EnvoyFilter::from_manifest);
    let filters: Vec<_> = filters
        .collect::<Result<_, _>>()
        .expect("patches that are modelled");
    let unused = apply(&filters, &mut generated).expect("patches for this gateway");
    assert_eq!(unused, [""; 0], "each patch finds what it is for");
    (generated, generated::stats_config(&manifests))
}

async fn start() -> World {
    let (generated, stats_config) = patched();
    render::start(&generated, Some(stats_config)).await
}

fn manager(generated: &mut Generated) -> &mut Value {
    &mut generated.listeners[0]["filter_chains"][0]["filters"][0]["typed_config"]
}

#[test]
fn the_filter_stands_after_cors_and_before_the_router() {
    let (mut generated, _) = patched();
    let filters = manager(&mut generated)["http_filters"].take();
    let names: Vec<_> = filters
        .as_array()
        .expect("filters")
        .iter()
        .map(|it| it["name"].clone())
        .collect();
    let prefix = "envoy.filters.http.";
    let expected =
        ["health_check", "grpc_stats", "fault", "cors"].map(|name| format!("{prefix}{name}"));
    assert_eq!(names[..4], expected);
    assert_eq!(
        names[4..],
        ["waykeeper".to_owned(), format!("{prefix}router")]
    );
}

#[test]
fn what_istio_sets_otherwise_is_overridden() {
    let (mut generated, _) = patched();
    assert_eq!(generated.listeners[0]["name"], generated::GATEWAY_LISTENER);
    assert_eq!(
        generated.listeners[0]["per_connection_buffer_limit_bytes"],
        1_048_576
    );
    let manager = manager(&mut generated);
    assert_eq!(manager["stream_idle_timeout"], "60s");
    assert_eq!(manager["merge_slashes"], true);
    assert_eq!(
        manager["common_http_protocol_options"]["headers_with_underscores_action"],
        "REJECT_REQUEST"
    );
    // And the rest is left alone.
    assert_eq!(manager["use_remote_address"], true);
    assert_eq!(
        manager["upgrade_configs"],
        json!([{"upgrade_type": "websocket"}])
    );
    let routes = generated.routes[0]["virtual_hosts"][0]["routes"]
        .as_array()
        .expect("routes");
    let names: Vec<_> = routes.iter().map(|route| route["name"].clone()).collect();
    assert_eq!(names, ["sse", "websocket", "http", "not-decided", "closed"]);
}

#[tokio::test]
async fn a_key_opens_the_way_to_each_agent_and_nothing_else_does() {
    let world = start().await;
    for (method, path, agent) in [
        ("GET", NOTES, "memory"),
        ("GET", "/api/v1/tools/list", "tools"),
        ("POST", "/api/v1/search/documents", "rag"),
    ] {
        let request = world.request(method, path);
        assert_eq!(
            request.clone().send().await.refused(),
            (401, "missing_key".to_owned()),
            "{path}"
        );
        let wrong = request.clone().key("no-such-key").send().await;
        assert_eq!(wrong.refused(), (401, "invalid_key".to_owned()), "{path}");
        let answer = request.key("demo-admin").send().await;
        assert_eq!(answer.echo().agent, agent, "{path}");
    }
    let chat = world
        .post("/api/v1/chat")
        .header("x-agent", "chat-cpu")
        .key("demo-standard")
        .send()
        .await;
    assert_eq!(chat.status, 200, "{}", chat.text());
    assert_eq!(chat.json()["system_fingerprint"], "chat-cpu");
    assert!(chat.header("ratelimit").is_some(), "{chat:?}");
}

#[tokio::test]
async fn an_event_stream_arrives_piece_by_piece() {
    let world = start().await;
    let began = Instant::now();
    let mut stream = world
        .post("/api/v1/chat/stream")
        .header("x-demo-interval", "1s")
        .header("x-demo-events", "4")
        .key("demo-standard")
        .begin()
        .await;
    assert_eq!(stream.status, 200);
    assert!(
        stream.headers["content-type"]
            .to_str()
            .is_ok_and(|it| it.starts_with("text/event-stream"))
    );
    let mut arrivals = Vec::new();
    while let Some(_chunk) = stream.chunk().await.expect("an unbroken stream") {
        arrivals.push(began.elapsed());
    }
    // Held back, they would have come together at the end.
    let (first, last) = (arrivals[0], arrivals[arrivals.len() - 1]);
    assert!(last - first > Duration::from_millis(500), "{arrivals:?}");
}

#[tokio::test]
async fn headers_of_the_gateway_s_own_cannot_be_sent() {
    let world = start().await;
    let underscore = world
        .get(NOTES)
        .key("demo-standard")
        .header("x_waykeeper_client", "somebody")
        .send()
        .await;
    assert_eq!(underscore.refused(), (400, "bad_request".to_owned()));

    let spoofed = world
        .get(NOTES)
        .key("demo-standard")
        .header("x-waykeeper-client", "somebody")
        .header(
            "x-waykeeper-cluster",
            "outbound|8000||tool-execution.agents.svc.cluster.local",
        )
        .header("x-waykeeper-kind", "websocket")
        .header("x-envoy-upstream-rq-timeout-ms", "1")
        .send()
        .await;
    assert_eq!(spoofed.echo().agent, "memory");
    let headers = spoofed.echo().headers;
    let client = headers
        .get("x-waykeeper-client")
        .expect("the client's name");
    assert_ne!(client, "somebody");
    // What steers Envoy's routes ends with them, and so does the key.
    for header in [
        "x-waykeeper-cluster",
        "x-waykeeper-kind",
        "x-api-key",
        "x-envoy-upstream-rq-timeout-ms",
    ] {
        assert_eq!(headers.get(header), None, "{header}");
    }
}

#[tokio::test]
async fn there_is_one_spelling_of_a_path() {
    let world = start().await;
    let spelled = "/api//v1/./tools/../memory/n%6ftes";
    let answer = world.get(spelled).key("demo-standard").send().await;
    let echo = answer.echo();
    assert_eq!((echo.agent.as_str(), echo.path.as_str()), ("memory", NOTES));
    let hidden = world
        .get("/api/v1/memory/..%2ftools")
        .key("demo-standard")
        .send()
        .await;
    assert_eq!(hidden.refused(), (400, "bad_path".to_owned()));
}

#[tokio::test]
async fn what_envoy_says_by_itself_has_the_shape_of_a_refusal() {
    let (mut generated, _) = patched();
    for cluster in &mut generated.clusters {
        // A Service without pods.
        if cluster["name"] == "outbound|8000||memory-store.agents.svc.cluster.local" {
            cluster["name"] = json!("outbound|8000||renamed");
        }
    }
    for extension in &mut generated.extensions {
        let routes = &mut extension["typed_config"]["config"]["configuration"]["value"]["routes"];
        for route in routes.as_array_mut().expect("routes") {
            route["timeout"] = json!("300ms");
        }
    }
    let world = render::start(&generated, None).await;

    let slow = world
        .get("/api/v1/tools/slow")
        .key("demo-admin")
        .header("x-demo-delay", "30s")
        .send()
        .await;
    assert_eq!(slow.refused(), (504, "agent_timeout".to_owned()));
    let gone = world.get(NOTES).key("demo-standard").send().await;
    assert_eq!(gone.refused(), (503, "agent_unreachable".to_owned()));
    assert_eq!(gone.header("retry-after"), Some("1"));
    // What an agent answers is its own.
    let own = world
        .get("/api/v1/tools/own")
        .key("demo-admin")
        .header("x-demo-status", "503")
        .send()
        .await;
    assert_eq!(own.status, 503);
    assert_eq!(
        own.header("content-type"),
        Some("application/json"),
        "{}",
        own.text()
    );
}

/// Istio's own value is never: a request whose filter died under it would hang for good. Here the filter waits for a
/// validator that does not answer.
#[tokio::test]
async fn a_stream_that_waits_for_nothing_is_ended() {
    let (mut generated, _) = patched();
    let limit = &mut manager(&mut generated)["stream_idle_timeout"];
    assert_eq!(*limit, "60s", "an idle time is set where Istio sets none");
    *limit = json!("1s");
    let validator = "/typed_config/config/configuration/value/clients/validator/timeout";
    *generated.extensions[0]
        .pointer_mut(validator)
        .expect("a timeout") = json!("15s");
    let world = render::start(&generated, None).await;
    world.auth().set_fault(Fault::hang());

    let began = Instant::now();
    let answer = world.get(NOTES).key("demo-standard").send().await;

    assert_eq!(answer.refused(), (504, "agent_timeout".to_owned()));
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

/// A body is sent a second time as far as Envoy's buffer goes. Istio's EDGE profile leaves it 32 KiB.
#[tokio::test]
async fn a_body_of_more_than_32_kib_can_be_tried_again() {
    let status = |limit: Option<u64>| async move {
        let (mut generated, _) = patched();
        if let Some(limit) = limit {
            generated.listeners[0]["per_connection_buffer_limit_bytes"] = json!(limit);
            // What the first route says of it stays for the whole request.
            let undecided = &mut generated.routes[0]["virtual_hosts"][0]["routes"][3];
            assert_eq!(undecided["name"], "not-decided");
            undecided["request_body_buffer_limit"] = json!(limit);
        }
        let world = render::start(&generated, None).await;
        let prompt = "word ".repeat(60 * 1024);
        let body = json!({"model": "demo", "messages": [{"role": "user", "content": prompt}]});
        let request = world
            .request("POST", "/api/v1/chat")
            .header("content-type", "application/json")
            .header("x-demo-id", "large")
            .header("x-demo-fail-first", "1")
            .header("x-agent", "chat-gpu");
        request
            .key("demo-standard")
            .body(body.to_string())
            .send()
            .await
            .status
    };
    assert_eq!(status(None).await, 200);
    assert_eq!(status(Some(32 * 1024)).await, 503);
}

#[tokio::test]
async fn health_and_preflights_need_no_key() {
    let world = start().await;
    assert_eq!(world.get("/healthz").send().await.status, 200);
    let preflight = world
        .request("OPTIONS", "/v1/chat/completions")
        .header("origin", "http://localhost:3000")
        .header("access-control-request-method", "POST")
        .send()
        .await;
    assert_eq!(preflight.status, 200);
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        Some("http://localhost:3000")
    );
}

/// A module that traps where a request has many headers, and lets others go on undecided.
const TRAPPING: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
    (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (i32.gt_u (local.get 1) (i32.const 20)) (then unreachable))
        (i32.const 0)))"#;

#[tokio::test]
async fn a_module_that_traps_is_started_anew() {
    let folder = tempfile::tempdir().expect("a folder for a module");
    let module = folder.path().join("trapping.wasm");
    std::fs::write(&module, wat::parse_str(TRAPPING).expect("a module"))
        .expect("the module's file");
    let (generated, _) = patched();
    let world = World::with(|draft| {
        render::install(draft, &generated, None);
        draft
            .setup
            .filter
            .set_module(&module)
            .expect("a local module");
    })
    .await;
    let undecided = (503, "agent_unreachable".to_owned());
    assert_eq!(world.get(NOTES).send().await.refused(), undecided);

    let many = (0..20).fold(world.get(NOTES), |request, index| {
        request.header(&format!("x-{index}"), "1")
    });
    let trapped = many.send().await;

    assert_eq!(trapped.refused(), (503, "gateway_unavailable".to_owned()));
    assert_eq!(trapped.header("retry-after"), Some("1"));
    eventually("the new module", || async {
        (world.get(NOTES).send().await.refused() == undecided).then_some(())
    })
    .await;
}

/// The manifests may arrive in any order, and someone may delete one: what is left must not let anyone in.
#[tokio::test]
async fn without_the_filter_nobody_gets_in() {
    let manifests = Manifests::of(".");
    let world = render::start(&generated::gateway(&manifests), None).await;
    let refused = |answer: Answer| assert_eq!(answer.status, 503, "{}", answer.text());
    refused(world.get(NOTES).key("demo-standard").send().await);
    let spoofed = world.get(NOTES).header("x-waykeeper-kind", "sse").header(
        "x-waykeeper-cluster",
        "outbound|8000||memory-store.agents.svc.cluster.local",
    );
    refused(spoofed.send().await);
}

/// Of patches that are deleted Envoy hears listener first and routes a moment later: as long, the routes stand alone. Who
/// fears that moment lets them demand a proof.
#[tokio::test]
async fn routes_that_demand_a_proof_believe_no_caller_when_they_stand_alone() {
    const PROOF: &str = "a-proof-of-the-tests";
    let proven = || {
        let (mut generated, _) = patched();
        let host = &mut generated.routes[0]["virtual_hosts"][0];
        let removed = host["request_headers_to_remove"].as_array_mut();
        removed.expect("names").push(json!("x-waykeeper-proof"));
        for route in host["routes"].as_array_mut().expect("routes") {
            if let Some(headers) = route["match"]["headers"].as_array_mut() {
                headers
                    .push(json!({"name": "x-waykeeper-proof", "string_match": {"exact": PROOF}}));
            }
        }
        let document = "/typed_config/config/configuration/value";
        let document = generated.extensions[0].pointer_mut(document);
        document.expect("the configuration")["proof"] = json!(PROOF);
        generated
    };
    let world = render::start(&proven(), None).await;
    let echo = world.get(NOTES).key("demo-standard").send().await.echo();
    assert_eq!(echo.agent, "memory");
    assert_eq!(echo.headers.get("x-waykeeper-proof"), None);

    let mut alone = proven();
    let manager = manager(&mut alone);
    manager["early_header_mutation_extensions"] = json!([]);
    let filters = manager["http_filters"].as_array_mut().expect("filters");
    filters.retain(|filter| filter["name"] != "waykeeper");
    alone.extensions.clear();
    let world = render::start(&alone, None).await;
    let forged = || {
        let cluster = "outbound|8000||memory-store.agents.svc.cluster.local";
        world.get(NOTES).header("x-waykeeper-cluster", cluster)
    };
    for request in [
        forged(),
        forged().header("x-waykeeper-kind", "sse"),
        forged().header("x-waykeeper-proof", "wrong"),
    ] {
        assert_eq!(request.send().await.status, 503);
    }
    let known = forged().header("x-waykeeper-proof", PROOF).send().await;
    assert_eq!(known.echo().agent, "memory", "nothing but the proof holds");
}

/// What the autoscaler's metrics are made of, through Istio's choice of statistics and the labels of its bootstrap.
#[tokio::test]
async fn the_counters_for_the_autoscaler_and_the_filter_s_labels_are_there() {
    let world = start().await;
    assert_eq!(
        world.get(NOTES).key("demo-standard").send().await.status,
        200
    );

    let metrics = world
        .operations("GET", "/stats/prometheus")
        .send()
        .await
        .text();
    let line = |name: &str, label: &str| {
        let is_it = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(label);
        metrics.lines().find(is_it).map(str::to_owned)
    };
    let gateway = format!(
        "http_conn_manager_prefix=\"outbound_{}\"",
        generated::GATEWAY_LISTENER
    );
    for name in [
        "envoy_http_downstream_rq_total",
        "envoy_http_downstream_rq_active",
    ] {
        assert!(
            line(name, &gateway).is_some(),
            "no {name} of {gateway} in\n{metrics}"
        );
    }
    let counted = line("waykeeper_requests_total", "agent=\"memory\"");
    let counted = counted.unwrap_or_else(|| panic!("no waykeeper_requests_total in\n{metrics}"));
    for label in ["route=\"/api/v1/memory\"", "outcome=\"allowed\""] {
        assert!(counted.contains(label), "{counted}");
    }
    let validator = line(
        "envoy_cluster_upstream_rq_completed",
        "cluster_name=\"outbound|8000||auth-service.agents.svc.cluster.local\"",
    );
    assert!(
        validator.is_some(),
        "nothing of the validator's cluster in\n{metrics}"
    );
    // What the alarm about configurations asks for.
    let discovery = "envoy_extension_config_discovery_http_filter_waykeeper";
    for name in [
        &*format!("{discovery}_config_fail"),
        &*format!("{discovery}_update_success"),
        "envoy_server_dynamic_unknown_fields",
    ] {
        assert!(line(name, "").is_some(), "no {name} in\n{metrics}");
    }
    // pilot-agent counts connections by these to know when it may end Envoy.
    let admin = world
        .gateway()
        .admin()
        .get("/stats?filter=downstream_cx_active$")
        .await
        .expect("stats");
    assert!(admin.contains("listener."), "{admin}");
}
