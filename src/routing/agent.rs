//! The choice of the agent: by its name if the caller gives one, otherwise by weight, at random or by what the request has in
//! common with others; where agents say so, among those that
//! serve the model and have the capabilities that the request asks for.

use crate::config::policy::{Agent, AgentId, Choice};

use super::spread::first;

/// Why no agent answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAgent {
    /// `x-agent` names none of the route's agents, or two different ones.
    Unknown,
    /// The request names no agent, and the route has none with a weight.
    Unnamed,
    /// None of them has all the capabilities that `x-agent-capability` asks for.
    Incapable,
    /// None of them serves the model.
    NoModel,
    /// All of them rest; the first is to be asked again in so many seconds.
    Resting(u64),
}

/// Those of these choices whose agents have all of the capabilities, and serve the model. `capabilities` are the values of
/// `x-agent-capability`, each a list.
///
/// # Errors
/// [`NoAgent`] says what none of them has or serves.
pub fn narrowed<'a>(
    agents: &[Agent],
    choices: &[Choice],
    capabilities: impl Iterator<Item = &'a [u8]> + Clone,
    model: Option<&[u8]>,
) -> Result<Vec<Choice>, NoAgent> {
    let agent = |choice: &Choice| agents.get(choice.agent.0);
    let has =
        |agent: &Agent, wanted: &[u8]| agent.capabilities.iter().any(|it| it.as_bytes() == wanted);
    let has_all = |agent: &Agent| {
        let wanted = capabilities.clone();
        let wanted = wanted.flat_map(|line| line.split(|byte| *byte == b','));
        let mut wanted = wanted.map(<[u8]>::trim_ascii).filter(|it| !it.is_empty());
        wanted.all(|wanted| has(agent, wanted))
    };
    let serves = |agent: &Agent, model: &[u8]| {
        agent.models.is_empty() || agent.models.iter().any(|it| it.name.matches(model))
    };
    let mut left = choices.to_vec();
    left.retain(|choice| agent(choice).is_some_and(has_all));
    if left.is_empty() {
        return Err(NoAgent::Incapable);
    }
    if let Some(model) = model {
        left.retain(|choice| agent(choice).is_some_and(|agent| serves(agent, model)));
    }
    if left.is_empty() {
        return Err(NoAgent::NoModel);
    }
    Ok(left)
}

/// Chooses among a route's agents. `wanted` are the values of `x-agent`; `value`, where it is not empty, is what the request has
/// in common with others that the same agent is to answer; else `draw` says which of several it is.
///
/// # Errors
/// [`NoAgent`] says why none can be chosen.
#[inline]
pub fn choose_agent<'a>(
    agents: &[Agent],
    choices: &[Choice],
    wanted: impl IntoIterator<Item = &'a [u8]>,
    value: Option<&[u8]>,
    draw: impl FnOnce() -> Option<AgentId>,
) -> Result<AgentId, NoAgent> {
    let mut wanted = wanted.into_iter();
    if let Some(name) = wanted.next() {
        if wanted.any(|other| other != name) {
            return Err(NoAgent::Unknown);
        }
        return choices
            .iter()
            .find(|choice| {
                agents
                    .get(choice.agent.0)
                    .is_some_and(|agent| agent.name.as_bytes() == name)
            })
            .map_or(Err(NoAgent::Unknown), |choice| Ok(choice.agent));
    }
    let mut weighted = choices.iter().filter(|choice| choice.weight > 0);
    match (weighted.next(), weighted.next()) {
        (None, _) => Err(NoAgent::Unnamed),
        (Some(only), None) => Ok(only.agent),
        _ => match value.filter(|value| !value.is_empty()) {
            Some(value) => by_value(agents, choices, value),
            None => draw().ok_or(NoAgent::Unnamed),
        },
    }
}

/// The agent that answers all requests with this value.
#[inline(never)]
fn by_value(agents: &[Agent], choices: &[Choice], value: &[u8]) -> Result<AgentId, NoAgent> {
    let named = choices.iter().filter_map(|choice| {
        let agent = agents.get(choice.agent.0)?;
        Some((agent.name.as_str(), choice.weight, choice.agent))
    });
    first(value, named).ok_or(NoAgent::Unnamed)
}
