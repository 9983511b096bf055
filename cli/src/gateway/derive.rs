//! The filter's document out of the one that people write, and the way back: what is wrong with the former is told of the
//! fields that stand in the latter.

use std::collections::{BTreeSet, HashMap};

use waykeeper::config::{self, Fault, Node, Segment};

use super::agents::OWN;
use super::reader::OF_ENVOY;
use super::{Agent, Endpoint, Gateway, Validator, limiter, servers, validator};

/// The name of the validator's cluster: no agent can be called so.
pub(super) fn validators_cluster() -> String {
    format!("{OWN}validator")
}

/// The same of the limiter's.
pub(super) fn limiters_cluster() -> String {
    format!("{OWN}limiter")
}

/// Fields of the filter's that stand for others: what is wrong with them is wrong with one of these.
const STANDS_FOR: [(&str, &[&str]); 3] = [
    (
        "cluster",
        &["cluster", "url", "endpoints", "provider", "builtin"],
    ),
    ("path", &["path", "url"]),
    ("host", &["host", "url"]),
];

/// What the filter is to read. Where a fault was told already there stands something that makes no other.
pub(super) fn document(written: &Node, gateway: &Gateway) -> Node {
    let Node::Map(fields) = written else {
        return written.clone();
    };
    let fields = fields
        .iter()
        .filter(|(name, _)| config::FIELDS.contains(&name.as_str()));
    let derived = fields.map(|(name, value)| {
        let value = match name.as_str() {
            "agents" => agents(value, gateway, &in_lists(written), &servers::named(written)),
            "clients" => clients(value, gateway),
            "address" => address(value, gateway),
            "sessions" => sessions(value, gateway),
            "fleet" => fleet(value, gateway),
            _ => value.clone(),
        };
        (name.clone(), value)
    });
    debug_assert!(OF_ENVOY.iter().all(|name| !config::FIELDS.contains(name)));
    Node::Map(derived.collect())
}

/// The agents of routes of which requests may be tried at several.
fn in_lists(written: &Node) -> BTreeSet<&str> {
    fn items<'n>(node: &'n Node, name: &str) -> &'n [Node] {
        match node.get(name) {
            Some(Node::List(items)) => items,
            _ => &[],
        }
    }
    let mut found = BTreeSet::new();
    for route in items(written, "routes") {
        let all = || items(route, "rules").iter().chain([route]);
        if all().all(|node| node.get("fallback").is_none()) {
            continue;
        }
        let lists = all().flat_map(|node| ["agents", "fallback"].map(|field| items(node, field)));
        for agent in lists.flatten() {
            if let Node::Text(name) = agent.get("agent").unwrap_or(agent) {
                found.insert(name.as_str());
            }
        }
    }
    found
}

fn agents(
    written: &Node,
    gateway: &Gateway,
    in_lists: &BTreeSet<&str>,
    servers: &BTreeSet<&str>,
) -> Node {
    let Node::Map(named) = written else {
        return written.clone();
    };
    let derived = named.iter().map(|(name, value)| {
        let fields: &[_] = match value {
            Node::Map(fields) => fields,
            // What is wrong with that is told already.
            Node::Text(_) => &[],
            other => return (name.clone(), other.clone()),
        };
        let agent = gateway.agents.iter().find(|agent| agent.name == *name);
        let cluster = agent.map_or(name, |agent| &agent.cluster);
        let mut derived = vec![("cluster".to_owned(), Node::Text(cluster.clone()))];
        let of_websockets = agent.and_then(|agent| agent.websocket_cluster.clone());
        derived.extend(of_websockets.map(|it| ("websocket_cluster".to_owned(), Node::Text(it))));
        let upstream = agent.and_then(|agent| agent.upstream.as_ref());
        if let Some(upstream) = upstream.filter(|upstream| upstream.has_own_host())
            && let Some(endpoint) = upstream.endpoints.first()
            && servers.contains(name.as_str())
        {
            derived.push(("host".to_owned(), Node::Text(endpoint.url.authority())));
        }
        let sees = agent.and_then(|agent| agent.sees.as_ref());
        derived.extend(sees.map(|sees| ("sees".to_owned(), sees.names())));
        let hides = agent.is_some_and(|agent| agent.sees.is_some() && agent.upstream.is_some());
        if !in_lists.is_empty() && hides {
            derived.push(("cluster_hides".to_owned(), Node::Bool(true)));
        }
        let kept =
            |(name, _): &&(String, Node)| config::AGENT_FIELDS_OF_FILTER.contains(&name.as_str());
        let kept = fields.iter().filter(kept);
        derived.extend(kept.map(|(name, value)| match name.as_str() {
            "load" => (name.clone(), load(value, agent)),
            _ => (name.clone(), value.clone()),
        }));
        let credential = upstream.and_then(|upstream| upstream.credential.as_ref());
        if credential.is_some_and(|it| it.callers_header().is_some())
            && let Some((_, Node::Map(rest))) = derived.iter_mut().find(|(name, _)| name == "rest")
            && rest.iter().all(|(name, _)| name != "on_429")
        {
            // It counts by a key of the caller's own.
            rest.push(("on_429".to_owned(), Node::Text("ignore".to_owned())));
        }
        if in_lists.contains(name.as_str())
            && agent.is_some_and(|agent| agent.upstream.is_some() || agent.builtin.is_some())
            && let Some((_, Node::Map(rest))) = derived.iter_mut().find(|(name, _)| name == "rest")
            && rest.iter().all(|(name, _)| name != "each_attempt")
        {
            // The caller's side sees the last attempt alone.
            rest.push(("each_attempt".to_owned(), Node::Bool(true)));
        }
        (name.clone(), Node::Map(derived))
    });
    Node::Map(derived.collect())
}

