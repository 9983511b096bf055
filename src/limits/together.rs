//! Which counters of a caller lie together in one cell, and how many it has.

use rustc_hash::FxHashSet;

use crate::config::policy::{Each, Limit, Policy, Route};

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
        let plans = policy.plans.iter().map(|plan| plan.limits.len());
        let everywhere = plans.max().unwrap_or(0) + limits_of(policy, Each::Client);
        Self::with_routes(policy, everywhere, |_| true)
    }

    /// A caller that is known only by its address.
    #[must_use]
    pub fn address(policy: &Policy) -> Self {
        let open = |route: &Route| !route.auth_required;
        let mut everywhere = limits_of(policy, Each::Address);
        if policy.routes.iter().any(open) {
            everywhere += limits_of(policy, Each::Client);
        }
        Self::with_routes(policy, everywhere, open)
    }

    fn with_routes(policy: &Policy, everywhere: usize, goes: impl Fn(&Route) -> bool) -> Self {
        let together = routes_together(policy);
        let (mut at_home, mut elsewhere, mut all_elsewhere) = (everywhere, 0, 0);
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

fn limits_of(policy: &Policy, each: Each) -> usize {
    let limits = policy.limits.iter();
    limits.filter(|limit| limit.each == each).count()
}

/// How many counters a caller has for one route.
fn counters_on_route(policy: &Policy, own: &[Limit]) -> usize {
    let per_client = |limit: &&Limit| limit.each == Each::ClientRoute;
    own.iter().chain(&policy.limits).filter(per_client).count()
}
