//! The document's JSON Schema, for editors: they complete fields, explain them and mark faults while one writes.
//! What it refuses the reader refuses too; the reader knows more (names that must exist, routes that hide others).

mod a2a;
mod clients;
mod edits;
mod endpoints;
mod fleet;
mod limits;
mod load;
mod mcp;
mod rest;
mod routes;
mod rules;
mod sticky;

use serde_json::{Value, json};

use super::names::{NONE, PROOF_LENGTHS};
use super::retry::RETRY_WORDS;
use super::routes::METHODS;
use super::{NAMES_SEEN, Tables};
use crate::text::headers::TOKEN_MARKS;
use crate::text::names::{LONGEST_NAME, NAME_MARKS};

/// The JSON Schema (2020-12) of the configuration.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Waykeeper's configuration",
        "type": "object",
        "additionalProperties": false,
        "required": ["agents", "routes"],
        "properties": {
            "clients": {"$ref": "#/$defs/clients"},
            "plans": {
                "description": "Named sets of limits, counted per client.",
                "type": "object",
                "maxProperties": 1024,
                "propertyNames": {"$ref": "#/$defs/name"},
                "additionalProperties": {"$ref": "#/$defs/plan"},
            },
            "limits": {
                "description": "Limits that stand on their own.",
                "type": "array",
                "maxItems": 32,
                "items": {"$ref": "#/$defs/limit"},
            },
            "sessions": {"$ref": "#/$defs/sessions"},
            "agents": {
                "description": "What answers: Envoy's clusters, by the names that routes and callers use.",
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1024,
                "propertyNames": {"allOf": [{"$ref": "#/$defs/name"}, {"not": {"const": NONE}}]},
                "additionalProperties": {"$ref": "#/$defs/agent"},
            },
            "model_aliases": {
                "description": "Names of models that stand for others, where a route goes by the model.",
                "type": "object", "maxProperties": 4096,
                "propertyNames": {"$ref": "#/$defs/model_name"},
                "additionalProperties": {"$ref": "#/$defs/model_name"},
            },
            "routes": {
                "description": "Which requests go to which agents. The longest matching prefix wins, whatever the order.",
                "type": "array",
                "minItems": 1,
                "maxItems": 4096,
                "items": {"$ref": "#/$defs/route"},
            },
            "fleet": {"$ref": "#/$defs/fleet"},
            "tell": {
                "description": "Which fields tell callers of their limits: ratelimit (RateLimit-Policy, RateLimit) and \
                                openai (x-ratelimit-*-requests). Both unless written; [] tells none.",
                "type": "array", "uniqueItems": true, "maxItems": 2,
                "items": {"enum": ["ratelimit", "openai"]},
            },
            "limits_endpoint": {"$ref": "#/$defs/limits_endpoint"},
            "models_endpoint": {"$ref": "#/$defs/models_endpoint"},
            "agents_see": {
                "description": "Which x-waykeeper-* headers agents get. All unless written; the others are noted for the access log.",
                "type": "array", "uniqueItems": true, "maxItems": NAMES_SEEN.len(),
                "items": {"enum": NAMES_SEEN},
            },
            "address": {"$ref": "#/$defs/address"},
            "proof": {
                "description": "A secret that goes with every request in x-waykeeper-proof, for Envoy's routes to demand and remove. \
                                None unless written.",
                "type": "string", "minLength": PROOF_LENGTHS.start(), "maxLength": PROOF_LENGTHS.end(), "pattern": "^[!-~][ -~]*[!-~]$",
            },
            "tables": {"$ref": "#/$defs/tables"},
        },
        "$defs": definitions(),
    })
}

