//! `gateway.yaml`: the document that the filter reads, and in the same file what Envoy has to know. What would have to be
//! written twice, and agree, is derived.
//!
//! | file | what it says |
//! |---|---|
//! | `reader.rs` | the fields of the whole document, each handed to the reader of its place |
//! | `listeners.rs`, `agents.rs`, `validator.rs`, `limiter.rs`, `endpoints.rs`, `balance.rs`, `base.rs`, `credentials.rs`, `sees.rs`, `sessions.rs`, `tls.rs`, `url.rs` | the fields beyond the filter's, their defaults and their bounds |
//! | `picker.rs` | who says which endpoint of an agent answers, and what Envoy asks for that |
//! | `providers.rs` | what is publicly known of those who host models |
//! | `environment.rs`, `environment/hiding.rs` | what `${NAME}` stands for, and that no fault shows it |
//! | `secrets.rs`, `certificates.rs` | whether the secrets that are named are there, and for whom; whether certificates and keys fit |
//! | `doubts.rs` | what is legal but probably not meant |
//! | `derive.rs` | the filter's document, and how its faults are told of this one |
//! | `schema.rs` | the same fields for editors, as a JSON Schema |
//! | `render.rs`, `clusters.rs`, `routes.rs`, `filters.rs`, `idle.rs`, `document.rs` | the files that Envoy reads; what they look like stands in `cli/templates/` |
//! | `parts.rs` | the same taken apart into what can change while Envoy runs |
//! | `fallback.rs`, `composites.rs` | how requests go on to other agents: by routes of Envoy's, or by clusters where it is older |
//! | `names.rs`, `whom.rs` | what clusters are called while a gateway runs, and whom they lead to in people's words |
//! | `templates.rs` | the templates, and how they are filled in |
//! | `patches.rs` | what operators change in what is rendered |
//! | `istio/` | the manifests for a gateway of Istio's |
//! | `absent.rs` | what was rendered without the TLS whose files are not here |
//! | `version.rs` | which Envoy reads them |

mod absent;
mod agents;
mod balance;
mod base;
mod certificates;
mod clusters;
mod composites;
mod credentials;
mod derive;
mod document;
mod doubts;
mod endpoints;
mod environment;
mod fallback;
mod filters;
mod idle;
pub(crate) mod istio;
mod limiter;
mod listeners;
mod names;
mod pages;
mod parts;
mod patches;
mod picker;
mod providers;
mod reader;
mod render;
mod routes;
mod schema;
pub(crate) mod secrets;
mod sees;
mod servers;
mod sessions;
mod spots;
mod templates;
mod tls;
mod url;
mod validator;
mod version;
mod whom;

use std::ffi::OsString;
use std::net::SocketAddr;

use waykeeper::config::{self, Fault, Log, Node, Policy, Segment, Spot};
use waykeeper::host::Sensitive;

pub(crate) use absent::without_absent;
pub(crate) use agents::{Agent, Endpoint, Health, Http, Upstream};
pub(crate) use clusters::{SYSTEM_CA, stat_name};
pub(crate) use doubts::doubts;
pub(crate) use environment::Environment;
pub(crate) use filters::DIRECTORY as CREDENTIALS;
pub(crate) use idle::{PAUSE, idle_of_undecided};
pub(crate) use limiter::{Builtin, Limiter};
pub(crate) use listeners::{Listener, overlap};
pub(crate) use names::Names;
pub(crate) use parts::{LINK, Parts, Places, Secret, generation, json_of, whole};
use patches::Misfit;
pub(crate) use patches::{Patch, PatchedPart, added_clusters};
pub(crate) use render::{
    Admin, Around, ECHO_SOCKET, ENVOY_FILE, FILTER_FILE, LIMITER_SOCKET, MARK, Rendered, render,
};
pub(crate) use schema::schema;
pub(crate) use tls::ClientTls;
pub(crate) use url::{Host, Url};
pub(crate) use validator::Validator;
pub(crate) use version::EnvoyVersion;
pub(crate) use whom::Whom;

use crate::yaml::Value;

/// A gateway, as its file describes it.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    /// At least one.
    pub(crate) listeners: Vec<Listener>,
    /// Where metrics and readiness are served; nowhere unless written.
    pub(crate) operations: Option<SocketAddr>,
    /// Where keys are asked about, unless that is a cluster that is written elsewhere.
    pub(crate) validator: Option<Validator>,
    /// Who counts for the whole fleet, unless that is a cluster that is written elsewhere.
    pub(crate) limiter: Option<Limiter>,
    /// In the order of the file.
    pub(crate) agents: Vec<Agent>,
    /// What entries of `sessions.keys` stand for that are no keys themselves.
    pub(crate) session_keys: Vec<Option<sessions::Key>>,
    /// In the order in which they are put in.
    pub(crate) patches: Vec<Patch>,
}

/// A gateway without faults.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) gateway: Gateway,
    /// What the filter reads.
    pub(crate) document: Sensitive<Node>,
    /// What that means.
    pub(crate) policy: Policy,
    /// What stood in the environment.
    pub(crate) environment: Environment,
}

/// All that is wrong with a file, in its order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wrong {
    pub(crate) told: Vec<Fault>,
    /// How many more there are.
    pub(crate) untold: usize,
}

impl Gateway {
    /// The mode at most of a file with the filter's document, if keys of sessions come into that from elsewhere.
    pub(crate) fn document_mode(&self) -> Option<u32> {
        sessions::mode(&self.session_keys)
    }
}

