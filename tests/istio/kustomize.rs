//! kustomize itself on `istio/`: it must see in these files what the tests see.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::needed;
use crate::manifests::{Manifests, files, folder, list, read, repository, text};

#[test]
fn every_file_belongs_to_a_kustomization_or_says_why_not() {
    // For agents behind the gateway only, a patch for somebody else's Deployment, values for somebody else's chart.
    let apart = [
        "sidecar/behind-gateway.yaml",
        "sidecar/deployment-patch.yaml",
        "prometheus-adapter-rules.yaml",
    ];
    let mut listed: Vec<PathBuf> = apart.iter().map(|path| folder().join(path)).collect();
    for file in files() {
        if file.ends_with("kustomization.yaml") {
            let folder = file.parent().expect("a file is in a folder");
            let resources = read(&file).remove(0)["resources"].take();
            for resource in resources.as_array().into_iter().flatten() {
                let path = folder.join(resource.as_str().expect("resources are paths"));
                assert!(path.exists(), "{} lists {}", file.display(), path.display());
                listed.push(path);
            }
            listed.push(file);
        }
    }
    for file in files() {
        assert!(
            listed.contains(&file),
            "{} is in no kustomization",
            file.display()
        );
    }
}

/// What kustomize itself makes of a folder, without a word of warning.
fn kustomize(folder: &Path) -> Manifests {
    let output = std::process::Command::new(needed(".tools/kubectl", "make test-tools"))
        .arg("kustomize")
        .arg(folder)
        .output()
        .expect("kubectl can be run");
    let log = String::from_utf8_lossy(&output.stderr);
    let folder = folder.display();
    assert!(output.status.success(), "{folder}: {log}");
    assert_eq!(log, "", "{folder}: kustomize warns");
    let text = String::from_utf8(output.stdout).expect("YAML is UTF-8");
    Manifests(serde_saphyr::from_multiple(&text).expect("kustomize writes YAML"))
}

/// kustomize knows YAML's anchors, patches and images: what it makes of the files is what we read in them.
#[test]
fn kustomize_sees_the_manifests_that_the_tests_see() {
    for name in [".", "gateway", "wasm-plugin", "sidecar"] {
        let built = kustomize(&folder().join(name));
        let ours = Manifests::of(name);
        assert_eq!(built.0.len(), ours.0.len(), "{name}");
        for mut manifest in built.0 {
            let (kind, name) = (text(&manifest["kind"]), text(&manifest["metadata"]["name"]));
            let expected = ours.get(kind, name).clone();
            if kind == "Deployment" {
                let image = &mut manifest["spec"]["template"]["spec"]["initContainers"][0]["image"];
                assert_eq!(image.take(), "waykeeper-gateway:latest");
                *image = json!("waykeeper-gateway");
            }
            assert_eq!(manifest, expected);
        }
    }
}

/// The proof is written once, by the README's command, and kustomize brings it where it must be the same.
#[test]
fn kustomize_writes_the_operator_s_proof_into_every_route() {
    let copy = tempfile::tempdir().expect("a folder for a kustomization");
    for file in files() {
        let place = file.strip_prefix(repository()).expect("a file of istio/");
        let target = copy.path().join(place);
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("folders");
        std::fs::copy(&file, target).expect("the folder can be written");
    }
    let page = std::fs::read_to_string(folder().join("README.md")).expect("the page");
    let mut lines = page.lines().map(str::trim);
    let command = lines.find(|line| line.starts_with("sed -i \"s/REPLACE-ME"));
    let status = std::process::Command::new("sh")
        .args(["-c", command.expect("the README's command")])
        .current_dir(copy.path())
        .status();
    assert!(status.expect("the command can be run").success());

    let built = kustomize(&copy.path().join("istio/wasm-plugin"));
    let plugin = built.get("WasmPlugin", "waykeeper");
    let proof = text(&plugin["spec"]["pluginConfig"]["proof"]);
    let hexadecimal = |it: char| it.is_ascii_hexdigit();
    assert!(
        proof.len() == 64 && proof.chars().all(hexadecimal),
        "{proof:?}"
    );
    let ours = Manifests::of_plugin(proof);
    for kind in ["WasmPlugin", "VirtualService"] {
        assert_eq!(built.get(kind, "waykeeper"), ours.get(kind, "waykeeper"));
    }
    let written = json!(built.0.iter().collect::<Vec<_>>()).to_string();
    assert!(!written.contains("REPLACE-ME"));
    // In the plugin, and in the route of each agent.
    assert_eq!(written.matches(proof).count(), 6);
}

#[test]
fn the_component_for_tls_can_be_added() {
    let folder_of_test = tempfile::tempdir().expect("a folder for a kustomization");
    let istio = std::fs::canonicalize(folder()).expect("istio/ exists");
    std::os::unix::fs::symlink(istio, folder_of_test.path().join("istio"))
        .expect("a link to istio/");
    let kustomization = "resources: [istio/gateway]\ncomponents: [istio/tls]\n";
    std::fs::write(
        folder_of_test.path().join("kustomization.yaml"),
        kustomization,
    )
    .expect("the folder can be written");
    let built = kustomize(folder_of_test.path());
    let [gateway] = *built.of_kind("Gateway") else {
        panic!("one Gateway");
    };
    let servers = list(&gateway["spec"]["servers"]);
    assert_eq!(servers[0]["tls"], json!({"httpsRedirect": true}));
    assert_eq!(servers[1]["port"]["number"], 443);
    crate::schema::check(gateway).expect("the patched Gateway is valid");
    let service = built.get("Service", "waykeeper-gateway");
    let ports = list(&service["spec"]["ports"]).iter();
    let ports: Vec<_> = ports
        .map(|it| (text(&it["name"]), &it["port"], &it["targetPort"]))
        .collect();
    for (name, port, target) in [("http", 80, 8080), ("https", 443, 8443)] {
        assert!(
            ports.contains(&(name, &json!(port), &json!(target))),
            "{ports:?}"
        );
    }
}
