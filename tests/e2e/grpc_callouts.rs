//! Callouts by gRPC, in the real Envoy: what a server may answer, and what a gateway must live through. Nothing in the filter
//! makes them by itself, so a build of it does that sends what a request asks for (`make probe-filter`).

use std::net::SocketAddr;

use bytes::Bytes;
use serde_json::{Value, json};
use waykeeper::lifecycle::MAX_ANSWER_BYTES;
use waykeeper_demo::stack::AUTH_CLUSTER;

use crate::harness::{
    Answer, Draft, GrpcCall, GrpcReply, GrpcServer, Puppet, World, eventually, needed,
};

/// Where the server is.
const LIMITS: &str = "limits";

/// Where nobody listens.
const CLOSED: &str = "closed";

/// The reference's cluster without a host.
const EMPTY: &str = "waykeeper/nobody";

/// Where no request more may be under way.
const FULL: &str = "full";

#[tokio::test]
async fn a_call_reaches_its_server_and_whatever_it_says_comes_back() {
    let server = GrpcServer::start(reply).await;
    let world = start(&server, |_| ()).await;
    let all_bytes: Vec<u8> = (0..=255).collect();

    // A message of any bytes, there and back.
    let mut echo = call(LIMITS, "Echo");
    echo["message"] = json!(digits(&all_bytes));
    echo["headers"] = json!([["x-gateway", "a"], ["x-gateway", "b"]]);
    let came = world.call(&[echo]).await;
    assert_eq!(came[0]["message"], digits(&all_bytes));
    let asked = server.calls().remove(0);
    assert_eq!(asked.uri.path(), "/fleet.Limits/Echo");
    assert_eq!(
        asked.uri.authority().map(|it| it.as_str()),
        Some("limits.test")
    );
    assert_eq!(asked.message, all_bytes);
    assert_eq!(asked.headers["content-type"], "application/grpc");
    assert_eq!(asked.headers["te"], "trailers");
    let gateways: Vec<_> = asked.headers.get_all("x-gateway").iter().collect();
    assert_eq!(gateways, ["a", "b"]);

    // Each with the answer that stands for it, all asked at once.
    let (methods, wanted): (Vec<_>, Vec<_>) = [
        ("Echo", json!({"message": ""})),
        // Envoy adds what it knows of its own.
        (
            "Denied",
            json!({"status": 7, "text": "not in this room{via_upstream}"}),
        ),
        ("Exhausted", json!({"status": 8, "text": "via_upstream"})),
        (
            "Strange",
            json!({"status": 2, "text": "what is 99?{via_upstream}"}),
        ),
        ("Nonsense", json!({"status": 2, "text": "via_upstream"})),
        ("Hollow", json!({"status": 13, "text": ""})),
        ("Page", json!({"status": 13, "text": "via_upstream"})),
        ("Missing", json!({"status": 12, "text": "via_upstream"})),
        ("Busy", json!({"status": 14, "text": "via_upstream"})),
        ("Bounded", json!({"message": "2e".repeat(MAX_ANSWER_BYTES)})),
        ("Unbounded", json!({"failed": true})),
    ]
    .into_iter()
    .unzip();
    let calls: Vec<_> = methods.iter().map(|method| call(LIMITS, method)).collect();
    let came = world.call(&calls).await;
    for ((method, came), wanted) in methods.iter().zip(&came).zip(&wanted) {
        assert_eq!(came, wanted, "{method}");
    }
}

#[tokio::test]
async fn who_cannot_be_asked_is_told_of_at_once_and_who_does_not_answer_in_time() {
    let server = GrpcServer::start(reply).await;
    let world = start(&server, |_| ()).await;

    // What is refused at once takes nothing from what is sent in the same callback, before and behind it.
    for cluster in ["", "unheard-of", EMPTY, FULL] {
        let calls = [LIMITS, cluster, LIMITS].map(|cluster| call(cluster, "Echo"));
        let came = world.call(&calls).await;
        let refused = came[1]["refused"].as_str().unwrap_or_default();
        assert!(
            refused.starts_with("the host refused a callout to a cluster"),
            "{cluster:?}: {came:?}"
        );
        for beside in [&came[0], &came[2]] {
            assert_eq!(*beside, json!({"message": ""}), "beside {cluster:?}");
        }
        let came = world.call(&[http(cluster), http(AUTH_CLUSTER)]).await;
        assert!(came[0]["refused"].is_string(), "{cluster:?}: {came:?}");
        assert_eq!(came[1]["response"], 200, "beside {cluster:?}: {came:?}");
    }
    let refused = world.call(&[call(CLOSED, "Echo"), http(CLOSED)]).await;
    assert_eq!(refused[0]["status"], 14, "{refused:?}");
    assert_eq!(refused[1], json!({"failed": true}));

    let mut short = call(LIMITS, "Nothing");
    short["timeout_milliseconds"] = json!(200);
    let (late, took) = world.timed_call(&short).await;
    assert!(matches!(late["status"].as_u64(), Some(4 | 14)), "{late}");
    assert!((150..3000).contains(&took), "{took}");
    // Even so short a time is one.
    short["timeout_milliseconds"] = json!(0);
    let (late, _) = world.timed_call(&short).await;
    assert!(matches!(late["status"].as_u64(), Some(4 | 14)), "{late}");
}

