//! The manifests are what their schemas say, and the check of that finds what is wrong anywhere.

use serde_json::{Value, json};

use crate::manifests::{Manifests, folder, read};
use crate::schema::check;

const KUSTOMIZATIONS: [&str; 3] = [".", "wasm-plugin", "sidecar"];

#[test]
fn every_manifest_is_what_its_schema_says() {
    for kustomization in KUSTOMIZATIONS {
        for manifest in Manifests::of(kustomization).iter() {
            if let Err(error) = check(manifest) {
                panic!(
                    "{kustomization}: {} {}: {error}",
                    manifest["kind"], manifest["metadata"]["name"]
                );
            }
        }
    }
}

/// A strategic merge patch is a part of a Deployment; what every Deployment needs besides is put in here.
#[test]
fn the_patch_for_a_sidecar_fits_a_deployment() {
    let mut patch = read(&folder().join("sidecar/deployment-patch.yaml")).remove(0);
    patch["spec"]["selector"] = json!({"matchLabels": {"app": "chat-gpu"}});
    patch["spec"]["template"]["spec"]["containers"] = json!([{"name": "agent"}]);
    check(&patch).unwrap();
}

/// What the check would let through, it does not check: each manifest must fail with a wrong field anywhere.
#[test]
fn an_unknown_field_is_found_wherever_it_stands() {
    for kustomization in KUSTOMIZATIONS {
        for manifest in Manifests::of(kustomization).iter() {
            let mut places = Vec::new();
            objects(manifest, String::new(), &mut places);
            for place in places.iter().filter(|place| !is_free(place)) {
                let mut wrong = manifest.clone();
                wrong.pointer_mut(place).expect("the place was found here")["speling"] = json!(1);
                let kind = &manifest["kind"];
                let error = check(&wrong).expect_err(&format!("{kind} {place} takes anything"));
                assert!(error.contains("speling"), "{kind} {place}: {error}");
            }
        }
    }
}

#[test]
fn wrong_types_wrong_values_and_missing_fields_are_found() {
    let manifests = Manifests::of(".");
    let faults = [
        (
            "HorizontalPodAutoscaler",
            "waykeeper-gateway",
            "/spec/maxReplicas",
            json!("20"),
            "string",
        ),
        (
            "EnvoyFilter",
            "waykeeper",
            "/spec/configPatches/0/applyTo",
            json!("HTTP_FILTERS"),
            "HTTP_FILTERS",
        ),
        (
            "EnvoyFilter",
            "waykeeper",
            "/spec/configPatches/0/patch/operation",
            json!("INSERT"),
            "INSERT",
        ),
        (
            "DestinationRule",
            "chat-gpu",
            "/spec/host",
            json!(null),
            "null",
        ),
        (
            "DestinationRule",
            "chat-gpu",
            "/spec/trafficPolicy/loadBalancer/simple",
            json!("LEAST_REQ"),
            "LEAST_REQ",
        ),
        (
            "Gateway",
            "waykeeper",
            "/spec/servers/0/port",
            json!({"number": 80}),
            "missing field",
        ),
        (
            "VirtualService",
            "waykeeper",
            "/spec/http/0/directResponse",
            json!({}),
            "missing field",
        ),
    ];
    for (kind, name, place, value, complaint) in faults {
        let mut wrong = manifests.get(kind, name).clone();
        *wrong.pointer_mut(place).expect("a place of the manifest") = value;
        let error = check(&wrong).expect_err(&format!("{kind} {place}"));
        assert!(error.contains(complaint), "{kind} {place}: {error}");
    }
    let unknown = json!({"apiVersion": "networking.istio.io/v1", "kind": "Gatewy"});
    assert!(check(&unknown).is_err());
}

/// Where a manifest may hold names of its own: labels, annotations, and what Istio hands on to Envoy.
fn is_free(place: &str) -> bool {
    let maps = [
        "/labels",
        "/annotations",
        "/matchLabels",
        "/selector",
        "/data",
        "/requests",
        "/limits",
        "/patch/value",
        "/pluginConfig",
        "/headers",
    ];
    maps.iter()
        .any(|map| place.ends_with(map) || place.contains(&format!("{map}/")))
}

/// The places of all objects in a tree.
fn objects(tree: &Value, place: String, places: &mut Vec<String>) {
    let escape = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match tree {
        Value::Object(fields) => {
            for (name, value) in fields {
                objects(value, format!("{place}/{}", escape(name)), places);
            }
            places.push(place);
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                objects(value, format!("{place}/{index}"), places);
            }
        }
        _ => {}
    }
}
