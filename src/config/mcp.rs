//! MCP on a route: who may call which tools, and use which methods.

use std::collections::HashMap;

use super::clients::roles;
use super::document::shown;
use super::limits::one_or_more;
use super::policy::{Mcp, Permission, PlanId, Protocol};
use super::reader::Spot;
use super::rules::{Around, pattern};
use crate::text::pattern::Pattern;

const MOST_PERMISSIONS: usize = 1024;

/// How large the answers may be that are looked through.
const LISTS: std::ops::RangeInclusive<u64> = 1 << 10..=16 << 20;

pub(super) const MCP_FIELDS: &[&str] = &["tools", "methods", "max_list"];
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
        if fields.get("tools").is_none() {
            spot.fault("has no meaning without tools: lists pass as they come");
        }
        spot.size(LISTS)
    });
    let listed = |name| {
        let spot = fields.get(name);
        spot.map(|spot| permissions(&spot, around.plans, key_needed))
    };
    Some(Mcp {
        tools: listed("tools").unwrap_or_default(),
        methods: listed("methods").unwrap_or_default(),
        max_list: max_list.unwrap_or(Mcp::MAX_LIST),
    })
}

pub(super) fn permissions(
    spot: &Spot<'_>,
    plans: &HashMap<&str, PlanId>,
    key_needed: bool,
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
        let has = |name: &Pattern| permissions.iter().any(|it| it.names.contains(name));
        if let Some(twice) = names.iter().find(|name| has(name)) {
            item.fault(format!(
                "{} stands in an earlier one already",
                shown(&twice.to_string())
            ));
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
