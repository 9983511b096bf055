//! Values as Envoy's own messages have them. Protobuf's JSON takes a field's name in two spellings (`idle_timeout`,
//! `idleTimeout`), numbers in quotes too, and `null` for a field that is not written: so Envoy reads all of these.

use std::time::Duration;

use waykeeper::config::Node;

use super::{Entry, Kind, Value};

/// Whether a field that is written so is the one of this name.
fn is_spelled(written: &str, name: &str) -> bool {
    written == name || written == camel(name)
}

/// `idleTimeout` of `idle_timeout`.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut spelled = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at_checked(1).unwrap_or_default();
        spelled.push_str(&first.to_ascii_uppercase());
        spelled.push_str(rest);
    }
    spelled
}

// === impl Entry ===

impl Entry {
    /// Whether this is the field of this name.
    pub(crate) fn is_field(&self, name: &str) -> bool {
        is_spelled(&self.name, name)
    }
}

// === impl Value ===

impl Value {
    /// A field of one of Envoy's messages, by the name with underscores.
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        let mut entries = self.entries().iter();
        let entry = entries.find(|entry| entry.is_field(name))?;
        (entry.value.kind != Kind::Null).then_some(&entry.value)
    }

    /// The items of a field that is a list; none, if it is not there.
    pub(crate) fn items_of(&self, name: &str) -> &[Value] {
        self.field(name).map_or(&[], Value::items)
    }

    /// The text of a field.
    pub(crate) fn text_of(&self, name: &str) -> Option<&str> {
        self.field(name)?.text()
    }

    /// The whole number that stands here.
    pub(crate) fn whole(&self) -> Option<u64> {
        let number = match &self.kind {
            Kind::Number(number) => *number,
            Kind::Text(text) => text.parse().ok()?,
            _ => return None,
        };
        Node::Number(number).whole()
    }

    /// Whether this is a flag that is set. Envoy's reader of YAML is one of those that take more words for it.
    pub(crate) fn is_true(&self) -> bool {
        const WORDS: [&str; 4] = ["true", "yes", "on", "y"];
        let is = |text: &str| WORDS.iter().any(|word| word.eq_ignore_ascii_case(text));
        self.kind == Kind::Bool(true) || self.text().is_some_and(is)
    }

    /// Whether this is one of an enumeration, by its name or its number.
    pub(crate) fn is_one(&self, name: &str, number: u64) -> bool {
        self.text() == Some(name) || self.whole() == Some(number)
    }

    /// A duration, such as `3s` or `0.5s`.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let seconds: f64 = self.text()?.strip_suffix('s')?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }
}
