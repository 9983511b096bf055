//! The choice among agents some of which rest.

use crate::config::policy::{Agent, AgentId, Choice};

use super::agent::{NoAgent, choose_agent};

/// Whether a request may go to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It may.
    Yes,
    /// The agent rests, for so many more seconds.
    No(u64),
}

/// Chooses as [`choose_agent`] does, among those whose turn it is by `turn`. It is asked of each agent when that is drawn, so
/// that the one which is said yes to is the one which answers. What is drawn again falls to the others as their weights say; of requests
/// that are kept together only those move whose agent rests.
///
/// # Errors
/// [`NoAgent`] says why none can be chosen.
#[inline(never)]
pub fn choose_rested(
    agents: &[Agent],
    choices: &[Choice],
    wanted: &[&[u8]],
    value: Option<&[u8]>,
    draw: &dyn Fn(&[Choice]) -> Option<AgentId>,
    turn: &mut dyn FnMut(AgentId) -> Turn,
) -> Result<AgentId, NoAgent> {
    let mut left = choices.to_vec();
    let mut soonest: Option<u64> = None;
    loop {
        let chosen = choose_agent(agents, &left, wanted.iter().copied(), value, || draw(&left));
        let agent = match (chosen, soonest) {
            (Err(NoAgent::Unnamed), Some(seconds)) => return Err(NoAgent::Resting(seconds)),
            (chosen, _) => chosen?,
        };
        match turn(agent) {
            Turn::Yes => return Ok(agent),
            Turn::No(seconds) if wanted.is_empty() => {
                soonest = Some(soonest.map_or(seconds, |other| other.min(seconds)));
                left.retain(|choice| choice.agent != agent);
            }
            Turn::No(seconds) => return Err(NoAgent::Resting(seconds)),
        }
    }
}

#[cfg(test)]
mod tests;
