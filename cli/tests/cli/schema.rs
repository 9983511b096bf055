//! The schema that editors are given, held against the reader: what the reader takes, the schema takes too.

use std::sync::LazyLock;

use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};
use waykeeper::config;

use crate::waykeeper;

static SCHEMA: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::validator_for(&config::schema()).unwrap());

fn reference() -> Value {
    serde_json::from_str(include_str!("../../../src/config/tests/reference.json")).unwrap()
}

/// The reference and all that it leaves out.
fn full() -> Value {
    let mut document = reference();
    document["clients"]["unknown_plan"] = json!("default");
    document["clients"]["validator"]["host"] = json!("[2001:db8::1]:8080");
    document["clients"]["keys"][0]["team"] = json!("red");
    document["clients"]["keys"][0]["expires"] = json!("2027-01-31T00:00:00Z");
    document["clients"]["key_sources"][2]["any_request"] = json!(true);
    document["limits"].as_array_mut().unwrap().extend([
        json!({"name": "all", "each": [], "requests": "1000/second", "burst": 5}),
        json!({"name": "both", "each": ["client", "route"], "requests": "1000/day"}),
    ]);
    document["routes"].as_array_mut().unwrap().push(json!({
        "name": "everything",
        "prefix": "/everything",
        "methods": ["GET", "OPTIONS"],
        "agents": [{"agent": "chat-gpu", "weight": 9}, "chat-cpu"],
        "auth_required": false,
        "protocol": "http",
        "timeout": "1h",
        "first_byte_timeout": "250ms",
        "idle_timeout": "5m",
        "prefix_rewrite": "/",
        "max_body": "10MiB",
        "encoded_slashes": "keep_anywhere",
        "rate_limit": {"requests": "1/hour", "burst": 2},
    }));
    document
}

fn set(document: &Value, pointer: &str, value: Value) -> Value {
    let mut document = document.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        parent => parent[name] = value,
    }
    document
}

#[test]
fn the_tool_prints_a_schema_that_is_one() {
    let run = waykeeper(&["schema", "--document"], b"");

    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    let printed: Value = serde_json::from_str(&run.output).unwrap();
    assert_eq!(printed, config::schema());
    assert!(jsonschema::meta::is_valid(&printed));
}

#[test]
fn the_schema_is_that_of_the_file_that_people_edit_unless_the_other_is_asked_for() {
    let run = waykeeper(&["schema"], b"");
    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    assert_eq!(run.output, waykeeper(&["schema", "--gateway"], b"").output);
    let printed: Value = serde_json::from_str(&run.output).unwrap();
    let schema = jsonschema::validator_for(&printed).unwrap();
    let edited = json!({"listen": [{"address": "127.0.0.1:8080"}], "agents": {"a": {"url": "http://a"}}, "routes": [{"prefix": "/", "agents": ["a"]}]});
    assert!(schema.is_valid(&edited));
    assert!(!SCHEMA.is_valid(&edited));
    let both = waykeeper(&["schema", "--gateway", "--document"], b"");
    assert_eq!(both.status, 2);
}

