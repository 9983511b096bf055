//! The document as it stands: text or wire bytes become a tree that keeps the order of fields and those written twice,
//! so that the reader can tell every fault at its place. Nothing here knows what the fields mean.

use std::fmt;

use prost::Message;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value of the document. All numbers are doubles, since a protobuf `Struct` has no others.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Nothing is written.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Any number; from a `Struct` it may be infinite or none at all.
    Number(f64),
    /// A string.
    Text(String),
    /// Values in their order.
    List(Vec<Node>),
    /// Fields in the order of the document; a name may stand here more than once.
    Map(Vec<(String, Node)>),
}

/// Turns the bytes that the host hands over into a tree: JSON text, or the wire bytes of `google.protobuf.Struct`.
///
/// JSON is tried first: bytes of a `Struct` begin with `0x0a`, which is white space to JSON, but would then need a
/// field's length and name to spell an object. So text that begins with an empty line is still read as text.
///
/// # Errors
/// One line that says what the bytes are not.
pub(super) fn parse(bytes: &[u8]) -> Result<Node, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("the configuration is empty".to_owned());
    }
    let json_error = match serde_json::from_slice::<Node>(bytes) {
        Ok(node) => return Ok(node),
        Err(error) => error,
    };
    if looks_like_json(bytes) {
        return Err(format!("not JSON: {json_error}"));
    }
    match prost_types::Struct::decode(bytes) {
        Ok(message) => Ok(message.into()),
        Err(_) if std::str::from_utf8(bytes).is_ok() => {
            Err(format!("neither a protobuf Struct nor JSON: {json_error}"))
        }
        Err(error) => Err(format!("neither JSON text nor a protobuf Struct: {error}")),
    }
}

/// Whether an error in these bytes is best told as one of JSON: an opening brace, then a quote.
fn looks_like_json(bytes: &[u8]) -> bool {
    let mut rest = bytes.iter().filter(|byte| !byte.is_ascii_whitespace());
    rest.next() == Some(&b'{') && matches!(rest.next(), None | Some(b'"' | b'}'))
}

// === impl Node ===

impl Node {
    /// The whole number from 0 that stands here, however it is written: `300`, `300.0` or `3e2`. One beyond `u64` is its
    /// greatest.
    #[must_use]
    pub fn whole(&self) -> Option<u64> {
        match self {
            // Neither NaN nor the infinite have a fraction of 0. The cast saturates.
            Node::Number(number) if number.fract() == 0.0 && *number >= 0.0 => Some(*number as u64),
            _ => None,
        }
    }

    /// The first field of this name, if this is a mapping that has one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Node> {
        let Self::Map(fields) = self else {
            return None;
        };
        let found = fields.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        let Self::Map(fields) = self else {
            return None;
        };
        let found = fields.iter_mut().find(|(other, _)| other == name);
        found.map(|(_, value)| value)
    }

    /// What a fault calls this value.
    pub(super) fn described(&self) -> String {
        match self {
            Node::Null => "nothing".to_owned(),
            Node::Bool(flag) => flag.to_string(),
            Node::Number(number) => shown_number(*number),
            Node::Text(text) => shown(text),
            Node::List(_) => "a list".to_owned(),
            Node::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// A number as a fault shows it: with six digits behind the point at most, but never as a whole number that it is not. To print
/// any double as exactly as the standard library does takes 18 KB of the filter.
fn shown_number(number: f64) -> String {
    /// From here on doubles are too far apart to have a fraction.
    const LARGE: u64 = 1 << 53;
    if number.is_nan() {
        return "no number".to_owned();
    }
    let sign = if number < 0.0 { "-" } else { "" };
    let size = number.abs();
    if size > LARGE as f64 {
        return format!("a number beyond {sign}{LARGE}");
    }
    let whole = size as u64;
    let fraction = size - whole as f64;
    if fraction == 0.0 {
        return format!("the number {sign}{whole}");
    }
    let millionths = ((fraction * 1e6 + 0.5) as u64).clamp(1, 999_999);
    let digits = format!("{millionths:06}");
    let digits = digits.trim_end_matches('0');
    format!("the number {sign}{whole}.{digits}")
}

/// A text as a fault shows it: quoted, without control characters, and not longer than a line.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
    }
}

/// What stands in a name before a colon, a blank or an equals sign, unless that comes first. Where names have none of these it
/// is a value that was to follow, without the blank or the colon between: perhaps a secret, which is never shown.
pub(super) fn before_value(name: &str) -> Option<&str> {
    let (first, _) = name
        .char_indices()
        .skip(1)
        .find(|(_, it)| matches!(it, ':' | '=') || it.is_whitespace())?;
    name.get(..first)
}

/// A name that has none of these, as a fault shows it.
pub(super) fn shown_to_value(name: &str) -> String {
    match before_value(name) {
        None => shown(name),
        Some(before) => format!("{}…", shown(before).trim_end_matches('…')),
    }
}

impl From<&serde_json::Value> for Node {
    fn from(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Node::Null,
            Value::Bool(flag) => Node::Bool(*flag),
            Value::Number(number) => Node::Number(number.as_f64().unwrap_or(f64::NAN)),
            Value::String(text) => Node::Text(text.clone()),
            Value::Array(items) => Node::List(items.iter().map(Node::from).collect()),
            Value::Object(fields) => Node::Map(
                fields
                    .iter()
                    .map(|(name, value)| (name.clone(), value.into()))
                    .collect(),
            ),
        }
    }
}

impl From<prost_types::Struct> for Node {
    fn from(message: prost_types::Struct) -> Self {
        Node::Map(
            message
                .fields
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect(),
        )
    }
}

impl From<prost_types::Value> for Node {
    fn from(value: prost_types::Value) -> Self {
        use prost_types::value::Kind;
        match value.kind {
            None | Some(Kind::NullValue(_)) => Node::Null,
            Some(Kind::BoolValue(flag)) => Node::Bool(flag),
            Some(Kind::NumberValue(number)) => Node::Number(number),
            Some(Kind::StringValue(text)) => Node::Text(text),
            Some(Kind::ListValue(list)) => {
                Node::List(list.values.into_iter().map(Node::from).collect())
            }
            Some(Kind::StructValue(message)) => message.into(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Node::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_shown_as_it_is_written_and_never_as_a_whole_one_that_it_is_not() {
        for (number, shown) in [
            (0.0, "the number 0"),
            (-1.0, "the number -1"),
            (1.5, "the number 1.5"),
            (0.1, "the number 0.1"),
            (1.1, "the number 1.1"),
            (-0.25, "the number -0.25"),
            (1e-9, "the number 0.000001"),
            (2.999_999_999, "the number 2.999999"),
            (9_007_199_254_740_992.0, "the number 9007199254740992"),
            (1e300, "a number beyond 9007199254740992"),
            (f64::NEG_INFINITY, "a number beyond -9007199254740992"),
            (f64::NAN, "no number"),
        ] {
            assert_eq!(Node::Number(number).described(), shown);
        }
    }
}
