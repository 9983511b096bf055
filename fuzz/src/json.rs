//! A strict reader of JSON as RFC 8259 writes it, in UTF-8. It keeps members that are written twice, and numbers as they
//! are written. What it refuses, no reader may accept.

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool,
    /// As it is written.
    Number(String),
    /// `None`: text that holds half a surrogate pair, which is no Unicode.
    Text(Option<String>),
    List(Vec<Json>),
    Object(Vec<(Option<String>, Json)>),
}

/// What was written, and how deep values lie in one another.
pub(crate) fn read(bytes: &[u8]) -> Option<(Json, usize)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut reader = Reader {
        rest: text,
        depth: 0,
        deepest: 0,
    };
    let value = reader.value()?;
    reader.blanks();
    reader.rest.is_empty().then_some((value, reader.deepest))
}

/// Whether some text or name in it is half a surrogate pair, which is no text.
pub(crate) fn has_half_a_pair(value: &Json) -> bool {
    match value {
        Json::Text(text) => text.is_none(),
        Json::List(items) => items.iter().any(has_half_a_pair),
        Json::Object(members) => members
            .iter()
            .any(|(name, value)| name.is_none() || has_half_a_pair(value)),
        _ => false,
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
    deepest: usize,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, word: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(())
    }

    fn value(&mut self) -> Option<Json> {
        self.blanks();
        match self.rest.chars().next()? {
            'n' => self.eat("null").map(|()| Json::Null),
            't' => self.eat("true").map(|()| Json::Bool),
            'f' => self.eat("false").map(|()| Json::Bool),
            '"' => self.text().map(Json::Text),
            '[' => self.nested("[", "]", Self::value).map(Json::List),
            '{' => self.nested("{", "}", Self::member).map(Json::Object),
            _ => self.number(),
        }
    }

    fn member(&mut self) -> Option<(Option<String>, Json)> {
        self.blanks();
        let name = self.text()?;
        self.blanks();
        self.eat(":")?;
        Some((name, self.value()?))
    }

    fn nested<T>(
        &mut self,
        open: &str,
        close: &str,
        item: fn(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.eat(open)?;
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        let mut items = Vec::new();
        self.blanks();
        while self.eat(close).is_none() {
            if !items.is_empty() {
                self.eat(",")?;
            }
            // A bound on our own stack; readers give up long before it.
            if self.depth > 1000 {
                return None;
            }
            items.push(item(self)?);
            self.blanks();
        }
        self.depth -= 1;
        Some(items)
    }

    fn number(&mut self) -> Option<Json> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_digit() && !"+-.eE".contains(c))
            .unwrap_or(self.rest.len());
        let (written, rest) = self.rest.split_at(end);
        let (mantissa, exponent) = match written.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (written, None),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (mantissa, None),
        };
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let whole = whole.strip_prefix('-').unwrap_or(whole);
        let sound = digits(whole)
            && (whole == "0" || !whole.starts_with('0'))
            && fraction.is_none_or(digits)
            && exponent.is_none_or(|exponent| {
                digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))
            });
        self.rest = rest;
        sound.then(|| Json::Number(written.to_owned()))
    }

    fn text(&mut self) -> Option<Option<String>> {
        self.eat("\"")?;
        let mut units: Vec<u16> = Vec::new();
        loop {
            let mut characters = self.rest.chars();
            let character = characters.next()?;
            self.rest = characters.as_str();
            match character {
                '"' => return Some(String::from_utf16(&units).ok()),
                '\\' => units.push(self.escape()?),
                '\0'..='\u{1f}' => return None,
                other => units.extend(other.encode_utf16(&mut [0; 2]).iter()),
            }
        }
    }

    fn escape(&mut self) -> Option<u16> {
        let kind = self.rest.chars().next()?;
        self.rest = &self.rest[kind.len_utf8()..];
        Some(match kind {
            '"' | '\\' | '/' => kind as u16,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'u' => {
                let digits = self.rest.get(..4)?;
                self.rest = &self.rest[4..];
                if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return None;
                }
                u16::from_str_radix(digits, 16).ok()?
            }
            _ => return None,
        })
    }
}

/// A number as whole seconds: what it is equal to if that is whole and not negative. The second place says
/// whether a double could say otherwise: then it is too large or too fine for one.
pub(crate) fn whole(written: &str) -> (Option<u64>, bool) {
    let (mantissa, exponent) = written.split_once(['e', 'E']).unwrap_or((written, "0"));
    let (units, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let negative = units.starts_with('-');
    let digits = format!("{}{fraction}", units.trim_start_matches('-'));
    let is_zero = digits.bytes().all(|byte| byte == b'0');
    let Ok(exponent) = exponent.parse::<i64>() else {
        return (is_zero.then_some(0), true);
    };
    // The digits stand for `digits × 10^shift`.
    let shift = exponent.saturating_sub(fraction.len() as i64);
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let shift = shift.saturating_add(zeros as i64);
    let vague = significant.len() > 15 || !(-30..=15).contains(&shift);
    if is_zero {
        return (Some(0), negative);
    }
    if negative || shift < 0 {
        return (None, vague);
    }
    let whole = significant.parse::<u64>().ok().and_then(|significant| {
        significant.checked_mul(10_u64.checked_pow(u32::try_from(shift).ok()?)?)
    });
    (whole, vague || whole.is_none_or(|whole| whole > 1 << 53))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_read() {
        for text in [
            "{}",
            " [1, -0.5e+3, \"\\u00e9\\n\", null, true]\n",
            "\"\\ud83d\\ude00\"",
            "0",
        ] {
            assert!(read(text.as_bytes()).is_some(), "{text}");
        }
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "01",
            "1.",
            ".5",
            "+1",
            "'a'",
            "nul",
            "\"\t\"",
            "\"\\x\"",
            "1 2",
        ] {
            assert!(read(text.as_bytes()).is_none(), "{text}");
        }
        assert!(read(b"\"\xff\"").is_none());
    }

    #[test]
    fn whole_numbers_are_known_however_they_are_written() {
        for text in ["300", "300.0", "3e2", "3.00E+2", "3000e-1", "0.3e3"] {
            assert_eq!(whole(text), (Some(300), false), "{text}");
        }
        for text in ["0", "0.0", "0e5"] {
            assert_eq!(whole(text), (Some(0), false), "{text}");
        }
        for text in ["300.5", "-1", "1e-1"] {
            assert_eq!(whole(text), (None, false), "{text}");
        }
        for text in [
            "1e400",
            "0.99999999999999999999",
            "18446744073709551616",
            "1e-400",
        ] {
            assert!(whole(text).1, "{text}");
        }
    }
}
