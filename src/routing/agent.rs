//! The choice of the agent: by its name where the client gives one, else by weight.

use crate::config::policy::{Agent, AgentId, Choice};
use crate::host::Host;

/// What came of the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// This agent answers.
    Agent(AgentId),
    /// The client names an agent that the route does not have.
    Unknown,
    /// No agent of the route takes unnamed requests.
    None,
}

/// Chooses among a route's agents. `wanted` are the values of `x-agent`.
pub fn choose<'a, H: Host>(
    host: &H,
    agents: &[Agent],
    choices: &[Choice],
    wanted: impl IntoIterator<Item = &'a [u8]>,
) -> Chosen {
    let mut wanted = wanted.into_iter();
    if let Some(name) = wanted.next() {
        if wanted.any(|other| other != name) {
            return Chosen::Unknown;
        }
        return choices
            .iter()
            .find(|choice| {
                agents
                    .get(choice.agent.0)
                    .is_some_and(|agent| agent.name.as_bytes() == name)
            })
            .map_or(Chosen::Unknown, |choice| Chosen::Agent(choice.agent));
    }
    let mut weighted = choices.iter().filter(|choice| choice.weight > 0);
    match (weighted.next(), weighted.next()) {
        (None, _) => Chosen::None,
        (Some(only), None) => Chosen::Agent(only.agent),
        _ => by_weight(choices, host.random()),
    }
}

/// The agent into whose share of the whole a random number falls.
fn by_weight(choices: &[Choice], random: u64) -> Chosen {
    let whole: u64 = choices.iter().map(|choice| u64::from(choice.weight)).sum();
    let mut point = random % whole.max(1);
    for choice in choices {
        match point.checked_sub(u64::from(choice.weight)) {
            Some(rest) => point = rest,
            None => return Chosen::Agent(choice.agent),
        }
    }
    Chosen::None
}
