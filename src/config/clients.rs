//! Who calls: where keys stand, which are listed, and who knows the others.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::shown;
use super::policy::{
    Clients, Hold, KeySource, ListedClient, ListedKey, PlanId, Remember, UnknownPlan, Validator,
};
use super::reader::Spot;
use super::units::show_size;
use super::{names, paths, time};
use crate::sort::sort_by;
use crate::text::hex;

const MOST_KEY_SOURCES: usize = 16;
const MOST_KEYS: usize = 100_000;
const MOST_HEADERS: usize = 32;
/// The most roles that a client may have, and a route ask for. They travel in one header, and are remembered with the key.
pub const MOST_ROLES: usize = 16;

/// Room for a number that was counted up, and for one made of a date or a time. Beyond it a double skips numbers, so
/// two generations could be one.
const GENERATIONS: RangeInclusive<u64> = 1..=(1 << 53) - 1;

/// Each question under way takes some hundred bytes here and a stream of the validator's cluster.
const MOST_PENDING: RangeInclusive<u64> = 1..=65_536;

/// The headers of a request that Envoy takes fit in.
const HOLD_OF_REQUEST: RangeInclusive<u64> = 64 << 10..=1 << 30;
const HOLD_OF_WORKER: RangeInclusive<u64> = 1 << 20..=1 << 36;

/// For one request, what Envoy holds before it makes the sender wait, and more: who sends much waits and is not refused.
const DEFAULT_HOLD: Hold = Hold {
    request: 4 << 20,
    worker: 128 << 20,
    collected: 512 << 20,
};

pub(super) const FIELDS: &[&str] = &[
    "key_sources",
    "keys",
    "default_plan",
    "unknown_plan",
    "hold",
    "validator",
];
pub(super) const HOLD_FIELDS: &[&str] = &["request", "worker", "collected"];
pub(super) const KEY_SOURCE_FIELDS: &[&str] = &[
    "header",
    "scheme",
    "query",
    "any_request",
    "websocket_protocol",
];
pub(super) const KEY_FIELDS: &[&str] = &["sha256", "client_id", "plan", "team", "roles", "expires"];
pub(super) const VALIDATOR_FIELDS: &[&str] = &[
    "cluster",
    "path",
    "timeout",
    "max_pending",
    "headers",
    "remember",
];
pub(super) const REMEMBER_FIELDS: &[&str] = &["valid", "invalid", "generation"];

/// Who calls; `plans` says which plans there are.
pub(super) fn clients(spot: Option<&Spot<'_>>, plans: &HashMap<&str, PlanId>) -> Clients {
    let Some(fields) = spot.and_then(|spot| spot.fields(FIELDS)) else {
        return Clients {
            key_sources: default_key_sources(),
            keys: Vec::new(),
            default_plan: None,
            unknown_plan: UnknownPlan::Refuse,
            hold: DEFAULT_HOLD,
            validator: None,
        };
    };
    let default_plan = fields
        .get("default_plan")
        .and_then(|plan| plan.reference("plan", plans));
    let unknown_plan = fields.get("unknown_plan").and_then(|spot| {
        let choice = spot.choice(&[
            ("refuse", UnknownPlan::Refuse),
            ("default", UnknownPlan::UseDefault),
        ])?;
        if choice == UnknownPlan::UseDefault && fields.get("default_plan").is_none() {
            spot.fault("\"default\" needs a default_plan");
        }
        Some(choice)
    });
    Clients {
        key_sources: match fields.get("key_sources") {
            Some(spot) => key_sources(&spot),
            None => default_key_sources(),
        },
        keys: fields
            .get("keys")
            .map(|spot| keys(&spot, plans, default_plan))
            .unwrap_or_default(),
        default_plan,
        unknown_plan: unknown_plan.unwrap_or(UnknownPlan::Refuse),
        hold: fields.get("hold").map_or(DEFAULT_HOLD, |spot| hold(&spot)),
        validator: fields.get("validator").and_then(|spot| validator(&spot)),
    }
}

/// Where clients of OpenAI's and Anthropic's interfaces put their keys.
fn default_key_sources() -> Vec<KeySource> {
    vec![
        KeySource::Header {
            name: "x-api-key".to_owned(),
            scheme: None,
        },
        KeySource::Header {
            name: "authorization".to_owned(),
            scheme: Some("Bearer".to_owned()),
        },
    ]
}

fn key_sources(spot: &Spot<'_>) -> Vec<KeySource> {
    let mut sources: Vec<KeySource> = Vec::new();
    for item in spot.nonempty_list(MOST_KEY_SOURCES).into_iter().flatten() {
        let Some(source) = key_source(&item) else {
            continue;
        };
        if let Some(earlier) = sources.iter().position(|earlier| hides(earlier, &source)) {
            item.fault(format!(
                "is never looked at: entry {earlier} of this list already takes what stands there"
            ));
        }
        sources.push(source);
    }
    sources
}

fn key_source(spot: &Spot<'_>) -> Option<KeySource> {
    let fields = spot.fields(KEY_SOURCE_FIELDS)?;
    let (header, query, protocol) = (
        fields.get("header"),
        fields.get("query"),
        fields.get("websocket_protocol"),
    );
    if [&header, &query, &protocol].into_iter().flatten().count() != 1 {
        fields.fault("must have exactly one of header, query and websocket_protocol");
        return None;
    }
    let only_with = |field: &str, owner: &str, present: bool| {
        if let (Some(spot), false) = (fields.get(field), present) {
            spot.fault(format!("has no meaning without {owner}"));
        }
    };
    only_with("scheme", "header", header.is_some());
    only_with("any_request", "query", query.is_some());
    if let Some(header) = header {
        let name = header.checked(names::key_header)?.to_ascii_lowercase();
        let scheme = match fields.get("scheme") {
            Some(scheme) => Some(scheme.checked(names::scheme)?.to_owned()),
            None => None,
        };
        return Some(KeySource::Header { name, scheme });
    }
    if let Some(query) = query {
        let name = query.checked(names::parameter)?.to_owned();
        let any_request = fields
            .get("any_request")
            .and_then(|flag| flag.flag())
            .unwrap_or(false);
        return Some(KeySource::Query { name, any_request });
    }
    Some(KeySource::WebsocketProtocol {
        prefix: protocol?.checked(names::protocol_prefix)?.to_owned(),
    })
}

