//! Which requests try a route's canary, and what its answers come to.

use super::compiled::Compiled;
use super::health::is_failure;
use super::request::Request;
use super::shared::Shared;
use super::stream::{Answered, Facts};
use super::walk::Walk;
use crate::config::policy::{AgentId, Canary, Choice, Policy, Route, RouteId};
use crate::host::{AgentFault, Host, StreamIo};
use crate::routing::{Said, Turn, said, tries};
use crate::state::canary::{Came, Canaries, Lines, Standing};
use crate::state::{State, StateError};

/// The canaries of a configuration.
#[derive(Debug)]
pub(super) struct Tried {
    canaries: Canaries,
    /// For each route, that of its canary, where it can be aborted.
    lines: Vec<Option<Lines>>,
}

/// What is known of a request that tries a canary.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial {
    /// Whose it is, where the draw has brought it there and not its caller's word: only then it bears on what becomes of the canary.
    drawn_for: Option<u64>,
    /// The agent has answered that it failed, or has broken its answer off.
    failed: bool,
    /// There was no connection to the agent.
    unconnected: bool,
    /// A WebSocket is open: however it ends, it is answered.
    opened: bool,
}

/// What the host says in the agent's place where the agent has failed; whatever else it says the agent has no part in.
const FAILURES: [&str; 4] = [
    "agent_unreachable",
    "bad_answer",
    "gateway_error",
    "gateway_unavailable",
];

impl Tried {
    pub(super) fn new(policy: &Policy, state: &State) -> Self {
        let lines = |route: &Route| {
            let canary = route.canary.as_ref()?;
            let abort_at = canary.abort_at?;
            let agent = policy.agents.get(canary.agent.0)?;
            let header = canary.header.as_deref().unwrap_or_default();
            let said: [&[u8]; 4] = [
                agent.name.as_bytes(),
                &canary.percent.to_le_bytes(),
                header.as_bytes(),
                &[abort_at],
            ];
            Some(Lines::new(state, &route.name, &said))
        };
        Self {
            canaries: Canaries::new(state),
            lines: policy.routes.iter().map(lines).collect(),
        }
    }

    fn of(&self, route: RouteId) -> Option<Lines> {
        *self.lines.get(route.0)?
    }
}

impl<H: Host> Shared<H> {
    /// The configuration is in force from now on.
    pub(super) fn try_canaries(&self) {
        let tried = &self.compiled.canaries;
        let routes = tried.lines.iter().enumerate();
        let all: Vec<(RouteId, Lines)> = routes
            .filter_map(|(index, lines)| Some((RouteId(index), (*lines)?)))
            .collect();
        let lines: Vec<Lines> = all.iter().map(|(_, lines)| *lines).collect();
        match tried.canaries.come(&*self.host, &lines) {
            Ok(standings) => {
                for ((route, _), standing) in all.iter().zip(standings) {
                    let (host, compiled) = (&*self.host, &self.compiled);
                    (self.telemetry).canary_stands(host, compiled, *route, standing.aborted);
                }
            }
            Err(error) => self.telemetry.canary_unknown(&*self.host, error),
        }
    }

    /// An answer has arrived to a request that tries a canary.
    pub(super) fn canary_answered(
        &self,
        io: &H::Stream,
        facts: &mut Facts,
        answered: Answered,
        fault: Option<AgentFault>,
    ) {
        let Some(trial) = &mut facts.canary else {
            return;
        };
        trial.unconnected = matches!(fault, Some(AgentFault::NoHost | AgentFault::Unconnected));
        if answered == Answered::ByAgent {
            let status = io.response_header(":status");
            trial.failed = status.as_deref().is_some_and(is_failure);
            trial.opened = status.as_deref() == Some(b"101");
        }
    }

