//! Envoy's whole configuration taken apart into what Envoy reads from files of their own: clusters, listeners, routes, the
//! filter, certificates. Each can then change without the others, and without a restart; what is left over cannot.

mod places;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};
use waykeeper::host::Sensitive;

pub(crate) use self::places::{LINK, Places};
use super::render::Rendered;
use crate::yaml::{self, Kind, Value};

pub(super) const MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// The parts, by their names. All are as Envoy's files write them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Parts {
    /// What Envoy reads when it starts, and never again.
    pub(crate) bootstrap: Json,
    pub(crate) clusters: BTreeMap<String, Json>,
    /// By their addresses, so that one that goes leaves the others as they are; `operations` by that name.
    pub(crate) listeners: BTreeMap<String, Json>,
    /// Called as the listeners that have them.
    pub(crate) routes: BTreeMap<String, Json>,
    /// The filter, with its configuration.
    pub(crate) filter: Sensitive<Json>,
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// What tells Envoy where credentials are kept: texts of files, by their names below the directory.
    pub(crate) credentials: BTreeMap<String, String>,
    /// The files that hold credentials, by the directories in which Envoy finds links to them.
    pub(crate) kept: BTreeMap<PathBuf, PathBuf>,
}

/// Certificates and keys: where they lie, never what they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    pub(crate) kind: SecretKind,
    pub(crate) files: Vec<PathBuf>,
    /// Another one for other contents.
    pub(crate) generation: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SecretKind {
    /// A certificate, then its key.
    Identity,
    /// Who may have signed the other end's certificate.
    Authorities,
}

/// What was rendered is not what this file takes it for.
#[derive(Debug)]
pub(crate) struct Unexpected(String);

/// Envoy's file as one document, without the filter: what is wrong with the filter's configuration its own reader has told, and
/// Envoy needs a second to load the module.
///
/// # Errors
/// If a template is broken.
pub(crate) fn whole(rendered: &Rendered) -> Result<Json, Unexpected> {
    let mut envoy = tree(&rendered.envoy)?;
    for listener in items(&mut envoy, "/static_resources/listeners") {
        for manager in managers(listener) {
            if let Some(Json::Array(filters)) = manager.get_mut("http_filters") {
                filters.retain(|filter| !is_ours(filter));
            }
        }
    }
    Ok(envoy)
}

// === impl Parts ===

impl Parts {
    /// Takes the two files apart.
    ///
    /// # Errors
    /// If a template is broken.
    pub(crate) fn of(rendered: &Rendered, places: &Places) -> Result<Self, Unexpected> {
        let mut envoy = tree(&rendered.envoy)?;
        let mut parts = Self {
            filter: Sensitive(filter(rendered)?),
            ..Self::default()
        };
        for (name, text) in &rendered.credentials {
            let mut file = tree(text)?;
            places.link_credentials(&mut file, &mut parts.kept);
            parts.credentials.insert(name.clone(), file.to_string());
        }
        for cluster in items(&mut envoy, "/static_resources/clusters") {
            let name = name(cluster)?;
            parts.take_secrets(cluster, places);
            places.link_credentials(cluster, &mut parts.kept);
            parts.clusters.insert(name, cluster.take());
        }
        for listener in items(&mut envoy, "/static_resources/listeners") {
            let name = parts.take_routes(listener, places)?;
            parts.take_secrets(listener, places);
            parts.listeners.insert(name, listener.take());
        }
        if let Some(fields) = envoy.as_object_mut() {
            fields.remove("static_resources");
            let discovered = json!({
                "cds_config": source(&places.clusters()),
                "lds_config": source(&places.listeners()),
            });
            fields.insert("dynamic_resources".to_owned(), discovered);
        }
        parts.bootstrap = envoy;
        Ok(parts)
    }

    /// Credentials that are not there, and that Envoy looks for only when it makes a cluster.
    pub(crate) fn absent(&self) -> Vec<PathBuf> {
        let mut directories = Vec::new();
        for cluster in self.clusters.values() {
            places::absent(cluster, &mut directories);
        }
        let absent = directories.iter().filter_map(|it| self.kept.get(it));
        absent.cloned().collect()
    }

