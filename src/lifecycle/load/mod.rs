//! Which of several agents is drawn, by how busy they are, what they cost and how soon they begin to answer; and how that is
//! learned: of reports in their answers, of the metrics that they show, and by a clock.
//!
//! | file | what it says |
//! |---|---|
//! | this one | what is learned, and whom it has a request come to |
//! | `reports.rs` | how busy agents say they are, in their answers |
//! | `polls.rs` | the metrics that agents show |
//! | `first_token.rs` | how soon agents begin to answer |

mod first_token;
mod polls;
mod reports;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use super::compiled::Compiled;
use super::shared::Shared;
use super::stream::{Facts, Stream};
use super::walk::Walk;
use crate::config::policy::{
    Agent, AgentId, Choice, Load, LoadSource, Policy, Prefer, Route, RouteId, Shower,
};
use crate::host::{Host, StreamIo, Timestamp};
use crate::routing::report::{ASK, FULL};
use crate::routing::{by_weight, cheapest, fastest, less_loaded, weighted};
use crate::state::State;
use crate::state::measures::{Key, Measure, Measures};

use polls::Poll;

pub(super) use first_token::Timing;

/// A worker writes no more often than this of any one of them.
const PAUSE: Duration = Duration::from_millis(20);

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
        let now = || self.shared.host.now();
        facts.timing = loads.of_route(facts.route, agent).map(|_| Timing {
            sent: facts.body.has_ended().then(now),
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
        self.told_of_waiting(loads, streams, now);
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
}

impl Compiled {
    /// True if ticks are needed for agents' loads.
    pub(super) fn learn_loads(&self) -> bool {
        self.loads.as_ref().is_some_and(|loads| loads.have_chores())
    }
}
