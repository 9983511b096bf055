//! What is written twice, for plain Envoy and for Istio, must be the same twice.

use serde_json::{Value, json};
use waykeeper::config;
use waykeeper::config::policy::DEFAULT_TIMEOUT;

use crate::manifests::{Manifests, folder, read, repository};

/// Fails with the first place where the two differ: whole configurations are too long to compare by eye.
fn assert_same(ours: &Value, reference: &Value, place: &str) {
    match (ours, reference) {
        (Value::Object(ours), Value::Object(reference)) => {
            let names = ours.keys().chain(reference.keys());
            for name in names {
                let place = format!("{place}/{name}");
                let field = |message: &serde_json::Map<_, _>| {
                    message.get(name).cloned().unwrap_or_default()
                };
                assert_same(&field(ours), &field(reference), &place);
            }
        }
        (Value::Array(ours), Value::Array(reference)) if ours.len() == reference.len() => {
            for (index, (ours, reference)) in ours.iter().zip(reference).enumerate() {
                assert_same(ours, reference, &format!("{place}/{index}"));
            }
        }
        _ => assert_eq!(
            ours, reference,
            "{place}: istio/ (left) and envoy/ (right) differ; they must say the same"
        ),
    }
}

/// A field by its path, or a failure that names it.
fn at<'a>(tree: &'a Value, path: &str) -> &'a Value {
    tree.pointer(path)
        .unwrap_or_else(|| panic!("{path} is not there"))
}

fn reference(file: &str) -> Value {
    read(&repository().join("envoy").join(file)).remove(0)
}

fn reference_manager() -> Value {
    at(
        &reference("envoy.yaml"),
        "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config",
    )
    .clone()
}

fn reference_configuration() -> Value {
    at(
        &reference("waykeeper.yaml"),
        "/resources/0/typed_config/config",
    )
    .clone()
}

/// The values of all patches of a kind in one `EnvoyFilter`, in their order.
fn patches(filter: &Value, apply_to: &str) -> Vec<Value> {
    let patches = filter["spec"]["configPatches"]
        .as_array()
        .expect("an EnvoyFilter has patches");
    let of_kind = patches.iter().filter(|patch| patch["applyTo"] == apply_to);
    of_kind
        .map(|patch| patch["patch"]["value"].clone())
        .collect()
}

/// The clusters that a filter adds, by their names.
fn added_cluster(filter: &Value, name: &str) -> Value {
    let clusters = patches(filter, "CLUSTER").into_iter();
    only(clusters.filter(|cluster| cluster["name"] == name).collect())
}

fn only(mut values: Vec<Value>) -> Value {
    assert_eq!(values.len(), 1, "{values:?}");
    values.remove(0)
}

fn envoy_filter() -> Value {
    Manifests::of(".").get("EnvoyFilter", "waykeeper").clone()
}

fn sidecar_filter() -> Value {
    Manifests::of("sidecar")
        .get("EnvoyFilter", "waykeeper-chat-gpu")
        .clone()
}

/// What Envoy says by itself reads the same everywhere, word for word.
#[test]
fn local_replies_are_the_same() {
    let expected = reference_manager()["local_reply_config"].take();
    assert!(
        expected["mappers"]
            .as_array()
            .is_some_and(|mappers| mappers.len() > 5)
    );
    for filter in [envoy_filter(), sidecar_filter()] {
        let manager = only(patches(&filter, "NETWORK_FILTER"));
        assert_same(
            &manager["typed_config"]["local_reply_config"],
            &expected,
            "local_reply_config",
        );
    }
}

/// Each setting that a patch makes is the reference's; the settings that only the reference makes are named here.
#[test]
fn connection_managers_are_the_same() {
    let mut expected = reference_manager();
    let expected = expected.as_object_mut().expect("a message");
    let patch = only(patches(&envoy_filter(), "NETWORK_FILTER"));
    for (name, value) in patch["typed_config"].as_object().expect("a message") {
        assert_same(value, &expected.remove(name).unwrap_or_default(), name);
    }
    let mut left: Vec<_> = expected.keys().map(String::as_str).collect();
    left.sort_unstable();
    let of_istio_or_patched_elsewhere = [
        "access_log",
        "drain_timeout",
        "http_filters",
        "route_config",
        "stat_prefix",
        "upgrade_configs",
        "use_remote_address",
        "xff_num_trusted_hops",
    ];
    assert_eq!(left, of_istio_or_patched_elsewhere);
}

