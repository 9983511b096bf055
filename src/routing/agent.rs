//! The choice of the agent: by its name if the caller gives one, otherwise by weight.

use crate::config::policy::{Agent, AgentId, Choice};
use crate::host::Host;

/// Why no agent answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAgent {
    /// `x-agent` names none of the route's agents, or two different ones.
    Unknown,
    /// The request names no agent, and the route has none with a weight.
    Unnamed,
}

/// Chooses among a route's agents. `wanted` are the values of `x-agent`.
///
/// # Errors
/// [`NoAgent`] says why none can be chosen.
pub fn choose_agent<'a, H: Host>(
    host: &H,
    agents: &[Agent],
    choices: &[Choice],
    wanted: impl IntoIterator<Item = &'a [u8]>,
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
        _ => by_weight(choices, host.random()),
    }
}

/// The agent into whose share of the whole a random number falls.
fn by_weight(choices: &[Choice], random: u64) -> Result<AgentId, NoAgent> {
    let whole: u64 = choices.iter().map(|choice| u64::from(choice.weight)).sum();
    let mut point = random % whole.max(1);
    for choice in choices {
        match point.checked_sub(u64::from(choice.weight)) {
            Some(rest) => point = rest,
            None => return Ok(choice.agent),
        }
    }
    Err(NoAgent::Unnamed)
}
