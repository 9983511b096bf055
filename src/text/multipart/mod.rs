//! Finds fields of a form (`multipart/form-data`, RFC 7578) while it arrives, in pieces that end anywhere, and holds no more of it
//! than what is looked for and the headers of one part.
//!
//! As with [`json`](super::json), what an agent reads after us must be what is found here. So a form is broken where readers are
//! known to differ: line ends, what stands before and behind the parts, names with escapes, fields that come twice.
//!
//! | file | what it says |
//! |---|---|
//! | `boundary.rs` | which boundary a `content-type` names |
//! | `headers.rs` | what the headers of a part say of it |
//! | `parameters.rs` | how the parameters of a header's value are written |
//! | `needle.rs` | how a delimiter is found that pieces cut |
//! | `broken.rs` | why a form is not read on, in words |

mod boundary;
mod broken;
mod headers;
mod needle;
mod parameters;

pub use boundary::{BadBoundary, Boundary};
pub use broken::{Broken, Fault};

use std::error::Error;
use std::fmt;
use std::rc::Rc;

use crate::text::case;
use headers::Part;
use needle::Needle;

/// How many bytes are kept of a field's value.
pub const LONGEST_VALUE: usize = 1024;

/// How many bytes the headers of one part may have.
pub const LONGEST_HEADERS: usize = 8192;

/// Which fields are looked for. Made once, and used for many forms.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    names: Vec<Name>,
}

#[derive(Debug, Clone)]
struct Name {
    written: Box<str>,
    folded: Box<str>,
    /// The same, as some readers take it.
    readings: [Box<str>; 2],
}

/// A field that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FieldId(usize);

/// A name that is not looked for: it is empty, holds what is written in several ways (`"`, `\`, `%`, a control character, a space at
/// an end), or differs in the case of letters alone from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadName;

impl Error for BadName {}

impl fmt::Display for BadName {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str(
            "a field's name is not empty, has no quotes, backslashes, % or control characters and no blanks around it, and \
             differs from others in more than the case of letters",
        )
    }
}

impl Fields {
    /// Looks for a field. The same name again is the same field.
    ///
    /// # Errors
    /// When readers would not agree on its name.
    pub fn field(&mut self, name: &str) -> Result<FieldId, BadName> {
        let is_vague =
            |character: char| character.is_control() || ['"', '\'', '\\', '%'].contains(&character);
        if name.is_empty() || name.trim() != name || name.contains(is_vague) {
            return Err(BadName);
        }
        let folded: String = case::folded(name).collect();
        if let Some(at) = self.names.iter().position(|known| *known.folded == *folded) {
            let known = self.names.get(at);
            let is_same = known.is_some_and(|known| *known.written == *name);
            return if is_same {
                Ok(FieldId(at))
            } else {
                Err(BadName)
            };
        }
        self.names.push(Name {
            written: name.into(),
            readings: headers::readings(&folded),
            folded: folded.into(),
        });
        Ok(FieldId(self.names.len() - 1))
    }
}

/// What is known of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// It may still come.
    Unknown,
    /// The form has ended without it.
    Absent,
    /// It is there.
    Found(Found),
}

/// A field that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its text. `None`: it is longer than [`LONGEST_VALUE`].
    pub value: Option<Box<str>>,
    /// How many bytes stand before the value.
    pub start: u64,
    /// How many bytes stand before what follows the value.
    pub end: u64,
}

/// One form under way.
#[derive(Debug, Clone)]
pub struct Form {
    fields: Rc<Fields>,
    found: Vec<Field>,
    has_come: Vec<bool>,
    state: State,
    offset: u64,
    /// A delimiter without the line end before it: it stands nowhere else.
    dashes: Needle,
    /// A delimiter in a part.
    delimiter: Needle,
    /// Headers of a part, or the value of a field with the beginning of a delimiter.
    kept: Vec<u8>,
    broken: Option<Broken>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first delimiter.
    Preamble,
    /// In the line end of an empty line before it.
    PreambleEnd,
    /// In the first delimiter.
    First,
    /// Behind a delimiter.
    Behind,
    /// Behind a delimiter and a carriage return.
    LineEnd,
    /// Behind a delimiter and one `-`.
    Dash,
    Headers,
    /// In a part: which field it is, and where it begins.
    Value(Option<usize>, u64),
    /// Behind the last delimiter.
    Epilogue,
}

impl Form {
    /// A form of which nothing has come yet.
    #[must_use]
    pub fn new(fields: Rc<Fields>, boundary: &Boundary) -> Self {
        let dashes = [b"--", boundary.as_bytes()].concat();
        let delimiter = [b"\r\n", &*dashes].concat();
        Self {
            found: vec![Field::Unknown; fields.names.len()],
            has_come: vec![false; fields.names.len()],
            fields,
            state: State::Preamble,
            offset: 0,
            dashes: Needle::new(dashes),
            delimiter: Needle::new(delimiter),
            kept: Vec::new(),
            broken: None,
        }
    }

