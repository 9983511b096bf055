//! On which ways requests go to agents: each is a route of Envoy's for each kind of request, inserted before those above.

use serde_json::{Value as Json, json};
use waykeeper::routing::HOST;

use super::destination::Destination;
use super::destinations::Destinations;
use crate::gateway::{Agent, Gateway, routes};

/// First the way of all that is on no other; then those of agents that are called by their own names; then the same of
/// requests that Envoy looks for a session in, by the headers in which agents name them.
pub(super) fn ways(gateway: &Gateway, destinations: &Destinations) -> Vec<Json> {
    let own = |destination: &&Destination| destination.way.own_host;
    let own_hosts: Vec<&Destination> = destinations.all.iter().filter(own).collect();
    let mut ways = vec![way("", None, None)];
    ways.extend(own_hosts.iter().map(|it| way("", Some(it), None)));
    for (index, header) in routes::session_headers(gateway).into_iter().enumerate() {
        let mark = routes::session_mark(index);
        let names = |agent: &&Agent| routes::is_on(agent, Some(header));
        let agents: Vec<&Agent> = gateway.agents.iter().filter(names).collect();
        let is_at = |agent: &Agent, own: &Destination| {
            destinations.of_agents.get(&agent.name) == Some(&own.cluster())
        };
        let elsewhere = |agent: &&Agent| !own_hosts.iter().any(|own| is_at(agent, own));
        if agents.iter().any(elsewhere) {
            ways.push(way(&mark, None, Some(header)));
        }
        let theirs = own_hosts
            .iter()
            .filter(|own| agents.iter().any(|agent| is_at(agent, own)));
        ways.extend(theirs.map(|own| way(&mark, Some(own), Some(header))));
    }
    let mut of_sessions = ways.iter_mut().filter(|way| !way["session"].is_null());
    if let Some(first) = of_sessions.next() {
        first["opens_sessions"] = true.into();
    }
    ways
}

fn way(mark: &str, own: Option<&Destination>, session: Option<&str>) -> Json {
    let end = match own {
        Some(destination) if destination.way.tls.is_some() => "-tls",
        Some(_) => "-host",
        None => "",
    };
    json!({
        "suffix": format!("{mark}{end}"),
        "own": own.map(|it| json!({"cluster": it.cluster(), "authority": it.authority})),
        "session": session,
        // If the host is gone, the hash counts.
        "by_hash": session.is_none_or(|header| header == HOST),
        "opens_sessions": false,
    })
}
