//! Configurations: any bytes are read or refused with faults that have their places; and what is read means the same in
//! both forms, as JSON text and as the wire bytes of a `Struct`.

use std::rc::Rc;

use prost::Message;
use prost_types::value::Kind;
use serde_json::Value;
use waykeeper::config::{self, Fault, Node, Segment};
use waykeeper::lifecycle::Gateway;

use crate::host::FuzzHost;
use crate::worker::World;

/// Larger tables are not made: they take seconds.
const MOST_RECORDS: u32 = 1 << 13;

/// Runs one input.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let read = config::load(data);
    let tree = tree(data);
    match &read {
        Err(faults) => {
            assert!(faults.iter().next().is_some(), "refused without a fault");
            for (fault, line) in faults.iter().zip(faults.to_string().lines()) {
                assert_eq!(fault.to_string(), line, "a fault is one line");
                match &tree {
                    Some(tree) => has_a_place(fault, tree),
                    None => assert!(
                        fault.path.is_empty(),
                        "{fault}: a place in what cannot be read"
                    ),
                }
            }
        }
        Ok(policy) => {
            if policy.tables.keys.max(policy.tables.counters) <= MOST_RECORDS {
                let world = World::new();
                let host = Rc::new(FuzzHost::new(&world.process, &world.clock));
                let _ =
                    Gateway::new(host, policy.clone()).expect("the host has room for the tables");
            }
        }
    }
    let Some(Node::Map(fields)) = tree else {
        return;
    };
    // A name that is written twice is only there in a text.
    if read.is_ok() || !has_doubles(&Node::Map(fields.clone())) {
        let wire = message(&fields).encode_to_vec();
        are_alike(&read, &config::load(&wire), "as a Struct");
        if let Some(text) = value(&Node::Map(fields)) {
            are_alike(&read, &config::load(text.to_string().as_bytes()), "as JSON");
        }
    }
}

fn are_alike(
    one: &Result<config::Policy, config::Faults>,
    other: &Result<config::Policy, config::Faults>,
    form: &str,
) {
    match (one, other) {
        (Ok(one), Ok(other)) => assert_eq!(one, other, "{form} it means something else"),
        (Err(_), Err(_)) => {}
        _ => panic!("read as {one:?}, and {form} as {other:?}"),
    }
}

/// The fault's steps lead through what is written; only the last may lead to a field that is missing.
fn has_a_place(fault: &Fault, tree: &Node) {
    assert_eq!(fault.path.len(), fault.positions.len(), "{fault}");
    let mut at = tree;
    for (depth, (segment, position)) in fault.path.iter().zip(&fault.positions).enumerate() {
        let step = match (segment, at) {
            (Segment::Item(index), Node::List(items)) => {
                assert_eq!(index, position, "{fault}");
                items.get(*index)
            }
            (Segment::Field(name), Node::Map(fields)) => {
                fields.get(*position).map(|(other, node)| {
                    assert_eq!(name, other, "{fault}: another field stands there");
                    node
                })
            }
            _ => None,
        };
        match step {
            Some(node) => at = node,
            None => {
                assert_eq!(
                    depth + 1,
                    fault.path.len(),
                    "{fault}: its place leads nowhere"
                );
                assert!(
                    matches!((segment, at), (Segment::Field(_), Node::Map(_))),
                    "{fault}: nothing can be missing there"
                );
            }
        }
    }
}

/// The document as it stands, if it is JSON or a `Struct` at all.
fn tree(data: &[u8]) -> Option<Node> {
    let text = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    if text.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    if let Ok(node) = serde_json::from_slice(text) {
        return Some(node);
    }
    let mut shown = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    if shown.next() == Some(&b'{') && matches!(shown.next(), None | Some(b'"' | b'}')) {
        return None;
    }
    prost_types::Struct::decode(text).ok().map(Node::from)
}

fn has_doubles(node: &Node) -> bool {
    match node {
        Node::Map(fields) => fields.iter().enumerate().any(|(index, (name, node))| {
            fields[..index].iter().any(|(earlier, _)| earlier == name) || has_doubles(node)
        }),
        Node::List(items) => items.iter().any(has_doubles),
        _ => false,
    }
}

fn message(fields: &[(String, Node)]) -> prost_types::Struct {
    prost_types::Struct {
        fields: fields
            .iter()
            .map(|(name, node)| (name.clone(), wire_value(node)))
            .collect(),
    }
}

fn wire_value(node: &Node) -> prost_types::Value {
    let kind = match node {
        Node::Null => Kind::NullValue(0),
        Node::Bool(flag) => Kind::BoolValue(*flag),
        Node::Number(number) => Kind::NumberValue(*number),
        Node::Text(text) => Kind::StringValue(text.clone()),
        Node::List(items) => Kind::ListValue(prost_types::ListValue {
            values: items.iter().map(wire_value).collect(),
        }),
        Node::Map(fields) => Kind::StructValue(message(fields)),
    };
    prost_types::Value { kind: Some(kind) }
}

/// The same as JSON. `None`: a number that JSON cannot write.
fn value(node: &Node) -> Option<Value> {
    Some(match node {
        Node::Null => Value::Null,
        Node::Bool(flag) => Value::Bool(*flag),
        Node::Number(number) => Value::Number(serde_json::Number::from_f64(*number)?),
        Node::Text(text) => Value::String(text.clone()),
        Node::List(items) => Value::Array(items.iter().map(value).collect::<Option<_>>()?),
        Node::Map(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, node)| Some((name.clone(), value(node)?)))
                .collect::<Option<_>>()?,
        ),
    })
}
