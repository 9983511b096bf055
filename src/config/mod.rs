//! The configuration: its document, the checks that tell all faults with their places, and the policies it is
//! compiled into. [`load()`] takes what the host hands over; what it returns has no faults.
//!
//! | file | what it says |
//! |---|---|
//! | `policy.rs` | what each field means once it is checked; how long the validator's answers are remembered |
//! | `clients.rs`, `validator.rs`, `limits.rs`, `counting.rs`, `in_flight.rs`, `agents.rs`, `routes.rs` | the fields of these parts, their defaults and their bounds; those of `tables` stand here |
//! | `rules.rs` | rules of a route |
//! | `served.rs` | the models and capabilities of agents, and names of models that stand for others |
//! | `load.rs` | how it is learned how busy an agent is, what it costs, and which of several a route prefers |
//! | `canary.rs` | which agent is tried with a part of a route's requests |
//! | `attempts.rs` | the module's configuration on an agent's side, which is another document |
//! | `rest.rs` | when an agent that fails gets no requests for a while |
//! | `a2a.rs` | who may use which methods and versions, and what cards say, where a route carries A2A |
//! | `mcp.rs` | who may call which tools, and use which methods, where a route carries MCP |
//! | `pointers.rs` | which members of bodies cannot be looked for together |
//! | `retry.rs` | what an agent is asked again for |
//! | `mirror.rs` | which agent hears a part of a route's requests as well |
//! | `edits.rs` | what is changed of a route's requests and of the answers to them |
//! | `models.rs` | where callers ask which models they may use |
//! | `overlap.rs` | when two routes take the same requests |
//! | `sticky.rs` | what keeps requests at one host of their agent; the keys of sessions |
//! | `switches.rs` | the same of `tell`, `limits_endpoint`, `agents_see` and `address` |
//! | `names.rs`, `hosts.rs`, `paths.rs` | which names, headers, hosts and paths may stand there |
//! | `units.rs`, `time.rs` | how durations, sizes, rates and points in time are written |
//! | `document.rs`, `reader.rs`, `fault.rs` | how the document is parsed, how a value is read, how faults are told |
//! | `near.rs` | which name was meant, where one is written that nobody knows |
//! | `schema.rs`, `schema/` | the same for editors, as a JSON Schema |

mod a2a;
mod agents;
mod attempts;
mod canary;
mod clients;
mod counting;
mod document;
mod edits;
mod fallback;
mod fault;
mod fleet;
mod hosts;
mod in_flight;
mod limits;
mod load;
mod mcp;
mod mirror;
mod models;
mod names;
mod near;
mod overlap;
mod paths;
mod pointers;
pub mod policy;
mod reader;
mod rest;
mod retry;
mod routes;
mod rules;
pub mod schema;
mod served;
mod sticky;
mod switches;
pub(crate) mod time;
mod units;
mod validator;

pub use agents::AGENT_FIELDS_OF_FILTER;
pub use attempts::Attempts;
pub use clients::{MOST_ROLES, USUAL_KEY_HEADERS};
pub use document::Node;
pub use edits::VARIABLES;
pub use fault::{Fault, Faults, Log, Segment};
pub use fleet::{FIELDS as FLEET_FIELDS, LIMITER_FIELDS};
pub use hosts::host as check_host;
pub use limits::{OWN_LIMIT_FIELDS, own_limits};
pub use load::MOST_CLUSTERS;
pub use names::{NONE, PROOF_LENGTHS, key_header as check_key_header};
pub use near::did_you_mean;
pub use paths::callout as check_path;
pub use policy::Policy;
pub use reader::{Fields, Spot};
pub use schema::schema;
pub use sticky::sticky;
pub use switches::NAMES_SEEN;
pub use units::{duration, show_duration, show_rate, show_size};
pub use validator::FIELDS as VALIDATOR_FIELDS;

use crate::host::Sensitive;
use policy::{LimitSet, Span, Tables};

