//! Which counters of a caller lie together in one cell, and how many it has.

use rustc_hash::FxHashSet;

use crate::config::policy::{Limit, Policy, Route, Subject};

/// So many counters of a client on routes lie in one cell with its others.
const MOST_TOGETHER: usize = 16;

/// The names of the routes whose counters shall lie with the others of their client: the first ones, as far as there is
/// room. All of many routes would fill a cell.
#[must_use]
pub fn routes_together(policy: &Policy) -> Vec<&str> {
    let mut room = MOST_TOGETHER;
    let mut names = Vec::new();
    for route in &policy.routes {
        let counters = counters_on_route(policy, &route.limits);
        if counters > 0 && counters <= room && !names.contains(&route.name.as_str()) {
            room -= counters;
            names.push(route.name.as_str());
        }
    }
    names
}

/// How many counters a caller has that meets all its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountersOfOne {
    /// In the cell that holds most of them.
    pub in_one_cell: usize,
    /// In all.
    pub in_all: usize,
}

impl CountersOfOne {
    /// A client with the limits of this policy.
    #[must_use]
    pub fn client(policy: &Policy) -> Self {
        let plans = || policy.plans.iter().map(|plan| plan.limits.as_slice());
        let most = |count: fn(&[Limit]) -> usize| {
            plans().map(count).max().unwrap_or(0) + count(&policy.limits)
        };
        Self::with_routes(policy, most(per_client), most(per_more), |_| true)
    }

    /// A caller that is known only by its address.
    #[must_use]
    pub fn address(policy: &Policy) -> Self {
        let open = |route: &Route| !route.auth_required;
        let mut everywhere = of_gate(&policy.limits, 1);
        let mut apart = of_gate(&policy.limits, 2);
        if policy.routes.iter().any(open) {
            everywhere += per_client(&policy.limits);
            apart += per_more(&policy.limits);
        }
        Self::with_routes(policy, everywhere, apart, open)
    }

    /// `everywhere` lie in its own cell, `apart` each in another.
    fn with_routes(
        policy: &Policy,
        everywhere: usize,
        apart: usize,
        goes: impl Fn(&Route) -> bool,
    ) -> Self {
        let together = routes_together(policy);
        let (mut at_home, mut elsewhere, mut all_elsewhere) = (everywhere, apart.min(1), apart);
        let mut seen = FxHashSet::default();
        for route in policy.routes.iter().filter(|route| goes(route)) {
            let counters = counters_on_route(policy, &route.limits);
            if !seen.insert(route.name.as_str()) {
                continue;
            }
            if together.contains(&route.name.as_str()) {
                at_home += counters;
            } else {
                elsewhere = elsewhere.max(counters);
                all_elsewhere += counters;
            }
        }
        Self {
            in_one_cell: at_home.max(elsewhere),
            in_all: at_home + all_elsewhere,
        }
    }
}

fn is_per_client(limit: &Limit) -> bool {
    limit.each.subjects() == [Subject::Client]
}

/// How many of these are counted per client and nothing else, in its own cell.
fn per_client(limits: &[Limit]) -> usize {
    limits.iter().filter(|limit| is_per_client(limit)).count()
}

/// How many of these are counted per client or key and more, but for routes: once for each value of the others, of which nothing
/// is known here, so one is taken.
fn per_more(limits: &[Limit]) -> usize {
    let more = |limit: &&Limit| {
        let of_caller = limit.each.has(&Subject::Client) || limit.each.has(&Subject::Key);
        of_caller && !is_per_client(limit) && !is_per_client_and_route(limit)
    };
    limits.iter().filter(more).count()
}

/// How many of these count at the gate per address, `of` one subject, or of more.
fn of_gate(limits: &[Limit], of: usize) -> usize {
    let counted = |limit: &&Limit| limit.is_of_gate() && limit.each.subjects().len().min(2) == of;
    limits.iter().filter(counted).count()
}

fn is_per_client_and_route(limit: &Limit) -> bool {
    limit.each.subjects() == [Subject::Client, Subject::Route]
}

/// How many counters a caller has for one route.
fn counters_on_route(policy: &Policy, own: &[Limit]) -> usize {
    let limits = own.iter().chain(&policy.limits);
    limits
        .filter(|limit| is_per_client_and_route(limit))
        .count()
}