fn definitions() -> Value {
    let mut all = json!({
        "clients": clients::clients(),
        "key_source": clients::key_source(),
        "key": clients::key(),
        "hold": object(&[], json!({
            "request": described("size", "Of one request that waits for the validator. 4MiB unless written."),
            "worker": described("size", "Of all such requests in each worker. 128MiB unless written."),
            "collected": described("size", "Of all requests in each worker whose bodies are collected. 512MiB unless written."),
        })),
        "validator": clients::validator(),
        "remember": object(&[], json!({
            "valid": described("duration", "How long a valid key is remembered. 300s unless written, at most a day."),
            "invalid": described("duration", "How long an invalid key is remembered. 10s unless written."),
            "generation": {
                "description": "Raise it, and never lower it, to forget every key that is remembered. 1 unless written.",
                "type": "integer", "minimum": 1, "maximum": 9_007_199_254_740_991_u64,
            },
        })),
        "plan": limits::plan(),
        "rate_limit": limits::rate_limit(),
        "limit": limits::limit(),
        "subject": limits::subject(),
        "match": limits::condition(),
        "own_limits": limits::own_limits(),
        "own_limit": limits::own_limit(),
        "agent": agent(),
        "share": limits::share(),
        "fleet": fleet::fleet(),
        "limiter": fleet::limiter(),
        "inference": limits::inference(),
        "sessions": object(&["keys"], json!({
            "keys": {
                "description": "What agents' sessions are sealed with: the first seals, all open.",
                "type": "array", "minItems": 1, "maxItems": 8, "uniqueItems": true,
                "items": {"oneOf": [{"$ref": "#/$defs/session_key"}, {"$ref": "#/$defs/session_variable"}]},
            },
        })),
        "session_variable": object(&["env"], json!({
            "env": {
                "description": "The variable of the filter's environment that holds a key.",
                "type": "string", "minLength": 1,
            },
        })),
        "session_key": {
            "description": "64 hex digits; `openssl rand -hex 32` makes them.",
            "type": "string", "pattern": "^[0-9A-Fa-f]{64}$",
        },
        "choice": object(&["agent"], json!({
            "agent": described("name", "One of the agents."),
            "weight": weight(),
        })),
        "route": routes::route(),
        "retry": object(&[], json!({
            "max_attempts": {
                "description": "Attempts in all, the first one included. Unless written 2, or one at each agent where there is a fallback.",
                "type": "integer", "minimum": 1, "maximum": 10,
            },
            "retry_on": {
                "description": "Statuses that are tried again, beside what never reached an agent. 5xx: all from 500 to 599, and agents that break off before they answer. slow_first_token: what takes longer than first_byte_timeout.",
                "type": "array", "uniqueItems": true, "maxItems": 200,
                "items": {"oneOf": [{"type": "integer", "minimum": 400, "maximum": 599}, {"enum": RETRY_WORDS}]},
            },
        })),
        "address": address(),
        "tables": object(&[], json!({
            "keys": records(
                "How many keys are remembered at most; nearly all are, up to a quarter of it. 65536 unless written.",
            ),
            "counters": records("For how many counters of limits the table is laid out. 262144 unless written."),
            "address_counters": records(
                "The same, for callers known only by their address. 65536 unless written.",
            ),
            "responses": records(
                "For how many answers of the Responses API the table is laid out; made only where sticky has response. 65536 unless written.",
            ),
        })),
        "name": {"type": "string", "pattern": format!("^[A-Za-z0-9{NAME_MARKS}]{{1,{LONGEST_NAME}}}$")},
        "cluster": {"type": "string", "pattern": "^[!-~]{1,512}$"},
        "header": {"type": "string", "pattern": format!("^[A-Za-z0-9{TOKEN_MARKS}]{{1,128}}$")},
        "prefix": {"type": "string", "maxLength": 1024, "pattern": "^/([^/]+(/[^/]+)*)?$"},
        "duration": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
        "size": {"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$"},
        "rate": {"type": "string", "pattern": "^[0-9]+/(second|minute|hour|day|month)$"},
        "roles": {
            "type": "array", "minItems": 1, "maxItems": 16, "uniqueItems": true,
            "items": {"$ref": "#/$defs/name"},
        },
    });
    merge(&mut all, sticky::definitions());
    merge(
        &mut all,
        json!({"limits_endpoint": endpoints::limits_endpoint(), "mirror": routes::mirror(), "canary": routes::canary(), "rest": rest::rest()}),
    );
    merge(&mut all, rules::definitions());
    merge(&mut all, edits::definitions());
    merge(
        &mut all,
        json!({"models_endpoint": endpoints::models_endpoint()}),
    );
    merge(&mut all, load::definitions());
    merge(&mut all, mcp::definitions());
    merge(&mut all, a2a::definitions());
    all
}

