//! A2A on a route.

use serde_json::{Value, json};

use super::{described, object};

/// The definitions that it is made of.
pub(super) fn definitions() -> Value {
    json!({
        "a2a": object(&[], json!({
            "methods": {
                "description": "Who may use which methods, by their names in 1.0 or in 0.3, which mean the same: the first that names a \
                                method counts; one that none names nobody may use. All may use all unless written.",
                "type": "array", "minItems": 1, "maxItems": 1024,
                "items": {"$ref": "#/$defs/permission"},
            },
            "versions": {
                "description": "Which versions of the protocol callers may speak; who names none speaks 0.3. Any unless written.",
                "type": "array", "minItems": 1, "maxItems": 16, "uniqueItems": true,
                "items": {"type": "string", "pattern": "^(0|[1-9][0-9]{0,3})\\.(0|[1-9][0-9]{0,3})$"},
            },
            "rewrite_card": {
                "description": "Whether cards name the gateway in place of the agent's own address. true unless written. A signed card is \
                                left as it is.",
                "type": "boolean",
            },
            "public_url": {
                "description": "Where callers find the gateway, such as https://agents.example.com. Unless written it is what the request \
                                has asked.",
                "type": "string", "pattern": "^https?://[A-Za-z0-9._:\\[\\]-]+$",
            },
            "public_card": {
                "description": "Whether the card is for everybody, also without a key. false unless written.",
                "type": "boolean",
            },
            "max_card": described("size", "How large a card may be, 1KiB to 16MiB. 1MiB unless written."),
        })),
    })
}
