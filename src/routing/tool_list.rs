//! What a caller may see of an agent's answer to MCP's `tools/list`: the tools that it may call, and all else as it came.

use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;

use crate::text::case;
use crate::text::json::parts::{Parts, end_of_value, start};
use crate::text::json::{self, Found, Member, MemberId, Scan, Search};

/// A text that is not JSON, or in which the list cannot be told from something else. Nobody may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// What the caller may see of a JSON-RPC message, or of a batch of these. `None`: all of it.
///
/// A list is known by its form, a `result` with `tools`, and not by the request: an event stream that was taken up again may bring one.
/// What some reader may take for a member of that name counts as one; of members that come twice, each. A tool is one that has one
/// name, however it is read. As the list is now one for this caller, no cache may give it to others.
///
/// # Errors
/// When it is not JSON but might be to some reader, or its tools are no array.
pub fn visible_tools(
    text: &[u8],
    may_call: &dyn Fn(&[u8]) -> bool,
) -> Result<Option<Vec<u8>>, Unreadable> {
    let first = text.get(start(text));
    if !matches!(first, Some(b'{' | b'[')) {
        // No list is without brackets: words, a path, nothing at all.
        let has_brackets = text.iter().any(|byte| b"{[".contains(byte));
        return if has_brackets {
            Err(Unreadable)
        } else {
            Ok(None)
        };
    }
    let mut search = Search::new();
    let name = search.member("/name").map_err(|_| Unreadable)?;
    let mut list = List {
        text: str::from_utf8(text).map_err(|_| Unreadable)?,
        search: Rc::new(search),
        name,
        may_call,
        changed: Vec::new(),
        taken_over: 0,
    };
    list.read()?;
    Ok(list.finish())
}

/// One answer, and what of it is seen.
struct List<'t> {
    text: &'t str,
    search: Rc<Search>,
    name: MemberId,
    may_call: &'t dyn Fn(&[u8]) -> bool,
    /// What is seen of the text's first bytes, so many.
    changed: Vec<u8>,
    taken_over: usize,
}

impl List<'_> {
    fn read(&mut self) -> Result<(), Unreadable> {
        let text = self.text.as_bytes();
        let start = start(text);
        // A text of any kind, and just one.
        let mut scan = Scan::new(Rc::clone(&self.search));
        let pieces = [&b"{\"\":"[..], text, b"}"];
        let read = pieces.into_iter().try_for_each(|piece| scan.feed(piece));
        read.and_then(|()| scan.end()).map_err(|_| Unreadable)?;
        let end = end_of_value(text, start).ok_or(Unreadable)?;
        if !text.get(end..).unwrap_or_default().trim_ascii().is_empty() {
            return Err(Unreadable);
        }
        if text.get(start) == Some(&b'{') {
            return self.read_message(start);
        }
        for message in Parts::of(text, start) {
            self.read_message(message.value.start)?;
        }
        Ok(())
    }

    fn read_message(&mut self, at: usize) -> Result<(), Unreadable> {
        for (_, result) in self.members(at, &["result"]) {
            let members = self.members(result.start, &["tools", "cacheScope"]);
            if members.iter().all(|(which, _)| *which != 0) {
                continue;
            }
            for (which, value) in members {
                match self.text.get(value.clone()) {
                    Some("null") => {}
                    Some(PRIVATE) if which == 1 => {}
                    Some(array) if which == 0 && array.starts_with('[') => self.read_tools(value),
                    _ if which == 0 => return Err(Unreadable),
                    _ => {
                        self.take_over(value.start);
                        self.changed.extend_from_slice(PRIVATE.as_bytes());
                        self.taken_over = value.end;
                    }
                }
            }
        }
        Ok(())
    }

    fn read_tools(&mut self, at: Range<usize>) {
        let tools = Parts::of(self.text.as_bytes(), at.start).map(|tool| tool.value);
        let (seen, unseen): (Vec<_>, Vec<_>) = tools.partition(|tool| self.is_visible(tool));
        if unseen.is_empty() {
            return;
        }
        self.take_over(at.start);
        let mut before = b'[';
        for tool in seen {
            self.changed.push(before);
            let tool = self.text.as_bytes().get(tool).unwrap_or_default();
            self.changed.extend_from_slice(tool);
            before = b',';
        }
        if before == b'[' {
            self.changed.push(before);
        }
        self.changed.push(b']');
        self.taken_over = at.end;
    }

    /// Whether it is a tool with one name that the caller may call.
    fn is_visible(&self, tool: &Range<usize>) -> bool {
        let mut scan = Scan::new(Rc::clone(&self.search));
        let tool = self.text.as_bytes().get(tool.clone()).unwrap_or_default();
        let sound = scan.feed(tool).is_ok() && scan.end().is_ok();
        match scan.member(self.name) {
            Member::Found(Found {
                value: json::Value::Text(name),
                ..
            }) => sound && (self.may_call)(name.as_bytes()),
            _ => false,
        }
    }

    /// The members of the object there that some reader may take for one of these: which, and where its value stands.
    #[inline(never)]
    fn members(&self, at: usize, wanted: &[&str]) -> Vec<(usize, Range<usize>)> {
        let mut found = Vec::new();
        for part in Parts::of(self.text.as_bytes(), at) {
            let name = part.name.and_then(|name| self.text.get(name));
            let name = spelt(name.unwrap_or_default());
            let same = |it: &&str| case::is_same(name.as_bytes(), it, &it.to_ascii_lowercase());
            if let Some(which) = wanted.iter().position(same) {
                found.push((which, part.value));
            }
        }
        found
    }

    /// What stands before that place is seen as it came.
    fn take_over(&mut self, end: usize) {
        let text = self.text.as_bytes().get(self.taken_over..end);
        self.changed.extend_from_slice(text.unwrap_or_default());
        self.taken_over = end;
    }

    fn finish(mut self) -> Option<Vec<u8>> {
        if self.taken_over == 0 {
            return None;
        }
        self.take_over(self.text.len());
        Some(self.changed)
    }
}

