//! The clusters that istiod makes of Services, ServiceEntries and DestinationRules, as far as ours use them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::generated::{TYPES, number};
use crate::manifests::{Manifests, list, text};

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Of the cluster's Services, and of what ServiceEntries describe, those that the filter's configuration leads to.
pub(crate) fn of(manifests: &Manifests) -> Vec<Value> {
    let plugins = manifests.of_kind("WasmPlugin").into_iter();
    let of_plugins = plugins.map(|plugin| &plugin["spec"]["pluginConfig"]);
    let filters = manifests.of_kind("EnvoyFilter").into_iter();
    let patches = filters.flat_map(|filter| list(&filter["spec"]["configPatches"]));
    let of_filters = patches
        .filter_map(|patch| patch.pointer("/patch/value/typed_config/config/configuration/value"));
    let mut names: BTreeSet<String> = BTreeSet::new();
    for document in of_plugins.chain(of_filters) {
        let agents = document["agents"].as_object().into_iter().flatten();
        let agents = agents.map(|(_, agent)| &agent["cluster"]);
        let named = agents.chain([&document["clients"]["validator"]["cluster"]]);
        let named = named.filter_map(Value::as_str);
        let of_istio = named.filter(|name| name.starts_with("outbound|"));
        names.extend(of_istio.map(str::to_owned));
    }
    let services = manifests.of_kind("VirtualService").into_iter();
    let routes = services.flat_map(|service| list(&service["spec"]["http"]));
    for destination in routes.flat_map(|route| list(&route["route"])) {
        let Value::Object(place) = &destination["destination"] else {
            continue;
        };
        let name = format!(
            "outbound|{}||{}",
            number(&place["port"]["number"]),
            text(&place["host"])
        );
        names.insert(name);
    }
    let policies = manifests.of_kind("DestinationRule");
    let entries = manifests.of_kind("ServiceEntry");
    let made = names.into_iter().map(|name| {
        let mut parts = name.split('|').skip(1);
        let port = parts.next().and_then(|port| port.parse().ok());
        let port: u64 = port.expect("a port");
        let host = parts.nth(1).expect("a host");
        let mut made = cluster(&name);
        if let Some(entry) = entries
            .iter()
            .find(|it| it["spec"]["hosts"] == json!([host]))
        {
            describe(&mut made, &entry["spec"], port, host);
        }
        if let Some(rule) = policies.iter().find(|it| it["spec"]["host"] == host) {
            obey(&mut made, &rule["spec"]["trafficPolicy"], port);
        }
        made
    });
    made.collect()
}

