//! What is done to a request for one agent alone, in each attempt: filters of Envoy's on the agent's side.

use minijinja::{Environment, Error, context};
use serde_json::{Value as Json, json};

use super::Upstream;

/// What the template `upstream_filters.yaml` is given of an agent; null where nothing is done.
///
/// # Errors
/// Only if a template is broken.
pub(super) fn filters(upstream: &Upstream, environment: &Environment<'_>) -> Result<Json, Error> {
    let Some(base) = &upstream.base else {
        return Ok(Json::Null);
    };
    let script = environment.get_template("agent.lua")?;
    let script = script.render(context! {
        base => context! { prefix => base.prefix(), whole => &base.whole },
    })?;
    let lines: Vec<&str> = script.lines().collect();
    Ok(json!({"script": lines}))
}
