//! The stage at which limits are asked about that a service counts for all gateways, and what becomes of a request without its
//! answer.

use super::hold::Waits;
use super::questions::{Answer, NotAsked, Questions};
use super::request::Request;
use super::stream::too_many;
use super::walk::Walk;
use crate::config::policy::{OnFailure, RouteId};
use crate::host::Host;
use crate::limits::Limits;
use crate::limits::fleet::{Progress, Question, Step, Told, Topic, Verdict};
use crate::reply::Refusal;

/// How far a request has come. What it has taken of shares is put back unless it passes, also if its caller leaves.
struct Turn<'w, H: Host> {
    walk: &'w Walk<H>,
    progress: Progress,
}

impl<H: Host> Drop for Turn<'_, H> {
    fn drop(&mut self) {
        if let Some(fleet) = self.walk.shared.compiled.limits.fleet() {
            fleet.put_back(&mut self.progress);
        }
    }
}

impl<H: Host> Walk<H> {
    /// Counts the request, each of its messages, against the limits that are counted for all gateways.
    pub(super) async fn admit_in_fleet(
        &self,
        request: &Request,
        route: RouteId,
    ) -> Result<(), Refusal> {
        let Some(questions) = &self.shared.fleet else {
            return Ok(());
        };
        let messages = self.messages();
        if messages > 1 {
            let too_small = self.asked(request, route, Limits::too_small_in_fleet)?;
            if let Some(limit) = too_small.as_ref().and_then(Told::full) {
                return Err(too_many(limit));
            }
        }
        for nth in 0..messages {
            self.admit_message(request, route, questions, nth).await?;
        }
        Ok(())
    }

    async fn admit_message(
        &self,
        request: &Request,
        route: RouteId,
        questions: &Questions<Topic, Verdict>,
        nth: usize,
    ) -> Result<(), Refusal> {
        let mut turn = Turn {
            walk: self,
            progress: Progress::default(),
        };
        let host = &*self.shared.host;
        loop {
            let progress = &mut turn.progress;
            let step = self.asked(request, route, |limits, asked| {
                limits.step_in_fleet(host, asked.with_message(nth), progress, host.now())
            })?;
            match step {
                Step::Ask(question) => {
                    self.waits(request, Waits::Admitted);
                    let verdict = match self.ask_fleet(questions, &question) {
                        Some(answer) => answer.await,
                        None => Verdict::Failed,
                    };
                    Limits::heard_in_fleet(&mut turn.progress, verdict);
                }
                Step::Pass { told, ahead } => {
                    turn.progress.passed();
                    // Nobody waits for that.
                    drop(ahead.and_then(|question| self.ask_fleet(questions, &question)));
                    self.common.facts.borrow_mut().counted_in_fleet(told);
                    return Ok(());
                }
                Step::Full { told, wait } => {
                    let mut facts = self.common.facts.borrow_mut();
                    facts.counted_in_fleet(told);
                    return Err(facts.full_in_fleet(wait));
                }
                Step::Alone(on_failure) => {
                    drop(turn);
                    return self.admit_alone(request, route, nth, on_failure);
                }
            }
        }
    }

    /// `None`: it cannot be asked.
    pub(super) fn ask_fleet(
        &self,
        questions: &Questions<Topic, Verdict>,
        question: &Question,
    ) -> Option<Answer<Verdict>> {
        let shared = &self.shared;
        let (host, fleet) = (&*shared.host, shared.compiled.limits.fleet()?);
        let at = host.now();
        let now = (at, shared.ticks.get());
        let asked = questions.ask(&question.topic, self.id, now, || {
            host.call(&fleet.callout(question))
        });
        // That many are under way says nothing of the service: else a crowd could have it let alone.
        if matches!(asked, Err(NotAsked::Unsent(_))) {
            let change = fleet.failed(at, at, host.random());
            shared
                .telemetry
                .fleet_answered(host, &Verdict::Failed, change);
        }
        asked.ok()
    }

    /// Decides without the service that counts for all gateways.
    fn admit_alone(
        &self,
        request: &Request,
        route: RouteId,
        nth: usize,
        on_failure: OnFailure,
    ) -> Result<(), Refusal> {
        self.shared.telemetry.alone(&*self.shared.host, on_failure);
        match on_failure {
            OnFailure::Allow => Ok(()),
            OnFailure::Deny => Err(Refusal::LimitsUnavailable),
            OnFailure::ProcessShare => {
                let host = &*self.shared.host;
                let count = self.asked(request, route, |limits, asked| {
                    limits.admit_alone(host, asked.with_message(nth))
                })?;
                self.counted(count)
            }
        }
    }
}
