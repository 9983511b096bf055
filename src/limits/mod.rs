//! How much: which limits a request counts against, the decision on all of them, and what the caller is told.
//!
//! The limits of one client lie in one cell, so that one read and one compare-and-swap decide on all of them at
//! once. Limits of other subjects (a route, everyone) lie in cells of their own, and so do a client's on a route that is one
//! of many: these are all looked at first, then taken in a fixed order, and what was taken is given back if a later one has
//! filled up meanwhile. So a request never passes a full limit, and one that is refused takes nothing.
//!
//! | file | what it says |
//! |---|---|
//! | this one | which limits a request counts against, and in which cell each is counted; what `release` and `settle` promise |
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
//! | `upkeep.rs` | what is given back later, and what is said of forgotten counters |

mod admission;
mod algorithm;
mod count;
pub mod gcra;
mod headers;
mod receipt;
mod standing;
mod subject;
mod together;
mod upkeep;
mod weigh;
pub mod window;

use std::cell::OnceCell;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::config::policy::{self, Each, Limit, PlanId, Policy, RouteId};
use crate::host::Host;
use crate::sort::sort_by;
use crate::state::{Grid, Hashed, SeededHash, State, StateError, counters};

pub use admission::Admission;
use algorithm::Algorithm;
use count::{count, look};
use receipt::Corrections;
pub use subject::{Caller, host_of, ip_of, network_of};
pub use together::{CountersOfOne, routes_together};
use upkeep::Upkeep;
use weigh::Claim;

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
    algorithm: Algorithm,
    /// As the caller reads it in `x-ratelimit-limit-requests`.
    limit: String,
    /// As the caller reads it in `RateLimit-Policy`.
    policy: String,
    each: Each,
    home: Home,
    /// Tells the limit's records from those of other limits of the same subject.
    salt: u64,
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

/// Which cell a limit is counted in.
#[derive(Debug)]
enum Home {
    /// Always the same one.
    Fixed(Hashed),
    /// The caller's.
    Caller,
    /// The caller's on this route.
    CallerOnRoute(Box<[u8]>),
}

/// The caller of a request, and its hash once that was needed.
struct Subject<'a> {
    caller: Caller<'a>,
    hashed: OnceCell<Hashed>,
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
            upkeep: Upkeep::new(state.address_counters),
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

    /// True if [`Self::chores`] may have something to do: a request may have to give back what it took.
    #[must_use]
    pub fn have_chores(&self) -> bool {
        let mut limited = self.plans.iter().chain(&self.routes);
        !self.everyone.is_empty() || !self.clients.is_empty() || limited.any(|it| !it.is_empty())
    }

    /// What could not be done while a request was decided on. To be called now and then.
    pub fn chores<H: Host>(&self, host: &H) {
        self.upkeep.chores(host);
    }

    /// Counts a request at the gate, per address. That count stays, whatever becomes of the request.
    ///
    /// # Errors
    /// When the shared state cannot be changed. Nothing was taken then.
    pub fn gate<H: Host>(&self, host: &H, address: &[u8]) -> Result<Admission, StateError> {
        let (caller, amounts) = (Caller::Address(address), Amounts::ONE_REQUEST);
        let claims = self.claims(caller, self.gate.iter(), amounts);
        count(host, &self.upkeep, &claims).map(Admission::kept)
    }

    /// Counts a request against all limits but the gate's: all of them let it take what it asks for, or it takes nothing.
    ///
    /// # Errors
    /// When the shared state cannot be changed. Nothing was taken then, or it is given back as soon as that is possible.
    pub fn admit<H: Host>(
        &self,
        host: &H,
        caller: Caller<'_>,
        plan: Option<PlanId>,
        route: RouteId,
        amounts: Amounts,
    ) -> Result<Admission, StateError> {
        let claims = self.claims(caller, self.of_admit(plan, route), amounts);
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
    ) -> Result<Admission, StateError> {
        let amounts = Amounts::ONE_REQUEST;
        let claims = self.claims(caller, self.of_admit(plan, route), amounts);
        look(host, &claims)
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
        amounts: Amounts,
    ) -> Vec<Claim<'a>> {
        let subject = Subject {
            caller,
            hashed: OnceCell::new(),
        };
        rules
            .map(|rule| self.claim(rule, &subject, amounts))
            .collect()
    }

    /// The record that a rule decides on. The subject leads to the cell; the rule's salt tells its records apart.
    fn claim<'a>(&self, rule: &'a Rc<Rule>, subject: &Subject<'_>, amounts: Amounts) -> Claim<'a> {
        let (kind, name) = subject.caller.subject();
        let of_caller = match subject.caller {
            Caller::Client(_) => &self.counters,
            Caller::Address(_) => &self.address_counters,
        };
        let (grid, hashed) = match &rule.home {
            Home::Fixed(hashed) => (&self.counters, *hashed),
            Home::Caller => {
                let hashed = subject.hashed.get_or_init(|| self.hash.of(&[kind, name]));
                (of_caller, *hashed)
            }
            Home::CallerOnRoute(route) => (of_caller, self.hash.of(&[kind, name, route])),
        };
        Claim {
            rule,
            cell: grid.locate(hashed.cell),
            tag: counters::tag(rule.salt, hashed.tag),
            amount: amounts.of(rule),
        }
    }
}

impl Rule {
    /// `scope` is whose limit it is: a plan's, or first of all a route's. `apart`: counters of a client on the route have a
    /// cell of their own.
    fn new(hash: &SeededHash, limit: &Limit, scope: &[&str], apart: bool) -> Self {
        let Limit {
            name,
            each,
            rate,
            algorithm,
        } = limit;
        let kind: &[u8] = match each {
            Each::Address => b"address",
            Each::Client => b"client",
            Each::Route => b"route",
            Each::ClientRoute => b"client and route",
            Each::All => b"all",
        };
        let route = scope.first().copied().unwrap_or_default().as_bytes();
        // A limit that is counted in another way, or in other windows, is another limit.
        let windows = match algorithm {
            policy::Algorithm::TokenBucket => None,
            policy::Algorithm::SlidingWindow | policy::Algorithm::FixedWindow { .. } => {
                Some(format!("{algorithm:?} {:?}", rate.period))
            }
        };
        let mut parts = vec![b"limit".as_slice(), kind, name.as_bytes()];
        parts.extend(windows.iter().map(String::as_bytes));
        parts.extend(scope.iter().map(|part| part.as_bytes()));
        Self {
            name: name.clone(),
            algorithm: Algorithm::new(limit),
            limit: headers::limit(rate).to_string(),
            policy: headers::policy(name, rate),
            each: *each,
            home: match each {
                Each::Route => Home::Fixed(hash.of(&[b"route", route])),
                Each::All => Home::Fixed(hash.of(&[b"all"])),
                Each::ClientRoute if apart => Home::CallerOnRoute(route.into()),
                Each::Address | Each::Client | Each::ClientRoute => Home::Caller,
            },
            salt: hash.of(&parts).tag,
        }
    }
}

#[cfg(test)]
mod tests;
