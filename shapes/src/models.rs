//! Models, as lists tell them. When they were made nobody knows: at the beginning of 1970, says Anthropic of such.

use serde_json::{Value, json};

use crate::endpoint::Dialect;

/// A list of one model.
pub(crate) fn list(name: &str, dialect: Dialect) -> Value {
    let data = json!([one(name, dialect)]);
    match dialect {
        Dialect::OpenAi => json!({"object": "list", "data": data}),
        Dialect::Anthropic => {
            json!({"data": data, "has_more": false, "first_id": name, "last_id": name})
        }
    }
}

/// A model. Any name is one, as chats take any.
pub(crate) fn one(name: &str, dialect: Dialect) -> Value {
    match dialect {
        Dialect::OpenAi => {
            json!({"id": name, "object": "model", "created": 0, "owned_by": "waykeeper"})
        }
        Dialect::Anthropic => json!({
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": "1970-01-01T00:00:00Z",
            "lifecycle": "active",
        }),
    }
}
