//! The schema and the reader know the same fields.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::{
    FIELDS, TABLES_FIELDS, a2a, agents, canary, clients, edits, fleet, in_flight, limits, load,
    mcp, mirror, models, rest, retry, routes, rules, schema, served, sticky, switches, validator,
};
use super::{faults, reference, with};

/// Each object of the schema, the reader's fields of it, and where one stands in the full document.
pub(super) const OBJECTS: [(&str, &[&str], &str); 44] = [
    ("", FIELDS, ""),
    ("/$defs/clients", clients::FIELDS, "/clients"),
    (
        "/$defs/key_source",
        clients::KEY_SOURCE_FIELDS,
        "/clients/key_sources/0",
    ),
    ("/$defs/key", clients::KEY_FIELDS, "/clients/keys/0"),
    ("/$defs/hold", clients::HOLD_FIELDS, "/clients/hold"),
    ("/$defs/validator", validator::FIELDS, "/clients/validator"),
    (
        "/$defs/remember",
        validator::REMEMBER_FIELDS,
        "/clients/validator/remember",
    ),
    ("/$defs/plan", limits::PLAN_FIELDS, "/plans/standard"),
    ("/$defs/limit", limits::LIMIT_FIELDS, "/limits/0"),
    ("/$defs/match", limits::MATCH_FIELDS, "/limits/1/match"),
    (
        "/$defs/own_limits",
        limits::PLAN_FIELDS,
        "/clients/keys/0/limits",
    ),
    (
        "/$defs/own_limit",
        limits::OWN_LIMIT_FIELDS,
        "/clients/keys/0/limits/limits/0",
    ),
    ("/$defs/agent", agents::AGENT_FIELDS, "/agents/tools"),
    (
        "/$defs/share",
        in_flight::SHARE_FIELDS,
        "/agents/memory/share",
    ),
    (
        "/$defs/inference",
        in_flight::INFERENCE_FIELDS,
        "/agents/memory/inference",
    ),
    ("/$defs/fleet", fleet::FIELDS, "/fleet"),
    ("/$defs/limiter", fleet::LIMITER_FIELDS, "/fleet/limiter"),
    ("/$defs/sessions", sticky::SESSIONS_FIELDS, "/sessions"),
    (
        "/$defs/session_variable",
        sticky::KEY_FIELDS,
        "/sessions/keys/1",
    ),
    (
        "/$defs/sticky_way",
        sticky::STICKY_FIELDS,
        "/agents/memory/sticky",
    ),
    ("/$defs/route", routes::ROUTE_FIELDS, "/routes/0"),
    ("/$defs/rule", rules::RULE_FIELDS, "/routes/0/rules/0"),
    (
        "/$defs/conditions",
        rules::CONDITION_FIELDS,
        "/routes/0/rules/0/match",
    ),
    (
        "/$defs/size_between",
        rules::SIZE_FIELDS,
        "/routes/0/rules/0/match/size",
    ),
    ("/$defs/model", served::MODEL_FIELDS, "/agents/rag/models/1"),
    (
        "/$defs/request_edits",
        edits::REQUEST_FIELDS,
        "/routes/6/request",
    ),
    (
        "/$defs/response_edits",
        edits::RESPONSE_FIELDS,
        "/routes/6/response",
    ),
    (
        "/$defs/header_edits",
        edits::HEADERS_FIELDS,
        "/routes/6/request/headers",
    ),
    (
        "/$defs/body_edits",
        edits::BODY_FIELDS,
        "/routes/6/request/body",
    ),
    ("/$defs/load", load::LOAD_FIELDS, "/agents/tools/load"),
    (
        "/$defs/shower",
        load::SHOWER_FIELDS,
        "/agents/tools/load/clusters/1",
    ),
    ("/$defs/price", load::PRICE_FIELDS, "/agents/tools/price"),
    ("/$defs/a2a", a2a::A2A_FIELDS, "/routes/8/a2a"),
    ("/$defs/mcp", mcp::MCP_FIELDS, "/routes/7/mcp"),
    (
        "/$defs/permission",
        mcp::PERMISSION_FIELDS,
        "/routes/7/mcp/tools/0",
    ),
    ("/$defs/mirror", mirror::MIRROR_FIELDS, "/routes/5/mirror"),
    ("/$defs/canary", canary::CANARY_FIELDS, "/routes/5/canary"),
    ("/$defs/rest", rest::REST_FIELDS, "/agents/rag/rest"),
    ("/$defs/retry", retry::RETRY_FIELDS, "/routes/3/retry"),
    (
        "/$defs/rate_limit",
        limits::RATE_LIMIT_FIELDS,
        "/routes/5/rate_limit",
    ),
    (
        "/$defs/limits_endpoint",
        switches::LIMITS_ENDPOINT_FIELDS,
        "/limits_endpoint",
    ),
    ("/$defs/models_endpoint", models::FIELDS, "/models_endpoint"),
    ("/$defs/address", switches::ADDRESS_FIELDS, "/address"),
    ("/$defs/tables", TABLES_FIELDS, "/tables"),
];

#[test]
fn every_field_known_to_the_one_is_known_to_the_other() {
    let schema = schema();
    for (object, fields, _) in OBJECTS
        .iter()
        .chain([&("/$defs/choice", routes::CHOICE_FIELDS, "")])
    {
        let properties = schema
            .pointer(&format!("{object}/properties"))
            .unwrap()
            .as_object()
            .unwrap();
        let known: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(
            known,
            fields.iter().copied().collect::<BTreeSet<_>>(),
            "{object}"
        );
        assert_eq!(
            schema.pointer(&format!("{object}/additionalProperties")),
            Some(&json!(false)),
            "{object}"
        );
    }
}

#[test]
fn no_object_of_the_schema_is_left_out_here() {
    let schema = schema();
    let definitions = schema["$defs"].as_object().unwrap();
    let objects = definitions
        .iter()
        .filter(|(_, definition)| definition.get("properties").is_some());
    let listed: Vec<&str> = OBJECTS.iter().map(|(object, _, _)| *object).collect();
    for (name, _) in objects {
        assert!(
            name == "choice" || listed.contains(&format!("/$defs/{name}").as_str()),
            "{name}"
        );
    }
}

/// A list of a list is what no field wants, so a field that does not mind it is never read.
#[test]
fn every_known_field_is_read() {
    let whole = with(reference(), "/address", json!({"from": "x-forwarded-for"}));
    for (_, fields, place) in OBJECTS {
        for field in fields {
            let document = with(whole.clone(), &format!("{place}/{field}"), json!([[]]));
            assert!(!faults(&document).is_empty(), "{place}/{field}");
        }
    }
}

#[test]
fn every_reference_in_the_schema_leads_somewhere() {
    fn check(schema: &Value, at: &Value) {
        match at {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    assert!(
                        schema.pointer(reference.trim_start_matches('#')).is_some(),
                        "{reference}"
                    );
                }
                fields.values().for_each(|value| check(schema, value));
            }
            Value::Array(items) => items.iter().for_each(|value| check(schema, value)),
            _ => {}
        }
    }
    let schema = schema();
    check(&schema, &schema);
}
