//! MCP on a route.

use serde_json::{Value, json};

use super::{described, object};

/// The definitions that it is made of.
pub(super) fn definitions() -> Value {
    let permissions = |description: &str| {
        json!({
            "description": description,
            "type": "array", "minItems": 1, "maxItems": 1024,
            "items": {"$ref": "#/$defs/permission"},
        })
    };
    json!({
        "mcp": object(&[], json!({
            "tools": permissions("Who may call which tools, and see them in lists: the first that names a tool counts; one that none \
                                  names nobody may call. All may call all unless written."),
            "methods": permissions("The same of the methods of messages, such as tools/call or resources/read."),
            "max_list": described("size", "How large an answer, or an event of one, may be that may hold a list of tools, 1KiB to 16MiB. \
                                           1MiB unless written. With tools or servers."),
            "servers": {
                "description": "The servers that are one to callers: before the names of its tools each has its own and __. In place of agents. Needs sessions.",
                "type": "object", "minProperties": 1, "maxProperties": 16,
                "propertyNames": {"pattern": "^[a-z][a-z0-9-]{0,31}$"},
                "additionalProperties": {"$ref": "#/$defs/name"},
            },
        })),
        "permission": object(&["match"], json!({
            "match": {
                "description": "What it names.",
                "anyOf": [
                    {"$ref": "#/$defs/pattern"},
                    {"type": "array", "minItems": 1, "maxItems": 64, "items": {"$ref": "#/$defs/pattern"}},
                ],
            },
            "roles": described("roles", "One of them is enough. None is needed unless written."),
            "plans": {
                "description": "One of them is needed. None is unless written.",
                "anyOf": [
                    {"$ref": "#/$defs/name"},
                    {"type": "array", "minItems": 1, "maxItems": 64, "items": {"$ref": "#/$defs/name"}},
                ],
            },
        })),
    })
}
