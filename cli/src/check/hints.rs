//! What to write in place of fields that people look for under names that are too far from ours to be guessed.

use waykeeper::config::{Fault, Segment};

use super::elsewhere::{ANY, Kind, elsewhere};

/// What is said of a field that is not known, and has no name near it.
const UNKNOWN: &str = "unknown field";

/// What is said of a word in the place of a list.
const NO_LIST: &str = "expected a list, found ";
/// Fields that are lists of words.
const OF_WORDS: [&str; 9] = [
    "agents",
    "agents_see",
    "capabilities",
    "fallback",
    "methods",
    "models",
    "roles",
    "sees",
    "tell",
];

/// What is said of a word in the place of a mapping with which something is switched on.
const NO_MAPPING: &str = "expected a mapping, found true";
/// Mappings in which nothing need be written.
const OF_USUAL: [&str; 5] = ["a2a", "limits_endpoint", "mcp", "models_endpoint", "rest"];

/// The fields on the way there, without places in lists, and what to do.
const HINTS: [(&[&str], &str); 10] = [
    (
        &["agents", ANY, "api_key"],
        "write credential: {env: NAME} or {file: PATH}",
    ),
    (&["agents", ANY, "models", "name"], "write model"),
    (&["clients", "keys", "client"], "write client_id"),
    (
        &["clients", "keys", "key"],
        "the file holds the key's hash, as sha256; this prints it: printf %s KEY | waykeeper hash-key",
    ),
    (
        &["listen", "port"],
        "write it behind the address, as in address: 0.0.0.0:8080",
    ),
    (&["routes", "path"], "write prefix"),
    (&["routes", "retry", "attempts"], "write max_attempts"),
    (
        &["routes", "rules", "match", "path"],
        "rules choose within a route; for another path write a route with another prefix",
    ),
    (
        &["routes", "request", "headers", ANY],
        "write it within set, add or remove",
    ),
    (&["plans", ANY, "rpm"], "write requests: NUMBER/minute"),
];

/// In words that go behind a fault of such a file; nothing where none are known.
pub(super) fn hint(fault: &Fault, kind: Kind) -> String {
    let names = fault.path.iter().filter_map(|segment| match segment {
        Segment::Field(name) => Some(name.as_str()),
        Segment::Item(_) => None,
    });
    let names: Vec<&str> = names.collect();
    let is_there = |way: &[&str]| {
        way.len() == names.len() && { way.iter().zip(&names) }
            .all(|(known, name)| *known == ANY || known == name)
    };
    if let Some(found) = fault.message.strip_prefix(NO_LIST) {
        let is_of_words = names.last().is_some_and(|name| OF_WORDS.contains(name));
        return match is_of_words && found.starts_with('"') {
            true => format!("; write [{found}]"),
            false => String::new(),
        };
    }
    let of_usual = names.last().is_some_and(|name| OF_USUAL.contains(name));
    if fault.message == NO_MAPPING && of_usual {
        return "; {} takes what is usual".to_owned();
    }
    if fault.message != UNKNOWN {
        return String::new();
    }
    let hint = HINTS.iter().find(|(way, _)| is_there(way));
    let hint = hint.map(|(_, what)| (*what).to_owned());
    let hint = hint.or_else(|| elsewhere(&names, kind));
    hint.map_or_else(String::new, |what| format!("; {what}"))
}