#[test]
fn good_documents_are_good_to_both() {
    for document in [reference(), full()] {
        assert_eq!(
            config::read(&document)
                .err()
                .map(|faults| faults.to_string()),
            None
        );
        let errors: Vec<String> = SCHEMA
            .iter_errors(&document)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

#[test]
fn what_a_schema_can_know_is_faulty_to_both() {
    for (pointer, value) in [
        ("/route", json!([])),
        ("/routes/0/tiemout", json!("1s")),
        ("/routes/0/timeout", json!(30)),
        ("/routes/0/timeout", json!("30")),
        ("/routes/0/prefix", json!("chat")),
        ("/routes/0/prefix", json!("/chat/")),
        ("/routes/0/prefix", json!("/a//b")),
        ("/routes/0/name", json!("a;b")),
        ("/routes/0/name", json!("a\"b")),
        ("/routes/0/agents", json!([])),
        ("/routes/0/agents", json!([{"weight": 1}])),
        ("/routes/0/methods", json!(["get"])),
        ("/routes/0/protocol", json!("grpc")),
        ("/routes/0/max_body", json!("10MB")),
        ("/routes/4/auth_required", json!(false)),
        ("/routes/3/retry/max_attempts", json!(0)),
        ("/routes/3/retry/retry_on", json!([200])),
        ("/routes", json!([])),
        ("/agents", json!({})),
        ("/agents/a b", json!({"cluster": "a"})),
        ("/agents/chat-gpu/weight", json!(0.5)),
        ("/plans/standard", json!({"burst": 1})),
        ("/plans/standard/requests", json!("50/fortnight")),
        ("/limits/0/name", json!("plan")),
        ("/limits/0/each", json!("tenant")),
        ("/limits/0/each", json!(["address", "tenant"])),
        ("/tables/keys", json!(10)),
        ("/tables/address_counters", json!("many")),
        ("/clients/key_sources", json!([])),
        (
            "/clients/key_sources/0",
            json!({"header": "a", "query": "b"}),
        ),
        (
            "/clients/key_sources/0",
            json!({"query": "a", "scheme": "Bearer"}),
        ),
        (
            "/clients/key_sources/3",
            json!({"websocket_protocol": "key"}),
        ),
        ("/clients/keys/0/sha256", json!("abc")),
        ("/clients/keys/0/roles", json!(["a", "a"])),
        ("/clients/keys/0/client_id", json!("a=b")),
        ("/clients/unknown_plan", json!("ignore")),
        ("/agents/none", json!({"cluster": "a"})),
        ("/routes/0/name", json!("none")),
        ("/clients/validator/host", json!("http://auth")),
        ("/clients/validator/host", json!("outbound|80||auth")),
        ("/clients/validator/path", json!("validate")),
        ("/clients/validator/headers", json!({"a b": "c"})),
        ("/clients/validator/headers", json!({"a": " c"})),
        ("/clients/validator/remember/valid", json!(300)),
    ] {
        let document = set(&reference(), pointer, value.clone());
        assert!(
            config::read(&document).is_err(),
            "the reader takes {pointer} = {value}"
        );
        assert!(
            !SCHEMA.is_valid(&document),
            "the schema takes {pointer} = {value}"
        );
    }
}

/// Texts near what the fields take: most of them wrong in most places, some right.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[!-~]{1,6}",
        "/[!-~]{0,6}",
        "[0-9]{1,4}(ms|s|m|h|B|KiB|MiB|/second|/minute|/day)",
        "[A-Za-z0-9._:@-]{1,6}",
        "[a-z]{1,4}[.]",
        prop::sample::select(vec![
            "chat-gpu", "standard", "admin", "keep", "sse", "default", "client", "GET"
        ])
        .prop_map(str::to_owned),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        text().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        (0_u32..2_000).prop_map(Value::from),
    ];
    prop_oneof![
        4 => leaf.clone(),
        1 => prop::collection::vec(leaf, 0..3).prop_map(Value::from),
    ]
}

fn places(document: &Value) -> Vec<String> {
    let mut places = Vec::new();
    let mut open = vec![(String::new(), document)];
    while let Some((place, value)) = open.pop() {
        match value {
            Value::Object(fields) => open.extend(fields.iter().map(|(name, value)| {
                (
                    format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")),
                    value,
                )
            })),
            Value::Array(items) => {
                open.extend(
                    items
                        .iter()
                        .enumerate()
                        .map(|(index, value)| (format!("{place}/{index}"), value)),
                );
            }
            _ => places.push(place),
        }
    }
    places
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_the_reader_takes_the_schema_takes(at in any::<prop::sample::Index>(), value in value()) {
        let document = full();
        let places = places(&document);
        let document = set(&document, &places[at.index(places.len())], value);
        if config::read(&document).is_ok() {
            let errors: Vec<String> = SCHEMA.iter_errors(&document).map(|error| error.to_string()).collect();
            prop_assert!(errors.is_empty(), "{:?}", errors);
        }
    }
}
