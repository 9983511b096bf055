//! The configurations that a gateway runs under, one after the other.

use serde_json::{Value, json};
use waykeeper::config::Policy;

use crate::worker::policy;

/// Of this route the agent gets whole bodies.
pub(super) const COLLECTING: &str = "/whole";

/// The SHA-256 of the key that is listed.
const LISTED: &str = "56547a7cc8bbf46bb4aa2f18a097fee842ce6e94ca4c7f5cda6df35c4f5825c9";

thread_local! {
    pub(super) static POLICIES: [Policy; 2] = [json!(null), json!([{ "name": "per-address", "each": "address", "requests": "9/minute" }])]
        .map(|limits| policy(&document(&limits)));
}

fn document(limits: &Value) -> Value {
    let mut document = json!({
        "clients": {
            "key_sources": [
                { "header": "x-api-key" }, { "query": "key" }, { "websocket_protocol": "waykeeper.key." },
            ],
            "keys": [{ "sha256": LISTED, "client_id": "listed", "plan": "standard" }],
            "validator": { "cluster": "auth", "path": "/validate", "timeout": "1s" },
        },
        "plans": { "standard": { "requests": "5/hour" } },
        "agents": { "one": { "cluster": "cluster-one" }, "two": { "cluster": "cluster-two", "weight": 0 } },
        "routes": [
            { "prefix": "/chat", "agents": ["one", "two"], "methods": ["POST"], "timeout": "7s", "max_body": "99B" },
            { "prefix": "/admin", "agents": ["one"], "roles": ["admin"] },
            { "prefix": "/events", "agents": ["one"], "protocol": "sse", "idle_timeout": "3s" },
            { "prefix": "/ws", "agents": ["one"], "protocol": "websocket" },
            { "prefix": COLLECTING, "agents": ["one"], "max_body": "99B", "collect_body": true },
            { "prefix": "/open", "agents": ["one"], "auth_required": false, "rate_limit": { "requests": "4/minute" },
              "streams": true, "timeout": "2s", "idle_timeout": "4s", "prefix_rewrite": "/handle" },
        ],
        "tables": { "keys": 1024, "counters": 1024 },
    });
    if !limits.is_null() {
        document["limits"] = limits.clone();
    }
    document
}
