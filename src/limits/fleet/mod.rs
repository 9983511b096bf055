//! One count for many gateways: what a service of Envoy's rate limit protocol is asked, what its answers mean, and what holds
//! while it gives none.
//!
//! | file | what it says |
//! |---|---|
//! | this one | which limits a request meets, and what is to be done about them next |
//! | `protocol.rs` | the messages |
//! | `entries.rs` | what descriptors are made of |
//! | `counted.rs` | one such limit |
//! | `left.rs` | how those of a client stand, and a fresh start for it |
//! | `lease.rs` | the shares that are fetched ahead of need |
//! | `circuit.rs` | when a service that fails is asked again |

mod circuit;
mod counted;
mod entries;
mod lease;
mod left;
pub mod protocol;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use prost::Message;

use super::admission::Full;
use super::algorithm::Level;
use super::place::Places;
use super::subject::Asked;
use super::{Limits, OWN, Rule};
use crate::config::policy::{
    self, Limit, Manner, OnFailure, PlanId, Policy, RouteId, Span, Subject,
};
use crate::host::{Callout, CalloutAnswer, CalloutRequest, Host, Timestamp, seconds_up};
use crate::state::{Grid, Hashed};

pub use circuit::Change;
use circuit::Circuit;
use counted::Counted;
pub(super) use entries::key as key_of;
pub use entries::{Described, described, unit};
use entries::{OF_OWN, OF_PLAN};
use lease::{Held, Lease, Leases};
pub use left::{Abilities, OfClient, Wanted, Why};
use protocol::{
    Code, DescriptorStatus, METHOD, RateLimitDescriptor, RateLimitRequest, RateLimitResponse,
    SERVICE,
};

/// A share is this part of a limit, divided by the number of gateways; of limits that are too small for that there are none.
const PARTS: u32 = 100;
const LEAST_SHARE: u32 = 2;

/// So often a request asks for a share, as long as others are faster.
const MOST_ROUNDS: u8 = 16;

/// gRPC's statuses for a question that cannot be answered, by a service that answers others: one that is not as it should be,
/// has no room for a further counter, or is too large.
const NOT_THIS_ONE: [u8; 3] = [3, 8, 11];
/// Those for a service that cannot be reached, or does not answer in time.
const AWAY: [u8; 2] = [14, 4];

/// So long a limit that was full without a share is taken for full; then one question tells whether somebody has given it
/// a fresh start.
const LOOKED: Duration = Duration::from_secs(1);

/// All limits of a configuration that are counted for all gateways.
#[derive(Debug)]
pub struct Fleet {
    policy: policy::Fleet,
    plans: Vec<Vec<Rc<Counted>>>,
    routes: Vec<Vec<Rc<Counted>>>,
    everywhere: Vec<Rc<Counted>>,
    leases: RefCell<Leases>,
    circuit: RefCell<Circuit>,
    /// The service does not say how long its windows last: there are no shares.
    no_windows: Cell<bool>,
    /// What the service can do beside counting, and when it has shown that.
    abilities: Cell<Option<(Abilities, Timestamp)>>,
    /// So many questions were asked.
    questions: Cell<u64>,
}

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Whether this one request passes.
    Request(u64),
    /// A share of a limit.
    Share {
        /// Which limit, and whose.
        key: Hashed,
        /// So much was asked for.
        amount: u32,
        /// How long its windows are.
        window: Duration,
    },
    /// What the service can do.
    Abilities,
    /// How limits stand. Who asks the same shares the answer.
    Look(Hashed),
    /// A fresh start.
    Reset(u64),
}

/// A question for the service.
#[derive(Debug)]
pub struct Question {
    /// What it is about.
    pub topic: Topic,
    message: Vec<u8>,
}

/// What the service has said.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Nothing, or nothing that can be understood.
    Failed,
    /// About a share: it is written down.
    Noted,
    /// It does not take the question.
    Unable,
    /// About a request.
    Said(Rc<RateLimitResponse>),
}

