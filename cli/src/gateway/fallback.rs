//! Agents at which a request is tried one after the other: what Envoy has to have for that, and what stands in its way.

use std::collections::BTreeSet;

use waykeeper::config::policy::{AgentId, Route, Sticky};
use waykeeper::config::{Fault, Policy, Segment, Spot};

use super::spots::{inner, items};
use super::{Agent, Checked, EnvoyVersion, composites};
use crate::yaml::Value;

/// What a route, or one of its rules, says of it.
const FIELD: &str = "fallback";

/// Whether requests go back to who has given an earlier answer, also where what takes them now does not name it.
pub(super) fn may_return(route: &Route) -> bool {
    route.sticky.as_ref().is_some_and(Sticky::names_responses)
}

/// Of each list of a route all that may be asked first, and those that come next.
pub(super) fn lists(route: &Route) -> impl Iterator<Item = (BTreeSet<AgentId>, &[AgentId])> {
    let all: Option<BTreeSet<_>> = may_return(route).then(|| route.all_agents().collect());
    route.all_fallbacks().map(move |(choices, listed)| {
        let own = choices.iter().map(|choice| choice.agent);
        let own = || own.chain(listed.iter().copied()).collect();
        (all.clone().unwrap_or_else(own), listed)
    })
}

/// The names of the agents of all requests that may go on to another.
pub(super) fn tried(policy: &Policy) -> BTreeSet<&str> {
    let all = policy.routes.iter().flat_map(lists);
    let ids = all.flat_map(|(firsts, listed)| firsts.into_iter().chain(listed.iter().copied()));
    let agents = ids.filter_map(|id| policy.agents.get(id.0));
    agents.map(|agent| agent.name.as_str()).collect()
}

/// Tells of agents that a request cannot go on to, or from.
pub(super) fn check(routes: &Spot<'_>, agents: &[Agent]) {
    // What is no list the filter's reader tells.
    for route in items(routes).filter(Spot::is_map) {
        let of_route = inner(&route, FIELD);
        let rules = inner(&route, "rules");
        let rules: Vec<Spot<'_>> = { rules.iter().flat_map(items) }
            .filter(Spot::is_map)
            .collect();
        let all: Vec<&Spot<'_>> = [&route].into_iter().chain(&rules).collect();
        let returns = may_return_as_written(&route);
        for around in &all {
            let own = inner(around, FIELD);
            if let Some(fallback) = &own {
                check_list(fallback, agents);
            }
            if returns {
                if let Some(fallback) = &own {
                    check_first(&all, fallback, agents);
                }
            } else if let Some(fallback) = own.as_ref().or(of_route.as_ref()) {
                check_first(&[around], fallback, agents);
            }
        }
    }
}

/// [`may_return`] of what is written.
fn may_return_as_written(route: &Spot<'_>) -> bool {
    let names = |way: &Spot<'_>| {
        way.is_map()
            && ["response", "task"]
                .iter()
                .any(|it| inner(way, it).is_some())
    };
    match inner(route, "sticky") {
        Some(ways) if ways.is_list() => items(&ways).any(|way| names(&way)),
        Some(way) => names(&way),
        None => inner(route, "a2a").is_some(),
    }
}

fn check_list(fallback: &Spot<'_>, agents: &[Agent]) {
    for next in items(fallback).filter(Spot::is_text) {
        let picker = named(&next, agents).and_then(|agent| agent.picker.as_ref());
        if picker.is_some_and(|picker| !picker.balances) {
            next.fault(
                "has a picker, which is not asked for a request that comes from another agent; where it may be balanced then, say \
                 on_failure: balance there",
            );
        }
        if is_elsewhere(&next, agents) {
            next.fault(
                "its cluster is written elsewhere, and there nobody undoes what was done to a request for the agent before; \
                 say where it is, by url, endpoints or provider",
            );
        }
    }
}

/// `around`: the route, or rules of it, whose agents may be asked first.
fn check_first(around: &[&Spot<'_>], fallback: &Spot<'_>, agents: &[Agent]) {
    let mut firsts: Vec<&Agent> = Vec::new();
    for around in around {
        let first = inner(around, "agents");
        for first in first.iter().flat_map(items) {
            let named_by = match first.is_map() {
                true => inner(&first, "agent"),
                false => Some(first),
            };
            let agent = { named_by.filter(Spot::is_text) }.and_then(|name| named(&name, agents));
            firsts.extend(agent.filter(|it| firsts.iter().all(|other| other.name != it.name)));
        }
    }
    for agent in firsts {
        let name = &agent.name;
        if agent.picker.is_some() {
            fallback.fault(format!(
                "no request goes on from {name:?}, which has a picker: that is asked for requests alone that go to one agent"
            ));
        }
        if !agent.is_made() {
            fallback.fault(format!(
                "no request goes on from {name:?}, whose cluster is written elsewhere; say where it is, by url, endpoints or provider"
            ));
        }
    }
}

fn named<'a>(name: &Spot<'_>, agents: &'a [Agent]) -> Option<&'a Agent> {
    let name = name.text();
    agents.iter().find(|it| Some(it.name.as_str()) == name)
}

fn is_elsewhere(name: &Spot<'_>, agents: &[Agent]) -> bool {
    named(name, agents).is_some_and(|agent| !agent.is_made())
}

/// What is wrong with a gateway whose Envoy cannot try a request at several agents, or not at these.
pub(super) fn unable(document: &Value, checked: &Checked, envoy: EnvoyVersion) -> Vec<Fault> {
    let Checked {
        gateway, policy, ..
    } = checked;
    if envoy.has_composites() {
        return composites::faults(document, policy, gateway, envoy);
    }
    let why =
        || format!("Envoy {envoy} tries a request at one agent only; this needs 1.37 or newer");
    unless(envoy.chooses_each_attempt(), document, policy, why)
}

/// The same where agents and routes change while Envoy runs.
pub(super) fn unable_to_follow(
    document: &Value,
    policy: &Policy,
    envoy: EnvoyVersion,
) -> Vec<Fault> {
    let why = || {
        format!(
            "`waykeeper run` cannot give it to Envoy {envoy} while that runs, and needs 1.39 or newer; `waykeeper envoy` writes such lists for 1.37 and 1.38"
        )
    };
    unless(envoy.chooses_each_attempt(), document, policy, why)
}

fn unless(able: bool, document: &Value, policy: &Policy, why: impl Fn() -> String) -> Vec<Fault> {
    let places = if able { Vec::new() } else { places(policy) };
    let fault = |path: Vec<Segment>| Fault {
        positions: document.positions_at(&path),
        path,
        message: why(),
    };
    places.into_iter().map(fault).collect()
}

/// Whether an agent is judged by each attempt at it.
pub(super) fn judges_each(policy: &Policy, agent: &str) -> bool {
    let mut named = policy.agents.iter().filter(|it| it.name == agent);
    named.any(|it| it.rest.is_some_and(|rest| rest.each_attempt))
}

/// Where in the file it is said.
pub(super) fn places(policy: &Policy) -> Vec<Vec<Segment>> {
    let field = |name: &str| Segment::Field(name.to_owned());
    let mut places = Vec::new();
    for (index, route) in policy.routes.iter().enumerate() {
        let at = [field("routes"), Segment::Item(index)];
        if route.fallback.is_some() {
            places.push([&at[..], &[field(FIELD)]].concat());
        }
        for (place, rule) in route.rules.iter().enumerate() {
            if rule.fallback.is_some() {
                let of_rule = [field("rules"), Segment::Item(place), field(FIELD)];
                places.push([&at[..], &of_rule].concat());
            }
        }
    }
    places
}
