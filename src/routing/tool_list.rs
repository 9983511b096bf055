//! What a caller may see of an agent's answer to MCP's `tools/list`: the tools that it may call, and all else as it came.

use std::ops::Range;

use crate::text::case;
use crate::text::json::parts::{Part, Parts, start};

/// A text that is not JSON, or in which the list cannot be told from something else. Nobody may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// What the caller may see of a JSON-RPC message, or of a batch of these. `None`: all of it.
///
/// A list is known by its form, a `result` with `tools`, and not by the request: an event stream that was taken up again may bring one.
/// What some reader may take for a member of that name counts as one; of members that come twice, each. So nobody sees
/// a tool that one of its names keeps from him. As the list is now one for this caller, no cache may give it to others.
///
/// # Errors
/// When it is not JSON, or its tools are no array.
pub fn visible_tools(
    text: &[u8],
    may_call: &dyn Fn(&str) -> bool,
) -> Result<Option<Vec<u8>>, Unreadable> {
    let mut list = List {
        text: std::str::from_utf8(text).map_err(|_| Unreadable)?,
        may_call,
        changes: Vec::new(),
    };
    serde_json::from_str::<serde::de::IgnoredAny>(list.text).map_err(|_| Unreadable)?;
    let start = start(text);
    if text.get(start) == Some(&b'[') {
        for message in Parts::of(text, start) {
            list.read_message(message.value.start)?;
        }
    } else {
        list.read_message(start)?;
    }
    Ok(list.changed())
}

/// One answer, and what is to be changed of it.
struct List<'t> {
    text: &'t str,
    may_call: &'t dyn Fn(&str) -> bool,
    changes: Vec<(Range<usize>, String)>,
}

impl<'t> List<'t> {
    fn read_message(&mut self, at: usize) -> Result<(), Unreadable> {
        for result in self.members(at, "result") {
            let tools: Vec<_> = self.members(result.start, "tools").collect();
            if tools.is_empty() {
                continue;
            }
            for tools in tools {
                self.read_tools(tools)?;
            }
            for scope in self.members(result.start, "cacheScope") {
                if self.text.get(scope.clone()) != Some(PRIVATE) {
                    self.changes.push((scope, PRIVATE.to_owned()));
                }
            }
        }
        Ok(())
    }

    fn read_tools(&mut self, at: Range<usize>) -> Result<(), Unreadable> {
        match self.text.get(at.clone()) {
            Some("null") => return Ok(()),
            Some(array) if array.starts_with('[') => {}
            _ => return Err(Unreadable),
        }
        let (mut kept, mut dropped) = (String::from("["), false);
        for tool in Parts::of(self.text.as_bytes(), at.start) {
            if !self.is_visible(&tool) {
                dropped = true;
                continue;
            }
            if kept.len() > 1 {
                kept.push(',');
            }
            kept.push_str(self.text.get(tool.value).unwrap_or_default());
        }
        if dropped {
            kept.push(']');
            self.changes.push((at, kept));
        }
        Ok(())
    }

    /// Whether each of the tool's names is one that the caller may call. One without a name is not known.
    fn is_visible(&self, tool: &Part) -> bool {
        let mut names = self.members(tool.value.start, "name").peekable();
        names.peek().is_some()
            && names.all(|name| {
                let name = self.string(name);
                name.is_some_and(|name| (self.may_call)(&name))
            })
    }

    /// Where the values stand of the members that some reader may take for the one that is called so, of the object there.
    fn members(&self, at: usize, wanted: &'t str) -> impl Iterator<Item = Range<usize>> + use<'t> {
        let (text, folded) = (self.text, wanted.to_ascii_lowercase());
        let parts = Parts::of(text.as_bytes(), at);
        parts.filter_map(move |part| {
            let name = string_at(text, part.name?)?;
            case::is_same(name.as_bytes(), wanted, &folded).then_some(part.value)
        })
    }

    fn string(&self, at: Range<usize>) -> Option<std::borrow::Cow<'t, str>> {
        string_at(self.text, at)
    }

    fn changed(mut self) -> Option<Vec<u8>> {
        if self.changes.is_empty() {
            return None;
        }
        self.changes.sort_unstable_by_key(|(at, _)| at.start);
        let (mut changed, mut behind) = (String::with_capacity(self.text.len()), 0);
        for (at, new) in self.changes {
            changed.push_str(self.text.get(behind..at.start).unwrap_or_default());
            changed.push_str(&new);
            behind = at.end;
        }
        changed.push_str(self.text.get(behind..).unwrap_or_default());
        Some(changed.into_bytes())
    }
}

/// What MCP says of an answer that is for one caller alone.
const PRIVATE: &str = "\"private\"";