#[test]
fn a_sidecar_s_connection_manager_differs_only_in_what_it_leaves_to_istio() {
    let gateway = only(patches(&envoy_filter(), "NETWORK_FILTER"));
    let sidecar = only(patches(&sidecar_filter(), "NETWORK_FILTER"));
    for (name, value) in sidecar["typed_config"].as_object().expect("a message") {
        let expected = &gateway["typed_config"][name];
        match value
            .as_object()
            .filter(|_| name == "common_http_protocol_options")
        {
            Some(fields) => fields
                .iter()
                .for_each(|(field, value)| assert_eq!(expected[field], *value)),
            None => assert_eq!(expected, value, "{name}"),
        }
    }
}

#[test]
fn routes_and_the_policy_for_browsers_are_the_same() {
    let host = at(&reference_manager(), "/route_config/virtual_hosts/0").clone();
    let patch = only(patches(&envoy_filter(), "VIRTUAL_HOST"));
    for (name, value) in patch.as_object().expect("a message") {
        assert_same(value, &host[name], name);
    }
    // Each is inserted before the ones above it, and the order counts: what has a kind has a cluster too.
    let mut expected = host["routes"].as_array().expect("routes").clone();
    expected.reverse();
    // Istio's Envoy may be one that cannot choose another agent for another attempt.
    let is_further = |route: &Value| {
        let name = route["name"].as_str();
        name.is_some_and(|name| name.ends_with("-further"))
    };
    let all = expected.len();
    expected.retain(|route| !is_further(route));
    assert_eq!(all - expected.len(), 2);
    let mut ours = patches(&envoy_filter(), "HTTP_ROUTE");
    for route in &mut ours {
        route
            .as_object_mut()
            .expect("a message")
            .remove("decorator")
            .expect("a name for traces");
    }
    assert_same(&json!(ours), &json!(expected), "routes");
}

/// For its default the filter sends no timeout: whatever route a request takes must have it.
#[test]
fn every_route_that_the_filter_leads_to_has_the_default_timeout() {
    let expected = format!("{}s", DEFAULT_TIMEOUT.as_secs());
    let of_sidecar = patches(&sidecar_filter(), "HTTP_ROUTE")
        .into_iter()
        .filter(|route| route.get("route").is_some());
    let timeouts = of_sidecar.map(|route| route["route"]["timeout"].clone());
    assert_eq!(timeouts.collect::<Vec<_>>(), [&*expected; 2]);

    let manifests = Manifests::of("wasm-plugin");
    let service = manifests.get("VirtualService", "waykeeper");
    let routes = service["spec"]["http"].as_array().expect("routes").iter();
    let to_agents = routes.filter(|route| route.get("route").is_some());
    let timeouts = to_agents.map(|route| route["timeout"].clone());
    assert_eq!(timeouts.collect::<Vec<_>>(), [&*expected; 5]);
}

#[test]
fn the_listener_s_filters_and_limits_are_the_same() {
    let envoy = reference("envoy.yaml");
    let listener = at(&envoy, "/static_resources/listeners/0");
    let limit = only(patches(&envoy_filter(), "LISTENER"));
    assert_eq!(
        limit,
        json!({"per_connection_buffer_limit_bytes": listener["per_connection_buffer_limit_bytes"]})
    );

    let filters = reference_manager()["http_filters"].take();
    let health_check = patches(&envoy_filter(), "HTTP_FILTER").remove(1);
    assert_same(&health_check, &filters[0], "http_filters/0");

    let tags = &envoy["stats_config"]["stats_tags"];
    let manifests = Manifests::of(".");
    let map = manifests.get("ConfigMap", "waykeeper-bootstrap");
    let added = map["data"]["custom_bootstrap.json"].as_str().expect("text");
    let added: Value = serde_json::from_str(added).expect("JSON");
    assert_eq!(added, json!({"stats_config": {"stats_tags": tags}}));
}