/// The fields of the document.
pub const FIELDS: &[&str] = &[
    "clients",
    "plans",
    "limits",
    "sessions",
    "agents",
    "model_aliases",
    "routes",
    "fleet",
    "tell",
    "limits_endpoint",
    "models_endpoint",
    "agents_see",
    "address",
    "proof",
    "tables",
];
const TABLES_FIELDS: &[&str] = &["keys", "counters", "address_counters", "responses"];

/// A table of fewer records is of no use; one of more does not fit into a process.
const RECORDS: std::ops::RangeInclusive<u32> = Tables::LEAST..=Tables::MOST;

/// Reads a configuration as the host hands it over: JSON text, or the wire bytes of `google.protobuf.Struct`.
///
/// # Errors
/// All that is wrong, in the order of the document.
pub fn load(bytes: &[u8]) -> Result<Policy, Faults> {
    match document::parse(bytes) {
        Ok(node) => read_node(&node),
        Err(message) => Err(Faults::whole(message)),
    }
}

/// The same for a filter that is to run, in this environment: keys that stand there are looked up. For all others of these
/// functions such a key is one that nobody has.
///
/// # Errors
/// All that is wrong, in the order of the document; of the environment, the first that is missing.
pub fn load_in(
    bytes: &[u8],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Policy, Faults> {
    let mut node = document::parse(bytes).map_err(Faults::whole)?;
    sticky::look_up(&mut node, environment).map_err(Faults::whole)?;
    read_node(&node)
}

/// What the module is told to be.
#[derive(Debug)]
pub enum Loaded {
    /// The gateway.
    Gateway(Box<Policy>),
    /// What judges the attempts at an agent, on the agent's side.
    Attempts(Box<Attempts>),
}

/// As [`load_in`], of either kind of document.
///
/// # Errors
/// All that is wrong, in the order of the document; of the environment, the first that is missing.
pub fn load_any(
    bytes: &[u8],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Faults> {
    let mut node = document::parse(bytes).map_err(Faults::whole)?;
    if is_of_attempts(&node) {
        let attempts = read_by(&node, attempts::attempts)?;
        return Ok(Loaded::Attempts(Box::new(attempts)));
    }
    sticky::look_up(&mut node, environment).map_err(Faults::whole)?;
    Ok(Loaded::Gateway(Box::new(read_node(&node)?)))
}

/// True if the document is the module's other one, which judges attempts.
#[must_use]
pub fn is_of_attempts(document: &Node) -> bool {
    matches!(document, Node::Map(fields) if matches!(fields.as_slice(), [(name, _)] if name == attempts::FIELD))
}

/// Reads a configuration from a JSON value.
///
/// # Errors
/// All that is wrong. Fields written twice are already lost in such a value; [`load()`] and [`read_node`] find them.
pub fn read(document: &serde_json::Value) -> Result<Policy, Faults> {
    read_node(&Node::from(document))
}

/// Reads a configuration from a document that keeps fields written twice.
///
/// # Errors
/// All that is wrong, in the order of the document.
pub fn read_node(document: &Node) -> Result<Policy, Faults> {
    read_by(document, policy)
}

fn read_by<T>(document: &Node, read: impl FnOnce(&Spot<'_>) -> Option<T>) -> Result<T, Faults> {
    let log = Log::default();
    let policy = read(&Spot::root(document, &log));
    match (log.into_faults(), policy) {
        (Some(faults), _) => Err(faults),
        (None, Some(policy)) => Ok(policy),
        (None, None) => Err(Faults::whole("the configuration cannot be read".to_owned())),
    }
}

fn policy(document: &Spot<'_>) -> Option<Policy> {
    let fields = document.fields(FIELDS)?;
    let plans = fields.get("plans");
    let named_plans = limits::named_plans(plans.as_ref());
    let plan_names = limits::plan_names(named_plans.as_ref());
    let plan_ids = limits::by_name(&plan_names);
    let clients = clients::clients(fields.get("clients").as_ref(), &plan_ids);
    let around = sticky::Around {
        key_sources: &clients.key_sources,
        seals: document.has("sessions"),
    };
    let agents = agents::agents(fields.need("agents").as_ref(), &around, &plan_ids);
    let sessions = sticky::session_keys(fields.get("sessions").as_ref());
    // Faulty keys are there all the same: that there are none is not told on top.
    let keys_known = fields
        .get("clients")
        .is_some_and(|clients| clients.has("keys") || clients.has("validator"));
    let model_aliases = served::model_aliases(fields.get("model_aliases").as_ref());
    let agents_by_name = agents::by_name(&agents);
    let around = rules::Around {
        key_sources: &clients.key_sources,
        plans: &plan_ids,
        agents: &agents,
        agents_by_name: &agents_by_name,
        seals: document.has("sessions"),
    };
    let routes = routes::routes(fields.need("routes").as_ref(), &around, keys_known);
    let around = limits::Around {
        key_sources: &clients.key_sources,
        plans: &plan_ids,
        agents: &agents_by_name,
        routes: &routes,
    };
    let (set, taken) = limits::limits(fields.get("limits").as_ref(), &around);
    let LimitSet { limits, in_flight } = set;
    let plans = limits::plans(named_plans.as_ref(), &around, &taken);
    let of_keys = clients
        .keys
        .iter()
        .filter_map(|key| key.client.limits.as_ref());
    let mut all = (limits.iter())
        .chain(plans.iter().flat_map(|plan| &plan.limits))
        .chain(routes.iter().flat_map(|route| &route.limits))
        .chain(of_keys.flat_map(|own| &own.limits));
    let fleet = if all.any(|limit| limit.span == Span::Fleet) {
        fields.need("fleet")
    } else {
        fields.get("fleet")
    };
    let fleet = fleet.and_then(|spot| fleet::fleet(&spot));
    let tell = switches::tell(fields.get("tell").as_ref());
    let limits_endpoint = switches::limits_endpoint(fields.get("limits_endpoint").as_ref());
    let models_endpoint = fields.get("models_endpoint");
    let models_endpoint = models_endpoint.and_then(|spot| models::models_endpoint(&spot, &routes));
    let agents_see = switches::agents_see(fields.get("agents_see").as_ref());
    let address = switches::address(fields.get("address").as_ref());
    let proof = fields.get("proof").and_then(|spot| proof(&spot));
    let tables = tables(fields.get("tables").as_ref());
    Some(Policy {
        clients,
        plans,
        limits,
        in_flight,
        fleet,
        sessions,
        agents,
        model_aliases,
        routes,
        tell,
        limits_endpoint,
        models_endpoint,
        agents_see,
        address,
        proof,
        tables,
    })
}

/// What Envoy's routes demand of requests. Whatever stands there, a fault shows nothing of it.
fn proof(spot: &Spot<'_>) -> Option<Sensitive<String>> {
    let secret = spot.is_text().then(|| spot.text()).flatten();
    let secret = secret.filter(|secret| names::is_proof(secret));
    if secret.is_none() {
        let (least, most) = (PROOF_LENGTHS.start(), PROOF_LENGTHS.end());
        spot.fault(format!(
            "expected a secret of {least} to {most} visible ASCII characters, in quotes; `openssl rand -hex 32` makes one"
        ));
    }
    secret.map(|secret| Sensitive(secret.to_owned()))
}

fn tables(spot: Option<&Spot<'_>>) -> Tables {
    let fields = spot.and_then(|spot| spot.fields(TABLES_FIELDS));
    let records = |name: &str, default: u32| {
        let written = fields.as_ref().and_then(|fields| fields.get(name));
        written
            .and_then(|spot| spot.whole_u32(RECORDS))
            .unwrap_or(default)
    };
    Tables {
        keys: records("keys", 1 << 16),
        counters: records("counters", 1 << 18),
        address_counters: records("address_counters", 1 << 16),
        responses: records("responses", 1 << 16),
    }
}

#[cfg(test)]
mod tests;
