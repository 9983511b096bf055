//! One count for many gateways: what a service of Envoy's rate limit protocol is asked, what its answers mean, and what holds
//! while it gives none.
//!
//! | file | what it says |
//! |---|---|
//! | this one | which limits a request meets, and what is to be done about them next |
//! | `protocol.rs` | the messages |
//! | `entries.rs` | what descriptors are made of |
//! | `lease.rs` | the shares that are fetched ahead of need |
//! | `circuit.rs` | when a service that fails is asked again |

mod circuit;
mod entries;
mod lease;
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
    self, Limit, Manner, OnFailure, PlanId, Policy, Rate, RouteId, Scope, Span, Subject,
};
use crate::host::{Callout, CalloutAnswer, CalloutRequest, Timestamp, seconds_up};
use crate::state::Hashed;

pub use circuit::Change;
use circuit::Circuit;
pub(super) use entries::key as key_of;
pub use entries::{Described, described, unit};
use entries::{OF_OWN, OF_PLAN};
use lease::{Held, Lease, Leases};
use protocol::{
    Code, DescriptorStatus, Entry, METHOD, RateLimitDescriptor, RateLimitOverride,
    RateLimitRequest, RateLimitResponse, SERVICE, Unit,
};

/// A share is this part of a limit, divided by the number of gateways; of limits that are too small for that there are none.
const PARTS: u32 = 100;
const LEAST_SHARE: u32 = 2;

/// So often a request asks for a share, as long as others are faster.
const MOST_ROUNDS: u8 = 16;

/// gRPC's statuses for a question that cannot be answered, by a service that answers others: one that is not as it should be,
/// has no room for a further counter, or is too large.
const NOT_THIS_ONE: [u8; 3] = [3, 8, 11];

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
    /// So many questions were asked.
    questions: Cell<u64>,
}

/// One such limit.
#[derive(Debug)]
struct Counted {
    /// The limit, as callers are told of it.
    whole: Rc<Rule>,
    /// What a process has of it while the service does not answer.
    part: Rc<Rule>,
    /// What stands in each of its descriptors.
    entries: Vec<(String, String)>,
    subjects: Box<[Subject]>,
    scope: Option<Box<Scope>>,
    quantity: u32,
    unit: Unit,
    window: Duration,
    /// 0: there is none.
    share: u32,
    salt: u64,
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
    pub(super) fn new(policy: &Policy, places: &Places) -> Option<Self> {
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
            leases: RefCell::default(),
            circuit: RefCell::default(),
            no_windows: Cell::default(),
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
        // The service is there, and does not take this one: else whoever finds such a question could have it let alone.
        if matches!(came, CalloutAnswer::Status { status, .. } if NOT_THIS_ONE.contains(status)) {
            return (Verdict::Failed, self.circuit.borrow_mut().answered());
        }
        let said = match came {
            CalloutAnswer::Message(bytes) => RateLimitResponse::decode(bytes.as_slice()).ok(),
            _ => None,
        };
        let known = |it: &RateLimitResponse| it.overall_code() != Code::Unknown;
        let Some(said) = said.filter(known) else {
            return (Verdict::Failed, self.failed(sent, now, chance));
        };
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

    /// There is no answer.
    pub fn failed(&self, sent: Timestamp, now: Timestamp, chance: u64) -> Change {
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
            let Hashed { cell, tag } = places.hash_of(&counted.subjects, asked)?;
            let tag = tag ^ counted.salt;
            Some((counted, Hashed { cell, tag }))
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
            Topic::Request(_) => 1,
            Topic::Share { amount, .. } => amount,
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

    fn may_ask(&self, now: Timestamp) -> bool {
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

    /// What is to be done next about a request.
    fn step(
        &self,
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
            for (counted, key) in &leased {
                let held = self.leases.borrow().get(*key, now);
                match held {
                    Held::Some(_) => {}
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

// === impl Counted ===

impl Counted {
    fn new(
        fleet: &policy::Fleet,
        places: &Places,
        limit: &Limit,
        of: &[&str],
        entry: Option<(&str, &str)>,
    ) -> Self {
        let rate = limit.rate;
        let part = Limit {
            rate: Rate {
                quantity: (rate.quantity / u64::from(fleet.gateways)).max(1),
                ..rate
            },
            ..limit.clone()
        };
        let quantity = u32::try_from(rate.quantity).unwrap_or(u32::MAX);
        let share = quantity / PARTS.saturating_mul(fleet.gateways);
        let entries = entries::fixed(limit, entry).into_iter();
        let entries = entries.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self {
            salt: places.salt(limit, of),
            whole: Rc::new(Rule::new(places, limit, None, of, false)),
            part: Rc::new(Rule::new(places, &part, None, of, false)),
            entries: entries.collect(),
            subjects: limit.each.subjects().into(),
            scope: (limit.scope != Scope::default()).then(|| Box::new(limit.scope.clone())),
            quantity,
            unit: unit(rate),
            window: match rate.period {
                // The shortest of all months.
                Rate::MONTH => Duration::from_secs(28 * 86_400),
                period => period,
            },
            share: if share < LEAST_SHARE { 0 } else { share },
        }
    }

    /// How long the window of its descriptor still lasts: no longer than windows are.
    fn lasts(&self, status: &DescriptorStatus) -> Option<Duration> {
        let longest = match self.unit {
            Unit::Month => Duration::from_secs(31 * 86_400),
            _ => self.window,
        };
        lasts(status).map(|it| it.min(longest))
    }

    fn told(&self, remaining: u64, reset: Duration) -> Told {
        Told {
            whole: Rc::clone(&self.whole),
            level: Level {
                remaining,
                next: reset,
                full: reset,
            },
        }
    }

    /// What the service is told: the limit's name, its plan if it is one's, and each that it is counted per.
    fn descriptor(&self, places: &Places, asked: &Asked<'_>) -> RateLimitDescriptor {
        let entry = |(key, value)| Entry { key, value };
        let mut entries: Vec<_> = self.entries.iter().cloned().map(entry).collect();
        for subject in &self.subjects {
            entries.push(entry(places.in_words(subject, asked)));
        }
        RateLimitDescriptor {
            entries,
            limit: Some(RateLimitOverride {
                requests_per_unit: self.quantity,
                unit: self.unit.into(),
            }),
        }
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
    pub fn step_in_fleet(&self, asked: Asked<'_>, progress: &mut Progress, now: Timestamp) -> Step {
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
        fleet.step(&met, &self.places, &asked, progress, now)
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