/// Whether the earlier source takes everything that the later one could find.
fn hides(earlier: &KeySource, later: &KeySource) -> bool {
    match (earlier, later) {
        (
            KeySource::Header { name, scheme },
            KeySource::Header {
                name: later_name,
                scheme: later_scheme,
            },
        ) => {
            name == later_name
                && match (scheme, later_scheme) {
                    (None, _) => true,
                    (Some(_), None) => false,
                    (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
                }
        }
        (
            KeySource::Query { name, any_request },
            KeySource::Query {
                name: later_name,
                any_request: later_any,
            },
        ) => name == later_name && (*any_request || !later_any),
        (
            KeySource::WebsocketProtocol { prefix },
            KeySource::WebsocketProtocol {
                prefix: later_prefix,
            },
        ) => {
            later_prefix.starts_with(prefix.as_str())
                || later_prefix.starts_with(&format!("{}64.", prefix.trim_end_matches('.')))
        }
        _ => false,
    }
}

fn keys(
    spot: &Spot<'_>,
    plans: &HashMap<&str, PlanId>,
    default_plan: Option<PlanId>,
) -> Vec<ListedKey> {
    let mut taken = HashSet::new();
    spot.list(MOST_KEYS)
        .into_iter()
        .flatten()
        .filter_map(|item| {
            let fields = item.fields(KEY_FIELDS)?;
            let sha256 = fields.need("sha256").and_then(|spot| {
                let hash = hash(&spot)?;
                if !taken.insert(hash) {
                    spot.fault("this key is already listed");
                }
                Some(hash)
            });
            let id = fields
                .need("client_id")
                .and_then(|id| id.checked(names::name));
            let plan = fields
                .get("plan")
                .and_then(|plan| plan.reference("plan", plans))
                .or(default_plan);
            let team = fields
                .get("team")
                .and_then(|team| team.checked(names::name))
                .map(str::to_owned);
            let roles = fields
                .get("roles")
                .map(|spot| roles(&spot))
                .unwrap_or_default();
            let expires = fields.get("expires").and_then(|spot| {
                let expires = time::seconds(spot.text_such_as(time::EXPECTED)?);
                if expires.is_none() {
                    spot.fault(format!("expected {}", time::EXPECTED));
                }
                expires
            });
            let client = ListedClient {
                id: id?.to_owned(),
                plan,
                team,
                roles,
            };
            Some(ListedKey {
                sha256: sha256?,
                client,
                expires,
            })
        })
        .collect()
}

fn hash(spot: &Spot<'_>) -> Option<[u8; 32]> {
    let hash = hex::decoded(spot.text()?);
    if hash.is_none() {
        // The text is not repeated: it may be a key that was pasted here by mistake.
        spot.fault("expected a SHA-256 as 64 hex digits; `waykeeper hash-key` makes it from a key");
    }
    hash
}

/// A list of roles without repetition.
pub(super) fn roles(spot: &Spot<'_>) -> Vec<String> {
    let mut roles: Vec<String> = Vec::new();
    for item in spot.nonempty_list(MOST_ROLES).into_iter().flatten() {
        let Some(role) = item.checked(names::name) else {
            continue;
        };
        if roles.iter().any(|earlier| earlier == role) {
            item.fault(format!("the role {} is already in the list", shown(role)));
        }
        roles.push(role.to_owned());
    }
    roles
}

fn hold(spot: &Spot<'_>) -> Hold {
    let Some(fields) = spot.fields(HOLD_FIELDS) else {
        return DEFAULT_HOLD;
    };
    let size = |name: &str, bounds, default| {
        let written = fields.get(name).and_then(|spot| spot.size(bounds));
        written.unwrap_or(default)
    };
    let hold = Hold {
        request: size("request", HOLD_OF_REQUEST, DEFAULT_HOLD.request),
        worker: size("worker", HOLD_OF_WORKER, DEFAULT_HOLD.worker),
        collected: size("collected", HOLD_OF_WORKER, DEFAULT_HOLD.collected),
    };
    if hold.request > hold.worker {
        spot.fault(format!(
            "request ({}) can never be reached: worker ({}) is smaller",
            show_size(hold.request),
            show_size(hold.worker)
        ));
    }
    hold
}

fn validator(spot: &Spot<'_>) -> Option<Validator> {
    let fields = spot.fields(VALIDATOR_FIELDS)?;
    let cluster = fields
        .need("cluster")
        .and_then(|cluster| cluster.checked(names::cluster));
    let path = fields
        .need("path")
        .and_then(|path| path.checked(paths::callout));
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
    Some(Validator {
        cluster: cluster?.to_owned(),
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
    let Some(named) = spot.named(MOST_HEADERS) else {
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
        if let Some(value) = value.checked(names::header_value) {
            headers.push((name, value.to_owned()));
        }
    }
    // The order of names, since a Struct does not keep that of the document.
    sort_by(&mut headers, Ord::cmp);
    headers
}
