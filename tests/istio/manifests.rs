//! Reads the manifests of `istio/`, as kustomize would collect them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// All manifests of one kustomization.
pub(crate) struct Manifests(pub(crate) Vec<Value>);

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
