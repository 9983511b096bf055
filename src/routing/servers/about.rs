//! What several servers say of themselves, as one.

use super::message::{Failed, Read};
use crate::VERSION;
use crate::text::json::parts::Parts;
use crate::text::json::{Found, Member, Value};

/// Those that the gateway can pass on. Others speak of what it does not: streams of a server's own, tasks, extensions.
const CAPABILITIES: [&str; 5] = ["completions", "logging", "prompts", "resources", "tools"];

const POINTERS: [&str; 8] = [
    "/result/protocolVersion",
    "/result/supportedVersions",
    "/result/instructions",
    "/result/capabilities/completions",
    "/result/capabilities/logging",
    "/result/capabilities/prompts",
    "/result/capabilities/resources",
    "/result/capabilities/tools",
];

/// So many bytes of each server's instructions are told, or none.
const LONGEST_INSTRUCTIONS: usize = 4096;

const LONGEST_VERSION: usize = 32;
/// So many are looked at that a server supports.
const MOST_VERSIONS: usize = 64;

/// What was said so far.
#[derive(Debug, Default)]
pub struct About {
    has: [bool; CAPABILITIES.len()],
    /// As a text of JSON has it, without its quotes.
    instructions: String,
    /// The lowest that was chosen.
    version: Option<String>,
    /// Those that all support, as they are written, with commas between them.
    versions: Option<String>,
}

impl About {
    /// Takes over what a server says. Of an answer to `initialize` it says which version that has chosen.
    ///
    /// # Errors
    /// When its answer says nothing of the kind.
    pub fn take(&mut self, server: &str, message: &[u8]) -> Result<Option<String>, Failed> {
        let read = Read::new(message, &POINTERS)?;
        let chosen = match read.member(0) {
            Member::Found(Found {
                value: Value::Text(version),
                ..
            }) if is_version(version) => Some((**version).to_owned()),
            Member::Found(_) => return Err(Failed::Unreadable),
            _ => None,
        };
        match (&chosen, read.written(1)) {
            (Some(version), _) => {
                if self.version.as_ref().is_none_or(|lowest| version < lowest) {
                    self.version = Some(version.clone());
                }
            }
            (None, Some((start, supported))) => self.support(read.text, start, supported),
            (None, None) => return Err(Failed::Unreadable),
        }
        for (place, has) in self.has.iter_mut().enumerate() {
            let told = read.written(place + 3);
            *has |= told.is_some_and(|(_, written)| written.starts_with('{'));
        }
        if let Some((_, text)) = read.written(2)
            && let Some(text) = text.strip_prefix('"').and_then(|it| it.strip_suffix('"'))
            && !text.is_empty()
            && text.len() <= LONGEST_INSTRUCTIONS
        {
            if !self.instructions.is_empty() {
                self.instructions.push_str("\\n\\n");
            }
            self.instructions
                .extend([server, " (names begin with ", server, "__): ", text]);
        }
        Ok(chosen)
    }

    /// A server supports those in the array that begins there.
    fn support(&mut self, text: &str, start: usize, array: &str) {
        let mut common = String::new();
        for part in Parts::of(text.as_bytes(), start).take(MOST_VERSIONS) {
            let version = text.get(part.value).unwrap_or_default();
            if version.len() > LONGEST_VERSION + 2 {
                continue;
            }
            let earlier = self.versions.as_deref().unwrap_or(array).as_bytes();
            let mut places = earlier.windows(version.len().max(1));
            if version.starts_with('"') && places.any(|it| it == version.as_bytes()) {
                if !common.is_empty() {
                    common.push(',');
                }
                common.push_str(version);
            }
        }
        self.versions = Some(common);
    }

    /// True if those who were asked by `server/discover` have a version in common.
    #[must_use]
    pub fn has_common_version(&self) -> bool {
        self.versions.as_ref().is_some_and(|it| !it.is_empty())
    }

