//! How a path is taken apart.

/// A path and its query; `None` if it has no `?`.
#[must_use]
#[inline]
pub fn split_query(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    split_once(path, b'?')
}

/// What stands before the first `separator`, and what behind it; `None` if it does not stand there.
#[must_use]
#[inline]
pub fn split_once(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let mut parts = bytes.splitn(2, |byte| *byte == separator);
    (parts.next().unwrap_or_default(), parts.next())
}

/// The segments of a path or prefix: `/a/b` has `a` and `b`, `/` has none, `/a/` has `a` and an empty one.
#[inline]
pub fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let empty = path.is_empty();
    path.split(|byte| *byte == b'/').filter(move |_| !empty)
}

/// A segment without its parameters.
#[must_use]
#[inline]
pub fn segment_name(segment: &[u8]) -> &[u8] {
    let end = segment.iter().position(|byte| *byte == b';');
    segment
        .get(..end.unwrap_or(segment.len()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_apart() {
        let parts = |path: &'static str| segments(path.as_bytes()).collect::<Vec<_>>();
        assert!(parts("/").is_empty());
        assert_eq!(parts("/a/b"), [b"a", b"b"]);
        assert_eq!(parts("/a/"), [&b"a"[..], b""]);
        assert_eq!(segment_name(b"a;v=1;w"), b"a");
        assert_eq!(segment_name(b"a"), b"a");
        assert_eq!(split_query(b"/a?b?c"), (&b"/a"[..], Some(&b"b?c"[..])));
        assert_eq!(split_query(b"/a?"), (&b"/a"[..], Some(&b""[..])));
        assert_eq!(split_query(b"/a"), (&b"/a"[..], None));
    }
}
