//! An agent behind the gateway that has the filter in its sidecar too: at the port that is the gateway's own.

use serde_json::{Value, json};

use crate::generated;
use crate::harness::World;
use crate::manifests::{Manifests, folder, read};
use crate::patch::{EnvoyFilter, Generated, apply};
use crate::{render, schema};

const GATEWAYS: u64 = 8081;
const GATEWAY: &str = "cluster.local/ns/waykeeper/sa/waykeeper-gateway";
/// What stands for the identity in a caller's certificate, which Istio's own Envoy notes where these filters read it.
const IDENTITY: &str = "x-test-identity";

/// The manifests of one kind in the file for such agents.
fn manifest(kind: &str) -> Value {
    let mut all = read(&folder().join("sidecar/behind-gateway.yaml"));
    all.retain(|it| it["kind"] == kind);
    assert_eq!(all.len(), 1, "{kind}");
    all.remove(0)
}

/// The filters by which Istio denies what the policy says, at the port that it names.
fn denying(policy: &Value) -> [Value; 2] {
    let spec = &policy["spec"];
    assert_eq!(spec["action"], "DENY");
    let rule = &spec["rules"][0];
    assert_eq!(
        rule["to"],
        json!([{"operation": {"ports": [GATEWAYS.to_string()]}}])
    );
    let others = rule["from"][0]["source"]["notPrincipals"].as_array();
    let others = others.expect("identities").iter().map(|name| {
        let name = format!("spiffe://{}", name.as_str().expect("text"));
        json!({"filter_state": {"key": "io.istio.peer_principal", "string_match": {"exact": name}}})
    });
    let types = "type.googleapis.com/envoy.extensions.filters.http";
    let noted = json!({
        "object_key": "io.istio.peer_principal",
        "factory_key": "envoy.string",
        "format_string": {
            "omit_empty_values": true,
            "text_format_source": {"inline_string": format!("%REQ({IDENTITY})%")},
        },
        "skip_if_empty": true,
    });
    [
        json!({
            "name": "identity",
            "typed_config": {
                "@type": format!("{types}.set_filter_state.v3.Config"),
                "on_request_headers": [noted],
            },
        }),
        json!({
            "name": "envoy.filters.http.rbac",
            "typed_config": {
                "@type": format!("{types}.rbac.v3.RBAC"),
                "rules": {"action": "DENY", "policies": {"gateway": {
                    // The port is the one that these filters stand at.
                    "permissions": [{"any": true}],
                    "principals": [{"not_id": {"or_ids": {"ids": others.collect::<Vec<_>>()}}}],
                }}},
            },
        }),
    ]
}

/// The pod's listener with the ports that its `Sidecar` names, patched; first the one that is the gateway's.
fn patched() -> Generated {
    let mut ports: Vec<u64> = Vec::new();
    for ingress in manifest("Sidecar")["spec"]["ingress"]
        .as_array()
        .expect("ports")
    {
        assert_eq!(ingress["defaultEndpoint"], "0.0.0.0:8080");
        ports.insert(0, ingress["port"]["number"].as_u64().expect("a number"));
    }
    assert_eq!(ports, [GATEWAYS, 8080]);
    let mut generated = generated::sidecar_of(&ports);
    let manifests = Manifests::of("sidecar");
    let filter = EnvoyFilter::from_manifest(manifests.get("EnvoyFilter", "waykeeper-chat-gpu"));
    let unused = apply(&[filter.expect("patches")], &mut generated).expect("patches for this pod");
    assert_eq!(unused, [""; 0], "each patch finds what it is for");
    generated
}

#[test]
fn the_manifests_are_valid_and_speak_of_the_same_pods_and_of_the_gateway() {
    let (policy, sidecar) = (manifest("AuthorizationPolicy"), manifest("Sidecar"));
    for manifest in [&policy, &sidecar] {
        schema::check(manifest).expect("as its schema says");
    }
    let agents = Manifests::of("sidecar");
    let filter = agents.get("EnvoyFilter", "waykeeper-chat-gpu");
    let pods = &filter["spec"]["workloadSelector"]["labels"];
    assert_eq!(policy["spec"]["selector"]["matchLabels"], *pods);
    assert_eq!(sidecar["spec"]["workloadSelector"]["labels"], *pods);
    for manifest in [&policy, &sidecar] {
        assert_eq!(
            manifest["metadata"]["namespace"],
            filter["metadata"]["namespace"]
        );
    }

    let manifests = Manifests::of(".");
    let gateway = manifests.get("Deployment", "waykeeper-gateway");
    let account = &gateway["spec"]["template"]["spec"]["serviceAccountName"];
    let (account, namespace) = (account.as_str(), gateway["metadata"]["namespace"].as_str());
    assert_eq!(
        policy["spec"]["rules"][0]["from"][0]["source"]["notPrincipals"],
        json!([format!(
            "cluster.local/ns/{}/sa/{}",
            namespace.expect("text"),
            account.expect("text")
        )])
    );
}

/// What the README shows for agents that are reached through the gateway only.
#[test]
fn the_readme_s_policy_is_valid_and_lets_in_the_gateway() {
    let readme = std::fs::read_to_string(folder().join("README.md")).expect("the README");
    let shown = readme
        .lines()
        .skip_while(|line| !line.starts_with("    apiVersion: security.istio.io/v1"))
        .take_while(|line| !line.is_empty());
    let shown = shown.collect::<Vec<_>>().join("\n");
    let policy: Value = serde_saphyr::from_str(&shown).expect("YAML");
    schema::check(&policy).expect("as its schema says");
    let source = &policy["spec"]["rules"][0]["from"][0]["source"];
    assert_eq!(*source, json!({"principals": [GATEWAY]}));
    assert_eq!(policy["spec"]["action"], "ALLOW");
}

#[tokio::test]
async fn the_gateway_alone_comes_by_its_port_and_tells_the_agent_who_called() {
    let mut generated = patched();
    // The filter stands at the other port, which is not the one that listens here.
    generated.extensions.clear();
    let manager = &mut generated.listeners[0]["filter_chains"][0]["filters"][0]["typed_config"];
    let filters = manager["http_filters"].as_array_mut().expect("filters");
    filters.splice(0..0, denying(&manifest("AuthorizationPolicy")));
    let world: World = render::start(&generated, None).await;

    let handed_on = || world.get("/whatever").header("x-waykeeper-client", "acme");
    for stranger in [
        None,
        Some("spiffe://cluster.local/ns/agents/sa/default"),
        Some("spiffe://cluster.local/ns/waykeeper/sa/waykeeper-gateway2"),
        Some("cluster.local/ns/waykeeper/sa/waykeeper-gateway"),
    ] {
        let request = match stranger {
            Some(identity) => handed_on().header(IDENTITY, identity),
            None => handed_on(),
        };
        assert_eq!(request.send().await.status, 403, "{stranger:?}");
    }
    let gateway = handed_on().header(IDENTITY, format!("spiffe://{GATEWAY}"));
    let echo = gateway.send().await.echo();
    assert_eq!(echo.agent, "chat-gpu");
    assert_eq!(
        echo.headers.get("x-waykeeper-client").expect("who called"),
        "acme"
    );
}
