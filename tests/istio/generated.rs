//! What istiod generates for a proxy before any `EnvoyFilter`, made from our own manifests: listeners, routes, clusters,
//! and the statistics of the bootstrap. The shape is that of Istio 1.28 to 1.32 (`pilot/pkg/networking/core`,
//! `tools/packaging/common/envoy_bootstrap.json`), less what only Istio's own build of Envoy knows: its filters for
//! telemetry, metadata exchange and ALPN, and mutual TLS.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::clusters::{self, cluster};
use crate::manifests::{Manifests, list, text};
use crate::patch::{Context, GATEWAY_NAME, Generated};

pub(crate) const TYPES: &str = "type.googleapis.com/envoy.extensions";
/// No time limit: Istio's default for routes.
const NO_TIMEOUT: &str = "0s";

/// The ports of a gateway's pods, as the manifests have them.
pub(crate) const GATEWAY_LISTENER: &str = "0.0.0.0_8080";

/// What a gateway is before istiod makes listeners of it.
struct Server {
    namespace: String,
    labels: BTreeMap<String, String>,
    /// What the pods' annotation says of all proxies there.
    topology: Value,
    host: String,
    /// That of the server, and the one that the pods listen on.
    port: u64,
    target: u64,
    routes: Vec<Value>,
}

/// For the gateway's pods: the listener of its plain HTTP server, and the virtual host of its `VirtualService` or `HTTPRoute`.
pub(crate) fn gateway(manifests: &Manifests) -> Generated {
    let gateway = manifests.get("Gateway", "waykeeper");
    let server = if text(&gateway["apiVersion"]).starts_with("networking.istio.io/") {
        of_istio(manifests, gateway)
    } else {
        of_kubernetes(manifests, gateway)
    };
    let Server {
        namespace,
        labels,
        topology,
        host,
        port,
        target,
        routes,
    } = server;

    let listener = format!("0.0.0.0_{target}");
    let mut filters = common_http_filters();
    let plugins = manifests.of_kind("WasmPlugin");
    // Plugins without a phase stand before CORS.
    filters.splice(
        0..0,
        plugins
            .iter()
            .map(|plugin| discovered(&plugin_name(plugin))),
    );
    let mut manager = json!({
        "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": format!("outbound_{listener};"),
        "codec_type": "AUTO",
        "rds": {
            "route_config_name": format!("http.{target}"),
            "config_source": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
        },
        "http_filters": filters,
        "server_name": "istio-envoy",
        "use_remote_address": true,
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"subject": true, "cert": true, "dns": true, "uri": true},
        "http_protocol_options": {},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "stream_idle_timeout": "0s",
        "normalize_path": true,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "request_id_extension": request_id(),
    });
    if let Some(proxies) = topology["numTrustedProxies"].as_u64() {
        manager["xff_num_trusted_hops"] = json!(proxies);
    }
    let proxy_protocol = topology["proxyProtocol"].is_object().then(|| {
        json!({
            "name": "envoy.filters.listener.proxy_protocol",
            "typed_config": {"@type": format!("{TYPES}.filters.listener.proxy_protocol.v3.ProxyProtocol")},
        })
    });
    Generated {
        context: Context::Gateway,
        namespace,
        labels,
        listeners: vec![json!({
            "name": listener,
            "traffic_direction": "OUTBOUND",
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": target}},
            // What Istio's EDGE profile sets; without a profile there is no limit but Envoy's own.
            "per_connection_buffer_limit_bytes": 32768,
            "listener_filters": proxy_protocol.into_iter().collect::<Vec<_>>(),
            "filter_chains": [{
                "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
                "transport_socket_connect_timeout": "15s",
            }],
        })],
        routes: vec![json!({
            "name": format!("http.{target}"),
            "virtual_hosts": [{
                "name": format!("{host}:{port}"),
                "domains": [host],
                "include_request_attempt_count": true,
                "routes": routes,
            }],
            "validate_clusters": false,
            "ignore_port_in_host_matching": true,
            "max_direct_response_body_size_bytes": 1_048_576,
        })],
        clusters: clusters::of(manifests),
        extensions: plugins.iter().map(|plugin| extension(plugin)).collect(),
    }
}