/// How far a request has come with these limits.
#[derive(Debug, Default)]
pub struct Progress {
    /// What was taken of shares.
    taken: Vec<(Hashed, Lease)>,
    said: Option<Verdict>,
    rounds: u8,
}

/// How such a limit stands.
#[derive(Debug)]
pub struct Told {
    whole: Rc<Rule>,
    level: Level,
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

// === impl Fleet ===

impl Fleet {
    /// `None`: no limit is counted for all gateways.
    pub(super) fn new(policy: &Policy, places: &Places, fresh_starts: Grid) -> Option<Self> {
        let fleet = policy.fleet.clone()?;
        let counted = |limits: &[Limit], of: &[&str], entry: Option<(&str, &str)>| {
            let of_fleet = limits.iter().filter(|limit| limit.span == Span::Fleet);
            let counted =
                of_fleet.map(|limit| Rc::new(Counted::new(&fleet, places, limit, of, entry)));
            counted.collect::<Vec<_>>()
        };
        let plans = policy.plans.iter();
        let routes = policy.routes.iter();
        Some(Self {
            plans: plans
                .map(|it| counted(&it.limits, &["plan", &it.name], Some((OF_PLAN, &it.name))))
                .collect(),
            routes: routes
                .map(|it| counted(&it.limits, &["route", &it.name], None))
                .collect(),
            everywhere: counted(&policy.limits, &[], None),
            policy: fleet,
            leases: RefCell::new(Leases::new(fresh_starts)),
            circuit: RefCell::default(),
            no_windows: Cell::default(),
            abilities: Cell::default(),
            questions: Cell::default(),
        })
    }

    /// How many questions may be under way, and how long each may take.
    #[must_use]
    pub fn bounds(&self) -> (usize, Duration) {
        (self.policy.max_pending, self.policy.timeout)
    }

    /// The callout that asks it.
    #[must_use]
    pub fn callout<'q>(&'q self, question: &'q Question) -> Callout<'q> {
        Callout {
            cluster: &self.policy.cluster,
            request: CalloutRequest::Grpc {
                authority: &self.policy.host,
                service: SERVICE,
                method: METHOD,
                metadata: &[],
                message: &question.message,
            },
            timeout: self.policy.timeout,
        }
    }

    /// What an answer means; it was sent at `sent`. `chance` is a random number.
    pub fn hear(
        &self,
        topic: Topic,
        came: &CalloutAnswer,
        (sent, now): (Timestamp, Timestamp),
        chance: u64,
    ) -> (Verdict, Change) {
        let beyond = matches!(topic, Topic::Abilities | Topic::Look(_) | Topic::Reset(_));
        let status = match came {
            CalloutAnswer::Status { status, .. } => Some(*status),
            _ => None,
        };
        // The service is there, and does not take this one: else whoever finds such a question could have it let alone.
        if status.is_some_and(|it| NOT_THIS_ONE.contains(&it) || beyond && !AWAY.contains(&it)) {
            let verdict = self.not_taken(topic, now);
            return (verdict, self.circuit.borrow_mut().answered());
        }
        let said = match came {
            CalloutAnswer::Message(bytes) => RateLimitResponse::decode(bytes.as_slice()).ok(),
            _ => None,
        };
        let known = |it: &RateLimitResponse| it.overall_code() != Code::Unknown;
        let Some(said) = said.filter(known) else {
            if beyond && matches!(came, CalloutAnswer::Message(_)) {
                let verdict = self.not_taken(topic, now);
                return (verdict, self.circuit.borrow_mut().answered());
            }
            return (Verdict::Failed, self.failed(sent, now, chance));
        };
        if topic == Topic::Abilities {
            self.abilities.set(Some((Abilities::shown_by(&said), now)));
        }
        if let Topic::Share {
            key,
            amount,
            window,
        } = topic
        {
            self.note(&said, (key, amount, window), (sent, now));
            return (Verdict::Noted, self.circuit.borrow_mut().answered());
        }
        let change = self.circuit.borrow_mut().answered();
        (Verdict::Said(Rc::new(said)), change)
    }

