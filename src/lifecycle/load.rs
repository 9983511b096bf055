//! Which of several agents is drawn, by how busy they are, what they cost and how soon they begin to answer; and how that is
//! learned: of reports in their answers, of the metrics that they show, and by a clock.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use super::compiled::Compiled;
use super::shared::Shared;
use super::stream::{Answered, Facts, Stream};
use super::walk::Walk;
use crate::config::policy::{
    Agent, AgentId, Choice, Load, LoadSource, Policy, Prefer, Route, RouteId, Shower,
};
use crate::host::{Callout, CalloutAnswer, CalloutId, CalloutRequest, Host, StreamIo, Timestamp};
use crate::routing::report::{ASK, FULL, ORCA, ORCA_BINARY, QUEUE_DEPTH, in_header, in_metrics};
use crate::routing::{by_weight, cheapest, fastest, less_loaded, weighted};
use crate::state::measures::{Average, Key, Measure, Measures};
use crate::state::{State, StateError};

/// Reports of one moment differ by whatever each request met; those of the last seconds say how busy an agent is.
const HALF_OF_LOAD: Duration = Duration::from_secs(1);

/// Times to the first token are averaged over some of these.
const OF_SPEED: Average = Average {
    half: Duration::from_secs(10),
    lasts: AGAIN,
};

/// An agent whose time is older than this is tried again, by one request for as long.
const AGAIN: Duration = Duration::from_secs(10);

/// And by no more than one of so many requests.
const TRIED_BY_ONE_OF: u64 = 20;

/// A worker writes no more often than this of any one of them.
const PAUSE: Duration = Duration::from_millis(20);

/// Who waits for a first token for so long is told of before it has come.
const LONG: Duration = Duration::from_secs(1);

/// So long an agent may take to show its metrics.
const PATIENCE: Duration = Duration::from_millis(900);

/// Metrics that are larger are none.
const MOST_METRICS: usize = 1 << 20;

/// What a configuration asks of agents' loads.
#[derive(Debug)]
pub(super) struct Loads {
    measures: Measures,
    /// For each agent, where its load is kept, if it is learned.
    agents: Vec<Option<OfAgent>>,
    /// For each route that prefers the fastest for some of its requests, where the times of its agents are kept.
    routes: Vec<Vec<(AgentId, Own)>>,
    /// The agents whose metrics are being asked for here, and since when.
    polls: RefCell<Vec<Poll>>,
}

/// What this worker knows of one number that all workers share.
#[derive(Debug)]
struct Own {
    key: Key,
    /// When this worker has last written it.
    written: Cell<Timestamp>,
}

#[derive(Debug)]
struct OfAgent {
    own: Own,
    load: Load,
    /// Where the loads of its endpoints are kept, if their metrics are looked at one by one.
    parts: Vec<Key>,
}

/// A question for an agent's metrics that is under way.
#[derive(Debug)]
struct Poll {
    id: CalloutId,
    agent: AgentId,
    /// Where what is asked stands among those that show the agent's metrics.
    place: usize,
    at: Timestamp,
}

/// The time that a request waits for its first token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    begun: Timestamp,
    /// The agent has answered, and not that it failed.
    answered: bool,
}

impl Own {
    fn new(key: Key) -> Self {
        Self {
            key,
            written: Cell::new(Timestamp(0)),
        }
    }

    /// Whether this worker may write it now.
    fn may_write(&self, now: Timestamp) -> bool {
        let last = self.written.get();
        let may = now < last || now.since(last) >= PAUSE;
        if may {
            self.written.set(now);
        }
        may
    }
}

