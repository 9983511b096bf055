//! On which ways requests go to agents: each is a route of Envoy's for each kind of request.

use std::collections::BTreeSet;

use minijinja::{Environment, Error, context};
use serde_json::{Value as Json, json};
use waykeeper::config::policy::Sticky;
use waykeeper::config::{Policy, Spot};
use waykeeper::routing::HOST;

use super::agents::{OWN_HOST, TLS};
use super::balance::is_by_hash;
use super::sees::Sees;
use super::spots::{inner, items};
use super::{Agent, Gateway, filters, picker};

/// First those on which Envoy looks for a session, by the headers in which agents name them; then the others. Among each of
/// these first those of agents that are called by their own names. Between them stand those of agents with a picker, one for each.
pub(super) fn ways(gateway: &Gateway) -> Vec<Json> {
    let is_there = |header: Option<&str>, end: &str| {
        let mut agents = gateway.agents.iter();
        agents.any(|agent| is_on(agent, header) && end_of(agent) == end)
    };
    let mut ways = Vec::new();
    for (index, header) in session_headers(gateway).into_iter().enumerate() {
        let mark = session_mark(index);
        let ends = [TLS, OWN_HOST, ""].into_iter();
        for (nth, end) in ends.filter(|end| is_there(Some(header), end)).enumerate() {
            // What Envoy is told of sessions is written once, and referred to.
            let anchor = format!("session_{}", index + 1);
            // If the host is gone, the hash counts.
            let by_hash = header == HOST;
            let session =
                json!({"header": header, "anchor": anchor, "defined": nth > 0, "by_hash": by_hash});
            ways.push(way(&mark, end, session));
        }
    }
    for (index, agent) in gateway
        .agents
        .iter()
        .filter(|it| it.picker.is_some())
        .enumerate()
    {
        let mark = match index {
            0 => "-picker".to_owned(),
            index => format!("-picker-{}", index + 1),
        };
        let mut of_agent = way(&mark, end_of(agent), Json::Null);
        of_agent["picker"] = picker::way(agent).into();
        ways.push(of_agent);
    }
    let ends = [TLS, OWN_HOST].into_iter();
    let own_hosts = ends.filter(|end| is_there(None, end));
    ways.extend(own_hosts.chain([""]).map(|end| way("", end, Json::Null)));
    ways
}

fn way(mark: &str, end: &str, session: Json) -> Json {
    let suffix = format!("{mark}{}", end.replace('/', "-"));
    json!({"suffix": suffix, "own": end, "session": session, "picker": null})
}

/// What the routes are given for requests that may go on to another agent: the clusters that an attempt may go to, those that
/// only a first one may, and the script that begins each attempt with the request as it came.
///
/// # Errors
/// Only if a template is broken.
pub(super) fn further(gateway: &Gateway, environment: &Environment<'_>) -> Result<Json, Error> {
    let agents = gateway.agents.iter();
    let (made, elsewhere): (Vec<&Agent>, Vec<&Agent>) = agents.partition(|it| it.is_made());
    let former = gateway.agents.iter().flat_map(|it| &it.former);
    let made: BTreeSet<&String> = made.iter().map(|it| &it.cluster).chain(former).collect();
    let elsewhere: BTreeSet<&String> = elsewhere.iter().map(|it| &it.cluster).collect();
    let upstreams = || gateway.agents.iter().filter_map(|it| it.upstream.as_ref());
    let mut changed = filters::changed(&gateway.agents);
    // Each is told its own name.
    changed.insert("x-waykeeper-agent");
    let changed = changed.into_iter();
    let script = environment.get_template("further.lua")?.render(context! {
        changed => changed.map(str::to_owned).collect::<Vec<_>>(),
        bases => upstreams().any(|upstream| upstream.base.is_some()),
        own_hosts => upstreams().any(|upstream| upstream.has_own_host()),
    })?;
    Ok(json!({
        "made": made,
        "elsewhere": elsewhere.difference(&made).collect::<Vec<_>>(),
        "script": script.lines().collect::<Vec<_>>(),
    }))
}