/// A Gateway of Istio's, whose pods are in the manifests.
fn of_istio(manifests: &Manifests, gateway: &Value) -> Server {
    let virtual_services = manifests.of_kind("VirtualService");
    let service = manifests.get("Service", "waykeeper-gateway");
    let deployment = manifests.get("Deployment", "waykeeper-gateway");
    let pods = &deployment["spec"]["template"];
    let server = &gateway["spec"]["servers"][0];
    assert_eq!(
        gateway["spec"]["selector"]["istio"], pods["metadata"]["labels"]["istio"],
        "the Gateway selects the pods"
    );
    for virtual_service in &virtual_services {
        assert_eq!(
            virtual_service["spec"]["gateways"],
            json!([gateway["metadata"]["name"]])
        );
        assert_eq!(virtual_service["spec"]["hosts"], server["hosts"]);
    }
    // Istio binds the port that the Service sends to.
    let port = number(&server["port"]["number"]);
    let ports = list(&service["spec"]["ports"]);
    let service_port = ports.iter().find(|it| it["port"] == port);
    let target = number(&service_port.expect("the Service has the port")["targetPort"]);
    // Without any there is a virtual host all the same, which answers 404 to everything.
    let routes = virtual_services
        .iter()
        .flat_map(|it| list(&it["spec"]["http"]));
    Server {
        namespace: text(&deployment["metadata"]["namespace"]).to_owned(),
        labels: serde_json::from_value(pods["metadata"]["labels"].clone())
            .expect("labels are text"),
        topology: topology(pods),
        host: text(&server["hosts"][0]).to_owned(),
        port,
        target,
        routes: routes.flat_map(routes_of).collect(),
    }
}

/// One of Kubernetes', whose pods Istio makes, with what the ConfigMap lays over them.
fn of_kubernetes(manifests: &Manifests, gateway: &Value) -> Server {
    let name = &gateway["metadata"]["name"];
    let reference = &gateway["spec"]["infrastructure"]["parametersRef"];
    let parameters = manifests.get("ConfigMap", text(&reference["name"]));
    let deployment: Value = serde_saphyr::from_str(text(&parameters["data"]["deployment"]))
        .expect("what is laid over the Deployment is YAML");
    let port = number(&gateway["spec"]["listeners"][0]["port"]);
    let routes = manifests.of_kind("HTTPRoute").into_iter().map(|route| {
        assert_eq!(route["spec"]["parentRefs"], json!([{"name": name}]));
        let rules = list(&route["spec"]["rules"]);
        assert_eq!(rules.len(), 1);
        assert!(rules[0].get("backendRefs").is_none());
        json!({"name": "waykeeper.waykeeper.0", "match": {"prefix": "/"}, "direct_response": {"status": 500}})
    });
    Server {
        namespace: text(&gateway["metadata"]["namespace"]).to_owned(),
        labels: [(GATEWAY_NAME.to_owned(), text(name).to_owned())].into(),
        topology: topology(&deployment["spec"]["template"]),
        host: "*".to_owned(),
        port,
        target: port,
        routes: routes.collect(),
    }
}

fn topology(pods: &Value) -> Value {
    let config = text(&pods["metadata"]["annotations"]["proxy.istio.io/config"]);
    let mut config: Value = serde_saphyr::from_str(config).expect("the annotation is YAML");
    config["gatewayTopology"].take()
}

/// For the pods of the agent `chat-gpu`: the inbound listener of their sidecar, with a filter chain for port 8080 and
/// one for another port.
pub(crate) fn sidecar() -> Generated {
    sidecar_of(&[8080, 9090])
}

