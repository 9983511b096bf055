//! `${NAME}` and `${NAME:-default}` in a `gateway.yaml`: what stands in the environment where the file is read. It is put into
//! values once they are read, so none gets out of its place in the file, whatever it holds; and no fault shows it.

use std::cmp::Reverse;
use std::ffi::OsString;

use waykeeper::config::{Fault, Segment};
use waykeeper::host::Sensitive;

use crate::yaml::{Kind, Value, plain};

/// A document without references, and what they were.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    used: Vec<Used>,
    /// References to nothing.
    pub(super) faults: Vec<Fault>,
}

/// A reference that was resolved.
#[derive(Clone, Debug)]
struct Used {
    positions: Vec<usize>,
    /// As it is written.
    name: String,
    value: Sensitive<String>,
    /// All that stands there, and what of it is written in the file itself.
    text: Sensitive<String>,
    literal: Vec<String>,
}

/// Where a value stands.
#[derive(Default)]
struct At {
    path: Vec<Segment>,
    positions: Vec<usize>,
}

/// The document with the values of its references, which `look_up` knows.
pub(super) fn resolve(
    document: &Value,
    look_up: &dyn Fn(&str) -> Option<OsString>,
) -> (Value, Environment) {
    let mut environment = Environment::default();
    let mut resolved = document.clone();
    environment.value(&mut resolved, &mut At::default(), look_up);
    (resolved, environment)
}

// === impl At ===

impl At {
    /// Keys, their hashes, and places of these and of credentials are written as they are.
    fn is_spared(&self) -> bool {
        let names: Vec<&str> = self
            .path
            .iter()
            .map(|segment| match segment {
                Segment::Field(name) => name.as_str(),
                Segment::Item(_) => "",
            })
            .collect();
        matches!(
            names.as_slice(),
            ["clients" | "sessions", "keys"] | ["agents", _, "credential"]
        )
    }

    fn inside(&mut self, segment: Segment, position: usize, f: impl FnOnce(&mut Self)) {
        self.path.push(segment);
        self.positions.push(position);
        f(self);
        self.path.pop();
        self.positions.pop();
    }
}

// === impl Environment ===

