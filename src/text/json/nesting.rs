//! Where a text ends that is an object or an array, found while it arrives.

/// How far a text has come, of which it is known only afterwards whether it is JSON.
#[derive(Debug, Default, Clone, Copy)]
pub struct Nesting {
    depth: u32,
    begun: bool,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// The next bytes, split off anywhere.
    pub fn feed(&mut self, piece: &[u8]) {
        for byte in piece {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => {
                    self.begun = true;
                    self.depth = self.depth.saturating_add(1);
                }
                b'}' | b']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Whether the object or array has ended, if it is one. What comes then may only be blank.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.begun && self.depth == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_whole_at_its_last_bracket_however_it_is_split() {
        for (text, is_whole) in [
            (r#" {"a":"}","b\"}":[{},[1]]} "#, true),
            (r#"["\\",{"x":"\\\""}]"#, true),
            ("{}", true),
            ("1", false),
            (r#""{}""#, false),
            (r#"{"a":"#, false),
        ] {
            let mut nesting = Nesting::default();
            let mut bytes = text.as_bytes().chunks(1);
            let at = bytes.position(|byte| {
                nesting.feed(byte);
                nesting.is_whole()
            });
            let wanted = is_whole.then(|| text.trim_end().len());
            assert_eq!(at.map(|at| at + 1), wanted, "{text}");
            let mut at_once = Nesting::default();
            at_once.feed(text.as_bytes());
            assert_eq!(at_once.is_whole(), is_whole, "{text}");
        }
    }
}
