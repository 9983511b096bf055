//! Taking keys out of a request, before an agent, a reply or the access log can see them.

use super::find::{Presented, is_scheme, percent_decoded, query};
use super::schemes::{Part, parts, unquoted_parts};
use crate::config::policy::KeySource;
use crate::host::{HeaderBlock, Sensitive};
use crate::text::paths::{split_once, split_query};

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

/// What must change so that no key travels on: every source is cleared, whichever counted, and the query on any request.
/// For subprotocols see [`offered_protocols`](super::offered_protocols).
#[must_use]
#[inline]
pub fn without_key<'a>(sources: &'a [KeySource], request: Presented<'_>) -> Vec<Removal<'a>> {
    let mut removals = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let KeySource::Header { name, .. } = source else {
            continue;
        };
        if request.headers.get(name).is_none() {
            continue;
        }
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
    let has_query = request.path.contains(&b'?');
    if has_query && query(request.path).any(|(name, _)| named(name)) {
        removals.push(Removal::Path(Sensitive(path_without(request.path, named))));
    }
    removals
}

/// The schemes of all sources that look at a header; `None` for one that takes whatever stands there.
#[inline]
fn schemes_of<'a>(
    sources: impl Iterator<Item = &'a KeySource>,
    header: &str,
) -> impl Iterator<Item = Option<&'a str>> {
    sources.filter_map(move |source| match source {
        KeySource::Header { name, scheme } if name == header => Some(scheme.as_deref()),
        _ => None,
    })
}

/// What must change in a header so that no part of a source's scheme is left. `None`: nothing.
#[inline]
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
    // A quoted string may hold a key as well, and what is left may be read in another way than the whole was.
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
