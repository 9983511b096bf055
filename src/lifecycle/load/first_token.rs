//! How soon agents begin to answer: which of them is tried to learn it, and by what the time is taken.

use std::time::Duration;

use super::Loads;
use crate::config::policy::{AgentId, Choice, RouteId};
use crate::host::{Host, Timestamp};
use crate::lifecycle::shared::Shared;
use crate::lifecycle::stream::{Facts, Stream};
use crate::state::measures::{Average, Measure, Measures};

/// Times to the first token are averaged over some of these.
const OF_SPEED: Average = Average {
    half: Duration::from_secs(10),
    lasts: AGAIN,
};

/// An agent whose time is older than this is tried again, by one request for as long.
const AGAIN: Duration = Duration::from_secs(10);

/// And by no more than one of so many requests.
const TRIED_BY_ONE_OF: u64 = 20;

/// Who waits for a first token for so long is told of before it has come.
const LONG: Duration = Duration::from_secs(1);

/// How long a request waits for its first token.
#[derive(Debug, Clone, Copy)]
pub(in crate::lifecycle) struct Timing {
    /// Since when, which is since all of the request has gone to the agent: before that it waits for the caller.
    pub(super) sent: Option<Timestamp>,
    /// The agent has answered, and not that it failed.
    pub(super) answered: bool,
}

impl Facts {
    /// All of the request has gone to the agent.
    #[inline]
    pub(in crate::lifecycle) fn timed_from_now<H: Host>(&mut self, host: &H) {
        if let Some(timing) = &mut self.timing {
            timing.sent.get_or_insert_with(|| host.now());
        }
    }
}

impl<H: Host> Shared<H> {
    /// An agent that this request is to try, since its time is not known or too old; else the times of all.
    pub(super) fn to_try(
        &self,
        loads: &Loads,
        route: Option<RouteId>,
        choices: &[Choice],
        now: Timestamp,
    ) -> Result<AgentId, Vec<(AgentId, Measure)>> {
        let host = &*self.host;
        let all = route.and_then(|id| loads.routes.get(id.0));
        let all = all.map_or(&[][..], Vec::as_slice);
        let mut times = Vec::new();
        // All of a route lie in one cell.
        let Some((_, first)) = all.first() else {
            return Err(times);
        };
        let seen = match Measures::read(host, first.key) {
            Ok(seen) => seen,
            Err(error) => {
                self.telemetry.loads_unknown(host, error);
                return Err(times);
            }
        };
        let mut to_try = None;
        for (id, own) in all {
            if choices.iter().all(|choice| choice.agent != *id) {
                continue;
            }
            let measure = seen.of(own.key).unwrap_or_default();
            times.push((*id, measure));
            if measure.fresh(now, AGAIN).is_some() || measure.is_claimed(now, AGAIN) {
                continue;
            }
            let never = measure.at.0 == 0;
            if to_try.is_none() && (never || (host.random() >> 32).is_multiple_of(TRIED_BY_ONE_OF))
            {
                to_try = Some((*id, own.key));
            }
        }
        if let Some((id, key)) = to_try
            && choices.len() > 1
        {
            match Measures::claim(host, key, AGAIN) {
                Ok(true) => return Ok(id),
                // Another worker was faster.
                Ok(false) => {}
                Err(error) => self.telemetry.loads_unknown(host, error),
            }
        }
        Err(times)
    }

    /// The first piece of an answer's body passes, or its end.
    #[inline(never)]
    pub(in crate::lifecycle) fn first_token(&self, facts: &mut Facts) {
        let Some(timing) = facts.timing.take() else {
            return;
        };
        let (Some(loads), Some(agent), Some(sent), true) = (
            &self.compiled.loads,
            facts.agent,
            timing.sent,
            timing.answered,
        ) else {
            return;
        };
        if let Some(own) = loads.of_route(facts.route, agent) {
            let now = self.host.now();
            let took = nanoseconds(now.since(sent));
            if own.may_write(now) {
                self.noted(Measures::note(&*self.host, own.key, took, OF_SPEED));
            }
        }
    }

    /// An agent is known to take so long at least for its first token.
    fn waits_for_token(&self, loads: &Loads, route: RouteId, agent: AgentId, waited: Duration) {
        if waited >= LONG
            && let Some(own) = loads.of_route(Some(route), agent)
            && own.may_write(self.host.now())
        {
            self.noted(Measures::raise(&*self.host, own.key, nanoseconds(waited)));
        }
    }

    /// A request has ended without its first token, will have none, or has gone on to another agent.
    #[cold]
    pub(in crate::lifecycle) fn ended_before_token(&self, facts: &mut Facts) {
        if let (Some(loads), Some(route), Some(agent), Some(sent)) = (
            &self.compiled.loads,
            facts.route,
            facts.agent,
            facts.timing.take().and_then(|it| it.sent),
        ) {
            let waited = self.host.now().since(sent);
            self.waits_for_token(loads, route, agent, waited);
        }
    }

    /// Those who wait long for a first token are told of before it has come.
    pub(super) fn told_of_waiting<'s>(
        &self,
        loads: &Loads,
        streams: impl Iterator<Item = &'s Stream<H::Stream>>,
        now: Timestamp,
    ) where
        H::Stream: 's,
    {
        if loads.routes.iter().all(Vec::is_empty) {
            return;
        }
        // One of each agent is enough: the one that has waited for longest.
        let mut longest: Vec<(RouteId, AgentId, Duration)> = Vec::new();
        for stream in streams {
            let facts = stream.common.facts.borrow();
            let sent = facts.timing.and_then(|it| it.sent);
            let (Some(sent), Some(route), Some(agent)) = (sent, facts.route, facts.agent) else {
                continue;
            };
            let waited = now.since(sent);
            let mut others = longest.iter_mut();
            match others.find(|it| (it.0, it.1) == (route, agent)) {
                Some(longest) => longest.2 = waited.max(longest.2),
                None => longest.push((route, agent, waited)),
            }
        }
        for (route, agent, waited) in longest {
            self.waits_for_token(loads, route, agent, waited);
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