fn agent() -> Value {
    let properties = json!({
        "cluster": described("cluster", "Envoy's cluster."),
        "websocket_cluster": described("cluster", "The one for WebSockets. The same unless written."),
        "host": {
            "description": "What it is called in the gateway's own questions: a host, with its port. What callers call the gateway unless written.",
            "type": "string",
        },
        "weight": weight(),
        "sticky": described("sticky", "What keeps requests at one of its hosts. Nothing unless written."),
        "sees": {
            "description": "Which x-waykeeper-* headers it gets. Those of agents_see unless written.",
            "type": "array", "uniqueItems": true, "maxItems": NAMES_SEEN.len(),
            "items": {"enum": NAMES_SEEN},
        },
        "cluster_hides": {
            "description": "Whether the cluster takes out what sees leaves out, so that a request may bear it for another agent that it is tried at. false unless written.",
            "type": "boolean",
        },
    });
    of_filter(object(&["cluster"], properties))
}

/// An agent's schema with the fields that have nothing to do with Envoy.
#[must_use]
pub fn of_filter(agent: Value) -> Value {
    let mut agent = agent;
    if let Some(properties) = agent.get_mut("properties") {
        merge(properties, limits::of_agent());
        merge(properties, rules::of_agent());
        merge(properties, load::of_agent());
        merge(properties, rest::of_agent());
    }
    let needs =
        ["wait", "max_waiting", "share"].map(|name| (name.to_owned(), json!(["max_in_flight"])));
    merge(
        &mut agent,
        json!({"dependentRequired": Value::from_iter(needs)}),
    );
    agent
}

/// The properties of all of these.
fn joined<const N: usize>(all: [Value; N]) -> Value {
    let all = all.into_iter().filter_map(|properties| match properties {
        Value::Object(properties) => Some(properties),
        _ => None,
    });
    Value::Object(all.flatten().collect())
}

fn address() -> Value {
    let properties = json!({
        "from": {
            "description": "envoy: as Envoy understands it. x-forwarded-for: out of that header, which costs less.",
            "enum": ["envoy", "x-forwarded-for"],
        },
        "trusted_hops": {
            "description": "How many proxies stand before Envoy, as in its xff_num_trusted_hops. 0 unless written.",
            "type": "integer", "minimum": 0, "maximum": 32,
        },
    });
    let mut address = object(&["from"], properties);
    merge(
        &mut address,
        json!({
            "description": "Where the caller's address is read, for limits that count by it.",
            "if": {"properties": {"from": {"const": "envoy"}}, "required": ["from"]},
            "then": {"not": {"required": ["trusted_hops"]}},
        }),
    );
    address
}

/// An object that has these fields and no others.
pub fn object(required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

/// A value as it is defined under this name, and what it is here.
pub fn described(definition: &str, description: &str) -> Value {
    json!({"description": description, "$ref": format!("#/$defs/{definition}")})
}

fn weight() -> Value {
    json!({
        "description": "Its share of the requests that name no agent. 1 unless written; 0 is only reached by name.",
        "type": "integer", "minimum": 0, "maximum": 1_000_000,
    })
}

fn records(description: &str) -> Value {
    json!({"description": description, "type": "integer", "minimum": Tables::LEAST, "maximum": Tables::MOST})
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}