/// What MCP says of an answer that is for one caller alone.
const PRIVATE: &str = "\"private\"";

/// A name without its quotes and escapes, as far as letters are written so.
fn spelt(name: &str) -> Cow<'_, str> {
    let name = name.trim_matches('"');
    if !name.contains('\\') {
        return Cow::Borrowed(name);
    }
    let mut parts = name.split("\\u");
    let mut spelt = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(4).unwrap_or((part, ""));
        let letter = u32::from_str_radix(digits, 16)
            .ok()
            .and_then(char::from_u32);
        spelt.push(letter.unwrap_or('?'));
        spelt.push_str(rest);
    }
    Cow::Owned(spelt)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::{PRIVATE, Unreadable, visible_tools};

    fn visible(text: &str) -> Result<Option<String>, Unreadable> {
        let seen = visible_tools(text.as_bytes(), &|name| !name.starts_with(b"secret"));
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
            "",
            "not found",
            "/messages?session=1",
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
            "{",
            r#"{"result":{"tools":[{"name":"secret"}]}"#,
            r#"{"result":{"tools":[{"name":"secret"},]}}"#,
            r#"{"result":{"tools":[],"x":NaN}}"#,
            "\u{feff}{}",
            r#"{"result":{"tools":{"a":{"name":"secret"}}}}"#,
            r#"{"result":{"tools":"secret"}}"#,
            "{} {}",
            r#"{},"a":{"result":{"tools":[{"name":"secret"}]}}"#,
            r#"[]}{"#,
            r#"1,{"result":{"tools":[{"name":"secret"}]}}"#,
            "{\0}\0",
        ] {
            assert_eq!(visible(broken), Err(Unreadable), "{broken}");
        }
        assert_eq!(
            visible_tools(b"{\"a\":\"\xff\"}", &|_| true),
            Err(Unreadable)
        );
    }

    /// The same, worked out on the whole tree.
    fn model(message: &mut Value) -> Result<(), Unreadable> {
        let mut messages = match message {
            Value::Array(messages) => messages.iter_mut().collect(),
            one => vec![one],
        };
        let named = |object: &Map<String, Value>, wanted: &str| -> Vec<String> {
            let names = object
                .keys()
                .filter(|name| name.eq_ignore_ascii_case(wanted));
            names.cloned().collect()
        };
        for message in messages.iter_mut().filter_map(|it| it.as_object_mut()) {
            for result in named(message, "result") {
                let Some(result) = message[&result].as_object_mut() else {
                    continue;
                };
                let tools = named(result, "tools");
                for name in &tools {
                    match &mut result[name] {
                        Value::Array(tools) => tools.retain(|tool| {
                            let names = tool.as_object().map(|tool| named(tool, "name"));
                            names == Some(vec!["name".to_owned()])
                                && tool["name"].as_str().is_some_and(|name| name != "secret")
                        }),
                        Value::Null => {}
                        _ => return Err(Unreadable),
                    }
                }
                for name in named(result, "cacheScope") {
                    if !tools.is_empty() && result[&name] != Value::Null {
                        result[&name] = "private".into();
                    }
                }
            }
        }
        Ok(())
    }

    fn json() -> impl Strategy<Value = Value> {
        let name = prop::sample::select(vec![
            "result",
            "Result",
            "tools",
            "TOOLS",
            "name",
            "NAME",
            "cacheScope",
            "a",
            "",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            prop::sample::select(vec!["secret", "look", "private", "}\"]\\", "\u{e9}"])
                .prop_map(Value::from),
        ];
        let inner = leaf.prop_recursive(5, 64, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((name.clone(), inner), 0..4).prop_map(|members| {
                    let members = members.into_iter();
                    Value::Object(members.map(|(name, it)| (name.to_owned(), it)).collect())
                }),
            ]
        });
        let message = (any::<bool>(), inner.clone()).prop_map(|(lists, result)| {
            let result = if lists {
                json!({"tools": [result], "cacheScope": "public"})
            } else {
                result
            };
            json!({"result": result, "a": [1]})
        });
        prop_oneof![
            message.clone(),
            prop::collection::vec(message, 0..3).prop_map(Value::from),
            inner,
        ]
    }

    proptest! {
        #[test]
        fn what_is_seen_is_what_the_tree_says(message in json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&message) } else { serde_json::to_string(&message) };
            let text = text.unwrap();
            prop_assume!(text.starts_with(['{', '[']));
            let seen = visible(&text).map(|seen| seen.unwrap_or(text));
            let seen = seen.map(|seen| serde_json::from_str::<Value>(&seen).unwrap());
            let mut wanted = message;
            let wanted = model(&mut wanted).map(|()| wanted);
            prop_assert_eq!(seen, wanted);
        }

        #[test]
        fn nothing_panics_whatever_comes(text in ".{0,40}", cut in 0..40_usize) {
            let _ = visible(&text);
            let list = r#"{"result":{"tools":[{"name":"\u0061"}]}}"#;
            let _ = visible(&list[..cut.min(list.len())]);
        }
    }
}
