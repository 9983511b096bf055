//! Waykeeper as a contender: the filter as the reference configuration loads it, with a configuration of its own.

use serde_json::{Value, json};
use waykeeper_demo::gateway::FilterFile;

use super::envoy::{AGENT, AUTHORITY};
use super::{Limit, Tools};
use crate::Error;
use crate::chat::MODEL;

/// What an agent calls the model, where it has a name of its own for it.
pub const OWN_NAME: &str = "our-deployment";

/// How Waykeeper is configured. By default one limit and one route.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How many limits count each request.
    pub limits: Limits,
    /// How many routes there are, the measured one among them.
    pub routes: usize,
    /// The plan's rate, as the configuration writes it, in place of the one that all contenders share.
    pub plan: Option<Value>,
    /// The sizes of the tables; without, the filter's own.
    pub tables: Option<Value>,
    /// Further fields at the top level.
    pub more: Option<Value>,
    /// The module stands on the agent's side as well, where it judges each attempt.
    pub judges_attempts: bool,
    /// Another build of the filter than the one under test.
    pub module: Option<std::path::PathBuf>,
}

/// How many limits count each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// The plan's, for each client.
    One,
    /// The plan's, another one for each client, and one for each client on the route: all of one client.
    ThreeOfClient,
    /// The plan's, one for each address, and one for each client on the route.
    Three,
}

impl Settings {
    /// With a rule on the measured route that takes [`MODEL`] and, if `renamed`, has its agent asked for it by another name.
    #[must_use]
    pub fn with_rule(renamed: bool) -> Self {
        let mut agent = json!({"cluster": AGENT});
        if renamed {
            agent["models"] = json!([{"model": MODEL, "as": OWN_NAME}]);
        }
        Self {
            more: Some(json!({
                "agents": {"demo": agent},
                "routes": [{
                    "prefix": "/v1",
                    "methods": ["GET", "POST"],
                    "rules": [{"match": {"model": MODEL}, "agents": ["demo"]}],
                }],
            })),
            ..Self::default()
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::One,
            routes: 1,
            plan: None,
            tables: None,
            more: None,
            judges_attempts: false,
            module: None,
        }
    }
}

/// The same module on the agent's side, if it is to stand there.
pub(super) fn attempts(filter: &Value) -> Value {
    let agent = json!({"agent": "demo", "cluster": AGENT, "rest": {"each_attempt": true}});
    let mut attempts = filter.clone();
    let plugin = &mut attempts["typed_config"]["config"];
    plugin["name"] = json!("waykeeper.demo");
    plugin["root_id"] = plugin["name"].clone();
    plugin["configuration"]["value"] = json!({"attempts": agent});
    attempts["name"] = json!("waykeeper.attempts");
    attempts
}

/// The filter in Envoy's configuration.
pub(super) fn filter(tools: &Tools, settings: &Settings, limit: Limit) -> Result<Value, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::new(error.to_string());
    let mut file = FilterFile::read(&tools.at("envoy/waykeeper.yaml")).map_err(|e| failed(&e))?;
    let module = match &settings.module {
        Some(module) => module.clone(),
        None => tools.filter()?,
    };
    file.set_module(&module).map_err(|e| failed(&e))?;
    *file.configuration_mut().map_err(|e| failed(&e))? = configuration(settings, limit);
    let wasm = file
        .document_mut()
        .pointer("/resources/0/typed_config")
        .cloned()
        .ok_or_else(|| Error::new("envoy/waykeeper.yaml holds no filter"))?;
    Ok(json!({"name": "waykeeper", "typed_config": wasm}))
}

fn configuration(settings: &Settings, limit: Limit) -> Value {
    let (requests, seconds) = limit.quantity();
    let unit = if seconds == 86_400 { "day" } else { "hour" };
    let rate = json!({"requests": format!("{requests}/{unit}")});
    let of_whom = match settings.limits {
        Limits::One => None,
        Limits::ThreeOfClient => Some("client"),
        Limits::Three => Some("address"),
    };
    let mut document = json!({
        "clients": {
            "key_sources": [
                {"header": "x-api-key"},
                {"header": "authorization", "scheme": "Bearer"},
                {"query": "api_key"},
                {"websocket_protocol": "waykeeper.key."},
            ],
            "default_plan": "standard",
            "validator": {
                "cluster": AUTHORITY,
                "path": "/validate",
                "timeout": "1s",
                // Longer than any run: what is measured is a remembered key.
                "remember": {"valid": "24h", "invalid": "10s"},
            },
        },
        "plans": {"standard": settings.plan.clone().unwrap_or_else(|| rate.clone())},
        "agents": {"demo": {"cluster": AGENT}},
        "routes": routes(settings.routes, of_whom.map(|_| &rate)),
    });
    if let Some(each) = of_whom {
        document["limits"] = json!([{
            "name": format!("per-{each}"),
            "each": each,
            "requests": rate["requests"],
        }]);
    }
    if let Some(tables) = &settings.tables {
        document["tables"] = tables.clone();
    }
    for (field, value) in settings.more.iter().filter_map(Value::as_object).flatten() {
        document[field] = value.clone();
    }
    document
}

/// One route for all, or one for each prefix, [`super::PATH`]'s among them as soon as there are enough.
fn routes(number: usize, limit: Option<&Value>) -> Value {
    let route = |prefix: String| {
        let mut route = json!({"prefix": prefix, "agents": ["demo"], "methods": ["GET", "POST"]});
        if let Some(limit) = limit {
            route["rate_limit"] = limit.clone();
        }
        route
    };
    let mut routes = vec![
        route("/v1".to_owned()),
        json!({"prefix": "/v1/events", "agents": ["demo"], "protocol": "sse"}),
    ];
    routes.extend((0..number.saturating_sub(1)).map(|number| route(format!("/v1/route-{number}"))));
    json!(routes)
}