    fn not_taken(&self, topic: Topic, now: Timestamp) -> Verdict {
        match topic {
            Topic::Request(_) | Topic::Share { .. } => Verdict::Failed,
            Topic::Look(_) | Topic::Reset(_) => Verdict::Unable,
            Topic::Abilities => {
                self.abilities.set(Some((Abilities::default(), now)));
                Verdict::Unable
            }
        }
    }

    /// There is no answer.
    pub fn failed(&self, sent: Timestamp, now: Timestamp, chance: u64) -> Change {
        // Who answers next may be another one.
        self.abilities.set(None);
        self.circuit.borrow_mut().failed(sent, now, chance)
    }

    fn note(
        &self,
        said: &RateLimitResponse,
        (key, amount, window): (Hashed, u32, Duration),
        (sent, now): (Timestamp, Timestamp),
    ) {
        let [status] = said.statuses.as_slice() else {
            self.no_windows.set(true);
            return;
        };
        let Some(lasts) = lasts(status) else {
            self.no_windows.set(true);
            return;
        };
        // Some services tell whole seconds, rounded up.
        let rounded = if lasts.subsec_nanos() == 0 {
            Duration::from_secs(1)
        } else {
            Duration::ZERO
        };
        let lasts = lasts.saturating_sub(rounded);
        // Whatever is said, it is asked again.
        let lasts = lasts.min(window);
        let granted = said.overall_code() == Code::Ok;
        let lease = Lease {
            left: if granted { amount } else { 0 },
            beside: status.limit_remaining,
            since: sent,
            until: sent.after(lasts),
            era: 0,
        };
        // So much later its window may end.
        let took = now.since(sent).saturating_add(rounded);
        self.leases.borrow_mut().grant(key, lease, took, window);
    }

    /// All that may count a request but its client's own.
    fn of(
        &self,
        plan: Option<PlanId>,
        route: Option<RouteId>,
    ) -> impl Iterator<Item = &Rc<Counted>> {
        let plan = plan.and_then(|id| self.plans.get(id.0));
        let route = route.and_then(|id| self.routes.get(id.0));
        let listed = plan.into_iter().chain(route);
        listed.flatten().chain(&self.everywhere)
    }

    /// True if the address must be known of a request: of an anonymous one, or of all.
    pub(super) fn need_address(
        &self,
        plan: Option<PlanId>,
        route: RouteId,
        anonymous: bool,
    ) -> bool {
        self.of(plan, Some(route)).any(|counted| {
            let has = |subject| counted.subjects.contains(&subject);
            has(Subject::Address) || anonymous && has(Subject::Client)
        })
    }

    /// All limits that a request meets, each with whose count of it it is.
    fn met<'f>(
        &'f self,
        own: &'f [Rc<Counted>],
        places: &Places,
        asked: &Asked<'_>,
    ) -> Vec<(&'f Rc<Counted>, Hashed)> {
        let plan = asked.plan.filter(|_| asked.own.is_none());
        let all = own.iter().chain(self.of(plan, asked.route));
        let met = all.filter_map(|counted| {
            let scope = counted.scope.as_ref();
            if scope.is_some_and(|scope| !places.applies(scope, asked)) {
                return None;
            }
            Some((counted, counted.key(places, asked)?))
        });
        met.collect()
    }

    fn number(&self) -> u64 {
        let next = self.questions.get().wrapping_add(1);
        self.questions.set(next);
        next
    }

    fn is_leased(&self, counted: &Counted, key: Hashed, now: Timestamp) -> bool {
        self.policy.manner == Manner::Leased
            && counted.share > 0
            && !self.no_windows.get()
            && self.leases.borrow_mut().has_room(key, now)
    }

