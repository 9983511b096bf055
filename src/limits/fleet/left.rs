//! How the limits of a client stand that are counted for all gateways, and a fresh start for it.
//!
//! The service is asked by questions that take nothing (a descriptor's `hits_addend` of 0) and by such that give all back
//! (`is_negative_hits`), once it has shown that it knows these fields (`abilities.rs`).

use std::rc::Rc;
use std::time::Duration;

use rustc_hash::FxHashSet;

use super::protocol::{DescriptorStatus, RateLimitDescriptor};
use super::{Counted, Fleet, Question, Topic, Verdict};
use crate::config::policy::{Manner, PlanId, RouteId};
use crate::host::{CellName, Host, Timestamp, seconds_up};
use crate::limits::Limits;
use crate::limits::left::{LimitLeft, LimitReset, MOST_TOLD, Whose};
use crate::limits::place::Asking;
use crate::limits::subject::Asked;
use crate::state::{Hashed, StateError};

/// So many are reset at most.
const MOST_RESET: usize = 1_024;

/// So many descriptors a question has: what services take.
const MOST_DESCRIPTORS: usize = 64;

/// Which limits of a client are meant.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// All, to tell how they stand.
    Left,
    /// Those of a fresh start: of these names, or all that are counted for it alone.
    Reset(&'a [String]),
}

/// Why nothing is known of a limit, or it was not reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The service cannot do that.
    Unsupported,
    /// There was no answer.
    Unavailable,
}

/// Limits of a client that are counted for all gateways.
#[derive(Debug, Default)]
pub struct OfClient {
    all: Vec<One>,
    more: bool,
}

/// One of them.
#[derive(Debug)]
struct One {
    counted: Rc<Counted>,
    key: Hashed,
    /// Where this process counts its part of it.
    part: Option<(CellName, u64)>,
    descriptor: RateLimitDescriptor,
    told: LimitLeft,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unknown(Why),
    /// It was looked at.
    Seen,
    Reset,
}

/// What of them is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Look,
    GiveBack,
}

/// Limits, with the plan and the route that they bind.
type Listed<'f> = (&'f [Rc<Counted>], Option<PlanId>, Option<RouteId>);

// === impl Why ===

impl Why {
    /// As it is told.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
        }
    }
}

// === impl Fleet ===

impl Fleet {
    /// Ends what the workers of this process have fetched ahead of these limits and not yet used.
    ///
    /// # Errors
    /// When they cannot be told.
    pub fn end_leases<H: Host>(&self, host: &H, of: &OfClient) -> Result<(), StateError> {
        let keys: Vec<_> = of.all.iter().map(|it| it.key).collect();
        if self.policy.manner != Manner::Leased || keys.is_empty() {
            return Ok(());
        }
        self.leases.borrow().end(host, &keys)
    }

    /// How the limits of a client stand is asked so. The answers go to [`OfClient::looked`], in this order.
    #[must_use]
    pub fn look(&self, limits: &Limits, of: &OfClient) -> Vec<Question> {
        let question = |all: &[One]| {
            let descriptors = || all.iter().map(|it| it.asking(Asks::Look)).collect();
            let question = self.question(Topic::Abilities, descriptors());
            let topic = limits.places.hash_of_bytes(&question.message);
            Question {
                topic: Topic::Look(topic),
                ..question
            }
        };
        of.all.chunks(MOST_DESCRIPTORS).map(question).collect()
    }

    /// A fresh start is asked for so, of all that were seen. The answers go to [`OfClient::begun`], in this order.
    #[must_use]
    pub fn give_back(&self, of: &OfClient) -> Vec<Question> {
        let question = |all: &[One]| {
            let descriptors = all.iter().map(|it| it.asking(Asks::GiveBack)).collect();
            self.question(Topic::Reset(self.number()), descriptors)
        };
        of.all.chunks(MOST_DESCRIPTORS).map(question).collect()
    }
}

const NOT_ASKED: State = State::Unknown(Why::Unavailable);

// === impl OfClient ===

impl OfClient {
    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// True if one of them is called so.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.all.iter().any(|it| it.told.counted.name == name)
    }

    /// True if there are more of them, which are not told.
    #[must_use]
    pub fn more(&self) -> bool {
        self.more
    }

    /// Where this process counts its part of them while nobody counts for all.
    pub(in crate::limits) fn parts(&self) -> impl Iterator<Item = (CellName, u64)> {
        self.all.iter().filter_map(|it| it.part)
    }

    /// Nothing of them can be known or done.
    pub fn give_up(&mut self, why: Why) {
        for one in &mut self.all {
            one.state = State::Unknown(why);
        }
    }

    /// The answers to [`Fleet::look`] have come.
    pub fn looked(&mut self, fleet: &Fleet, verdicts: &[Verdict], now: Timestamp) {
        let leased = fleet.policy.manner == Manner::Leased;
        self.heard(verdicts, |one, status| {
            let lasts = one.counted.lasts(status).unwrap_or_default();
            one.told.stand(status.limit_remaining.into(), lasts);
            let left = || fleet.leases.borrow().left(one.key, now);
            one.told.leased = (leased && one.counted.share > 0).then(left);
            one.state = State::Seen;
        });
    }

    /// The answers to [`Fleet::give_back`] have come.
    pub fn begun(&mut self, verdicts: &[Verdict]) {
        self.heard(verdicts, |one, _| one.state = State::Reset);
    }

    fn heard(&mut self, verdicts: &[Verdict], said: impl Fn(&mut One, &DescriptorStatus)) {
        for (all, verdict) in self.all.chunks_mut(MOST_DESCRIPTORS).zip(verdicts) {
            let why = match verdict {
                Verdict::Said(answer) if answer.statuses.len() == all.len() => {
                    let statuses = answer.statuses.iter();
                    (all.iter_mut().zip(statuses)).for_each(|(one, status)| said(one, status));
                    continue;
                }
                Verdict::Said(_) | Verdict::Noted | Verdict::Unable => Why::Unsupported,
                Verdict::Failed => Why::Unavailable,
            };
            for one in all {
                one.state = State::Unknown(why);
            }
        }
    }

    /// True if the service has said of one of them how it stands.
    #[must_use]
    pub fn is_any_seen(&self) -> bool {
        self.all.iter().any(|it| it.state == State::Seen)
    }

    /// Those of which nothing is known, or which were not reset: each name once for each reason.
    #[must_use]
    pub fn unknown(&self) -> Vec<(String, Why)> {
        let mut unknown = Vec::new();
        for one in &self.all {
            if let State::Unknown(why) = one.state {
                let this = (one.told.counted.name.clone(), why);
                if !unknown.contains(&this) {
                    unknown.push(this);
                }
            }
        }
        unknown
    }

    /// Those of which it is known how they stand.
    pub fn into_left(self) -> impl Iterator<Item = LimitLeft> {
        let seen = self.all.into_iter().filter(|it| it.state == State::Seen);
        seen.map(|it| it.told)
    }

    /// Those that were reset.
    pub fn into_reset(self) -> impl Iterator<Item = LimitReset> {
        let reset = self.all.into_iter().filter(|it| it.state == State::Reset);
        reset.map(|it| LimitReset {
            was_used: it.told.used > 0,
            counted: it.told.counted,
            scope: it.told.scope,
        })
    }
}

