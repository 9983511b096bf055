//! How older Envoys try a request at several agents: by a cluster for each order of agents, of which each attempt goes to the next. It
//! does nothing for one attempt that it does not do for all, so agents for which something is done are refused here.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use waykeeper::config::policy::AgentId;
use waykeeper::config::{Fault, Node, Policy, Segment};
use waykeeper::routing::COMPOSITE;

use super::clusters::{http, other_stat_name};
use super::{Agent, Checked, EnvoyVersion, Gateway, fallback};
use crate::yaml::Value;

/// So many come behind the first one.
const MOST_BEHIND: usize = 2;

/// The gateway as such an Envoy can have it: agents of lists are judged by what callers get, since the module has no place on their side.
pub(super) fn judged_by_callers(checked: &Checked) -> Checked {
    let mut checked = checked.clone();
    let tried = fallback::tried(&checked.policy).into_iter();
    let tried: BTreeSet<String> = tried.map(str::to_owned).collect();
    for agent in &mut checked.policy.agents {
        if let Some(rest) = agent.rest.as_mut().filter(|_| tried.contains(&agent.name)) {
            rest.each_attempt = false;
        }
    }
    for name in &tried {
        let agents = checked.document.0.get_mut("agents");
        let agent = agents.and_then(|agents| agents.get_mut(name));
        if let Some(Node::Map(rest)) = agent.and_then(|agent| agent.get_mut("rest")) {
            rest.retain(|(name, _)| name != "each_attempt");
        }
    }
    checked
}

/// What is wrong with lists for an Envoy that has such clusters.
pub(super) fn faults(
    document: &Value,
    policy: &Policy,
    gateway: &Gateway,
    envoy: EnvoyVersion,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut tell = |path: Vec<Segment>, why: &str| {
        faults.push(Fault {
            positions: document.positions_at(&path),
            path,
            message: format!("Envoy {envoy} {why}; 1.39 or newer can"),
        });
    };
    let places = fallback::places(policy);
    for (index, route) in policy.routes.iter().enumerate() {
        let mut lists = route.all_fallbacks();
        // One of the choices comes behind the first one if that is another.
        let by_capability = route.all_fallbacks().any(|(choices, listed)| {
            let may_be_behind = choices.len() > 1 || fallback::may_return(route);
            let mut agents = choices
                .iter()
                .filter_map(|it| policy.agents.get(it.agent.0));
            listed.is_empty()
                || agents.any(|agent| {
                    !agent.capabilities.is_empty() && (may_be_behind || agent.rest.is_some())
                })
        });
        let why = if by_capability {
            "tries agents as they are listed, and cannot choose the next one by its capabilities"
        } else if lists.any(|(_, listed)| listed.len() > MOST_BEHIND) {
            "tries a request at three agents at most, the first included"
        } else {
            continue;
        };
        let here = Segment::Item(index);
        for place in places.iter().filter(|it| it.get(1) == Some(&here)) {
            tell(place.clone(), why);
        }
    }
    let mut versions = BTreeSet::new();
    for name in fallback::tried(policy) {
        let Some(agent) = gateway.agents.iter().find(|it| it.name == name) else {
            continue;
        };
        let place = ["agents", name].map(|name| Segment::Field(name.to_owned()));
        if let Some(what) = done_for(agent) {
            tell(
                place.to_vec(),
                &format!(
                    "cannot do for one attempt of a fallback list what this agent needs: {what}"
                ),
            );
        }
        let judged = ["agents", name, "rest", "each_attempt"];
        let written = judged
            .iter()
            .try_fold(document, |value, name| value.get(name));
        if written.is_some() && fallback::judges_each(policy, name) {
            let path = judged.map(|name| Segment::Field(name.to_owned()));
            tell(
                path.to_vec(),
                "has no place for the module on the side of agents in fallback lists",
            );
        }
        let spoken = agent.upstream.as_ref().map(|upstream| http(upstream.http));
        versions.insert(spoken);
        if versions.len() > 1 {
            tell(
                place.to_vec(),
                "speaks one version of HTTP to all agents of fallback lists, and cannot change it for this one",
            );
        }
    }
    faults
}

/// What Envoy would have to do to a request for this agent alone.
fn done_for(agent: &Agent) -> Option<&'static str> {
    let Some(upstream) = &agent.upstream else {
        return Some("it is builtin");
    };
    match upstream {
        it if it.provider.is_some() => Some("its provider has its own host and headers"),
        it if it.credential.is_some() => Some("it has a credential"),
        it if it.base.is_some() => Some("its url has a path"),
        it if it.tls.is_some() => Some("over TLS it is asked by its own host"),
        it if it.balance.is_by_hash() => Some("it is sticky by a hash, which is taken out"),
        _ if agent.sees.is_some() => Some("it has sees"),
        _ => None,
    }
}

/// What the templates are told: of each such cluster its name and its members, the longest first.
pub(super) fn composites(policy: &Policy, gateway: &Gateway) -> Vec<Json> {
    let mut orders = BTreeSet::new();
    for (firsts, listed) in policy.routes.iter().flat_map(fallback::lists) {
        orders.extend(orders_of(&firsts, listed));
    }
    let mut orders: Vec<Vec<AgentId>> = orders.into_iter().collect();
    orders.sort_by_key(|order| std::cmp::Reverse(order.len()));
    let composite = |order: &Vec<AgentId>| {
        let names = order.iter().filter_map(|id| policy.agents.get(id.0));
        let names: Vec<&str> = names.map(|agent| agent.name.as_str()).collect();
        let agents = names
            .iter()
            .filter_map(|name| gateway.agents.iter().find(|agent| agent.name == *name));
        let agents: Vec<&Agent> = agents.collect();
        let clusters: Vec<&str> = agents.iter().map(|agent| agent.cluster.as_str()).collect();
        let name = format!("{COMPOSITE}{}", clusters.join("+"));
        let spoken = agents.first().and_then(|it| it.upstream.as_ref());
        json!({
            "stat_name": other_stat_name(&name),
            "name": name,
            "clusters": clusters,
            "names": policy.agents_see.agent.then_some(names),
            "http": spoken.map(|upstream| http(upstream.http)),
        })
    };
    orders.iter().map(composite).collect()
}

/// All orders in which requests may be tried at these: agents that rest are left out, and one that is being probed comes last.
fn orders_of(firsts: &BTreeSet<AgentId>, listed: &[AgentId]) -> Vec<Vec<AgentId>> {
    let mut orders = Vec::new();
    for &first in firsts {
        let behind = || listed.iter().copied().filter(move |other| *other != first);
        for second in behind() {
            orders.push(vec![first, second]);
            let third = behind().filter(|other| *other != second);
            orders.extend(third.map(|third| vec![first, second, third]));
        }
    }
    orders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_an_order_for_whoever_comes_first_and_for_whoever_rests() {
        let firsts = [0, 1, 2].map(AgentId).into();
        let orders = orders_of(&firsts, &[AgentId(1), AgentId(2)]);
        let orders: BTreeSet<Vec<usize>> = orders
            .into_iter()
            .map(|order| order.into_iter().map(|id| id.0).collect())
            .collect();
        let expected: [&[usize]; 6] = [&[0, 1], &[0, 1, 2], &[0, 2], &[0, 2, 1], &[1, 2], &[2, 1]];
        assert_eq!(orders.into_iter().collect::<Vec<_>>(), expected);
    }
}
