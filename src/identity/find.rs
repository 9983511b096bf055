//! Finding the key in a request, and taking it out before anything else can see it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::schemes::{Part, Said, parts, unquoted_parts};
use crate::config::policy::KeySource;
use crate::host::{HeaderBlock, Sensitive};
use crate::text::escapes::decoded;
use crate::text::paths::{split_once, split_query};

/// The longest key, in bytes: tokens of identity providers that are opaque to others have thousands.
pub const MAX_KEY: usize = 4096;

const PROTOCOLS: &str = "sec-websocket-protocol";

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

/// A key as it was presented: 1 to [`MAX_KEY`] visible ASCII characters. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(String);

impl Credential {
    /// The bytes as a key; `None` if no key looks like that.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let sound = (1..=MAX_KEY).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
        sound
            .then(|| String::from_utf8(bytes.to_vec()).ok().map(Self))
            .flatten()
    }

    /// The secret itself: to be hashed, or told to the validator, and nothing else.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// Finds the key: the first source that is present counts, even if what it holds is no key.
#[must_use]
pub fn find(sources: &[KeySource], request: Presented<'_>) -> Found {
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
    fn add(self, value: Option<Cow<'a, [u8]>>) -> Self {
        match (self, value) {
            (Self::Nothing, Some(value)) => Self::One(value),
            (Self::One(earlier), Some(value)) if earlier == value => Self::One(earlier),
            _ => Self::Nonsense,
        }
    }
}

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

fn is_scheme(token: &[u8], scheme: &str) -> bool {
    token.eq_ignore_ascii_case(scheme.as_bytes())
}

/// A value that is the same between all its commas is what was repeated and joined on its way. Else a comma is the
/// key's own.
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

/// The key that a subprotocol carries, plain behind the prefix or in base64url behind its `64` form.
fn key_in_protocol<'a>(protocol: &'a [u8], prefix: &str) -> Option<Option<Cow<'a, [u8]>>> {
    if let Some(key) = protocol.strip_prefix(prefix.as_bytes()) {
        return Some(Some(Cow::Borrowed(key)));
    }
    let encoded = protocol
        .strip_prefix(prefix.strip_suffix('.').unwrap_or(prefix).as_bytes())?
        .strip_prefix(b"64.")?;
    Some(URL_SAFE_NO_PAD.decode(encoded).ok().map(Cow::Owned))
}

/// The parameters of a path's query, raw: name and value.
fn query(path: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    split_query(path)
        .1
        .unwrap_or_default()
        .split(|byte| *byte == b'&')
        .map(|parameter| split_once(parameter, b'='))
        .map(|(name, value)| (name, value.unwrap_or_default()))
}

/// `%41` as `A`; what is no escape stays as it is, and so does `+`, which may stand in a key.
fn percent_decoded(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    Cow::Owned(decoded(bytes, |_| true))
}

/// The subprotocols that a handshake offers.
fn offered(headers: &HeaderBlock) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(PROTOCOLS)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|protocol| !protocol.is_empty())
}

/// What a handshake offers beside the key, and the protocol to name in the answer if the agent names none:
/// browsers break off when they offered protocols and none comes back.
#[must_use]
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

/// A change that takes keys out of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal<'a> {
    /// Remove the header.
    Header(&'a str),
    /// Put this in place of the header: what stands in it beside the key.
    Rest(&'a str, Sensitive<Vec<u8>>),
    /// Put this in place of the path.
    Path(Sensitive<Vec<u8>>),
}

/// What must change so that no key travels on: every source is cleared, whichever counted, the query on any request.
/// Subprotocols are not regarded here, see [`offered_protocols`].
#[must_use]
pub fn without_key<'a>(sources: &'a [KeySource], request: Presented<'_>) -> Vec<Removal<'a>> {
    let mut removals = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let KeySource::Header { name, .. } = source else {
            continue;
        };
        let earlier = sources.iter().take(index);
        if !schemes_of(earlier, name).any(|_| true) {
            removals.extend(without_schemes(sources, request.headers, name));
        }
    }
    let named = |parameter: &[u8]| {
        let parameter = percent_decoded(parameter);
        sources
            .iter()
            .any(|source| matches!(source, KeySource::Query { name, .. } if parameter == name.as_bytes()))
    };
    if query(request.path).any(|(name, _)| named(name)) {
        removals.push(Removal::Path(Sensitive(path_without(request.path, named))));
    }
    removals
}

/// The schemes of all sources that look at a header; `None` for one that takes whatever stands there.
fn schemes_of<'a>(
    sources: impl Iterator<Item = &'a KeySource>,
    header: &str,
) -> impl Iterator<Item = Option<&'a str>> {
    sources.filter_map(move |source| match source {
        KeySource::Header { name, scheme } if name == header => Some(scheme.as_deref()),
        _ => None,
    })
}

/// What must change in a header, of which all parts go that are of a source's scheme. `None`: nothing.
fn without_schemes<'a>(
    sources: &[KeySource],
    headers: &HeaderBlock,
    header: &'a str,
) -> Option<Removal<'a>> {
    let values = headers.get_all(header);
    values.clone().next()?;
    if schemes_of(sources.iter(), header).any(|scheme| scheme.is_none()) {
        return Some(Removal::Header(header));
    }
    let wanted = |token: &[u8]| {
        schemes_of(sources.iter(), header)
            .flatten()
            .any(|scheme| is_scheme(token, scheme))
    };
    let (mut found, mut rest) = (false, Vec::new());
    for part in values.flat_map(|value| parts(value, wanted)) {
        if part.is_wanted() {
            found = true;
        } else {
            rest.push(part.bytes());
        }
    }
    let rest = rest.join(&b", "[..]);
    // A quoted string may hold a key as well, and nobody knows whether what is left is read as it was before.
    let hidden = unquoted_parts(&rest, wanted).any(Part::is_wanted);
    match (found, hidden) {
        (false, false) => None,
        (true, false) if !rest.is_empty() => Some(Removal::Rest(header, Sensitive(rest))),
        _ => Some(Removal::Header(header)),
    }
}

/// The path with all parameters gone that are `named`; without a `?` if none is left.
fn path_without(path: &[u8], named: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let (path, query) = split_query(path);
    let kept: Vec<&[u8]> = query
        .unwrap_or_default()
        .split(|byte| *byte == b'&')
        .filter(|parameter| !named(split_once(parameter, b'=').0))
        .collect();
    let mut result = path.to_vec();
    if !kept.is_empty() {
        result.push(b'?');
        result.extend(kept.join(&b"&"[..]));
    }
    result
}

#[cfg(test)]
mod tests;
