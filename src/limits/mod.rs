//! How much: which limits a request counts against, the decision on all of them, and what the caller is told.
//!
//! The limits of one client lie in one cell, so that one read and one compare-and-swap decide on all of them at
//! once. Limits of other subjects (a route, everyone) lie in cells of their own: these are all looked at first, then taken in
//! a fixed order, and what was taken is given back if a later one has filled up meanwhile. So a request never passes
//! a full limit, and one that is refused takes nothing.

mod count;
pub mod gcra;
mod headers;
mod subject;

use std::rc::Rc;

use crate::config::policy::{Each, Limit, PlanId, Policy, RouteId};
use crate::host::{Host, Timestamp};
use crate::state::{Grid, Place, SeededHash, State, StateError};

pub use count::Count;
use count::{Claim, count};
use gcra::Gcra;
pub use subject::{Caller, host_of};

/// Up to so many limited routes share a cell with the client's other limits.
const ROUTES_PER_CELL: usize = 8;

/// Over so many cells the routes are spread if there are more. Their names say where each belongs, so that its counts
/// are found again when other routes come and go.
const CELLS_OF_ROUTES: u64 = 16;

/// All limits of a configuration, ready to decide by.
#[derive(Debug)]
pub struct Limits {
    grid: Grid,
    hash: SeededHash,
    gate: Vec<Rc<Rule>>,
    plans: Vec<Vec<Rc<Rule>>>,
    /// For each route its own limits, then those that stand on their own and are counted by it.
    routes: Vec<Vec<Rc<Rule>>>,
    /// Counted per client, whatever the route.
    clients: Vec<Rc<Rule>>,
    /// Counted once for all.
    everyone: Vec<Rc<Rule>>,
}

/// One limit, ready to decide by.
#[derive(Debug)]
struct Rule {
    name: String,
    gcra: Gcra,
    /// As the caller reads it in `x-ratelimit-limit-requests`.
    quantity: String,
    /// As the caller reads it in `RateLimit-Policy`.
    policy: String,
    each: Each,
    /// Where it is counted if that does not depend on the caller.
    place: Option<Place>,
    /// Tells the limit's records from those of other limits of the same subject.
    salt: u64,
    /// Spreads the many limits of one subject over several cells.
    group: u32,
}

impl Limits {
    /// The limits of `policy`, counted in the tables of `state`.
    #[must_use]
    pub fn new(policy: &Policy, state: &State) -> Self {
        let hash = state.hash;
        let rules = |limits: &[Limit], scope: &[u8], group: u32| -> Vec<Rc<Rule>> {
            limits
                .iter()
                .map(|limit| Rc::new(Rule::new(&hash, limit, scope, group)))
                .collect()
        };
        let named = |wanted: Each| -> Vec<Limit> {
            policy
                .limits
                .iter()
                .filter(|limit| limit.each == wanted)
                .cloned()
                .collect()
        };
        let per_client_and_route = named(Each::ClientRoute);
        let limited_routes = policy
            .routes
            .iter()
            .filter(|route| !route.limits.is_empty() || !per_client_and_route.is_empty())
            .count();
        let routes = policy
            .routes
            .iter()
            .map(|route| {
                let name = route.distinct_name.as_bytes();
                let group = if limited_routes <= ROUTES_PER_CELL {
                    0
                } else {
                    hash.place(&[b"group", name]).tag % CELLS_OF_ROUTES
                };
                let mut own = route.limits.clone();
                own.extend(per_client_and_route.iter().cloned());
                own.extend(named(Each::Route));
                rules(&own, name, u32::try_from(group).unwrap_or(0))
            })
            .collect();
        Self {
            grid: state.counters,
            hash,
            gate: rules(&named(Each::Address), b"", 0),
            plans: policy
                .plans
                .iter()
                .map(|plan| rules(&plan.limits, plan.name.as_bytes(), 0))
                .collect(),
            routes,
            clients: rules(&named(Each::Client), b"", 0),
            everyone: rules(&named(Each::All), b"", 0),
        }
    }

    /// True if every request is counted at the gate, whatever becomes of it.
    #[must_use]
    pub fn has_gate(&self) -> bool {
        !self.gate.is_empty()
    }

    /// True if anonymous callers on this route are counted, for which their address must be known.
    #[must_use]
    pub fn counts_anonymous(&self, route: RouteId) -> bool {
        let per_client = |rule: &Rc<Rule>| matches!(rule.each, Each::Client | Each::ClientRoute);
        !self.clients.is_empty()
            || self
                .routes
                .get(route.0)
                .is_some_and(|rules| rules.iter().any(per_client))
    }

    /// Counts a request at the gate, per address.
    ///
    /// # Errors
    /// When the shared state cannot be changed.
    pub fn gate<H: Host>(
        &self,
        host: &H,
        address: &[u8],
        now: Timestamp,
    ) -> Result<Count, StateError> {
        let caller = Caller::Address(address);
        let claims: Vec<_> = self
            .gate
            .iter()
            .map(|rule| self.claim(rule, caller))
            .collect();
        count(host, &claims, now)
    }

    /// Counts a request against all limits but the gate's.
    ///
    /// # Errors
    /// When the shared state cannot be changed.
    pub fn admit<H: Host>(
        &self,
        host: &H,
        caller: Caller<'_>,
        plan: Option<PlanId>,
        route: RouteId,
        now: Timestamp,
    ) -> Result<Count, StateError> {
        let plan = plan
            .and_then(|plan| self.plans.get(plan.0))
            .into_iter()
            .flatten();
        let route_rules = self.routes.get(route.0).into_iter().flatten();
        let claims: Vec<_> = plan
            .chain(route_rules)
            .chain(&self.clients)
            .chain(&self.everyone)
            .map(|rule| self.claim(rule, caller))
            .collect();
        count(host, &claims, now)
    }

    /// The record that a rule decides on. The subject leads to the cell; the rule's salt tells its records apart.
    fn claim<'a>(&self, rule: &'a Rc<Rule>, caller: Caller<'_>) -> Claim<'a> {
        let place = rule.place.unwrap_or_else(|| {
            let (kind, name) = caller.subject();
            self.hash.place(&[kind, name, &rule.group.to_le_bytes()])
        });
        Claim {
            rule,
            cell: self.grid.locate(place.cell),
            tag: place.tag ^ rule.salt,
        }
    }
}

impl Rule {
    fn new(hash: &SeededHash, limit: &Limit, scope: &[u8], group: u32) -> Self {
        let per_client_and_route = limit.each == Each::ClientRoute;
        let Limit { name, each, rate } = limit;
        let kind: &[u8] = match each {
            Each::Address => b"address",
            Each::Client => b"client",
            Each::Route => b"route",
            Each::ClientRoute => b"client and route",
            Each::All => b"all",
        };
        Self {
            name: name.clone(),
            gcra: Gcra::new(*rate),
            quantity: rate.quantity.to_string(),
            policy: headers::policy(name, rate),
            each: *each,
            place: match each {
                Each::Route => Some(hash.place(&[b"route", scope])),
                Each::All => Some(hash.place(&[b"all"])),
                Each::Address | Each::Client | Each::ClientRoute => None,
            },
            salt: hash.place(&[b"limit", kind, scope, name.as_bytes()]).tag,
            group: if per_client_and_route { group } else { 0 },
        }
    }
}

#[cfg(test)]
mod tests;
