//! Patterns of words: `gpt-4o` is that word, `gpt-4*` whatever begins so, `*-mini` whatever ends so, `*` any.

/// Which words are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// This one.
    Exact(String),
    /// Those that begin so.
    Prefix(String),
    /// Those that end so.
    Suffix(String),
    /// Every word, the empty one too.
    Any,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// One line, where a `*` stands elsewhere than at one end.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (pattern, rest): (fn(String) -> Self, _) =
            match (text.strip_suffix('*'), text.strip_prefix('*')) {
                (Some(rest), None) => (Self::Prefix, rest),
                (None, Some(rest)) => (Self::Suffix, rest),
                (None, None) => (Self::Exact, text),
                (Some(_), Some(_)) => return Err(ONE_STAR),
            };
        if rest.contains('*') {
            return Err(ONE_STAR);
        }
        Ok(pattern(rest.to_owned()))
    }

    /// Whether this word is meant.
    #[must_use]
    pub fn matches(&self, word: &[u8]) -> bool {
        match self {
            Self::Exact(text) => word == text.as_bytes(),
            Self::Prefix(text) => word.starts_with(text.as_bytes()),
            Self::Suffix(text) => word.ends_with(text.as_bytes()),
            Self::Any => true,
        }
    }

    /// The same of a longer word that begins so. `None`: it cannot be told.
    #[must_use]
    pub fn matches_beginning(&self, begins: &[u8]) -> Option<bool> {
        match self {
            Self::Any => Some(true),
            Self::Prefix(text) if text.len() <= begins.len() => {
                Some(begins.starts_with(text.as_bytes()))
            }
            Self::Exact(text) if text.len() <= begins.len() => Some(false),
            Self::Prefix(text) | Self::Exact(text) if !text.as_bytes().starts_with(begins) => {
                Some(false)
            }
            Self::Prefix(_) | Self::Exact(_) | Self::Suffix(_) => None,
        }
    }

    /// The one word that is meant, if it is one.
    #[must_use]
    pub fn exact(&self) -> Option<&str> {
        match self {
            Self::Exact(text) => Some(text),
            _ => None,
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Suffix(text) => write!(f, "*{text}"),
            Self::Any => f.write_str("*"),
        }
    }
}

const ONE_STAR: &str = "a * stands for any characters at one end of the word; it can stand there once, and nowhere else";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_at_one_end() {
        for (pattern, words, others) in [
            (
                "gpt-4o",
                &["gpt-4o"][..],
                &["gpt-4", "gpt-4oo", "GPT-4o", ""][..],
            ),
            ("gpt-4*", &["gpt-4", "gpt-4o"], &["gpt-", "xgpt-4", ""]),
            ("*-mini", &["-mini", "o4-mini"], &["o4-mini-x", "mini"]),
            ("*", &["", "x"], &[]),
            ("", &[""], &["x"]),
        ] {
            let read = Pattern::read(pattern).unwrap();
            assert_eq!(read.to_string(), pattern);
            for word in words {
                assert!(read.matches(word.as_bytes()), "{pattern} {word}");
            }
            for word in others {
                assert!(!read.matches(word.as_bytes()), "{pattern} {word}");
            }
        }
        for wrong in ["**", "*a*", "a*b", "a**", "*a*b"] {
            assert_eq!(Pattern::read(wrong), Err(ONE_STAR), "{wrong}");
        }
    }
}
