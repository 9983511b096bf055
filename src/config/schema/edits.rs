//! What is changed of a route's requests and answers.

use serde_json::{Value, json};

use super::{described, merge, object};

/// The definitions that edits are made of.
pub(super) fn definitions() -> Value {
    let text =
        "^([^{}]|\\{\\{|\\}\\}|\\{(client|plan|team|organisation|route|agent|request_id)\\})*$";
    let values = json!({"type": "string", "maxLength": 4096, "pattern": text});
    let headers = |description: &str| {
        json!({
            "description": description,
            "type": "object", "maxProperties": 64, "propertyNames": {"$ref": "#/$defs/header"},
            "additionalProperties": values,
        })
    };
    let pointer = json!({"type": "string", "pattern": "^(/([^~/]|~[01])*)+$"});
    let mut request = object(
        &[],
        json!({
            "headers": described("header_edits", "Of its headers."),
            "host": {"description": "As which host the agent is asked. As the caller has asked unless written.", "type": "string", "minLength": 1},
            "body": described("body_edits", "Of its body, which is JSON. Needs max_body."),
        }),
    );
    merge(
        &mut request,
        json!({"description": "What is changed of requests."}),
    );
    let mut response = object(
        &[],
        json!({"headers": described("header_edits", "Of its headers.")}),
    );
    merge(
        &mut response,
        json!({"description": "What is changed of agents' answers."}),
    );
    json!({
        "request_edits": request,
        "response_edits": response,
        "header_edits": object(&[], json!({
            "set": headers("Each has this value and no other. Variables such as {client} stand in braces; where one is not known, the header is removed."),
            "add": headers("Each has this value beside those that it has."),
            "remove": {
                "description": "These are taken out.",
                "type": "array", "minItems": 1, "maxItems": 64, "items": {"$ref": "#/$defs/header"},
            },
        })),
        "body_edits": object(&[], json!({
            "set": {
                "description": "Each of these members, by their JSON pointers, has this value. Where a variable is not known, the member is removed.",
                "type": "object", "maxProperties": 32, "propertyNames": pointer,
                "additionalProperties": {"anyOf": [values, {"type": ["number", "boolean"]}]},
            },
            "remove": {
                "description": "These members are taken out.",
                "type": "array", "minItems": 1, "maxItems": 32, "items": pointer,
            },
        })),
    })
}
