//! A route, and who else hears of its requests or is tried with them.

use serde_json::{Value, json};

use super::super::names::NONE;
use super::super::routes::METHODS;
use super::{described, load, merge, object};
use crate::text::names::LONGEST_NAME;

pub(super) fn route() -> Value {
    let properties = json!({
        "name": {
            "description": "In metrics and headers; the prefix unless written.",
            "not": {"const": NONE},
            "type": "string", "pattern": format!("^[!#-+\\--:<>-\\[\\]-~]{{1,{LONGEST_NAME}}}$"),
        },
        "prefix": {
            "description": "What the path begins with, on whole segments. Without parameters.",
            "allOf": [{"$ref": "#/$defs/prefix"}, {"not": {"pattern": ";|%3[Bb]"}}],
        },
        "methods": {
            "description": "Unless written, every method. GET implies HEAD.",
            "type": "array", "minItems": 1, "uniqueItems": true,
            "items": {"enum": METHODS},
        },
        "agents": {
            "description": "Who answers: the caller's choice in x-agent, else by weight.",
            "type": "array", "minItems": 1, "maxItems": 64,
            "items": {"oneOf": [{"$ref": "#/$defs/name"}, {"$ref": "#/$defs/choice"}]},
        },
        "rules": {
            "description": "Which requests go to which agents: the first that takes a request counts. The others go to agents, or are \
                            refused where there are none.",
            "type": "array", "minItems": 1, "maxItems": 256,
            "items": {"$ref": "#/$defs/rule"},
        },
        "sticky": described("sticky", "What keeps requests at one of the agents. Nothing unless written: each is drawn."),
        "prefer": load::prefer("weighted"),
        "mirror": described("mirror", "Who hears a part of the requests as well. Nobody unless written."),
        "a2a": described("a2a", "Its requests are A2A's, and are read as such. They are not unless written. Not with mcp."),
        "mcp": described("mcp", "Its requests are MCP's, and are read as such. They are not unless written."),
        "canary": described("canary", "Which agent is tried with a part of the requests. None unless written."),
        "max_scan": described("size", "How much of a body is read at most to choose the agent, or to find what MCP calls, 1KiB to 1MiB. 64KiB unless written."),
        "roles": described("roles", "One of them is enough."),
        "auth_required": {
            "description": "Whether a key is needed. true unless written.",
            "type": "boolean",
        },
        "protocol": {
            "description": "Which kind of stream it carries. http unless written.",
            "enum": ["http", "sse", "websocket"],
        },
        "streams": {
            "description": "Whether answers may be event streams, which idle_timeout bounds in place of timeout. For http. false unless written, true with mcp or a2a.",
            "type": "boolean",
        },
        "timeout": described("duration", "Bounds the whole answer. Unless written 5m for http, none for sse and websocket."),
        "first_byte_timeout": described("duration", "Bounds each try up to the response headers."),
        "idle_timeout": described("duration", "Bounds the silence on a stream, in whole seconds. 5m for sse, websocket and streams unless written."),
        "retry": {"description": "When to try again.", "$ref": "#/$defs/retry"},
        "fallback": fallback(),
        "prefix_rewrite": described("prefix", "Put in place of the matched prefix."),
        "request": described("request_edits", "What is changed of requests. Nothing unless written."),
        "response": described("response_edits", "What is changed of agents' answers. Nothing unless written."),
        "max_body": described("size", "Larger requests are refused."),
        "collect_body": {
            "description": "Agents get whole bodies only. Needs max_body. false unless written.",
            "type": "boolean",
        },
        "body_timeout": described("duration", "With collect_body, or where the body is read before the agent is chosen: for how long it may take to arrive, in whole seconds. 60s unless written."),
        "encoded_slashes": {
            "description": "Where %2f may stand behind the prefix: nowhere, in the last part, or in any. refuse unless written.",
            "enum": ["refuse", "keep", "keep_anywhere"],
        },
        "rate_limit": {"description": "Counted per client and route.", "$ref": "#/$defs/rate_limit"},
    });
    let mut route = object(&["prefix"], properties);
    merge(
        &mut route,
        json!({
            "if": {"properties": {"auth_required": {"const": false}}, "required": ["auth_required"]},
            "then": {"not": {"required": ["roles"]}},
            "anyOf": [
                {"required": ["agents"]}, {"required": ["rules"]},
                {"properties": {"mcp": {"required": ["servers"]}}, "required": ["mcp"]},
            ],
            "allOf": [
                {
                    "if": {"properties": {"collect_body": {"const": true}}, "required": ["collect_body"]},
                    "then": {"required": ["max_body"]},
                },
                {
                    "if": {"properties": {"streams": {"const": true}}, "required": ["streams"]},
                    "then": {"properties": {"protocol": {"const": "http"}}},
                },
                {"not": {"required": ["mcp", "a2a"]}},
                {
                    "if": {"required": ["a2a"]},
                    "then": {"properties": {"protocol": {"const": "http"}}},
                },
                {
                    "if": {"required": ["mcp"]},
                    "then": {"properties": {"protocol": {"const": "http"}}},
                },
            ],
        }),
    );
    route
}

/// The agents that come next.
pub(super) fn fallback() -> Value {
    json!({
        "description": "At which agents it is tried, in this order, when the one that was chosen does not answer. An empty list: at those that have the capabilities which a request asks for. None unless written.",
        "type": "array", "uniqueItems": true, "maxItems": 16,
        "items": {"$ref": "#/$defs/name"},
    })
}

pub(super) fn mirror() -> Value {
    object(
        &["agent"],
        json!({
            "agent": described("name", "One of the agents; its answers go nowhere."),
            "percent": percent("How many of a hundred requests. 100 unless written."),
        }),
    )
}

pub(super) fn canary() -> Value {
    object(
        &["agent", "percent"],
        json!({
            "agent": described("name", "One of the agents; one of the route's from then on."),
            "percent": percent("How many of a hundred requests."),
            "header": described("header", "By which callers say whether it is to answer: always or true, never or false. None unless written."),
            "abort_at": {
                "description": "It gets nothing any more once more requests than this have failed, of at least 50. Never unless written.",
                "type": "string", "pattern": "^[0-9]{1,2}%$",
            },
        }),
    )
}

fn percent(description: &str) -> Value {
    json!({"description": description, "type": "integer", "minimum": 0, "maximum": 100})
}