#[test]
fn the_validator_s_cluster_of_a_sidecar_is_the_same() {
    let envoy = reference("envoy.yaml");
    let clusters = at(&envoy, "/static_resources/clusters")
        .as_array()
        .expect("clusters");
    let expected = clusters
        .iter()
        .find(|it| it["name"] == "waykeeper/validator")
        .expect("its cluster");
    let ours = added_cluster(&sidecar_filter(), "waykeeper-validator");
    for (name, value) in expected.as_object().expect("a message") {
        if !["name", "load_assignment"].contains(&name.as_str()) {
            assert_same(&ours[name], value, name);
        }
    }
}

/// The same clients, plans, limits and routes; only clusters have other names.
#[test]
fn waykeeper_s_configuration_is_the_same_but_for_names_of_clusters() {
    let without_clusters = |mut document: Value| {
        // Only a plugin needs one.
        document
            .as_object_mut()
            .expect("a document")
            .remove("proof");
        let agents = document["agents"].as_object_mut().expect("agents");
        for agent in agents.values_mut() {
            agent["cluster"].take();
        }
        let validator = document["clients"]["validator"].as_object_mut();
        let validator = validator.expect("a validator");
        for name in ["cluster", "host"] {
            validator.remove(name);
        }
        document
    };
    let expected = reference_configuration();
    let full = only(patches(
        Manifests::of(".").get("EnvoyFilter", "waykeeper-configuration"),
        "EXTENSION_CONFIG",
    ));
    let mut ours = at(&full, "/typed_config/config").clone();
    let plugin = Manifests::of("wasm-plugin")
        .get("WasmPlugin", "waykeeper")
        .clone();
    let document = without_clusters(at(&expected, "/configuration/value").clone());
    for document_of_ours in [
        &ours["configuration"]["value"],
        &plugin["spec"]["pluginConfig"],
    ] {
        assert_same(
            &without_clusters(document_of_ours.clone()),
            &document,
            "configuration",
        );
    }

    // How the module is run, too, but for where it lies.
    let mut expected = expected;
    for config in [&mut ours, &mut expected] {
        config["configuration"]["value"].take();
        config["vm_config"]["code"]["local"]["filename"].take();
    }
    assert_same(&ours, &expected, "config");
}

#[test]
fn the_filter_takes_every_configuration() {
    let full = only(patches(
        Manifests::of(".").get("EnvoyFilter", "waykeeper-configuration"),
        "EXTENSION_CONFIG",
    ));
    let sidecar = only(patches(&sidecar_filter(), "EXTENSION_CONFIG"));
    let plugin = Manifests::of_plugin("a-proof-of-the-tests")
        .get("WasmPlugin", "waykeeper")
        .clone();
    for document in [
        at(&full, "/typed_config/config/configuration/value"),
        at(&sidecar, "/typed_config/config/configuration/value"),
        at(&plugin, "/spec/pluginConfig"),
    ] {
        if let Err(faults) = config::read(document) {
            panic!("{faults}");
        }
    }
}

