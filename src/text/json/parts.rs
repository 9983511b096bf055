//! Where the members of an object and the items of an array stand, in a text that is known to be JSON. For those who change a part
//! of a text and leave every other byte of it as it came.

use std::ops::Range;

/// A member of an object, or an item of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where the member's name stands, with its quotes.
    pub name: Option<Range<usize>>,
    /// Where the value stands, without blanks around it.
    pub value: Range<usize>,
}

/// The parts of the object or array that begins at one place of a text, in their order.
#[derive(Debug)]
pub struct Parts<'t> {
    text: &'t [u8],
    at: usize,
    named: bool,
}

impl<'t> Parts<'t> {
    /// The parts of what begins `at` there. Where nothing with parts does, there are none.
    #[must_use]
    pub fn of(text: &'t [u8], at: usize) -> Self {
        let named = text.get(at) == Some(&b'{');
        let has_parts = named || text.get(at) == Some(&b'[');
        let at = if has_parts { at + 1 } else { text.len() };
        Self { text, at, named }
    }

    fn skip(&mut self, what: &[u8]) {
        self.at = behind(self.text, self.at, |byte| what.contains(&byte));
    }
}

impl Iterator for Parts<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        self.skip(b", \t\r\n");
        let name = if self.named {
            let end = end_of_string(self.text, self.at)?;
            let name = self.at..end;
            self.at = end;
            self.skip(b": \t\r\n");
            Some(name)
        } else {
            None
        };
        let end = end_of_value(self.text, self.at)?;
        let value = self.at..end;
        self.at = end;
        Some(Part { name, value })
    }
}

/// Where the text's value begins.
#[must_use]
pub fn start(text: &[u8]) -> usize {
    behind(text, 0, |byte| byte.is_ascii_whitespace())
}

/// The first place from `at` on where a byte is not one of these.
fn behind(text: &[u8], at: usize, of: impl Fn(u8) -> bool) -> usize {
    let mut rest = text.get(at..).unwrap_or_default().iter();
    rest.position(|byte| !of(*byte))
        .map_or(text.len(), |index| at + index)
}

fn end_of_string(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        at += match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => 2,
            _ => 1,
        };
    }
}

/// Where the value ends that begins there. `None`: none does, or it does not end.
#[must_use]
pub fn end_of_value(text: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0_usize);
    loop {
        match text.get(at)? {
            b'"' => at = end_of_string(text, at)?,
            b'{' | b'[' => (at, depth) = (at + 1, depth + 1),
            b'}' | b']' if depth == 0 => return None,
            b'}' | b']' => (at, depth) = (at + 1, depth - 1),
            _ if depth > 0 => at += 1,
            _ => at = behind(text, at, |byte| !b",]} \t\r\n".contains(&byte)),
        }
        if depth == 0 {
            return (at > start).then_some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, at: usize) -> Vec<(Option<&str>, &str)> {
        let parts = Parts::of(text.as_bytes(), at);
        parts
            .map(|part| (part.name.map(|name| &text[name]), &text[part.value]))
            .collect()
    }

    #[test]
    fn members_and_items_are_found_whatever_stands_in_them() {
        let text = r#" {"a" : 1 ,"b\"}":[1,{"x":"]"},"\\"] , "c":{"d":{}},"e":"f\\\"","g":null , "": true}"#;
        let named = [
            (Some(r#""a""#), "1"),
            (Some(r#""b\"}""#), r#"[1,{"x":"]"},"\\"]"#),
            (Some(r#""c""#), r#"{"d":{}}"#),
            (Some(r#""e""#), r#""f\\\"""#),
            (Some(r#""g""#), "null"),
            (Some(r#""""#), "true"),
        ];
        assert_eq!(start(text.as_bytes()), 1);
        assert_eq!(shown(text, 1), named);
        let items = [(None, "1"), (None, "[]"), (None, r#""x""#), (None, "-1e5")];
        assert_eq!(shown("[1, [] ,\"x\",-1e5]", 0), items);
        for none in ["{}", "[ ]", "1", "\"{\"", "", "  "] {
            assert_eq!(shown(none, start(none.as_bytes())), []);
        }
    }

    #[test]
    fn what_is_cut_off_ends_the_parts_and_breaks_nothing() {
        let text = r#"{"a":[1,{"x":"\"]"}],"b":"c\\","d":-1.5e3}"#;
        for end in 0..text.len() {
            for at in 0..=end {
                let cut = &text[..end];
                for part in Parts::of(cut.as_bytes(), at) {
                    assert!(cut.get(part.value).is_some());
                }
            }
        }
    }
}
