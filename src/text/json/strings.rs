//! The inside of a string: plain text, escapes, surrogate pairs, UTF-8.

use std::str;

use super::broken::Stop;
use super::reader::Piece;

/// What was kept of a name, text or number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept<'a> {
    /// Nobody wanted it.
    Nothing,
    /// It is longer than what may be kept, and begins so.
    TooLong(&'a [u8]),
    /// It has half a surrogate pair, so that it is no Unicode.
    LoneSurrogate,
    /// It, without its escapes.
    All(&'a [u8]),
}

/// What is kept of what is under way.
#[derive(Debug, Default, Clone)]
pub(super) struct Keeper {
    bytes: Vec<u8>,
    most: usize,
    is_longer: bool,
}

impl Keeper {
    /// Something new, of which so many bytes may be kept; none: nobody wants it.
    #[inline]
    pub(super) fn begin(&mut self, most: usize) {
        self.most = most;
        self.is_longer = false;
        self.bytes.clear();
    }

    #[inline]
    fn wants(&self) -> bool {
        self.most > 0
    }

    #[inline]
    pub(super) fn keep(&mut self, more: &[u8]) {
        if self.wants() {
            let room = self.most - self.bytes.len();
            self.is_longer |= more.len() > room;
            let kept = more.get(..room).unwrap_or(more);
            self.bytes.extend_from_slice(kept);
        }
    }

    /// What was kept, with `last`.
    #[inline]
    pub(super) fn end<'a>(&'a mut self, last: &'a [u8]) -> Kept<'a> {
        if !self.wants() {
            return Kept::Nothing;
        }
        // Most lie in one piece, and need not be copied.
        if self.bytes.is_empty() && !self.is_longer && last.len() <= self.most {
            return Kept::All(last);
        }
        self.keep(last);
        if self.is_longer {
            Kept::TooLong(&self.bytes)
        } else {
            Kept::All(&self.bytes)
        }
    }
}

/// A string behind its first quote, if it has no escapes, is ASCII and ends in this piece, as most do. Otherwise the piece is as
/// it was.
#[inline]
pub(super) fn plain_text<'a>(piece: &mut Piece<'a>, most: usize) -> Option<Kept<'a>> {
    let (word, _) = piece.rest.split_first_chunk::<8>()?;
    let word = u64::from_le_bytes(*word);
    let special = special(word);
    // Up to the first of them.
    let before = special ^ special.wrapping_sub(1);
    let length = if special != 0 && word & before & HIGHS == 0 {
        special.trailing_zeros() as usize / 8
    } else {
        let near = piece.rest.get(..NEAR).unwrap_or(piece.rest);
        let (length, is_ascii) = plain(near);
        if !is_ascii {
            return None;
        }
        length
    };
    if piece.rest.get(length) != Some(&b'"') {
        return None;
    }
    let text = piece.take(length);
    piece.take(1);
    Some(match most {
        0 => Kept::Nothing,
        _ if length > most => Kept::TooLong(text.get(..most).unwrap_or(text)),
        _ => Kept::All(text),
    })
}

/// Longer ones are no longer short: it does not matter that they are read in two ways.
const NEAR: usize = 64;

/// A string under way.
#[derive(Debug, Default, Clone)]
pub(super) struct Text {
    escape: Escape,
    /// The bytes of a character that a piece has cut.
    cut: Vec<u8>,
    /// The first half of a surrogate pair, of which the second must come next.
    high: Option<u16>,
    is_lone: bool,
}

/// How much of an escape has come.
#[derive(Debug, Default, Clone, Copy)]
enum Escape {
    #[default]
    None,
    Backslash,
    /// `\u` and so many digits.
    Unicode {
        digits: u8,
        unit: u16,
    },
}

