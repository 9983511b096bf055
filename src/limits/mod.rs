//! How much: which limits a request counts against, the decision on all of them, and what the caller is told.
//!
//! The limits of one client lie in one cell, so that one read and one compare-and-swap decide on all of them at
//! once. Limits of other subjects (a route, everyone) lie in cells of their own, and so do a client's on a route that is one
//! of many: these are all looked at first, then taken in a fixed order, and what was taken is given back if a later one has
//! filled up meanwhile. So a request never passes a full limit, and one that is refused takes nothing.
//!
//! | file | what it says |
//! |---|---|
//! | this one | which limits a request counts against, and in which cell each is counted |
//! | `gcra.rs` | when a bucket is full, and what a limit that was changed makes of it |
//! | `count.rs` | the decision on several limits, and the time until the next request fits |
//! | `headers.rs` | the fields by which the caller is told |
//! | `subject.rs` | whom a limit is counted for, and which addresses are one |
//! | `upkeep.rs` | what is given back later, and what is said of forgotten counters |

mod count;
pub mod gcra;
mod headers;
mod subject;
mod upkeep;

use std::cell::OnceCell;
use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::config::policy::{Each, Limit, PlanId, Policy, Route, RouteId};
use crate::host::Host;
use crate::state::{Grid, Place, SeededHash, State, StateError, counters};

pub use count::Count;
use count::{Claim, count, look};
use gcra::Gcra;
pub use subject::{Caller, host_of};
use upkeep::Upkeep;

/// So many counters of a client on routes lie in one cell with its others.
const MOST_TOGETHER: usize = 16;

/// All limits of a configuration, ready to decide by.
#[derive(Debug)]
pub struct Limits {
    counters: Grid,
    address_counters: Grid,
    hash: SeededHash,
    gate: Vec<Rc<Rule>>,
    plans: Vec<Vec<Rc<Rule>>>,
    /// For each route its own limits, then those that stand on their own and are counted by it.
    routes: Vec<Vec<Rc<Rule>>>,
    /// Counted per client, whatever the route.
    clients: Vec<Rc<Rule>>,
    /// Counted once for all.
    everyone: Vec<Rc<Rule>>,
    upkeep: Upkeep,
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
    home: Home,
    /// Tells the limit's records from those of other limits of the same subject.
    salt: u64,
}

/// Which cell a limit is counted in.
#[derive(Debug)]
enum Home {
    /// Always the same one.
    Fixed(Place),
    /// The caller's.
    Caller,
    /// The caller's on this route.
    CallerOnRoute(Box<[u8]>),
}

/// The caller of a request, and its cell once that was needed.
struct Subject<'a> {
    caller: Caller<'a>,
    place: OnceCell<Place>,
}

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

