//! What the schema says of limits: what they are counted per, which requests count, and how.

use serde_json::{Map, Value, json};

use super::{described, joined, merge, object};
use crate::config::{counting, in_flight, limits, routes};

pub(super) fn plan() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "dependentRequired": dependent(),
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
    object(&["requests"], joined([in_a_time(), soft()]))
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
    one_way(object(&["name", "each"], with_counting(properties)))
}

/// A limit counts in a time, or at once.
fn one_way(limit: Value) -> Value {
    let mut limit = limit;
    let ways = json!({"oneOf": [{"required": ["requests"]}, {"required": ["in_flight"]}]});
    merge(&mut limit, ways);
    merge(&mut limit, json!({"dependentRequired": dependent()}));
    limit
}

pub(super) fn subject() -> Value {
    let of_header = json!({
        "header": described("header", "The value of a header; one that is not there counts as empty."),
    });
    json!({
        "anyOf": [
            {"enum": ["key", "client", "team", "organisation", "address", "route", "agent", "plan", "tool"]},
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
        "tool": one_or_more(json!({"$ref": "#/$defs/pattern"})),
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
        "dependentRequired": dependent(),
        "properties": with_counting(json!({
            "limits": {"type": "array", "maxItems": 4, "items": {"$ref": "#/$defs/own_limit"}},
        })),
    })
}

pub(super) fn own_limit() -> Value {
    one_way(object(&["name"], with_counting(json!({"name": name()}))))
}

fn name() -> Value {
    json!({
        "description": "As callers are told of it.",
        "allOf": [{"$ref": "#/$defs/name"}, {"not": {"enum": limits::TAKEN.map(|(name, _)| name)}}],
    })
}

fn one_or_more(value: Value) -> Value {
    let list = json!({"type": "array", "minItems": 1, "maxItems": 64, "items": value});
    json!({"anyOf": [value, list]})
}

/// What has no meaning without a rate, or without a number of requests in flight.
fn dependent() -> Value {
    let needs = |names: &[&'static str], needed: &str| {
        let others = names.iter().filter(|name| **name != needed);
        let needs = others.map(|name| ((*name).to_owned(), json!([needed])));
        needs.collect::<Map<_, _>>()
    };
    let mut all = needs(&counting::FIELDS, "requests");
    all.extend(needs(&in_flight::FIELDS, "in_flight"));
    Value::Object(all)
}

/// These properties, and those that say how a limit counts.
fn with_counting(properties: Value) -> Value {
    let at_once = json!({
        "in_flight": at_once("How many requests may be under way at once, until the last byte of the answer."),
    });
    joined([properties, in_a_time(), at_once, queue(), soft()])
}

/// The fields of an agent that bound its requests in flight.
pub(super) fn of_agent() -> Value {
    let fields = json!({
        "max_in_flight": at_once("How many requests may be under way to it at once, until the last byte of the answer; at most 2000 with share."),
        "share": {"$ref": "#/$defs/share"},
        "inference": {"$ref": "#/$defs/inference"},
    });
    joined([fields, queue()])
}

pub(super) fn share() -> Value {
    let of_plans = |least: u32, description: &str| {
        json!({
            "description": description,
            "type": "object", "maxProperties": 1024,
            "additionalProperties": {"type": "integer", "minimum": least, "maximum": 1000},
        })
    };
    let properties = json!({
        "by": {
            "description": "Who has a part: each client, or each team (clients without one as clients).",
            "enum": ["client", "team"],
        },
        "weights": of_plans(1, "By plan: how large the part of its clients is. 1 unless written."),
        "priorities": of_plans(0, "By plan: who has more goes first. 0 unless written."),
    });
    let mut share = object(&["by"], properties);
    merge(
        &mut share,
        json!({"description": "Places are shared fairly among those who wait. Whoever shares has wait: 10s unless written."}),
    );
    share
}

pub(super) fn inference() -> Value {
    let properties = json!({
        "by": {
            "description": "Whose requests are one flow: each client's, or each team's (clients without one as clients).",
            "enum": ["client", "team"],
        },
        "objectives": {
            "description": "By plan: the name of its clients' InferenceObjective.",
            "type": "object", "maxProperties": 1024,
            "additionalProperties": {"$ref": "#/$defs/name"},
        },
    });
    let mut inference = object(&["by"], properties);
    merge(
        &mut inference,
        json!({"description": "What an inference gateway (Gateway API Inference Extension, llm-d) in its place is told. Nothing unless written."}),
    );
    inference
}

fn at_once(description: &str) -> Value {
    json!({"description": description, "type": "integer", "minimum": 1, "maximum": 1_000_000})
}

fn queue() -> Value {
    json!({
        "wait": described("duration", "For how long a request waits for a place, 1s to 5m, to the second. Unless written it is refused at once."),
        "max_waiting": {
            "description": "How many wait at most; the next one is refused. 100 unless written.",
            "type": "integer", "minimum": 1, "maximum": 1000,
        },
    })
}

fn in_a_time() -> Value {
    json!({
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
        "scope": {
            "description": "How far one count reaches: one process, which is so unless written, or the fleet of all gateways, in \
                            windows of the calendar in UTC.",
            "enum": ["process", "fleet"],
        },
    })
}

fn soft() -> Value {
    json!({
        "warn_at": {
            "description": "From this share of it on the answer names it in x-waykeeper-limit-warning. No warning unless written.",
            "type": "string", "pattern": "^0*([1-9][0-9]?|100)%$",
        },
        "enforce": {
            "description": "false: it is counted, and nobody is refused. \"10%\": it is in force for a tenth of those that it is counted \
                            per, always the same ones. true unless written.",
            "anyOf": [{"type": "boolean"}, {"type": "string", "pattern": "^0*([0-9][0-9]?|100)%$"}],
        },
    })
}
