//! `${NAME}` and `${NAME:-default}` in a `gateway.yaml`: what stands in the environment where the file is read. It is put into
//! values once they are read, so none gets out of its place in the file, whatever it holds; and no fault shows it.

mod hiding;

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

    use super::resolve;
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
}
