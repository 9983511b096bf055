//! Whether what a body says meets a condition: of several readers, for all of them or for none; else it is doubtful.

use crate::config::policy::Expected;
use crate::routing::content::{BadBody, Known, Stated};
use crate::text::json::{LONGEST_VALUE, Value};
use crate::text::pattern::Pattern;

/// Whether a body meets a condition.
#[derive(Debug, PartialEq)]
pub(super) enum Meets {
    Yes,
    No,
    /// It has not said so yet.
    Unknown,
    /// It cannot be told, for this reason.
    Doubtful(BadBody),
}

impl From<Option<bool>> for Meets {
    fn from(known: Option<bool>) -> Self {
        match known {
            Some(true) => Self::Yes,
            Some(false) => Self::No,
            None => Self::Unknown,
        }
    }
}

impl<T> Known<T> {
    /// What holds of it, as far as it is known. Of what is absent, nothing does.
    pub(super) fn map(self, holds: impl FnOnce(T) -> bool) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::Absent => Some(false),
            Self::Found(it) => Some(holds(it)),
        }
    }
}

/// Whether any of these is so, as far as it is known.
pub(super) fn any(all: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut known = Some(false);
    for one in all {
        match one {
            Some(true) => return Some(true),
            Some(false) => {}
            None => known = None,
        }
    }
    known
}

/// Whether a value is one of those that are expected.
pub(super) fn one_of(expected: &[Expected], said: Stated<'_>) -> Meets {
    let mut meets = Meets::No;
    for expected in expected {
        match is_expected(expected, said) {
            Meets::Yes => return Meets::Yes,
            Meets::No => {}
            other => meets = other,
        }
    }
    meets
}

fn is_expected(expected: &Expected, said: Stated<'_>) -> Meets {
    let number = |text: &str, number: f64| {
        let is = text.parse().is_ok_and(|found: f64| found == number);
        Some(is).into()
    };
    let known = |meets: Option<bool>| {
        meets.map_or(Meets::Doubtful(BadBody::LongValue), |it| Some(it).into())
    };
    match (expected, said) {
        (Expected::Text(pattern), Stated::Value(Value::Text(text))) => is_meant(pattern, text),
        (Expected::Text(pattern), Stated::Field(text)) => is_meant(pattern, text),
        (Expected::Text(pattern), Stated::Value(Value::LongText(begins))) => {
            let whole = pattern.matches_beginning(begins);
            match uncontrolled(begins) {
                Some(cut) if whole != Some(pattern.matches(cut)) => {
                    Meets::Doubtful(BadBody::Control)
                }
                _ => known(whole),
            }
        }
        (Expected::Text(pattern), Stated::LongField) => known(match pattern {
            Pattern::Any => Some(true),
            Pattern::Exact(text) if text.len() <= LONGEST_VALUE => Some(false),
            _ => None,
        }),
        (Expected::Number(expected), Stated::Value(Value::Number(text))) => number(text, *expected),
        (Expected::Number(expected), Stated::Field(text)) => number(text, *expected),
        (Expected::Number(_), Stated::Value(Value::LongNumber) | Stated::LongField) => known(None),
        (Expected::Bool(flag), Stated::Value(Value::Bool(found))) => Some(*flag == *found).into(),
        (Expected::Bool(flag), Stated::Field(text)) => Some(text == flag.to_string()).into(),
        _ => Meets::No,
    }
}

/// Whether a text is meant, by all readers: also by those for whom it ends at a control character, and those who strip such.
fn is_meant(pattern: &Pattern, text: &str) -> Meets {
    let whole = pattern.matches(text.as_bytes());
    let Some(cut) = uncontrolled(text.as_bytes()) else {
        return Some(whole).into();
    };
    let stripped = text.trim_matches(char::is_control);
    if whole == pattern.matches(cut) && whole == pattern.matches(stripped.as_bytes()) {
        Some(whole).into()
    } else {
        Meets::Doubtful(BadBody::Control)
    }
}

/// What stands before the first control character, if there is one.
fn uncontrolled(text: &[u8]) -> Option<&[u8]> {
    let at = text.iter().position(u8::is_ascii_control)?;
    text.get(..at)
}
