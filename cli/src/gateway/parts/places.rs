//! The directory in which Envoy finds its parts, and what they are called there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

/// What a link to a credential is called in its directory.
pub(crate) const LINK: &str = "0";

/// What it is called there in place of that while the file is not there, for what Envoy looks for only once.
const ABSENT: &str = "absent";

/// The directory from which Envoy reads the parts.
#[derive(Debug, Clone)]
pub(crate) struct Places(pub(crate) PathBuf);

// === impl Places ===

impl Places {
    pub(crate) fn bootstrap(&self) -> PathBuf {
        self.0.join("bootstrap.json")
    }

    /// Where Envoy is shown everything at once, before it is given any of it.
    pub(crate) fn judged(&self) -> PathBuf {
        self.0.join("judged")
    }

    /// A file below the directory.
    pub(crate) fn below(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn clusters(&self) -> PathBuf {
        self.0.join("clusters.json")
    }

    pub(crate) fn listeners(&self) -> PathBuf {
        self.0.join("listeners.json")
    }

    pub(crate) fn filter(&self) -> PathBuf {
        self.0.join("filter.json")
    }

    pub(crate) fn routes(&self, name: &str) -> PathBuf {
        self.0.join(format!("routes-{}.json", plain(name)))
    }

    pub(crate) fn secret(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }

    /// Has Envoy read credentials by links of ours, wherever it is to watch a directory for them. Only what is renamed there does
    /// it see, and one that is not there it does not watch. Tells which files those are.
    pub(crate) fn link_credentials(&self, tree: &mut Json, kept: &mut BTreeMap<PathBuf, PathBuf>) {
        match tree {
            Json::Object(fields) if fields.contains_key("watched_directory") => {
                let file = fields.get("filename").and_then(Json::as_str);
                let Some(file) = file.map(PathBuf::from) else {
                    return;
                };
                let directory = self.kept(&file);
                let link = directory.join(LINK);
                fields.insert("filename".to_owned(), json!(link.to_string_lossy()));
                let watched = json!({"path": directory.to_string_lossy()});
                fields.insert("watched_directory".to_owned(), watched);
                kept.insert(directory, file);
            }
            Json::Object(fields) => {
                for (name, value) in fields {
                    self.link_credentials(value, kept);
                    if name == "credentials_data_source" {
                        name_absent(value, kept);
                    }
                }
            }
            Json::Array(items) => {
                for item in items {
                    self.link_credentials(item, kept);
                }
            }
            _ => {}
        }
    }

    /// Where Envoy finds a link to a file that holds a credential.
    fn kept(&self, file: &Path) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        file.hash(&mut hasher);
        self.0.join(format!("credential-{:016x}", hasher.finish()))
    }

    /// Of one generation of a secret.
    pub(crate) fn links(&self, name: &str, generation: u64) -> PathBuf {
        self.0.join(format!("{name}-{generation:016x}"))
    }
}

/// An address as a file's name may hold it.
fn plain(name: &str) -> String {
    let mut plain = String::new();
    for character in name.chars() {
        if character.is_ascii_alphanumeric() || matches!(character, '.' | '-') {
            plain.push(character);
        } else {
            // Two names never become one.
            let _ = write!(plain, "_{:x}", u32::from(character));
        }
    }
    plain
}

/// Names a file of AWS's that is not there otherwise than one that is: Envoy makes the cluster anew when it comes, and looks again.
fn name_absent(source: &mut Json, kept: &BTreeMap<PathBuf, PathBuf>) {
    let directory = source.pointer("/watched_directory/path");
    let Some(directory) = directory.and_then(Json::as_str).map(PathBuf::from) else {
        return;
    };
    if kept.get(&directory).is_some_and(|file| !file.exists())
        && let Some(fields) = source.as_object_mut()
    {
        let absent = directory.join(ABSENT);
        fields.insert("filename".to_owned(), json!(absent.to_string_lossy()));
    }
}

/// The directories of those that were named so.
pub(super) fn absent(tree: &Json, directories: &mut Vec<PathBuf>) {
    match tree {
        Json::Object(fields) => {
            let file = fields.get("filename").and_then(Json::as_str);
            let file = file.map(Path::new).filter(|it| it.ends_with(ABSENT));
            directories.extend(file.and_then(Path::parent).map(Path::to_owned));
            for value in fields.values() {
                absent(value, directories);
            }
        }
        Json::Array(items) => {
            for item in items {
                absent(item, directories);
            }
        }
        _ => {}
    }
}
