//! What operators can do without: fields that tell callers, the place where they ask, headers that tell agents, and the question
//! for an address.

use super::policy::{AddressSource, AgentsSee, LimitsEndpoint, Tell};
use super::reader::Spot;
use super::{names, paths};

/// Words of a list, each with its place in the answer of [`chosen`].
type Words = [(&'static str, usize)];

const TELL: &Words = &[("ratelimit", 0), ("openai", 1)];

/// The names that agents may be told, as they are written.
pub const NAMES_SEEN: [&str; 6] = ["client", "plan", "team", "roles", "agent", "route"];

const SEEN: &Words = {
    let [client, plan, team, roles, agent, route] = NAMES_SEEN;
    &[
        (client, 0),
        (plan, 1),
        (team, 2),
        (roles, 3),
        (agent, 4),
        (route, 5),
    ]
};

const MOST_WORDS: usize = SEEN.len();

const FROM: [(&str, bool); 2] = [("envoy", false), ("x-forwarded-for", true)];

/// How many proxies may stand before the host. Nobody has more.
const HOPS: std::ops::RangeInclusive<u32> = 0..=32;

pub(super) const LIMITS_ENDPOINT_FIELDS: &[&str] = &["enabled", "path", "operator_role"];

pub(super) const ADDRESS_FIELDS: &[&str] = &["from", "trusted_hops"];

/// What callers are told of their limits: all, unless it is written.
pub(super) fn tell(spot: Option<&Spot<'_>>) -> Tell {
    let [ratelimit, openai, ..] = chosen(spot, TELL);
    Tell { ratelimit, openai }
}

/// Where callers ask how their limits stand: at the usual path, unless it is written.
#[inline(never)]
pub(super) fn limits_endpoint(spot: Option<&Spot<'_>>) -> Option<LimitsEndpoint> {
    let mut endpoint = LimitsEndpoint {
        path: LimitsEndpoint::PATH.to_owned(),
        operator_role: None,
    };
    let Some(fields) = spot.and_then(|spot| spot.fields(LIMITS_ENDPOINT_FIELDS)) else {
        return Some(endpoint);
    };
    let enabled = fields.get("enabled").and_then(|spot| spot.flag());
    let path = fields.get("path").and_then(|spot| {
        let path = spot.checked(paths::prefix)?;
        if path == "/" {
            spot.fault("is where all paths begin; name one of its own");
        }
        Some(path)
    });
    let role = fields.get("operator_role");
    let role = role.and_then(|spot| spot.checked(names::name));
    if let Some(path) = path {
        path.clone_into(&mut endpoint.path);
    }
    endpoint.operator_role = role.map(str::to_owned);
    enabled.unwrap_or(true).then_some(endpoint)
}

/// What agents, or one of them, are told of a request: all, unless it is written.
pub(super) fn agents_see(spot: Option<&Spot<'_>>) -> AgentsSee {
    let [client, plan, team, roles, agent, route] = chosen(spot, SEEN);
    AgentsSee {
        client,
        plan,
        team,
        roles,
        agent,
        route,
    }
}

/// Where addresses are read: from the host, unless it is written.
#[inline(never)]
pub(super) fn address(spot: Option<&Spot<'_>>) -> AddressSource {
    let Some(fields) = spot.and_then(|spot| spot.fields(ADDRESS_FIELDS)) else {
        return AddressSource::Host;
    };
    let forwarded = fields.need("from").and_then(|from| from.choice(&FROM));
    let hops = fields.get("trusted_hops");
    if let (Some(false), Some(hops)) = (forwarded, &hops) {
        hops.fault("has no meaning with from: envoy; set Envoy's xff_num_trusted_hops instead");
        return AddressSource::Host;
    }
    let trusted_hops = hops.and_then(|hops| hops.whole_u32(HOPS)).unwrap_or(0);
    match forwarded {
        Some(true) => AddressSource::ForwardedFor {
            trusted_hops: usize::try_from(trusted_hops).unwrap_or(0),
        },
        _ => AddressSource::Host,
    }
}

/// Which words stand in a list, each at most once; all, if no list is written.
#[inline(never)]
fn chosen(spot: Option<&Spot<'_>>, words: &Words) -> [bool; MOST_WORDS] {
    let Some(items) = spot.and_then(|spot| spot.list(words.len())) else {
        return [true; MOST_WORDS];
    };
    let mut chosen = [false; MOST_WORDS];
    for item in items {
        let word = item.choice(words);
        if let Some(chosen) = word.and_then(|word| chosen.get_mut(word)) {
            if *chosen {
                item.fault("stands here twice; once is enough");
            }
            *chosen = true;
        }
    }
    chosen
}
