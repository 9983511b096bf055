//! At which agents a request is tried when the one that was chosen for it does not answer.

use crate::config::Policy;
use crate::config::policy::{Agent, AgentId, Choice, MOST_ATTEMPTS, Sticky};

use super::{narrowed, sent_as, stands_for};

/// Who may come next.
#[derive(Debug, Clone, Copy)]
pub struct Next<'a> {
    /// Those that are named, in their order.
    pub listed: &'a [AgentId],
    /// Those of which the first one was chosen.
    pub choices: &'a [Choice],
    /// The model that is asked for, in the caller's words.
    pub model: Option<&'a [u8]>,
}

/// Whether an agent comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comes {
    /// In its turn.
    InTurn,
    /// Behind all others: it has rested, and another request finds out already how it does.
    Last,
    /// It rests.
    Not,
}

/// All agents at which a request is tried, `first` included. `capabilities` are the values of `x-agent-capability`: where it
/// asks for some, those of the choices that have them come behind those that are `listed`. Nobody comes next where the first one
/// has sessions, nor does one that has, nor one that would take the request for another, since it knows the model by another name,
/// nor one of which `comes` says so.
#[must_use]
#[inline(never)]
pub fn in_order<'a>(
    policy: &Policy,
    first: AgentId,
    next: &Next<'_>,
    listed: Vec<Choice>,
    capabilities: impl Iterator<Item = &'a [u8]> + Clone,
    comes: &dyn Fn(AgentId) -> Comes,
) -> Vec<AgentId> {
    let agent = |id: AgentId| policy.agents.get(id.0);
    let has_sessions = |agent: &Agent| matches!(agent.sticky, Some(Sticky::Session(_)));
    let mut agents = vec![first];
    let Some(chosen) = agent(first).filter(|it| !has_sessions(it)) else {
        return agents;
    };
    let is_word = |byte: &u8| !matches!(*byte, b' ' | b'\t' | b',');
    let asks = capabilities.clone().any(|line| line.iter().any(is_word));
    let mut able = listed;
    if asks {
        let others: Vec<Choice> = (next.choices.iter().copied())
            .filter(|it| it.weight > 0)
            .collect();
        let model = next.model.map(|model| stands_for(policy, model));
        able.extend(narrowed(&policy.agents, &others, capabilities, model).unwrap_or_default());
    }
    let is_called =
        |other: &Agent, model| sent_as(policy, other, model) == sent_as(policy, chosen, model);
    let means_same = |other: &Agent| next.model.is_none_or(|model| is_called(other, model));
    able.retain(|it| agent(it.agent).is_some_and(|it| !has_sessions(it) && means_same(it)));
    for place in [Comes::InTurn, Comes::Last] {
        for id in able.iter().map(|choice| choice.agent) {
            let fits = agents.len() < MOST_ATTEMPTS as usize && !agents.contains(&id);
            if fits && comes(id) == place {
                agents.push(id);
            }
        }
    }
    agents
}

/// Those of the named that have what is asked for, in their order.
#[must_use]
pub fn listed<'a>(
    policy: &Policy,
    next: &Next<'_>,
    capabilities: impl Iterator<Item = &'a [u8]> + Clone,
) -> Vec<Choice> {
    let all = next.listed.iter().map(|id| Choice {
        agent: *id,
        weight: 1,
    });
    let model = next.model.map(|model| stands_for(policy, model));
    let all: Vec<Choice> = all.collect();
    narrowed(&policy.agents, &all, capabilities, model).unwrap_or_default()
}
