//! Finding Waykeeper's configurations in a file: the bare document, or Envoy's and Istio's files that hold it. Other
//! Wasm filters in the same file are none of our business and are left alone.

use std::borrow::Cow;

use waykeeper::config::{self, Faults, Node, Policy};

use crate::target::Target;
use crate::yaml::{self, Kind, Value};

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Found<'v> {
    pub(crate) configurations: Vec<Configuration<'v>>,
    /// What is wrong around the configurations, with its line.
    pub(crate) faults: Vec<(usize, String)>,
    /// What is better looked at, with its line.
    pub(crate) warnings: Vec<(usize, String)>,
}

/// One configuration, and how it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Configuration<'v> {
    /// As fields of the file itself.
    Fields(&'v Value),
    /// The same, of Istio's WasmPlugin.
    Plugin(&'v Value),
    /// As JSON in a string that begins at this line.
    Json(&'v str, usize),
}

/// Fields that only files around the document have.
const AROUND: [&str; 10] = [
    "@type",
    "admin",
    "apiVersion",
    "dynamic_resources",
    "filter_chains",
    "http_filters",
    "kind",
    "resources",
    "static_resources",
    "typed_config",
];

/// All fields of Envoy's Wasm filter, of its `config`, and of the `vm_config` in that.
const FILTER_FIELDS: &[&str] = &["config"];
const CONFIG_FIELDS: &[&str] = &[
    "name",
    "root_id",
    "vm_config",
    "configuration",
    "fail_open",
    "failure_policy",
    "reload_config",
    "capability_restriction_config",
    "allow_on_headers_stop_iteration",
];
const VM_CONFIG_FIELDS: &[&str] = &[
    "vm_id",
    "runtime",
    "code",
    "configuration",
    "allow_precompiled",
    "nack_on_code_cache_miss",
    "environment_variables",
];

const WASM_FILTER: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";

/// Looks through all documents of a file.
pub(crate) fn configurations(documents: &[Value]) -> Found<'_> {
    let mut found = Found::default();
    let mut around = false;
    for document in documents {
        let (configurations, faults) = (found.configurations.len(), found.faults.len());
        found.look_into(document);
        let nothing = found.configurations.len() == configurations && found.faults.len() == faults;
        if nothing && AROUND.iter().any(|field| document.field(field).is_some()) {
            around = true;
        } else if nothing {
            found.configurations.push(Configuration::Fields(document));
        }
    }
    if around && found.configurations.is_empty() && found.faults.is_empty() {
        found
            .faults
            .push((1, "no configuration of Waykeeper in this file".to_owned()));
    }
    found
}

// === impl Found ===

impl<'v> Found<'v> {
    fn look_into(&mut self, value: &'v Value) {
        if type_of(value) == Some(WASM_FILTER) {
            // Istio and others may wrap the filter's message once more.
            let filter = if value.field("type_url").is_some() {
                value.field("value")
            } else {
                Some(value)
            };
            return self.filter(filter.unwrap_or(value));
        }
        if value.get("kind").and_then(Value::text) == Some("WasmPlugin") {
            return self.plugin(value);
        }
        value.parts().for_each(|part| self.look_into(part));
    }

    /// Envoy's Wasm filter.
    fn filter(&mut self, filter: &'v Value) {
        let Some(config) = filter.field("config") else {
            return;
        };
        let configuration = config.field("configuration");
        let written = configuration.and_then(|configuration| configuration.field("value"));
        let code = config.field("vm_config").and_then(|vm| vm.field("code"));
        let called = [config.field("name"), config.field("root_id"), code];
        if !called.into_iter().flatten().any(speaks_of_us) && !written.is_some_and(is_ours) {
            return;
        }
        self.warn_of_unknown(filter, FILTER_FIELDS);
        self.warn_of_unknown(config, CONFIG_FIELDS);
        if written.is_some_and(|value| value.field("attempts").is_some()) {
            // The module on an agent's side. What it is told stands in the gateway's configuration too.
            return;
        }
        if let Some(vm) = config.field("vm_config") {
            self.warn_of_unknown(vm, VM_CONFIG_FIELDS);
        }
        self.refuse_open_doors(config, "fail_open", Value::is_true);
        self.refuse_open_doors(config, "failure_policy", |value| {
            value.is_one("FAIL_OPEN", 3)
        });
        let Some(configuration) = configuration else {
            return self
                .faults
                .push((config.line, "the filter has no configuration".to_owned()));
        };
        match (
            type_of(configuration),
            written.map(|value| (value, &value.kind)),
        ) {
            (Some("google.protobuf.Struct"), Some((value, _))) => {
                self.configurations.push(Configuration::Fields(value));
            }
            (Some("google.protobuf.StringValue"), Some((value, Kind::Text(text)))) => {
                self.configurations
                    .push(Configuration::Json(text, value.line));
            }
            (Some("google.protobuf.Struct" | "google.protobuf.StringValue"), _) => {
                let what =
                    "the configuration has no `value`, or one of another kind than its @type says";
                self.faults.push((configuration.line, what.to_owned()));
            }
            _ => {
                let what = "the configuration's @type must be type.googleapis.com/google.protobuf.Struct, or \
                            google.protobuf.StringValue with JSON";
                self.faults.push((configuration.line, what.to_owned()));
            }
        }
    }

    /// Istio's WasmPlugin.
    fn plugin(&mut self, plugin: &'v Value) {
        let Some(spec) = plugin.get("spec") else {
            return;
        };
        let configuration = spec.get("pluginConfig");
        let name = plugin
            .get("metadata")
            .and_then(|metadata| metadata.get("name"));
        let called = [name, spec.get("pluginName"), spec.get("url")];
        if !called.into_iter().flatten().any(speaks_of_us) && !configuration.is_some_and(is_ours) {
            return;
        }
        self.refuse_open_doors(spec, "failStrategy", |value| value.is_one("FAIL_OPEN", 1));
        match configuration {
            Some(configuration) => match configuration.kind {
                Kind::Map(_) => self
                    .configurations
                    .push(Configuration::Plugin(configuration)),
                _ => self.faults.push((
                    configuration.line,
                    "pluginConfig must be a mapping".to_owned(),
                )),
            },
            None => self
                .faults
                .push((spec.line, "the plugin has no pluginConfig".to_owned())),
        }
    }

    /// Envoy passes over what it does not know in a file that it watches, and so does without what was meant.
    fn warn_of_unknown(&mut self, message: &Value, fields: &[&str]) {
        for entry in message.entries() {
            let known = || fields.iter().any(|field| entry.is_field(field));
            if !entry.name.starts_with('@') && !known() {
                let near = config::did_you_mean(&entry.name, fields.iter().copied());
                let what = format!("{}: Envoy knows no such field here{near}", entry.name);
                self.warnings.push((entry.line, what));
            }
        }
    }

    fn refuse_open_doors(&mut self, around: &Value, field: &str, open: impl Fn(&Value) -> bool) {
        if let Some(value) = around.field(field).filter(|value| open(value)) {
            let what =
                format!("{field} lets every request pass unchecked once the module has failed");
            self.faults.push((value.line, what));
        }
    }
}

// === impl Configuration ===

impl<'v> Configuration<'v> {
    /// What the filter makes of it.
    pub(crate) fn read(&self) -> Result<Policy, Faults> {
        match self {
            Configuration::Fields(value) | Configuration::Plugin(value) => {
                config::read_node(&value.node())
            }
            Configuration::Json(text, _) => config::load(text.as_bytes()),
        }
    }

    /// It as it is written; nothing, if it is JSON that is none.
    pub(crate) fn written(&self) -> Cow<'v, Value> {
        match self {
            Configuration::Fields(value) | Configuration::Plugin(value) => Cow::Borrowed(value),
            Configuration::Json(text, _) => {
                let mut documents = yaml::parse(text).unwrap_or_default();
                let document = documents.pop().unwrap_or_else(|| Node::Null.into());
                Cow::Owned(document)
            }
        }
    }

    /// How it will be installed: as its file says, or else as we are told.
    pub(crate) fn target(&self, told: Target) -> Target {
        match self {
            Configuration::Plugin(_) => Target::Wasmplugin,
            Configuration::Fields(_) | Configuration::Json(..) => told,
        }
    }

    /// Where a field of it stands.
    pub(crate) fn line_of(&self, path: &[&str]) -> usize {
        match self {
            Configuration::Fields(value) | Configuration::Plugin(value) => value.line_of(path),
            Configuration::Json(_, line) => *line,
        }
    }

    /// Where a line of it stands in its file.
    pub(crate) fn line_in_file(&self, line: usize) -> usize {
        match self {
            Configuration::Fields(_) | Configuration::Plugin(_) => line,
            Configuration::Json(_, begin) => *begin,
        }
    }

    /// Where it begins.
    pub(crate) fn line(&self) -> usize {
        match self {
            Configuration::Fields(value) | Configuration::Plugin(value) => value.line,
            Configuration::Json(_, line) => *line,
        }
    }
}

/// The name of the message that `@type` (or `type_url`, within a message of any type) says this is.
pub(crate) fn type_of(value: &Value) -> Option<&str> {
    let url = value
        .field("type_url")
        .or_else(|| value.get("@type"))?
        .text()?;
    Some(url.rsplit_once('/').map_or(url, |(_, name)| name))
}

/// Whether a name, or any text in it, is about Waykeeper.
pub(crate) fn speaks_of_us(value: &Value) -> bool {
    value
        .text()
        .is_some_and(|text| text.to_ascii_lowercase().contains("waykeeper"))
        || value
            .entries()
            .iter()
            .any(|entry| speaks_of_us(&entry.value))
}

/// Whether it has the fields that no other filter's configuration has together.
fn is_ours(configuration: &Value) -> bool {
    configuration.get("routes").is_some() && configuration.get("agents").is_some()
}