    /// The result of both methods. `more` stands behind its members.
    #[must_use]
    pub fn result(&self, more: &str) -> String {
        let mut result = match (&self.version, &self.versions) {
            (Some(version), _) => ["{\"protocolVersion\":\"", version, "\""].concat(),
            (None, versions) => {
                let versions = versions.as_deref().unwrap_or_default();
                ["{\"supportedVersions\":[", versions, "]"].concat()
            }
        };
        result.push_str(",\"capabilities\":{");
        let mut before = "\"";
        for (name, has) in CAPABILITIES.iter().zip(self.has) {
            if has {
                result.extend([before, name, "\":{}"]);
                before = ",\"";
            }
        }
        result.extend([
            "},\"serverInfo\":{\"name\":\"waykeeper\",\"version\":\"",
            VERSION,
            "\"}",
        ]);
        if !self.instructions.is_empty() {
            result.extend([",\"instructions\":\"", &self.instructions, "\""]);
        }
        result.extend([more, "}"]);
        result
    }
}

fn is_version(text: &str) -> bool {
    (1..=LONGEST_VERSION).contains(&text.len())
        && (text.bytes()).all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(answers: &[Value]) -> Value {
        let mut about = About::default();
        for (number, answer) in answers.iter().enumerate() {
            let answer = json!({"id": 1, "result": answer}).to_string();
            about
                .take(["files", "web"][number], answer.as_bytes())
                .unwrap_or_else(|failed| panic!("{failed:?} {answer}"));
        }
        serde_json::from_str(&about.result(",\"x\":1")).unwrap()
    }

    #[test]
    fn the_lowest_version_and_all_capabilities_that_can_be_passed_on() {
        let one = json!({
            "protocolVersion": "2025-11-25", "serverInfo": {"name": "a", "version": "1"}, "instructions": "Read \"first\".\n",
            "capabilities": {"tools": {"listChanged": true}, "experimental": {"x": {}}, "logging": null},
        });
        let two = json!({
            "protocolVersion": "2025-06-18", "capabilities": {"resources": {"subscribe": true}}, "instructions": "Search.",
        });
        let both = told(&[one.clone(), two]);
        assert_eq!(
            both,
            json!({
                "protocolVersion": "2025-06-18", "x": 1,
                "capabilities": {"tools": {}, "resources": {}},
                "serverInfo": {"name": "waykeeper", "version": VERSION},
                "instructions": "files (names begin with files__): Read \"first\".\n\n\nweb (names begin with web__): Search.",
            })
        );
        assert_eq!(told(&[one])["protocolVersion"], "2025-11-25");
    }

    #[test]
    fn what_is_discovered_is_what_all_support() {
        let of =
            |versions: Value| json!({"supportedVersions": versions, "capabilities": {"tools": {}}});
        let both = told(&[
            of(json!(["2025-11-25", "2026-07-28", "2027-01-01"])),
            of(json!(["2026-07-28", "2025-11-25"])),
        ]);
        assert_eq!(
            both["supportedVersions"],
            json!(["2026-07-28", "2025-11-25"])
        );
        let mut about = About::default();
        assert!(!about.has_common_version());
        for version in ["a", "b"] {
            let answer = json!({"result": of(json!([version]))}).to_string();
            about.take("a", answer.as_bytes()).unwrap();
        }
        assert!(!about.has_common_version());
    }

    #[test]
    fn instructions_are_bounded_and_versions_may_be_told() {
        let long =
            json!({"protocolVersion": "1", "instructions": "x".repeat(LONGEST_INSTRUCTIONS + 1)});
        assert_eq!(told(&[long]).get("instructions"), None);
        for bad in [
            json!({}),
            json!({"protocolVersion": 1}),
            json!({"protocolVersion": "a\"b"}),
            json!({"protocolVersion": "a\nb"}),
        ] {
            let answer = json!({"result": bad}).to_string();
            let taken = About::default().take("a", answer.as_bytes());
            assert_eq!(taken, Err(Failed::Unreadable), "{answer}");
        }
    }
}
