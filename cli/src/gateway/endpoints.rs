//! Where an agent is: urls, each with its share of the requests.

use std::ops::RangeInclusive;

use waykeeper::config::{Fields, Spot};

use super::base::Base;
use super::url::Url;

const MOST: usize = 256;
/// All weights of an agent still fit what Envoy adds them up in.
const WEIGHT: RangeInclusive<u32> = 1..=1_000_000;

pub(super) const FIELDS: &[&str] = &["url", "weight"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) url: Url,
    pub(crate) weight: u32,
}

/// Those that are written of an agent.
pub(super) fn endpoints(fields: &Fields<'_>) -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    if let Some(spot) = fields.get("url") {
        endpoints.extend(agents_url(&spot).map(|url| Endpoint { url, weight: 1 }));
        return endpoints;
    }
    let list = fields.get("endpoints");
    let list = list.as_ref().and_then(|spot| spot.nonempty_list(MOST));
    for item in list.into_iter().flatten() {
        let Some(endpoint) = endpoint(&item) else {
            continue;
        };
        let first = endpoints.first();
        if first.is_some_and(|first| first.url.secure != endpoint.url.secure) {
            item.fault("all endpoints of an agent are spoken to over TLS (https), or none");
        }
        if first.is_some_and(|first| base_of(first) != base_of(&endpoint)) {
            item.fault("all endpoints of an agent have the same path in their urls");
        }
        let same = |other: &Endpoint| {
            other.url.host == endpoint.url.host && other.url.port == endpoint.url.port
        };
        if endpoints.iter().any(same) {
            item.fault("this endpoint is already in the list");
        }
        endpoints.push(endpoint);
    }
    endpoints
}

fn endpoint(spot: &Spot<'_>) -> Option<Endpoint> {
    if spot.is_text() {
        let url = agents_url(spot)?;
        return Some(Endpoint { url, weight: 1 });
    }
    let fields = spot.fields(FIELDS)?;
    let weight = fields.get("weight").and_then(|spot| spot.whole_u32(WEIGHT));
    Some(Endpoint {
        url: agents_url(&fields.need("url")?)?,
        weight: weight.unwrap_or(1),
    })
}

/// A URL whose path can be an agent's base.
fn agents_url(spot: &Spot<'_>) -> Option<Url> {
    let url = parsed(spot)?;
    match Base::of(&url) {
        Ok(_) => Some(url),
        Err(message) => {
            spot.fault(message);
            None
        }
    }
}

/// What its paths begin with.
pub(super) fn base_of(endpoint: &Endpoint) -> Option<Base> {
    Base::of(&endpoint.url).ok().flatten()
}

/// What is written as a URL.
pub(super) fn parsed(spot: &Spot<'_>) -> Option<Url> {
    match Url::parse(spot.text()?) {
        Ok(url) => Some(url),
        Err(message) => {
            spot.fault(message);
            None
        }
    }
}
