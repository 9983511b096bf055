//! Servers of MCP that are one to callers: which agents can be such, and what the gateway calls them.

use std::collections::BTreeSet;

use waykeeper::config::{Node, Spot};

use super::Agent;
use super::spots::{inner, items};

/// Tells of agents that answer only what comes through Envoy's routes: the gateway's own questions do not.
pub(super) fn check(routes: &Spot<'_>, agents: &[Agent]) {
    for route in items(routes).filter(Spot::is_map) {
        let mcp = inner(&route, "mcp").filter(Spot::is_map);
        let servers = mcp.as_ref().and_then(|mcp| inner(mcp, "servers"));
        let Some(servers) = servers.filter(Spot::is_map) else {
            continue;
        };
        for (_, named) in servers.named(usize::MAX).iter().flat_map(|it| it.iter()) {
            let Some(name) = named.is_text().then(|| named.text()).flatten() else {
                continue;
            };
            let agent = agents.iter().find(|agent| agent.name == name);
            let upstream = agent.and_then(|agent| agent.upstream.as_ref());
            let credential = upstream.and_then(|upstream| upstream.credential.as_ref());
            if credential.is_some_and(|it| it.callers_header().is_some()) {
                named.fault(
                    "asks for a credential of the caller's own, which the gateway's own questions do not bear; give it one of the gateway's",
                );
            }
        }
    }
}

/// The names of the agents that are such servers.
pub(super) fn named(written: &Node) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let Some(Node::List(routes)) = written.get("routes") else {
        return found;
    };
    for route in routes {
        let servers = route.get("mcp").and_then(|mcp| mcp.get("servers"));
        let Some(Node::Map(servers)) = servers else {
            continue;
        };
        found.extend(servers.iter().filter_map(|(_, agent)| match agent {
            Node::Text(name) => Some(name.as_str()),
            _ => None,
        }));
    }
    found
}
