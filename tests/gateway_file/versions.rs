//! Each Envoy that is written for takes what is written for it, and serves: one of each kind of request.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use waykeeper_demo::auth::{self, Keys};

use crate::caller::{Answer, Caller};
use crate::eventually;
use crate::gateway::{Around, Gateway, agent, free_address};

const KEY: (&str, &str) = ("x-api-key", "demo-premium");
const JSON: (&str, &str) = ("content-type", "application/json");

fn code(answer: &Answer) -> String {
    let code = &answer.json()["error"]["code"];
    code.as_str().unwrap_or_default().to_owned()
}

/// What `gateway.yaml` can say that one version takes and another might not is in here. `chooses` as the templates ask: whether
/// this Envoy can choose between two values of the log's commands.
async fn serves(version: &'static str, chooses: bool) {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = agent("chat").await;
    let auth = auth::start("127.0.0.1:0", Keys::demo())
        .await
        .expect("the validator");
    let [listen, second, operations, nobody] = [(); 4].map(|()| free_address());
    let text = format!(
        "
listen:
  - {{address: '{listen}', cors: {{origins: ['https://app.example.com', localhost]}}}}
  - {{address: '{second}', trusted_hops: 1}}
operations: '{operations}'
clients: {{default_plan: premium, validator: {{url: 'http://{validator}/validate', timeout: 5s}}}}
plans: {{premium: {{}}, standard: {{}}, admin: {{}}}}
agents:
  chat: {{url: 'http://{agent}', health: {{path: /healthz, interval: 100ms, timeout: 5s}}}}
  in-turn: {{endpoints: ['http://{agent}', {{url: 'http://localhost:{port}', weight: 3}}], balance: round_robin}}
  elsewhere: {{url: 'https://localhost:{port}', balance: random}}
  absent: {{url: 'http://{nobody}'}}
routes:
  - {{prefix: /echo, agents: [in-turn]}}
  - {{prefix: /few, agents: [chat], rate_limit: {{requests: 3/day}}}}
  - {{prefix: /outside, prefix_rewrite: /inside, agents: [chat]}}
  - {{prefix: /whole, agents: [chat], collect_body: true, max_body: 2MiB}}
  - {{prefix: /api/v1/chat/stream, agents: [chat], protocol: sse}}
  - {{prefix: /api/v1/chat/ws, agents: [chat], protocol: websocket}}
  - {{prefix: /absent, agents: [absent]}}
  - {{prefix: /elsewhere, agents: [elsewhere]}}
",
        validator = auth.address(),
        agent = agent.address(),
        port = agent.address().port(),
    );
    let around = Around {
        version: Some(version),
        ..Around::default()
    };
    let gateway = Gateway::start_with(directory.path(), &text, &around, operations).await;
    let caller = Caller::of(listen);

    // Who may not.
    let refused = caller.get("/echo", &[]).await;
    assert_eq!(
        (refused.status, code(&refused)),
        (401, "missing_key".to_owned())
    );
    assert_eq!(caller.get("/nowhere", &[KEY]).await.status, 404);
    // Who may, by either listener and in either version of HTTP.
    for caller in [caller.clone(), caller.clone().http2(), Caller::of(second)] {
        let served = caller.get("/echo", &[KEY]).await;
        assert_eq!(served.arrived("x-waykeeper-client"), "globex");
    }

    // What Envoy answers itself has our shape.
    let unreachable = caller.get("/absent", &[KEY]).await;
    assert_eq!(
        (unreachable.status, code(&unreachable)),
        (503, "agent_unreachable".to_owned())
    );
    assert_eq!(unreachable.header("retry-after"), Some("1"));
    assert!(unreachable.header("x-request-id").is_some());
    assert_eq!(
        code(&caller.get("/elsewhere", &[KEY]).await),
        "agent_unreachable"
    );
    let bad = caller.get("/echo", &[KEY, ("x_agent", "chat")]).await;
    assert_eq!((bad.status, code(&bad)), (400, "bad_request".to_owned()));
    assert_eq!(bad.header("x-request-id").is_some(), chooses);

    // The access log tells the caller's path and the agent's.
    let rewritten = caller.get("/outside/a?b=c", &[KEY]).await;
    assert_eq!(rewritten.json()["path"], "/inside/a");
    let logged = gateway.logged(&rewritten).await;
    assert_eq!(
        (&logged["path"], &logged["agent_path"]),
        (&"/outside/a".into(), &"/inside/a".into())
    );
    let as_it_is = caller.get("/echo/a?b=c", &[KEY]).await;
    let logged = gateway.logged(&as_it_is).await;
    assert_eq!(logged["path"], "/echo/a");
    assert!(logged["agent_path"].is_null(), "{logged}");

    // A body that is larger than the usual window of a stream is collected all the same.
    let sender = caller.clone().with_body(vec![b'a'; 1_500_000]);
    for sender in [sender.clone(), sender.http2()] {
        let sent = sender
            .send("POST", "/whole", &[KEY])
            .await
            .expect("an answer");
        assert_eq!(sent.json()["body_bytes"], 1_500_000, "{sent:?}");
    }

    // A stream.
    let asks = r#"{"model":"demo","messages":[{"role":"user","content":"Hello"}],"stream":true}"#;
    let stream = caller.clone().with_body(asks);
    let answer = stream
        .send("POST", "/api/v1/chat/stream", &[KEY, JSON])
        .await
        .expect("an answer");
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert!(
        answer.text().trim_end().ends_with("data: [DONE]"),
        "{}",
        answer.text()
    );

    // A WebSocket.
    let mut request = format!("ws://{listen}/api/v1/chat/ws")
        .into_client_request()
        .expect("a request");
    request
        .headers_mut()
        .insert(KEY.0, KEY.1.parse().expect("a key"));
    let (mut socket, _) = tokio_tungstenite::connect_async(request)
        .await
        .expect("a WebSocket");
    socket.send(Message::text("hello")).await.expect("to send");
    let heard = socket.next().await.expect("a frame").expect("a frame");
    assert_eq!(heard, Message::text("hello"));

    // A page.
    let asked = [
        ("origin", "https://app.example.com"),
        ("access-control-request-method", "POST"),
    ];
    let preflight = caller
        .send("OPTIONS", "/echo", &asked)
        .await
        .expect("an answer");
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        Some("https://app.example.com")
    );

    // A limit, and one that is raised while Envoy runs and keeps its count.
    for status in [200, 200, 200, 429] {
        assert_eq!(caller.get("/few", &[KEY]).await.status, status);
    }
    gateway.change("3/day", "5/day");
    eventually("the new limit", || async {
        (caller.get("/few", &[KEY]).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(caller.get("/few", &[KEY]).await.status, 200);
    assert_eq!(caller.get("/few", &[KEY]).await.status, 429);
    let metrics = Caller::of(operations).get("/stats/prometheus", &[]).await;
    assert!(
        metrics.text().contains(
            "waykeeper_requests_total{route=\"/few\",agent=\"chat\",outcome=\"allowed\"} 5"
        )
    );
}

#[tokio::test]
async fn envoy_1_36_serves() {
    serves("1.36.4", false).await;
}

#[tokio::test]
async fn envoy_1_37_serves() {
    serves("1.37.0", true).await;
}

#[tokio::test]
async fn envoy_1_38_serves() {
    serves("1.38.2", true).await;
}

#[tokio::test]
async fn envoy_1_39_serves() {
    serves("1.39.3", true).await;
}
