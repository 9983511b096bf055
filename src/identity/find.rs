//! Finding the key in a request: the first source that is present counts.

use std::borrow::Cow;

use super::key::Credential;
use super::schemes::{Said, parts};
use super::subprotocols::{key_in_protocol, offered};
use crate::config::policy::KeySource;
use crate::host::HeaderBlock;
use crate::text::escapes::decoded;
use crate::text::paths::{split_once, split_query};

/// Where a request may carry keys: its headers, its path with the query, and whether it is a WebSocket handshake.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// All headers.
    pub headers: &'a HeaderBlock,
    /// `:path`.
    pub path: &'a [u8],
    /// Whether the request asks for a WebSocket.
    pub handshake: bool,
}

/// What was found in the first source that is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No source is present; one that is empty counts as absent.
    Missing,
    /// Too long, repeated with different values, or of bytes that no key has.
    Malformed,
    /// A key.
    Key(Credential),
}

/// Finds the key: the first source that is present counts, even if what it holds is no key.
#[must_use]
#[inline]
pub fn find_key(sources: &[KeySource], request: Presented<'_>) -> Found {
    for source in sources {
        match held(source, request) {
            Held::Nothing => {}
            Held::One(value) if value.is_empty() => {}
            Held::One(value) => {
                return Credential::read(&value).map_or(Found::Malformed, Found::Key);
            }
            Held::Nonsense => return Found::Malformed,
        }
    }
    Found::Missing
}

/// What a source holds.
#[derive(Default)]
enum Held<'a> {
    #[default]
    Nothing,
    /// One value, once or several times, undecided whether it is a key.
    One(Cow<'a, [u8]>),
    /// Different values, or what cannot even be decoded.
    Nonsense,
}

impl<'a> Held<'a> {
    #[inline]
    fn add(self, value: Option<Cow<'a, [u8]>>) -> Self {
        match (self, value) {
            (Self::Nothing, Some(value)) => Self::One(value),
            (Self::One(earlier), Some(value)) if earlier == value => Self::One(earlier),
            _ => Self::Nonsense,
        }
    }
}

#[inline]
fn held<'a>(source: &'a KeySource, request: Presented<'a>) -> Held<'a> {
    let nothing = Held::default();
    match source {
        KeySource::Header { name, scheme: None } => request
            .headers
            .get_all(name)
            .map(|value| Some(Cow::Borrowed(unrepeated(value))))
            .fold(nothing, Held::add),
        KeySource::Header {
            name,
            scheme: Some(scheme),
        } => request
            .headers
            .get_all(name)
            .flat_map(|value| parts(value, |token| is_scheme(token, scheme)))
            .filter(|part| part.is_wanted())
            .map(|part| match part.said() {
                Said::Credential(value) => Some(Cow::Borrowed(value)),
                Said::Nonsense => None,
            })
            .fold(nothing, Held::add),
        KeySource::Query { name, any_request } if request.handshake || *any_request => {
            query(request.path)
                .filter(|(parameter, _)| percent_decoded(parameter) == name.as_bytes())
                .map(|(_, value)| Some(percent_decoded(value)))
                .fold(nothing, Held::add)
        }
        KeySource::WebsocketProtocol { prefix } if request.handshake => offered(request.headers)
            .filter_map(|protocol| key_in_protocol(protocol, prefix))
            .fold(nothing, Held::add),
        KeySource::Query { .. } | KeySource::WebsocketProtocol { .. } => nothing,
    }
}

#[inline]
pub(super) fn is_scheme(token: &[u8], scheme: &str) -> bool {
    token.eq_ignore_ascii_case(scheme.as_bytes())
}

/// A value that is the same between all its commas is one that was repeated, and joined on its way. Otherwise a comma
/// belongs to the key.
#[inline]
fn unrepeated(value: &[u8]) -> &[u8] {
    if !value.contains(&b',') {
        return value.trim_ascii();
    }
    let mut elements = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let first = elements.next().unwrap_or_default();
    if elements.all(|element| element == first) {
        first
    } else {
        value.trim_ascii()
    }
}

/// The parameters of a path's query, raw: name and value.
#[inline]
pub(super) fn query(path: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    split_query(path)
        .1
        .unwrap_or_default()
        .split(|byte| *byte == b'&')
        .map(|parameter| split_once(parameter, b'='))
        .map(|(name, value)| (name, value.unwrap_or_default()))
}

/// `%41` as `A`; what is no escape stays as it is, and so does `+`, which may stand in a key.
#[inline]
pub(super) fn percent_decoded(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    Cow::Owned(decoded(bytes, |_| true))
}

#[cfg(test)]
mod tests;
