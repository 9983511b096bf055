//! The path of a request: refused where agents could read it another way than the route table does.
//!
//! Nothing here relies on the listener having normalised the path. What remains after the checks is compared with
//! the escapes of plain characters decoded (`%74ools` is `tools` to every agent), and goes on that way too.

use std::borrow::Cow;

use crate::config::policy::EncodedSlashes;

/// A path that may be routed, split from its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path<'a> {
    path: Cow<'a, [u8]>,
    query: Option<&'a [u8]>,
    encoded_slash: EncodedSlash,
}

/// Where `%2f` stands in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EncodedSlash {
    Nowhere,
    /// Only in the last part, and not beside dots.
    InLastPart,
    Elsewhere,
}

/// A path that agents could read another way than the route table does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPath;

impl<'a> Path<'a> {
    /// Reads `:path`.
    ///
    /// # Errors
    /// When the path does not begin with `/`, holds bytes that no path has, empty or dot segments, or escapes of
    /// dots, backslashes or zero bytes.
    pub fn read(raw: &'a [u8]) -> Result<Self, BadPath> {
        let mut parts = raw.splitn(2, |byte| *byte == b'?');
        let path = parts.next().unwrap_or_default();
        let query = parts.next();
        if path.first() != Some(&b'/')
            || !raw
                .iter()
                .all(|byte| byte.is_ascii_graphic() && *byte != b'#')
        {
            return Err(BadPath);
        }
        if path.contains(&b'\\') || path.windows(2).any(|two| two == b"//") {
            return Err(BadPath);
        }
        // Before a `;` stand dots too for agents that take it for the start of parameters.
        let dots = |segment: &[u8]| {
            let name = segment
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default();
            matches!(name, b"." | b"..")
        };
        if path.split(|byte| *byte == b'/').any(dots) {
            return Err(BadPath);
        }
        let mut encoded_slash = EncodedSlash::Nowhere;
        let mut plain_escapes = false;
        for (at, escape) in escapes(path) {
            match escape {
                Some(b'.' | b'\\' | 0) => return Err(BadPath),
                Some(b'/') => {
                    let here = slash_at(path, at);
                    if encoded_slash != EncodedSlash::Elsewhere {
                        encoded_slash = here;
                    }
                }
                Some(byte) if is_unreserved(byte) => plain_escapes = true,
                _ => {}
            }
        }
        let path = if plain_escapes {
            Cow::Owned(decode_unreserved(path))
        } else {
            Cow::Borrowed(path)
        };
        Ok(Self {
            path,
            query,
            encoded_slash,
        })
    }

