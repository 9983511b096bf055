//! The two forms in which a document arrives, and what is said of bytes that are neither.

use prost::Message;
use prost_types::value::Kind;
use serde_json::{Value, json};

use super::super::{Policy, load, load_in, read};
use super::{accepted, reference, small};

/// A JSON object as the wire bytes of a `Struct`.
pub(super) fn wire(document: &Value) -> Vec<u8> {
    match value(document).kind {
        Some(Kind::StructValue(message)) => message.encode_to_vec(),
        _ => panic!("not an object"),
    }
}

fn value(document: &Value) -> prost_types::Value {
    let kind = match document {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(prost_types::ListValue {
            values: items.iter().map(value).collect(),
        }),
        Value::Object(fields) => Kind::StructValue(prost_types::Struct {
            fields: fields
                .iter()
                .map(|(name, field)| (name.clone(), value(field)))
                .collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

fn refused(bytes: &[u8]) -> String {
    load(bytes).unwrap_err().to_string()
}

#[test]
fn text_wire_bytes_and_a_value_mean_the_same() {
    let document = reference();

    let from_text: Policy = accepted(&document);

    assert_eq!(load(&wire(&document)).unwrap(), from_text);
    assert_eq!(read(&document).unwrap(), from_text);
    let pretty = format!(
        "\n\n  {}\n",
        serde_json::to_string_pretty(&document).unwrap()
    );
    assert_eq!(load(pretty.as_bytes()).unwrap(), from_text);
    assert_eq!(
        load(format!("\u{feff}{document}").as_bytes()).unwrap(),
        from_text
    );
}

#[test]
fn faults_of_wire_bytes_have_their_places_too() {
    let document = json!({"routes": [{"prefix": "/a", "agents": ["a"], "timeout": 5}], "agents": {"a": {"cluster": "a"}}});

    let shown = refused(&wire(&document));

    assert!(
        shown.contains("routes[0].timeout: the number 5 has no unit"),
        "{shown}"
    );
}

#[test]
fn no_configuration_is_told_as_such() {
    assert_eq!(refused(b""), "the configuration is empty");
    assert_eq!(refused(b" \n\t"), "the configuration is empty");
}

#[test]
fn broken_json_is_told_with_line_and_column() {
    let text = small()
        .to_string()
        .replacen("\"agents\"", "\n\"agents\" oops", 1);

    let shown = refused(text.as_bytes());

    assert!(
        shown.starts_with("not JSON: expected `:` at line 2 column"),
        "{shown}"
    );
}

#[test]
fn text_that_is_not_json_is_told_as_such() {
    let yaml = refused(b"routes:\n- prefix: /a\n");
    assert!(
        yaml.starts_with("neither a protobuf Struct nor JSON: "),
        "{yaml}"
    );
    let list = refused(b"[1, 2]");
    assert_eq!(list, "expected a mapping, found a list");
}

#[test]
fn truncated_wire_bytes_are_refused() {
    let bytes = wire(&reference());

    for end in [1, 2, 10, bytes.len() / 2, bytes.len() - 1] {
        assert!(load(&bytes[..end]).is_err());
    }
    let mut garbled = bytes.clone();
    garbled[1] = 0xff;
    assert!(refused(&garbled).starts_with("neither JSON text nor a protobuf Struct: "));
}

#[test]
fn deep_nesting_is_refused_without_harm() {
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));

    assert!(refused(deep.as_bytes()).contains("recursion limit"));
}

#[test]
fn numbers_that_only_a_struct_can_hold_are_refused() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut message = match value(&small()).kind {
            Some(Kind::StructValue(message)) => message,
            _ => unreachable!(),
        };
        let keys = prost_types::Value {
            kind: Some(Kind::NumberValue(number)),
        };
        let tables = prost_types::Struct {
            fields: [("keys".to_owned(), keys)].into(),
        };
        message.fields.insert(
            "tables".into(),
            prost_types::Value {
                kind: Some(Kind::StructValue(tables)),
            },
        );

        let shown = refused(&message.encode_to_vec());

        assert!(
            shown.starts_with("tables.keys: expected a whole number"),
            "{shown}"
        );
    }
}

/// Only a filter that runs knows its environment; whoever else reads the document knows no such key.
#[test]
fn a_key_of_the_environment_is_looked_up_and_missed() {
    let document = |keys: &str| {
        let keys: Value = serde_json::from_str(keys).expect("JSON");
        let mut document = small();
        document["agents"] = json!({"a": {"cluster": "a", "sticky": {"header": "mcp-session-id"}}});
        document["routes"] = json!([{"prefix": "/", "agents": ["a"], "auth_required": false}]);
        document["sessions"] = json!({"keys": keys});
        document.to_string()
    };
    let key = "ab".repeat(32);
    let environment = |name: &str| (name == "KEY").then(|| format!("{key}\n"));
    let sessions = |keys: &str| {
        let policy = load_in(document(keys).as_bytes(), &environment);
        policy.map(|policy| policy.sessions.iter().map(|key| key.0).collect::<Vec<_>>())
    };
    assert_eq!(
        sessions(r#"[{"env": "KEY"}]"#).expect("a policy"),
        [[0xab; 32]]
    );
    for (keys, told) in [
        (r#"[{"env": "OTHER"}]"#, "no variable OTHER"),
        (r#"[{"env": "KEY"}, {"env": "KEY"}]"#, "already in the list"),
        (
            r#"[{"env": "KEY", "file": "/a"}]"#,
            "sessions.keys[0].file: unknown field",
        ),
        (r#"[{"env": 1}]"#, "sessions.keys[0].env: expected"),
        (r#"[{"env": "A=B"}]"#, "is no name of a variable"),
        (r#"[{}]"#, "sessions.keys[0].env: is missing"),
    ] {
        let faults = sessions(keys).expect_err(keys).to_string();
        assert!(faults.contains(told), "{keys}: {faults}");
        assert!(!faults.contains(&key), "{faults}");
    }
    let without = load(document(r#"[{"env": "KEY"}]"#).as_bytes()).expect("a policy");
    assert_ne!(without.sessions[0].0, [0xab; 32]);
}
