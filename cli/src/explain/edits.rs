//! What a route changes of a request, as an agent gets it, and of the agent's answer.

use waykeeper::config::VARIABLES;
use waykeeper::config::policy::{BodyEdit, Edits, HeaderEdits, Part, Template};

use super::caller::{How, UNNAMED};
use super::walked::Walked;

const TAKEN_OUT: &str = "taken out";

/// What is changed of a request, each with what became of it.
pub(super) fn of_request(edits: &Edits, walked: &Walked, how: How) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let named = |shown: String| match how {
        How::Validator => shown.replace(UNNAMED, "(as the validator names it)"),
        _ => shown,
    };
    let mut told = Vec::new();
    for (name, _) in edits.request.set.iter().chain(&edits.request.add) {
        let values = walked.headers.iter().filter(|(other, _)| other == name);
        let values: Vec<String> = values.map(|(_, value)| text(value)).collect();
        if !values.is_empty() {
            told.push((name.clone(), shown(name, named(values.join(", ")))));
        } else if edits.request.set.iter().any(|(other, _)| other == name) {
            told.push((name.clone(), TAKEN_OUT.to_owned()));
        }
    }
    told.extend(taken_out(&edits.request));
    if let Some(host) = &edits.host {
        told.push(("host".to_owned(), host.clone()));
    }
    let body: Option<serde_json::Value> = serde_json::from_slice(&walked.body).ok();
    for (pointer, edit) in edits.body.iter().filter(|_| body.is_some()) {
        let there = body.as_ref().and_then(|body| body.pointer(pointer));
        let became = match (edit, there) {
            (BodyEdit::Remove, _) | (_, None) => TAKEN_OUT.to_owned(),
            (_, Some(value)) => named(value.to_string()),
        };
        told.push((format!("body {pointer}"), became));
    }
    told
}

/// Where a message of MCP names what it calls.
const CALLED: [&str; 4] = [
    "/params/name",
    "/params/uri",
    "/params/ref/name",
    "/params/ref/uri",
];

/// What one of several servers of MCP reads in place of the name by which it was called.
pub(super) fn of_called(sent: &[u8], walked: &Walked) -> Vec<(String, String)> {
    let read = |body: &[u8]| serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    let (sent, became) = (read(sent), read(&walked.body));
    let changed = CALLED.iter().filter_map(|pointer| {
        let name = became.pointer(pointer)?;
        let is_other = sent.pointer(pointer) != Some(name);
        is_other.then(|| (format!("body {pointer}"), name.to_string()))
    });
    changed.collect()
}

/// What is changed of the agent's answer, with variables as they are written.
pub(super) fn of_answer(edits: &Edits) -> Vec<(String, String)> {
    let HeaderEdits { set, add, .. } = &edits.response;
    let valued = set.iter().chain(add);
    let valued = valued.map(|(name, value)| (name.clone(), shown(name, written(value))));
    valued.chain(taken_out(&edits.response)).collect()
}

fn taken_out(edits: &HeaderEdits) -> impl Iterator<Item = (String, String)> {
    edits
        .remove
        .iter()
        .map(|name| (name.clone(), TAKEN_OUT.to_owned()))
}

/// The value of a header, unless it may be a secret between the gateway and an agent.
fn shown(name: &str, value: String) -> String {
    let secrets = [
        "auth",
        "key",
        "token",
        "secret",
        "cookie",
        "credential",
        "password",
    ];
    match secrets.iter().any(|word| name.contains(word)) {
        true => "(secret)".to_owned(),
        false => value,
    }
}

fn written(template: &Template) -> String {
    let part = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Variable(variable) => {
            let mut known = VARIABLES.iter().filter(|(_, other)| other == variable);
            format!("{{{}}}", known.next().map_or("", |(name, _)| name))
        }
    };
    template.0.iter().map(part).collect()
}
