//! What a path in an agent's url does.

use hyper::Response;
use serde_json::json;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::caller::Caller;
use crate::gateway::{Gateway, agent, free_address};
use crate::stand_in::{Came, StandIn};

/// Answers with what it is asked for; fails at first or redirects where a header says so.
fn answer(came: &Came) -> Response<http_body_util::Full<bytes::Bytes>> {
    let mut answer = Response::builder();
    if let Some(location) = came.header("x-redirect") {
        answer = answer.status(307).header("location", location);
    }
    if came.header("x-fail").is_some() {
        answer = answer.status(503);
    }
    answer.body(came.path.clone().into()).expect("an answer")
}

#[tokio::test]
async fn the_path_of_an_agents_url_takes_the_place_of_v1() {
    let directory = tempfile::tempdir().expect("a directory");
    let one = StandIn::start(answer).await;
    let sockets = agent("sockets").await;
    let [listen, operations] = [(); 2].map(|()| free_address());
    let address = one.address;
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
agents:
  hosted: {{url: 'http://{address}/openai/v1'}}
  nested: {{url: 'http://{address}/v1/account/openai'}}
  mcp: {{url: 'http://{address}/mcp/'}}
  plain: {{url: 'http://{address}/'}}
  sockets: {{endpoints: ['http://{sockets}/api/v1/chat'], health: {{path: /healthz}}}}
routes:
  - {{prefix: /v1, agents: [hosted, nested, mcp, plain], auth_required: false, retry: {{max_attempts: 3, retry_on: [503]}}}}
  - {{prefix: /v1beta, agents: [hosted], auth_required: false}}
  - {{prefix: /openai, agents: [hosted], auth_required: false}}
  - {{prefix: /chat, agents: [hosted], auth_required: false, prefix_rewrite: /v1/chat/completions}}
  - {{prefix: /tools, agents: [mcp], auth_required: false, prefix_rewrite: /}}
  - {{prefix: /v1/ws, agents: [sockets], auth_required: false, protocol: websocket}}
",
        sockets = sockets.address(),
    );
    let gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let caller = Caller::of(listen);

    for (agent, path, arrived) in [
        (
            "hosted",
            "/v1/chat/completions",
            "/openai/v1/chat/completions",
        ),
        ("hosted", "/v1/models?a=/v1/b", "/openai/v1/models?a=/v1/b"),
        ("hosted", "/v1", "/openai/v1"),
        ("hosted", "/v1/", "/openai/v1"),
        ("hosted", "/v1?x=1", "/openai/v1?x=1"),
        ("hosted", "/v1/?x=1", "/openai/v1?x=1"),
        // Another word than v1: the base stands before it.
        ("hosted", "/v1beta/models", "/openai/v1/v1beta/models"),
        ("hosted", "/chat", "/openai/v1/chat/completions"),
        // Already the agent's.
        ("hosted", "/openai/v1/models", "/openai/v1/models"),
        ("hosted", "/openai/v10", "/openai/v1/openai/v10"),
        ("nested", "/v1/models", "/v1/account/openai/models"),
        ("mcp", "/v1/x", "/mcp/x"),
        ("mcp", "/tools", "/mcp/"),
        ("mcp", "/tools/x", "/mcp/x"),
        ("mcp", "/tools?a", "/mcp/?a"),
        ("plain", "/v1/models", "/v1/models"),
    ] {
        let answer = caller.get(path, &[("x-agent", agent)]).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, arrived),
            "{path}"
        );
    }

    // Each attempt begins with the path of the request.
    one.came();
    let failed = caller
        .get("/v1/models", &[("x-agent", "nested"), ("x-fail", "yes")])
        .await;
    assert_eq!(failed.status, 503);
    let attempts = one.came();
    let paths: Vec<&str> = attempts.iter().map(|came| came.path.as_str()).collect();
    assert_eq!(paths, ["/v1/account/openai/models"; 3]);
    // Nothing but the path is another.
    for came in &attempts {
        assert_eq!(
            (came.method.as_str(), came.host.as_str()),
            ("GET", "gateway.example")
        );
        assert!(came.body.is_empty(), "{came:?}");
    }

    // A redirect within the base leads to where the caller finds it.
    for (path, location, told) in [
        ("/v1/a", "/openai/v1/a/?b#c", "/v1/a/?b#c"),
        (
            "/v1/a",
            "http://gateway.example/openai/v1/a/",
            "http://gateway.example/v1/a/",
        ),
        (
            "/v1/a",
            "//gateway.example/openai/v1",
            "//gateway.example/v1",
        ),
        ("/v1/a", "/openai/v10", "/openai/v10"),
        (
            "/v1/a",
            "http://other.example/openai/v1/a",
            "http://other.example/openai/v1/a",
        ),
        ("/v1beta/a", "/openai/v1/v1beta/a/", "/v1beta/a/"),
        (
            "/v1beta/a",
            "/openai/v1//other.example",
            "/openai/v1//other.example",
        ),
        ("/v1beta/a", "/openai/v1", "/"),
        ("/openai/v1/a", "/openai/v1/b", "/openai/v1/b"),
        // First the base, then the route's own rewriting.
        ("/chat/x", "/openai/v1/chat/completions/y", "/chat/y"),
    ] {
        let headers = [("x-agent", "hosted"), ("x-redirect", location)];
        let answer = caller.get(path, &headers).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (307, Some(told)),
            "{path}: {location}"
        );
    }

    let request = format!("ws://{listen}/v1/ws").into_client_request();
    let connected = tokio_tungstenite::connect_async(request.expect("a request")).await;
    let (_socket, handshake) = connected.expect("a WebSocket");
    assert_eq!(handshake.status(), 101);

    // The access log has both paths, without the query.
    for (path, agent, asked, got) in [
        (
            "/v1/models?a=b",
            "nested",
            "/v1/models",
            json!("/v1/account/openai/models"),
        ),
        (
            "/chat/x",
            "hosted",
            "/chat/x",
            json!("/openai/v1/chat/completions/x"),
        ),
        ("/v1/models", "plain", "/v1/models", json!(null)),
    ] {
        let answer = caller.get(path, &[("x-agent", agent)]).await;
        let logged = gateway.logged(&answer).await;
        assert_eq!(
            (&logged["path"], &logged["agent_path"]),
            (&json!(asked), &got),
            "{logged}"
        );
    }
}
