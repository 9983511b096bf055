//! How the service that counts for all gateways is asked about the limits of one client, where it can be: how they stand, and for
//! a fresh start. Each answer is waited for as long as any of its answers, and one that does not come is said.

use super::failure::Failure;
use super::questions::{Answer, Questions};
use super::walk::Walk;
use crate::host::Host;
use crate::limits::fleet::{Abilities, Fleet, OfClient, Question, Topic, Verdict, Why};
use crate::reply::Refusal;

impl<H: Host> Walk<H> {
    /// Learns how they stand.
    pub(super) async fn look_in_fleet(&self, them: &mut OfClient) {
        let looked = self.see(them, |abilities| abilities.looks).await;
        if let Err(why) = looked {
            them.give_up(why);
        }
    }

    /// Has them begin anew, in the fleet and in what the workers of this process hold of them.
    /// `asking` is called before the service is asked for that.
    pub(super) async fn reset_in_fleet(
        &self,
        them: &mut OfClient,
        asking: impl FnOnce(),
    ) -> Result<(), Refusal> {
        let (host, limits) = (&*self.shared.host, &self.shared.compiled.limits);
        let looked = self.see(them, |abilities| abilities.gives_back).await;
        if let Err(why) = looked {
            them.give_up(why);
            return Ok(());
        }
        let (Some(questions), Some(fleet)) = (&self.shared.fleet, limits.fleet()) else {
            return Ok(());
        };
        if !them.is_any_seen() {
            return Ok(());
        }
        let failed = |error| self.failed(Failure::Limits(error));
        // Also where the caller leaves meanwhile, or the answer gets lost.
        fleet.end_leases(host, them).map_err(failed)?;
        asking();
        let verdicts = self.ask_all(questions, fleet.give_back(them)).await;
        // Shares that were fetched meanwhile may be of the time before.
        fleet.end_leases(host, them).map_err(failed)?;
        them.begun(&verdicts);
        Ok(())
    }

    async fn see(
        &self,
        them: &mut OfClient,
        suffices: impl Fn(Abilities) -> bool,
    ) -> Result<(), Why> {
        let limits = &self.shared.compiled.limits;
        let (Some(questions), Some(fleet)) = (&self.shared.fleet, limits.fleet()) else {
            return Ok(());
        };
        if them.is_empty() {
            return Ok(());
        }
        let now = || self.shared.host.now();
        // Who asks for nothing but this must not keep requests from being asked about.
        if questions.are_many() || !fleet.may_ask(now()) {
            return Err(Why::Unavailable);
        }
        let abilities = self.abilities(questions, fleet).await?;
        if !suffices(abilities) {
            return Err(Why::Unsupported);
        }
        let verdicts = self.ask_all(questions, fleet.look(limits, them)).await;
        them.looked(fleet, &verdicts, now());
        Ok(())
    }

    /// What the service can do, which is asked now and then.
    async fn abilities(
        &self,
        questions: &Questions<Topic, Verdict>,
        fleet: &Fleet,
    ) -> Result<Abilities, Why> {
        let now = || self.shared.host.now();
        if let Some(abilities) = fleet.abilities(now()) {
            return Ok(abilities);
        }
        let verdict = match self.ask_fleet(questions, &fleet.try_abilities()) {
            Some(answer) => answer.await,
            None => Verdict::Failed,
        };
        match verdict {
            Verdict::Failed => Err(Why::Unavailable),
            _ => fleet.abilities(now()).ok_or(Why::Unavailable),
        }
    }

    /// Asks all at once, and waits for all.
    async fn ask_all(
        &self,
        questions: &Questions<Topic, Verdict>,
        all: Vec<Question>,
    ) -> Vec<Verdict> {
        let asked = all.iter().map(|it| self.ask_fleet(questions, it));
        let asked: Vec<Option<Answer<Verdict>>> = asked.collect();
        let mut verdicts = Vec::with_capacity(asked.len());
        for answer in asked {
            verdicts.push(match answer {
                Some(answer) => answer.await,
                None => Verdict::Failed,
            });
        }
        verdicts
    }
}