impl Loads {
    /// `None`: nothing is asked of them.
    pub(super) fn new(policy: &Policy, state: &State) -> Option<Box<Self>> {
        let learned = policy.agents.iter().any(|agent| agent.load.is_some());
        let preferred =
            |route: &Route| route.prefers(Prefer::Cheapest) || route.prefers(Prefer::Fastest);
        if !learned && !policy.routes.iter().any(preferred) {
            return None;
        }
        let of_agent = |agent: &Agent| {
            let load = agent.load.clone()?;
            let own = Own::new(Key::of_agent(state, &agent.name, &agent.cluster));
            let part = |it: &Shower| Key::of_part(state, &agent.name, &agent.cluster, &it.cluster);
            let parts = match &load.from {
                LoadSource::Metrics { shown_by, .. } if shown_by.len() > 1 => {
                    shown_by.iter().map(part).collect()
                }
                _ => Vec::new(),
            };
            Some(OfAgent { own, load, parts })
        };
        let of_route = |route: &Route| {
            let mut all: Vec<(AgentId, Own)> = Vec::new();
            for id in route
                .all_agents()
                .filter(|_| route.prefers(Prefer::Fastest))
            {
                if let Some(agent) = policy.agents.get(id.0)
                    && all.iter().all(|(other, _)| *other != id)
                {
                    let key = Key::of_route(state, &route.name, &agent.name);
                    all.push((id, Own::new(key)));
                }
            }
            all
        };
        Some(Box::new(Self {
            measures: Measures::new(state),
            agents: policy.agents.iter().map(of_agent).collect(),
            routes: policy.routes.iter().map(of_route).collect(),
            polls: RefCell::default(),
        }))
    }

    fn of_agent(&self, id: AgentId) -> Option<&OfAgent> {
        self.agents.get(id.0)?.as_ref()
    }

    fn of_route(&self, route: Option<RouteId>, agent: AgentId) -> Option<&Own> {
        let all = self.routes.get(route?.0)?;
        let mut all = all.iter().filter(|(id, _)| *id == agent);
        all.next().map(|(_, own)| own)
    }

    /// True if ticks have something to do.
    pub(super) fn have_chores(&self) -> bool {
        self.agents.iter().any(Option::is_some) || self.routes.iter().any(|it| !it.is_empty())
    }

    /// The most bytes that the answer to this callout may have, if it asks for metrics.
    pub(super) fn most_bytes(&self, id: CalloutId) -> Option<usize> {
        let polls = self.polls.borrow();
        let asks = polls.iter().any(|poll| poll.id == id);
        asks.then_some(MOST_METRICS)
    }
}

// === impl Walk: the draw ===

impl<H: Host> Walk<H> {
    /// One of these agents, as the route prefers it.
    pub(super) fn draw(&self, choices: &[Choice], prefer: Prefer) -> Option<AgentId> {
        match &self.shared.compiled.loads {
            None => by_weight(choices, None, self.shared.host.random()),
            Some(loads) => self.draw_by(loads, choices, prefer),
        }
    }

    #[inline(never)]
    fn draw_by(&self, loads: &Loads, choices: &[Choice], prefer: Prefer) -> Option<AgentId> {
        let Self { shared, .. } = self;
        let host = &*shared.host;
        let now = host.now();
        let load = |id: AgentId| shared.load_of(loads, id, now);
        match prefer {
            Prefer::Weighted => less_loaded(host, choices, &load),
            Prefer::Cheapest => {
                let agents = &shared.compiled.policy.agents;
                let cheapest = cheapest(agents, choices, &|id| shared.is_full(loads, id, now));
                less_loaded(host, &cheapest, &load)
            }
            Prefer::Fastest => {
                let mut free = weighted(choices);
                free.retain(|choice| !shared.is_full(loads, choice.agent, now));
                if free.is_empty() {
                    free = weighted(choices);
                }
                let route = self.common.facts.borrow().route;
                match shared.to_try(loads, route, &free, now) {
                    Ok(agent) => Some(agent),
                    Err(times) => {
                        let time = |id: AgentId| {
                            let (_, measure) = times.iter().find(|(it, _)| *it == id)?;
                            (measure.at.0 != 0).then_some(measure.value)
                        };
                        less_loaded(host, &fastest(&free, &time), &load)
                    }
                }
            }
        }
    }

