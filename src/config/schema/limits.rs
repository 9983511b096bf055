//! What the schema says of limits: what they are counted per, which requests count, and how.

use serde_json::{Map, Value, json};

use super::{described, merge, object};
use crate::config::{counting, routes};

pub(super) fn plan() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "dependentRequired": only_with_requests(),
        "properties": with_counting(json!({
            "limits": {
                "description": "Further limits of its clients.",
                "type": "array", "maxItems": 32,
                "items": {"$ref": "#/$defs/limit"},
            },
        })),
    })
}

pub(super) fn rate_limit() -> Value {
    object(&["requests"], with_counting(json!({})))
}

pub(super) fn limit() -> Value {
    let properties = json!({
        "name": name(),
        "each": {
            "description": "What it is counted per: one of these, a list of them for each combination, or [] for one count of all.",
            "anyOf": [
                {"$ref": "#/$defs/subject"},
                {"type": "array", "maxItems": 4, "uniqueItems": true, "items": {"$ref": "#/$defs/subject"}},
            ],
        },
        "match": {"$ref": "#/$defs/match"},
    });
    object(&["name", "each", "requests"], with_counting(properties))
}

pub(super) fn subject() -> Value {
    let of_header = json!({
        "header": described("header", "The value of a header; one that is not there counts as empty."),
    });
    json!({
        "anyOf": [
            {"enum": ["key", "client", "team", "organisation", "address", "route", "agent", "plan"]},
            object(&["header"], of_header),
        ],
    })
}

pub(super) fn condition() -> Value {
    let name = || one_or_more(json!({"$ref": "#/$defs/name"}));
    let properties = json!({
        "route": one_or_more(json!({"type": "string"})),
        "agent": name(),
        "method": one_or_more(json!({"enum": routes::METHODS})),
        "plan": name(),
        "team": name(),
        "header": {
            "type": "object", "maxProperties": 64,
            "propertyNames": {"$ref": "#/$defs/header"},
            "additionalProperties": one_or_more(json!({"type": "string"})),
        },
    });
    let mut condition = object(&[], properties);
    merge(
        &mut condition,
        json!({"description": "Which requests count: those that meet every condition. All unless written."}),
    );
    condition
}

pub(super) fn own_limits() -> Value {
    json!({
        "description": "A client's own limits, in place of its plan's: a plan's fields, at most four limits.",
        "type": "object",
        "additionalProperties": false,
        "dependentRequired": only_with_requests(),
        "properties": with_counting(json!({
            "limits": {"type": "array", "maxItems": 4, "items": {"$ref": "#/$defs/own_limit"}},
        })),
    })
}

pub(super) fn own_limit() -> Value {
    object(
        &["name", "requests"],
        with_counting(json!({"name": name()})),
    )
}

fn name() -> Value {
    json!({
        "description": "As callers are told of it.",
        "allOf": [{"$ref": "#/$defs/name"}, {"not": {"enum": ["plan", "route"]}}],
    })
}

fn one_or_more(value: Value) -> Value {
    let list = json!({"type": "array", "minItems": 1, "maxItems": 64, "items": value});
    json!({"anyOf": [value, list]})
}

/// What has no meaning without a rate.
fn only_with_requests() -> Value {
    let dependent = counting::FIELDS.iter().filter(|name| **name != "requests");
    let dependent: Map<_, _> = dependent
        .map(|name| ((*name).to_owned(), json!(["requests"])))
        .collect();
    Value::Object(dependent)
}

/// These properties, and those that say how a limit counts.
fn with_counting(properties: Value) -> Value {
    let counting = json!({
        "requests": described("rate", "How many in a second, minute, hour, day or (fixed_window only) month."),
        "burst": {
            "description": "Of a token bucket: how many may come at once; the rate's quantity unless written.",
            "type": "integer", "minimum": 1,
        },
        "algorithm": {
            "description": "token_bucket unless written: refilled evenly. sliding_window looks back over one period, fixed_window \
                            begins anew with each second, minute, hour, day or month of the calendar.",
            "enum": ["token_bucket", "sliding_window", "fixed_window"],
        },
        "utc_offset": {
            "description": "Of fixed_window: whose calendar, as \"+02:00\". UTC unless written.",
            "type": "string", "pattern": "^([Zz]|[+-](0[0-9]|1[0-4]):[0-5][0-9])$",
        },
        "warn_at": {
            "description": "From this share of it on the answer names it in x-waykeeper-limit-warning. No warning unless written.",
            "type": "string", "pattern": "^0*([1-9][0-9]?|100)%$",
        },
        "enforce": {
            "description": "false: it is counted, and nobody is refused. \"10%\": it is in force for a tenth of those that it is counted \
                            per, always the same ones. true unless written.",
            "anyOf": [{"type": "boolean"}, {"type": "string", "pattern": "^0*([0-9][0-9]?|100)%$"}],
        },
    });
    let mut all = properties;
    if let (Value::Object(all), Value::Object(counting)) = (&mut all, counting) {
        all.extend(counting);
    }
    all
}
