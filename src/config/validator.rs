//! The service that knows keys: where it is asked, how, and how long its answers are remembered.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::policy::{Remember, Validator};
use super::reader::Spot;
use super::{hosts, names, paths};
use crate::sort::sort_by;

const MOST_HEADERS: usize = 32;

/// Room for a number that was counted up, and for one made of a date or a time. Beyond it a double skips numbers, so
/// two generations could be one.
const GENERATIONS: RangeInclusive<u64> = 1..=(1 << 53) - 1;

/// Each question under way takes some hundred bytes here and a stream of the validator's cluster.
const MOST_PENDING: RangeInclusive<u64> = 1..=65_536;

/// The fields of `clients.validator`.
pub const FIELDS: &[&str] = &[
    "cluster",
    "host",
    "path",
    "timeout",
    "max_pending",
    "headers",
    "remember",
];
pub(super) const REMEMBER_FIELDS: &[&str] = &["valid", "invalid", "generation"];

/// Who is asked about keys that are not listed.
pub(super) fn validator(spot: &Spot<'_>) -> Option<Validator> {
    let fields = spot.fields(FIELDS)?;
    let cluster = fields
        .need("cluster")
        .and_then(|cluster| cluster.checked(names::cluster));
    let path = fields
        .need("path")
        .and_then(|path| path.checked(paths::callout));
    let host = fields
        .get("host")
        .and_then(|host| host.checked(hosts::host));
    let timeout = fields
        .get("timeout")
        .and_then(|timeout| timeout.duration(Duration::from_millis(1)..=Duration::from_secs(60)))
        .unwrap_or(Duration::from_secs(1));
    let max_pending = fields
        .get("max_pending")
        .and_then(|spot| spot.whole(MOST_PENDING))
        .and_then(|most| usize::try_from(most).ok())
        .unwrap_or(1024);
    let headers = fields
        .get("headers")
        .map(|headers| callout_headers(&headers))
        .unwrap_or_default();
    let remember = fields
        .get("remember")
        .map_or(Remember::DEFAULT, |spot| remember(&spot));
    let cluster = cluster?;
    Some(Validator {
        host: host.map_or_else(|| hosts::of_cluster(cluster), str::to_owned),
        cluster: cluster.to_owned(),
        path: path?.to_owned(),
        timeout,
        max_pending,
        headers,
        remember,
    })
}

fn remember(spot: &Spot<'_>) -> Remember {
    let default = Remember::DEFAULT;
    let Some(fields) = spot.fields(REMEMBER_FIELDS) else {
        return default;
    };
    let time = |name: &str, default| {
        let written = fields.get(name);
        let time = written.and_then(|spot| spot.duration(Duration::ZERO..=Remember::LONGEST));
        time.unwrap_or(default)
    };
    let (valid, invalid) = (
        time("valid", default.valid),
        time("invalid", default.invalid),
    );
    let generation = fields.get("generation");
    let generation = generation.and_then(|spot| spot.whole(GENERATIONS));
    Remember {
        valid,
        invalid,
        generation: generation.unwrap_or(default.generation),
    }
}

fn callout_headers(spot: &Spot<'_>) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    let Some(named) = spot.headers(MOST_HEADERS) else {
        return headers;
    };
    for (name, value) in named.iter() {
        if let Err(fault) = names::callout_header(name) {
            value.fault(fault);
        }
        let name = name.to_ascii_lowercase();
        if headers.iter().any(|(earlier, _)| *earlier == name) {
            value.fault("this header is already written, in other letters");
        }
        if let Some(value) = value.secret(names::header_value) {
            headers.push((name, value.to_owned()));
        }
    }
    // The order of names, since a Struct does not keep that of the document.
    sort_by(&mut headers, Ord::cmp);
    headers
}