impl Environment {
    fn value(
        &mut self,
        value: &mut Value,
        at: &mut At,
        look_up: &dyn Fn(&str) -> Option<OsString>,
    ) {
        if at.is_spared() {
            return;
        }
        match &mut value.kind {
            Kind::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    at.inside(Segment::Item(index), index, |at| {
                        self.value(item, at, look_up)
                    });
                }
            }
            Kind::Map(entries) => {
                for (index, entry) in entries.iter_mut().enumerate() {
                    let segment = Segment::Field(entry.name.clone());
                    at.inside(segment, index, |at| {
                        self.value(&mut entry.value, at, look_up)
                    });
                }
            }
            Kind::Text(text) if text.contains("${") => match self.text(text, at, look_up) {
                Ok(text) => {
                    // Without quotes a text says itself what it is: a number, true, or just text.
                    value.kind = match value.plain {
                        true => plain(&text),
                        false => Kind::Text(text),
                    };
                    value.doubt = None;
                }
                Err(message) => self.faults.push(Fault {
                    path: at.path.clone(),
                    positions: at.positions.clone(),
                    message,
                }),
            },
            _ => {}
        }
    }

    fn text(
        &mut self,
        text: &str,
        at: &At,
        look_up: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<String, String> {
        let mut resolved = String::new();
        let mut literal = Vec::new();
        let before_this = self.used.len();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                resolved.extend([before, "${"]);
                literal.push(before.to_lowercase());
                rest = behind;
                continue;
            }
            resolved.push_str(before);
            literal.push(before.to_lowercase());
            let (inner, behind) = behind.split_once('}').ok_or(
                "holds ${ without a } behind it; $${ stands for the characters themselves",
            )?;
            let (name, default) = match inner.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inner, None),
            };
            if !is_variable(name) || default.is_some_and(|default| default.contains("${")) {
                return Err(
                    "holds ${ that begins neither ${NAME} nor ${NAME:-default}, where the name is of letters, digits and _; \
                     $${ stands for the characters themselves"
                        .to_owned(),
                );
            }
            let value = look_up(name).map(OsString::into_string).transpose();
            let value = value
                .map_err(|_| format!("${{{name}}}: what the environment holds is no UTF-8"))?;
            let value = match (value, default) {
                (Some(value), None) => value,
                (Some(value), Some(_)) if !value.is_empty() => value,
                (_, Some(default)) => {
                    resolved.push_str(default);
                    literal.push(default.to_lowercase());
                    rest = behind;
                    continue;
                }
                (None, None) => {
                    return Err(format!(
                        "${{{name}}} is not set in the environment; set it, or write what holds without it: ${{{name}:-default}}"
                    ));
                }
            };
            resolved.push_str(&value);
            self.used.push(Used {
                positions: at.positions.clone(),
                name: format!("${{{name}}}"),
                value: Sensitive(value),
                text: Sensitive(String::new()),
                literal: Vec::new(),
            });
            rest = behind;
        }
        resolved.push_str(rest);
        literal.push(rest.to_lowercase());
        for used in self.used.iter_mut().skip(before_this) {
            used.text = Sensitive(resolved.to_lowercase());
            used.literal.clone_from(&literal);
        }
        Ok(resolved)
    }

    /// A fault that shows nothing of the environment.
    pub(super) fn without_values(&self, mut fault: Fault) -> Fault {
        let here = self.used.iter().filter(|used| {
            used.positions.starts_with(&fault.positions)
                || fault.positions.starts_with(&used.positions)
        });
        let here: Vec<&Used> = here.collect();
        if let Some(used) = here.first() {
            let stands_for = format!("what {} stands for", used.name);
            // Perhaps a part of it, or the same in other words.
            if let Some((before, _)) = fault.message.split_once(", found ") {
                fault.message = format!("{before}, found {stands_for}");
            } else if let Some(number) = fault.message.strip_prefix("the number ") {
                let rest = number.split_once(' ').map_or("", |(_, rest)| rest);
                fault.message = format!("{stands_for} {rest}");
            }
        }
        fault.message = self.without_quoted(&fault.message, &fault.positions);
        fault.message = self.hidden(&fault.message);
        fault
    }

    /// A text with the names of references in place of their values, also as these stand in quotes.
    pub(crate) fn hidden(&self, text: &str) -> String {
        // What is shorter stands in words.
        let values = self.used.iter().filter(|used| is_telling(&used.value));
        let forms = values.flat_map(|used| {
            let quoted = format!("{:?}", used.value.as_str());
            let quoted = quoted.trim_matches('"').to_owned();
            [used.value.to_string(), quoted].map(|form| (form, used.name.as_str()))
        });
        let mut forms: Vec<_> = forms.collect();
        // A value may begin as another one does.
        forms.sort_by_key(|(form, _)| Reverse(form.len()));
        let mut shown = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let mut found = forms.iter();
            let found = found.find_map(|(form, name)| Some((rest.strip_prefix(form)?, name)));
            rest = if let Some((behind, name)) = found {
                shown.push_str(name);
                behind
            } else {
                shown.push(first);
                rest.get(first.len_utf8()..).unwrap_or_default()
            };
        }
        shown
    }

    /// A message about what stands there, with such names in place of whatever in quotes shows a value or a part of one.
    fn without_quoted(&self, message: &str, there: &[usize]) -> String {
        let mut shown = String::new();
        let mut rest = message;
        while let Some((before, quote)) = rest.split_once('"') {
            let (inner, behind) = split_quote(quote);
            let bare = unescaped(inner).to_lowercase();
            let is_cut = behind.is_some_and(|behind| behind.starts_with('…'));
            let mut used = self.used.iter();
            let used = used.find(|used| used.is_shown_by(&bare, is_cut, there));
            let inner = used.map_or(inner, |used| used.name.as_str());
            shown.extend([before, "\"", inner]);
            let Some(behind) = behind else {
                return shown;
            };
            shown.push('"');
            rest = behind;
        }
        shown + rest
    }
}

// === impl Used ===

