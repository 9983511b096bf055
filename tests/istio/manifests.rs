//! Reads the manifests of `istio/`, as kustomize would collect them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::needed;

/// All manifests of one kustomization.
pub(crate) struct Manifests(Vec<Value>);

impl Manifests {
    /// Those of a kustomization in `istio/`: the full way in `.`, others in their folders.
    pub(crate) fn of(kustomization: &str) -> Self {
        Self::edited(kustomization, |_| ())
    }

    /// The same before anything is replaced: the files as they are, applied one by one.
    pub(crate) fn as_shipped(kustomization: &str) -> Self {
        let mut documents = Vec::new();
        collect(&folder().join(kustomization), &mut documents);
        Self(documents)
    }

    /// Those of a kustomization whose files somebody has edited.
    fn edited(kustomization: &str, edit: impl FnOnce(&mut Self)) -> Self {
        let mut manifests = Self::as_shipped(kustomization);
        edit(&mut manifests);
        manifests.replace(&folder().join(kustomization));
        manifests
    }

    /// The `WasmPlugin`'s way, with a proof where the README says to write one.
    pub(crate) fn of_plugin(proof: &str) -> Self {
        Self::edited("wasm-plugin", |manifests| {
            let plugin = manifests.get_mut("WasmPlugin", "waykeeper");
            plugin["spec"]["pluginConfig"]["proof"] = json!(proof);
        })
    }

    /// Without those of a kind: somebody has deleted them, or they have not come yet.
    pub(crate) fn without(mut self, kind: &str) -> Self {
        self.0.retain(|it| it["kind"] != kind);
        self
    }

    /// What the kustomization writes from one manifest into others.
    fn replace(&mut self, folder: &Path) {
        let kustomization = read(&folder.join("kustomization.yaml")).remove(0);
        for replacement in list(&kustomization["replacements"]) {
            let source = &replacement["source"];
            let pointer = format!("/{}", text(&source["fieldPath"]).replace('.', "/"));
            let value = self
                .get(text(&source["kind"]), text(&source["name"]))
                .pointer(&pointer)
                .expect("the source has the field")
                .clone();
            for target in list(&replacement["targets"]) {
                let select = &target["select"];
                let manifest = self.get_mut(text(&select["kind"]), text(&select["name"]));
                for path in list(&target["fieldPaths"]) {
                    let steps: Vec<_> = text(path).split('.').collect();
                    put(manifest, &steps, &value);
                }
            }
        }
    }

    pub(crate) fn get_mut(&mut self, kind: &str, name: &str) -> &mut Value {
        let is_it = |it: &&mut Value| it["kind"] == kind && it["metadata"]["name"] == name;
        let found = self.0.iter_mut().find(is_it);
        found.unwrap_or_else(|| panic!("no manifest is the {kind} {name}"))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Value> {
        self.0.iter()
    }

    /// The only one of a kind and a name.
    pub(crate) fn get(&self, kind: &str, name: &str) -> &Value {
        let is_it = |it: &&Value| it["kind"] == kind && it["metadata"]["name"] == name;
        let found: Vec<_> = self.0.iter().filter(is_it).collect();
        match found.as_slice() {
            [manifest] => manifest,
            other => panic!("{} manifests are the {kind} {name}", other.len()),
        }
    }

    pub(crate) fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|it| it["kind"] == kind).collect()
    }
}

/// The repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `istio/`.
pub(crate) fn folder() -> PathBuf {
    repository().join("istio")
}

/// The documents of a YAML file.
pub(crate) fn read(path: &Path) -> Vec<Value> {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every YAML file below `istio/`.
pub(crate) fn files() -> Vec<PathBuf> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder of istio/") {
            let path = entry.expect("an entry of istio/").path();
            if path.is_dir() {
                walk(&path, files);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    walk(&folder(), &mut files);
    files.sort();
    files
}

/// Writes a value into every place that a path of kustomize names: `*` stands for each item of a list, a number for one.
fn put(at: &mut Value, path: &[&str], value: &Value) {
    match (path, at) {
        ([], at) => *at = value.clone(),
        (["*", rest @ ..], Value::Array(items)) => {
            items.iter_mut().for_each(|item| put(item, rest, value));
        }
        ([index, rest @ ..], Value::Array(items)) => {
            let index: usize = index.parse().expect("the place of an item");
            items
                .get_mut(index)
                .into_iter()
                .for_each(|item| put(item, rest, value));
        }
        ([name, rest @ ..], Value::Object(fields)) => {
            if let Some(field) = fields.get_mut(*name) {
                put(field, rest, value);
            }
        }
        _ => {}
    }
}

/// The items of a list; none of anything else.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn text(value: &Value) -> &str {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("{value} is no text"))
}

fn collect(folder: &Path, documents: &mut Vec<Value>) {
    let kustomization = read(&folder.join("kustomization.yaml")).remove(0);
    for resource in kustomization["resources"].as_array().into_iter().flatten() {
        let path = folder.join(resource.as_str().expect("resources are paths"));
        if path.is_dir() {
            collect(&path, documents);
        } else {
            documents.extend(read(&path));
        }
    }
}

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
