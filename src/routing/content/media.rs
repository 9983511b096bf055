//! What headers say of a body: whether it is JSON, and whether it is compressed.

use crate::host::HeaderBlock;
use crate::text::headers::token;
use crate::text::paths::split_once;

/// Whether a body with these headers is JSON as it stands. One without a type is taken for it.
#[must_use]
pub fn is_plain_json(headers: &HeaderBlock) -> bool {
    let mut types = headers.get_all("content-type");
    let is_json = types.next().is_none_or(is_json);
    is_json && types.next().is_none() && !is_compressed(headers)
}

pub(in crate::routing) fn is_compressed(headers: &HeaderBlock) -> bool {
    let mut encodings = headers.get_all("content-encoding");
    encodings.any(|it| !it.trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// `application/json`, or a type whose name ends in `+json` (RFC 6839), in UTF-8. What is not written as one type is none: some
/// readers go by what stands before a blank or a comma.
pub(in crate::routing) fn is_json(content_type: &[u8]) -> bool {
    let mut parts = content_type.split(|byte| *byte == b';');
    let essence = parts.next().unwrap_or_default().trim_ascii();
    let essence = essence.to_ascii_lowercase();
    let (kind, name) = split_once(&essence, b'/');
    let name = name.unwrap_or_default();
    let is_token = |word: &[u8]| !word.is_empty() && token(word).len() == word.len();
    let is_one = is_token(kind) && is_token(name);
    // Also `charset*`, and whatever some readers take for blanks.
    let is_utf8 = |part: &[u8]| {
        let is_meant = |byte: &&u8| **byte != b'"' && !byte.is_ascii_whitespace();
        let part: Vec<u8> = part.iter().filter(is_meant).copied().collect();
        let part = part.to_ascii_lowercase();
        !part.starts_with(b"charset") || part == b"charset=utf-8"
    };
    is_one && (essence == b"application/json" || name.ends_with(b"+json")) && parts.all(is_utf8)
}
