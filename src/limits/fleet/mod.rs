//! One count for many gateways: what a service of Envoy's rate limit protocol is asked, what its answers mean, and what holds
//! while it gives none.
//!
//! | file | what it says |
//! |---|---|
//! | this one | which limits there are, and which of them a request meets |
//! | `step.rs` | what is to be done next about a request |
//! | `asking.rs` | what the service is asked, and what its answers mean |
//! | `protocol.rs` | the messages |
//! | `entries.rs` | what descriptors are made of |
//! | `counted.rs` | one such limit |
//! | `abilities.rs` | what a service can do beside counting |
//! | `left.rs` | how those of a client stand, and a fresh start for it |
//! | `lease.rs` | the shares that are fetched ahead of need |
//! | `circuit.rs` | when a service that fails is asked again |

mod abilities;
mod asking;
mod circuit;
mod counted;
mod entries;
mod lease;
mod left;
pub mod protocol;
mod step;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::admission::Full;
use super::algorithm::Level;
use super::place::Places;
use super::subject::Asked;
use super::{Limits, OWN, Rule};
use crate::config::policy::{self, Limit, Manner, PlanId, Policy, RouteId, Span, Subject};
use crate::host::{Host, Timestamp};
use crate::state::{Grid, Hashed};

pub use abilities::Abilities;
pub use asking::{Question, Topic, Verdict};
pub use circuit::Change;
use circuit::Circuit;
use counted::Counted;
pub(super) use entries::key as key_of;
pub use entries::{Described, described, unit};
use entries::{OF_OWN, OF_PLAN};
use lease::Leases;
pub use left::{OfClient, Wanted, Why};
use protocol::DescriptorStatus;
pub use step::{Progress, Step};

/// A share is this part of a limit, divided by the number of gateways; of limits that are too small for that there are none.
const PARTS: u32 = 100;
const LEAST_SHARE: u32 = 2;

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

/// How such a limit stands.
#[derive(Debug)]
pub struct Told {
    whole: Rc<Rule>,
    level: Level,
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

    /// What is due once a second. What cannot be done now is on a later tick.
    pub fn tick<H: Host>(&self, host: &H) {
        if self.policy.manner == Manner::Leased {
            let _ = self.leases.borrow_mut().tick(host);
        }
    }
}

/// How long the window of a descriptor still lasts, by the service's word.
fn lasts(status: &DescriptorStatus) -> Option<Duration> {
    Duration::try_from(status.duration_until_reset?).ok()
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
}
