//! The grammar (RFC 8259): what may come next. It tells a [`Sink`] what it reads, and knows nothing of what is looked for.

use std::ops::Range;

use super::DEEPEST;
use super::broken::{Broken, Fault};
use super::numbers::Number;
use super::strings::{Keeper, Kept, Text};

/// Hears what is read, in its order.
pub(super) trait Sink {
    /// How many bytes are wanted of the name that begins; none: it is skipped.
    fn most_of_name(&self) -> usize;
    /// The name of the value that comes next.
    fn name(&mut self, name: Kept<'_>) -> Result<(), Fault>;
    /// An item of the array that is open comes next.
    fn item(&mut self);
    /// How many bytes are wanted of the text or number that begins; none: it is skipped.
    fn most_of_value(&self) -> usize;
    /// A value that is neither array nor object, and where it stands.
    fn scalar(&mut self, scalar: Scalar<'_>, range: Range<u64>) -> Result<(), Fault>;
    /// An array or object begins.
    fn open(&mut self, kind: Kind, start: u64) -> Result<(), Fault>;
    /// The array or object ends that was opened last.
    fn close(&mut self, end: u64);
}

/// A value that holds no others.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Number(Kept<'a>),
    Text(Kept<'a>),
}

/// A value that holds others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Array,
    Object,
}

/// What is left of a piece, and where that ends in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) rest: &'a [u8],
    end: u64,
}

impl<'a> Piece<'a> {
    fn offset(&self) -> u64 {
        self.end - self.rest.len() as u64
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or_default();
        self.rest = rest;
        taken
    }

    #[inline]
    fn skip_blanks(&mut self) {
        while let [b' ' | b'\n' | b'\r' | b'\t', behind @ ..] = self.rest {
            self.rest = behind;
        }
    }
}

/// Reads one text.
#[derive(Debug, Default, Clone)]
pub(super) struct Reader {
    offset: u64,
    next: Next,
    depth: usize,
    /// One bit for each array or object that is open, the innermost lowest: set for an object.
    objects: u128,
    text: Text,
    keeper: Keeper,
    /// Where the value begins that is under way.
    start: u64,
}

/// What comes next.
#[derive(Debug, Default, Clone, Copy)]
enum Next {
    /// The object that is the text.
    #[default]
    Start,
    /// The first name of an object, or its end.
    FirstName,
    /// A name.
    Name,
    Colon,
    /// The first item of an array, or its end.
    FirstItem,
    Value,
    /// What stands behind a value.
    Behind,
    /// More of a name.
    InName,
    /// More of a text.
    InText,
    /// More of a number.
    InNumber(Number),
    /// The rest of a word.
    InWord(&'static [u8], Word),
}

#[derive(Debug, Clone, Copy)]
enum Word {
    Null,
    True,
    False,
}

impl Reader {
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn feed(&mut self, piece: &[u8], sink: &mut impl Sink) -> Result<(), Broken> {
        let mut piece = Piece {
            rest: piece,
            end: self.offset + piece.len() as u64,
        };
        let read = self.read(&mut piece, sink);
        self.offset = piece.offset();
        read.map_err(|fault| self.broken(fault))
    }

    pub(super) fn end(&self) -> Result<(), Broken> {
        if self.depth == 0 && matches!(self.next, Next::Behind) {
            return Ok(());
        }
        Err(self.broken(Fault::Truncated))
    }

    fn broken(&self, fault: Fault) -> Broken {
        Broken {
            offset: self.offset,
            fault,
        }
    }

    fn read(&mut self, piece: &mut Piece<'_>, sink: &mut impl Sink) -> Result<(), Fault> {
        while !piece.rest.is_empty() {
            match self.next {
                Next::InName => self.in_name(piece, sink)?,
                Next::InText => self.in_text(piece, sink)?,
                Next::InNumber(number) => self.in_number(number, piece, sink)?,
                Next::InWord(rest, word) => self.in_word(rest, word, piece, sink)?,
                _ => self.between(piece, sink)?,
            }
        }
        Ok(())
    }

