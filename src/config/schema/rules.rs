//! Rules of a route, and the models and capabilities of agents.

use serde_json::{Value, json};

use super::routes::fallback;
use super::{described, merge, object};

/// The properties of an agent that narrow which requests it gets.
pub(super) fn of_agent() -> Value {
    json!({
        "models": {
            "description": "The models that it serves: requests for others go to the route's other agents. All unless written.",
            "type": "array", "minItems": 1, "maxItems": 1024, "uniqueItems": true,
            "items": {"oneOf": [{"$ref": "#/$defs/model_pattern"}, {"$ref": "#/$defs/model"}]},
        },
        "capabilities": {
            "description": "What it can do, by words that callers ask for in x-agent-capability.",
            "type": "array", "minItems": 1, "maxItems": 64, "uniqueItems": true,
            "items": {"$ref": "#/$defs/name"},
        },
    })
}

/// The definitions that rules are made of.
pub(super) fn definitions() -> Value {
    json!({
        "model": object(&["model", "as"], json!({
            "model": described("model_name", "As callers ask for it."),
            "as": described("model_name", "As this agent is asked for it."),
        })),
        "model_name": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[^*\\u0000-\\u001f\\u007f-\\u009f]+$"},
        "model_pattern": {
            "description": "A model's name; with a * at one end, all that begin or end so.",
            "type": "string", "minLength": 1, "maxLength": 257,
            "pattern": "^(\\*|\\*?[^*\\u0000-\\u001f\\u007f-\\u009f]+|[^*\\u0000-\\u001f\\u007f-\\u009f]+\\*)$",
        },
        "pattern": {
            "description": "A word; with a * at one end, all that begin or end so.",
            "type": "string", "pattern": "^\\*?[^*]*$|^[^*]*\\*$",
        },
        "host_pattern": {"type": "string", "pattern": "^(\\*\\.)?[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*$"},
        "rule": rule(),
        "conditions": conditions(),
        "size_between": object(&[], json!({
            "from": described("size", "At least so large."),
            "below": described("size", "Smaller than that."),
        })),
    })
}

fn rule() -> Value {
    object(
        &["agents"],
        json!({
            "name": described("name", "As it is told of. Its place unless written."),
            "match": described("conditions", "Which requests it takes: those that meet all of these. Every one unless written."),
            "fallback": fallback(),
            "agents": {
                "description": "Who answers those: the caller's choice in x-agent, else by weight.",
                "type": "array", "minItems": 1, "maxItems": 64,
                "items": {"oneOf": [{"$ref": "#/$defs/name"}, {"$ref": "#/$defs/choice"}]},
            },
            "prefer": super::load::prefer("As the route does"),
            "roles": described("roles", "One of them is enough; who has none is refused."),
            "otherwise": {
                "description": "What becomes of a request whose body has not said enough within max_scan: it is refused, which is so \
                                unless written; the rule is skipped; or it takes the request.",
                "enum": ["refuse", "skip", "take"],
            },
        }),
    )
}

fn conditions() -> Value {
    let one_or_more = |reference: &str, description: &str| {
        let one = json!({"$ref": format!("#/$defs/{reference}")});
        json!({
            "description": description,
            "anyOf": [one, {"type": "array", "minItems": 1, "maxItems": 64, "items": one}],
        })
    };
    let named = |names: Value, values: Value, description: &str| {
        json!({
            "description": description,
            "type": "object", "maxProperties": 64, "propertyNames": names, "additionalProperties": values,
        })
    };
    let words = || one_or_more("pattern", "One of these words.");
    let scalar = json!({"anyOf": [{"$ref": "#/$defs/pattern"}, {"type": ["number", "boolean"]}]});
    let values = json!({
        "anyOf": [scalar, {"type": "array", "minItems": 1, "maxItems": 64, "items": scalar}],
    });
    let methods = json!({"enum": super::METHODS});
    let properties = json!({
        "method": {
            "description": "One of these methods. GET implies HEAD.",
            "anyOf": [methods, {"type": "array", "minItems": 1, "maxItems": 64, "items": methods}],
        },
        "host": {
            "description": "One of these hosts, without a port; *.example.com are all below that one.",
            "anyOf": [
                {"$ref": "#/$defs/host_pattern"},
                {"type": "array", "minItems": 1, "maxItems": 64, "items": {"$ref": "#/$defs/host_pattern"}},
            ],
        },
        "header": named(json!({"$ref": "#/$defs/header"}), words(), "Each of these headers has one of these values."),
        "query": named(
            json!({"pattern": "^[A-Za-z0-9._~-]{1,64}$"}), words(),
            "Each of these parameters of the query has one of these values.",
        ),
        "plan": one_or_more("name", "The client has one of these plans."),
        "team": one_or_more("name", "The client is of one of these teams."),
        "role": one_or_more("name", "The client has one of these roles."),
        "tool": one_or_more("pattern", "The request calls one of these tools. Where the route has mcp."),
        "model": one_or_more("model_pattern", "The request asks for one of these models, in its body or in its path."),
        "body": named(
            json!({"pattern": "^(/([^~/]|~[01])*)+$"}), values,
            "Each of these members of the body, by their JSON pointers, has one of these values.",
        ),
        "tools": {"description": "Whether the body offers tools.", "type": "boolean"},
        "images": {"description": "Whether the body holds images, or links to some.", "type": "boolean"},
        "stream": {"description": "Whether the body asks for a stream.", "type": "boolean"},
        "size": described("size_between", "How large the body is."),
    });
    let mut conditions = object(&[], properties);
    merge(
        &mut conditions,
        json!({"description": "What a request must be."}),
    );
    conditions
}
