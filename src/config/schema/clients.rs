//! What the schema says of clients: where keys stand, which are listed, and who knows the others.

use serde_json::{Value, json};

use super::{described, merge, object};
use crate::text::headers::TOKEN_MARKS;

pub(super) fn clients() -> Value {
    let properties = json!({
        "key_sources": {
            "description": "Where a request may carry its key; the first one present counts. \
                            Unless written: x-api-key, and authorization with Bearer.",
            "type": "array", "minItems": 1, "maxItems": 16,
            "items": {"$ref": "#/$defs/key_source"},
        },
        "keys": {
            "description": "Keys known without asking anyone.",
            "type": "array", "maxItems": 100_000,
            "items": {"$ref": "#/$defs/key"},
        },
        "default_plan": described("name", "The plan of a client whose answer names none."),
        "unknown_plan": {
            "description": "What becomes of a client whose plan is not among the plans. \
                            `refuse` unless written; `default` puts it on the default plan.",
            "enum": ["refuse", "default"],
        },
        "hold": {"$ref": "#/$defs/hold"},
        "validator": {"$ref": "#/$defs/validator"},
    });
    let mut clients = object(&[], properties);
    merge(
        &mut clients,
        json!({
            "description": "Who calls.",
            "if": {"properties": {"unknown_plan": {"const": "default"}}, "required": ["unknown_plan"]},
            "then": {"required": ["default_plan"]},
        }),
    );
    clients
}

pub(super) fn key_source() -> Value {
    let properties = json!({
        "header": described("header", "A header, such as x-api-key."),
        "scheme": {
            "description": "The scheme of a credential in the header, such as Bearer. Others that stand there count as absent.",
            "type": "string", "pattern": format!("^[A-Za-z0-9{TOKEN_MARKS}]{{1,32}}$"),
        },
        "query": {
            "description": "A parameter of the query; on WebSocket handshakes only, unless any_request.",
            "type": "string", "pattern": "^[A-Za-z0-9._~-]{1,64}$",
        },
        "any_request": {
            "description": "Whether the query may carry a key on any request. Queries end up in logs: better not.",
            "type": "boolean",
        },
        "websocket_protocol": {
            "description": "What an offered WebSocket subprotocol begins with when it carries a key, with its final dot.",
            "type": "string", "maxLength": 64, "pattern": format!("^[A-Za-z0-9{TOKEN_MARKS}]+[.]$"),
        },
    });
    let mut source = object(&[], properties);
    merge(
        &mut source,
        json!({
            "description": "A place in a request where the key may stand.",
            "oneOf": [{"required": ["header"]}, {"required": ["query"]}, {"required": ["websocket_protocol"]}],
            "dependentRequired": {"scheme": ["header"], "any_request": ["query"]},
        }),
    );
    source
}

pub(super) fn key() -> Value {
    object(
        &["sha256", "client_id"],
        json!({
            "sha256": {
                "description": "The key's SHA-256 in hex, as `waykeeper hash-key` prints it.",
                "type": "string", "pattern": "^[0-9A-Fa-f]{64}$",
            },
            "client_id": described("name", "The client that the key proves."),
            "plan": described("name", "The client's plan; the default plan unless written."),
            "team": described("name", "The client's team."),
            "organisation": described("name", "The client's organisation."),
            "limits": {"$ref": "#/$defs/own_limits"},
            "roles": described("roles", "The client's roles."),
            "expires": {
                "description": "From when on the key is refused as expired, as RFC 3339 writes times. Not before 1970.",
                "type": "string", "format": "date-time",
            },
        }),
    )
}

pub(super) fn validator() -> Value {
    let properties = json!({
        "cluster": described("cluster", "Envoy's cluster."),
        "host": {
            "description": "What the validator is called in questions (Host, :authority), with a port if need be. Unless written, \
                            what the cluster's name tells.",
            "type": "string", "maxLength": 260,
            "pattern": "^([A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?$",
        },
        "path": {
            "description": "Where keys are asked about, by POST.",
            "type": "string", "maxLength": 1024, "pattern": "^/[!\"$-~]*$",
        },
        "timeout": described("duration", "How long an answer may take, up to 1m. 1s unless written."),
        "max_pending": {
            "description": "How many keys each worker may ask about at a time. 1024 unless written.",
            "type": "integer", "minimum": 1, "maximum": 65_536,
        },
        "headers": {
            "description": "What the validator may demand of the gateway.",
            "type": "object", "maxProperties": 32,
            "propertyNames": {"$ref": "#/$defs/header"},
            "additionalProperties": {"type": "string", "maxLength": 4096, "pattern": "^([!-~]([ -~]*[!-~])?)?$"},
        },
        "remember": {"$ref": "#/$defs/remember"},
    });
    let mut validator = object(&["cluster", "path"], properties);
    merge(
        &mut validator,
        json!({"description": "Who to ask about keys that are not listed."}),
    );
    validator
}