/// Whether a document is one of these, and not the filter's alone.
pub(crate) fn is_gateway(document: &Value) -> bool {
    let agents = document.get("agents").map_or(&[][..], Value::entries);
    let written = |name| agents.iter().any(|agent| agent.value.get(name).is_some());
    let validator = document
        .get("clients")
        .and_then(|clients| clients.get("validator"));
    let limiter = document.get("fleet").and_then(|fleet| fleet.get("limiter"));
    document.get("listen").is_some()
        || ["url", "endpoints", "provider", "builtin"]
            .into_iter()
            .any(written)
        || validator.is_some_and(|validator| validator.get("url").is_some())
        || limiter.is_some_and(|limiter| {
            limiter::FIELDS
                .iter()
                .any(|name| limiter.get(name).is_some())
        })
}

/// Reads a gateway.
///
/// # Errors
/// All that is wrong, what the filter would find included.
pub(crate) fn read(document: &Value) -> Result<Checked, Wrong> {
    read_in(document, &|name| std::env::var_os(name))
}

/// The same in an environment that is known.
fn read_in(document: &Value, look_up: &dyn Fn(&str) -> Option<OsString>) -> Result<Checked, Wrong> {
    let (document, environment) = environment::resolve(document, look_up);
    let document = &document;
    let mut wrong = Wrong::default();
    let written = document.node();
    let log = Log::default();
    let gateway = reader::gateway(document, &Spot::root(&written, &log));
    if let Some(faults) = log.into_faults() {
        wrong.untold += faults.untold();
        // A mapping is opened by each who reads something of it, and tells each time of a field that stands in it twice.
        for fault in &faults {
            if !wrong.told.contains(fault) {
                wrong.told.push(fault.clone());
            }
        }
    }
    let derived = derive::document(&written, &gateway);
    let read = config::read_node(&derived);
    if let Err(faults) = &read {
        wrong.untold += faults.untold();
        for fault in faults {
            let fault = derive::fault_as_written(fault, &derived, &written);
            // Both readers look at what both know.
            if !wrong.told.contains(&fault) {
                wrong.told.push(fault);
            }
        }
    }
    let good = wrong.told.is_empty() && environment.faults.is_empty();
    if let Some(policy) = read.ok().or_else(patches::stand_in) {
        let checked = Checked {
            gateway,
            document: Sensitive(derived),
            policy,
            environment: environment.clone(),
        };
        let misfits = match good {
            true => render::misfits(&checked),
            false => patches::misfits_beside_faults(&checked, document),
        };
        if good && misfits.is_empty() {
            return Ok(checked);
        }
        let misfits = misfits.into_iter();
        wrong
            .told
            .extend(misfits.map(|misfit| misfit_as_written(misfit, document)));
    }
    // What a reference to nothing stands for is not known, so neither is what is wrong with it.
    let known = |fault: &Fault| {
        let mut unknown = environment.faults.iter();
        unknown.all(|it| it.positions != fault.positions)
    };
    let told = wrong.told.into_iter().filter(known);
    wrong.told = told
        .map(|fault| environment.without_values(fault))
        .collect();
    wrong.told.extend(environment.faults);
    wrong
        .told
        .sort_by(|left, right| left.positions.cmp(&right.positions));
    Err(wrong)
}

/// What is wrong with a gateway that runs without this tool: nobody serves its builtin agents.
pub(crate) fn unserved(document: &Value, gateway: &Gateway) -> Vec<Fault> {
    let builtin = gateway
        .agents
        .iter()
        .filter(|agent| agent.builtin.is_some());
    let fault = |agent: &Agent| {
        let path = ["agents", &agent.name, "builtin"];
        Fault {
            path: path.map(|name| Segment::Field(name.to_owned())).into(),
            positions: document.positions_of(&path),
            message: "only `waykeeper run` serves such an agent; say where one of your own is, as in {url: \
                      \"http://10.0.0.5:8000\"}"
                .to_owned(),
        }
    };
    let mut faults: Vec<Fault> = builtin.map(fault).collect();
    if gateway
        .limiter
        .as_ref()
        .and_then(Limiter::builtin)
        .is_some()
    {
        let path = ["fleet", "limiter", "builtin"];
        faults.push(Fault {
            path: path.map(|name| Segment::Field(name.to_owned())).into(),
            positions: document.positions_of(&path),
            message: "only `waykeeper run` serves it; start `waykeeper limiter` where Envoy can reach it, and write its url"
                .to_owned(),
        });
    }
    faults
}

/// What is wrong with a gateway whose Envoy is too old for it.
pub(crate) fn unable(document: &Value, checked: &Checked, envoy: EnvoyVersion) -> Vec<Fault> {
    let mut faults = fallback::unable(document, checked, envoy);
    faults.extend(picker::unable(document, &checked.gateway, envoy));
    faults
}

/// The same where agents and routes change while Envoy runs.
pub(crate) fn unable_to_follow(
    document: &Value,
    checked: &Checked,
    envoy: EnvoyVersion,
) -> Vec<Fault> {
    let mut faults = fallback::unable_to_follow(document, &checked.policy, envoy);
    faults.extend(picker::unable(document, &checked.gateway, envoy));
    faults
}

/// What is wrong with a patch, told of its field.
fn misfit_as_written(misfit: Misfit, document: &Value) -> Fault {
    let Misfit {
        index,
        field,
        message,
    } = misfit;
    let path = ["envoy", "patches"];
    let patches = document.get("envoy").and_then(|it| it.get("patches"));
    let patch = patches.and_then(|patches| patches.items().get(index));
    let mut positions = document.positions_of(&path);
    positions.push(index);
    positions.extend(patch.map_or_else(Vec::new, |patch| patch.positions_of(&[field])));
    let named = |name: &str| Segment::Field(name.to_owned());
    let mut path: Vec<Segment> = path.map(named).into();
    path.extend([Segment::Item(index), named(field)]);
    Fault {
        path,
        positions,
        message,
    }
}

#[cfg(test)]
mod tests;
