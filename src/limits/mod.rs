//! How much: which limits a request counts against, the decision on all of them, and what the caller is told.
//!
//! The limits of one client lie in one cell, so that one read and one compare-and-swap decide on all of them at
//! once. Limits of other subjects (a route, everyone) lie in cells of their own, and so do a client's on a route that is one
//! of many: these are all looked at first, then taken in a fixed order, and what was taken is given back if a later one has
//! filled up meanwhile. So a request never passes a full limit, and one that is refused takes nothing.
//!
//! | file | what it says |
//! |---|---|
//! | this one | which limits a request counts against; what `release` and `settle` promise |
//! | `rule.rs` | one limit, made ready |
//! | `place.rs` | in which cell each limit is counted, and for whom it is in force |
//! | `together.rs` | which counters of a client lie in one cell |
//! | `algorithm.rs` | the algorithms by which limits count |
//! | `gcra.rs` | when a bucket holds enough, and what a limit that was changed makes of it |
//! | `window.rs` | when windows begin and end, and when one has room |
//! | `count.rs` | the decision on several limits, over several cells |
//! | `weigh.rs` | the decision in one cell, and who makes room in a full one |
//! | `admission.rs`, `standing.rs` | what the decision came to, and the time until the next request fits |
//! | `receipt.rs` | what is given back of what was taken, and what is taken beyond it |
//! | `headers.rs` | the fields by which the caller is told, as far as the configuration wants them |
//! | `subject.rs` | whom a limit is counted for, and which addresses are one |
//! | `left` | how all limits of a client stand, and what a fresh start is |
//! | `in_flight` | how many requests may be under way at once, and who has the next place |
//! | `upkeep.rs` | what is given back later, and what is said of forgotten counters |

mod admission;
mod algorithm;
mod count;
pub mod fleet;
pub mod gcra;
mod headers;
mod in_flight;
mod left;
mod place;
mod receipt;
mod rule;
mod standing;
mod subject;
mod together;
mod upkeep;
mod weigh;
pub mod window;

use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::config::policy::{AgentId, Limit, LimitSet, PlanId, Policy, RouteId, Span, Subject};
use crate::host::Host;
use crate::sort::sort_by;
use crate::state::{State, StateError};

pub use admission::{Admission, Full};
pub use algorithm::{Level, Refused};
use count::{count, look};
use fleet::Fleet;
use in_flight::Bounds;
pub use in_flight::{Came, Met, Tickets};
pub use left::{Left, Reset, Whose};
use place::{Asking, Place, Places};
use receipt::Corrections;
use rule::Rule;
pub use subject::{Asked, Caller, host_of, ip_of, network_of};
pub use together::{CountersOfOne, routes_together};
use upkeep::Upkeep;
use weigh::Claim;

/// Whose limits a client's own are. No plan and no route is called so.
const OWN: &[&str] = &["client", "own"];

/// All limits of a configuration, ready to decide by.
#[derive(Debug)]
pub struct Limits {
    places: Places,
    gate: Vec<Rc<Rule>>,
    plans: Vec<Vec<Rc<Rule>>>,
    /// For each route its own limits, then those that stand on their own and are counted by it.
    routes: Vec<Vec<Rc<Rule>>>,
    /// The others, whatever the route.
    everywhere: Vec<Rc<Rule>>,
    in_flight: Bounds,
    fleet: Option<Fleet>,
    upkeep: Upkeep,
}

/// How much a request takes, of each thing that limits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amounts {
    /// As how many requests it counts.
    pub requests: u64,
}

impl Amounts {
    /// What nearly every request takes.
    pub const ONE_REQUEST: Self = Self { requests: 1 };
    /// Nothing of anything.
    pub const NOTHING: Self = Self { requests: 0 };

    /// How much of what this limit counts.
    fn of(&self, _: &Rule) -> u64 {
        self.requests
    }
}