/// Every cluster that a configuration names is made by a patch, or is Istio's name for a Service that the manifests know.
#[test]
fn every_agent_has_its_service_its_balancing_and_its_route() {
    let manifests = Manifests::of(".");
    let full = only(patches(
        manifests.get("EnvoyFilter", "waykeeper-configuration"),
        "EXTENSION_CONFIG",
    ));
    let document = at(&full, "/typed_config/config/configuration/value");
    let filter = envoy_filter();
    let validator = document["clients"]["validator"]["cluster"].as_str();
    let asked = "outbound|8000||auth-service.agents.svc.cluster.local";
    assert_eq!(validator, Some(asked));

    let referenced = &filter["metadata"]["annotations"]["envoyfilter.istio.io/referenced-services"];
    let referenced: Vec<_> = referenced.as_str().expect("text").split(',').collect();
    let balanced: Vec<_> = balancing(&manifests)
        .iter()
        .map(|rule| rule["spec"]["host"].clone())
        .collect();
    let by_plugin = Manifests::of("wasm-plugin");
    let routes = at(by_plugin.get("VirtualService", "waykeeper"), "/spec/http")
        .as_array()
        .expect("routes");
    let agents = document["agents"].as_object().expect("agents");
    assert_eq!(
        (agents.len(), routes.len()),
        (balanced.len(), balanced.len() + 1)
    );
    assert_eq!(agents.len() + 1, referenced.len());
    assert!(referenced.contains(&"agents/auth-service.agents.svc.cluster.local"));
    for agent in agents.values() {
        let cluster = agent["cluster"].as_str().expect("a name");
        let host = cluster
            .strip_prefix("outbound|8000||")
            .expect("Istio's name for a Service");
        assert!(
            referenced.contains(&format!("agents/{host}").as_str()),
            "{host}"
        );
        assert!(balanced.iter().any(|balanced| balanced == host), "{host}");
        let route = routes
            .iter()
            .find(|route| route["route"][0]["destination"]["host"] == host);
        let route = route.unwrap_or_else(|| panic!("no route to {host}"));
        assert_eq!(
            route["match"][0]["headers"]["x-waykeeper-cluster"]["exact"],
            cluster
        );
        assert_eq!(route["route"][0]["destination"]["port"]["number"], 8000);
    }
}

/// The rules for agents.
fn balancing(manifests: &Manifests) -> Vec<&Value> {
    let mut rules = manifests.of_kind("DestinationRule");
    rules.retain(|rule| rule["metadata"]["name"] != "auth-service");
    rules
}

/// At a gateway the validator's cluster is Istio's own: its bounds are the same as those of the sidecar's.
#[test]
fn the_validator_s_rule_says_what_its_cluster_says() {
    let added = added_cluster(&sidecar_filter(), "waykeeper-validator");
    let address = at(
        &added,
        "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/address",
    );
    for folder in [".", "wasm-plugin"] {
        let manifests = Manifests::of(folder);
        let rule = &manifests.get("DestinationRule", "auth-service")["spec"];
        assert_eq!(rule["host"], *address);
        assert_eq!(rule["exportTo"], json!(["."]));
        let policy = &rule["trafficPolicy"];
        assert_eq!(policy["loadBalancer"]["simple"], added["lb_policy"]);
        let pool = &policy["connectionPool"];
        assert_eq!(pool["tcp"]["connectTimeout"], added["connect_timeout"]);
        let bounds = at(&added, "/circuit_breakers/thresholds/0");
        for (ours, theirs) in [
            (&pool["tcp"]["maxConnections"], "max_connections"),
            (
                &pool["http"]["http1MaxPendingRequests"],
                "max_pending_requests",
            ),
            (&pool["http"]["http2MaxRequests"], "max_requests"),
            (&pool["http"]["maxRetries"], "max_retries"),
        ] {
            assert_eq!(*ours, bounds[theirs], "{theirs}");
        }
        assert_eq!(bounds["max_retries"], bounds["max_requests"]);
        let options = at(&added, "/typed_extension_protocol_options");
        let options = &options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
        assert_eq!(
            pool["http"]["idleTimeout"],
            options["common_http_protocol_options"]["idle_timeout"]
        );
    }
}

/// A proof that everybody reads in the manifests proves nothing: the filter must not take it.
#[test]
fn the_proof_that_is_shipped_is_refused_and_the_operator_s_gets_into_every_route() {
    let shipped = Manifests::of("wasm-plugin");
    let plugin = shipped.get("WasmPlugin", "waykeeper");
    let refused = config::read(at(plugin, "/spec/pluginConfig")).expect_err("no secret");
    let faults: Vec<_> = refused.iter().map(ToString::to_string).collect();
    assert!(
        matches!(faults.as_slice(), [one] if one.starts_with("proof: expected a secret")),
        "{faults:?}"
    );

    let proof = "a-proof-of-the-tests";
    let manifests = Manifests::of_plugin(proof);
    let routes = at(manifests.get("VirtualService", "waykeeper"), "/spec/http");
    let to_agents = |route: &&Value| route.get("route").is_some();
    for route in routes.as_array().expect("routes").iter().filter(to_agents) {
        let matches = route["match"].as_array().expect("matches");
        for one in matches {
            assert_eq!(one["headers"]["x-waykeeper-proof"], json!({"exact": proof}));
        }
        let removed = route["headers"]["request"]["remove"].as_array();
        assert!(
            removed.is_some_and(|names| names.contains(&json!("x-waykeeper-proof"))),
            "{route}"
        );
    }
}

