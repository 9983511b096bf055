//! What a page may send and read: the policy lists each header that the clients of the field set. Those of the Python clients
//! are taken from the clients themselves; of those for browsers, which are npm's, a list is kept here.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{World, python};

/// What npm's clients set, besides what their users add.
const NPM: [(&str, &[&str]); 7] = [
    (
        "openai 6.49",
        &[
            "accept",
            "api-key",
            "authorization",
            "content-type",
            "idempotency-key",
            "openai-beta",
            "openai-organization",
            "openai-project",
            "user-agent",
            "x-stainless-arch",
            "x-stainless-custom-poll-interval",
            "x-stainless-helper-method",
            "x-stainless-lang",
            "x-stainless-os",
            "x-stainless-package-version",
            "x-stainless-poll-helper",
            "x-stainless-retry-count",
            "x-stainless-runtime",
            "x-stainless-runtime-version",
            "x-stainless-timeout",
        ],
    ),
    (
        "@anthropic-ai/sdk 1.14",
        &[
            "accept",
            "anthropic-beta",
            "anthropic-dangerous-direct-browser-access",
            "anthropic-user-profile-id",
            "anthropic-version",
            "anthropic-workspace-id",
            "authorization",
            "content-type",
            "idempotency-key",
            "user-agent",
            "x-api-key",
            "x-stainless-arch",
            "x-stainless-helper",
            "x-stainless-helper-method",
            "x-stainless-lang",
            "x-stainless-os",
            "x-stainless-package-version",
            "x-stainless-retry-count",
            "x-stainless-runtime",
            "x-stainless-runtime-version",
            "x-stainless-timeout",
        ],
    ),
    (
        "ai 6 and its providers, langchain",
        &[
            "anthropic-beta",
            "anthropic-version",
            "api-key",
            "authorization",
            "content-type",
            "openai-organization",
            "openai-project",
            "traceparent",
            "tracestate",
            "user-agent",
            "x-api-key",
            "x-goog-api-key",
        ],
    ),
    (
        "@modelcontextprotocol/sdk",
        &[
            "accept",
            "authorization",
            "content-type",
            "last-event-id",
            "mcp-method",
            "mcp-name",
            "mcp-protocol-version",
            "mcp-session-id",
        ],
    ),
    (
        "@a2a-js/sdk",
        &[
            "a2a-extensions",
            "a2a-version",
            "accept",
            "authorization",
            "content-type",
            "last-event-id",
            "x-a2a-extensions",
        ],
    ),
    (
        "grpc-web",
        &[
            "accept",
            "authorization",
            "content-type",
            "grpc-timeout",
            "x-grpc-web",
            "x-user-agent",
        ],
    ),
    ("a page of one's own", &["x-agent", "x-api-key"]),
];

/// What they read, and what our answers tell.
const READ: [&str; 20] = [
    "a2a-extensions",
    "a2a-version",
    "anthropic-workspace-id",
    "grpc-message",
    "grpc-status",
    "mcp-protocol-version",
    "mcp-session-id",
    "openai-poll-after-ms",
    "ratelimit",
    "ratelimit-policy",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "www-authenticate",
    "x-a2a-extensions",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-request-id",
    "x-should-retry",
];

/// What no page sets: the connection's own, and what the gateway adds.
fn is_no_page_s(name: &str) -> bool {
    let connection = [
        "accept-encoding",
        "connection",
        "content-length",
        "host",
        "transfer-encoding",
    ];
    let added = ["x-forwarded-", "x-envoy-", "x-waykeeper-", "x-demo-"];
    connection.contains(&name)
        || name == "x-request-id"
        || added.iter().any(|prefix| name.starts_with(prefix))
}

#[tokio::test]
async fn a_page_may_set_what_clients_set_and_read_what_they_read() {
    let world = World::with(|draft| {
        let routes = draft.routes();
        for (prefix, agent) in [("/", "memory"), ("/openai", "chat-gpu")] {
            routes.push(json!({"prefix": prefix, "agents": [agent]}));
        }
    })
    .await;
    let base_url = format!("http://{}", world.address());
    python("openai", &format!("{base_url}/v1"), "headers").await;
    python("anthropic", &base_url, "headers").await;

    let agents = ["chat-gpu", "chat-cpu", "memory"].map(|name| world.agent(name).stats());
    let seen = agents.iter().flat_map(|agent| &agent.last);
    let arrived = seen.flat_map(|seen| seen.headers.iter().map(|(name, _)| name.to_owned()));
    let arrived: BTreeSet<String> = arrived.filter(|name| !is_no_page_s(name)).collect();
    for witness in [
        "anthropic-beta",
        "anthropic-workspace-id",
        "openai-beta",
        "openai-project",
        "x-stainless-helper-method",
        "x-stainless-poll-helper",
        "x-stainless-read-timeout",
    ] {
        assert!(arrived.contains(witness), "{witness}: {arrived:?}");
    }

    let preflight = world
        .request("OPTIONS", "/v1/chat/completions")
        .header("origin", "http://localhost:3000")
        .header("access-control-request-method", "POST")
        .send()
        .await;
    let answer = world
        .get("/v1/models")
        .header("origin", "http://localhost:3000")
        .send()
        .await;
    let listed = |header: &str| -> BTreeSet<String> {
        let lists = [&preflight, &answer].map(|it| it.header(header).unwrap_or_default());
        let names = lists.iter().flat_map(|list| list.split(','));
        names.map(|name| name.trim().to_ascii_lowercase()).collect()
    };
    let allowed = listed("access-control-allow-headers");
    let missing: Vec<_> = arrived.difference(&allowed).collect();
    assert!(missing.is_empty(), "of the Python clients: {missing:?}");
    for (client, names) in NPM {
        let missing: Vec<_> = names.iter().filter(|it| !allowed.contains(**it)).collect();
        assert!(missing.is_empty(), "{client}: {missing:?}");
    }
    let exposed = listed("access-control-expose-headers");
    let missing: Vec<_> = READ.iter().filter(|it| !exposed.contains(**it)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