impl Limits {
    /// The limits of `policy`, counted in the tables of `state`.
    #[must_use]
    pub fn new(policy: &Policy, state: &State) -> Self {
        let places = Places::new(policy, state);
        let rules = |limits: &[Limit], route: Option<&str>, of: &[&str], apart: bool| {
            let rule = |limit| Rc::new(Rule::new(&places, limit, route, of, apart));
            let own = limits.iter().filter(|it| it.span == Span::Process);
            own.map(rule).collect::<Vec<_>>()
        };
        let (gate, admit): (Vec<Limit>, Vec<Limit>) =
            policy.limits.iter().cloned().partition(Limit::is_of_gate);
        let (by_route, everywhere): (Vec<Limit>, Vec<Limit>) = admit
            .into_iter()
            .partition(|limit| limit.each.has(&Subject::Route));
        let mut first_of_name: FxHashMap<&str, &[Limit]> = FxHashMap::default();
        let routes = policy
            .routes
            .iter()
            .map(|route| {
                let name = route.name.as_str();
                let apart = !state.is_together(name);
                // Routes of one name are counted together, so that counts stay when one is divided by its methods. But a
                // limit that is not the first one's is another limit.
                let methods = match first_of_name.get(name) {
                    Some(first) if *first != route.limits => {
                        let mut methods = route.methods.clone().unwrap_or_default();
                        sort_by(&mut methods, Ord::cmp);
                        methods
                    }
                    _ => Vec::new(),
                };
                if !route.limits.is_empty() {
                    first_of_name.entry(name).or_insert(&route.limits);
                }
                let mut scope = vec![name];
                scope.extend(methods.iter().map(String::as_str));
                let mut all = rules(&route.limits, Some(name), &scope, apart);
                all.extend(rules(&by_route, Some(name), &[name], apart));
                all
            })
            .collect();
        Self {
            gate: rules(&gate, None, &[], false),
            plans: policy
                .plans
                .iter()
                .map(|plan| rules(&plan.limits, None, &[&plan.name], false))
                .collect(),
            routes,
            everywhere: rules(&everywhere, None, &[], false),
            in_flight: Bounds::new(policy, state, &places),
            fleet: Fleet::new(policy, &places, state.fresh_starts),
            upkeep: Upkeep::new(state.address_counters),
            places,
        }
    }

    /// True if every request is counted at the gate, whatever becomes of it.
    #[must_use]
    pub fn has_gate(&self) -> bool {
        !self.gate.is_empty()
    }

    /// True if the address must be known of a request on this route under this plan to this agent: of anonymous callers, or of
    /// all.
    #[must_use]
    pub fn need_address(
        &self,
        plan: Option<PlanId>,
        route: RouteId,
        agent: Option<AgentId>,
        anonymous: bool,
    ) -> bool {
        let fleet = self.fleet.as_ref();
        if self.in_flight.need_address(plan, agent, anonymous)
            || fleet.is_some_and(|fleet| fleet.need_address(plan, route, anonymous))
        {
            return true;
        }
        self.of_admit(plan, Some(route))
            .any(|rule| match &rule.place {
                // Whether it is in force may be drawn by the caller.
                Place::Fixed(_) => anonymous && rule.enforce < 100,
                Place::Address => true,
                Place::Caller | Place::CallerOnRoute(_) => anonymous,
                Place::Subjects(subjects) => {
                    subjects.contains(&Subject::Address)
                        || anonymous && subjects.contains(&Subject::Client)
                }
            })
    }

    /// True if [`Self::chores`] may have something to do: a request may have to give back what it took.
    #[must_use]
    pub fn have_chores(&self) -> bool {
        let mut limited = self.plans.iter().chain(&self.routes);
        !self.everywhere.is_empty() || limited.any(|it| !it.is_empty())
    }

    /// What could not be done while a request was decided on. To be called now and then.
    pub fn chores<H: Host>(&self, host: &H) {
        self.upkeep.chores(host);
        if let Some(fleet) = &self.fleet {
            fleet.tick(host);
        }
    }

    /// Counts a request at the gate. That count stays, whatever becomes of the request.
    ///
    /// # Errors
    /// When the shared state cannot be changed. Nothing was taken then.
    pub fn gate<H: Host>(&self, host: &H, asked: Asked<'_>) -> Result<Admission, StateError> {
        let amounts = Amounts::ONE_REQUEST;
        let claims = self.claims(&Asking::new(asked), self.gate.iter(), amounts);
        count(host, &self.upkeep, &claims).map(Admission::kept)
    }

    /// Counts a request against all limits but the gate's: all of them let it take what it asks for, or it takes nothing.
    ///
    /// # Errors
    /// When the shared state cannot be changed. Nothing was taken then, or it is given back as soon as that is possible.
    pub fn admit<H: Host>(
        &self,
        host: &H,
        asked: Asked<'_>,
        amounts: Amounts,
    ) -> Result<Admission, StateError> {
        self.with_claims(asked, amounts, |claims| count(host, &self.upkeep, claims))
    }

    /// Counts a request against this process's parts of limits that are counted for all gateways, since nobody does.
    ///
    /// # Errors
    /// As of [`Self::admit`].
    pub fn admit_alone<H: Host>(
        &self,
        host: &H,
        asked: Asked<'_>,
    ) -> Result<Admission, StateError> {
        let rules = self.parts_in_fleet(&asked);
        let claims = self.claims(&Asking::new(asked), rules.iter(), Amounts::ONE_REQUEST);
        count(host, &self.upkeep, &claims)
    }

    /// How the limits of [`Self::admit`] stand, of a request that is refused for another reason.
    ///
    /// # Errors
    /// When the shared state cannot be read.
    pub fn look<H: Host>(&self, host: &H, asked: Asked<'_>) -> Result<Admission, StateError> {
        self.with_claims(asked, Amounts::ONE_REQUEST, |claims| look(host, claims))
    }

    /// Gives back what a request has taken, as far as it has not drained yet: it did not run. What comes back tells how the
    /// limits stand then, and is no receipt any more. What cannot be given back now is on a later tick, see
    /// [`Self::chores`].
    #[must_use]
    pub fn release<H: Host>(&self, host: &H, admission: Admission) -> Admission {
        self.settle(host, admission, Amounts::NOTHING)
    }

