//! The two files of `envoy/` as trees that can be edited: Envoy's bootstrap, and the filter with its configuration.
//! What is edited is found by name, and a reference that lacks it is an error that says so. The result is written as
//! JSON, which Envoy reads as well as YAML.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::admin::AdminAddress;

/// The filter's name in the bootstrap and in the discovery answer.
const FILTER: &str = "waykeeper";

/// The cluster by which a listener reaches the admin interface.
const ADMIN_CLUSTER: &str = "waykeeper/admin";

/// Envoy's bootstrap.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    document: Value,
}

/// The filter with its configuration, as an answer of Envoy's extension discovery service.
#[derive(Clone, Debug)]
pub struct FilterFile {
    document: Value,
}

/// A reference file cannot be read, or lacks something that was to be edited.
#[derive(Debug)]
pub struct ReferenceError {
    path: PathBuf,
    reason: String,
}

// === impl Bootstrap ===

impl Bootstrap {
    /// Reads a bootstrap from a YAML file.
    ///
    /// # Errors
    /// If it cannot be read, or is no YAML.
    pub fn read(path: &Path) -> Result<Self, ReferenceError> {
        let document = read_yaml(path)?;
        Ok(Self { document })
    }

    /// The whole tree.
    pub fn document_mut(&mut self) -> &mut Value {
        &mut self.document
    }

    /// A listener, by its name.
    ///
    /// # Errors
    /// If there is none.
    pub fn listener_mut(&mut self, name: &str) -> Result<&mut Value, ReferenceError> {
        named(
            &mut self.document,
            "/static_resources/listeners",
            "listener",
            name,
        )
    }

    /// A cluster, by its name.
    ///
    /// # Errors
    /// If there is none.
    pub fn cluster_mut(&mut self, name: &str) -> Result<&mut Value, ReferenceError> {
        named(
            &mut self.document,
            "/static_resources/clusters",
            "cluster",
            name,
        )
    }

    /// The configuration of a listener's HTTP connection manager.
    ///
    /// # Errors
    /// If there is none.
    pub fn connection_manager_mut(&mut self, listener: &str) -> Result<&mut Value, ReferenceError> {
        let path = "/filter_chains/0/filters/0/typed_config";
        self.listener_mut(listener)?
            .pointer_mut(path)
            .ok_or_else(|| lacks(format!("listener \"{listener}\" has no {path}")))
    }

    /// A route of the gateway, by its name.
    ///
    /// # Errors
    /// If there is none.
    pub fn route_mut(&mut self, name: &str) -> Result<&mut Value, ReferenceError> {
        let manager = self.connection_manager_mut("gateway")?;
        named(
            manager,
            "/route_config/virtual_hosts/0/routes",
            "route",
            name,
        )
    }

    /// Makes a listener listen elsewhere; port 0 is any free one.
    ///
    /// # Errors
    /// If there is no such listener.
    pub fn listen(&mut self, listener: &str, address: SocketAddr) -> Result<(), ReferenceError> {
        *child_mut(self.listener_mut(listener)?, "address") = socket_address(address);
        Ok(())
    }

    /// Puts a cluster's hosts at these addresses; a name is no longer looked up.
    ///
    /// # Errors
    /// If there is no such cluster.
    pub fn set_endpoints(
        &mut self,
        cluster: &str,
        addresses: &[SocketAddr],
    ) -> Result<(), ReferenceError> {
        let endpoints: Vec<Value> = addresses
            .iter()
            .map(|address| json!({"endpoint": {"address": socket_address(*address)}}))
            .collect();
        let tree = self.cluster_mut(cluster)?;
        remove(tree, "dns_lookup_family");
        *child_mut(tree, "type") = json!("STATIC");
        *child_mut(tree, "load_assignment") = json!({
            "cluster_name": cluster,
            "endpoints": [{"lb_endpoints": endpoints}],
        });
        Ok(())
    }

    /// Adds a cluster like `model`, with other hosts.
    ///
    /// # Errors
    /// If there is no cluster `model`.
    pub fn add_cluster(
        &mut self,
        name: &str,
        model: &str,
        addresses: &[SocketAddr],
    ) -> Result<(), ReferenceError> {
        let mut cluster = self.cluster_mut(model)?.clone();
        *child_mut(&mut cluster, "name") = json!(name);
        if let Some(Value::Array(clusters)) =
            self.document.pointer_mut("/static_resources/clusters")
        {
            clusters.push(cluster);
        }
        self.set_endpoints(name, addresses)
    }

    pub(super) fn set_admin(&mut self, address: &AdminAddress) -> Result<(), ReferenceError> {
        let tree = match address {
            AdminAddress::Tcp(address) => socket_address(*address),
            AdminAddress::Socket(path) => json!({"pipe": {"path": path.to_string_lossy()}}),
        };
        let cluster = self.cluster_mut(ADMIN_CLUSTER)?;
        *child_mut(cluster, "load_assignment") = json!({
            "cluster_name": ADMIN_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": tree}}]}],
        });
        *child_mut(child_mut(&mut self.document, "admin"), "address") = tree;
        Ok(())
    }

