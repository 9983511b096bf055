//! The grammar (RFC 8259): what may come next. It tells a [`Sink`] what it reads, and knows nothing of what is looked for.

use std::ops::Range;

use super::DEEPEST;
use super::broken::Stop;
use super::numbers::Number;
use super::strings::{Keeper, Kept, Text, plain_text};

/// Hears what is read, in its order.
pub(super) trait Sink {
    /// Whether the text may be an array.
    fn may_be_list(&self) -> bool;
    /// How many bytes are wanted of the name that begins; none: it is skipped.
    fn most_of_name(&self) -> usize;
    /// The name of the value that comes next.
    fn name(&mut self, name: Kept<'_>) -> Result<(), Stop>;
    /// An item of the array that is open comes next.
    fn item(&mut self) -> Result<(), Stop>;
    /// How many bytes are wanted of the text or number that begins; none: it is skipped.
    fn most_of_value(&self) -> usize;
    /// A value that is neither array nor object, and where it stands.
    fn scalar(&mut self, scalar: Scalar<'_>, range: Range<u64>) -> Result<(), Stop>;
    /// An array or object begins.
    fn open(&mut self, kind: Kind, start: u64) -> Result<(), Stop>;
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
    #[cfg(test)]
    pub(super) fn of(rest: &'a [u8]) -> Self {
        let end = rest.len() as u64;
        Self { rest, end }
    }

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
    number: Number,
    /// The rest of a word.
    word: (&'static [u8], Word),
    /// Where the value begins that is under way.
    start: u64,
}

/// What comes next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The object that is the text, or the list of them.
    #[default]
    Start,
    /// The first name of an object, or its end.
    FirstName,
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
    InNumber,
    /// More of a word.
    InWord,
}

#[derive(Debug, Default, Clone, Copy)]
enum Word {
    #[default]
    Null,
    True,
    False,
}

impl Reader {
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn feed(&mut self, piece: &[u8], sink: &mut impl Sink) -> Result<(), Stop> {
        let mut piece = Piece {
            rest: piece,
            end: self.offset + piece.len() as u64,
        };
        let read = self.read(&mut piece, sink);
        self.offset = piece.offset();
        read
    }

    /// Where the text begins that is under way.
    pub(super) fn text_under_way(&self) -> Option<u64> {
        (self.next == Next::InText).then_some(self.start)
    }

    /// Whether the text is whole.
    pub(super) fn is_whole(&self) -> bool {
        self.depth == 0 && self.next == Next::Behind
    }

    fn read(&mut self, piece: &mut Piece<'_>, sink: &mut impl Sink) -> Result<(), Stop> {
        loop {
            match self.next {
                Next::InName => self.in_name(piece, sink)?,
                Next::InText => self.in_text(piece, sink)?,
                Next::InNumber => self.in_number(piece, sink)?,
                Next::InWord => self.in_word(piece, sink)?,
                _ => {}
            }
            piece.skip_blanks();
            let [byte, behind @ ..] = piece.rest else {
                return Ok(());
            };
            match self.next {
                Next::Behind if *byte == b',' && self.depth > 0 => {
                    piece.rest = behind;
                    if self.is_in_object() {
                        self.next = Next::Name;
                    } else {
                        self.next = Next::Value;
                        sink.item()?;
                    }
                }
                Next::Name | Next::FirstName if *byte == b'"' => {
                    piece.rest = behind;
                    self.name(piece, sink)?;
                }
                Next::Colon if *byte == b':' => {
                    piece.rest = behind;
                    self.next = Next::Value;
                }
                Next::Value => self.value(*byte, piece, sink)?,
                Next::Behind | Next::FirstName if *byte == b'}' && self.is_in_object() => {
                    piece.rest = behind;
                    self.close(piece, sink);
                }
                Next::Behind | Next::FirstItem
                    if *byte == b']' && self.depth > 0 && !self.is_in_object() =>
                {
                    piece.rest = behind;
                    self.close(piece, sink);
                }
                Next::FirstItem => {
                    sink.item()?;
                    self.value(*byte, piece, sink)?;
                }
                Next::Start => match *byte {
                    b'{' => self.open(Kind::Object, piece, sink)?,
                    b'[' if sink.may_be_list() => self.open(Kind::Array, piece, sink)?,
                    b'[' | b'"' | b'-' | b'0'..=b'9' | b'n' | b't' | b'f' => {
                        return Err(Stop::NotAnObject(0));
                    }
                    _ => return Err(Stop::NotJson),
                },
                _ => return Err(Stop::NotJson),
            }
        }
    }

    /// What stands behind the first quote of a name.
    #[inline(always)]
    fn name(&mut self, piece: &mut Piece<'_>, sink: &mut impl Sink) -> Result<(), Stop> {
        let most = sink.most_of_name();
        if let Some(name) = plain_text(piece, most) {
            sink.name(name)?;
            // Mostly it follows at once.
            self.next = match piece.rest {
                [b':', behind @ ..] => {
                    piece.rest = behind;
                    Next::Value
                }
                _ => Next::Colon,
            };
            return Ok(());
        }
        self.keeper.begin(most);
        self.next = Next::InName;
        Ok(())
    }

    /// A value that begins with this byte, the next of the piece.
    #[inline(always)]
    fn value(&mut self, byte: u8, piece: &mut Piece<'_>, sink: &mut impl Sink) -> Result<(), Stop> {
        self.start = piece.offset();
        match byte {
            b'"' => {
                piece.take(1);
                let most = sink.most_of_value();
                if let Some(text) = plain_text(piece, most) {
                    self.next = Next::Behind;
                    return sink.scalar(Scalar::Text(text), self.start..piece.offset());
                }
                self.keeper.begin(most);
                self.next = Next::InText;
            }
            b'{' => return self.open(Kind::Object, piece, sink),
            b'[' => return self.open(Kind::Array, piece, sink),
            b'n' => return self.word(b"null", Word::Null, piece, sink),
            b't' => return self.word(b"true", Word::True, piece, sink),
            b'f' => return self.word(b"false", Word::False, piece, sink),
            _ => {
                let most = sink.most_of_value();
                let first = Number::begin(byte).ok_or(Stop::NotJson)?;
                let (length, number) = first.read(piece.rest.get(1..).unwrap_or_default());
                if most == 0 && length + 1 < piece.rest.len() && number.is_whole() {
                    piece.take(length + 1);
                    self.next = Next::Behind;
                    let range = self.start..piece.offset();
                    return sink.scalar(Scalar::Number(Kept::Nothing), range);
                }
                self.number = first;
                self.keeper.begin(most);
                self.keeper.keep(piece.take(1));
                self.next = Next::InNumber;
            }
        }
        Ok(())
    }

    fn is_in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    #[inline]
    fn open(
        &mut self,
        kind: Kind,
        piece: &mut Piece<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), Stop> {
        if self.depth == DEEPEST {
            return Err(Stop::TooDeep);
        }
        sink.open(kind, piece.offset())?;
        piece.take(1);
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(kind == Kind::Object);
        self.next = match kind {
            Kind::Array => Next::FirstItem,
            Kind::Object => Next::FirstName,
        };
        Ok(())
    }

    #[inline]
    fn close(&mut self, piece: &Piece<'_>, sink: &mut impl Sink) {
        sink.close(piece.offset());
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
        self.next = Next::Behind;
    }

    fn in_name(&mut self, piece: &mut Piece<'_>, sink: &mut impl Sink) -> Result<(), Stop> {
        if let Some(name) = self.text.read(piece, &mut self.keeper)? {
            self.next = Next::Colon;
            sink.name(name)?;
        }
        Ok(())
    }

    fn in_text(&mut self, piece: &mut Piece<'_>, sink: &mut impl Sink) -> Result<(), Stop> {
        if let Some(text) = self.text.read(piece, &mut self.keeper)? {
            self.next = Next::Behind;
            sink.scalar(Scalar::Text(text), self.start..piece.offset())?;
        }
        Ok(())
    }

    #[inline(always)]
    fn in_number(&mut self, piece: &mut Piece<'_>, sink: &mut impl Sink) -> Result<(), Stop> {
        let (length, number) = self.number.read(piece.rest);
        let run = piece.take(length);
        if piece.rest.is_empty() {
            self.keeper.keep(run);
            self.number = number;
            self.next = Next::InNumber;
            return Ok(());
        }
        if !number.is_whole() {
            return Err(Stop::NotJson);
        }
        self.next = Next::Behind;
        let kept = self.keeper.end(run);
        sink.scalar(Scalar::Number(kept), self.start..piece.offset())
    }

    #[inline]
    fn word(
        &mut self,
        letters: &'static [u8],
        word: Word,
        piece: &mut Piece<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), Stop> {
        if let Some(behind) = piece.rest.strip_prefix(letters) {
            piece.rest = behind;
            return self.is_word(word, piece, sink);
        }
        self.word = (letters, word);
        self.next = Next::InWord;
        Ok(())
    }

    fn in_word(&mut self, piece: &mut Piece<'_>, sink: &mut impl Sink) -> Result<(), Stop> {
        let (mut letters, word) = self.word;
        while let [wanted, behind @ ..] = letters {
            let Some(byte) = piece.rest.first() else {
                self.word = (letters, word);
                return Ok(());
            };
            if byte != wanted {
                return Err(Stop::NotJson);
            }
            piece.take(1);
            letters = behind;
        }
        self.is_word(word, piece, sink)
    }

    #[inline]
    fn is_word(&mut self, word: Word, piece: &Piece<'_>, sink: &mut impl Sink) -> Result<(), Stop> {
        self.next = Next::Behind;
        let scalar = match word {
            Word::Null => Scalar::Null,
            Word::True => Scalar::Bool(true),
            Word::False => Scalar::Bool(false),
        };
        sink.scalar(scalar, self.start..piece.offset())
    }
}