/// The same, with these ports.
pub(crate) fn sidecar_of(ports: &[u64]) -> Generated {
    let each = |make: fn(u64) -> Value| ports.iter().map(|port| make(*port)).collect::<Vec<_>>();
    let chain = |port: u64| {
        let cluster = format!("inbound|{port}||");
        let manager = json!({
            "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": format!("inbound_0.0.0.0_{port};"),
            "codec_type": "AUTO",
            "http_filters": common_http_filters(),
            "server_name": "istio-envoy",
            "use_remote_address": false,
            "forward_client_cert_details": "APPEND_FORWARD",
            "set_current_client_cert_details": {"subject": true, "dns": true, "uri": true},
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "stream_idle_timeout": "0s",
            "normalize_path": true,
            "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
            "request_id_extension": request_id(),
            // Inline in truth; apart here so that patches find it as they find a gateway's.
            "rds": {"route_config_name": cluster},
        });
        json!({
            "name": format!("0.0.0.0_{port}"),
            "filter_chain_match": {"destination_port": port, "transport_protocol": "raw_buffer"},
            "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
        })
    };
    let routes = |port: u64| {
        let cluster = format!("inbound|{port}||");
        json!({
            "name": cluster,
            "virtual_hosts": [{
                "name": format!("inbound|http|{port}"),
                "domains": ["*"],
                "routes": [{
                    "name": "default",
                    "match": {"prefix": "/"},
                    "decorator": {"operation": format!("chat-gpu.agents.svc.cluster.local:{port}/*")},
                    "route": {
                        "cluster": cluster,
                        "timeout": NO_TIMEOUT,
                        "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
                        "retry_policy": {"retry_on": "reset-before-request", "num_retries": 2},
                    },
                }],
            }],
            "validate_clusters": false,
        })
    };
    Generated {
        context: Context::SidecarInbound,
        namespace: "agents".to_owned(),
        labels: [("app".to_owned(), "chat-gpu".to_owned())].into(),
        listeners: vec![json!({
            "name": "virtualInbound",
            "traffic_direction": "INBOUND",
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15006}},
            "use_original_dst": true,
            "filter_chains": each(chain),
        })],
        routes: each(routes),
        clusters: each(|port| cluster(&format!("inbound|{port}||"))),
        extensions: Vec::new(),
    }
}

/// The statistics that Istio's bootstrap keeps and names, with what the gateway's annotations add.
pub(crate) fn stats_config(manifests: &Manifests) -> Value {
    let pods = &manifests.get("Deployment", "waykeeper-gateway")["spec"]["template"];
    let annotations = &pods["metadata"]["annotations"];
    let proxy_config: Value = serde_saphyr::from_str(text(&annotations["proxy.istio.io/config"]))
        .expect("the annotation is YAML");
    let ours = proxy_config["proxyStatsMatcher"]["inclusionRegexps"].as_array();
    let mut patterns = vec![json!({"prefix": "reporter="})];
    for prefix in [
        "cluster_manager",
        "listener_manager",
        "server",
        "cluster.xds-grpc",
        "wasm",
        "component",
        "istio",
    ] {
        patterns.push(json!({"prefix": prefix}));
    }
    // The last is added for a proxy that shall end once it has no connection left.
    assert_eq!(
        proxy_config["proxyMetadata"]["EXIT_ON_ZERO_ACTIVE_CONNECTIONS"],
        "true"
    );
    for suffix in [
        "rbac.allowed",
        "rbac.denied",
        "shadow_allowed",
        "shadow_denied",
        "downstream_cx_active",
    ] {
        patterns.push(json!({"suffix": suffix}));
    }
    for regex in ours.into_iter().flatten() {
        patterns.push(json!({"safe_regex": {"regex": regex}}));
    }
    patterns.push(json!({"safe_regex": {"regex": r"vhost\..*\.route\..*"}}));

    let mut tags = vec![
        json!({"tag_name": "cluster_name", "regex": r"^cluster(\.(.+);)"}),
        json!({
            "tag_name": "http_conn_manager_prefix",
            "regex": r"^http\.(((?:[_.[:digit:]\w]*|[_\[\]aAbBcCdDeEfF[:digit:]\w\:]*));\.)",
        }),
        json!({"tag_name": "response_code", "regex": r"_rq(_(\d{3}))$"}),
        json!({"tag_name": "response_code_class", "regex": r"_rq(_(\dxx))$"}),
        json!({"tag_name": "cache", "regex": r"(cache\.(.+?)\.)"}),
        json!({"tag_name": "component", "regex": r"(component\.(.+?)\.)"}),
        json!({"tag_name": "tag", "regex": r"(tag\.(.+?);\.)"}),
        json!({"tag_name": "wasm_filter", "regex": r"(wasm_filter\.(.+?)\.)"}),
    ];
    // pilot-agent hands the ConfigMap to Envoy, which merges it into the bootstrap: lists append.
    let map = manifests.get(
        "ConfigMap",
        text(&annotations["sidecar.istio.io/bootstrapOverride"]),
    );
    let added: Value = serde_json::from_str(text(&map["data"]["custom_bootstrap.json"]))
        .expect("the bootstrap's override is JSON");
    let added = added["stats_config"]["stats_tags"]
        .as_array()
        .expect("it adds tags");
    tags.extend(added.iter().cloned());
    json!({
        "use_all_default_tags": false,
        "stats_tags": tags,
        "stats_matcher": {"inclusion_list": {"patterns": patterns}},
    })
}

