//! Agents are judged by what comes back from them: what their answers come to, and what comes of that.
//!
//! This is the caller's side, which sees what the caller gets. An agent that is judged by each attempt is so on its own side, see
//! `attempts.rs`; here only what never comes there is seen: that it has no host.

use log::Level;

use super::health::{Asked, Judged, NO_ANSWER, Watched};
use super::shared::Shared;
use super::stream::{Answered, Facts, Phase, Stream};
use crate::config::Policy;
use crate::config::policy::AgentId;
use crate::host::{AgentFault, AttemptEnd, Host, Throttle, seconds_up};
use crate::reply::Refusal;
use crate::routing::Comes;
use crate::state::health::{Attempt, Change, Health, Standing};
use crate::state::{State, StateError};

/// The agents that may rest.
#[derive(Debug)]
pub(super) struct Rests {
    /// By their places in the policy.
    all: Vec<Option<Watched>>,
    health: Health,
    log: Throttle,
}

/// The agent that answers a request.
#[derive(Debug)]
pub(super) struct Answering {
    pub(super) agent: AgentId,
    pub(super) asked: Asked,
    /// The request has gone on to it.
    pub(super) forwarded: bool,
}

impl Rests {
    /// `None`: no agent may rest.
    pub(super) fn new(policy: &Policy, state: &State) -> Option<Self> {
        let agents = policy.agents.iter();
        let all: Vec<_> = agents
            .map(|agent| {
                Some(Watched::new(
                    state,
                    &agent.name,
                    &agent.cluster,
                    agent.rest?,
                ))
            })
            .collect();
        all.iter().any(Option::is_some).then(|| Self {
            all,
            health: Health::new(state),
            log: Throttle::default(),
        })
    }

    pub(super) fn of(&self, agent: AgentId) -> Option<&Watched> {
        self.all.get(agent.0)?.as_ref()
    }

    /// Tells what the record of an agent could not be asked or told.
    #[cold]
    pub(super) fn unknown<H: Host>(&self, host: &H, error: StateError) {
        unknown(&self.log, host, error);
    }
}

impl<H: Host> Shared<H> {
    /// The configuration is in force from now on.
    pub(super) fn watch_agents(&self) {
        let (host, Some(rests)) = (&*self.host, &self.compiled.rests) else {
            return;
        };
        if let Err(error) = rests.health.open(host) {
            return rests.unknown(host, error);
        }
        let agents = self.compiled.policy.agents.iter().zip(&rests.all);
        for (agent, watched) in agents.filter_map(|(agent, it)| Some((agent, it.as_ref()?))) {
            match watched.come(host) {
                Ok(rests) => show(host, &agent.name, rests),
                Err(error) => rests.unknown(host, error),
            }
        }
    }

    /// Whether the agent comes next where another does not answer. One whose rest is over does: the first request that comes to it so
    /// is the probe.
    pub(super) fn comes(&self, agent: AgentId) -> Comes {
        let host = &*self.host;
        let watched = self.compiled.rests.as_ref().and_then(|it| it.of(agent));
        match watched.map(|watched| (watched, watched.standing(host))) {
            Some((_, Ok(Standing::Rests(_)))) => Comes::Not,
            Some((watched, Ok(Standing::Due))) if watched.is_probed(host) => Comes::Last,
            _ => Comes::InTurn,
        }
    }

    /// The agents that the request has come to first have `passed` it on, since they have not answered; this one answers it, or was asked last.
    #[inline(never)]
    pub(super) fn another_answers(&self, facts: &mut Facts, passed: &[AgentId], last: AgentId) {
        let Some(mut answering) = facts.answering.take() else {
            return;
        };
        let first = answering.asked.attempt;
        for agent in passed {
            let Some(watched) = self.watched(*agent) else {
                continue;
            };
            // What it has said is not seen; it may have been a 429.
            if !watched.rest.each_attempt && watched.rest.heeds_429 {
                let attempt = match *agent == answering.agent {
                    true => first,
                    false => self.attempt_behind(watched, &first),
                };
                self.judge(*agent, watched, &attempt, Some(NO_ANSWER));
            }
        }
        self.give_back(&answering);
        let attempt = match self.watched(last) {
            Some(watched) if !watched.rest.each_attempt => self.attempt_behind(watched, &first),
            _ => Attempt {
                probe: None,
                ..first
            },
        };
        answering.agent = last;
        answering.asked = Asked::of(attempt);
        facts.answering = Some(answering);
    }

    /// An attempt that has come behind the request's first: it is the probe where only that may go there.
    fn attempt_behind(&self, watched: &Watched, first: &Attempt) -> Attempt {
        let host = &*self.host;
        let probe = match watched.is_due(host, host.now()) {
            true => watched.take_probe(host, first.client).ok().flatten(),
            false => None,
        };
        Attempt { probe, ..*first }
    }

    /// The request is the probe no more. Where it was judged this changes nothing.
    fn give_back(&self, answering: &Answering) {
        let host = &*self.host;
        if let Some(rests) = &self.compiled.rests
            && let Some(watched) = rests.of(answering.agent)
            && let Some(probe) = answering.asked.attempt.probe
            && let Err(error) = watched.give_back(host, probe)
        {
            rests.unknown(host, error);
        }
    }

    /// The request goes on to the agent, or all of it has.
    pub(super) fn keeps_probe(&self, facts: &Facts) {
        let host = &*self.host;
        if let Some(answering) = &facts.answering
            && let Some(probe) = answering.asked.attempt.probe
            && let Some(rests) = &self.compiled.rests
            && let Some(watched) = rests.of(answering.agent)
            && let Err(error) = watched.hold(host, probe, answering.asked.is_all_sent())
        {
            rests.unknown(host, error);
        }
    }