#[tokio::test]
async fn no_name_of_a_cluster_ends_envoy() {
    let server = GrpcServer::start(reply).await;
    let long = "n".repeat(200);
    let names = [
        long.as_str(),
        "auth-grpc",
        "\n\u{6}\n\u{4}auth",
        "\u{12}\u{2}\n\u{0}",
        "outbound|8080||limits.test.svc.cluster.local",
    ];
    let world = start(&server, |draft| {
        for name in names {
            add(draft, name, &[server.address()]);
        }
    })
    .await;

    for name in names {
        let came = world.call(&[call(name, "Echo")]).await;
        assert_eq!(came[0], json!({"message": ""}), "{name:?}");
        // One that nobody has, and that differs in its last byte alone.
        let came = world.call(&[call(&format!("{name}z"), "Echo")]).await;
        assert!(came[0]["refused"].is_string(), "{name:?}z: {came:?}");
    }
    assert_eq!(server.calls().len(), names.len());
}

#[tokio::test]
async fn callouts_by_http_and_by_grpc_do_not_take_each_others_answers() {
    let server = GrpcServer::start(reply).await;
    let world = start(&server, |_| ()).await;

    // Envoy numbers both kinds from one; of three each, some numbers are the same.
    let mut calls = Vec::new();
    for number in 0..3 {
        let mut grpc = call(LIMITS, "Echo");
        grpc["message"] = json!(format!("0{number}"));
        calls.extend([http(AUTH_CLUSTER), grpc]);
    }
    let came = world.call(&calls).await;

    for (number, pair) in came.chunks(2).enumerate() {
        assert_eq!(pair[0]["response"], 200, "{pair:?}");
        assert_eq!(pair[1], json!({"message": format!("0{number}")}));
    }
}

#[tokio::test]
async fn two_hundred_wait_at_once_and_each_gets_its_own() {
    let server = GrpcServer::start(reply).await;
    let world = start(&server, |_| ()).await;

    let waiting: Vec<_> = (0..200)
        .map(|number| {
            let mut held = call(LIMITS, "Held");
            held["message"] = json!(format!("{number:04x}"));
            tokio::spawn(world.asking(&[held]).send())
        })
        .collect();
    eventually("all calls", || async {
        (server.calls().len() == 200).then_some(())
    })
    .await;
    server.let_go(200);

    for (number, waiting) in waiting.into_iter().enumerate() {
        let came = came(&waiting.await.expect("a caller"));
        assert_eq!(came[0], json!({"message": format!("{number:04x}")}));
    }
}

#[tokio::test]
async fn a_configuration_that_comes_meanwhile_takes_no_answer_away() {
    let server = GrpcServer::start(reply).await;
    let mut world = start(&server, |_| ()).await;
    let waiting = tokio::spawn(world.asking(&[call(LIMITS, "Held")]).send());
    let leaving = tokio::spawn(world.asking(&[call(LIMITS, "Held")]).send());
    eventually("both calls", || async {
        (server.calls().len() == 2).then_some(())
    })
    .await;

    leaving.abort();
    world
        .reconfigure(|now| now["plans"]["another"] = json!({}))
        .await;
    assert_eq!(
        world.call(&[call(LIMITS, "Echo")]).await,
        [json!({"message": ""})]
    );
    server.let_go(2);

    let answer = waiting.await.expect("the caller");
    assert_eq!(came(&answer), [json!({"message": ""})]);
    // What nobody waits for any more has disturbed nobody.
    assert_eq!(
        world.call(&[call(LIMITS, "Echo")]).await,
        [json!({"message": ""})]
    );
    assert!(!world.gateway().envoy_log().contains("[critical]"));
}

#[tokio::test]
async fn an_answer_to_a_configuration_that_is_gone_harms_nobody() {
    let server = GrpcServer::start(reply).await;
    let mut world = start(&server, |_| ()).await;
    let leaving = tokio::spawn(world.asking(&[call(LIMITS, "Held")]).send());
    eventually("the call", || async {
        (server.calls().len() == 1).then_some(())
    })
    .await;

    leaving.abort();
    eventually("the caller's leave", || async {
        (!world.gateway().access_log().is_empty()).then_some(())
    })
    .await;
    world
        .reconfigure(|now| now["plans"]["another"] = json!({}))
        .await;
    server.let_go(1);

    for _ in 0..3 {
        assert_eq!(
            world.call(&[call(LIMITS, "Echo")]).await,
            [json!({"message": ""})]
        );
    }
}

