//! How it is learned how busy an agent is, what it costs, and which of several a route prefers.

use serde_json::{Value, json};

use super::super::load::MOST_CLUSTERS;
use super::{described, object};

/// The properties of an agent that say so.
pub(super) fn of_agent() -> Value {
    json!({
        "load": described("load", "How it is learned how busy it is. By nothing unless written."),
        "price": described("price", "What it costs, for prefer: cheapest."),
    })
}

/// Which of several agents gets a request.
pub(super) fn prefer(unless: &str) -> Value {
    json!({
        "description": format!(
            "Which of the agents gets a request that names none: by weight, of two the less busy one; the cheapest that is not \
             full; or the one whose first token comes soonest. {unless} unless written."
        ),
        "enum": ["weighted", "cheapest", "fastest"],
    })
}

/// The definitions that these are made of.
pub(super) fn definitions() -> Value {
    let dollars = |what: &str| {
        json!({
            "description": format!("Dollars for a million tokens that it {what}."),
            "type": "number", "minimum": 0, "maximum": 1_000_000,
        })
    };
    json!({
        "load": load(),
        "shower": object(&["cluster"], json!({
            "cluster": described("cluster", "Its cluster."),
            "host": {
                "description": "What it is called in the request for its metrics. As the agent unless written, else the cluster's own host.",
                "type": "string",
            },
        })),
        "price": object(&["input", "output"], json!({
            "input": dollars("reads"),
            "output": dollars("writes"),
        })),
    })
}

fn load() -> Value {
    let mut load = object(
        &["from"],
        json!({
            "from": {
                "description": "orca: reports in its answers (endpoint-load-metrics). queue_depth: x-agent-queue-depth in its answers. \
                                metrics: those that it shows, as vLLM and SGLang do. in_flight: how many of its max_in_flight are taken.",
                "enum": ["orca", "queue_depth", "metrics", "in_flight"],
            },
            "metric": described("name", "Which of the named metrics of its report counts, from 0 to 1. Its utilization unless written."),
            "full_at": {
                "description": "So many requests that wait at the agent mean that it is full. 10 unless written.",
                "type": "integer", "minimum": 1, "maximum": 1_000_000,
            },
            "stale_after": described("duration", "What is older is not known any more, 1s to 1h. 10s unless written."),
            "path": {
                "description": "Where it shows its metrics. /metrics unless written.",
                "type": "string", "pattern": "^/[!-~]*$",
            },
            "host": {
                "description": "What it is called in the request for its metrics. The cluster's own host unless written.",
                "type": "string",
            },
            "clusters": {
                "description": "The clusters of its endpoints, whose metrics are looked at in place of its own cluster's; it is as busy as they are on average.",
                "type": "array", "minItems": 1, "maxItems": MOST_CLUSTERS,
                "items": {"oneOf": [{"$ref": "#/$defs/cluster"}, {"$ref": "#/$defs/shower"}]},
            },
            "every": described("duration", "How often its metrics are looked at, in whole seconds, 1s to 60s. 1s unless written."),
        }),
    );
    let only = |source: Value, others: &[&str]| {
        let others: Vec<Value> = others.iter().map(|it| json!({"required": [it]})).collect();
        json!({"if": {"properties": {"from": source}, "required": ["from"]}, "then": {"not": {"anyOf": others}}})
    };
    super::merge(
        &mut load,
        json!({"allOf": [
            only(json!({"enum": ["orca", "queue_depth", "in_flight"]}), &["path", "host", "clusters", "every"]),
            only(json!({"enum": ["queue_depth", "metrics", "in_flight"]}), &["metric"]),
            only(json!({"const": "in_flight"}), &["full_at", "stale_after"]),
        ]}),
    );
    load
}