    /// Makes Envoy read the filter's configuration from the file at `path`.
    pub(super) fn discover_filter(&mut self, path: &Path) -> Result<(), ReferenceError> {
        let source = self
            .filter_mut()?
            .pointer_mut("/config_discovery/config_source")
            .ok_or_else(|| lacks("the filter has no /config_discovery/config_source".to_owned()))?;
        *child_mut(source, "path_config_source") = json!({
            "path": path.to_string_lossy(),
            "watched_directory": {"path": path.parent().map(Path::to_string_lossy)},
        });
        Ok(())
    }

    /// Puts the filter's configuration into the bootstrap itself.
    pub(super) fn embed_filter(&mut self, filter: &FilterFile) -> Result<(), ReferenceError> {
        let wasm = filter
            .document
            .pointer("/resources/0/typed_config")
            .ok_or_else(|| lacks("the filter's file has no /resources/0/typed_config".to_owned()))?
            .clone();
        *self.filter_mut()? = json!({"name": FILTER, "typed_config": wasm});
        Ok(())
    }

    /// Takes the filter out.
    pub(super) fn remove_filter(&mut self) -> Result<(), ReferenceError> {
        let filters = self
            .connection_manager_mut("gateway")?
            .get_mut("http_filters")
            .and_then(Value::as_array_mut)
            .ok_or_else(|| lacks("the gateway has no http_filters".to_owned()))?;
        filters.retain(|filter| filter.get("name").is_none_or(|name| name != FILTER));
        Ok(())
    }

    pub(super) fn write(&self, path: &Path) -> std::io::Result<()> {
        std::fs::write(path, self.document.to_string())
    }

    fn filter_mut(&mut self) -> Result<&mut Value, ReferenceError> {
        let manager = self.connection_manager_mut("gateway")?;
        named(manager, "/http_filters", "HTTP filter", FILTER)
    }
}

// === impl FilterFile ===

impl FilterFile {
    /// Reads a discovery answer from a YAML file.
    ///
    /// # Errors
    /// If it cannot be read, or is no YAML.
    pub fn read(path: &Path) -> Result<Self, ReferenceError> {
        let document = read_yaml(path)?;
        Ok(Self { document })
    }

    /// The whole tree.
    pub fn document_mut(&mut self) -> &mut Value {
        &mut self.document
    }

    /// The module that Envoy is to load.
    ///
    /// # Errors
    /// If the file is no answer that configures a Wasm filter.
    pub fn set_module(&mut self, module: &Path) -> Result<(), ReferenceError> {
        *self.wasm_mut("/vm_config/code/local/filename")? = json!(module.to_string_lossy());
        Ok(())
    }

    /// How Envoy runs the filter: its `PluginConfig`.
    ///
    /// # Errors
    /// If the file is no answer that configures a Wasm filter.
    pub fn plugin_mut(&mut self) -> Result<&mut Value, ReferenceError> {
        self.wasm_mut("")
    }

    /// Waykeeper's own configuration.
    ///
    /// # Errors
    /// If the file is no answer that configures a Wasm filter by a `Struct`.
    pub fn configuration_mut(&mut self) -> Result<&mut Value, ReferenceError> {
        self.wasm_mut("/configuration/value")
    }

    /// Writes the file into a directory by renaming, since Envoy sees nothing else, and says where it lies.
    pub(super) fn write_into(&self, directory: &Path) -> std::io::Result<PathBuf> {
        Self::write_text_into(&self.document.to_string(), directory)
    }

    /// The same with any text in the file's place.
    pub(super) fn write_text_into(text: &str, directory: &Path) -> std::io::Result<PathBuf> {
        let path = directory.join("waykeeper.json");
        let beside = directory.join("waykeeper.json.new");
        std::fs::write(&beside, text)?;
        std::fs::rename(&beside, &path)?;
        Ok(path)
    }

    fn wasm_mut(&mut self, path: &str) -> Result<&mut Value, ReferenceError> {
        let path = format!("/resources/0/typed_config/config{path}");
        self.document
            .pointer_mut(&path)
            .ok_or_else(|| lacks(format!("the filter's file has no {path}")))
    }
}

// === impl ReferenceError ===

impl std::fmt::Display for ReferenceError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for ReferenceError {}

fn lacks(reason: String) -> ReferenceError {
    ReferenceError {
        path: PathBuf::from("the reference configuration"),
        reason,
    }
}

fn read_yaml(path: &Path) -> Result<Value, ReferenceError> {
    let error = |reason: String| ReferenceError {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|source| error(source.to_string()))?;
    serde_saphyr::from_str(&text).map_err(|source| error(source.to_string()))
}

/// The element called `name` of the list at `path`.
fn named<'a>(
    tree: &'a mut Value,
    path: &str,
    kind: &str,
    name: &str,
) -> Result<&'a mut Value, ReferenceError> {
    tree.pointer_mut(path)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .find(|element| element.get("name").is_some_and(|found| found == name))
        .ok_or_else(|| lacks(format!("{path} has no {kind} named \"{name}\"")))
}

/// A field of an object, made if it is not there. What is no object becomes one.
fn child_mut<'a>(tree: &'a mut Value, field: &str) -> &'a mut Value {
    if !tree.is_object() {
        *tree = json!({});
    }
    &mut tree[field]
}

fn remove(tree: &mut Value, field: &str) {
    if let Some(object) = tree.as_object_mut() {
        object.remove(field);
    }
}

fn socket_address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}