    /// The next bytes, split off anywhere.
    ///
    /// # Errors
    /// When it is no form, or readers may differ on what is looked for. It stays broken then.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), Broken> {
        self.is_sound()?;
        let mut rest = piece;
        let end = self.offset + piece.len() as u64;
        let read = self.read(&mut rest, end);
        self.offset = end - rest.len() as u64;
        read.map_err(|fault| self.breaks(fault))
    }

    /// No more comes.
    ///
    /// # Errors
    /// When the form is not whole, or was broken before.
    pub fn end(&mut self) -> Result<(), Broken> {
        self.is_sound()?;
        if self.state == State::Epilogue {
            return Ok(());
        }
        Err(self.breaks(Fault::Truncated))
    }

    /// What is known of a field. [`Field::Unknown`] also for an id of other fields.
    #[must_use]
    pub fn field(&self, id: FieldId) -> &Field {
        self.found.get(id.0).unwrap_or(&Field::Unknown)
    }

    /// Whether all that is looked for is known. What comes then may still break the form, by the same name a second time.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        !self.found.contains(&Field::Unknown)
    }

    /// How many bytes have been read. After a fault: how many stand before it.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn is_sound(&self) -> Result<(), Broken> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn breaks(&mut self, fault: Fault) -> Broken {
        let offset = self.offset;
        self.broken.insert(Broken { offset, fault }).clone()
    }

    fn read(&mut self, rest: &mut &[u8], end: u64) -> Result<(), Fault> {
        while let [byte, behind @ ..] = *rest {
            match self.state {
                State::Headers => self.headers(*byte, end - behind.len() as u64)?,
                State::Value(field, start) => {
                    self.value(rest, end, field, start)?;
                    continue;
                }
                _ => self.between(*byte)?,
            }
            *rest = behind;
        }
        Ok(())
    }

    /// A byte outside of the parts.
    fn between(&mut self, byte: u8) -> Result<(), Fault> {
        self.state = match (self.state, byte) {
            (State::Preamble, b'\r') => State::PreambleEnd,
            (State::PreambleEnd, b'\n') => State::Preamble,
            (State::Preamble | State::First, _) => {
                if self.dashes.next() != Some(byte) {
                    return Err(Fault::Preamble);
                }
                if self.dashes.read(byte) {
                    State::Behind
                } else {
                    State::First
                }
            }
            (State::Behind, b'\r') => State::LineEnd,
            (State::LineEnd, b'\n') => State::Headers,
            (State::Behind, b'-') => State::Dash,
            (State::Dash, b'-') => {
                for field in &mut self.found {
                    if *field == Field::Unknown {
                        *field = Field::Absent;
                    }
                }
                State::Epilogue
            }
            (State::Epilogue, b'\r' | b'\n' | b' ' | b'\t') => State::Epilogue,
            (State::Epilogue, _) => return Err(Fault::Epilogue),
            (State::PreambleEnd, _) => return Err(Fault::Preamble),
            _ => return Err(Fault::Delimiter),
        };
        Ok(())
    }

    /// A byte of a part's headers, and how many bytes stand before what follows it.
    fn headers(&mut self, byte: u8, end: u64) -> Result<(), Fault> {
        if self.kept.len() == LONGEST_HEADERS {
            return Err(Fault::LongHeaders);
        }
        if (byte == b'\n') != (self.kept.last() == Some(&b'\r')) {
            return Err(Fault::LineEnd);
        }
        self.kept.push(byte);
        if self.kept != b"\r\n" && !self.kept.ends_with(b"\r\n\r\n") {
            return Ok(());
        }
        let part = Part::read(&self.kept)?;
        let field = self.wanted(&part)?;
        self.kept.clear();
        self.dashes.restart();
        self.delimiter.restart();
        self.state = State::Value(field, end);
        Ok(())
    }

    /// Which field a part is, of those that are looked for.
    fn wanted(&mut self, part: &Part) -> Result<Option<usize>, Fault> {
        let names = &self.fields.names;
        let is_it = |name: &Name| part.name == name.written.as_bytes();
        let is_one = names.iter().any(is_it);
        for ((name, has_come), at) in names.iter().zip(&mut self.has_come).zip(0..) {
            let written = &name.written;
            if is_it(name) {
                if std::mem::replace(has_come, true) {
                    return Err(Fault::Twice(written.clone()));
                }
                if !part.is_plain {
                    return Err(Fault::Encoded(written.clone()));
                }
                return Ok(Some(at));
            }
            if !is_one && part.may_be(&name.readings) {
                return Err(Fault::Respelt(written.clone()));
            }
        }
        Ok(None)
    }

    /// More of a part, up to the delimiter behind it.
    fn value(
        &mut self,
        rest: &mut &[u8],
        end: u64,
        field: Option<usize>,
        start: u64,
    ) -> Result<(), Fault> {
        let before = *rest;
        let mut is_end = false;
        while let [byte, behind @ ..] = *rest {
            if self.dashes.is_idle() && self.delimiter.is_idle() {
                let idle = needle::idle(rest);
                if idle > 0 {
                    *rest = rest.get(idle..).unwrap_or_default();
                    continue;
                }
            }
            is_end = self.delimiter.read(*byte);
            if self.dashes.read(*byte) != is_end {
                return Err(Fault::Delimiter);
            }
            *rest = behind;
            if is_end {
                break;
            }
        }
        if field.is_some() {
            let most = LONGEST_VALUE + self.delimiter.len() + 1;
            let read = before.iter().take(before.len() - rest.len());
            self.kept
                .extend(read.take(most - self.kept.len().min(most)));
        }
        if is_end {
            self.state = State::Behind;
            let end = end - rest.len() as u64 - self.delimiter.len() as u64;
            self.found(field, start, end)?;
        }
        Ok(())
    }

    /// A part has ended.
    fn found(&mut self, field: Option<usize>, start: u64, end: u64) -> Result<(), Fault> {
        let Some(field) = field else {
            return Ok(());
        };
        let length = usize::try_from(end - start).unwrap_or(usize::MAX);
        let value = match self.kept.get(..length) {
            Some(value) if length <= LONGEST_VALUE => {
                Some(str::from_utf8(value).map_err(|_| Fault::NotUtf8)?.into())
            }
            _ => None,
        };
        self.kept.clear();
        if let Some(known) = self.found.get_mut(field) {
            *known = Field::Found(Found { value, start, end });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