fn common_http_filters() -> Vec<Value> {
    let filter = |name: &str, message: &str| {
        json!({
            "name": format!("envoy.filters.http.{name}"),
            "typed_config": {"@type": format!("{TYPES}.filters.http.{name}.v3.{message}")},
        })
    };
    vec![
        filter("grpc_stats", "FilterConfig"),
        filter("fault", "HTTPFault"),
        filter("cors", "Cors"),
        filter("router", "Router"),
    ]
}

fn request_id() -> Value {
    json!({"typed_config": {
        "@type": format!("{TYPES}.request_id.uuid.v3.UuidRequestIdConfig"),
        "use_request_id_for_trace_sampling": true,
    }})
}

fn discovered(name: &str) -> Value {
    let wasm = format!("{TYPES}.filters.http.wasm.v3.Wasm");
    json!({
        "name": name,
        "config_discovery": {
            "config_source": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
            "type_urls": [wasm, format!("{TYPES}.filters.http.rbac.v3.RBAC")],
        },
    })
}

fn plugin_name(plugin: &Value) -> String {
    let metadata = &plugin["metadata"];
    format!(
        "{}.{}",
        text(&metadata["namespace"]),
        text(&metadata["name"])
    )
}

/// What Istio makes of a `WasmPlugin`, once its agent has stripped what was for itself.
fn extension(plugin: &Value) -> Value {
    let spec = &plugin["spec"];
    let name = plugin_name(plugin);
    let file = text(&spec["url"]);
    let file = file
        .strip_prefix("file://")
        .expect("the module is a file of the pod");
    json!({
        "name": name,
        "typed_config": {
            "@type": format!("{TYPES}.filters.http.wasm.v3.Wasm"),
            "config": {
                "name": name,
                "root_id": spec["pluginName"],
                "failure_policy": spec["failStrategy"],
                "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": file}}},
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": spec["pluginConfig"].to_string(),
                },
            },
        },
    })
}

/// What becomes of a route of a `VirtualService`: one for each of its matches.
fn routes_of(from: &Value) -> Vec<Value> {
    match from["match"].as_array() {
        Some(matches) => matches.iter().map(|one| route(from, one)).collect(),
        None => vec![route(from, &Value::Null)],
    }
}

fn route(from: &Value, matched: &Value) -> Value {
    let mut route = json!({"name": from["name"], "match": {"prefix": "/"}});
    if let Some(headers) = matched["headers"].as_object() {
        let matches = headers
            .iter()
            .map(|(name, value)| json!({"name": name, "string_match": value}));
        route["match"]["headers"] = matches.collect();
    }
    if let Some(headers) = from["headers"]["request"]["remove"].as_array() {
        route["request_headers_to_remove"] = json!(headers);
    }
    if from["directResponse"].is_object() {
        route["direct_response"] = from["directResponse"].clone();
        return route;
    }
    let destination = &from["route"][0]["destination"];
    let host = text(&destination["host"]);
    let mut action = json!({
        "cluster": format!("outbound|{}||{host}", number(&destination["port"]["number"])),
        "timeout": from["timeout"].as_str().unwrap_or(NO_TIMEOUT),
        "max_grpc_timeout": from["timeout"].as_str().unwrap_or(NO_TIMEOUT),
        "retry_policy": {
            "num_retries": 2,
            "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
            "host_selection_retry_max_attempts": 5,
            "retry_host_predicate": [{
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": format!("{TYPES}.retry.host.previous_hosts.v3.PreviousHostsPredicate")},
            }],
        },
    });
    if from["retries"].is_object() {
        action["retry_policy"]["num_retries"] = from["retries"]["attempts"].clone();
        action["retry_policy"]["retry_on"] = from["retries"]["retryOn"].clone();
    }
    route["route"] = action;
    route
}

pub(crate) fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}
