//! Taking a header's value apart into the credentials that it holds.
//!
//! Envoy joins repeated `authorization` lines into one value before a filter sees them: `Basic Zm9v,Bearer KEY`. All that
//! is left of the border is a comma, which may also stand within a credential: between the parameters of `Digest`, or in a
//! key. So a border is a comma behind which a scheme begins, that is a token with something else than `=` behind it.

use crate::text::headers::token;

/// A scheme and what follows it, as it stands in a header's value.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    bytes: &'a [u8],
    scheme: &'a [u8],
    wanted: bool,
    /// Nothing but white space and commas stands before it.
    apart: bool,
}

/// What a part says behind its scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// These bytes, with white space around them; there may be none.
    Credential(&'a [u8]),
    /// There are other bytes before the scheme, or no white space behind it: this is no credential.
    Nonsense,
}

impl<'a> Part<'a> {
    /// True if the part is of a wanted scheme.
    pub(super) fn is_wanted(self) -> bool {
        self.wanted
    }

    /// The whole part, without the white space around it.
    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes.trim_ascii()
    }

    /// What follows the scheme.
    pub(super) fn said(self) -> Said<'a> {
        let behind = self.bytes.get(self.scheme.len()..).unwrap_or_default();
        let is_empty = |byte: &u8| *byte == b',' || byte.is_ascii_whitespace();
        if !self.apart {
            Said::Nonsense
        } else if behind.iter().all(is_empty) {
            Said::Credential(&[])
        } else if behind.first().is_some_and(u8::is_ascii_whitespace) {
            Said::Credential(behind.trim_ascii())
        } else {
            Said::Nonsense
        }
    }
}

/// The parts of a value, without empty ones (`, ,`). `wanted` says whether a token is a scheme that is looked for.
///
/// Behind a comma, a wanted scheme begins a part whatever follows it, and another scheme if white space follows it. In the
/// parts of other schemes a comma within a quoted string is no border. Keys, and parts that begin with no scheme, have no
/// quoted strings.
pub(super) fn parts<'a>(
    value: &'a [u8],
    wanted: impl Fn(&[u8]) -> bool,
) -> impl Iterator<Item = Part<'a>> {
    parts_of(value, wanted, true)
}

/// The parts of a value for a reader who knows no quoted strings.
pub(super) fn unquoted_parts<'a>(
    value: &'a [u8],
    wanted: impl Fn(&[u8]) -> bool,
) -> impl Iterator<Item = Part<'a>> {
    parts_of(value, wanted, false)
}

fn parts_of<'a>(
    value: &'a [u8],
    wanted: impl Fn(&[u8]) -> bool,
    quotes: bool,
) -> impl Iterator<Item = Part<'a>> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let before = rest;
        rest = skip(rest, separates);
        if rest.is_empty() {
            return None;
        }
        let skipped = before.get(..before.len() - rest.len());
        let mut skipped = skipped.unwrap_or_default().iter();
        let apart = skipped.all(|byte| matches!(byte, b' ' | b'\t' | b','));
        let scheme = token(rest);
        let is_wanted = wanted(scheme);
        let may_quote = quotes && !is_wanted && !scheme.is_empty();
        let (bytes, behind) = split_at_border(rest, scheme.len(), may_quote, &wanted);
        rest = behind;
        Some(Part {
            bytes,
            scheme,
            wanted: is_wanted,
            apart,
        })
    })
}

/// Splits `part` at the first border behind `at`. Takes time that grows with the value's length, whatever stands in it.
fn split_at_border<'a>(
    part: &'a [u8],
    at: usize,
    may_quote: bool,
    wanted: &impl Fn(&[u8]) -> bool,
) -> (&'a [u8], &'a [u8]) {
    let mut behind = part.get(at..).unwrap_or_default();
    while let Some((first, next)) = skip(behind, |byte| !may_split(byte, may_quote)).split_first() {
        behind = if *first == b'=' {
            behind_quoted(next).unwrap_or(next)
        } else {
            let element = skip(next, separates);
            if begins_part(element, wanted) {
                let end = part.len() - next.len() - 1;
                return part.split_at_checked(end).unwrap_or((part, &[]));
            }
            element
        };
    }
    (part, &[])
}

/// True for what may be a border, and for what may begin a quoted string.
fn may_split(byte: u8, may_quote: bool) -> bool {
    byte == b',' || (may_quote && byte == b'=')
}

/// True if an element of a list is the beginning of a part, and not a parameter or a piece of a key.
fn begins_part(element: &[u8], wanted: &impl Fn(&[u8]) -> bool) -> bool {
    let name = token(element);
    let behind = element.get(name.len()..).unwrap_or_default();
    if name.is_empty() || behind.first() == Some(&b'=') {
        return false;
    }
    let parameter = || skip(behind, is_gap).first() == Some(&b'=');
    wanted(name) || (behind.first().copied().is_some_and(is_gap) && !parameter())
}

/// What follows the quoted string (RFC 9110, section 5.6.4) that `bytes` begin with. `None`: they begin with none, or with
/// one that has no end.
fn behind_quoted(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = skip(bytes, |byte| byte.is_ascii_whitespace()).strip_prefix(b"\"")?;
    loop {
        rest = match rest {
            [b'"'] => return Some(&[]),
            [b'"', behind @ ..] => {
                return matches!(behind.first(), Some(b' ' | b'\t' | b',')).then_some(behind);
            }
            [b'\\', _, behind @ ..] | [_, behind @ ..] => behind,
            [] => return None,
        };
    }
}

/// What no key holds: white space, and whatever some agent may take for it.
fn is_gap(byte: u8) -> bool {
    !byte.is_ascii_graphic()
}

fn separates(byte: u8) -> bool {
    byte == b',' || is_gap(byte)
}

fn skip(bytes: &[u8], needless: impl Fn(u8) -> bool) -> &[u8] {
    let start = bytes.iter().position(|byte| !needless(*byte));
    start
        .and_then(|start| bytes.get(start..))
        .unwrap_or_default()
}
