//! Where callers ask the gateway itself: of their limits, and of models.

use serde_json::{Value, json};

use super::{described, merge, object};

pub(super) fn limits_endpoint() -> Value {
    let mut endpoint = object(
        &[],
        json!({
            "enabled": {
                "description": "Whether callers may ask how their limits stand. true unless written.",
                "type": "boolean",
            },
            "path": {
                "description": "Where they ask. /.well-known/waykeeper/limits unless written.",
                "allOf": [{"$ref": "#/$defs/prefix"}, {"not": {"pattern": ";|%3[Bb]|^/$"}}],
            },
            "operator_role": described("name", "Whoever has this role may ask about every client, and give it a fresh start. Nobody unless written."),
        }),
    );
    merge(
        &mut endpoint,
        json!({"description": "Where callers ask how their limits stand."}),
    );
    endpoint
}

pub(super) fn models_endpoint() -> Value {
    let mut endpoint = object(
        &[],
        json!({
            "path": {
                "description": "Where they ask. /v1/models unless written.",
                "allOf": [{"$ref": "#/$defs/prefix"}, {"not": {"pattern": ";|%3[Bb]|^/$"}}],
            },
            "more": {
                "description": "Names of models that agents name by a pattern only, or not at all.",
                "type": "array", "minItems": 1, "maxItems": 1024, "uniqueItems": true,
                "items": {"$ref": "#/$defs/model_name"},
            },
        }),
    );
    merge(
        &mut endpoint,
        json!({"description": "Where callers ask which models they may use. Nowhere unless written."}),
    );
    endpoint
}
