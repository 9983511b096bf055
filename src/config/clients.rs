//! Who calls: where keys stand, and which are listed. (`validator.rs` says who knows the others.)

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use super::document::shown;
use super::limits::own_limits;
use super::policy::{Clients, Hold, KeySource, ListedClient, ListedKey, PlanId, UnknownPlan};
use super::reader::Spot;
use super::units::show_size;
use super::validator::validator;
use super::{names, time};
use crate::text::hex;

const MOST_KEY_SOURCES: usize = 16;
const MOST_KEYS: usize = 100_000;
/// The most roles that a client may have, and a route ask for. They travel in one header, and are remembered with the key.
pub const MOST_ROLES: usize = 16;

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
pub(super) const KEY_FIELDS: &[&str] = &[
    "sha256",
    "client_id",
    "plan",
    "team",
    "organisation",
    "roles",
    "limits",
    "expires",
];

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
/// The headers among the key sources that hold unless others are written.
pub const USUAL_KEY_HEADERS: [&str; 2] = ["x-api-key", "authorization"];

fn default_key_sources() -> Vec<KeySource> {
    let [key, authorization] = USUAL_KEY_HEADERS.map(str::to_owned);
    vec![
        KeySource::Header {
            name: key,
            scheme: None,
        },
        KeySource::Header {
            name: authorization,
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
    let read = |field: &str, check: fn(&str) -> Result<(), String>| {
        fields.get(field).map(|spot| spot.checked(check))
    };
    let header = read("header", names::key_header);
    let scheme = read("scheme", names::scheme);
    let query = read("query", names::parameter);
    let protocol = read("websocket_protocol", names::protocol_prefix);
    let any_request = fields.get("any_request").and_then(|flag| flag.flag());
    if [header, query, protocol].into_iter().flatten().count() != 1 {
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
        let scheme = match scheme {
            Some(scheme) => Some(scheme?.to_owned()),
            None => None,
        };
        return Some(KeySource::Header {
            name: header?.to_ascii_lowercase(),
            scheme,
        });
    }
    if let Some(query) = query {
        return Some(KeySource::Query {
            name: query?.to_owned(),
            any_request: any_request.unwrap_or(false),
        });
    }
    Some(KeySource::WebsocketProtocol {
        prefix: protocol??.to_owned(),
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
            let name = |field: &str| {
                let spot = fields.get(field)?;
                spot.checked(names::name).map(str::to_owned)
            };
            let (team, organisation) = (name("team"), name("organisation"));
            let limits = fields.get("limits").and_then(|spot| own_limits(&spot));
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
                organisation,
                roles,
                limits,
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
