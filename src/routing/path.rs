//! The path of a request: refused where agents could read it another way than the route table does.
//!
//! Nothing here relies on the listener having normalised the path. Agents differ in what they take for the same: some
//! decode escapes before they look at a path, some strip parameters (`;…`), some take `%2f` for a border between
//! segments. So a path is read in one canonical spelling, in the parts that it has for a reader who strips and splits
//! all he can. Each part says where another reader would differ, and the route table makes sure that no such reader comes to
//! another route. The path that goes on keeps the caller's spelling, since signatures may cover it; only escapes of
//! unreserved characters are decoded (`%74ools` is `tools` to every agent).

use std::borrow::Cow;
use std::fmt;

use crate::config::policy::EncodedSlashes;
use crate::text::escapes::{
    canonical, escaped, is_never_escaped, is_unreserved, unreserved_decoded,
};
use crate::text::paths::{segment_name, segments, split_query};

const ENCODED_SLASH: &[u8] = b"%2F";

/// A path that may be routed, split from its query.
#[derive(Clone, PartialEq, Eq)]
pub struct Path<'a> {
    /// As it goes on.
    path: Cow<'a, [u8]>,
    query: Option<&'a [u8]>,
    reading: Reading<'a>,
    encoded_slash: EncodedSlash,
}

/// How the path is read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reading<'a> {
    /// As it stands: it has neither escapes nor parameters.
    Plain,
    /// In its canonical spelling, in more ways than one.
    Canonical(Cow<'a, [u8]>),
}

/// Where `%2f` stands in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EncodedSlash {
    Nowhere,
    /// Only in the last part.
    InLastPart,
    Anywhere,
}

/// A part of a path, as it is looked for in the prefixes of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) name: &'a [u8],
    pub(super) doubt: Doubt,
}

impl<'a> Part<'a> {
    pub(super) fn plain(name: &'a [u8]) -> Self {
        let doubt = Doubt::None;
        Self { name, doubt }
    }
}

/// What another reader may take a part for; the graver doubt is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    /// Nothing: all agree.
    None,
    /// A longer name, with parameters in it.
    Parameters,
    /// A piece of a longer segment, with `%2f` in it.
    EncodedSlash,
}

/// A path that agents could read another way than the route table does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPath;

impl<'a> Path<'a> {
    /// Reads `:path`.
    ///
    /// # Errors
    /// When the path does not begin with `/`, holds bytes that no path has, empty or dot segments, a `%` that
    /// begins no escape, escapes of dots, backslashes or zero bytes, or of slashes beside dots or in parameters.
    pub fn read(raw: &'a [u8]) -> Result<Self, BadPath> {
        let (path, query) = split_query(raw);
        if path.first() != Some(&b'/') || !query.unwrap_or_default().iter().all(is_legal) {
            return Err(BadPath);
        }
        let mut doubtful = false;
        for byte in path {
            match byte {
                b'\\' => return Err(BadPath),
                b'%' | b';' => doubtful = true,
                byte if is_legal(byte) => {}
                _ => return Err(BadPath),
            }
        }
        if !doubtful {
            check_names(segments(path))?;
            return Ok(Self {
                path: Cow::Borrowed(path),
                query,
                reading: Reading::Plain,
                encoded_slash: EncodedSlash::Nowhere,
            });
        }
        let (path, canonical) = match check_escapes(path)? {
            Escapes::None => (Cow::Borrowed(path), Cow::Borrowed(path)),
            Escapes::Reserved => (Cow::Borrowed(path), Cow::Owned(canonical(path))),
            Escapes::Unreserved => (
                Cow::Owned(unreserved_decoded(path)),
                Cow::Owned(canonical(path)),
            ),
        };
        check_names(segments(&canonical).map(segment_name))?;
        Ok(Self {
            path,
            query,
            encoded_slash: check_slashes(&canonical)?,
            reading: Reading::Canonical(canonical),
        })
    }

    /// Checks the path against what its route allows; `None`: there is no route.
    ///
    /// # Errors
    /// When it holds `%2f` where the route does not allow it.
    pub fn allow(&self, slashes: Option<EncodedSlashes>) -> Result<(), BadPath> {
        match (self.encoded_slash, slashes) {
            (EncodedSlash::Nowhere, _)
            | (_, Some(EncodedSlashes::KeepAnywhere))
            | (EncodedSlash::InLastPart, Some(EncodedSlashes::Keep)) => Ok(()),
            _ => Err(BadPath),
        }
    }

    /// The segments, if everyone reads the path as it stands.
    pub(super) fn plain_segments(&self) -> Option<impl Iterator<Item = &[u8]>> {
        matches!(self.reading, Reading::Plain).then(|| segments(&self.path))
    }