    /// Leaves the routes of a listener, and the filter, to files of their own; tells what the listener is called.
    fn take_routes(&mut self, listener: &mut Json, places: &Places) -> Result<String, Unexpected> {
        let mut called = name(listener)?;
        if called != "operations"
            && let Some(address) = address(listener)
        {
            called = address;
            set(listener, "name", json!(called));
        }
        for (index, manager) in managers(listener).into_iter().enumerate() {
            let route = match index {
                0 => called.clone(),
                index => format!("{called}-{}", index + 1),
            };
            let routes = manager
                .as_object_mut()
                .and_then(|fields| fields.remove("route_config"));
            if let Some(mut routes) = routes {
                set(&mut routes, "name", json!(route));
                let discovered = json!({
                    "route_config_name": route,
                    "config_source": source(&places.routes(&route)),
                });
                set(manager, "rds", discovered);
                self.routes.insert(route, routes);
            }
            for filter in items(manager, "/http_filters") {
                if is_ours(filter)
                    && let Some(discovery) = filter.get_mut("config_discovery")
                {
                    set(discovery, "config_source", source(&places.filter()));
                }
            }
        }
        Ok(called)
    }

    /// Leaves certificates to files of their own, wherever TLS is set up in this.
    fn take_secrets(&mut self, tree: &mut Json, places: &Places) {
        match tree {
            Json::Object(fields) => {
                if let Some(context) = fields.get_mut("common_tls_context") {
                    self.take_from_context(context, places);
                }
                for value in fields.values_mut() {
                    self.take_secrets(value, places);
                }
            }
            Json::Array(items) => {
                for item in items {
                    self.take_secrets(item, places);
                }
            }
            _ => {}
        }
    }

    fn take_from_context(&mut self, context: &mut Json, places: &Places) {
        let file = |tree: &Json, path: &str| tree.pointer(path)?.as_str().map(PathBuf::from);
        // More than one, or one with more to it, an operator has written, and Envoy reads as it says.
        let certificates = context.pointer("/tls_certificates");
        let certificate = match certificates.and_then(Json::as_array).map(Vec::as_slice) {
            Some([only]) if only.as_object().is_some_and(|it| it.len() == 2) => Some(only),
            _ => None,
        };
        let identity = certificate.and_then(|it| {
            let certificate = file(it, "/certificate_chain/filename")?;
            Some(vec![certificate, file(it, "/private_key/filename")?])
        });
        if let Some(files) = identity {
            let discovered = self.secret(SecretKind::Identity, files, places);
            remove(context, "tls_certificates");
            let discovered = json!([discovered]);
            set(context, "tls_certificate_sds_secret_configs", discovered);
        }
        if let Some(ca) = file(context, "/validation_context/trusted_ca/filename") {
            let discovered = self.secret(SecretKind::Authorities, vec![ca], places);
            let mut rest = remove(context, "validation_context").unwrap_or_default();
            remove(&mut rest, "trusted_ca");
            let combined = json!({
                "default_validation_context": rest,
                "validation_context_sds_secret_config": discovered,
            });
            set(context, "combined_validation_context", combined);
        }
    }

    fn secret(&mut self, kind: SecretKind, files: Vec<PathBuf>, places: &Places) -> Json {
        let mut hasher = DefaultHasher::new();
        (kind, &files).hash(&mut hasher);
        let what = match kind {
            SecretKind::Identity => "certificate",
            SecretKind::Authorities => "authorities",
        };
        let name = format!("{what}-{:016x}", hasher.finish());
        let generation = generation(&files);
        let secret = Secret {
            kind,
            files,
            generation,
        };
        let discovered = json!({"name": name, "sds_config": source(&places.secret(&name))});
        self.secrets.insert(name, secret);
        discovered
    }
}

// === impl Secret ===