impl Text {
    /// Reads on. `None`: the piece has ended before the string.
    #[inline]
    pub(super) fn read<'kept, 'piece: 'kept>(
        &mut self,
        piece: &mut Piece<'piece>,
        keeper: &'kept mut Keeper,
    ) -> Result<Option<Kept<'kept>>, Stop> {
        loop {
            if !self.cut.is_empty() {
                self.complete(piece, keeper)?;
            } else if !matches!(self.escape, Escape::None) {
                self.unescape(piece, keeper)?;
            } else {
                let run = self.plain(piece)?;
                if !run.is_empty() {
                    self.end_pair();
                }
                match piece.rest {
                    [b'"', behind @ ..] => {
                        piece.rest = behind;
                        self.end_pair();
                        let kept = keeper.end(run);
                        let is_lone = std::mem::take(&mut self.is_lone) && kept != Kept::Nothing;
                        return Ok(Some(if is_lone { Kept::LoneSurrogate } else { kept }));
                    }
                    // Of what nobody wants it is enough that the escape is one.
                    [
                        b'\\',
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
                        behind @ ..,
                    ] if !keeper.wants() => piece.rest = behind,
                    [b'\\', behind @ ..] => {
                        piece.rest = behind;
                        self.escape = Escape::Backslash;
                    }
                    [] => {}
                    _ => return Err(Stop::NotJson),
                }
                keeper.keep(run);
            }
            if piece.rest.is_empty() {
                return Ok(None);
            }
        }
    }

    /// The bytes that stand for themselves. Of a character that the piece cuts, the rest comes with the next.
    #[inline]
    fn plain<'a>(&mut self, piece: &mut Piece<'a>) -> Result<&'a [u8], Stop> {
        let (length, is_ascii) = plain(piece.rest);
        if is_ascii {
            return Ok(piece.take(length));
        }
        self.characters(piece, length)
    }

    fn characters<'a>(&mut self, piece: &mut Piece<'a>, length: usize) -> Result<&'a [u8], Stop> {
        let run = piece.rest.get(..length).unwrap_or(piece.rest);
        let Err(error) = str::from_utf8(run) else {
            return Ok(piece.take(length));
        };
        let whole = piece.take(error.valid_up_to());
        let is_cut = error.error_len().is_none() && piece.rest.len() == length - whole.len();
        if !is_cut {
            return Err(Stop::NotUtf8);
        }
        self.cut.extend_from_slice(piece.rest);
        piece.rest = &[];
        Ok(whole)
    }

    /// The rest of a character that was cut.
    fn complete(&mut self, piece: &mut Piece<'_>, keeper: &mut Keeper) -> Result<(), Stop> {
        let [next, behind @ ..] = piece.rest else {
            return Ok(());
        };
        self.cut.push(*next);
        match str::from_utf8(&self.cut) {
            Ok(_) => {
                self.end_pair();
                keeper.keep(&self.cut);
                self.cut.clear();
            }
            Err(error) if error.error_len().is_none() => {}
            Err(_) => return Err(Stop::NotUtf8),
        }
        piece.rest = behind;
        Ok(())
    }

    /// One more byte of an escape.
    fn unescape(&mut self, piece: &mut Piece<'_>, keeper: &mut Keeper) -> Result<(), Stop> {
        let [next, behind @ ..] = piece.rest else {
            return Ok(());
        };
        self.escape = match self.escape {
            Escape::Unicode { digits, unit } => {
                let digit = char::from(*next).to_digit(16).ok_or(Stop::NotJson)?;
                // A digit is below 16.
                let unit = unit << 4 | digit as u16;
                if digits < 3 {
                    Escape::Unicode {
                        digits: digits + 1,
                        unit,
                    }
                } else {
                    self.unit(unit, keeper);
                    Escape::None
                }
            }
            Escape::None | Escape::Backslash => {
                let byte = match next {
                    b'"' | b'\\' | b'/' => Some(*next),
                    b'b' => Some(8),
                    b'f' => Some(12),
                    b'n' => Some(b'\n'),
                    b'r' => Some(b'\r'),
                    b't' => Some(b'\t'),
                    b'u' => None,
                    _ => return Err(Stop::NotJson),
                };
                match byte {
                    Some(byte) => {
                        self.end_pair();
                        keeper.keep(&[byte]);
                        Escape::None
                    }
                    None => Escape::Unicode { digits: 0, unit: 0 },
                }
            }
        };
        piece.rest = behind;
        Ok(())
    }

    /// A unit of UTF-16: a character, or half a pair.
    fn unit(&mut self, unit: u16, keeper: &mut Keeper) {
        match (self.high.take(), unit) {
            (Some(high), 0xdc00..0xe000) => {
                for character in char::decode_utf16([high, unit]).flatten() {
                    keeper.keep(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            (high, _) => {
                self.is_lone |= high.is_some();
                match char::from_u32(unit.into()) {
                    Some(character) => {
                        keeper.keep(character.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                    None if unit < 0xdc00 => self.high = Some(unit),
                    None => self.is_lone = true,
                }
            }
        }
    }

    /// Something else comes than the second half of a pair.
    #[inline]
    fn end_pair(&mut self) {
        if self.high.is_some() {
            self.high = None;
            self.is_lone = true;
        }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x80 * ONES;

/// The highest bit of the first byte that is a quote, a backslash or a control character; bits behind it mean nothing.
#[inline]
fn special(word: u64) -> u64 {
    // A borrow can only touch bytes behind the first of them.
    let quote = (word ^ (0x22 * ONES)).wrapping_sub(ONES);
    let backslash = (word ^ (0x5c * ONES)).wrapping_sub(ONES);
    let control = word.wrapping_sub(0x20 * ONES);
    (quote | backslash | control) & !word & HIGHS
}

/// How many bytes of a string stand for themselves: up to a quote, a backslash or a control character. True: all are ASCII.
#[inline]
fn plain(text: &[u8]) -> (usize, bool) {
    let mut rest = text;
    let mut seen = 0;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let special = special(word);
        if special != 0 {
            let bits = special.trailing_zeros() & !7;
            seen |= word & ((1 << bits) - 1);
            let length = text.len() - rest.len() + bits as usize / 8;
            return (length, seen & HIGHS == 0);
        }
        seen |= word;
        rest = behind;
    }
    let is_special = |byte: &u8| matches!(*byte, b'"' | b'\\' | ..0x20);
    let last = rest.iter().position(is_special).unwrap_or(rest.len());
    let is_ascii = seen & HIGHS == 0 && rest.iter().take(last).all(u8::is_ascii);
    (text.len() - rest.len() + last, is_ascii)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn plain_text_ends_where_it_does_byte_by_byte(
            text in prop::collection::vec(
                prop_oneof![30 => 0x20_u8..0x7f, 1 => any::<u8>(), 1 => 0_u8..0x30, 1 => Just(b'"')],
                0..80,
            ),
        ) {
            let is_special = |byte: &u8| matches!(*byte, b'"' | b'\\' | ..0x20);
            let length = text.iter().position(is_special).unwrap_or(text.len());
            let is_ascii = text[..length].is_ascii();
            prop_assert_eq!(plain(&text), (length, is_ascii));
            let mut piece = Piece::of(&text);
            let ends = is_ascii && text.get(length) == Some(&b'"');
            match plain_text(&mut piece, 1024) {
                Some(kept) => {
                    prop_assert!(ends);
                    prop_assert_eq!(kept, Kept::All(&text[..length]));
                    prop_assert_eq!(piece.rest, &text[length + 1..]);
                }
                None => {
                    prop_assert!(!ends || length >= NEAR || text.len() < 8);
                    prop_assert_eq!(piece.rest, &text);
                }
            }
        }
    }
}
