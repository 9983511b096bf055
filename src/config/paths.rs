//! What paths of the configuration may look like. A prefix that no request's path can have after the checks of
//! requests (and after a proxy's normalisation before them) would never match, so it is a fault.

use super::document::shown;
use crate::text::escapes::{canonical, escaped, is_never_escaped, is_unreserved};
use crate::text::paths::{segment_name, segments};

/// A route's prefix. It holds no parameters: requests find their route whatever parameters they have.
pub(super) fn prefix(text: &str) -> Result<(), String> {
    beginning(text)?;
    if canonical(text.as_bytes()).contains(&b';') {
        return Err(format!(
            "{} holds ;, and parameters are no part of what is matched; leave them away",
            shown(text)
        ));
    }
    Ok(())
}

/// What may begin the path of a request: absolute, and in a spelling that the checks of requests let pass.
pub(super) fn beginning(text: &str) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("{} {why}", shown(text)));
    if !text.starts_with('/') {
        return refuse("must begin with /");
    }
    if text.len() > 1024 {
        return refuse("is longer than 1024 bytes");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse("holds characters that are not visible ASCII");
    }
    if let Some(character) = text
        .chars()
        .find(|character| "?#\\{}<>\"^`|".contains(*character))
    {
        return refuse(&format!(
            "holds {character}, which no path holds unescaped; a prefix is matched literally"
        ));
    }
    if text.len() > 1 && text.ends_with('/') {
        return refuse("ends with /; leave it away, since a prefix matches whole path segments");
    }
    if text.contains("//") {
        return refuse("holds //, and such requests are refused");
    }
    escapes(text)?;
    // Agents that decode escapes and strip parameters see these names.
    let spelled = canonical(text.as_bytes());
    let names = || segments(&spelled).map(segment_name);
    if names().any(|name| matches!(name, b"." | b"..")) {
        return refuse("holds a segment of dots, and such requests are refused");
    }
    if names().any(<[u8]>::is_empty) {
        return refuse("holds a segment of parameters alone, and such requests are refused");
    }
    Ok(())
}

/// The path of a request that the gateway itself makes; it may have a query.
///
/// # Errors
/// One line that says what the text is not.
pub fn callout(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err(format!("{} must begin with /", shown(text)));
    }
    if text.len() > 1024 || text.contains('#') || !text.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(format!(
            "{} is no path; it is at most 1024 visible ASCII characters without #",
            shown(text)
        ));
    }
    Ok(())
}

/// Checks the escapes in a prefix: each must be well formed, allowed in requests, and the only way to spell its byte.
fn escapes(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let rest = text.get(at..).unwrap_or_default();
        let escape = rest.get(..3).unwrap_or(rest);
        let Some(byte) = escaped(escape.as_bytes()) else {
            return Err(format!(
                "{} holds {} where an escape has two hex digits",
                shown(text),
                shown(escape)
            ));
        };
        if byte == b'/' || is_never_escaped(byte) {
            return Err(format!(
                "{} holds {escape}, and such requests are refused",
                shown(text)
            ));
        }
        if is_unreserved(byte) {
            return Err(format!(
                "{} holds {escape}; write {}, which is the same",
                shown(text),
                char::from(byte)
            ));
        }
    }
    Ok(())
}
