//! What operators change in Envoy's configuration, as patches of an EnvoyFilter, as far as istiod's rules make the same of them.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use waykeeper::config::{Node, Segment};

use super::Told;
use super::destinations::Destinations;
use crate::gateway::patches::{Change, In, Patch, Side};
use crate::gateway::{Gateway, document, render};

const MANAGER: &str = "envoy.filters.network.http_connection_manager";
const MANAGERS_TYPE: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// The filters that are there in any case and may be changed, and their types.
const FILTERS: [(&str, &str); 3] = [
    (
        "envoy.filters.http.health_check",
        "health_check.v3.HealthCheck",
    ),
    ("envoy.filters.http.cors", "cors.v3.Cors"),
    ("envoy.filters.http.router", "router.v3.Router"),
];

/// How much of what is patched in stands left of it.
const INDENT: usize = 10;

/// They come after the gateway's own. `ports` are those that the pods listen on, in the order of the file.
pub(super) fn patches(
    gateway: &Gateway,
    ports: &[u64],
    destinations: &Destinations,
    told: &mut Told,
) -> Vec<Json> {
    let clusters = clusters(gateway, destinations);
    let mut types: BTreeMap<String, String> = FILTERS
        .map(|(name, of)| {
            (
                name.to_owned(),
                format!("type.googleapis.com/envoy.extensions.filters.http.{of}"),
            )
        })
        .into();
    let mut made = Vec::new();
    for patch in &gateway.patches {
        let mut patch = patch.clone();
        patch.rename(&clusters);
        let Patch { index, .. } = patch;
        let place = |field: &str| {
            let path = ["envoy", "patches"].map(|name| Segment::Field(name.to_owned()));
            let field = Segment::Field(field.to_owned());
            [&path[..], &[Segment::Item(index), field]].concat()
        };
        match one(&patch, gateway, ports, &clusters, &mut types) {
            Ok(patch) => made.push(patch),
            Err((field, why)) => told.fault(&place(field), why),
        }
    }
    made
}

/// Istio's names of the clusters that are made here.
fn clusters(gateway: &Gateway, destinations: &Destinations) -> BTreeMap<String, String> {
    let mut clusters = BTreeMap::new();
    for agent in gateway
        .agents
        .iter()
        .filter(|agent| agent.upstream.is_some())
    {
        let names = [Some(&agent.cluster), agent.websocket_cluster.as_ref()];
        if let Some(other) = destinations.of_agents.get(&agent.name) {
            clusters.extend(
                names
                    .into_iter()
                    .flatten()
                    .map(|name| (name.clone(), other.clone())),
            );
        }
    }
    if let (Some(validator), Some(other)) = (&gateway.validator, &destinations.validator) {
        clusters.insert(validator.cluster.clone(), other.clone());
    }
    clusters
}

