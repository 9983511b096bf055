//! Applies the patches of an `EnvoyFilter` to what Istio has generated for a proxy, by istiod's rules
//! (`pilot/pkg/networking/core/envoyfilter`, read at 1.32): which object a patch matches, in which order the kinds of
//! patches take their turns, and where an inserted element goes.
//!
//! Only what our manifests use is here, and everything else is an error rather than ignored.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::manifests::list;
use crate::merge::{merge, merge_any};

/// The label of the pods that Istio makes for a Gateway of Kubernetes'.
pub(crate) const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// What istiod would send to one proxy, as JSON with protobuf's field names.
#[derive(Clone, Debug)]
pub(crate) struct Generated {
    /// Which part of a proxy this is.
    pub(crate) context: Context,
    pub(crate) namespace: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) listeners: Vec<Value>,
    /// Route configurations, apart from the listeners as in Istio's route discovery.
    pub(crate) routes: Vec<Value>,
    pub(crate) clusters: Vec<Value>,
    /// Configurations of filters that come by extension discovery.
    pub(crate) extensions: Vec<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Context {
    Gateway,
    SidecarInbound,
}

/// An `EnvoyFilter`: what to do, and to whom.
#[derive(Debug)]
pub(crate) struct EnvoyFilter {
    namespace: String,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    /// One of the two says for whom it is.
    #[serde(default)]
    workload_selector: WorkloadSelector,
    #[serde(default)]
    target_refs: Vec<TargetRef>,
    /// Those of a higher one come later.
    #[serde(default)]
    priority: i32,
    config_patches: Vec<ConfigPatch>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetRef {
    group: String,
    kind: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkloadSelector {
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConfigPatch {
    apply_to: ApplyTo,
    #[serde(rename = "match")]
    matching: Match,
    patch: Patch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ApplyTo {
    Cluster,
    Listener,
    NetworkFilter,
    HttpFilter,
    VirtualHost,
    HttpRoute,
    ExtensionConfig,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Match {
    context: Context,
    #[serde(default)]
    listener: ListenerMatch,
    #[serde(default)]
    route_configuration: RouteMatch,
    #[serde(default)]
    cluster: ClusterMatch,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListenerMatch {
    port_number: Option<u64>,
    #[serde(default)]
    filter_chain: FilterChainMatch,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterChainMatch {
    filter: Option<FilterMatch>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FilterMatch {
    name: String,
    sub_filter: Option<SubFilterMatch>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubFilterMatch {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RouteMatch {
    port_number: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterMatch {
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    operation: Operation,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Operation {
    Add,
    Merge,
    InsertAfter,
    InsertBefore,
    InsertFirst,
}

/// Applies the patches of all filters, in istiod's order, and gives back a line for each that changed nothing.
///
/// # Errors
/// If a filter is not meant for this proxy, or has a patch that is not modelled.
pub(crate) fn apply(
    filters: &[EnvoyFilter],
    generated: &mut Generated,
) -> Result<Vec<String>, String> {
    // istiod throws the patches of all filters together, by the kind of object they change. Each kind has its turn, and
    // so have the levels of an object: a listener before its network filters, these before their HTTP filters, virtual
    // hosts before their routes. Extension configurations are asked for by the listeners that came of it.
    const TURNS: [ApplyTo; 7] = [
        ApplyTo::Cluster,
        ApplyTo::Listener,
        ApplyTo::NetworkFilter,
        ApplyTo::HttpFilter,
        ApplyTo::VirtualHost,
        ApplyTo::HttpRoute,
        ApplyTo::ExtensionConfig,
    ];
    for filter in filters {
        filter.must_select(generated)?;
    }
    let mut filters: Vec<_> = filters.iter().collect();
    filters.sort_by_key(|filter| filter.spec.priority);
    let mut unused = Vec::new();
    for kind in TURNS {
        let patches = filters
            .iter()
            .flat_map(|filter| &filter.spec.config_patches);
        let (merges, insertions): (Vec<_>, Vec<_>) = patches
            .filter(|patch| patch.apply_to == kind)
            .partition(|patch| patch.patch.operation == Operation::Merge);
        // Filters are inserted and then merged into, everything else the other way round.
        let turns = match kind {
            ApplyTo::NetworkFilter | ApplyTo::HttpFilter => [insertions, merges],
            _ => [merges, insertions],
        };
        for patch in turns.into_iter().flatten() {
            if !patch.apply(generated)? {
                unused.push(format!("{:?} {:?}", patch.apply_to, patch.patch));
            }
        }
    }
    Ok(unused)
}

// === impl EnvoyFilter ===

impl EnvoyFilter {
    /// Reads a manifest.
    ///
    /// # Errors
    /// If it is no `EnvoyFilter`, or asks for something that is not modelled here.
    pub(crate) fn from_manifest(manifest: &Value) -> Result<Self, String> {
        if manifest["kind"] != "EnvoyFilter" {
            return Err(format!("a {} is no EnvoyFilter", manifest["kind"]));
        }
        let spec = Spec::deserialize(&manifest["spec"]).map_err(|error| error.to_string())?;
        let namespace = manifest["metadata"]["namespace"]
            .as_str()
            .unwrap_or("default");
        Ok(Self {
            namespace: namespace.to_owned(),
            spec,
        })
    }

    fn must_select(&self, proxy: &Generated) -> Result<(), String> {
        let mut wanted = self.spec.workload_selector.labels.clone();
        for target in &self.spec.target_refs {
            if (target.group.as_str(), target.kind.as_str())
                != ("gateway.networking.k8s.io", "Gateway")
            {
                return Err(format!("{target:?} is not modelled"));
            }
            wanted.insert(GATEWAY_NAME.to_owned(), target.name.clone());
        }
        let has = |(name, value): (&String, &String)| proxy.labels.get(name) == Some(value);
        if self.namespace == proxy.namespace && !wanted.is_empty() && wanted.iter().all(has) {
            return Ok(());
        }
        let Generated {
            namespace, labels, ..
        } = proxy;
        Err(format!(
            "{}, {wanted:?} does not select the proxy in {namespace} with {labels:?}",
            self.namespace
        ))
    }
}

// === impl ConfigPatch ===

impl ConfigPatch {
    /// Whether it changed anything.
    fn apply(&self, generated: &mut Generated) -> Result<bool, String> {
        if self.matching.context != generated.context {
            return Ok(false);
        }
        let value = &self.patch.value;
        match (self.apply_to, self.patch.operation) {
            (ApplyTo::Cluster, Operation::Merge) => {
                let wanted = self.matching.cluster.name.as_ref();
                Ok(change_each(&mut generated.clusters, |cluster| {
                    let matches = wanted.is_none_or(|wanted| cluster["name"] == **wanted);
                    if matches {
                        merge(cluster, value);
                    }
                    matches
                }))
            }
            (ApplyTo::Cluster, Operation::Add) => {
                generated.clusters.push(value.clone());
                Ok(true)
            }
            // Sent to a proxy only if one of its listeners asks for it by name.
            (ApplyTo::ExtensionConfig, Operation::Add) => {
                let asked_for = generated.discovered_filters().contains(&value["name"]);
                if asked_for {
                    generated.extensions.push(value.clone());
                }
                Ok(asked_for)
            }
            (ApplyTo::Listener, Operation::Merge) => {
                Ok(change_each(&mut generated.listeners, |listener| {
                    let matches = self.matching.listener.matches(listener);
                    if matches {
                        merge(listener, value);
                    }
                    matches
                }))
            }
            (ApplyTo::NetworkFilter, Operation::Merge) => {
                Ok(self.on_filters(generated, |filter| {
                    merge_any(&mut filter["typed_config"], &value["typed_config"]);
                    true
                }))
            }
            (ApplyTo::HttpFilter, Operation::Merge) => Ok(self.on_filters(generated, |filter| {
                filter["name"] == CONNECTION_MANAGER && self.merge_http_filter(filter)
            })),
            (
                ApplyTo::HttpFilter,
                Operation::InsertAfter | Operation::InsertBefore | Operation::InsertFirst,
            ) => Ok(self.on_filters(generated, |filter| {
                filter["name"] == CONNECTION_MANAGER && self.insert_http_filter(filter)
            })),
            (ApplyTo::VirtualHost, Operation::Merge) => {
                Ok(self.on_virtual_hosts(generated, |host| {
                    merge(host, value);
                    true
                }))
            }
            (ApplyTo::HttpRoute, Operation::Merge) => {
                Ok(self.on_virtual_hosts(generated, |host| {
                    change_each(elements(host, "routes"), |route| {
                        merge(route, value);
                        true
                    })
                }))
            }
            // Without a route to stand before, either means before all others.
            (ApplyTo::HttpRoute, Operation::InsertFirst | Operation::InsertBefore) => Ok(self
                .on_virtual_hosts(generated, |host| {
                    elements(host, "routes").insert(0, value.clone());
                    true
                })),
            (kind, operation) => Err(format!("{kind:?} {operation:?} is not modelled")),
        }
    }

    /// Calls `change` with each network filter that is matched; whether it changed one.
    fn on_filters(
        &self,
        generated: &mut Generated,
        mut change: impl FnMut(&mut Value) -> bool,
    ) -> bool {
        let matching = &self.matching.listener;
        change_each(&mut generated.listeners, |listener| {
            let is_virtual = listener["name"] == "virtualInbound";
            if !matching.matches(listener) {
                return false;
            }
            change_each(elements(listener, "filter_chains"), |chain| {
                let port = &chain["filter_chain_match"]["destination_port"];
                if is_virtual && matching.port_number.is_some_and(|wanted| *port != wanted) {
                    return false;
                }
                change_each(elements(chain, "filters"), |filter| {
                    let wanted = matching.filter_chain.filter.as_ref();
                    wanted.is_none_or(|wanted| filter["name"] == wanted.name) && change(filter)
                })
            })
        })
    }

    /// Of a filter nothing but its configuration is merged, and into one of the same type.
    fn merge_http_filter(&self, filter: &mut Value) -> bool {
        let filters = elements(&mut filter["typed_config"], "http_filters");
        let sub_filter = self.matching.listener.filter_chain.filter.as_ref();
        let sub_filter = sub_filter.and_then(|filter| filter.sub_filter.as_ref());
        change_each(filters, |filter| {
            let matches = sub_filter.is_none_or(|wanted| filter["name"] == wanted.name);
            if matches {
                merge_any(
                    &mut filter["typed_config"],
                    &self.patch.value["typed_config"],
                );
            }
            matches
        })
    }

    fn insert_http_filter(&self, filter: &mut Value) -> bool {
        let filters = elements(&mut filter["typed_config"], "http_filters");
        let sub_filter = self.matching.listener.filter_chain.filter.as_ref();
        let sub_filter = sub_filter.and_then(|filter| filter.sub_filter.as_ref());
        let place = match (self.patch.operation, sub_filter) {
            (Operation::InsertBefore, Some(wanted)) => filters
                .iter()
                .position(|filter| filter["name"] == wanted.name),
            (Operation::InsertAfter, Some(wanted)) => filters
                .iter()
                .position(|filter| filter["name"] == wanted.name)
                .map(|place| place + 1),
            // `INSERT_FIRST` does not look at the filter that is named.
            _ => Some(0),
        };
        if let Some(place) = place {
            filters.insert(place, self.patch.value.clone());
        }
        place.is_some()
    }

    /// Calls `change` with each virtual host that is matched; whether it changed one.
    fn on_virtual_hosts(
        &self,
        generated: &mut Generated,
        mut change: impl FnMut(&mut Value) -> bool,
    ) -> bool {
        let matching = &self.matching.route_configuration;
        change_each(&mut generated.routes, |routes| {
            matching.matches(routes) && change_each(elements(routes, "virtual_hosts"), &mut change)
        })
    }
}

// === impl ListenerMatch ===

impl ListenerMatch {
    fn matches(&self, listener: &Value) -> bool {
        // A sidecar's one listener has the ports in its filter chains.
        let Some(wanted) = self.port_number else {
            return true;
        };
        let port = &listener["address"]["socket_address"]["port_value"];
        listener["name"] == "virtualInbound" || *port == wanted
    }
}

// === impl RouteMatch ===

impl RouteMatch {
    fn matches(&self, routes: &Value) -> bool {
        let Some(wanted) = self.port_number else {
            return true;
        };
        let name = routes["name"].as_str().unwrap_or_default();
        // `http.8080` at a gateway, `inbound|8080||` in a sidecar.
        let port = name.split(['.', '|']).nth(1);
        port.and_then(|port| port.parse().ok()) == Some(wanted)
    }
}

// === impl Generated ===

impl Generated {
    /// The names of all filters whose configuration a listener expects from extension discovery.
    fn discovered_filters(&self) -> Vec<Value> {
        let chains = self
            .listeners
            .iter()
            .flat_map(|it| list(&it["filter_chains"]));
        let managers = chains.flat_map(|chain| list(&chain["filters"]));
        let filters = managers.flat_map(|it| list(&it["typed_config"]["http_filters"]));
        filters
            .filter(|filter| filter["config_discovery"]["config_source"]["ads"] == json!({}))
            .map(|filter| filter["name"].clone())
            .collect()
    }
}

/// Calls `change` with every element; whether one was changed.
fn change_each(elements: &mut [Value], mut change: impl FnMut(&mut Value) -> bool) -> bool {
    let mut changed = false;
    for element in elements {
        changed |= change(element);
    }
    changed
}

fn elements<'a>(message: &'a mut Value, field: &str) -> &'a mut Vec<Value> {
    if !message[field].is_array() {
        message[field] = json!([]);
    }
    message[field].as_array_mut().expect("it is an array")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated() -> Generated {
        let chain = json!({"filters": [{
            "name": CONNECTION_MANAGER,
            "typed_config": {"@type": "hcm", "stream_idle_timeout": "0s", "http_filters": [{"name": "cors"}, {"name": "router"}]},
        }]});
        let listener = |port: u16| {
            json!({
                "name": format!("0.0.0.0_{port}"),
                "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},
                "filter_chains": [chain.clone()],
            })
        };
        let routes = |port: u16| {
            let route = json!({"name": "theirs", "route": {"cluster": "a"}});
            json!({"name": format!("http.{port}"), "virtual_hosts": [{"name": "*:80", "routes": [route]}]})
        };
        Generated {
            context: Context::Gateway,
            namespace: "waykeeper".to_owned(),
            labels: BTreeMap::from([("istio".to_owned(), "gateway".to_owned())]),
            listeners: vec![listener(8080), listener(8443)],
            routes: vec![routes(8080), routes(8443)],
            clusters: Vec::new(),
            extensions: Vec::new(),
        }
    }

    fn envoy_filter(spec: Value) -> Result<EnvoyFilter, String> {
        EnvoyFilter::from_manifest(
            &json!({"kind": "EnvoyFilter", "metadata": {"namespace": "waykeeper"}, "spec": spec}),
        )
    }

    fn patched(patches: Value) -> (Generated, Vec<String>) {
        let spec =
            json!({"workloadSelector": {"labels": {"istio": "gateway"}}, "configPatches": patches});
        let mut generated = generated();
        let unused = apply(&[envoy_filter(spec).unwrap()], &mut generated).unwrap();
        (generated, unused)
    }

    fn http_filters(generated: &Generated, listener: usize) -> Vec<&str> {
        let manager = &generated.listeners[listener]["filter_chains"][0]["filters"][0];
        let filters = list(&manager["typed_config"]["http_filters"]);
        filters
            .iter()
            .map(|filter| filter["name"].as_str().unwrap())
            .collect()
    }

    fn filter_match(port: Option<u16>, sub_filter: &str) -> Value {
        let mut listener = json!({"filterChain": {"filter": {"name": CONNECTION_MANAGER, "subFilter": {"name": sub_filter}}}});
        if let Some(port) = port {
            listener["portNumber"] = json!(port);
        }
        json!({"context": "GATEWAY", "listener": listener})
    }

    #[test]
    fn a_filter_is_inserted_before_the_one_named_in_every_listener_that_matches() {
        let patch = |place: &str, name: &str, matching: Value| json!({"applyTo": "HTTP_FILTER", "match": matching, "patch": {"operation": place, "value": {"name": name}}});
        let (generated, unused) = patched(json!([
            patch("INSERT_BEFORE", "ours", filter_match(None, "router")),
            patch("INSERT_FIRST", "first", filter_match(Some(8443), "router")),
            patch("INSERT_BEFORE", "lost", filter_match(None, "absent")),
        ]));
        assert_eq!(http_filters(&generated, 0), ["cors", "ours", "router"]);
        assert_eq!(
            http_filters(&generated, 1),
            ["first", "cors", "ours", "router"]
        );
        assert_eq!(unused.len(), 1, "{unused:?}");
        assert!(unused[0].contains("lost"), "{unused:?}");
    }

    #[test]
    fn each_route_inserted_first_goes_on_top_of_those_before_it() {
        let patch = |name: &str| {
            json!({"applyTo": "HTTP_ROUTE", "match": {"context": "GATEWAY", "routeConfiguration": {"portNumber": 8080}},
                "patch": {"operation": "INSERT_FIRST", "value": {"name": name}}})
        };
        let (generated, unused) = patched(json!([patch("a"), patch("b")]));
        let names = |routes: &Value| -> Vec<Value> {
            list(&routes["virtual_hosts"][0]["routes"])
                .iter()
                .map(|route| route["name"].clone())
                .collect()
        };
        assert_eq!(names(&generated.routes[0]), ["b", "a", "theirs"]);
        assert_eq!(names(&generated.routes[1]), ["theirs"]);
        assert_eq!(unused, [""; 0]);
    }

    #[test]
    fn routes_are_merged_into_before_others_are_inserted() {
        let patch = |operation: &str, value: Value| json!({"applyTo": "HTTP_ROUTE", "match": {"context": "GATEWAY"}, "patch": {"operation": operation, "value": value}});
        let (generated, _) = patched(json!([
            patch(
                "INSERT_FIRST",
                json!({"name": "ours", "route": {"cluster": "b"}})
            ),
            patch("MERGE", json!({"direct_response": {"status": 503}})),
        ]));
        let routes = &generated.routes[0]["virtual_hosts"][0]["routes"];
        assert_eq!(
            routes[0],
            json!({"name": "ours", "route": {"cluster": "b"}})
        );
        assert_eq!(
            routes[1],
            json!({"name": "theirs", "direct_response": {"status": 503}})
        );
    }

    #[test]
    fn a_connection_manager_is_merged_into_field_by_field() {
        let value = json!({"typed_config": {"@type": "hcm", "stream_idle_timeout": "60s", "common": {"a": 1}}});
        let (generated, _) = patched(json!([
            {"applyTo": "NETWORK_FILTER",
                "match": {"context": "GATEWAY", "listener": {"filterChain": {"filter": {"name": CONNECTION_MANAGER}}}},
                "patch": {"operation": "MERGE", "value": value}},
        ]));
        let manager = &generated.listeners[0]["filter_chains"][0]["filters"][0]["typed_config"];
        assert_eq!(manager["stream_idle_timeout"], "60s");
        assert_eq!(manager["common"], json!({"a": 1}));
        assert_eq!(http_filters(&generated, 0), ["cors", "router"]);
    }

    #[test]
    fn patches_of_another_context_or_for_other_pods_do_nothing() {
        let value = json!({"per_connection_buffer_limit_bytes": 1});
        let patch = json!({"applyTo": "LISTENER", "match": {"context": "SIDECAR_INBOUND"}, "patch": {"operation": "MERGE", "value": value}});
        let (result, unused) = patched(json!([patch]));
        assert_eq!(result.listeners, generated().listeners);
        assert_eq!(unused.len(), 1);

        let spec =
            json!({"workloadSelector": {"labels": {"istio": "another"}}, "configPatches": []});
        let error = apply(&[envoy_filter(spec).unwrap()], &mut generated()).unwrap_err();
        assert!(error.contains("does not select"), "{error}");
    }

    #[test]
    fn an_extension_configuration_is_sent_only_where_it_is_asked_for() {
        let filter = json!({"name": "ours", "config_discovery": {"config_source": {"ads": {}}}});
        let (generated, unused) = patched(json!([
            {"applyTo": "EXTENSION_CONFIG", "match": {"context": "GATEWAY"}, "patch": {"operation": "ADD", "value": {"name": "ours"}}},
            {"applyTo": "EXTENSION_CONFIG", "match": {"context": "GATEWAY"}, "patch": {"operation": "ADD", "value": {"name": "other"}}},
            {"applyTo": "HTTP_FILTER", "match": filter_match(None, "router"), "patch": {"operation": "INSERT_BEFORE", "value": filter}},
        ]));
        assert_eq!(generated.extensions, [json!({"name": "ours"})]);
        assert_eq!(unused.len(), 1);
    }

    #[test]
    fn what_is_not_modelled_is_an_error() {
        let patch = json!({"applyTo": "LISTENER", "match": {"context": "GATEWAY"}, "patch": {"operation": "ADD", "value": {}}});
        let spec =
            json!({"workloadSelector": {"labels": {"istio": "gateway"}}, "configPatches": [patch]});
        assert!(apply(&[envoy_filter(spec).unwrap()], &mut generated()).is_err());

        let spec = json!({"workloadSelector": {"labels": {}}, "configPatches": [{"applyTo": "FILTER_CHAIN"}]});
        assert!(envoy_filter(spec).is_err());
    }
}