/// The agents that hear requests of others as well, each once; and as which host they are asked, where not as the other is.
pub(super) fn mirrors(gateway: &Gateway, policy: &Policy) -> Vec<Json> {
    let mirrors = policy.routes.iter().filter_map(|route| route.mirror);
    let mirrors: BTreeSet<&str> = mirrors
        .filter_map(|mirror| Some(policy.agents.get(mirror.agent.0)?.name.as_str()))
        .collect();
    let agents = mirrors
        .iter()
        .filter_map(|name| gateway.agents.iter().find(|agent| agent.name == **name));
    let mirror = |(nth, agent): (usize, &Agent)| {
        let upstream = agent.upstream.as_ref();
        let own = upstream.filter(|upstream| upstream.has_own_host());
        let host = own.and_then(|it| Some(it.endpoints.first()?.url.authority()));
        // The filter tells names for the agent that answers. What this one is not to see is taken out, wherever its cluster is written.
        let mut removed: Vec<&str> = agent.sees.iter().flat_map(Sees::hidden).collect();
        removed.extend(has_hashes(gateway).then_some("x-waykeeper-hash"));
        json!({
            "agent": agent.name, "cluster": agent.cluster, "host": host, "removed": removed, "first": nth == 0, "made": agent.is_made(),
        })
    };
    agents.enumerate().map(mirror).collect()
}

/// Tells of agents that cannot hear requests of others.
pub(super) fn check_mirrors(routes: &Spot<'_>, agents: &[Agent]) {
    let asks_caller = |agent: &&Agent| {
        let upstream = agent.upstream.as_ref();
        let credential = upstream.and_then(|upstream| upstream.credential.as_ref());
        credential.is_some_and(|credential| credential.callers_header().is_some())
    };
    for route in items(routes).filter(Spot::is_map) {
        let Some(mirror) = inner(&route, "mirror").filter(Spot::is_map) else {
            continue;
        };
        let Some(agent) = inner(&mirror, "agent").filter(Spot::is_text) else {
            continue;
        };
        let name = agent.text();
        let mut named = agents.iter().filter(|it| Some(it.name.as_str()) == name);
        if named.any(|it| asks_caller(&it)) {
            agent.fault("is shown the caller's own credential, which is shown to the agent that answers, and to no other");
        }
    }
}

/// Tells of hosts that agents would not be asked as: they are called by their own.
pub(super) fn check_hosts(routes: &Spot<'_>, agents: &[Agent]) {
    for route in items(routes).filter(Spot::is_map) {
        let Some(request) = inner(&route, "request").filter(Spot::is_map) else {
            continue;
        };
        let Some(host) = inner(&request, "host") else {
            continue;
        };
        let mut named = Vec::new();
        chosen(&route, &mut named);
        if let Some(rules) = inner(&route, "rules") {
            for rule in items(&rules).filter(Spot::is_map) {
                chosen(&rule, &mut named);
            }
        }
        let own = |agent: &&Agent| {
            let upstream = agent.upstream.as_ref();
            upstream.is_some_and(|it| it.has_own_host()) && named.contains(&agent.name)
        };
        if let Some(agent) = agents.iter().find(own) {
            host.fault(format!(
                "the agent {} is called by its own host, whatever stands here; leave it out, or give that agent a route of its own",
                agent.name
            ));
        }
    }
}

/// The agents that a route or a rule names.
fn chosen(spot: &Spot<'_>, names: &mut Vec<String>) {
    let Some(agents) = inner(spot, "agents") else {
        return;
    };
    for item in items(&agents) {
        let agent = if item.is_map() {
            inner(&item, "agent")
        } else {
            Some(item)
        };
        let name = agent.filter(Spot::is_text).and_then(|agent| agent.text());
        names.extend(name.map(str::to_owned));
    }
}

/// Whether there are two agents that an attempt may go to.
pub(super) fn has_further(gateway: &Gateway) -> bool {
    gateway.agents.iter().filter(|it| it.is_made()).count() > 1
}

/// Whether Envoy has to look for sessions at all.
pub(super) fn has_sessions(gateway: &Gateway) -> bool {
    !session_headers(gateway).is_empty()
}

/// Whether requests are kept at the host that has given an earlier answer.
pub(super) fn has_responses(gateway: &Gateway) -> bool {
    gateway.agents.iter().any(names_responses)
}

fn names_responses(agent: &Agent) -> bool {
    agent.sticky.as_ref().is_some_and(Sticky::names_responses)
}

