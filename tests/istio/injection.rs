//! In which order the containers of a pod start once Istio has put its own among them, and whether the filter's module is
//! there when istio-proxy looks for it: it looks once. The order is that of Istio 1.27 to 1.32 (`pkg/kube/inject/webhook.go`).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::manifests::{Manifests, folder, list, read, text};

const PROXY: &str = "istio-proxy";
const NATIVE: &str = "sidecar.istio.io/nativeSidecar";

/// The containers of a pod with those that the injector adds, each with whether others wait until it has ended.
fn injected(template: &Value) -> Vec<(bool, Value)> {
    let (annotations, pod) = (&template["metadata"]["annotations"], &template["spec"]);
    let (mut init, mut main) = (
        list(&pod["initContainers"]).to_vec(),
        list(&pod["containers"]).to_vec(),
    );
    // The pod's own words about istio-proxy go into the one that is injected.
    let place = main.iter().position(|it| it["name"] == PROXY);
    let mut proxy = place.map_or_else(|| json!({"name": PROXY}), |place| main.remove(place));
    let is_gateway = annotations["inject.istio.io/templates"] == "gateway";
    if !is_gateway && let Some(mounts) = annotations["sidecar.istio.io/userVolumeMount"].as_str() {
        let mounts: Value = serde_json::from_str(mounts).expect("the annotation is JSON");
        let mounts = mounts.as_object().expect("mounts by their volumes").iter();
        proxy["volumeMounts"] = mounts
            .map(|(name, mount)| {
                let mut mount = mount.clone();
                mount["name"] = json!(name);
                mount
            })
            .collect();
    }
    let firewall = json!({"name": "istio-init"});
    if is_gateway {
        main.push(proxy);
    } else if annotations[NATIVE] == "false" {
        init.push(firewall);
        main.push(proxy);
    } else {
        proxy["restartPolicy"] = json!("Always");
        init.splice(0..0, [firewall, proxy]);
    }
    let init = init
        .into_iter()
        .map(|it| (it["restartPolicy"] != "Always", it));
    init.chain(main.into_iter().map(|it| (false, it))).collect()
}

/// The files that istio-proxy finds in volumes of the pod as it starts, of those that init containers copy and that come
/// with a volume.
fn found_by_proxy(template: &Value) -> BTreeSet<String> {
    let volumes = list(&template["spec"]["volumes"]);
    // What is in a volume: nothing yet in an empty one.
    let mut files: BTreeSet<(&str, &str)> = BTreeSet::new();
    for volume in volumes {
        if !volume["configMap"].is_null() {
            files.insert((text(&volume["name"]), "waykeeper.wasm"));
        }
        if !volume["image"].is_null() {
            files.insert((text(&volume["name"]), "plugin.wasm"));
        }
    }
    let containers = injected(template);
    for (ends_first, container) in &containers {
        for mount in list(&container["volumeMounts"]) {
            let (volume, path) = (text(&mount["name"]), text(&mount["mountPath"]));
            if container["name"] == PROXY {
                let of_volume = files.iter().filter(|(of, _)| *of == volume);
                return of_volume
                    .map(|(_, file)| format!("{path}/{file}"))
                    .collect();
            }
            let command = list(&container["command"]);
            if let ([copy, _, target], true) = (command, *ends_first)
                && copy == "cp"
                && let Some(file) = text(target).strip_prefix(&format!("{path}/"))
            {
                files.insert((volume, file));
            }
        }
    }
    BTreeSet::new()
}

/// The agent's Deployment as the patch makes it.
fn agent() -> Value {
    let mut patched = read(&folder().join("sidecar/deployment-patch.yaml")).remove(0);
    let mut template = patched["spec"]["template"].take();
    template["spec"]["containers"] = json!([{"name": "agent", "image": "agent"}]);
    template
}

/// Where an extension configuration says that the module lies.
fn module(kustomization: &str, name: &str) -> String {
    let manifests = Manifests::of(kustomization);
    let patches = list(&manifests.get("EnvoyFilter", name)["spec"]["configPatches"]);
    let of_kind = patches
        .iter()
        .find(|it| it["applyTo"] == "EXTENSION_CONFIG");
    let value = &of_kind.expect("an extension configuration")["patch"]["value"];
    let code = &value["typed_config"]["config"]["vm_config"]["code"];
    text(&code["local"]["filename"]).to_owned()
}

#[test]
fn a_gateway_finds_its_module_as_it_starts() {
    let manifests = Manifests::of(".");
    let template = &manifests.get("Deployment", "waykeeper-gateway")["spec"]["template"];
    let found = found_by_proxy(template);
    assert!(
        found.contains(&module(".", "waykeeper-configuration")),
        "{found:?}"
    );
    let plugin = Manifests::of("wasm-plugin");
    let url = text(&plugin.get("WasmPlugin", "waykeeper")["spec"]["url"]);
    let file = url.strip_prefix("file://").expect("a file of the pod");
    assert!(found.contains(file), "{found:?}");
}

#[test]
fn a_sidecar_finds_its_module_as_it_starts() {
    let module = module("sidecar", "waykeeper-chat-gpu");
    let mut template = agent();
    assert_eq!(found_by_proxy(&template), [module].into());

    // Native sidecars are Istio's default: they start before the pod's own init containers.
    let annotations = &mut template["metadata"]["annotations"];
    annotations
        .as_object_mut()
        .expect("annotations")
        .remove(NATIVE);
    assert_eq!(found_by_proxy(&template), BTreeSet::new());
}

/// The other ways that the README names: nothing has to run before istio-proxy.
#[test]
fn a_volume_that_brings_the_module_is_there_before_a_native_sidecar() {
    let module = module("sidecar", "waykeeper-chat-gpu");
    for (volume, expected) in [
        (json!({"configMap": {"name": "waykeeper-filter"}}), &*module),
        (
            json!({"image": {"reference": "waykeeper-filter"}}),
            "/var/lib/waykeeper/plugin.wasm",
        ),
    ] {
        let mut template = agent();
        let annotations = &mut template["metadata"]["annotations"];
        annotations
            .as_object_mut()
            .expect("annotations")
            .remove(NATIVE);
        let pod = template["spec"].as_object_mut().expect("a pod");
        pod.remove("initContainers");
        pod["volumes"] = json!([volume]);
        pod["volumes"][0]["name"] = json!("waykeeper-filter");
        assert_eq!(found_by_proxy(&template), [expected.to_owned()].into());
    }
}
