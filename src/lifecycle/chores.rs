//! What is due once a second: questions that got lost, places in flight, reports of load, and streams whose time has come.

use super::Gateway;
use super::shared::Shared;
use crate::host::{Host, StreamId};
use crate::identity::Knowledge;
use crate::limits::fleet::Verdict;

impl<H: Host> Gateway<H> {
    /// True if [`Self::on_tick`] is to be called once a second.
    #[must_use]
    pub fn needs_ticks(&self) -> bool {
        let Shared { compiled, keys, .. } = &*self.shared;
        let mut routes = compiled.policy.routes.iter();
        keys.is_some()
            || compiled.limits.have_chores()
            || compiled.limits.has_gate()
            || compiled.limits.bound_in_flight(None)
            || compiled.limits.fleet().is_some()
            || compiled.ask_bodies()
            || compiled.look_at_bodies()
            || compiled.learn_loads()
            || routes.any(|route| route.idle_timeout.is_some() || route.collect_body)
    }

    /// A second has passed.
    pub fn on_tick(&mut self) {
        let mut ticks = self.shared.ticks.get();
        ticks.advance();
        self.shared.ticks.set(ticks);
        self.chores();
    }

    /// What each stage has due on a tick. No stream is touched here: whose time has come is woken.
    fn chores(&mut self) {
        let mut due = std::mem::take(&mut self.unwoken);
        self.give_up_lost_questions(&mut due);
        self.give_up_on_fleet(&mut due);
        due.append(&mut self.shared.rounds.give_up(self.shared.ticks.get()));
        self.shared.compiled.limits.chores(&*self.shared.host);
        self.look_at_tables();
        self.keep_places(&mut due);
        if let Some(loads) = &self.shared.compiled.loads {
            self.shared.keep_loads(loads, self.streams.values());
        }
        self.find_due_streams(&mut due);
        for id in due {
            self.wake(id);
        }
    }

    /// Whoever waits for an answer that got lost is told what stands for it: that nothing is known.
    fn give_up_lost_questions(&self, due: &mut Vec<StreamId>) {
        let shared = &*self.shared;
        let Some(keys) = &shared.keys else {
            return;
        };
        for question in keys.take_lost(shared.ticks.get()) {
            shared.telemetry.validator_lost(&*shared.host);
            due.append(&mut question.answer(Knowledge::Unknown));
        }
    }

    /// Has an operator see how full the tables are. What cannot be seen now is on a later tick, and decides nothing.
    fn look_at_tables(&self) {
        let shared = &*self.shared;
        let seen = shared.compiled.survey.tick(&*shared.host);
        for fullness in seen.unwrap_or_default() {
            shared.telemetry.fullness(&*shared.host, &fullness);
        }
    }

    /// The same of the service that counts for all gateways.
    fn give_up_on_fleet(&self, due: &mut Vec<StreamId>) {
        let shared = &*self.shared;
        let (Some(questions), Some(fleet)) = (&shared.fleet, shared.compiled.limits.fleet()) else {
            return;
        };
        for question in questions.take_lost(shared.ticks.get()) {
            let (host, now) = (&*shared.host, shared.host.now());
            let change = fleet.failed(question.at, now, host.random());
            shared
                .telemetry
                .fleet_answered(host, &Verdict::Failed, change);
            due.append(&mut question.answer(Verdict::Failed));
        }
    }

    /// Says that the requests in flight here are still there, and finds those that wait for a place and have one.
    fn keep_places(&self, due: &mut Vec<StreamId>) {
        let shared = &*self.shared;
        let limits = &shared.compiled.limits;
        if !limits.count_in_flight() {
            return;
        }
        let mut all: Vec<_> = (self.streams.iter())
            .map(|(id, stream)| (*id, stream.common.facts.borrow_mut()))
            .collect();
        let tickets = all
            .iter_mut()
            .filter_map(|(id, facts)| Some((*id, facts.tickets_if_any()?)));
        match limits.keep_in_flight(&*shared.host, tickets) {
            Ok(mut turns) => due.append(&mut turns),
            Err(error) => shared.telemetry.limits_unavailable(&*shared.host, error),
        }
    }

    /// Those that have waited, gone on or been silent for as long as they may.
    fn find_due_streams(&self, due: &mut Vec<StreamId>) {
        let now = self.shared.ticks.get();
        let late = self.streams.iter().filter(|(_, stream)| stream.is_due(now));
        due.extend(late.map(|(id, _)| *id));
    }

    /// Has a stream's turn come by an event of its own, see [`Host::wake`]; if there is none to be had, after the next tick.
    #[inline(never)]
    pub(super) fn wake(&mut self, id: StreamId) {
        if let Err(error) = self.shared.host.wake(id) {
            self.shared.telemetry.host_failed(&*self.shared.host, error);
            if !self.unwoken.contains(&id) {
                self.unwoken.push(id);
            }
        }
    }
}
