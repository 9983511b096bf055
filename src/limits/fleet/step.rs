//! What is to be done next about a request, as far as it has come.

use std::rc::Rc;
use std::time::Duration;

use super::asking::{Question, Topic, Verdict};
use super::counted::Counted;
use super::lease::{Held, Lease};
use super::protocol::{Code, DescriptorStatus};
use super::{Fleet, Told};
use crate::config::policy::{Manner, OnFailure};
use crate::host::{Host, Timestamp, seconds_up};
use crate::limits::Limits;
use crate::limits::place::Places;
use crate::limits::subject::Asked;
use crate::state::Hashed;

/// So often a request asks for a share, as long as others are faster.
const MOST_ROUNDS: u8 = 16;

/// So long a limit that was full without a share is taken for full; then one question tells whether somebody has given it
/// a fresh start.
const LOOKED: Duration = Duration::from_secs(1);

/// How far a request has come with these limits.
#[derive(Debug, Default)]
pub struct Progress {
    /// What was taken of shares.
    taken: Vec<(Hashed, Lease)>,
    said: Option<Verdict>,
    rounds: u8,
}

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    /// It passes. `ahead` is to be asked without waiting.
    Pass {
        /// How the limits stand.
        told: Vec<Told>,
        /// For the next ones.
        ahead: Option<Question>,
    },
    /// Limits are full.
    Full {
        /// How the limits stand; the full ones have nothing left.
        told: Vec<Told>,
        /// Seconds until one more fits.
        wait: u64,
    },
    /// The service is to be asked first.
    Ask(Question),
    /// It cannot be asked.
    Alone(OnFailure),
}

impl Fleet {
    fn is_leased(&self, counted: &Counted, key: Hashed, now: Timestamp) -> bool {
        self.policy.manner == Manner::Leased
            && counted.share > 0
            && !self.no_windows.get()
            && self.leases.borrow_mut().has_room(key, now)
    }

    /// Puts back what a request has taken of shares: it is refused.
    pub fn put_back(&self, progress: &mut Progress) {
        let mut leases = self.leases.borrow_mut();
        for (key, lease) in progress.taken.drain(..) {
            leases.put_back(key, &lease);
        }
    }

    /// What is to be done next about a request.
    fn step<H: Host>(
        &self,
        host: &H,
        met: &[(&Rc<Counted>, Hashed)],
        places: &Places,
        asked: &Asked<'_>,
        progress: &mut Progress,
        now: Timestamp,
    ) -> Step {
        let (leased, strict): (Vec<_>, Vec<_>) = met
            .iter()
            .copied()
            .partition(|(counted, key)| self.is_leased(counted, *key, now));
        let descriptor = |counted: &Counted| counted.descriptor(places, asked);
        let mut told = Vec::with_capacity(met.len());
        let mut ahead = None;
        if progress.taken.is_empty() && !leased.is_empty() {
            if self.leases.borrow_mut().end_old(host, now).is_err() {
                return Step::Alone(self.policy.on_failure);
            }
            for (counted, key) in &leased {
                let held = self.leases.borrow().get(*key, now);
                match held {
                    Held::Some(_) => {}
                    Held::Exhausted(lease)
                        if now.since(lease.since) >= LOOKED
                            && progress.rounds == 0
                            && self.may_ask(now) =>
                    {
                        progress.rounds += 1;
                        return Step::Ask(self.share(
                            (counted, *key),
                            Some(1),
                            descriptor(counted),
                        ));
                    }
                    Held::Exhausted(lease) => {
                        let told = vec![counted.told(0, lease.until.since(now))];
                        let wait = seconds_up(lease.until.since(now)).max(1);
                        return Step::Full { told, wait };
                    }
                    Held::Nothing if progress.rounds >= MOST_ROUNDS || !self.may_ask(now) => {
                        return Step::Alone(self.policy.on_failure);
                    }
                    Held::Nothing => {
                        progress.rounds += 1;
                        let beside = self.leases.borrow().beside(*key, now);
                        return Step::Ask(self.share((counted, *key), beside, descriptor(counted)));
                    }
                }
            }
            for (counted, key) in &leased {
                let mut leases = self.leases.borrow_mut();
                let Held::Some(lease) = leases.get(*key, now) else {
                    continue;
                };
                leases.take(*key);
                progress.taken.push((*key, lease));
                let left = lease.left.saturating_sub(1);
                if left <= counted.share / 2 && lease.beside > 0 && ahead.is_none() {
                    let beside = Some(lease.beside);
                    ahead = Some(self.share((counted, *key), beside, descriptor(counted)));
                }
            }
        }
        for ((_, lease), (counted, _)) in progress.taken.iter().zip(&leased) {
            let left = u64::from(lease.left.saturating_sub(1)) + u64::from(lease.beside);
            told.push(counted.told(left, lease.until.since(now)));
        }
        if !strict.is_empty() {
            let said = match &progress.said {
                Some(Verdict::Said(said)) => Rc::clone(said),
                Some(_) => return Step::Alone(self.policy.on_failure),
                None if !self.may_ask(now) => return Step::Alone(self.policy.on_failure),
                None => {
                    let descriptors = strict.iter().map(|(counted, _)| descriptor(counted));
                    let topic = Topic::Request(self.number());
                    return Step::Ask(self.question(topic, descriptors.collect()));
                }
            };
            let refused = said.overall_code() == Code::OverLimit;
            let is_over = |status: &DescriptorStatus| status.code() == Code::OverLimit;
            let named = said.statuses.iter().take(strict.len()).any(is_over);
            let mut wait = 1;
            for (index, (counted, _)) in strict.iter().enumerate() {
                let status = said.statuses.get(index);
                let reset = status.and_then(|it| counted.lasts(it)).unwrap_or_default();
                // Where none is said to be full, and yet all are refused, any may be.
                if status.is_some_and(is_over) || refused && !named {
                    wait = wait.max(seconds_up(reset));
                    told.push(counted.told(0, reset));
                } else if let Some(status) = status {
                    told.push(counted.told(status.limit_remaining.into(), reset));
                }
            }
            if refused {
                return Step::Full { told, wait };
            }
        }
        let ahead = ahead.filter(|_| self.may_ask(now));
        Step::Pass { told, ahead }
    }
}