    fn watched(&self, agent: AgentId) -> Option<&Watched> {
        self.compiled.rests.as_ref()?.of(agent)
    }

    /// The headers of an answer have arrived; who has given it, and what was wrong with the agent if it was not the agent.
    #[inline(never)]
    pub(super) fn agent_answered(
        &self,
        io: &H::Stream,
        facts: &mut Facts,
        answered: Answered,
        fault: Option<AgentFault>,
    ) {
        let host = &*self.host;
        let Some((answering, watched)) = self.answering(facts) else {
            return;
        };
        let attempt = answering.asked.attempt;
        let judged = match (answered, watched.rest.each_attempt) {
            (Answered::ByAgent, false) => answering.asked.headers(host, io, &watched.rest),
            (Answered::ByHost(_), false) => answering.asked.no_answer(fault),
            (Answered::ByHost(_), true) if fault == Some(AgentFault::NoHost) => {
                answering.asked.no_answer(fault)
            }
            _ => None,
        };
        self.judge(answering.agent, watched, &attempt, judged);
    }

    /// The agent's answer is whole.
    #[inline(never)]
    pub(super) fn agent_has_answered(&self, facts: &mut Facts) {
        if let Some((answering, watched)) = self.answering(facts)
            && !watched.rest.each_attempt
        {
            let (attempt, judged) = (answering.asked.attempt, answering.asked.whole());
            self.judge(answering.agent, watched, &attempt, judged);
        }
    }

    /// A request is over that was an agent's, or was to be.
    #[inline(never)]
    pub(super) fn agent_ended(&self, stream: &Stream<H::Stream>, facts: &mut Facts) {
        let host = &*self.host;
        let Some((answering, watched)) = self.answering(facts) else {
            return;
        };
        let attempt = answering.asked.attempt;
        if answering.forwarded && !watched.rest.each_attempt {
            let how = match stream.phase {
                Phase::Ended(outcome) if outcome == Refusal::AgentTimeout.code() => {
                    Some(AttemptEnd::Broken)
                }
                Phase::Forwarded => Some(AttemptEnd::Left),
                _ => None,
            };
            let judged = how.and_then(|how| answering.asked.ends(host, how, &watched.rest));
            self.judge(answering.agent, watched, &attempt, judged);
        }
        self.give_back(answering);
    }

    fn answering<'f>(&self, facts: &'f mut Facts) -> Option<(&'f mut Answering, &Watched)> {
        let answering = facts.answering.as_deref_mut()?;
        let watched = self.watched(answering.agent)?;
        Some((answering, watched))
    }

    fn judge(&self, agent: AgentId, watched: &Watched, attempt: &Attempt, judged: Option<Judged>) {
        let (host, Some(judged)) = (&*self.host, judged) else {
            return;
        };
        if let (Some(rests), (_, Some(name))) =
            (&self.compiled.rests, self.compiled.names(None, Some(agent)))
        {
            judge(&rests.log, host, name, watched, attempt, judged);
        }
    }
}

/// Puts what has come back into the agent's record, and tells what comes of that.
pub(super) fn judge<H: Host>(
    log: &Throttle,
    host: &H,
    agent: &str,
    watched: &Watched,
    attempt: &Attempt,
    (came, reason): Judged,
) {
    let change = watched.judge(host, attempt, came);
    let count = |name: &str| {
        let labels = [("agent", agent), ("outcome", reason)];
        if let Some(metric) = host.counter(name, &labels) {
            host.increment(metric);
        }
    };
    if !reason.is_empty() {
        count("waykeeper_agent_failures_total");
    }
    match change {
        Ok(Change::None) => {}
        Ok(Change::Rests(time)) => {
            count("waykeeper_agent_rests_total");
            show(host, agent, true);
            let (seconds, why) = (seconds_up(time), why(reason));
            log::warn!("the agent {agent:?} rests for {seconds} s: {why}");
        }
        Ok(Change::Returns(time)) => {
            show(host, agent, false);
            let seconds = seconds_up(time);
            log::info!("the agent {agent:?} answers again, after {seconds} s");
        }
        Err(error) => unknown(log, host, error),
    }
}

/// What came last of what was too much.
fn why(reason: &str) -> &'static str {
    match reason {
        "status" => "it fails, at last with a status of 500 or above",
        "busy" => "it has too much to do (429)",
        "unconnected" => "it fails, at last as there was no connection to it",
        "late" => "it fails, at last as its answer was later than slow_first_token",
        "broken" => "it fails, at last as it broke off an answer",
        _ => "it fails, at last as it gave no answer",
    }
}

fn show<H: Host>(host: &H, agent: &str, rests: bool) {
    if let Some(metric) = host.gauge("waykeeper_agent_resting", &[("agent", agent)]) {
        host.record(metric, u64::from(rests));
    }
}

#[cold]
pub(super) fn unknown<H: Host>(log: &Throttle, host: &H, error: StateError) {
    log.log(
        Level::Error,
        "agents",
        host.now(),
        format_args!("how agents do is not known, so none rests: {error}"),
    );
}

impl Facts {
    /// All of the request has been handed over.
    pub(super) fn is_sent<H: Host>(&mut self, host: &H) {
        if let Some(answering) = &mut self.answering {
            answering.asked.is_sent(host.now());
        }
    }

    /// The agent has broken off its answer.
    pub(super) fn broke_off_answer(&mut self) {
        if let Some(answering) = &mut self.answering {
            answering.asked.broke_off();
        }
        self.broke_off();
    }

    /// True if it is to be known how the agent's answer ends.
    pub(super) fn is_judged_at_end(&self) -> bool {
        self.canary.is_some()
            || (self.answering.as_ref()).is_some_and(|answering| answering.asked.answers())
    }
}