/// The string that stands there; `None`: none does that has a meaning.
fn string_at(text: &str, at: Range<usize>) -> Option<std::borrow::Cow<'_, str>> {
    let quoted = text.get(at)?;
    match quoted.strip_prefix('"')?.strip_suffix('"')? {
        plain if !plain.contains('\\') => Some(plain.into()),
        _ => serde_json::from_str::<String>(quoted).ok().map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible(text: &str) -> Result<Option<String>, Unreadable> {
        let seen = visible_tools(text.as_bytes(), &|name| !name.starts_with("secret"));
        seen.map(|seen| seen.map(|seen| String::from_utf8(seen).unwrap()))
    }

    #[test]
    fn a_list_loses_the_tools_that_the_caller_may_not_call_and_nothing_else() {
        let long = |tools: &str| {
            format!(
                r#" {{"jsonrpc" : "2.0","id":9007199254740993.0,"result":{{ "_meta":{{"a":[1]}},"tools":{tools},"nextCursor":"s\u00e9" }}, "x":"tools"}} "#
            )
        };
        let cases = [
            (
                r#"[{"name":"look","inputSchema":{"name":"secret"}}, {"name":"secret.a"} ,{"description":"]","name":"find"}]"#,
                r#"[{"name":"look","inputSchema":{"name":"secret"}},{"description":"]","name":"find"}]"#,
            ),
            (r#"[{"name":"secret"}]"#, "[]"),
            // Each of its names counts, whoever reads the first, the last, or those in other letters.
            (
                r#"[{"name":"a","name":"secret"},{"name":"secret","name":"a"},{"name":"a","NAME":"secret"},{"name":"b"}]"#,
                r#"[{"name":"b"}]"#,
            ),
            (
                r#"[{"n\u0061me":"\u0073ecret"},{"name":"b"}]"#,
                r#"[{"name":"b"}]"#,
            ),
            // What has no name that can be read is not known to be allowed.
            (
                r#"[{"name":1},{"title":"b"},"look",["look"],7,null,{"name":"\ud800"},{"name":"b"}]"#,
                r#"[{"name":"b"}]"#,
            ),
        ];
        for (came, seen) in cases {
            assert_eq!(visible(&long(came)), Ok(Some(long(seen))), "{came}");
        }
        for all in [r#"[ {"name" : "look"} , {"name":"b"}]"#, "[]", "null"] {
            assert_eq!(visible(&long(all)), Ok(None), "{all}");
        }
    }

    #[test]
    fn what_is_taken_for_a_list_is_one() {
        let cases = [
            (
                r#"{"result":{"a":1},"result":{"tools":[{"name":"secret"}]}}"#,
                r#"{"result":{"a":1},"result":{"tools":[]}}"#,
            ),
            (
                r#"{"result":{"tools":[{"name":"secret"}],"tools":[{"name":"secret"},{"name":"b"}]}}"#,
                r#"{"result":{"tools":[],"tools":[{"name":"b"}]}}"#,
            ),
            (
                "{\"RESULT\":{\"tool\u{17f}\":[{\"name\":\"secret\"}]}}",
                "{\"RESULT\":{\"tool\u{17f}\":[]}}",
            ),
            (
                r#"[{"result":{"tools":[{"name":"secret"}]}},1,{"result":{}}]"#,
                r#"[{"result":{"tools":[]}},1,{"result":{}}]"#,
            ),
        ];
        for (came, seen) in cases {
            assert_eq!(visible(came), Ok(Some(seen.to_owned())), "{came}");
        }
        // No answers, or answers without a list: also a question to the caller that brings tools of its own.
        for other in [
            r#"{"method":"sampling/createMessage","params":{"tools":[{"name":"secret"}]}}"#,
            r#"{"error":{"code":1,"data":{"tools":[{"name":"secret"}]}}}"#,
            r#"{"result":{"content":[{"type":"text","text":"secret"}],"structuredContent":{"tools":[{"name":"secret"}]}}}"#,
            r#"{"result":["tools"]}"#,
            "1",
            r#""tools""#,
            "null",
            "[]",
            "[[]]",
        ] {
            assert_eq!(visible(other), Ok(None), "{other}");
        }
    }

    #[test]
    fn a_list_for_one_caller_is_not_to_be_kept_for_others() {
        let scoped = |scope: &str, tools: &str| {
            format!(r#"{{"result":{{"cacheScope":{scope},"tools":{tools},"ttlMs":5000}}}}"#)
        };
        let look = r#"[{"name":"look"}]"#;
        let (public, private) = (scoped("\"public\"", look), scoped(PRIVATE, look));
        assert_eq!(visible(&public), Ok(Some(private.clone())));
        assert_eq!(visible(&private), Ok(None));
        let both = scoped("\"public\"", r#"[{"name":"secret"}]"#);
        assert_eq!(visible(&both), Ok(Some(scoped(PRIVATE, "[]"))));
    }

    #[test]
    fn what_cannot_be_read_is_seen_by_nobody() {
        for broken in [
            "",
            " ",
            "{",
            r#"{"result":{"tools":[{"name":"secret"}]}"#,
            r#"{"result":{"tools":[{"name":"secret"},]}}"#,
            r#"{"result":{"tools":[],"x":NaN}}"#,
            "\u{feff}{}",
            r#"{"result":{"tools":{"a":{"name":"secret"}}}}"#,
            r#"{"result":{"tools":"secret"}}"#,
            "{} {}",
        ] {
            assert_eq!(visible(broken), Err(Unreadable), "{broken}");
        }
        assert_eq!(
            visible_tools(b"{\"a\":\"\xff\"}", &|_| true),
            Err(Unreadable)
        );
    }
}
