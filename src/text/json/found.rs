//! What is known of what is looked for.

use super::LONGEST_VALUE;
use super::broken::Stop;
use super::reader::Scalar;
use super::strings::Kept;

/// What is known of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// It may still come.
    Unknown,
    /// The object or array in which it could stand has ended without it, or is something else.
    Absent,
    /// It is there.
    Found(Found),
}

/// A member that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub value: Value,
    /// How many bytes stand before it.
    pub start: u64,
    /// How many bytes stand before what follows it: `start..end` is the value as it is written, with its quotes. `None`: an array
    /// or object that has not ended.
    pub end: Option<u64>,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it is written.
    Number(Box<str>),
    /// A text, without its escapes.
    Text(Box<str>),
    /// A text that is longer than [`LONGEST_VALUE`], and begins so. The last character may be cut.
    LongText(Box<[u8]>),
    /// A number that is longer than [`LONGEST_VALUE`].
    LongNumber,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// What is known of a member that may stand anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anywhere {
    /// It may still come.
    Unknown,
    /// The text has ended without it.
    Absent,
    /// It is there.
    Seen,
}

/// A value that is wanted.
pub(super) fn value(scalar: Scalar<'_>) -> Result<Value, Stop> {
    Ok(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Bool(value) => Value::Bool(value),
        Scalar::Number(number) => text(number)?.map_or(Value::LongNumber, Value::Number),
        Scalar::Text(kept) => match (text(kept)?, kept) {
            (Some(text), _) => Value::Text(text),
            (None, Kept::All(begins) | Kept::TooLong(begins)) => {
                Value::LongText(begins.get(..LONGEST_VALUE).unwrap_or(begins).into())
            }
            (None, _) => Value::LongText(Box::default()),
        },
    })
}

/// `None`: it is too long.
fn text(kept: Kept<'_>) -> Result<Option<Box<str>>, Stop> {
    match kept {
        Kept::All(bytes) if bytes.len() <= LONGEST_VALUE => match str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text.into())),
            Err(_) => Err(Stop::NotUtf8),
        },
        Kept::All(_) | Kept::TooLong(_) | Kept::Nothing => Ok(None),
        Kept::LoneSurrogate => Err(Stop::LoneSurrogate),
    }
}
