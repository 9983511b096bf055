//! The stage at which a request takes its place among those in flight, and waits for one where it may.

use std::future::poll_fn;
use std::task::Poll;

use super::clock::Ticks;
use super::failure::Failure;
use super::hold::Waits;
use super::request::Request;
use super::stream::{Facts, full_limit, too_many};
use super::walk::Walk;
use crate::config::policy::RouteId;
use crate::host::Host;
use crate::limits::{Came, Limits, Met, Tickets};
use crate::reply::Refusal;
use crate::state::StateError;

impl<H: Host> Walk<H> {
    /// Has the request take its place among those in flight, under each bound that it meets, once there is one.
    pub(super) async fn enter(&self, request: &Request, route: RouteId) -> Result<(), Refusal> {
        let limits = &self.shared.compiled.limits;
        let own = |facts: &Facts| limits.bound_in_flight(facts.own_limits());
        if !own(&self.common.facts.borrow()) {
            return Ok(());
        }
        let all = self.asked(request, route, Limits::met_in_flight)?;
        if let Some(met) = Met::too_small(&all) {
            return Err(too_many(met.full()));
        }
        let mut due = Ticks::default();
        for (nth, met) in all.iter().enumerate() {
            // However many places it needs under a bound, it waits for them no longer than for one.
            let before = nth.checked_sub(1).and_then(|nth| all.get(nth));
            if before.is_none_or(|before| !before.is_under_that_of(met)) {
                due = (self.shared.ticks.get()).after(met.wait().unwrap_or_default());
            }
            self.take_place(request, met, due).await?;
        }
        Ok(())
    }

    async fn take_place(&self, request: &Request, met: &Met, due: Ticks) -> Result<(), Refusal> {
        let shared = &self.shared;
        let (host, limits) = (&*shared.host, &shared.compiled.limits);
        loop {
            let entered = self.with_tickets(|it| limits.enter(host, it, met, self.id));
            let came = match entered? {
                Came::Waits => self.wait_for_place(request, met, due).await?,
                came => Some(came),
            };
            match came {
                Some(Came::In { beyond, warns }) => {
                    shared.telemetry.entered(host, met, beyond, warns);
                    return Ok(());
                }
                Some(_) => return Err(Refusal::TooManyInFlight(full_limit(met.full()))),
                None => {}
            }
        }
    }

    /// Waits for a place. `None`: it is to be asked for anew.
    async fn wait_for_place(
        &self,
        request: &Request,
        met: &Met,
        due: Ticks,
    ) -> Result<Option<Came>, Refusal> {
        let shared = &self.shared;
        let (host, limits) = (&*shared.host, &shared.compiled.limits);
        shared.telemetry.waits(host, met);
        self.waits(request, Waits::Admitted);
        self.common.facts.borrow_mut().due = Some(due);
        let came = poll_fn(
            |_| match self.with_tickets(|it| limits.take_up(host, it, met)) {
                Ok(Some(Came::Waits)) if shared.ticks.get() < due => Poll::Pending,
                came => Poll::Ready(came),
            },
        )
        .await;
        self.common.facts.borrow_mut().due = None;
        came
    }

    fn with_tickets<T>(
        &self,
        f: impl FnOnce(&mut Tickets) -> Result<T, StateError>,
    ) -> Result<T, Refusal> {
        let done = f(self.common.facts.borrow_mut().tickets());
        done.map_err(|error| self.failed(Failure::Limits(error)))
    }
}