// === impl Progress ===

impl Progress {
    /// The request has passed: what it took of shares is taken.
    pub fn passed(&mut self) {
        self.taken.clear();
    }
}

// === impl Limits ===

impl Limits {
    /// What is to be done next about the limits of a request that are counted for all gateways.
    #[must_use]
    pub fn step_in_fleet<H: Host>(
        &self,
        host: &H,
        asked: Asked<'_>,
        progress: &mut Progress,
        now: Timestamp,
    ) -> Step {
        let passes = || Step::Pass {
            told: Vec::new(),
            ahead: None,
        };
        let Some(fleet) = &self.fleet else {
            return passes();
        };
        let own = self.own_in_fleet(fleet, &asked);
        let met = fleet.met(&own, &self.places, &asked);
        if met.is_empty() {
            return passes();
        }
        fleet.step(host, &met, &self.places, &asked, progress, now)
    }

    /// Of these limits, one that never lets all messages of a request through.
    #[must_use]
    pub fn too_small_in_fleet(&self, asked: Asked<'_>) -> Option<Told> {
        let fleet = self.fleet.as_ref()?;
        let own = self.own_in_fleet(fleet, &asked);
        let messages = 0..=asked.further.len();
        let met = messages.flat_map(|nth| fleet.met(&own, &self.places, &asked.with_message(nth)));
        let mut hits: Vec<(Hashed, u32)> = Vec::new();
        for (counted, key) in met {
            let index = match hits.binary_search_by_key(&key, |(it, _)| *it) {
                Ok(index) => index,
                Err(index) => {
                    hits.insert(index, (key, 0));
                    index
                }
            };
            let (_, hits) = hits.get_mut(index)?;
            *hits += 1;
            if *hits > counted.quantity {
                return Some(counted.told(0, counted.window));
            }
        }
        None
    }

    /// Keeps what was heard for the next [`Self::step_in_fleet`].
    pub fn heard_in_fleet(progress: &mut Progress, verdict: Verdict) {
        // A share that was not given is asked for no more.
        if matches!(verdict, Verdict::Failed) {
            progress.rounds = MOST_ROUNDS;
        }
        if !matches!(verdict, Verdict::Noted) {
            progress.said = Some(verdict);
        }
    }
}