    /// A request has ended that tried a canary. `forwarded`: it has gone on to it, and was not ended here.
    #[inline(never)]
    pub(super) fn canary_ended(&self, facts: &Facts, outcome: &'static str, forwarded: bool) {
        let (Some(trial), Some(route)) = (facts.canary, facts.route) else {
            return;
        };
        // What is ended here is so for reasons of the gateway's, unless the agent is late or its answer no good.
        let here = ["agent_timeout", "answer_too_large", "unreadable_answer"].contains(&outcome);
        let failed =
            !trial.opened && (trial.failed || here || (forwarded && FAILURES.contains(&outcome)));
        let (host, compiled) = (&*self.host, &self.compiled);
        if !failed && !trial.opened && outcome != "allowed" {
            // It never got that far, or its caller did not wait for it.
            return;
        }
        (self.telemetry).canary_ended(host, compiled, route, failed);
        let canary = compiled.route(route).and_then(|it| it.canary.as_ref());
        let abort_at = canary.and_then(|canary| canary.abort_at);
        let (Some(abort_at), Some(lines), Some(client)) =
            (abort_at, compiled.canaries.of(route), trial.drawn_for)
        else {
            return;
        };
        let came = match (failed, trial.unconnected && !trial.failed) {
            (false, _) => Came::Answer,
            (true, false) => Came::Provoked,
            (true, true) => Came::Unconnected,
        };
        let counted = (compiled.canaries.canaries).count(host, lines, client, came, abort_at);
        match counted {
            Ok(None) => {}
            Ok(Some(Standing {
                requests, failed, ..
            })) => {
                self.telemetry.canary_stands(host, compiled, route, true);
                let (name, agent) = compiled.names(Some(route), canary.map(|it| it.agent));
                let (name, agent) = (name.unwrap_or_default(), agent.unwrap_or_default());
                log::warn!(
                    "the canary of the route {name:?} is aborted: of {requests} requests to {agent:?} {failed} have failed, which is \
                     more than {abort_at} per cent. It gets no more until its lines in the configuration change"
                );
            }
            Err(error) => self.telemetry.canary_unknown(host, error),
        }
    }
}

impl<H: Host> Walk<H> {
    /// The route's canary, if it is to answer this request; `value` is what the request has in common with others.
    #[inline(never)]
    pub(super) fn canary(
        &self,
        request: &Request,
        route: RouteId,
        canary: &Canary,
        choices: &[Choice],
        value: Option<&[u8]>,
    ) -> Option<AgentId> {
        let compiled: &Compiled = &self.shared.compiled;
        let host = &*self.shared.host;
        let named = request.wanted_agents().next().is_some();
        if named || choices.iter().all(|choice| choice.agent != canary.agent) {
            return None;
        }
        let drawn_for = match said(canary, request.headers()) {
            Said::Always => None,
            Said::Never => return None,
            Said::Nothing => {
                let agent = compiled.policy.agents.get(canary.agent.0)?;
                if !tries(canary.percent, &agent.name, value, || host.random())
                    || self.is_aborted(route)
                {
                    return None;
                }
                Some(self.caller(request))
            }
        };
        if self.turn(request, canary.agent) != Turn::Yes {
            return None;
        }
        self.common.facts.borrow_mut().canary = Some(Trial {
            drawn_for,
            failed: false,
            unconnected: false,
            opened: false,
        });
        Some(canary.agent)
    }

    pub(super) fn is_aborted(&self, route: RouteId) -> bool {
        let (host, tried) = (&*self.shared.host, &self.shared.compiled.canaries);
        let Some(lines) = tried.of(route) else {
            return false;
        };
        let aborted: Result<bool, StateError> = tried.canaries.is_aborted(host, lines);
        aborted.unwrap_or_else(|error| {
            self.shared.telemetry.canary_unknown(host, error);
            true
        })
    }
}

impl Facts {
    /// The agent has broken off its answer.
    pub(super) fn broke_off(&mut self) {
        if let Some(trial) = &mut self.canary {
            trial.failed = true;
        }
    }
}