    /// The path without its query, as it is compared.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.path
    }

    /// Checks the path against what its route allows; `None`: there is no route.
    ///
    /// # Errors
    /// When it holds `%2f` where the route does not allow it.
    pub fn allow(&self, slashes: Option<EncodedSlashes>) -> Result<(), BadPath> {
        match (self.encoded_slash, slashes) {
            (EncodedSlash::Nowhere, _) | (EncodedSlash::InLastPart, Some(EncodedSlashes::Keep)) => {
                Ok(())
            }
            _ => Err(BadPath),
        }
    }

    /// The path as it goes on, with its query: `rewrite` in place of the first `matched` bytes. `None`: it goes on
    /// as it came.
    #[must_use]
    pub fn rewritten(&self, matched: usize, rewrite: Option<&str>) -> Option<Vec<u8>> {
        let path = match (rewrite, &self.path) {
            (None, Cow::Borrowed(_)) => return None,
            (None, Cow::Owned(path)) => path.clone(),
            (Some(rewrite), path) => {
                let rest = path.get(matched..).unwrap_or_default();
                let mut rewritten = rewrite.as_bytes().to_vec();
                match (rewritten.last(), rest.first()) {
                    (Some(b'/'), Some(b'/')) => {
                        rewritten.pop();
                    }
                    (Some(b'/'), _) | (_, Some(b'/') | None) => {}
                    // The prefix `/` was matched, so its slash is missing from the rest.
                    _ => rewritten.push(b'/'),
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

/// The escapes of a path: where each begins, and the byte it stands for (`None`: it is no escape at all).
fn escapes(path: &[u8]) -> impl Iterator<Item = (usize, Option<u8>)> {
    path.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'%')
        .map(|(at, _)| {
            let digits = path.get(at + 1..at + 3);
            (at, digits.and_then(hexadecimal))
        })
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        u8::try_from(u32::from(value) << 4 | digit).ok()
    })
}

/// Judges the `%2f` that begins at `at`.
fn slash_at(path: &[u8], at: usize) -> EncodedSlash {
    let before = path.get(..at).and_then(<[u8]>::last);
    let behind = path.get(at + 3..).unwrap_or_default();
    let alone = !matches!(before, None | Some(b'.' | b'/'))
        && !matches!(behind.first(), None | Some(b'.' | b'/' | b'%'));
    if alone && !behind.contains(&b'/') {
        EncodedSlash::InLastPart
    } else {
        EncodedSlash::Elsewhere
    }
}

/// RFC 3986: escapes of these mean the same as the characters themselves.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn decode_unreserved(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, behind)) = rest.split_first() {
        let escape = (*first == b'%')
            .then(|| behind.split_first_chunk::<2>())
            .flatten()
            .and_then(|(digits, behind)| {
                Some((
                    hexadecimal(digits).filter(|byte| is_unreserved(*byte))?,
                    behind,
                ))
            });
        let (byte, behind) = escape.unwrap_or((*first, behind));
        decoded.push(byte);
        rest = behind;
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(path: &str, slashes: EncodedSlashes) -> bool {
        Path::read(path.as_bytes())
            .and_then(|path| path.allow(Some(slashes)))
            .is_ok()
    }

    #[test]
    fn paths_that_agents_could_read_another_way_are_refused() {
        for path in [
            "",
            "*",
            "relative",
            "//",
            "/a//b",
            "/a/./b",
            "/a/../b",
            "/a/..",
            "/a/.",
            "/a/..;/b",
            "/a/.;x=1/b",
            "/a\\b",
            "/%2e%2e/b",
            "/a/%2E/b",
            "/a%5cb",
            "/a%5Cb",
            "/a%00b",
            "/a%2fb",
            "/a%2Fb",
            "/a b",
            "/a#b",
            "/\u{e9}",
        ] {
            assert!(!allowed(path, EncodedSlashes::Refuse), "{path:?}");
        }
    }

    #[test]
    fn ordinary_paths_pass() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a.b/..c/...",
            "/a;x=1",
            "/a%20b",
            "/a%c3%a9",
            "/a%252fb",
            "/a?next=//x/../%2f\\",
            "/a%zz",
            "/a%",
        ] {
            assert!(allowed(path, EncodedSlashes::Refuse), "{path:?}");
        }
    }

    #[test]
    fn an_encoded_slash_may_be_kept_in_the_last_part_but_never_beside_dots() {
        for path in [
            "/models/org%2Fmodel",
            "/models/org%2fmodel?x=1",
            "/m/a%2fb%2fc",
        ] {
            assert!(allowed(path, EncodedSlashes::Keep), "{path:?}");
        }
        for path in [
            "/models%2forg/x",
            "/models/..%2fx",
            "/models/x%2f..",
            "/models/%2fx",
            "/models/x%2f",
            "/m/a%2f%2fb",
            "/m/a%2f%2e%2e",
            "/m/a.%2fb",
            "/m%2fa/b%2fc",
        ] {
            assert!(!allowed(path, EncodedSlashes::Keep), "{path:?}");
        }
    }

    #[test]
    fn escapes_of_plain_characters_are_compared_and_go_on_decoded() {
        let path = Path::read(b"/api/%74ools/%41%20x?q=%74").ok();
        assert_eq!(
            path.as_ref().map(Path::as_bytes),
            Some(&b"/api/tools/A%20x"[..])
        );
        assert_eq!(
            path.and_then(|path| path.rewritten(0, None)).as_deref(),
            Some(&b"/api/tools/A%20x?q=%74"[..])
        );
    }

    #[test]
    fn the_rewrite_takes_the_place_of_the_prefix_and_nothing_else() {
        let rewritten = |path: &'static str, matched, rewrite| {
            Path::read(path.as_bytes())
                .ok()
                .and_then(|path| path.rewritten(matched, Some(rewrite)))
                .map(|path| String::from_utf8_lossy(&path).into_owned())
        };
        assert_eq!(
            rewritten("/api/x?q=1", 4, "/handle").as_deref(),
            Some("/handle/x?q=1")
        );
        assert_eq!(rewritten("/api", 4, "/handle").as_deref(), Some("/handle"));
        assert_eq!(rewritten("/api/x", 4, "/").as_deref(), Some("/x"));
        assert_eq!(rewritten("/api", 4, "/").as_deref(), Some("/"));
        assert_eq!(rewritten("/x", 0, "/handle").as_deref(), Some("/handle/x"));
        assert_eq!(rewritten("/x", 1, "/handle").as_deref(), Some("/handle/x"));
        assert_eq!(rewritten("/", 1, "/handle").as_deref(), Some("/handle"));
    }
}
