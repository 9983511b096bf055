//! All headers of a message in one buffer, read in place.
//!
//! The layout is the one in which proxy-wasm hosts hand header maps over, so that no header is copied or allocated
//! for: the number of pairs, the lengths of each name and value, then all names and values, each with a zero byte
//! behind it. All numbers are 32-bit little-endian.

use std::fmt;
use std::ops::Deref;

/// What may hold a key: values of headers, a path with its query, the body of a question to the validator. Whoever prints
/// it for debugging sees that it is there, and nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sensitive<T>(pub T);

impl<T> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sensitive(…)")
    }
}

impl<T> Deref for Sensitive<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// All headers of a message, in their order. Values are bytes, as they came from outside.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct HeaderBlock {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    /// Which names may be among these: a bit for each, which some of them share. Most that are asked for are not there.
    names: u64,
}

/// The buffer does not hold what its lengths promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderBlockError;

impl HeaderBlock {
    /// Takes over a buffer in the host's layout.
    ///
    /// # Errors
    /// When its lengths do not add up to its size.
    pub fn from_host(bytes: Vec<u8>) -> Result<Self, HeaderBlockError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let count = number_at(&bytes, 0).ok_or(HeaderBlockError)?;
        let lengths = bytes
            .get(4..4 + count.checked_mul(8).ok_or(HeaderBlockError)?)
            .ok_or(HeaderBlockError)?;
        let mut start = 4 + lengths.len();
        let mut spans = Vec::with_capacity(count);
        let mut names = 0;
        for &[a, b, c, d, e, f, g, h] in lengths.as_chunks::<8>().0 {
            let [name, value] =
                [[a, b, c, d], [e, f, g, h]].map(|bytes| u32::from_le_bytes(bytes) as usize);
            spans.push(Span { start, name, value });
            let behind = start.saturating_add(name);
            names |= bit_of(name, bytes.get(behind.wrapping_sub(1)));
            start = [name, 1, value, 1]
                .into_iter()
                .try_fold(start, usize::checked_add)
                .ok_or(HeaderBlockError)?;
        }
        if start > bytes.len() {
            return Err(HeaderBlockError);
        }
        Ok(Self {
            bytes,
            spans,
            names,
        })
    }

    /// How long the body says it is.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        let value = self.get("content-length")?;
        str::from_utf8(value).ok()?.parse().ok()
    }

    /// A block of single headers.
    pub fn from_pairs<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: &[(N, V)]) -> Self {
        Self::from_host(encode(pairs)).unwrap_or_default()
    }

    /// The bytes of all headers, as the host gave them.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Every header, name and value, in order; names as the host gives them, in lower case.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.spans
            .iter()
            .filter_map(|span| Some((self.name(span)?, self.value(span)?)))
    }

    /// The first value of a header.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// All values of a header, in order. Names of another length are passed over unread.
    pub fn get_all<'a>(&'a self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> + Clone {
        let may_be_there = self.names & bit_of(name.len(), name.as_bytes().last()) != 0;
        let spans = if may_be_there {
            self.spans.as_slice()
        } else {
            &[]
        };
        spans
            .iter()
            .filter(move |span| span.name == name.len() && self.name(span) == Some(name.as_bytes()))
            .filter_map(|span| self.value(span))
    }

    fn name(&self, span: &Span) -> Option<&[u8]> {
        self.bytes.get(span.start..span.start + span.name)
    }

    fn value(&self, span: &Span) -> Option<&[u8]> {
        let start = span.start + span.name + 1;
        self.bytes.get(start..start + span.value)
    }
}

/// Names only: a value may be a key.
impl fmt::Debug for HeaderBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.iter().map(|(name, value)| {
            let name = String::from_utf8_lossy(name).into_owned();
            (name, Sensitive(value))
        });
        f.debug_map().entries(hidden).finish()
    }
}

/// Single headers in the host's layout, as it wants them for a reply or a callout.
pub fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: &[(N, V)]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = number(pairs.len()).to_vec();
    for (name, value) in pairs {
        bytes.extend(number(name.as_ref().len()));
        bytes.extend(number(value.as_ref().len()));
    }
    for (name, value) in pairs {
        for part in [name.as_ref(), value.as_ref()] {
            bytes.extend(part);
            bytes.push(0);
        }
    }
    bytes
}

/// Where a header lies: the start of its name, and the lengths of its name and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: usize,
    name: usize,
    value: usize,
}

/// The bit of a name among 64: by its length and its last letter, in which names differ most.
fn bit_of(length: usize, last: Option<&u8>) -> u64 {
    let last = last.map_or(0, |last| usize::from(*last));
    1 << (length.wrapping_mul(5).wrapping_add(last) % 64)
}

fn number_at(bytes: &[u8], start: usize) -> Option<usize> {
    let four = bytes.get(start..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*four)).ok()
}

impl fmt::Display for HeaderBlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host's header block is shorter than its lengths say")
    }
}

impl std::error::Error for HeaderBlockError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_gives_back_what_it_was_made_of_in_order() {
        let pairs: [(&str, &[u8]); 3] = [("a", b"1"), ("b", b""), ("a", b"\xff\x00")];
        let block = HeaderBlock::from_pairs(&pairs);
        let read: Vec<_> = block.iter().collect();
        assert_eq!(
            read,
            [(&b"a"[..], &b"1"[..]), (b"b", b""), (b"a", b"\xff\x00")]
        );
        assert_eq!(block.get_all("a").count(), 2);
        assert_eq!(HeaderBlock::from_host(block.bytes.clone()), Ok(block));
    }

    #[test]
    fn a_block_cut_short_is_refused_wherever_it_is_cut() {
        let whole = HeaderBlock::from_pairs(&[("name", "value"), ("x", "")]).bytes;
        for cut in 1..whole.len() {
            assert_eq!(
                HeaderBlock::from_host(whole[..cut].to_vec()),
                Err(HeaderBlockError),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn values_do_not_show_themselves() {
        let block = HeaderBlock::from_pairs(&[("x-api-key", "secret")]);
        let shown = format!("{block:?} {:#?}", Sensitive("secret"));
        assert!(
            shown.contains("x-api-key") && !shown.contains("secret"),
            "{shown}"
        );
    }

    #[test]
    fn an_empty_buffer_has_no_headers() {
        assert_eq!(
            HeaderBlock::from_host(Vec::new()).map(|block| block.iter().count()),
            Ok(0)
        );
    }
}