/// One balancing for all agents, though it is written out for each: and the reference's.
#[test]
fn agents_are_balanced_alike() {
    let manifests = Manifests::of(".");
    let rules = balancing(&manifests);
    let policy = &rules[0]["spec"]["trafficPolicy"];
    for rule in &rules {
        assert_eq!(rule["spec"]["trafficPolicy"], *policy);
        assert_eq!(rule["spec"]["exportTo"], json!(["."]));
    }
    let envoy = reference("envoy.yaml");
    let cluster = &at(&envoy, "/static_resources/clusters")[1];
    let ours = &policy["outlierDetection"];
    let theirs = &cluster["outlier_detection"];
    for (field, name) in [
        ("interval", "interval"),
        ("baseEjectionTime", "base_ejection_time"),
        ("maxEjectionPercent", "max_ejection_percent"),
        (
            "splitExternalLocalOriginErrors",
            "split_external_local_origin_errors",
        ),
        (
            "consecutiveLocalOriginFailures",
            "consecutive_local_origin_failure",
        ),
        ("consecutiveGatewayErrors", "consecutive_gateway_failure"),
        ("consecutive5xxErrors", "enforcing_consecutive_5xx"),
    ] {
        assert_eq!(ours[field], theirs[name], "{field}");
    }
    assert_eq!(policy["loadBalancer"]["simple"], cluster["lb_policy"]);
    let budget = &cluster["circuit_breakers"]["thresholds"][0]["retry_budget"];
    assert_eq!(
        policy["retryBudget"]["percent"],
        budget["budget_percent"]["value"]
    );
    assert_eq!(
        policy["retryBudget"]["minRetryConcurrency"],
        budget["min_retry_concurrency"]
    );
    // What a rule cannot say, a patch does.
    let patches = patches(&envoy_filter(), "CLUSTER");
    let asked = patches
        .iter()
        .filter(|patch| patch["health_checks"].is_array());
    assert_eq!(asked.clone().count(), rules.len());
    for patch in asked {
        let mut ours = patch["health_checks"].clone();
        let check = &mut ours[0]["http_health_check"];
        assert!(check["host"].take().is_string());
        check.as_object_mut().expect("a message").remove("host");
        assert_same(&ours, &cluster["health_checks"], "health_checks");
    }
}

/// The autoscaler asks for metrics by the names that the adapter's rules give them.
#[test]
fn the_autoscaler_s_metrics_are_the_adapter_s() {
    let manifests = Manifests::of(".");
    let scaler = manifests.get("HorizontalPodAutoscaler", "waykeeper-gateway");
    let asked: Vec<_> = at(scaler, "/spec/metrics")
        .as_array()
        .expect("metrics")
        .iter()
        .filter(|metric| metric["type"] == "Pods")
        .map(|metric| metric["pods"]["metric"]["name"].clone())
        .collect();
    let rules = read(&folder().join("prometheus-adapter-rules.yaml")).remove(0);
    let rules = at(&rules, "/rules/custom").as_array().expect("rules");
    let made: Vec<_> = rules
        .iter()
        .map(|rule| rule["name"]["as"].clone())
        .collect();
    assert_eq!(asked, made);
    for (kind, name) in [
        ("Deployment", "waykeeper-gateway"),
        ("PodDisruptionBudget", "waykeeper-gateway"),
    ] {
        let labels = &at(manifests.get(kind, name), "/spec/selector/matchLabels");
        assert_eq!(labels["app"], "waykeeper-gateway", "{kind}");
    }
}