/// Whether some requests to an agent go the way of those in which Envoy looks for a session in this header, or of those without.
pub(super) fn is_on(agent: &Agent, header: Option<&str>) -> bool {
    session_header(agent) == header || (header == Some(HOST) && names_responses(agent))
}

/// Whether requests are kept together by hashes.
pub(super) fn has_hashes(gateway: &Gateway) -> bool {
    let mut sticky = gateway.agents.iter().filter_map(|it| it.sticky.as_ref());
    sticky.any(is_by_hash)
}

/// What the names of routes have that look for sessions by one of these headers.
pub(super) fn session_mark(index: usize) -> String {
    match index {
        0 => "-session".to_owned(),
        index => format!("-session-{}", index + 1),
    }
}

/// The headers in which agents name sessions, each once; and that in which the filter names hosts, as if they had.
pub(super) fn session_headers(gateway: &Gateway) -> BTreeSet<&str> {
    let hosts = has_responses(gateway).then_some(HOST);
    let agents = gateway.agents.iter().filter_map(session_header);
    agents.chain(hosts).collect()
}

fn session_header(agent: &Agent) -> Option<&str> {
    match &agent.sticky {
        Some(Sticky::Session(header)) => Some(header),
        _ => None,
    }
}

/// With what the names of an agent's clusters end if it is called by its own name; all others' with nothing.
fn end_of(agent: &Agent) -> &'static str {
    let mut ends = [TLS, OWN_HOST].into_iter();
    let made = agent.upstream.is_some();
    ends.find(|end| made && agent.cluster.ends_with(end))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::ways;
    use crate::gateway::read;
    use crate::yaml;

    /// The ways of a gateway with these agents: suffix, end and header of each.
    fn ways_of(agents: &str) -> Vec<Json> {
        let key = "0".repeat(64);
        let text = format!(
            "listen: [{{address: '0.0.0.0:8080'}}]\nsessions: {{keys: ['{key}']}}\nagents: {{{agents}}}\nroutes: [{{prefix: /, agents: [a], auth_required: false}}]"
        );
        let checked = read(&yaml::parse(&text).unwrap()[0]).unwrap();
        let ways = ways(&checked.gateway).into_iter();
        ways.map(|way| json!([way["suffix"], way["own"], way["session"]["header"]]))
            .collect()
    }

    #[test]
    fn each_way_that_an_agent_needs_is_there_and_no_other() {
        let plain = json!(["", "", null]);
        assert_eq!(
            ways_of("a: {url: 'http://a'}"),
            std::slice::from_ref(&plain)
        );
        assert_eq!(
            ways_of(
                "a: {url: 'http://a', sticky: {client: true}}, b: {url: 'https://b', sticky: {query: q}}"
            ),
            [json!(["-tls", "/tls", null]), plain.clone()]
        );
        assert_eq!(
            ways_of(
                "a: {url: 'https://a', picker: {url: 'http://p'}}, b: {url: 'http://b', picker: {url: 'http://p'}}"
            ),
            [
                json!(["-picker-tls", "/tls", null]),
                json!(["-picker-2", "", null]),
                json!(["-tls", "/tls", null]),
                plain.clone()
            ]
        );
        // Requests to an agent that names sessions are on no other way.
        assert_eq!(
            ways_of("a: {url: 'https://a', sticky: {header: mcp-session-id}}"),
            [
                json!(["-session-tls", "/tls", "mcp-session-id"]),
                plain.clone()
            ]
        );
        let x = "sticky: {header: x, named_by: agent}";
        let mcp = "sticky: {header: mcp-session-id}";
        assert_eq!(
            ways_of(&format!(
                "a: {{url: 'https://a', {mcp}}}, b: {{provider: vllm, {mcp}}}, c: {{url: 'http://c', {mcp}}}, \
                 d: {{cluster: d, {x}}}, e: {{url: 'https://e', {x}}}, f: {{provider: ollama}}, g: {{url: 'https://g'}}"
            )),
            [
                json!(["-session-tls", "/tls", "mcp-session-id"]),
                json!(["-session-host", "/host", "mcp-session-id"]),
                json!(["-session", "", "mcp-session-id"]),
                json!(["-session-2-tls", "/tls", "x"]),
                json!(["-session-2", "", "x"]),
                json!(["-tls", "/tls", null]),
                json!(["-host", "/host", null]),
                plain,
            ]
        );
    }
}