#[tokio::test]
async fn an_answer_to_a_module_that_is_gone_harms_nobody() {
    let server = GrpcServer::start(reply).await;
    let world = start(&server, |draft| {
        draft.connection_manager()["stream_idle_timeout"] = json!("1s");
    })
    .await;
    let waiting = tokio::spawn(world.asking(&[call(LIMITS, "Held")]).send());
    eventually("the call", || async {
        (server.calls().len() == 1).then_some(())
    })
    .await;

    let trapped = world.get("/").header("x-probe", "trap").send().await;
    assert_eq!(trapped.status, 503);
    server.let_go(1);

    assert_eq!(waiting.await.expect("the caller").status, 503);
    eventually("the module's return", || async {
        let answer = world.asking(&[call(LIMITS, "Echo")]).send().await;
        (answer.status == 200).then(|| assert_eq!(came(&answer), [json!({"message": ""})]))
    })
    .await;
}

// --------------------------------------------------------------------------------------------------------------- tools

/// What the server answers, by the method that is called.
fn reply(call: &GrpcCall) -> GrpcReply {
    let all = |length| GrpcReply::Message(Bytes::from(vec![b'.'; length]));
    match call.uri.path().rsplit('/').next() {
        Some("Echo") => GrpcReply::Message(call.message.clone()),
        Some("Held") => GrpcReply::Held(call.message.clone()),
        Some("Denied") => GrpcReply::Status("7", "not in this room"),
        Some("Exhausted") => GrpcReply::Status("8", ""),
        Some("Strange") => GrpcReply::Status("99", "what is 99?"),
        Some("Nonsense") => GrpcReply::Status("yes", ""),
        Some("Hollow") => GrpcReply::Status("0", ""),
        Some("Page") => GrpcReply::Http(200, "<html>Welcome</html>"),
        Some("Missing") => GrpcReply::Http(404, "<html>Where?</html>"),
        Some("Busy") => GrpcReply::Http(503, "<html>Later</html>"),
        Some("Bounded") => all(MAX_ANSWER_BYTES),
        Some("Unbounded") => all(MAX_ANSWER_BYTES + 1),
        _ => GrpcReply::Nothing,
    }
}

/// A world whose filter sends what it is asked to, and that knows the server.
async fn start(server: &GrpcServer, change: impl FnOnce(&mut Draft)) -> World {
    let closed = Puppet::listen().await.address();
    World::with(|draft| {
        let module = needed("target/waykeeper-probe.wasm", "make probe-filter");
        draft.setup.filter.set_module(&module).expect("the filter");
        add(draft, LIMITS, &[server.address()]);
        add(draft, CLOSED, &[closed]);
        add(draft, FULL, &[server.address()]);
        draft.cluster(FULL)["circuit_breakers"] =
            json!({"thresholds": [{"max_requests": 0, "max_pending_requests": 0}]});
        change(draft);
    })
    .await
}

/// A cluster that speaks HTTP/2.
fn add(draft: &mut Draft, name: &str, addresses: &[SocketAddr]) {
    draft.add_cluster(name, addresses);
    draft.cluster(name)["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        },
    });
}

/// An HTTP callout as the probe wants it.
fn http(cluster: &str) -> Value {
    json!({
        "cluster": cluster,
        "headers": [[":method", "GET"], [":path", "/healthz"], [":authority", "auth.test"]],
        "timeout_milliseconds": 10_000,
    })
}

/// A call by gRPC.
fn call(cluster: &str, method: &str) -> Value {
    json!({
        "cluster": cluster,
        "grpc": ["fleet.Limits", method],
        "authority": "limits.test",
        "timeout_milliseconds": 10_000,
    })
}

impl World {
    /// A request whose callouts are `calls`, all sent in one callback.
    fn asking(&self, calls: &[Value]) -> crate::harness::Request {
        self.get("/")
            .header("x-probe", format!("call {}", json!(calls)))
    }

    /// What came of each.
    async fn call(&self, calls: &[Value]) -> Vec<Value> {
        came(&self.asking(calls).send().await)
    }

    /// What came of one, and after how many milliseconds.
    async fn timed_call(&self, call: &Value) -> (Value, u64) {
        let answer = self.asking(std::slice::from_ref(call)).send().await;
        let told = told(&answer);
        let took = told["came"][0]["milliseconds"].as_u64().expect("a time");
        (told["came"][0].clone(), took)
    }
}

fn told(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// What came of each callout, but for the time that it took.
fn came(answer: &Answer) -> Vec<Value> {
    let mut told = told(answer);
    let came = told["came"].as_array_mut().expect("a list");
    for one in &mut *came {
        one.as_object_mut()
            .expect("an object")
            .remove("milliseconds");
    }
    std::mem::take(came)
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