/// How it is learned how busy an agent is. One that is asked for its metrics is called by its own name, and so is each of its
/// endpoints.
fn load(written: &Node, agent: Option<&Agent>) -> Node {
    let upstream = agent.and_then(|agent| agent.upstream.as_ref());
    let endpoint = upstream.and_then(|upstream| upstream.endpoints.first());
    let (Node::Map(fields), Some(endpoint)) = (written, endpoint) else {
        return written.clone();
    };
    let has = |name: &str| fields.iter().any(|(written, _)| written == name);
    let mut fields = fields.clone();
    let asks = ("from".to_owned(), Node::Text("metrics".to_owned()));
    if !fields.contains(&asks) {
        return written.clone();
    }
    let named = has("host");
    let shower = |(cluster, endpoint): (String, &Endpoint)| {
        let mut of_shower = vec![("cluster".to_owned(), Node::Text(cluster))];
        if !named {
            of_shower.push(("host".to_owned(), Node::Text(endpoint.url.authority())));
        }
        Node::Map(of_shower)
    };
    let showers: Vec<Node> = { agent.into_iter() }
        .flat_map(Agent::showers)
        .map(shower)
        .collect();
    if !showers.is_empty() {
        fields.retain(|(name, _)| name != "clusters");
        fields.push(("clusters".to_owned(), Node::List(showers)));
    } else if !named {
        fields.push(("host".to_owned(), Node::Text(endpoint.url.authority())));
    }
    Node::Map(fields)
}

/// Names in a document the clusters that agents have.
pub(super) fn rename(document: &mut Node, gateway: &Gateway) {
    let validator = gateway.validator.as_ref().map(|it| &it.cluster);
    let limiter = gateway.limiter.as_ref().map(|it| &it.cluster);
    for (places, cluster) in [
        (["clients", "validator"], validator),
        (["fleet", "limiter"], limiter),
    ] {
        let place = document
            .get_mut(places[0])
            .and_then(|node| node.get_mut(places[1]));
        if let (Some(node), Some(cluster)) = (place, cluster)
            && let Some(written) = node.get_mut("cluster")
        {
            *written = Node::Text(cluster.clone());
        }
    }
    let named = document.get_mut("agents").and_then(|agents| match agents {
        Node::Map(named) => Some(named),
        _ => None,
    });
    let clusters: HashMap<&str, &Agent> = { gateway.agents.iter() }
        .map(|agent| (agent.name.as_str(), agent))
        .collect();
    for (name, fields) in named.into_iter().flatten() {
        let Some(agent) = clusters.get(name.as_str()) else {
            continue;
        };
        let names = [
            ("cluster", Some(&agent.cluster)),
            ("websocket_cluster", agent.websocket_cluster.as_ref()),
        ];
        for (name, cluster) in names {
            if let (Some(written), Some(cluster)) = (fields.get_mut(name), cluster) {
                *written = Node::Text(cluster.clone());
            }
        }
    }
}

fn clients(written: &Node, gateway: &Gateway) -> Node {
    let Node::Map(fields) = written else {
        return written.clone();
    };
    let derived = fields.iter().map(|(name, value)| {
        let value = match name.as_str() {
            "validator" => validators(value, gateway),
            _ => value.clone(),
        };
        (name.clone(), value)
    });
    Node::Map(derived.collect())
}

fn validators(written: &Node, gateway: &Gateway) -> Node {
    let Node::Map(fields) = written else {
        return written.clone();
    };
    let has = |name: &str| fields.iter().any(|(written, _)| written == name);
    let mut derived: Vec<(String, Node)> = Vec::new();
    if !has("cluster") {
        let (host, path) = match &gateway.validator {
            Some(Validator { url, .. }) => (url.authority(), url.request_path()),
            None => ("validator".to_owned(), "/".to_owned()),
        };
        derived.push(("cluster".to_owned(), Node::Text(validators_cluster())));
        if !has("host") {
            derived.push(("host".to_owned(), Node::Text(host)));
        }
        derived.push(("path".to_owned(), Node::Text(path)));
    }
    let kept =
        |name: &str| config::VALIDATOR_FIELDS.contains(&name) && (has("cluster") || name != "path");
    derived.extend(fields.iter().filter(|(name, _)| kept(name)).cloned());
    debug_assert!(
        validator::FIELDS
            .iter()
            .all(|name| !config::VALIDATOR_FIELDS.contains(name))
    );
    Node::Map(derived)
}

