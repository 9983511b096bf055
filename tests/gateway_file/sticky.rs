//! Requests that have something in common, and the endpoint that gets them.

use std::collections::{BTreeMap, BTreeSet};

use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::caller::Caller;
use crate::certificates::Authority;
use crate::front::Front;
use crate::gateway::{Gateway, agent, free_address};

const ACME: (&str, &str) = ("x-api-key", "key-of-acme");
const OTHER: (&str, &str) = ("x-api-key", "key-of-other");

/// Two keys of one client, and one of another.
pub(crate) const CLIENTS: &str = "clients: {keys: [\
    {sha256: 689febd264f8b977e29c0fdb75f839eb248ba07d1561b14f2b95f42756943245, client_id: acme}, \
    {sha256: 96e3e7784c9cf8966caa973cb8fc6bd931f47352a9f3a18e779039783c24e593, client_id: acme}, \
    {sha256: 98959918e0eef2166c748d4e57c19e3e531c080ba4212fd6d8f7bbec3e9a4224, client_id: other}]}";

/// Which agent answers requests of each value, each sent twice on connections of their own.
pub(crate) async fn answers(
    caller: &Caller,
    values: std::ops::Range<usize>,
    send: impl Fn(usize) -> (String, Option<(&'static str, String)>),
) -> BTreeMap<usize, String> {
    let mut answers = BTreeMap::new();
    for value in values {
        let (path, header) = send(value);
        let headers: Vec<_> = header
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let first = caller.get(&path, &headers).await.agent();
        let second = caller.get(&path, &headers).await.agent();
        assert_eq!(first, second, "{path} {headers:?}");
        answers.insert(value, first);
    }
    answers
}

pub(crate) fn by_header(
    path: &'static str,
) -> impl Fn(usize) -> (String, Option<(&'static str, String)>) {
    move |value| {
        (
            path.to_owned(),
            Some(("x-thread", format!("thread {value}"))),
        )
    }
}

pub(crate) fn share(answers: &BTreeMap<usize, String>, agent: &str) -> usize {
    let of = answers.values().filter(|answered| *answered == agent);
    of.count() * 100 / answers.len()
}

#[tokio::test]
async fn requests_that_have_something_in_common_go_to_one_endpoint() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "authority");
    let localhost = authority.sign("localhost");
    let (one, two, three) = (agent("one").await, agent("two").await, agent("three").await);
    let all = [&one, &two, &three];
    let [a, b, c] = all.map(|agent| agent.address());
    let (front_a, front_b) = (
        Front::of(a, localhost.server(&["h2", "http/1.1"])).await,
        Front::of(b, localhost.server(&["h2", "http/1.1"])).await,
    );
    let (listen, operations) = (free_address(), free_address());
    let ca = authority.file.display();
    let credential = directory.path().join("credential");
    std::fs::write(&credential, "of-the-gateway").expect("write");
    let credential = credential.display();
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
{CLIENTS}
agents:
  ring: {{endpoints: ['http://{a}', 'http://{b}', 'http://{c}'], sticky: {{header: X-Thread}}, balance: ring_hash}}
  ring-of-two: {{endpoints: ['http://{a}', 'http://{b}'], sticky: {{header: x-thread}}, balance: ring_hash}}
  maglev: {{endpoints: ['http://{a}', 'http://{b}', 'http://{c}'], sticky: {{header: x-thread}}}}
  maglev-of-two: {{endpoints: ['http://{a}', 'http://{b}'], sticky: {{header: x-thread}}, balance: maglev}}
  weighted: {{endpoints: [{{url: 'http://{a}', weight: 8}}, 'http://{b}', 'http://{c}'], sticky: {{header: x-thread}}}}
  cookie: {{endpoints: ['http://{a}', 'http://{b}', 'http://{c}'], sticky: {{cookie: thread}}, balance: maglev}}
  query: {{endpoints: ['http://{a}', 'http://{b}', 'http://{c}'], sticky: {{query: thread}}}}
  client: {{endpoints: ['http://{a}', 'http://{b}', 'http://{c}'], sticky: {{client: true}}}}
  secure: {{endpoints: ['https://localhost:{}', 'https://localhost:{}'], tls: {{ca: {ca}}}, sticky: {{header: x-thread}}}}
  hosted: {{provider: groq, endpoints: ['http://{a}/its/v1', 'http://{b}/its/v1', 'http://{c}/its/v1'], credential: {{file: {credential}}}, sticky: {{header: x-thread}}}}
routes:
  - {{prefix: /v1, agents: [hosted], auth_required: false}}
  - {{prefix: /secure/ws, agents: [secure], protocol: websocket, prefix_rewrite: /api/v1/chat/ws, auth_required: false}}
  - {{prefix: /ws, agents: [ring], protocol: websocket, prefix_rewrite: /api/v1/chat/ws, auth_required: false}}
  - {{prefix: /sse, agents: [ring], protocol: sse, auth_required: false}}
{}",
        front_a.port(),
        front_b.port(),
        [
            "ring",
            "ring-of-two",
            "maglev",
            "maglev-of-two",
            "weighted",
            "cookie",
            "query",
            "client",
            "secure"
        ]
        .map(|agent| format!("  - {{prefix: /{agent}, agents: [{agent}], auth_required: false}}\n"))
        .concat(),
    );
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let caller = Caller::of(listen);

    // By a header: everybody has a share, by the weights.
    let ring = answers(&caller, 0..200, by_header("/ring")).await;
    let maglev = answers(&caller, 0..200, by_header("/maglev")).await;
    for agent in all.map(|agent| agent.name().to_owned()) {
        for answers in [&ring, &maglev] {
            let share = share(answers, &agent);
            assert!((18..=50).contains(&share), "{agent} {share} {answers:?}");
        }
    }
    let weighted = answers(&caller, 0..100, by_header("/weighted")).await;
    let heavy = share(&weighted, "one");
    assert!((62..=95).contains(&heavy), "{heavy}");

    // An endpoint that is not there any more: its own go elsewhere, and few others.
    for (before, path, most) in [(&ring, "/ring-of-two", 60), (&maglev, "/maglev-of-two", 12)] {
        let after = answers(&caller, 0..200, by_header(path)).await;
        let moved = after.iter().filter(|(value, agent)| {
            let before = &before[value];
            before != *agent && before != "three"
        });
        let moved = moved.count();
        assert!(moved < most, "{path} {moved}");
    }

    // By other things, and over TLS.
    let cookie = |value| {
        (
            "/cookie".to_owned(),
            Some(("cookie", format!("a=b; thread={value}"))),
        )
    };
    let query = |value| (format!("/query?a=b&thread={value}"), None);
    for answers in [
        answers(&caller, 0..30, cookie).await,
        answers(&caller, 0..30, query).await,
        answers(&caller, 0..30, by_header("/secure")).await,
        answers(&caller, 0..30, by_header("/v1/chat")).await,
    ] {
        let agents: BTreeSet<_> = answers.values().collect();
        assert!(agents.len() >= 2, "{answers:?}");
    }
    for who in [
        &[ACME, ("x-thread", "1")][..],
        &[OTHER, ("x-thread", "1")],
        &[("x-thread", "1")],
    ] {
        let mut agents = BTreeSet::new();
        for _ in 0..8 {
            agents.insert(caller.get("/client", who).await.agent());
        }
        // Another key of the same client's.
        if who.contains(&ACME) {
            let second_key = [("x-api-key", "key-of-acme-2")];
            agents.insert(caller.get("/client", &second_key).await.agent());
        }
        assert_eq!(agents.len(), 1, "{who:?}");
    }

    // What lacks it goes anywhere. The hash is nobody's to choose, and no agent's to see.
    let mut agents = BTreeSet::new();
    for _ in 0..40 {
        let answer = caller.get("/ring", &[("x-waykeeper-hash", "1")]).await;
        agents.insert(answer.agent());
    }
    assert_eq!(agents.len(), 3, "{agents:?}");
    for path in ["/ring", "/maglev", "/secure", "/client"] {
        let answer = caller
            .get(path, &[("x-thread", "1"), ("x-waykeeper-hash", "1")])
            .await;
        let arrived = &answer.json()["headers"];
        assert_eq!(arrived["x-waykeeper-agent"][0], path[1..], "{arrived}");
        for name in [
            "x-waykeeper-hash",
            "x-waykeeper-session",
            "x-waykeeper-cluster",
        ] {
            assert!(arrived.get(name).is_none(), "{path}: {arrived}");
        }
    }

    // Beside all else that is done to a request for one agent alone.
    let answer = caller.get("/v1/chat", &[("x-thread", "1")]).await;
    let told = answer.json();
    assert_eq!(told["path"], "/its/v1/chat", "{told}");
    let arrived = &told["headers"];
    assert_eq!(arrived["authorization"][0], "Bearer of-the-gateway");
    assert!(arrived.get("x-waykeeper-hash").is_none(), "{arrived}");

    // The same on routes of every kind.
    for value in 0..6 {
        let thread = format!("thread {value}");
        let expected = &ring[&value];
        let streamed = caller.get("/sse", &[("x-thread", &thread)]).await;
        assert_eq!(&streamed.agent(), expected);
        let secure = caller.get("/secure", &[("x-thread", &thread)]).await;
        // Over TLS WebSockets have a cluster of their own.
        for (path, expected) in [("ws", expected), ("secure/ws", &secure.agent())] {
            let total = |name: &str| {
                let agent = all.iter().find(|agent| agent.name() == name);
                agent.expect("an agent").stats().total
            };
            let before = total(expected);
            let mut request = format!("ws://{listen}/{path}")
                .into_client_request()
                .expect("a request");
            let headers = request.headers_mut();
            headers.insert("x-thread", thread.parse().expect("a value"));
            let (_socket, handshake) = tokio_tungstenite::connect_async(request)
                .await
                .expect("a WebSocket");
            assert_eq!(handshake.status(), 101);
            assert_eq!(total(expected), before + 1, "{path}");
        }
    }
}