    /// The parts of the path, for a reader who strips parameters and splits at `%2f`.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let path = match &self.reading {
            Reading::Plain => &self.path,
            Reading::Canonical(path) => path,
        };
        segments(path).flat_map(|segment| {
            let name = segment_name(segment);
            let doubt = if find(name, ENCODED_SLASH).is_some() {
                Doubt::EncodedSlash
            } else if name.len() < segment.len() {
                Doubt::Parameters
            } else {
                Doubt::None
            };
            pieces(name).map(move |name| Part { name, doubt })
        })
    }

    /// The names of its segments, for each kind of reader: the one who strips parameters and splits at `%2f`, and where they differ those
    /// who do one of both, or neither, or cut the path off at its first `;`.
    pub(super) fn readings(&self) -> Vec<Vec<&[u8]>> {
        let mut readings = vec![self.parts().map(|part| part.name).collect()];
        if let Reading::Canonical(path) = &self.reading {
            readings.push(segments(path).collect());
            readings.push(segments(path).map(segment_name).collect());
            readings.push(segments(path).flat_map(pieces).collect());
            readings.push(segments(segment_name(path)).collect());
        }
        readings
    }

    /// The path as it goes on, with its query: `rewrite` in place of the segments that matched `prefix`, parameters
    /// included. `None`: it goes on as it came.
    #[must_use]
    pub fn rewritten(&self, prefix: &str, rewrite: Option<&str>) -> Option<Vec<u8>> {
        let path = match (rewrite, &self.path) {
            (None, Cow::Borrowed(_)) => return None,
            (None, Cow::Owned(path)) => path.clone(),
            (Some(rewrite), path) => {
                let mut rewritten = rewrite.as_bytes().to_vec();
                let rest = behind(path, segments(prefix.as_bytes()).count());
                if rewritten.ends_with(b"/") && rest.starts_with(b"/") {
                    rewritten.pop();
                }
                rewritten.extend(rest);
                rewritten
            }
        };
        Some(match self.query {
            Some(query) => [&path, query].join(&b'?'),
            None => path,
        })
    }
}

/// What stands in a path or its query may be a secret.
impl fmt::Debug for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Path(…)")
    }
}

/// What follows the first `count` segments. They are told apart by plain slashes: no reader may find a route by
/// segments that hold an encoded one.
fn behind(path: &[u8], count: usize) -> &[u8] {
    let mut slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    match slashes.nth(count) {
        // The slash of `/` alone begins no segment.
        Some((0, _)) if path.len() == 1 => &[],
        Some((at, _)) => path.get(at..).unwrap_or_default(),
        None => &[],
    }
}

fn is_legal(byte: &u8) -> bool {
    byte.is_ascii_graphic() && *byte != b'#'
}

/// Refuses segments of dots, and empty ones except behind the last slash.
fn check_names<'a>(names: impl Iterator<Item = &'a [u8]>) -> Result<(), BadPath> {
    let mut names = names.peekable();
    while let Some(name) = names.next() {
        let misleads = match name {
            b"" => names.peek().is_some(),
            b"." | b".." => true,
            _ => false,
        };
        if misleads {
            return Err(BadPath);
        }
    }
    Ok(())
}

/// What escapes a path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Escapes {
    None,
    /// Only escapes that the agent gets as they are.
    Reserved,
    /// Also escapes that are decoded for it.
    Unreserved,
}

fn check_escapes(path: &[u8]) -> Result<Escapes, BadPath> {
    let mut found = Escapes::None;
    let mut rest = path;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let escape = rest.get(at..).unwrap_or_default();
        found = found.max(match escaped(escape) {
            None => return Err(BadPath),
            Some(byte) if is_never_escaped(byte) => return Err(BadPath),
            Some(byte) if is_unreserved(byte) => Escapes::Unreserved,
            Some(_) => Escapes::Reserved,
        });
        rest = escape.get(3..).unwrap_or_default();
    }
    Ok(found)
}

/// Finds `%2f`, and refuses it beside dots, beside nothing, and in parameters: a reader who splits before he strips
/// would find segments behind it that one who strips first does not see.
fn check_slashes(canonical: &[u8]) -> Result<EncodedSlash, BadPath> {
    let mut found = EncodedSlash::Nowhere;
    for segment in segments(canonical) {
        if found == EncodedSlash::InLastPart {
            found = EncodedSlash::Anywhere;
        }
        if find(segment, ENCODED_SLASH).is_none() {
            continue;
        }
        let name = segment_name(segment);
        if find(segment.get(name.len()..).unwrap_or_default(), ENCODED_SLASH).is_some() {
            return Err(BadPath);
        }
        let alone = pieces(name).zip(pieces(name).skip(1)).all(|(left, right)| {
            !matches!(left.last(), None | Some(b'.')) && !matches!(right.first(), None | Some(b'.'))
        });
        if !alone {
            return Err(BadPath);
        }
        if found == EncodedSlash::Nowhere {
            found = EncodedSlash::InLastPart;
        }
    }
    Ok(found)
}

/// The pieces of a name between its encoded slashes.
fn pieces(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(name);
    std::iter::from_fn(move || {
        let whole = rest?;
        let (piece, behind) = match find(whole, ENCODED_SLASH) {
            Some(at) => (whole.get(..at)?, whole.get(at + ENCODED_SLASH.len()..)),
            None => (whole, None),
        };
        rest = behind;
        Some(piece)
    })
}

fn find(text: &[u8], sought: &[u8]) -> Option<usize> {
    text.windows(sought.len())
        .position(|window| window == sought)
}

#[cfg(test)]
pub(super) mod tests;