    fn question(&self, topic: Topic, descriptors: Vec<RateLimitDescriptor>) -> Question {
        let hits_addend = match topic {
            Topic::Share { amount, .. } => amount,
            _ => 1,
        };
        let request = RateLimitRequest {
            domain: self.policy.domain.clone(),
            descriptors,
            hits_addend,
        };
        Question {
            topic,
            message: request.encode_to_vec(),
        }
    }

    /// Asks for a share: no more than is left, as far as that is known.
    fn share(
        &self,
        (counted, key): (&Counted, Hashed),
        beside: Option<u32>,
        descriptor: RateLimitDescriptor,
    ) -> Question {
        let amount = counted.share.min(beside.unwrap_or(u32::MAX)).max(1);
        let topic = Topic::Share {
            key,
            amount,
            window: counted.window,
        };
        self.question(topic, vec![descriptor])
    }

    /// False: it has failed, and is let alone for now.
    pub fn may_ask(&self, now: Timestamp) -> bool {
        let patience = self.policy.timeout;
        self.circuit.borrow_mut().may_ask(now, patience)
    }

    /// Puts back what a request has taken of shares: it is refused.
    pub fn put_back(&self, progress: &mut Progress) {
        let mut leases = self.leases.borrow_mut();
        for (key, lease) in progress.taken.drain(..) {
            leases.put_back(key, &lease);
        }
    }

    /// What is due once a second. What cannot be done now is on a later tick.
    pub fn tick<H: Host>(&self, host: &H) {
        if self.policy.manner == Manner::Leased {
            let _ = self.leases.borrow_mut().tick(host);
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

/// How long the window of a descriptor still lasts, by the service's word.
fn lasts(status: &DescriptorStatus) -> Option<Duration> {
    Duration::try_from(status.duration_until_reset?).ok()
}

// === impl Progress ===

impl Progress {
    /// The request has passed: what it took of shares is taken.
    pub fn passed(&mut self) {
        self.taken.clear();
    }
}

// === impl Told ===

impl Told {
    pub(super) fn rule(&self) -> &Rule {
        &self.whole
    }

    pub(super) fn level(&self) -> Level {
        self.level
    }

    /// Its names, if nothing is left of it.
    #[must_use]
    pub fn full(&self) -> Option<Full<'_>> {
        (self.level.remaining == 0).then(|| Full::of_rule(&self.whole))
    }

    /// Its name, if so much is used that the caller is warned.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        let warns = self.whole.warns_at(self.level.remaining);
        warns.then_some(self.whole.name.as_str())
    }
}

// === impl Limits ===

impl Limits {
    /// What counts for all gateways, if a limit says so.
    #[must_use]
    pub fn fleet(&self) -> Option<&Fleet> {
        self.fleet.as_ref()
    }

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

    /// A client's own limits that are counted for all gateways.
    fn own_in_fleet(&self, fleet: &Fleet, asked: &Asked<'_>) -> Vec<Rc<Counted>> {
        let own = asked.own.map_or(&[][..], |own| &own.limits);
        let own = own.iter().filter(|limit| limit.span == Span::Fleet);
        let counted = own.map(|limit| {
            let counted = Counted::new(&fleet.policy, &self.places, limit, OWN, Some(OF_OWN));
            Rc::new(counted)
        });
        counted.collect()
    }

    /// What this process has of these limits, as claims.
    pub(super) fn parts_in_fleet(&self, asked: &Asked<'_>) -> Vec<Rc<Rule>> {
        let Some(fleet) = &self.fleet else {
            return Vec::new();
        };
        let own = self.own_in_fleet(fleet, asked);
        let met = fleet.met(&own, &self.places, asked);
        met.iter()
            .map(|(counted, _)| Rc::clone(&counted.part))
            .collect()
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
