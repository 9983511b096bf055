//! What is different between two gateways, in a line.

use std::collections::{BTreeMap, BTreeSet};

use waykeeper::config::Node;
use waykeeper::config::policy::{AgentId, Policy, Route};

use super::setting::Loaded;
use crate::gateway::{Agent, Checked};

const LISTENERS: &str = "listeners";

/// Fields of the document that are told of by their names alone.
const OTHERS: [&str; 9] = [
    "clients",
    "limits",
    "fleet",
    "sessions",
    "tell",
    "limits_endpoint",
    "agents_see",
    "address",
    "proof",
];

/// What of it does not concern listeners.
pub(super) fn beside_listeners(before: &Loaded, after: &Loaded) -> String {
    let mut told = different(before, after);
    told.retain(|it| !it.starts_with(LISTENERS));
    told.join("; ")
}

/// Says it, such as `agents: added search; routes: 2 changed`; nothing where nothing is.
pub(super) fn changes(before: &Loaded, after: &Loaded) -> String {
    different(before, after).join("; ")
}

fn different(before: &Loaded, after: &Loaded) -> Vec<String> {
    // Which names clusters have is nothing that anybody has changed.
    let (before, after) = (&before.as_first, &after.as_first);
    let mut told = Vec::new();
    let named = |checked: &Checked| -> BTreeMap<String, Agent> {
        let agents = checked.gateway.agents.iter();
        agents
            .map(|agent| (agent.name.clone(), agent.clone()))
            .collect()
    };
    told.extend(names("agents", &named(&before.0), &named(&after.0)));
    told.extend(names(LISTENERS, &before.1.listeners, &after.1.listeners));
    told.extend(
        names("certificates", &before.1.secrets, &after.1.secrets)
            .map(|_| "certificates: changed".to_owned()),
    );
    told.extend(routes(&before.0.policy, &after.0.policy));
    if before.0.gateway.validator != after.0.gateway.validator {
        told.push("validator: moved".to_owned());
    }
    if before.0.gateway.limiter != after.0.gateway.limiter {
        told.push("limiter: moved".to_owned());
    }
    if before.0.gateway.patches != after.0.gateway.patches {
        told.push("envoy.patches: changed".to_owned());
    }
    let plans = |checked| entries(field(checked, "plans"));
    told.extend(names("plans", &plans(&before.0), &plans(&after.0)));
    let others = OTHERS.iter();
    let others = others.filter(|name| field(&before.0, name) != field(&after.0, name));
    told.extend(others.map(|name| format!("{name}: changed")));
    if told.is_empty() && before.1.routes != after.1.routes {
        told.push("Envoy's routes: changed".to_owned());
    }
    if told.is_empty() && before.1.clusters != after.1.clusters {
        told.push("Envoy's clusters: changed".to_owned());
    }
    told
}

/// Which names are new, gone, or mean something else.
fn names<T: PartialEq>(
    what: &str,
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
) -> Option<String> {
    let added: Vec<_> = after
        .keys()
        .filter(|name| !before.contains_key(*name))
        .collect();
    let removed: Vec<_> = before
        .keys()
        .filter(|name| !after.contains_key(*name))
        .collect();
    let other = |name: &&String| {
        before
            .get(*name)
            .is_some_and(|it| after.get(*name) != Some(it))
    };
    let changed: Vec<_> = after.keys().filter(other).collect();
    let told: Vec<String> = [("added", added), ("removed", removed), ("changed", changed)]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(how, names)| format!("{how} {}", listed(&names)))
        .collect();
    (!told.is_empty()).then(|| format!("{what}: {}", told.join(", ")))
}

/// Some names, and how many more there are.
fn listed(names: &[&String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(|name| name.as_str()).collect();
    let shown = shown.join(" ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn routes(before: &Policy, after: &Policy) -> Option<String> {
    let keyed = |policy: &Policy| -> BTreeMap<(String, Option<Vec<String>>), String> {
        let routes = policy.routes.iter();
        routes
            .map(|route| {
                let key = (route.prefix.clone(), route.methods.clone());
                (key, described(route, policy))
            })
            .collect()
    };
    let (before, after) = (keyed(before), keyed(after));
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.keys().collect(), after.keys().collect());
    let changed = old.intersection(&new);
    let changed = changed
        .filter(|key| before.get(**key) != after.get(**key))
        .count();
    let counts = [
        (new.difference(&old).count(), "added"),
        (old.difference(&new).count(), "removed"),
        (changed, "changed"),
    ];
    let told = counts.iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = told.map(|(count, how)| format!("{count} {how}")).collect();
    (!told.is_empty()).then(|| format!("routes: {}", told.join(", ")))
}

/// All that a route says, with agents by their names: their places change with other agents.
fn described(route: &Route, policy: &Policy) -> String {
    let agents = route.all_choices().flatten().map(|choice| {
        let agent = policy.agents.get(choice.agent.0);
        (agent.map(|agent| agent.name.as_str()), choice.weight)
    });
    let agents: Vec<_> = agents.collect();
    let name = |id: &AgentId| policy.agents.get(id.0).map(|agent| agent.name.as_str());
    let next = |listed: &Option<Vec<AgentId>>| {
        let listed = listed.as_ref()?.iter().map(name);
        Some(listed.collect::<Vec<_>>())
    };
    let of_rules: Vec<_> = route
        .rules
        .iter()
        .map(|rule| next(&rule.fallback))
        .collect();
    let next = next(&route.fallback);
    let mut rest = route.clone();
    rest.agents.clear();
    rest.fallback = None;
    for rule in &mut rest.rules {
        rule.agents.clear();
        rule.fallback = None;
    }
    format!("{agents:?} {next:?} {of_rules:?} {rest:?}")
}

/// What stands in a mapping, by its names.
fn entries(node: Option<&Node>) -> BTreeMap<String, Node> {
    match node {
        Some(Node::Map(fields)) => fields.iter().cloned().collect(),
        _ => BTreeMap::new(),
    }
}

fn field<'c>(checked: &'c Checked, name: &str) -> Option<&'c Node> {
    let Node::Map(fields) = &checked.document.0 else {
        return None;
    };
    let found = fields.iter().find(|(field, _)| field == name);
    found.map(|(_, value)| value)
}
