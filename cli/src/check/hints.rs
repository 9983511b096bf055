//! What to write in place of fields that people look for under names that are too far from ours to be guessed.

use waykeeper::config::{Fault, Segment};

/// What is said of a field that is not known, and has no name near it.
const UNKNOWN: &str = "unknown field";
/// Any name that the operator chooses.
const ANY: &str = "*";

/// The fields on the way there, without places in lists, and what to do.
const HINTS: [(&[&str], &str); 3] = [
    (
        &["clients", "keys", "key"],
        "the file holds the key's hash, as sha256; this prints it: printf %s KEY | waykeeper hash-key",
    ),
    (&["routes", "path"], "write prefix"),
    (&["plans", ANY, "rpm"], "write requests: NUMBER/minute"),
];

/// In words that go behind a fault; nothing where none are known.
pub(super) fn hint(fault: &Fault) -> String {
    let names = fault.path.iter().filter_map(|segment| match segment {
        Segment::Field(name) => Some(name.as_str()),
        Segment::Item(_) => None,
    });
    let names: Vec<&str> = names.collect();
    let is_there = |way: &[&str]| {
        way.len() == names.len() && { way.iter().zip(&names) }
            .all(|(known, name)| *known == ANY || known == name)
    };
    let mut hints = HINTS.iter().filter(|_| fault.message == UNKNOWN);
    let hint = hints.find(|(way, _)| is_there(way));
    hint.map_or_else(String::new, |(_, what)| format!("; {what}"))
}