impl Used {
    /// Whether what a message about what stands `there` has in quotes shows the value, or a part of it; in lower case.
    fn is_shown_by(&self, quoted: &str, is_cut: bool, there: &[usize]) -> bool {
        let value = self.value.to_lowercase();
        if quoted.is_empty() || value.is_empty() {
            return false;
        }
        let shows_all = is_telling(&value) && quoted.contains(&value);
        let is_all = quoted == value;
        let is_part = self.text.contains(quoted)
            && !self.literal.iter().any(|literal| literal.contains(quoted));
        let is_here = there.starts_with(&self.positions);
        let is_around = self.positions.starts_with(there) && is_telling(quoted);
        let is_of_it = is_here || self.positions.starts_with(there);
        shows_all || is_all && is_of_it || is_part && (is_here || is_around || is_cut)
    }
}

/// Whether a text is long enough to be no part of any word.
fn is_telling(text: &str) -> bool {
    text.len() > 3
}

/// What stands in front of the quote that ends this, and behind it, if there is one.
fn split_quote(text: &str) -> (&str, Option<&str>) {
    let mut is_escaped = false;
    for (at, it) in text.char_indices() {
        match it {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => {
                let (inner, quote) = text.split_at_checked(at).unwrap_or((text, ""));
                return (inner, quote.strip_prefix('"'));
            }
            _ => {}
        }
    }
    (text, None)
}

/// What a message shows in quotes, as it was before it was put there.
fn unescaped(text: &str) -> String {
    let mut bare = String::new();
    let mut rest = text;
    while let Some((before, escaped)) = rest.split_once('\\') {
        bare.push_str(before);
        let mut characters = escaped.chars();
        let first = characters.next();
        rest = characters.as_str();
        match first {
            Some('n') => bare.push('\n'),
            Some('r') => bare.push('\r'),
            Some('t') => bare.push('\t'),
            Some('0') => bare.push('\0'),
            Some('u') => {
                let inner = rest.strip_prefix('{').and_then(|it| it.split_once('}'));
                let number = inner.and_then(|(digits, _)| u32::from_str_radix(digits, 16).ok());
                bare.extend(number.and_then(char::from_u32));
                rest = inner.map_or(rest, |(_, behind)| behind);
            }
            other => bare.extend(other),
        }
    }
    bare + rest
}