/// The field that a fault is about, and the fault.
type Unfit = (&'static str, String);

fn one(
    patch: &Patch,
    gateway: &Gateway,
    ports: &[u64],
    clusters: &BTreeMap<String, String>,
    types: &mut BTreeMap<String, String>,
) -> Result<Json, Unfit> {
    let port_of = |name: &str| port(gateway, ports, name);
    let port = patch.listener.as_deref().map(port_of).transpose();
    let port = port.map_err(|why| ("listener", why))?;
    let in_chain = |filter: Json| {
        let mut listener = json!({"filterChain": {"filter": filter}});
        if let Some(port) = port {
            listener["portNumber"] = port.into();
        }
        json!({"context": "GATEWAY", "listener": listener})
    };
    let of_managers = || in_chain(json!({"name": MANAGER}));
    let at_filter = |name: &str| in_chain(json!({"name": MANAGER, "subFilter": {"name": name}}));
    let gateways = json!({"context": "GATEWAY"});
    Ok(match (patch.of, &patch.change) {
        (In::HttpFilters, Change::Insert(side, beside, filter)) => {
            if let (Some(name), Some(of)) = (
                text(filter, &["name"]),
                text(filter, &["typed_config", "@type"]),
            ) {
                types.insert(name.to_owned(), of.to_owned());
            }
            let operation = match side {
                Side::Before => "INSERT_BEFORE",
                Side::After => "INSERT_AFTER",
            };
            as_patch("HTTP_FILTER", &at_filter(beside), operation, filter)
        }
        (In::HttpFilters, Change::Merge(Some(name), merge)) => {
            let of = types.get(name).ok_or_else(|| {
                let why = "Istio merges into filters of known types only, and its own others are not written here";
                ("name", why.to_owned())
            })?;
            const MORE: &str = "holds more than typed_config, and Istio merges no more of a filter";
            let config = merge.get("typed_config");
            let (Some(config @ Node::Map(inner)), 1) = (config, length(merge)) else {
                return Err(("merge", MORE.to_owned()));
            };
            // A list of its own may be there already, whatever it is.
            fits(config, "", &|_| true)?;
            let typed = [
                &[("@type".to_owned(), Node::Text(of.clone()))],
                inner.as_slice(),
            ]
            .concat();
            let value = map("typed_config", Node::Map(typed));
            as_patch("HTTP_FILTER", &at_filter(name), "MERGE", &value)
        }
        (In::Manager, Change::Merge(_, merge)) => {
            const LISTS: [&str; 4] = [
                "access_log",
                "upgrade_configs",
                "http_protocol_options.ignore_http_11_upgrade",
                "local_reply_config.mappers",
            ];
            fits(merge, "", &|path| LISTS.contains(&path))?;
            as_patch("NETWORK_FILTER", &of_managers(), "MERGE", &manager(merge))
        }
        (In::AccessLog, Change::Add(log)) => {
            let logs = map("access_log", Node::List(vec![log.clone()]));
            as_patch("NETWORK_FILTER", &of_managers(), "MERGE", &manager(&logs))
        }
        (In::VirtualHost, Change::Merge(_, merge)) => {
            if port.is_some() {
                return Err((
                    "listener",
                    "an Istio gateway has one virtual host for all listeners; leave it out"
                        .to_owned(),
                ));
            }
            fits(merge, "", &|_| false)?;
            as_patch("VIRTUAL_HOST", &gateways, "MERGE", merge)
        }
        (In::Listeners, Change::Merge(Some(name), merge)) => {
            let port = port_of(name).map_err(|why| ("name", why))?;
            fits(merge, "", &|path| {
                matches!(path, "listener_filters" | "access_log")
            })?;
            let at = json!({"context": "GATEWAY", "listener": {"portNumber": port}});
            as_patch("LISTENER", &at, "MERGE", merge)
        }
        (In::Clusters, Change::Add(cluster)) => as_patch("CLUSTER", &gateways, "ADD", cluster),
        (In::Clusters, Change::Merge(Some(name), merge)) => {
            // Renamed already.
            if !clusters.values().any(|other| other == name) {
                return Err(("name", "istiod merges only into clusters that it makes; write it where the cluster is added".to_owned()));
            }
            for field in [
                "transport_socket",
                "typed_extension_protocol_options",
                "load_assignment",
                "type",
            ] {
                if merge.get(field).is_some() {
                    return Err((
                        "merge",
                        format!("holds {field}, which the rest of the manifests says"),
                    ));
                }
            }
            fits(merge, "", &|_| true)?;
            let at = json!({"context": "GATEWAY", "cluster": {"name": name}});
            as_patch("CLUSTER", &at, "MERGE", merge)
        }
        (In::Routes, _) => {
            return Err(("in", "istiod merges into its own routes before it inserts those of this gateway, and so never into these".to_owned()));
        }
        (In::Bootstrap, _) => {
            return Err(("in", "Istio writes its own bootstrap; change the ConfigMap waykeeper-bootstrap by a kustomization of yours".to_owned()));
        }
        _ => return Err(("in", "is not written for Istio".to_owned())),
    })
}

fn as_patch(apply_to: &str, at: &Json, operation: &str, value: &Node) -> Json {
    let block = document::block(value, INDENT);
    json!({"apply_to": apply_to, "at": at.to_string(), "operation": operation, "value": block.trim_end()})
}

fn map(name: &str, value: Node) -> Node {
    Node::Map(vec![(name.to_owned(), value)])
}

fn manager(merge: &Node) -> Node {
    let kind = ("@type".to_owned(), Node::Text(MANAGERS_TYPE.to_owned()));
    let fields = match merge {
        Node::Map(fields) => fields.as_slice(),
        _ => &[],
    };
    map("typed_config", Node::Map([&[kind], fields].concat()))
}

fn length(node: &Node) -> usize {
    match node {
        Node::Map(fields) => fields.len(),
        _ => 0,
    }
}

fn text<'n>(node: &'n Node, path: &[&str]) -> Option<&'n str> {
    let found = path.iter().try_fold(node, |node, name| node.get(name))?;
    match found {
        Node::Text(text) => Some(text),
        _ => None,
    }
}

/// Whether istiod's merge makes of it what RFC 7386 says: it appends to lists, takes nothing away, and puts what is packed in the
/// place of what was there. `is_there` tells of lists that are there already.
fn fits(merge: &Node, path: &str, is_there: &dyn Fn(&str) -> bool) -> Result<(), Unfit> {
    match merge {
        Node::Map(fields) => {
            let packed = path.ends_with("typed_per_filter_config");
            for (name, value) in fields {
                let inner = match path {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                let whole = text(value, &["@type"]).is_some();
                if packed && !whole {
                    return Err((
                        "merge",
                        format!(
                            "{inner} has no @type, and Istio puts it in the place of what is there"
                        ),
                    ));
                }
                if !whole {
                    fits(value, &inner, is_there)?;
                }
            }
            Ok(())
        }
        Node::List(_) if is_there(path) => Err((
            "merge",
            format!(
                "{path} is a list, and Istio appends to one that is there in place of replacing it"
            ),
        )),
        Node::Null => Err((
            "merge",
            format!("{path} is null, and Istio takes nothing away"),
        )),
        _ => Ok(()),
    }
}

/// The port of a listener in the pods.
fn port(gateway: &Gateway, ports: &[u64], name: &str) -> Result<u64, String> {
    let mut listeners = gateway.listeners.iter().enumerate();
    let found = listeners.position(|listener| render::listener(listener)["name"] == name);
    let port = found.and_then(|index| ports.get(index));
    port.copied()
        .ok_or_else(|| format!("{name:?} is none of the Istio gateway's listeners"))
}