    /// Has an agent asked to report its load, if it does so by ORCA.
    pub(super) fn ask_for_report(&self, stream: &H::Stream, facts: &mut Facts) {
        let Some(loads) = &self.shared.compiled.loads else {
            return;
        };
        let Some(agent) = facts.agent else { return };
        let of_agent = loads.of_agent(agent);
        if of_agent.is_some_and(|it| matches!(it.load.from, LoadSource::Orca { .. })) {
            let (name, value) = ASK;
            stream.set_request_header(name, value);
        }
        facts.timing = loads.of_route(facts.route, agent).map(|_| Timing {
            begun: self.shared.host.now(),
            answered: false,
        });
    }
}

// === impl Shared ===

impl<H: Host> Shared<H> {
    /// The configuration is in force from now on.
    pub(super) fn learn_loads(&self) {
        if let Some(loads) = &self.compiled.loads {
            self.noted(loads.measures.come(&*self.host));
        }
    }

    /// What is known of a number; `None` if that cannot be read.
    fn measured(&self, own: &Own) -> Option<Measure> {
        match Measures::read(&*self.host, own.key) {
            Ok(seen) => seen.of(own.key),
            Err(error) => {
                self.telemetry.loads_unknown(&*self.host, error);
                None
            }
        }
    }

    fn reported(&self, loads: &Loads, id: AgentId, now: Timestamp) -> Option<u64> {
        let agent = loads.of_agent(id)?;
        if agent.load.from == LoadSource::InFlight {
            return None;
        }
        self.measured(&agent.own)?.fresh(now, agent.load.lasts)
    }

    /// How many of an agent's places are taken, where they are bounded, as a load.
    fn taken(&self, id: AgentId) -> Option<u64> {
        let (taken, most) = (self.compiled.limits).places_of_agent(&*self.host, id)?;
        Some(taken.saturating_mul(FULL) / u64::from(most.max(1)))
    }

    /// How busy an agent is: what it reports, else how many of its places are taken.
    fn load_of(&self, loads: &Loads, id: AgentId, now: Timestamp) -> Option<u64> {
        self.reported(loads, id, now).or_else(|| self.taken(id))
    }

    /// True if an agent is known to be full, by its report or its places.
    fn is_full(&self, loads: &Loads, id: AgentId, now: Timestamp) -> bool {
        let is_full = |load: Option<u64>| load.is_some_and(|load| load >= FULL);
        is_full(self.taken(id)) || is_full(self.reported(loads, id, now))
    }

