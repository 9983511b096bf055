//! MCP on a route: who may call which tools, and use which methods; and which servers are one to its callers.

use std::collections::HashMap;

use super::clients::roles;
use super::document::shown;
use super::limits::one_or_more;
use super::policy::{Mcp, Permission, PlanId, Protocol, Server};
use super::reader::{Fields, Spot};
use super::rules::{Around, pattern};
use crate::text::pattern::Pattern;

const MOST_PERMISSIONS: usize = 1024;

/// How large the answers may be that are looked through.
const LISTS: std::ops::RangeInclusive<u64> = 1 << 10..=16 << 20;

/// Each of them is asked for every list.
const MOST_SERVERS: usize = 16;
const LONGEST_SERVER: usize = 32;

/// What chooses among agents, or changes what only Envoy's router carries, where a route stands for several servers.
const NOT_BESIDE_SERVERS: [&str; 9] = [
    "agents", "rules", "sticky", "prefer", "mirror", "canary", "fallback", "request", "response",
];

pub(super) const MCP_FIELDS: &[&str] = &["tools", "methods", "max_list", "servers"];
pub(super) const PERMISSION_FIELDS: &[&str] = &["match", "roles", "plans"];

/// What a route lets those do who speak MCP to its agents. `key_needed`: nobody comes in without one.
#[inline(never)]
pub(super) fn mcp(
    spot: &Spot<'_>,
    around: &Around<'_>,
    protocol: Protocol,
    key_needed: bool,
) -> Option<Mcp> {
    if protocol != Protocol::Http {
        spot.fault("is for routes of http: its answers may be streams or not");
    }
    let fields = spot.fields(MCP_FIELDS)?;
    let max_list = fields.get("max_list").and_then(|spot| {
        if fields.get("tools").is_none() && fields.get("servers").is_none() {
            spot.fault("has no meaning without tools: lists pass as they come");
        }
        spot.size(LISTS)
    });
    let listed = |name| {
        let spot = fields.get(name);
        spot.map(|spot| permissions(&spot, around.plans, key_needed, Pattern::eq))
    };
    Some(Mcp {
        tools: listed("tools").unwrap_or_default(),
        methods: listed("methods").unwrap_or_default(),
        max_list: max_list.unwrap_or(Mcp::MAX_LIST),
        servers: (fields.get("servers"))
            .map(|spot| servers(&spot, around))
            .unwrap_or_default(),
    })
}

/// Whether a route stands for several servers.
#[inline(never)]
pub(super) fn has_servers(fields: &Fields<'_>) -> bool {
    (fields.get("mcp")).is_some_and(|mcp| mcp.has("servers"))
}

/// What cannot stand beside them.
#[inline(never)]
pub(super) fn check_beside_servers(fields: &Fields<'_>) {
    for name in NOT_BESIDE_SERVERS {
        if let Some(spot) = fields.get(name) {
            spot.fault("has no meaning beside mcp.servers: the names that are called say which of them answers, and lists come from all");
        }
    }
}

#[inline(never)]
fn servers(spot: &Spot<'_>, around: &Around<'_>) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    let Some(named) = spot.named(MOST_SERVERS) else {
        return servers;
    };
    if !around.seals {
        spot.fault("needs sessions: what callers are told of the servers' sessions is sealed with its keys");
    }
    for (name, spot) in named.iter() {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.len() > LONGEST_SERVER
            || !name.bytes().all(legal)
            || !name.starts_with(|first: char| first.is_ascii_lowercase())
        {
            spot.fault("a server is called by a small letter and at most 31 of a-z, 0-9 and -: its name stands before __ and + in those of its tools and resources");
        }
        let Some(agent) = spot.reference("agent", around.agents_by_name) else {
            continue;
        };
        if servers.iter().any(|other| other.agent == agent) {
            spot.fault("is another server of this route already");
        }
        let is_sticky = |it: &&super::policy::Agent| it.sticky.is_some();
        if around.agents.get(agent.0).filter(is_sticky).is_some() {
            spot.fault("is sticky, and the gateway's own questions are not kept at one of its hosts; make an agent of each");
        }
        servers.push(Server {
            name: name.to_owned(),
            agent,
        });
    }
    if servers.is_empty() {
        spot.fault("there must be at least one server");
    }
    servers
}

/// Who may what, by the first entry that names it. `is_same`: two names are of one thing.
pub(super) fn permissions(
    spot: &Spot<'_>,
    plans: &HashMap<&str, PlanId>,
    key_needed: bool,
    is_same: fn(&Pattern, &Pattern) -> bool,
) -> Vec<Permission> {
    let mut permissions: Vec<Permission> = Vec::new();
    let mut names_all = false;
    for item in spot.nonempty_list(MOST_PERMISSIONS).into_iter().flatten() {
        let Some(fields) = item.fields(PERMISSION_FIELDS) else {
            continue;
        };
        if names_all {
            item.fault("is never asked: an earlier one is for every name");
        }
        let names = fields.need("match");
        let names: Vec<Pattern> = (names.iter().flat_map(one_or_more))
            .filter_map(|spot| pattern(&spot))
            .collect();
        let earlier = |name: &Pattern| {
            let mut all = permissions.iter().flat_map(|it| &it.names);
            all.find(|earlier| is_same(earlier, name))
        };
        if let Some((twice, earlier)) = names.iter().find_map(|it| Some((it, earlier(it)?))) {
            let [name, earlier] = [twice, earlier].map(|it| shown(&it.to_string()));
            item.fault(match name == earlier {
                true => format!("{name} stands in an earlier one already"),
                false => format!("{name} stands in an earlier one already, as {earlier}"),
            });
        }
        let of_clients = |spot: &Spot<'_>| {
            if !key_needed {
                spot.fault("nobody without a key has one: auth_required is false");
            }
        };
        let roles = fields.get("roles").map(|spot| {
            of_clients(&spot);
            roles(&spot)
        });
        let plans = fields.get("plans").map(|spot| {
            of_clients(&spot);
            let items = one_or_more(&spot).into_iter();
            items
                .filter_map(|item| item.reference("plan", plans))
                .collect()
        });
        names_all |= names.contains(&Pattern::Any);
        permissions.push(Permission {
            names,
            roles: roles.unwrap_or_default(),
            plans: plans.unwrap_or_default(),
        });
    }
    permissions
}