// === impl One ===

impl One {
    fn asking(&self, asks: Asks) -> RateLimitDescriptor {
        let (hits, is_negative_hits) = match asks {
            Asks::Look => (0, false),
            Asks::GiveBack => (u64::MAX, true),
        };
        RateLimitDescriptor {
            hits_addend: Some(hits),
            is_negative_hits,
            ..self.descriptor.clone()
        }
    }
}

// === impl LimitLeft ===

impl LimitLeft {
    /// So much is left of a limit, in a window that lasts so long.
    fn stand(&mut self, remaining: u64, lasts: Duration) {
        self.remaining = remaining;
        self.used = self.burst.saturating_sub(remaining);
        let seconds = if self.used > 0 { seconds_up(lasts) } else { 0 };
        (self.one_more_seconds, self.reset_seconds) = (seconds, seconds);
    }
}

// === impl Limits ===

impl Limits {
    /// The limits of a client that are counted for all gateways, of which nothing is known yet.
    #[must_use]
    pub fn of_client_in_fleet(&self, whose: &Whose<'_>, wanted: Wanted<'_>) -> OfClient {
        let mut found = OfClient::default();
        let Some(fleet) = &self.fleet else {
            return found;
        };
        let (plans, most) = match wanted {
            Wanted::Left => (whose.asked.plan.into_iter().collect(), MOST_TOLD),
            Wanted::Reset(_) => (self.plans_of(whose), MOST_RESET),
        };
        let own = self.own_in_fleet(fleet, &whose.asked);
        let plan = whose.asked.plan;
        let mut listed: Vec<Listed<'_>> = Vec::new();
        if whose.asked.own.is_some() {
            listed.push((&own, plan, None));
        } else {
            let of_plans = plans.iter().filter_map(|id| {
                let limits = fleet.plans.get(id.0)?;
                Some((limits.as_slice(), Some(*id), None))
            });
            listed.extend(of_plans);
        }
        listed.push((&fleet.everywhere, plan, None));
        let routes = fleet.routes.iter().enumerate();
        let routes = routes.map(|(id, limits)| (limits.as_slice(), plan, Some(RouteId(id))));
        listed.extend(routes.filter(|(_, _, id)| id.is_some_and(whose.uses)));

        let mut seen = FxHashSet::default();
        for (limits, plan, route) in listed {
            for counted in limits {
                if let Wanted::Reset(names) = wanted
                    && !counted.whole.is_reset_by(names)
                {
                    continue;
                }
                let has = |subject: &_| counted.subjects.contains(subject);
                for (route, agent) in self.pairs(whose, route, None, &has) {
                    let asked = Asked {
                        route,
                        agent,
                        plan,
                        ..whose.asked
                    };
                    let scope = counted.scope.as_deref();
                    if scope.is_some_and(|it| !self.concerns(it, &asked, whose.uses)) {
                        continue;
                    }
                    let Some(key) = counted.key(&self.places, &asked) else {
                        continue;
                    };
                    if !seen.insert(key) {
                        continue;
                    }
                    if found.all.len() >= most {
                        found.more = true;
                        return found;
                    }
                    found.all.push(self.one(counted, key, &asked));
                }
            }
        }
        found
    }

    fn one(&self, counted: &Rc<Counted>, key: Hashed, asked: &Asked<'_>) -> One {
        let rule = &counted.whole;
        let told = LimitLeft {
            counted: self.named(&rule.name, &rule.per, asked.route, asked.agent),
            condition: counted.scope.as_deref().and_then(|it| self.condition(it)),
            scope: Some("fleet"),
            algorithm: rule.algorithm.name(),
            requests: rule.rate.quantity,
            window_seconds: rule.rate.period.as_secs(),
            burst: rule.rate.burst,
            used: 0,
            leased: None,
            remaining: rule.rate.burst,
            one_more_seconds: 0,
            reset_seconds: 0,
            enforced: true,
        };
        One {
            counted: Rc::clone(counted),
            key,
            part: self.places.of(&counted.part, &Asking::new(*asked)),
            descriptor: counted.descriptor(&self.places, asked),
            told,
            state: NOT_ASKED,
        }
    }
}
