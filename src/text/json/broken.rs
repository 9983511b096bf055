//! Why a text is not read on.

use std::error::Error;
use std::fmt;

use super::DEEPEST;

/// A text that is not read on, and where. Its words hold nothing of the text: they name what was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// How many bytes stand before the one at which it showed.
    pub offset: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a text. Pointers are those of what is looked for, or of what that lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A byte that the grammar does not have there.
    NotJson,
    /// Not UTF-8.
    NotUtf8,
    /// Half a surrogate pair, where something is looked for.
    LoneSurrogate,
    /// More than [`DEEPEST`] arrays and objects in one another.
    TooDeep,
    /// More objects in a list than may be.
    TooMany,
    /// Something else where only an object can be: the text itself (an empty pointer), or an array in which a name is looked for.
    NotAnObject(Box<str>),
    /// A value that is no object where something is to be set in one.
    NoObject(Box<str>),
    /// The same name a second time: some readers take the first, some the last.
    Twice(Box<str>),
    /// A name that some readers take for the one that is looked for: those who ignore case, and those for whom it ends at a NUL.
    Respelt(Box<str>),
    /// It ends too early.
    Truncated,
}

impl Error for Broken {}

impl fmt::Display for Broken {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.offset;
        match &self.fault {
            Fault::NotJson => write!(text, "the JSON is malformed at byte {at}"),
            Fault::NotUtf8 => write!(text, "the JSON is not UTF-8 at byte {at}"),
            Fault::LoneSurrogate => {
                write!(text, "the JSON has half a surrogate pair before byte {at}")
            }
            Fault::TooDeep => write!(
                text,
                "the JSON has more than {DEEPEST} arrays and objects in one another at byte {at}"
            ),
            Fault::TooMany => write!(text, "the JSON is a list of too many objects at byte {at}"),
            Fault::NotAnObject(pointer) if pointer.is_empty() => {
                write!(text, "the JSON is not an object")
            }
            Fault::NotAnObject(pointer) => {
                write!(text, "the JSON has an array at {pointer}, not an object")
            }
            Fault::NoObject(pointer) => {
                write!(
                    text,
                    "the JSON has something else than an object at {pointer}"
                )
            }
            Fault::Twice(pointer) => {
                write!(text, "the JSON has {pointer} twice, again before byte {at}")
            }
            Fault::Respelt(pointer) => write!(
                text,
                "the JSON has a name before byte {at} that some readers take for {pointer}"
            ),
            Fault::Truncated => write!(text, "the JSON ends too early, after {at} bytes"),
        }
    }
}

/// What is wrong, as it is handed on from byte to byte; with the node of the search that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    NotJson,
    NotUtf8,
    LoneSurrogate,
    TooDeep,
    TooMany,
    NotAnObject(usize),
    Twice(usize),
    Respelt(usize),
    RespeltAnywhere(usize),
}