/// What a ServiceEntry says of a cluster.
fn describe(cluster: &mut Value, entry: &Value, port: u64, host: &str) {
    let declared = list(&entry["ports"]).iter().find(|it| it["number"] == port);
    let declared = declared.expect("the entry has the port");
    let written = list(&entry["endpoints"]);
    let itself = [json!({"address": host})];
    let endpoints = if written.is_empty() { &itself } else { written };
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|endpoint| {
            let of_endpoint = &endpoint["ports"][text(&declared["name"])];
            let port = of_endpoint.as_u64().unwrap_or(port);
            json!({
                "endpoint": {"address": {"socket_address": {"address": endpoint["address"], "port_value": port}}},
                "load_balancing_weight": endpoint["weight"].as_u64().unwrap_or(1),
            })
        })
        .collect();
    let name = cluster["name"].clone();
    let fields = cluster.as_object_mut().expect("a message");
    fields.remove("eds_cluster_config");
    fields["type"] = match text(&entry["resolution"]) {
        "DNS" => json!("STRICT_DNS"),
        "STATIC" => json!("STATIC"),
        other => panic!("{other} is not modelled"),
    };
    fields.insert(
        "load_assignment".to_owned(),
        json!({"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}),
    );
    if declared["protocol"] == "HTTP2" {
        cluster["typed_extension_protocol_options"][HTTP_OPTIONS] = json!({
            "@type": format!("type.googleapis.com/{HTTP_OPTIONS}"),
            "explicit_http_config": {"http2_protocol_options": {}},
        });
    }
}

/// What a DestinationRule says of a cluster.
fn obey(cluster: &mut Value, policy: &Value, port: u64) {
    let of_port = list(&policy["portLevelSettings"]).iter();
    let mut of_port = of_port.filter(|it| it["port"]["number"] == port);
    let policy = of_port.next().unwrap_or(policy);
    let (tcp, http) = (
        &policy["connectionPool"]["tcp"],
        &policy["connectionPool"]["http"],
    );
    balance(cluster, &policy["loadBalancer"]);
    cluster["connect_timeout"] = tcp["connectTimeout"].clone();
    let bounds = &mut cluster["circuit_breakers"]["thresholds"][0];
    bounds["max_connections"] = tcp["maxConnections"].clone();
    bounds["max_pending_requests"] = http["http1MaxPendingRequests"].clone();
    bounds["max_requests"] = http["http2MaxRequests"].clone();
    if let Some(retries) = http["maxRetries"].as_u64() {
        bounds["max_retries"] = json!(retries);
    }
    if let Some(budget) = policy["retryBudget"].as_object() {
        bounds["retry_budget"] = json!({
            "budget_percent": {"value": budget["percent"]},
            "min_retry_concurrency": budget["minRetryConcurrency"],
        });
    }
    if let Some(outliers) = policy["outlierDetection"].as_object() {
        cluster["outlier_detection"] = json!({
            "interval": outliers["interval"],
            "base_ejection_time": outliers["baseEjectionTime"],
            "max_ejection_percent": outliers["maxEjectionPercent"],
            "split_external_local_origin_errors": outliers["splitExternalLocalOriginErrors"],
            "consecutive_local_origin_failure": outliers["consecutiveLocalOriginFailures"],
            "enforcing_consecutive_local_origin_failure": 100,
            "consecutive_gateway_failure": outliers["consecutiveGatewayErrors"],
            "enforcing_consecutive_gateway_failure": 100,
            "enforcing_consecutive_5xx": 0,
            "enforcing_success_rate": 0,
        });
        cluster["common_lb_config"]["healthy_panic_threshold"] = json!({"value": 0});
    }
    let two = http["h2UpgradePolicy"] == "UPGRADE" || speaks_http2(cluster);
    let options = json!({
        "@type": format!("type.googleapis.com/{HTTP_OPTIONS}"),
        "common_http_protocol_options": {"idle_timeout": http["idleTimeout"]},
        "explicit_http_config": if two {
            json!({"http2_protocol_options": {}})
        } else {
            json!({"http_protocol_options": {}})
        },
    });
    cluster["typed_extension_protocol_options"][HTTP_OPTIONS] = options;
    if policy["tls"].is_object() {
        cluster["transport_socket"] = tls(&policy["tls"]);
    }
}

/// How endpoints are chosen (`ApplyRingHashLoadBalancer` of istiod's, read at 1.37 of its Envoy).
fn balance(cluster: &mut Value, settings: &Value) {
    let by_hash = &settings["consistentHash"];
    if !by_hash.is_object() {
        cluster["lb_policy"] = settings["simple"].clone();
    } else if by_hash["maglev"].is_object() {
        cluster["lb_policy"] = json!("MAGLEV");
    } else {
        let smallest = &by_hash["ringHash"]["minimumRingSize"];
        cluster["lb_policy"] = json!("RING_HASH");
        cluster["ring_hash_lb_config"] = json!({"minimum_ring_size": smallest});
    }
}

fn speaks_http2(cluster: &Value) -> bool {
    let config = &cluster["typed_extension_protocol_options"][HTTP_OPTIONS]["explicit_http_config"];
    config["http2_protocol_options"].is_object()
}

fn tls(settings: &Value) -> Value {
    let names = list(&settings["subjectAltNames"])
        .iter()
        .map(|name| json!({"exact": name}));
    let trusted = settings["caCertificates"].as_str();
    let mut context = json!({
        "@type": format!("{TYPES}.transport_sockets.tls.v3.UpstreamTlsContext"),
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
            "validation_context": {
                "trusted_ca": {"filename": trusted.unwrap_or("/etc/ssl/certs/ca-certificates.crt")},
                "match_subject_alt_names": names.collect::<Vec<_>>(),
            },
        },
    });
    if settings["sni"].is_string() {
        context["sni"] = settings["sni"].clone();
    }
    if settings["mode"] == "MUTUAL" {
        context["common_tls_context"]["tls_certificates"] = json!([{
            "certificate_chain": {"filename": settings["clientCertificate"]},
            "private_key": {"filename": settings["privateKey"]},
        }]);
    }
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

/// A cluster whose hosts istiod would send apart.
pub(crate) fn cluster(name: &str) -> Value {
    let unlimited = u64::from(u32::MAX);
    json!({
        "name": name,
        "alt_stat_name": format!("{name};"),
        "type": "EDS",
        "eds_cluster_config": {
            "service_name": name,
            "eds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
        },
        "connect_timeout": "10s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [{
            "max_connections": unlimited, "max_pending_requests": unlimited, "max_requests": unlimited,
            "max_retries": unlimited, "track_remaining": true,
        }]},
        "common_lb_config": {},
    })
}