fn is_variable(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use serde_json::{Value as Json, json};

    use proptest::prelude::*;
    use waykeeper::config::Fault;

    use super::{resolve, split_quote, unescaped};
    use crate::yaml;

    fn look_up(name: &str) -> Option<OsString> {
        let value = match name {
            "HOST" => "10.0.0.5",
            "ONE" => "1",
            "EMPTY" => "",
            "TRICK" => "x', y: {a: b} # ${HOST}\nz: \"",
            _ => return None,
        };
        Some(value.into())
    }

    fn resolved(text: &str) -> Result<Json, Vec<String>> {
        let document = yaml::parse(text).unwrap().remove(0);
        let (resolved, environment) = resolve(&document, &look_up);
        let faults = environment.faults.iter().map(ToString::to_string);
        let faults: Vec<String> = faults.collect();
        let node = format!("{:?}", resolved.node());
        if faults.is_empty() {
            Ok(json!(node))
        } else {
            Err(faults)
        }
    }

    fn same(text: &str, other: &str) {
        let document = yaml::parse(other).unwrap().remove(0);
        assert_eq!(
            resolved(text),
            Ok(json!(format!("{:?}", document.node()))),
            "{text}"
        );
    }

    #[test]
    fn a_reference_is_what_the_environment_holds() {
        same("a: http://${HOST}:80", "a: http://10.0.0.5:80");
        same("a: [\"${HOST}${ONE}\"]", "a: [10.0.0.51]");
        same("a: ${ONE}", "a: 1");
        same("a: '${ONE}'", "a: '1'");
        same("a: ${NONE:-true}", "a: true");
        same("a: '${NONE:-x:-y}'", "a: 'x:-y'");
        same("a: '${EMPTY:-x}${EMPTY}'", "a: x");
        same("a: 'b$${HOST}$$'", "a: 'b${HOST}$$'");
        same("${HOST}: 1", "'${HOST}': 1");
        same(
            "clients: {keys: ['${HOST}']}\nsessions: {keys: ['${HOST}']}\nagents: {a: {credential: {file: '/${HOST}'}}}",
            "clients: {keys: ['$\\x7bHOST}']}\nsessions: {keys: ['$\\x7bHOST}']}\nagents: {a: {credential: {file: '/$\\x7bHOST}'}}}"
                .replace("\\x7b", "{")
                .as_str(),
        );
    }

    #[test]
    fn a_value_stays_in_its_place() {
        let document = yaml::parse("a: '${TRICK}'\nb: ${TRICK}").unwrap().remove(0);
        let (resolved, _) = resolve(&document, &look_up);
        for name in ["a", "b"] {
            let value = resolved.get(name).and_then(yaml::Value::text);
            assert_eq!(value, Some("x', y: {a: b} # ${HOST}\nz: \""));
        }
    }

    #[test]
    fn a_reference_to_nothing_is_told_with_its_place() {
        for (text, fault) in [
            ("a: [{b: '${NONE}'}]", "a[0].b: ${NONE} is not set"),
            ("a: '${HOST'", "a: holds ${ without a }"),
            ("a: '${a b}'", "a: holds ${ that begins neither"),
            ("a: '${1}'", "a: holds ${ that begins neither"),
            ("a: '${}'", "a: holds ${ that begins neither"),
            ("a: '${A:-${B}}'", "a: holds ${ that begins neither"),
        ] {
            let told = resolved(text).unwrap_err();
            assert!(told.len() == 1 && told[0].starts_with(fault), "{told:?}");
        }
    }

    /// What is shown of a fault at `a`, which is written so while X and Y are these.
    fn shown(written: &str, x: &str, y: &str, message: &str) -> String {
        let document = yaml::parse(&format!("{{a: '{written}', b: 1}}"))
            .unwrap()
            .remove(0);
        let held = |name: &str| match name {
            "X" => Some(x.into()),
            "Y" => Some(y.into()),
            _ => None,
        };
        let (_, environment) = resolve(&document, &held);
        let fault = Fault {
            path: Vec::new(),
            positions: vec![0],
            message: message.to_owned(),
        };
        environment.without_values(fault).message
    }

    #[test]
    fn a_value_with_quotes_is_hidden_as_any_other() {
        let url = "https://api.example.com/SECRET\"TOKEN";
        let of = |text: &str| format!("{text:?} is no such thing");
        let hidden = "\"${X}\" is no such thing";
        for part in [url, "SECRET\"TOKEN", "api.example.com", "T\"T", "TOKEN"] {
            let told = shown("${X}", url, "", &of(part));
            assert!(!told.contains("TOKEN") && !told.contains("api"), "{told}");
        }
        assert_eq!(shown("${X}", url, "", &of("SECRET\"TOKEN")), hidden);
        // What is cut, what has controls, and what is about another value.
        let cut = format!("{:?}… is no such thing", &url[..30]);
        assert_eq!(shown("${X}", url, "", &cut), "\"${X}\"… is no such thing");
        assert_eq!(shown("${X}", "a\u{1}\\b", "", &of("a\u{1}\\b")), hidden);
        let elsewhere = shown("x${Y}", url, "se\"cret", &of("se\"cret"));
        assert_eq!(elsewhere, "\"${Y}\" is no such thing");
        assert_eq!(
            shown(
                "${X}${Y}",
                "secret",
                "secret-and-more",
                "cannot read secret-and-more"
            ),
            "cannot read ${Y}"
        );
    }

    #[test]
    fn what_a_value_does_not_stand_in_is_shown_as_it_is() {
        let message = "is longer than \"10m\", such as \"1s\"; did you mean \"first\"?";
        assert_eq!(shown("${X}", "1", "", message), message);
        assert_eq!(
            shown("a:1${X}", "1", "", "\"1\" is none"),
            "\"${X}\" is none"
        );
        let message = "\"part\" stands twice in \"a part\"";
        assert_eq!(shown("a part ${X}", "s", "", message), message);
        assert_eq!(
            shown("x${X}y", "1", "", "\"x1y\" is none"),
            "\"${X}\" is none"
        );
    }

    proptest! {
        #[test]
        fn quotes_end_where_they_do(inner in any::<String>(), behind in any::<String>()) {
            let text = format!("{inner:?}{behind}");
            let (quoted, rest) = split_quote(&text[1..]);
            prop_assert_eq!(unescaped(quoted), inner);
            prop_assert_eq!(rest, Some(behind.as_str()));
        }
    }
}