    /// Has a request pay for what it used in place of what it took: what it did not use is given back as by
    /// [`Self::release`], and what it used beyond is taken, even where a bucket goes below empty. That is never forgiven.
    #[must_use]
    pub fn settle<H: Host>(&self, host: &H, admission: Admission, used: Amounts) -> Admission {
        let mut admission = admission;
        for standings in admission
            .standings
            .chunk_by_mut(|one, other| one.cell == other.cell)
        {
            let cell = standings.first().map(|standing| standing.cell);
            let taken = standings.iter().filter(|standing| standing.taken);
            let to_used = |cell| Corrections::to_used(taken, cell, |rule| used.of(rule));
            let Some(corrections) = cell.map(to_used).filter(Corrections::are_needed) else {
                continue;
            };
            let Some(corrected) = self.upkeep.correct(host, corrections) else {
                continue;
            };
            let taken = standings.iter_mut().filter(|standing| standing.taken);
            for (standing, record) in taken.zip(corrected.records) {
                (standing.now, standing.record) = (corrected.now, record);
            }
        }
        admission.kept()
    }

    /// All limits of a request but the gate's and the client's own.
    fn of_admit(
        &self,
        plan: Option<PlanId>,
        route: Option<RouteId>,
    ) -> impl Iterator<Item = &Rc<Rule>> {
        let plan = plan.and_then(|plan| self.plans.get(plan.0));
        let route = route.and_then(|route| self.routes.get(route.0));
        let listed = plan.into_iter().chain(route);
        listed.flatten().chain(&self.everywhere)
    }

    fn with_claims<T>(
        &self,
        asked: Asked<'_>,
        amounts: Amounts,
        decide: impl FnOnce(&[Claim<'_>]) -> T,
    ) -> T {
        let asking = Asking::new(asked);
        let Some(own) = asked.own else {
            let rules = || self.of_admit(asked.plan, asked.route);
            let mut claims = self.claims(&asking, rules(), amounts);
            self.add_further(&mut claims, &asked, rules, amounts);
            return decide(&claims);
        };
        let own = self.own(own);
        let rules = || own.iter().chain(self.of_admit(None, asked.route));
        let mut claims = self.claims(&asking, rules(), amounts);
        self.add_further(&mut claims, &asked, rules, amounts);
        decide(&claims)
    }

    /// Has each further message of a request count as much as the first. What counts in one record is taken from it at once.
    fn add_further<'a, R: Iterator<Item = &'a Rc<Rule>>>(
        &self,
        claims: &mut Vec<Claim<'a>>,
        asked: &Asked<'_>,
        rules: impl Fn() -> R,
        amounts: Amounts,
    ) {
        for nth in 1..=asked.further.len() {
            let asking = Asking::new(asked.with_message(nth));
            add(claims, self.claims(&asking, rules(), amounts));
        }
    }

    /// A client's own limits. They are few, and so are the clients that have them.
    #[inline(never)]
    fn own(&self, own: &LimitSet) -> Vec<Rc<Rule>> {
        let rule = |limit| Rc::new(Rule::new(&self.places, limit, None, OWN, false));
        // Where nobody counts for all gateways, each counts for itself.
        let alone = |limit: &&Limit| limit.span == Span::Process || self.fleet.is_none();
        own.limits.iter().filter(alone).map(rule).collect()
    }

    fn claims<'a>(
        &self,
        asking: &Asking<'_>,
        rules: impl Iterator<Item = &'a Rc<Rule>>,
        amounts: Amounts,
    ) -> Vec<Claim<'a>> {
        rules
            .filter_map(|rule| self.claim(rule, asking, amounts))
            .collect()
    }

    /// The record that a rule decides on. `None`: the rule does not count the request.
    fn claim<'a>(
        &self,
        rule: &'a Rc<Rule>,
        asking: &Asking<'_>,
        amounts: Amounts,
    ) -> Option<Claim<'a>> {
        if let Some(scope) = &rule.scope
            && !self.places.applies(scope, &asking.asked)
        {
            return None;
        }
        let (cell, tag) = self.places.of(rule, asking)?;
        Some(Claim {
            rule,
            cell,
            tag,
            amount: amounts.of(rule),
            enforced: rule.enforce >= 100 || self.places.draws(rule, &asking.asked),
        })
    }
}

/// Adds claims to others: those of one record are one.
#[cold]
fn add<'a>(claims: &mut Vec<Claim<'a>>, further: Vec<Claim<'a>>) {
    for more in further {
        let is_it = |it: &&mut Claim<'_>| (it.cell, it.tag) == (more.cell, more.tag);
        match claims.iter_mut().find(is_it) {
            Some(claim) => claim.amount = claim.amount.saturating_add(more.amount),
            None => claims.push(more),
        }
    }
}

#[cfg(test)]
mod tests;
