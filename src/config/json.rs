//! JSON text becomes a tree (RFC 8259). Of what is no JSON it says what was expected, and where. By serde this would be made anew for
//! each type that is read, in several times as much of the filter.

use super::document::Node;
use crate::text::decimal;

/// How many lists and mappings may lie in one another.
const DEEPEST: usize = 127;

/// What is wrong.
type Read<T> = Result<T, &'static str>;

/// The value that a text holds, and nothing else. Of a mapping only fields are kept that are `wanted`; what stands in the others is
/// read as far as it takes to find its end.
pub(super) fn read(text: &[u8], wanted: &dyn Fn(&str) -> bool) -> Result<Node, String> {
    let mut reader = Reader {
        text,
        wanted,
        at: 0,
        depth: 0,
        unread: false,
    };
    let read = match reader.value() {
        Ok(_) if reader.next_token().is_some() => Err("trailing characters"),
        read => read,
    };
    read.map_err(|why| {
        let before = text.get(..reader.at).unwrap_or(text);
        let mut lines = before.rsplit(|byte| *byte == b'\n');
        let column = lines.next().map_or(0, <[u8]>::len);
        format!("{why} at line {} column {column}", lines.count() + 1)
    })
}

/// `at` is behind what was read; of a fault, behind the byte that is wrong.
struct Reader<'a> {
    text: &'a [u8],
    wanted: &'a dyn Fn(&str) -> bool,
    at: usize,
    depth: usize,
    /// This is in a field that is not wanted.
    unread: bool,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// The next byte that is not blank.
    #[inline(never)]
    fn next_token(&mut self) -> Option<u8> {
        loop {
            let byte = self.next()?;
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(byte);
            }
        }
    }

    /// Whether the next byte that is not blank is this one, which is passed then.
    fn goes_on_by(&mut self, wanted: u8) -> bool {
        let came = self.next_token();
        if came.is_some() && came != Some(wanted) {
            self.at -= 1;
        }
        came == Some(wanted)
    }

    fn value(&mut self) -> Read<Node> {
        match self.next_token() {
            None => Err("EOF while parsing a value"),
            Some(b'{') => self.nested(Self::map),
            Some(b'[') => self.nested(Self::list),
            Some(b'"') => Ok(Node::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'n') => self.word(b"ull", Node::Null),
            Some(b't') => self.word(b"rue", Node::Bool(true)),
            Some(b'f') => self.word(b"alse", Node::Bool(false)),
            Some(_) => Err("expected value"),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Read<Node>) -> Read<Node> {
        if self.depth == DEEPEST {
            return Err("recursion limit exceeded");
        }
        self.depth += 1;
        let node = read(self)?;
        self.depth -= 1;
        Ok(node)
    }

    fn list(&mut self) -> Read<Node> {
        let mut items = Vec::new();
        if self.goes_on_by(b']') {
            return Ok(Node::List(items));
        }
        if self.peek().is_none() {
            return Err("EOF while parsing a list");
        }
        loop {
            items.push(self.value()?);
            match self.next_token() {
                None => return Err("EOF while parsing a list"),
                Some(b']') => return Ok(Node::List(items)),
                Some(b',') if self.goes_on_by(b']') => return Err("trailing comma"),
                Some(b',') => {}
                Some(_) => return Err("expected `,` or `]`"),
            }
        }
    }

    fn map(&mut self) -> Read<Node> {
        let mut fields = Vec::new();
        let mut token = self.next_token();
        if token == Some(b'}') {
            return Ok(Node::Map(fields));
        }
        loop {
            match token {
                None => return Err("EOF while parsing an object"),
                Some(b'"') => {}
                Some(b'}') => return Err("trailing comma"),
                Some(_) => return Err("key must be a string"),
            }
            let name = self.string()?;
            match self.next_token() {
                None => return Err("EOF while parsing an object"),
                Some(b':') => {}
                Some(_) => return Err("expected `:`"),
            }
            if self.depth == 1 && !(self.wanted)(&name) {
                self.unread = true;
                self.pass()?;
                self.unread = false;
            } else {
                fields.push((name, self.value()?));
            }
            match self.next_token() {
                None => return Err("EOF while parsing an object"),
                Some(b'}') => return Ok(Node::Map(fields)),
                Some(b',') => {
                    token = Some(self.next_token().ok_or("EOF while parsing a value")?);
                }
                Some(_) => return Err("expected `,` or `}`"),
            }
        }
    }

    /// Passes a value, however deep it is.
    fn pass(&mut self) -> Read<()> {
        let mut open = Vec::new();
        loop {
            match self.next_token() {
                Some(b'{') if !self.goes_on_by(b'}') => {
                    self.name()?;
                    open.push(b'}');
                    continue;
                }
                Some(b'[') if !self.goes_on_by(b']') => {
                    open.push(b']');
                    continue;
                }
                None => return Err("EOF while parsing a value"),
                Some(b'{' | b'[') => {}
                Some(_) => {
                    self.at -= 1;
                    self.value()?;
                }
            }
            loop {
                let Some(close) = open.last().copied() else {
                    return Ok(());
                };
                match self.next_token() {
                    None => return Err("EOF while parsing a value"),
                    Some(byte) if byte == close => {
                        open.pop();
                    }
                    Some(b',') => {
                        if close == b'}' {
                            self.name()?;
                        }
                        break;
                    }
                    Some(_) => return Err("expected `,` or a bracket"),
                }
            }
        }
    }

    /// A field's name and the colon behind it, of a mapping that is passed.
    fn name(&mut self) -> Read<()> {
        if !self.goes_on_by(b'"') {
            return Err("key must be a string");
        }
        self.string()?;
        if self.goes_on_by(b':') {
            Ok(())
        } else {
            Err("expected `:`")
        }
    }

    fn word(&mut self, rest: &[u8], node: Node) -> Read<Node> {
        for wanted in rest {
            match self.next() {
                None => return Err("EOF while parsing a value"),
                Some(byte) if byte == *wanted => {}
                Some(_) => return Err("expected ident"),
            }
        }
        Ok(node)
    }

    /// The first byte of the number has been passed.
    fn number(&mut self) -> Read<Node> {
        let start = self.at - 1;
        self.at = start;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leads = self.peek();
        let whole = self.digits()?;
        if leads == Some(b'0') && whole > 1 {
            return Err("invalid number");
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let digits = self.text.get(start..self.at).unwrap_or_default();
        let number = std::str::from_utf8(digits).ok().and_then(decimal::read);
        match number {
            Some(number) if number.is_finite() || self.unread => Ok(Node::Number(number)),
            _ => Err("number out of range"),
        }
    }

    /// How many digits follow: one at least.
    fn digits(&mut self) -> Read<usize> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        match (self.at - start, self.peek()) {
            (0, None) => Err("EOF while parsing a value"),
            (0, Some(_)) => {
                self.at += 1;
                Err("invalid number")
            }
            (count, _) => Ok(count),
        }
    }

    /// The opening quote has been passed.
    fn string(&mut self) -> Read<String> {
        let mut string = String::new();
        loop {
            let start = self.at;
            let rest = self.text.get(start..).unwrap_or_default();
            let plain = rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | ..b' '));
            self.at = plain.map_or(self.text.len(), |plain| start + plain);
            let plain = self.text.get(start..self.at).unwrap_or_default();
            string.push_str(std::str::from_utf8(plain).map_err(|_| "invalid unicode code point")?);
            match self.next() {
                None => return Err("EOF while parsing a string"),
                Some(b'"') => return Ok(string),
                Some(b'\\') => string.push(self.escape()?),
                Some(_) => {
                    return Err("control character (\\u0000-\\u001F) found while parsing a string");
                }
            }
        }
    }

    fn escape(&mut self) -> Read<char> {
        Ok(match self.next().ok_or("EOF while parsing a string")? {
            it @ (b'"' | b'\\' | b'/') => it.into(),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.code()?;
                let code = match first {
                    0xd800..0xe000 if self.unread => return Ok(char::REPLACEMENT_CHARACTER),
                    0xd800..0xdc00 => {
                        if self.next() != Some(b'\\') || self.next() != Some(b'u') {
                            return Err("unexpected end of hex escape");
                        }
                        match self.code()? {
                            second @ 0xdc00..0xe000 => {
                                0x1_0000 + ((first - 0xd800) << 10 | (second - 0xdc00))
                            }
                            _ => return Err("lone leading surrogate in hex escape"),
                        }
                    }
                    code => code,
                };
                char::from_u32(code).ok_or("lone leading surrogate in hex escape")?
            }
            _ => return Err("invalid escape"),
        })
    }

    fn code(&mut self) -> Read<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let byte = self.next().ok_or("EOF while parsing a string")?;
            let digit = char::from(byte).to_digit(16).ok_or("invalid escape")?;
            code = code << 4 | digit;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Result<Node, String> {
        super::read(text, &|_| true)
    }

    fn of_serde(text: &[u8]) -> Result<Node, String> {
        let value = serde_json::from_slice::<serde_json::Value>(text);
        value
            .map(|value| Node::from(&value))
            .map_err(|error| error.to_string())
    }

    fn without_place(fault: &str) -> &str {
        fault
            .split_once(" at line ")
            .map_or(fault, |(what, _)| what)
    }

    #[test]
    fn what_is_wrong_is_told_in_the_words_and_at_the_place_that_readers_know() {
        for text in [
            "",
            " ",
            "{",
            "[",
            "[1",
            "[1,",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "nul",
            "nulx",
            "truth",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12zz\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"a\u{1}b\"",
            "[1,]",
            "{\"a\":1,}",
            "{1:2}",
            "[1 2]",
            "{\"a\" 1}",
            "{\"a\":1 \"b\":2}",
            "01",
            "-",
            "-a",
            "1.",
            "1.x",
            "1e",
            "1e+",
            "1e999",
            "+1",
            "1 2",
            "{} {}",
            "\n\n {\n  \"a\": oops}",
        ] {
            let (ours, theirs) = (
                read(text.as_bytes()).expect_err(text),
                of_serde(text.as_bytes()).expect_err(text),
            );
            assert_eq!(without_place(&ours), without_place(&theirs), "{text:?}");
            let line = |fault: &str| {
                fault
                    .rsplit_once(" column")
                    .map(|(before, _)| before.to_owned())
            };
            assert_eq!(line(&ours), line(&theirs), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_wanted_is_passed_over_if_it_is_json() {
        let wanted = |name: &str| name == "a";
        let read = |text: &str| super::read(text.as_bytes(), &wanted);
        let a = Node::Map(vec![(
            "a".to_owned(),
            Node::Map(vec![("b".to_owned(), Node::Null)]),
        )]);
        let text = r#"{"b":[1e999,"\ud800"],"a":{"b":null},"c":{"a":1e999}}"#;
        assert_eq!(read(text), Ok(a));
        for text in [
            r#"{"b":1e999,"a":1e999}"#,
            r#"{"b":"\x"}"#,
            r#"{"b":[01]}"#,
            r#"{"b":"\ud80"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn it_nests_as_deep_as_elsewhere_and_no_deeper() {
        for depth in [126, 127, 128, 129] {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(read(text.as_bytes()).is_ok(), depth <= DEEPEST);
            assert_eq!(of_serde(text.as_bytes()).is_ok(), depth <= DEEPEST);
        }
    }

    proptest! {
        /// Pieces of JSON and of what is nearly JSON, in any order.
        #[test]
        fn it_takes_what_other_readers_take_and_as_they_do(
            pieces in proptest::collection::vec(prop_oneof![
                Just("{"), Just("}"), Just("["), Just("]"), Just(","), Just(":"), Just("\"a\""), Just("\"\\u00e9\\ud83d\\ude00\\n\""),
                Just("\"é\""), Just("\"\\ud83d\\u0041\""), Just(" "), Just("\n"), Just("1"), Just("-0.5e1"), Just("true"), Just("null"),
                Just("\"a\":"), Just("[]"), Just("{}"), Just("\"\u{1}\""), Just("\\"), Just("tru"), Just("00"), Just("12.25"),
            ], 0..12)
        ) {
            let text = pieces.concat();
            let (ours, theirs) = (read(text.as_bytes()), of_serde(text.as_bytes()));
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{} {:?} {:?}", text, ours, theirs);
            // Serde's own value keeps the last field of a name, and in the order of names.
            if let (Ok(ours), Ok(theirs)) = (ours, theirs) && !text.contains('{') {
                prop_assert_eq!(ours, theirs);
            }
        }

        #[test]
        fn any_bytes_are_no_harm(bytes: Vec<u8>) {
            prop_assert_eq!(read(&bytes).is_ok(), of_serde(&bytes).is_ok());
        }
    }
}
