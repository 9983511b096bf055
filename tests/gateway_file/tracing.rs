//! Tracing, as docs/gateway.md has it by patches: a collector of OpenTelemetry's gets the span of each request, and the agent is
//! told which it is.

use crate::caller::Caller;
use crate::gateway::{agent, free_address};
use crate::running::{Running, at, gateway};
use crate::stand_in::{StandIn, json};
use crate::sticky::CLIENTS;
use crate::{eventually, needed};

const KEY: &str = "key-of-acme";

/// What the page shows, with the collector in the test's own place.
fn shown(collector: &StandIn) -> String {
    let page = needed("docs/gateway.md", "git checkout");
    let page = std::fs::read_to_string(page).expect("the page");
    let mut blocks = page.split("```yaml\n").skip(1);
    let block = blocks.find(|block| block.contains("envoy.tracers.opentelemetry"));
    let block = block.and_then(|rest| rest.split("```").next());
    let block = block.expect("the page shows tracing");
    let (_, patches) = block.split_once("\nenvoy:\n").expect("patches");
    let (host, port) = (collector.address.ip(), collector.address.port());
    let place = format!("address: {host}, port_value: {port}");
    let there = "address: otel-collector, port_value: 4318";
    assert_eq!(patches.matches(there).count(), 1, "{patches}");
    format!("envoy:\n{}", patches.replace(there, &place))
}

/// The trace and the span of a `traceparent`, as they stand in OTLP.
fn ids(traceparent: &str) -> (Vec<u8>, Vec<u8>) {
    let parts: Vec<_> = traceparent.split('-').collect();
    let bytes = |hex: &str| -> Vec<u8> {
        let pairs = (0..hex.len()).step_by(2);
        pairs
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits"))
            .collect()
    };
    assert_eq!((parts.len(), parts[0]), (4, "00"), "{traceparent}");
    (bytes(parts[1]), bytes(parts[2]))
}

/// Whether OTLP holds these bytes, with their length before them, as a field of its own.
fn holds(spans: &[u8], field: &[u8]) -> bool {
    let length = u8::try_from(field.len()).expect("a short field");
    let whole = [&[length], field].concat();
    spans.windows(whole.len()).any(|window| window == whole)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_span_of_each_request_arrives_at_a_collector_and_no_key_with_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let chat = agent("chat").await;
    let collector = StandIn::start(|_| json(200, "{}")).await;
    let listen = free_address();
    let routes = format!(
        "  - {{prefix: /keyed, agents: [chat]}}\n  \
         - {{prefix: /ws, agents: [chat], protocol: websocket, prefix_rewrite: /api/v1/chat/ws}}\n{CLIENTS}\n"
    );
    let agents = [("chat", at(chat.address()))];
    // With `query`, keys may stand in the urls of handshakes.
    let plain = gateway(listen, &agents, &routes).replace(
        "clients: {",
        "clients: {key_sources: [{header: x-api-key}, {query: api_key}], ",
    );
    let mut running = Running::start(directory.path(), &plain, &[]).await;
    let caller = Caller::of(listen);
    let answer = caller.get("/chat/before", &[]).await;
    assert!(!answer.text().contains("traceparent"), "{answer:?}");

    let said = running
        .change(&format!("{plain}{}", shown(&collector)))
        .await;
    assert!(said.contains("envoy.patches: changed"), "{said}");
    eventually("the patched listener", async || {
        let answer = caller.get("/chat/first", &[]).await;
        answer.text().contains("traceparent").then_some(())
    })
    .await;
    let key = ("x-api-key", KEY);
    let own = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{own}-b7ad6b7169203331-01");
    let begun = caller.get("/keyed/begun", &[key]).await;
    let continued = caller
        .get("/keyed/continued", &[key, ("traceparent", &parent)])
        .await;
    let refused = caller
        .get("/keyed/refused", &[("x-api-key", "nobodys-key")])
        .await;
    assert_eq!(refused.status, 401);
    for key in [KEY, "nobodys-key"] {
        let url = format!("ws://{listen}/ws?api_key={key}&x=1");
        // It is over at once.
        let opened = tokio_tungstenite::connect_async(url).await;
        assert_eq!(opened.is_ok(), key == KEY, "{key}");
    }

    // All that comes until each of them has.
    let mut spans = Vec::new();
    let ids_of = [&begun, &continued].map(|answer| ids(&answer.arrived("traceparent")));
    let requests = [&begun, &continued, &refused]
        .map(|answer| answer.header("x-request-id").expect("an id").as_bytes());
    eventually("the spans", || {
        for came in collector.came() {
            assert_eq!(
                (came.method.as_str(), came.path.as_str()),
                ("POST", "/v1/traces")
            );
            assert_eq!(came.header("content-type"), Some("application/x-protobuf"));
            spans.extend_from_slice(&came.body);
        }
        let sockets = spans.windows(4).filter(|it| *it == b"/ws?").count();
        let all = ids_of
            .iter()
            .all(|(trace, span)| holds(&spans, trace) && holds(&spans, span));
        let all = all && requests.iter().all(|id| holds(&spans, id)) && sockets >= 2;
        async move { all.then_some(()) }
    })
    .await;
    assert_eq!(
        continued.arrived("traceparent").split('-').nth(1),
        Some(own)
    );
    assert_ne!(ids_of[0].0, ids_of[1].0);
    let text = String::from_utf8_lossy(&spans);
    assert!(
        text.contains("service.name\u{12}\u{b}\n\u{9}waykeeper"),
        "{text}"
    );
    for secret in [KEY, "nobodys-key"] {
        assert!(!text.contains(secret), "{text}");
    }
}
