//! The agents at which a request is tried when the one that was chosen for it does not answer.

use super::policy::{AgentId, Choice, MOST_ATTEMPTS, Protocol, Sticky};
use super::reader::{Fields, Spot};
use super::rules::Around;

const MOST_LISTED: usize = 16;

/// Which agents come next, in their order. `choices` are those of which one comes first.
#[inline(never)]
pub(super) fn fallback(spot: &Spot<'_>, around: &Around<'_>, choices: &[Choice]) -> Vec<AgentId> {
    let agent = |id: AgentId| around.agents.get(id.0);
    let mut listed: Vec<AgentId> = Vec::new();
    let mut is_empty = true;
    for item in spot.list(MOST_LISTED).into_iter().flatten() {
        is_empty = false;
        let Some(id) = item.reference("agent", around.agents_by_name) else {
            continue;
        };
        let has_sessions = |agent: &_| matches!(agent, Some(Sticky::Session(_)));
        if listed.contains(&id) {
            item.fault("this agent is already in the list");
        } else if matches!(choices, [only] if only.agent == id) {
            item.fault("is the only agent that is asked at first, so it never comes next");
        } else if agent(id).is_some_and(|agent| has_sessions(&agent.sticky)) {
            item.fault("names sessions, and would name one to a request that was not to have any");
        }
        listed.push(id);
    }
    let is_capable = |choice: &Choice| {
        let agent = agent(choice.agent);
        agent.is_some_and(|agent| !agent.capabilities.is_empty())
    };
    if is_empty && spot.is_list() && !choices.is_empty() && !choices.iter().any(is_capable) {
        spot.fault("names no agent, and none of these says by capabilities what it can do");
    }
    listed
}

/// Tells what else a route says that does not go with it. `attempts`: how many it allows, if it says that.
#[inline(never)]
pub(super) fn check(
    spot: &Spot<'_>,
    fields: &Fields<'_>,
    protocol: Protocol,
    attempts: Option<u32>,
) {
    if protocol == Protocol::Websocket {
        spot.fault("has no meaning for a WebSocket, which is tried at one agent");
    }
    if fields.get("mirror").is_some() {
        spot.fault("cannot stand beside mirror: Envoy has no routes for both");
    }
    match attempts {
        Some(1) => spot.fault("is never reached: retry.max_attempts is 1"),
        Some(attempts) if attempts > MOST_ATTEMPTS => {
            spot.fault("makes three attempts at most; write no more into retry.max_attempts");
        }
        _ => {}
    }
}