    /// Reads one byte that is no part of a value, or the first of one.
    #[inline]
    fn between(&mut self, piece: &mut Piece<'_>, sink: &mut impl Sink) -> Result<(), Fault> {
        piece.skip_blanks();
        let at = piece.offset();
        let [byte, behind @ ..] = piece.rest else {
            return Ok(());
        };
        match (self.next, *byte) {
            (Next::FirstName | Next::Name, b'"') => {
                self.keeper.begin(sink.most_of_name());
                self.text.begin();
                self.next = Next::InName;
            }
            (Next::Colon, b':') => self.next = Next::Value,
            (Next::Behind, b',') if self.depth > 0 => {
                if self.is_in_object() {
                    self.next = Next::Name;
                } else {
                    sink.item();
                    self.next = Next::Value;
                }
            }
            (Next::FirstName | Next::Behind, b'}') if self.depth > 0 && self.is_in_object() => {
                self.close(at + 1, sink);
            }
            (Next::FirstItem | Next::Behind, b']') if self.depth > 0 && !self.is_in_object() => {
                self.close(at + 1, sink);
            }
            (Next::Value, byte) => self.value(byte, at, sink)?,
            (Next::FirstItem, byte) => {
                sink.item();
                self.value(byte, at, sink)?;
            }
            (Next::Start, b'{') => self.open(Kind::Object, at, sink)?,
            (Next::Start, b'[' | b'"' | b'-' | b'0'..=b'9' | b'n' | b't' | b'f') => {
                return Err(Fault::NotAnObject(Box::default()));
            }
            _ => return Err(Fault::NotJson),
        }
        piece.rest = behind;
        Ok(())
    }

    /// The first byte of a value.
    #[inline]
    fn value(&mut self, byte: u8, at: u64, sink: &mut impl Sink) -> Result<(), Fault> {
        self.start = at;
        match byte {
            b'"' => {
                self.keeper.begin(sink.most_of_value());
                self.text.begin();
                self.next = Next::InText;
            }
            b'{' => return self.open(Kind::Object, at, sink),
            b'[' => return self.open(Kind::Array, at, sink),
            b'n' => self.next = Next::InWord(b"ull", Word::Null),
            b't' => self.next = Next::InWord(b"rue", Word::True),
            b'f' => self.next = Next::InWord(b"alse", Word::False),
            _ => {
                let number = Number::begin(byte).ok_or(Fault::NotJson)?;
                self.keeper.begin(sink.most_of_value());
                self.keeper.keep(&[byte]);
                self.next = Next::InNumber(number);
            }
        }
        Ok(())
    }

    fn is_in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    fn open(&mut self, kind: Kind, start: u64, sink: &mut impl Sink) -> Result<(), Fault> {
        if self.depth == DEEPEST {
            return Err(Fault::TooDeep);
        }
        sink.open(kind, start)?;
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(kind == Kind::Object);
        self.next = match kind {
            Kind::Array => Next::FirstItem,
            Kind::Object => Next::FirstName,
        };
        Ok(())
    }

    fn close(&mut self, end: u64, sink: &mut impl Sink) {
        sink.close(end);
        self.depth -= 1;
        self.objects >>= 1;
        self.next = Next::Behind;
    }

    #[inline]
    fn in_name(&mut self, piece: &mut Piece<'_>, sink: &mut impl Sink) -> Result<(), Fault> {
        if let Some(name) = self.text.read(piece, &mut self.keeper)? {
            self.next = Next::Colon;
            sink.name(name)?;
        }
        Ok(())
    }

    #[inline]
    fn in_text(&mut self, piece: &mut Piece<'_>, sink: &mut impl Sink) -> Result<(), Fault> {
        if let Some(text) = self.text.read(piece, &mut self.keeper)? {
            self.next = Next::Behind;
            sink.scalar(Scalar::Text(text), self.start..piece.offset())?;
        }
        Ok(())
    }

    fn in_number(
        &mut self,
        mut number: Number,
        piece: &mut Piece<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), Fault> {
        let mut length = 0;
        for byte in piece.rest {
            let Some(next) = number.next(*byte) else {
                break;
            };
            number = next;
            length += 1;
        }
        let run = piece.take(length);
        if piece.rest.is_empty() {
            self.keeper.keep(run);
            self.next = Next::InNumber(number);
            return Ok(());
        }
        if !number.is_whole() {
            return Err(Fault::NotJson);
        }
        self.next = Next::Behind;
        let kept = self.keeper.end(run);
        sink.scalar(Scalar::Number(kept), self.start..piece.offset())
    }

    fn in_word(
        &mut self,
        mut rest: &'static [u8],
        word: Word,
        piece: &mut Piece<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), Fault> {
        while let [wanted, behind @ ..] = rest {
            let Some(byte) = piece.rest.first() else {
                self.next = Next::InWord(rest, word);
                return Ok(());
            };
            if byte != wanted {
                return Err(Fault::NotJson);
            }
            piece.take(1);
            rest = behind;
        }
        self.next = Next::Behind;
        let scalar = match word {
            Word::Null => Scalar::Null,
            Word::True => Scalar::Bool(true),
            Word::False => Scalar::Bool(false),
        };
        sink.scalar(scalar, self.start..piece.offset())
    }
}