impl Limits {
    /// The limits of `policy`, counted in the tables of `state`.
    #[must_use]
    pub fn new(policy: &Policy, state: &State) -> Self {
        let hash = state.hash;
        let rules = |limits: &[Limit], scope: &[&str], apart: bool| -> Vec<Rc<Rule>> {
            limits
                .iter()
                .map(|limit| Rc::new(Rule::new(&hash, limit, scope, apart)))
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
        let by_route = [named(Each::ClientRoute), named(Each::Route)].concat();
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
                        methods.sort_unstable();
                        methods
                    }
                    _ => Vec::new(),
                };
                if !route.limits.is_empty() {
                    first_of_name.entry(name).or_insert(&route.limits);
                }
                let mut scope = vec![name];
                scope.extend(methods.iter().map(String::as_str));
                let mut all = rules(&route.limits, &scope, apart);
                all.extend(rules(&by_route, &[name], apart));
                all
            })
            .collect();
        Self {
            counters: state.counters,
            address_counters: state.address_counters,
            hash,
            gate: rules(&named(Each::Address), &[], false),
            plans: policy
                .plans
                .iter()
                .map(|plan| rules(&plan.limits, &[&plan.name], false))
                .collect(),
            routes,
            clients: rules(&named(Each::Client), &[], false),
            everyone: rules(&named(Each::All), &[], false),
            upkeep: Upkeep::default(),
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

    /// True if [`Self::chores`] may have something to do: a request's limits may lie in several cells.
    #[must_use]
    pub fn have_chores(&self) -> bool {
        let elsewhere = |rule: &Rc<Rule>| !matches!(rule.home, Home::Caller);
        !self.everyone.is_empty() || self.routes.iter().flatten().any(elsewhere)
    }

    /// What could not be done while a request was decided on. To be called now and then.
    pub fn chores<H: Host>(&self, host: &H) {
        self.upkeep.chores(host);
    }

    /// Counts a request at the gate, per address.
    ///
    /// # Errors
    /// When the shared state cannot be changed. Nothing was taken then.
    pub fn gate<H: Host>(&self, host: &H, address: &[u8]) -> Result<Count, StateError> {
        let claims = self.claims(Caller::Address(address), self.gate.iter());
        count(host, &self.upkeep, &claims)
    }

    /// Counts a request against all limits but the gate's.
    ///
    /// # Errors
    /// When the shared state cannot be changed. Nothing was taken then, or it is given back as soon as that is possible.
    pub fn admit<H: Host>(
        &self,
        host: &H,
        caller: Caller<'_>,
        plan: Option<PlanId>,
        route: RouteId,
    ) -> Result<Count, StateError> {
        let claims = self.claims(caller, self.of_admit(plan, route));
        count(host, &self.upkeep, &claims)
    }

    /// How the limits of [`Self::admit`] stand, of a request that is refused for another reason.
    ///
    /// # Errors
    /// When the shared state cannot be read.
    pub fn look<H: Host>(
        &self,
        host: &H,
        caller: Caller<'_>,
        plan: Option<PlanId>,
        route: RouteId,
    ) -> Result<Count, StateError> {
        look(host, &self.claims(caller, self.of_admit(plan, route)))
    }

    /// All limits of a request but the gate's.
    fn of_admit(&self, plan: Option<PlanId>, route: RouteId) -> impl Iterator<Item = &Rc<Rule>> {
        let plan = plan
            .and_then(|plan| self.plans.get(plan.0))
            .into_iter()
            .flatten();
        let route_rules = self.routes.get(route.0).into_iter().flatten();
        plan.chain(route_rules)
            .chain(&self.clients)
            .chain(&self.everyone)
    }

    fn claims<'a>(
        &self,
        caller: Caller<'_>,
        rules: impl Iterator<Item = &'a Rc<Rule>>,
    ) -> Vec<Claim<'a>> {
        let subject = Subject {
            caller,
            place: OnceCell::new(),
        };
        rules.map(|rule| self.claim(rule, &subject)).collect()
    }

    /// The record that a rule decides on. The subject leads to the cell; the rule's salt tells its records apart.
    fn claim<'a>(&self, rule: &'a Rc<Rule>, subject: &Subject<'_>) -> Claim<'a> {
        let (kind, name) = subject.caller.subject();
        let fixed = matches!(rule.home, Home::Fixed(_));
        let by_address = !fixed && matches!(subject.caller, Caller::Address(_));
        let place = match &rule.home {
            Home::Fixed(place) => *place,
            Home::Caller => *subject.place.get_or_init(|| self.hash.place(&[kind, name])),
            Home::CallerOnRoute(route) => self.hash.place(&[kind, name, route]),
        };
        let grid = if by_address {
            &self.address_counters
        } else {
            &self.counters
        };
        Claim {
            rule,
            cell: grid.locate(place.cell),
            by_address,
            tag: counters::tag(rule.salt, place.tag),
        }
    }
}

impl Rule {
    /// `scope` is whose limit it is: a plan's, or first of all a route's. `apart`: counters of a client on the route have a
    /// cell of their own.
    fn new(hash: &SeededHash, limit: &Limit, scope: &[&str], apart: bool) -> Self {
        let Limit { name, each, rate } = limit;
        let kind: &[u8] = match each {
            Each::Address => b"address",
            Each::Client => b"client",
            Each::Route => b"route",
            Each::ClientRoute => b"client and route",
            Each::All => b"all",
        };
        let route = scope.first().copied().unwrap_or_default().as_bytes();
        let mut parts = vec![b"limit".as_slice(), kind, name.as_bytes()];
        parts.extend(scope.iter().map(|part| part.as_bytes()));
        Self {
            name: name.clone(),
            gcra: Gcra::new(*rate),
            quantity: rate.quantity.to_string(),
            policy: headers::policy(name, rate),
            each: *each,
            home: match each {
                Each::Route => Home::Fixed(hash.place(&[b"route", route])),
                Each::All => Home::Fixed(hash.place(&[b"all"])),
                Each::ClientRoute if apart => Home::CallerOnRoute(route.into()),
                Each::Address | Each::Client | Each::ClientRoute => Home::Caller,
            },
            salt: hash.place(&parts).tag,
        }
    }
}

#[cfg(test)]
mod tests;