impl Secret {
    /// As Envoy's file describes it. The files are named by links that are in `links`, in the same order: others for another
    /// generation, or Envoy would take it for what it has.
    pub(crate) fn resource(&self, name: &str, links: &[PathBuf]) -> Json {
        let file = |index: usize| {
            let link = links.get(index).map(|link| link.to_string_lossy());
            json!({"filename": link})
        };
        match self.kind {
            SecretKind::Identity => json!({
                "name": name,
                "tls_certificate": {"certificate_chain": file(0), "private_key": file(1)},
            }),
            SecretKind::Authorities => {
                json!({"name": name, "validation_context": {"trusted_ca": file(0)}})
            }
        }
    }
}

/// Changes when one of the files is written or replaced.
pub(crate) fn generation(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        let state = std::fs::metadata(file).ok().map(|it| {
            (
                (it.dev(), it.ino(), it.size()),
                (it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec()),
            )
        });
        state.hash(&mut hasher);
    }
    hasher.finish()
}

// === impl Unexpected ===

impl std::fmt::Display for Unexpected {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "what was rendered is broken: {}", self.0)
    }
}

impl std::error::Error for Unexpected {}

fn source(path: &Path) -> Json {
    json!({
        "resource_api_version": "V3",
        "path_config_source": {"path": path.to_string_lossy()},
    })
}

fn filter(rendered: &Rendered) -> Result<Json, Unexpected> {
    let file = tree(&rendered.filter)?;
    let filter = file.pointer("/resources/0/typed_config").cloned();
    filter.ok_or_else(|| Unexpected("no filter in its file".to_owned()))
}

/// Whether it is the one whose configuration is a file of its own here.
fn is_ours(filter: &Json) -> bool {
    filter.get("name").is_some_and(|name| name == "waykeeper")
}

/// The configurations of a listener's HTTP connection managers.
fn managers(listener: &mut Json) -> Vec<&mut Json> {
    let chains = items(listener, "/filter_chains").iter_mut();
    let filters = chains.flat_map(|chain| items(chain, "/filters").iter_mut());
    filters
        .filter(|filter| filter.get("name").is_some_and(|name| name == MANAGER))
        .filter_map(|filter| filter.get_mut("typed_config"))
        .collect()
}

fn name(tree: &Json) -> Result<String, Unexpected> {
    let name = tree.get("name").and_then(Json::as_str);
    let name = name.ok_or_else(|| Unexpected("something has no name".to_owned()))?;
    Ok(name.to_owned())
}

/// Where a listener listens.
fn address(listener: &Json) -> Option<String> {
    let socket = listener.pointer("/address/socket_address")?;
    let address = socket.get("address")?.as_str()?;
    let port = socket.get("port_value")?;
    Some(if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    })
}

/// The list that a path leads to; an empty one where there is none.
fn items<'t>(tree: &'t mut Json, path: &str) -> &'t mut [Json] {
    match tree.pointer_mut(path) {
        Some(Json::Array(items)) => items,
        _ => &mut [],
    }
}

fn set(tree: &mut Json, field: &str, value: Json) {
    if let Some(fields) = tree.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}

fn remove(tree: &mut Json, field: &str) -> Option<Json> {
    tree.as_object_mut()?.remove(field)
}

/// A text that was rendered, with its anchors resolved.
fn tree(text: &str) -> Result<Json, Unexpected> {
    let documents = yaml::parse(text)
        .map_err(|broken| Unexpected(format!("line {}: {}", broken.line, broken.message)))?;
    match documents.as_slice() {
        [document] => Ok(json_of(document)),
        _ => Err(Unexpected("no single document".to_owned())),
    }
}

/// What Envoy makes of a value that is written for it.
pub(crate) fn json_of(value: &Value) -> Json {
    match &value.kind {
        Kind::Null => Json::Null,
        Kind::Bool(flag) => json!(flag),
        // What is whole is written so: Envoy's fields of whole numbers take no others.
        Kind::Number(number) => match value.node().whole() {
            Some(whole) => json!(whole),
            None => json!(number),
        },
        Kind::Text(text) => json!(text),
        Kind::List(items) => items.iter().map(json_of).collect(),
        Kind::Map(entries) => {
            let fields = entries
                .iter()
                .map(|entry| (entry.name.clone(), json_of(&entry.value)));
            Json::Object(fields.collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests;
