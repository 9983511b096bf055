//! What a document means, and what is said of one that means nothing.

mod agreement;
mod meaning;
mod pairs;
mod random;
mod refusals;
mod wire;

use serde_json::{Value, json};

use super::{Policy, load};

/// The example that the documentation explains.
fn reference() -> Value {
    serde_json::from_str(include_str!("reference.json")).unwrap()
}

/// The smallest document that is whole.
fn small() -> Value {
    json!({
        "clients": {"validator": {"cluster": "auth", "path": "/validate"}},
        "plans": {"standard": {"requests": "50/minute"}},
        "agents": {"chat": {"cluster": "chat"}, "tools": {"cluster": "tools"}},
        "routes": [{"prefix": "/chat", "agents": ["chat"]}],
    })
}

/// A document with the value at a JSON pointer put in (`-` appends to a list).
fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut at = &mut document;
    for step in parent.split('/').skip(1) {
        at = match at {
            Value::Array(items) => &mut items[step.parse::<usize>().unwrap()],
            other => &mut other[step],
        };
    }
    match at {
        Value::Array(items) if name == "-" => items.push(value),
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        other => {
            other
                .as_object_mut()
                .unwrap()
                .insert(name.to_owned(), value);
        }
    }
    document
}

fn accepted(document: &Value) -> Policy {
    load(document.to_string().as_bytes()).unwrap_or_else(|faults| panic!("refused:\n{faults}"))
}

fn faults(document: &Value) -> Vec<String> {
    match load(document.to_string().as_bytes()) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}
