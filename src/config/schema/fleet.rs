//! The limits that are counted for all gateways, and who counts them.

use serde_json::{Value, json};

use super::{described, object};

pub(super) fn fleet() -> Value {
    let properties = json!({
        "limiter": described("limiter", "Who counts: a service of Envoy's rate limit protocol."),
        "gateways": {
            "description": "How many gateways there are. While the limiter does not answer, each has this part of a limit; so large are leases.",
            "type": "integer", "minimum": 1, "maximum": 10_000,
        },
        "manner": {
            "description": "strict: asked on each request, which is so unless written. leased: each worker has a share ahead of need.",
            "enum": ["strict", "leased"],
        },
        "on_failure": {
            "description": "What holds while the limiter does not answer: each process's share of the limit, which is so unless written; \
                            allow all; or deny all.",
            "enum": ["process_share", "allow", "deny"],
        },
    });
    object(&["limiter", "gateways"], properties)
}

pub(super) fn limiter() -> Value {
    object(
        &["cluster"],
        json!({
            "cluster": described("cluster", "Envoy's cluster, which speaks HTTP/2."),
            "host": {
                "description": "What it is called in questions. The cluster's own host unless written.",
                "type": "string",
            },
            "domain": described("name", "Whose descriptors these are. waykeeper unless written."),
            "timeout": described("duration", "How long it may take for an answer, 1ms to 10s. 100ms unless written."),
            "max_pending": {
                "description": "How many questions may be under way in a worker. 1024 unless written.",
                "type": "integer", "minimum": 1, "maximum": 65_536,
            },
        }),
    )
}
