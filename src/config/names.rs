//! What names may look like. They travel in headers, in labels of metrics and in structured fields, so each kind holds
//! only what all of its carriers take.

use super::document::{before_value, shown, shown_to_value};
use super::reader::APART;
use crate::text::headers::{begins_with, is_reserved, is_same, is_token};
use crate::text::names::{LONGEST_NAME, NAME, is_name};

/// Headers that frame the message or belong to the gateway; none of them can carry a key.
const NOT_FOR_KEYS: [&str; 20] = [
    "accept",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "host",
    "keep-alive",
    "origin",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-agent",
    "x-request-id",
];

/// Headers that frame a callout or are written by the callout itself.
const NOT_FOR_CALLOUTS: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that frame the request, and what differs in each: nothing to keep requests together by.
const NOT_FOR_STICKY: [&str; 12] = [
    "connection",
    "content-length",
    "cookie",
    "date",
    "host",
    "keep-alive",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// Headers that frame the message, or by which those on its way find each other; no route changes them.
const NOT_FOR_EDITS: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// How many characters a proof has. What is shorter is no secret.
pub const PROOF_LENGTHS: std::ops::RangeInclusive<usize> = 16..=256;

/// What metrics say in place of a route or an agent that a request has not got to.
pub const NONE: &str = "none";

/// A client, plan, team, role or limit.
pub(super) fn name(text: &str) -> Result<(), String> {
    if is_name(text) {
        Ok(())
    } else {
        Err(format!("{} is no name; a name is {NAME}", shown(text)))
    }
}

/// An agent: a name that metrics can tell from none.
pub(super) fn agent(text: &str) -> Result<(), String> {
    not_none(text)?;
    name(text)
}

fn not_none(text: &str) -> Result<(), String> {
    if text == NONE {
        return Err(format!(
            "{} is what metrics say of requests that have none; choose another name",
            shown(text)
        ));
    }
    Ok(())
}

/// A route: it may be called by its prefix, so more is allowed than in other names.
pub(super) fn route(text: &str) -> Result<(), String> {
    not_none(text)?;
    let legal = |byte: u8| byte.is_ascii_graphic() && !b";=\"\\,".contains(&byte);
    if (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(legal) {
        Ok(())
    } else {
        Err(format!(
            "{} cannot name a route; a route's name is 1 to {LONGEST_NAME} visible ASCII characters without ; = \" \\ and comma",
            shown(text)
        ))
    }
}

/// A variable of the environment. What stands there may be what it should hold, so it is not shown.
pub(super) fn variable(text: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if (1..=256).contains(&text.len()) && text.bytes().all(legal) {
        Ok(())
    } else {
        Err("is no name of a variable: letters, digits and _".to_owned())
    }
}

/// One of Envoy's clusters; names such as `outbound|8080||svc.ns.svc.cluster.local` are fine.
pub(super) fn cluster(text: &str) -> Result<(), String> {
    if (1..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(format!(
            "{} is no cluster's name; it is 1 to 512 visible ASCII characters",
            shown(text)
        ))
    }
}

/// A header that may carry a key.
///
/// # Errors
/// One line that says why it cannot.
pub fn key_header(text: &str) -> Result<(), String> {
    header(text, &NOT_FOR_KEYS)?;
    if begins_with(text.as_bytes(), b"sec-websocket-") {
        return Err(format!(
            "the header {} belongs to the WebSocket handshake; see websocket_protocol",
            shown(text)
        ));
    }
    if begins_with(text.as_bytes(), b"x-forwarded-") {
        return Err(format!(
            "the header {} is written by proxies and cannot carry a key",
            shown(text)
        ));
    }
    Ok(())
}

/// A header that may be sent with a callout.
pub(super) fn callout_header(text: &str) -> Result<(), String> {
    if before_value(text).is_some() {
        let name = shown_to_value(text);
        return Err(format!("{name} is no header's name; {APART}"));
    }
    header(text, &NOT_FOR_CALLOUTS)
}

/// A header that requests are kept together by.
pub(super) fn sticky_header(text: &str) -> Result<(), String> {
    header(text, &NOT_FOR_STICKY)
}

/// A header that routes may change.
pub(super) fn edited_header(text: &str) -> Result<(), String> {
    if before_value(text).is_some() {
        let name = shown_to_value(text);
        return Err(format!("{name} is no header's name; {APART}"));
    }
    if text.eq_ignore_ascii_case("host") || text.eq_ignore_ascii_case(":authority") {
        return Err("as which host the agent is asked is said by request.host".to_owned());
    }
    if begins_with(text.as_bytes(), b"sec-websocket-") {
        return Err(format!(
            "the header {} belongs to the WebSocket handshake",
            shown(text)
        ));
    }
    header(text, &NOT_FOR_EDITS)
}

/// A cookie, whose name is a token (RFC 6265, section 4.1.1).
pub(super) fn cookie(text: &str) -> Result<(), String> {
    if is_token(text.as_bytes()) && text.len() <= 128 {
        Ok(())
    } else {
        Err(format!(
            "{} is no cookie's name; it is 1 to 128 letters, digits and !#$%&'*+-.^_`|~",
            shown(text)
        ))
    }
}

fn header(text: &str, taken: &[&str]) -> Result<(), String> {
    if text.starts_with(':') {
        return Err(format!(
            "{} is a pseudo-header, which cannot be used here",
            shown(text)
        ));
    }
    if text.len() > 128 {
        return Err(format!(
            "the header's name {} is longer than 128 characters",
            shown(text)
        ));
    }
    if !is_token(text.as_bytes()) {
        return Err(format!("{} is no header's name", shown(text)));
    }
    let name = text.as_bytes();
    if is_reserved(name) {
        return Err(format!("the header {} belongs to the gateway", shown(text)));
    }
    if taken.iter().any(|other| is_same(name, other.as_bytes())) {
        return Err(format!(
            "the header {} has a meaning of its own and cannot be used here",
            shown(text)
        ));
    }
    Ok(())
}

/// A header's value that passes every hop as it is: visible ASCII, with blanks only inside.
pub(super) fn header_value(text: &str) -> Result<(), String> {
    if text.len() > 4096 {
        return Err("the value is longer than 4096 bytes".to_owned());
    }
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ')
        || text.trim_matches(' ') != text
    {
        // The text is not repeated: it may be a secret between the gateway and the validator.
        return Err(
            "this is no header's value; use visible ASCII, with blanks only inside".to_owned(),
        );
    }
    Ok(())
}

/// A secret that stands in a header: as long as nobody guesses, and what Envoy and YAML leave as it is.
pub(super) fn is_proof(text: &str) -> bool {
    PROOF_LENGTHS.contains(&text.len()) && header_value(text).is_ok()
}

/// The scheme of credentials, such as `Bearer`.
pub(super) fn scheme(text: &str) -> Result<(), String> {
    if is_token(text.as_bytes()) && text.len() <= 32 {
        Ok(())
    } else {
        Err(format!(
            "{} is no scheme; it is a word such as \"Bearer\"",
            shown(text)
        ))
    }
}

/// A parameter of a query, as it stands there without escapes.
pub(super) fn parameter(text: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(legal) {
        Ok(())
    } else {
        Err(format!(
            "{} is no parameter; it is 1 to 64 of the characters A-Z a-z 0-9 . _ ~ -",
            shown(text)
        ))
    }
}

/// What an offered subprotocol begins with when it carries a key: a token that ends in a dot.
pub(super) fn protocol_prefix(text: &str) -> Result<(), String> {
    match text.strip_suffix('.') {
        Some(stem) if is_token(stem.as_bytes()) && text.len() <= 64 => Ok(()),
        _ => Err(format!(
            "{} must be a token that ends in a dot, such as \"waykeeper.key.\"",
            shown(text)
        )),
    }
}