fn fleet(written: &Node, gateway: &Gateway) -> Node {
    let Node::Map(fields) = written else {
        return written.clone();
    };
    let derived = fields.iter().map(|(name, value)| {
        let value = match name.as_str() {
            "limiter" => limiters(value, gateway),
            _ => value.clone(),
        };
        (name.clone(), value)
    });
    Node::Map(derived.collect())
}

fn limiters(written: &Node, gateway: &Gateway) -> Node {
    let Node::Map(fields) = written else {
        return written.clone();
    };
    let has = |name: &str| fields.iter().any(|(written, _)| written == name);
    let mut derived: Vec<(String, Node)> = Vec::new();
    if !has("cluster") {
        derived.push(("cluster".to_owned(), Node::Text(limiters_cluster())));
        if let Some(limiter) = &gateway.limiter
            && !has("host")
        {
            derived.push(("host".to_owned(), Node::Text(limiter.host())));
        }
    }
    let kept = |(name, _): &&(String, Node)| config::LIMITER_FIELDS.contains(&name.as_str());
    derived.extend(fields.iter().filter(kept).cloned());
    debug_assert!(
        limiter::FIELDS
            .iter()
            .all(|name| !config::LIMITER_FIELDS.contains(name))
    );
    Node::Map(derived)
}

/// Keys in place of where they are.
fn sessions(written: &Node, gateway: &Gateway) -> Node {
    let Node::Map(fields) = written else {
        return written.clone();
    };
    let key = |(index, written): (usize, &Node)| match gateway.session_keys.get(index) {
        Some(Some(key)) => Node::Text(key.value.0.clone()),
        _ => written.clone(),
    };
    let derived = fields.iter().map(|(name, value)| {
        let value = match value {
            Node::List(items) if name == "keys" => {
                Node::List(items.iter().enumerate().map(key).collect())
            }
            other => other.clone(),
        };
        (name.clone(), value)
    });
    Node::Map(derived.collect())
}

/// The listeners say how many proxies stand in front.
fn address(written: &Node, gateway: &Gateway) -> Node {
    let Node::Map(fields) = written else {
        return written.clone();
    };
    let forwarded = |(name, value): &(String, Node)| {
        name == "from" && *value == Node::Text("x-forwarded-for".to_owned())
    };
    let written = fields.iter().any(|(name, _)| name == "trusted_hops");
    let mut derived = fields.clone();
    if let Some(listener) = gateway.listeners.first()
        && fields.iter().any(forwarded)
        && !written
    {
        let hops = f64::from(listener.trusted_hops);
        derived.push(("trusted_hops".to_owned(), Node::Number(hops)));
    }
    Node::Map(derived)
}

/// A fault of the filter's document as one of the document that people wrote.
pub(super) fn fault_as_written(fault: &Fault, derived: &Node, written: &Node) -> Fault {
    let (mut derived, mut written) = (Some(derived), Some(written));
    let mut told = Fault {
        path: Vec::new(),
        positions: Vec::new(),
        message: fault.message.clone(),
    };
    for (segment, position) in fault.path.iter().zip(&fault.positions) {
        let (segment, position) = match (segment, derived, written) {
            (Segment::Field(name), Some(Node::Map(from)), Some(Node::Map(to))) => {
                let same = |(other, _): &&(String, Node)| other == name;
                let earlier = from.iter().take(*position).filter(same).count();
                let (name, place) = field_as_written(name, earlier, to);
                derived = from.get(*position).map(|(_, value)| value);
                written = to.get(place).map(|(_, value)| value);
                (Segment::Field(name), place)
            }
            (Segment::Item(index), Some(Node::List(from)), Some(Node::List(to))) => {
                (derived, written) = (from.get(*index), to.get(*index));
                (segment.clone(), *position)
            }
            _ => {
                (derived, written) = (None, None);
                (segment.clone(), *position)
            }
        };
        told.path.push(segment);
        told.positions.push(position);
    }
    told
}

/// The name and place of the field of this name that comes after so many others of it, or of the one that it stands for.
/// A place past the end is one of a field that is missing.
fn field_as_written(name: &str, earlier: usize, written: &[(String, Node)]) -> (String, usize) {
    let named = |name: &str| {
        let places = written.iter().enumerate();
        let mut places = places.filter(move |(_, (other, _))| other == name);
        places.nth(earlier).map(|(place, _)| place)
    };
    if let Some(place) = named(name) {
        return (name.to_owned(), place);
    }
    let stands_for = STANDS_FOR.iter().find(|(field, _)| *field == name);
    let candidates = stands_for.map_or(&[][..], |(_, candidates)| candidates);
    let found = candidates
        .iter()
        .find_map(|candidate| Some(((*candidate).to_owned(), named(candidate)?)));
    found.unwrap_or_else(|| (name.to_owned(), written.len()))
}
