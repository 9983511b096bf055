//! Keys in the subprotocols that a WebSocket's handshake offers: what goes on without the key, and which subprotocol the
//! caller is told.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::policy::KeySource;
use crate::host::HeaderBlock;

const PROTOCOLS: &str = "sec-websocket-protocol";

/// The subprotocols that a handshake offers.
#[inline]
pub(super) fn offered(headers: &HeaderBlock) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(PROTOCOLS)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|protocol| !protocol.is_empty())
}

/// What a handshake offers beside the key, and the subprotocol that the caller is told if the agent names none: the first
/// one without a key, else the one with it. Browsers break off when they offered subprotocols and none comes back. `None`:
/// no subprotocol carries a key.
#[must_use]
#[inline]
pub fn offered_protocols(
    sources: &[KeySource],
    headers: &HeaderBlock,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let carries_key = |protocol: &[u8]| {
        sources.iter().any(|source| match source {
            KeySource::WebsocketProtocol { prefix } => key_in_protocol(protocol, prefix).is_some(),
            _ => false,
        })
    };
    let (keys, others): (Vec<_>, Vec<_>) =
        offered(headers).partition(|protocol| carries_key(protocol));
    let answer = others.first().or(keys.first())?.to_vec();
    (!keys.is_empty()).then(|| (others.join(&b", "[..]), answer))
}

/// The key that a subprotocol carries, plain behind the prefix or in base64url behind its `64` form.
pub(super) fn key_in_protocol<'a>(
    protocol: &'a [u8],
    prefix: &str,
) -> Option<Option<Cow<'a, [u8]>>> {
    if let Some(key) = protocol.strip_prefix(prefix.as_bytes()) {
        return Some(Some(Cow::Borrowed(key)));
    }
    let encoded = protocol
        .strip_prefix(prefix.strip_suffix('.').unwrap_or(prefix).as_bytes())?
        .strip_prefix(b"64.")?;
    Some(URL_SAFE_NO_PAD.decode(encoded).ok().map(Cow::Owned))
}
