//! What keeps requests together.

use serde_json::{Value, json};

use super::{described, merge, object};

/// The definitions of one way, and of that or a list of which the first counts that a request has.
pub(super) fn definitions() -> Value {
    let list = json!({
        "description": "The first of these that a request has.",
        "type": "array", "minItems": 1, "maxItems": 16, "uniqueItems": true,
        "items": {"$ref": "#/$defs/sticky_way"},
    });
    json!({
        "sticky": {"oneOf": [{"$ref": "#/$defs/sticky_way"}, list]},
        "sticky_way": way(),
    })
}

fn way() -> Value {
    let properties = json!({
        "header": described("header", "By a header, such as x-session or mcp-session-id."),
        "named_by": {
            "description": "Who chooses the header's value: the caller, or the agent in its answer. agent for mcp-session-id unless written, else caller.",
            "enum": ["caller", "agent"],
        },
        "cookie": described("header", "By a cookie."),
        "query": {
            "description": "By a parameter of the query.",
            "type": "string", "pattern": "^[A-Za-z0-9._~-]{1,64}$",
        },
        "client": {"description": "By who calls.", "const": true},
        "body": {
            "description": "By a text or number in the body, by its JSON pointer, such as /conversation_id.",
            "type": "string", "pattern": "^(/.*)?$",
        },
        "prompt": described("size", "By so many bytes that the prompt begins with, 16B to 64KiB."),
        "response": {
            "description": "By the earlier answer that a request of the Responses API names: whoever has given it gets the request.",
            "const": true,
        },
        "task": {
            "description": "By the task or context of A2A that a request names: whoever has it gets the request.",
            "const": true,
        },
    });
    let mut way = object(&[], properties);
    let by = [
        "header", "cookie", "query", "client", "body", "prompt", "response", "task",
    ];
    let by = by.map(|way| json!({"required": [way]}));
    merge(
        &mut way,
        json!({"oneOf": by, "dependentRequired": {"named_by": ["header"]}}),
    );
    way
}
