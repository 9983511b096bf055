//! How JSON is written: what is said in turn, with commas where they belong. Nothing here is made anew for each type, as it would be
//! by serde.

/// A text under way.
#[derive(Debug, Default)]
pub struct Writer(String);

/// A text as a JSON string.
#[must_use]
#[inline(never)]
pub fn quoted(text: &str) -> String {
    let mut writer = Writer::default();
    writer.text(text);
    writer.end()
}

impl Writer {
    /// All that was written.
    #[must_use]
    pub fn end(self) -> String {
        self.0
    }

    /// An object or array begins: `{` or `[`.
    pub fn open(&mut self, bracket: char) -> &mut Self {
        self.comma();
        self.0.push(bracket);
        self
    }

    /// It ends: `}` or `]`.
    pub fn close(&mut self, bracket: char) -> &mut Self {
        self.0.push(bracket);
        self
    }

    /// A member begins, whose value is to follow.
    pub fn name(&mut self, name: &str) -> &mut Self {
        self.text(name);
        self.0.push(':');
        self
    }

    /// What is JSON already.
    #[inline(never)]
    pub fn json(&mut self, json: &str) -> &mut Self {
        self.comma();
        self.0.push_str(json);
        self
    }

    /// A number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.json(itoa::Buffer::new().format(number))
    }

    /// `true` or `false`.
    pub fn flag(&mut self, flag: bool) -> &mut Self {
        self.json(if flag { "true" } else { "false" })
    }

    /// A string, or `null`.
    pub fn text_or_null(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.json("null"),
        }
    }

    /// An array of strings.
    #[inline(never)]
    pub fn texts(&mut self, texts: &mut dyn Iterator<Item = &str>) -> &mut Self {
        self.open('[');
        for text in texts {
            self.text(text);
        }
        self.close(']')
    }

    /// A string.
    #[inline(never)]
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.comma();
        self.0.push('"');
        for part in text.split_inclusive(|it: char| it < ' ' || it == '"' || it == '\\') {
            let last = part.chars().next_back();
            let Some(last) = last.filter(|it| *it < ' ' || *it == '"' || *it == '\\') else {
                self.0.push_str(part);
                break;
            };
            self.0.push_str(part.strip_suffix(last).unwrap_or_default());
            self.escape(last);
        }
        self.0.push('"');
        self
    }

    fn escape(&mut self, it: char) {
        let letter = match it {
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{c}' => 'f',
            '\r' => 'r',
            '"' | '\\' => it,
            _ => {
                let code = u32::from(it);
                let digit = |value| char::from_digit(value, 16).unwrap_or('0');
                self.0.push_str("\\u00");
                self.0.push(digit(code / 16));
                return self.0.push(digit(code % 16));
            }
        };
        self.0.push('\\');
        self.0.push(letter);
    }

    fn comma(&mut self) {
        if !matches!(self.0.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.0.push(',');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commas_stand_between() {
        let mut writer = Writer::default();
        writer.open('{');
        writer.name("a").number(17);
        writer.name("b").open('[').text("x:").text("{").close(']');
        writer.name("c").open('{').close('}').name("d").flag(false);
        writer.name("e").text_or_null(None).close('}');
        let text = writer.end();
        assert_eq!(text, r#"{"a":17,"b":["x:","{"],"c":{},"d":false,"e":null}"#);
    }

    proptest! {
        #[test]
        fn texts_are_quoted_as_serde_quotes_them(text in "[\\x00-\\x24\"\\\\a-cé\u{7f}\u{2028}😀]*") {
            prop_assert_eq!(quoted(&text), serde_json::Value::from(text).to_string());
        }
    }
}