    /// An agent that this request is to try, since its time is not known or too old; else the times of all.
    fn to_try(
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

    /// An answer has arrived: its report is taken out of it, and its time goes on if the agent has not failed.
    #[inline(never)]
    pub(super) fn heard(
        &self,
        loads: &Loads,
        io: &H::Stream,
        facts: &mut Facts,
        answered: Answered,
    ) {
        let Some(agent) = facts.agent.filter(|_| answered == Answered::ByAgent) else {
            return;
        };
        if let Some(timing) = &mut facts.timing {
            let status = io.response_header(":status");
            timing.answered = status.is_some_and(|status| status.first() == Some(&b'2'));
            if !timing.answered {
                self.ended_before_token(facts);
            }
        }
        let Some(of_agent) = loads.of_agent(agent) else {
            return;
        };
        for name in headers_of(&of_agent.load) {
            if let Some(value) = io.response_header(name) {
                io.remove_response_header(name);
                self.report(agent, of_agent, in_header(&of_agent.load, name, &value));
            }
        }
    }

    /// The same of its trailers, where gRPC has reports.
    pub(super) fn heard_at_end(&self, loads: &Loads, io: &H::Stream, facts: &Facts) {
        let Some(agent) = facts.agent else { return };
        let Some(of_agent) = loads.of_agent(agent) else {
            return;
        };
        for name in headers_of(&of_agent.load) {
            if let Some(value) = io.response_trailer(name) {
                io.remove_response_trailer(name);
                self.report(agent, of_agent, in_header(&of_agent.load, name, &value));
            }
        }
    }

    /// An agent has reported its load. `None`: in words that mean nothing.
    fn report(&self, id: AgentId, agent: &OfAgent, load: Option<u64>) {
        let host = &*self.host;
        let Some(load) = load else {
            self.unread(id, agent);
            return;
        };
        if agent.own.may_write(host.now()) {
            let average = average(&agent.load);
            self.noted(Measures::note(host, agent.own.key, load, average));
        }
    }

    #[cold]
    fn unread(&self, id: AgentId, agent: &OfAgent) {
        let (_, name) = self.compiled.names(None, Some(id));
        let from = agent.load.from.name();
        (self.telemetry).report_unread(&*self.host, from, name.unwrap_or_default());
    }

    fn noted(&self, noted: Result<(), StateError>) {
        if let Err(error) = noted {
            self.telemetry.loads_unknown(&*self.host, error);
        }
    }

    /// The first piece of an answer's body passes, or its end.
    #[inline(never)]
    pub(super) fn first_token(&self, facts: &mut Facts) {
        let Some(timing) = facts.timing.take() else {
            return;
        };
        let (Some(loads), Some(agent), true) = (&self.compiled.loads, facts.agent, timing.answered)
        else {
            return;
        };
        if let Some(own) = loads.of_route(facts.route, agent) {
            let now = self.host.now();
            let took = nanoseconds(now.since(timing.begun));
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

    /// A request has ended without its first token, or will have none.
    #[cold]
    pub(super) fn ended_before_token(&self, facts: &mut Facts) {
        if let (Some(loads), Some(route), Some(agent), Some(timing)) = (
            &self.compiled.loads,
            facts.route,
            facts.agent,
            facts.timing.take(),
        ) {
            let waited = self.host.now().since(timing.begun);
            self.waits_for_token(loads, route, agent, waited);
        }
    }

    /// What is due on a tick: those who wait long for a first token are told of, metrics are looked at, and what is known is shown.
    #[inline(never)]
    pub(super) fn keep_loads<'s>(
        &self,
        loads: &Loads,
        streams: impl Iterator<Item = &'s Stream<H::Stream>>,
    ) where
        H::Stream: 's,
    {
        let now = self.host.now();
        if loads.routes.iter().any(|it| !it.is_empty()) {
            // One of each agent is enough: the one that has waited for longest.
            let mut longest: Vec<(RouteId, AgentId, Duration)> = Vec::new();
            for stream in streams {
                let facts = stream.common.facts.borrow();
                let (Some(timing), Some(route), Some(agent)) =
                    (facts.timing, facts.route, facts.agent)
                else {
                    continue;
                };
                let waited = now.since(timing.begun);
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
        self.show_loads(loads, now);
        self.give_up_polls(loads, now);
        for (index, agent) in loads.agents.iter().enumerate() {
            if let Some(agent) = agent {
                self.poll(loads, AgentId(index), agent, now);
            }
        }
    }

    fn show_loads(&self, loads: &Loads, now: Timestamp) {
        let (host, compiled) = (&*self.host, &self.compiled);
        for index in 0..loads.agents.len() {
            let id = AgentId(index);
            if loads.of_agent(id).is_some() {
                let load = self.load_of(loads, id, now);
                (self.telemetry).load(host, compiled, id, load.map(|it| it / (FULL / 100)));
            }
        }
        for (index, all) in loads.routes.iter().enumerate() {
            let Some((_, first)) = all.first() else {
                continue;
            };
            let Ok(seen) = Measures::read(host, first.key) else {
                continue;
            };
            for (agent, own) in all {
                let measure = seen.of(own.key).filter(|it| it.at.0 != 0);
                if let Some(measure) = measure {
                    let time = measure.value / 1_000_000;
                    (self.telemetry).first_token(host, compiled, RouteId(index), *agent, time);
                }
            }
        }
    }

    /// Asks an agent for its metrics, if it shows some and no worker has done so for long enough.
    fn poll(&self, loads: &Loads, id: AgentId, of_agent: &OfAgent, now: Timestamp) {
        let host = &*self.host;
        let LoadSource::Metrics {
            path,
            shown_by,
            every,
        } = &of_agent.load.from
        else {
            return;
        };
        // Ticks come a little early or late.
        let every = every.saturating_sub(Duration::from_millis(200));
        let key = of_agent.own.key;
        let claimed = self
            .measured(&of_agent.own)
            .unwrap_or_default()
            .is_claimed(now, every);
        if claimed {
            return;
        }
        match Measures::claim(host, key, every) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return self.telemetry.loads_unknown(host, error),
        }
        let mut reached = false;
        for (
            place,
            Shower {
                cluster,
                host: name,
            },
        ) in shown_by.iter().enumerate()
        {
            let headers = [
                (":method", "GET"),
                (":path", path.as_str()),
                (":authority", name.as_str()),
                ("accept", "text/plain"),
            ];
            let sent = host.call(&Callout {
                cluster,
                request: CalloutRequest::Http {
                    headers: &headers,
                    body: b"",
                },
                timeout: PATIENCE,
            });
            match sent {
                Ok(callout) => {
                    reached = true;
                    loads.polls.borrow_mut().push(Poll {
                        id: callout,
                        agent: id,
                        place,
                        at: now,
                    });
                }
                Err(_) => self.unread(id, of_agent),
            }
        }
        if !reached {
            // Another worker may reach them.
            self.noted(Measures::unclaim(host, key));
        }
    }

    /// Answers that got lost are waited for no more.
    fn give_up_polls(&self, loads: &Loads, now: Timestamp) {
        let mut polls = loads.polls.borrow_mut();
        polls.retain(|poll| now.since(poll.at) < 4 * PATIENCE);
    }

    /// A callout was answered, or failed. True: it asked for metrics.
    pub(super) fn metrics_came(&self, id: CalloutId, came: &CalloutAnswer) -> bool {
        let Some(loads) = &self.compiled.loads else {
            return false;
        };
        let mut polls = loads.polls.borrow_mut();
        let Some(index) = polls.iter().position(|poll| poll.id == id) else {
            return false;
        };
        let Poll { agent, place, .. } = polls.swap_remove(index);
        drop(polls);
        if let Some(of_agent) = loads.of_agent(agent) {
            let load = match came {
                CalloutAnswer::Response { status: 200, body } => in_metrics(&of_agent.load, body),
                _ => None,
            };
            match of_agent.parts.get(place) {
                Some(part) => self.report_part(agent, of_agent, *part, load),
                None => self.report(agent, of_agent, load),
            }
        }
        true
    }

    /// One of an agent's endpoints has shown its load: Envoy balances among them, so the agent is as busy as they are on average.
    #[inline(never)]
    fn report_part(&self, id: AgentId, agent: &OfAgent, part: Key, load: Option<u64>) {
        let Some(load) = load else {
            self.unread(id, agent);
            return;
        };
        let (whole, average) = (agent.own.key, average(&agent.load));
        let noted = Measures::note_part(&*self.host, whole, &agent.parts, part, load, average);
        self.noted(noted);
    }
}

/// The headers in which reports stand.
fn headers_of(load: &Load) -> &'static [&'static str] {
    match load.from {
        LoadSource::Orca { .. } => &[ORCA, ORCA_BINARY],
        LoadSource::QueueDepth => &[QUEUE_DEPTH],
        LoadSource::Metrics { .. } | LoadSource::InFlight => &[],
    }
}

/// How what an agent reports is averaged.
fn average(load: &Load) -> Average {
    Average {
        half: HALF_OF_LOAD,
        lasts: load.lasts,
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Compiled {
    /// True if ticks are needed for agents' loads.
    pub(super) fn learn_loads(&self) -> bool {
        self.loads.as_ref().is_some_and(|loads| loads.have_chores())
    }
}
