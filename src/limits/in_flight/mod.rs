//! How many at once: which bounds a request meets, the place that it has or waits for under each, and who has the next one.
//!
//! Whoever enters holds a ticket for each bound, until it leaves: at its last byte, whatever becomes of it. Where a place
//! must be waited for, the ticket says so, and whoever frees one has the next in turn told, in whichever worker that is.
//!
//! | file | what it says |
//! |---|---|
//! | this one | which bounds there are, and which of them a request meets |
//! | `bound.rs` | one bound, and what it means for a request |
//! | `tickets.rs` | a request's places: how it comes to them, keeps them and leaves |

mod bound;
mod tickets;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::place::Places;
use super::subject::{Asked, Caller};
use super::{Limits, OWN};
use crate::config::policy::{self, AgentId, PlanId, Policy, Queue, Scope, Sharer, Subject};
use crate::host::Host;
use crate::sort::{sort_by, sort_by_key};
use crate::state::in_flight::{Bounded, InFlight};
use crate::state::workers::Workers;
use crate::state::{self, Grid, State, StateError, counters};

pub(super) use bound::Bound;
pub use bound::Met;
use tickets::Leave;
pub use tickets::Tickets;

/// All bounds of a configuration on requests in flight.
#[derive(Debug)]
pub(super) struct Bounds {
    grid: Grid,
    workers_grid: Grid,
    /// Who else counts. `None`: nothing has been counted here yet.
    workers: RefCell<Option<Workers>>,
    plans: Vec<Vec<Rc<Bound>>>,
    everywhere: Vec<Rc<Bound>>,
    /// That of each agent, if it has one.
    agents: Vec<Option<Rc<Bound>>>,
    /// What clients' own limits say of waiting is cut to this: Envoy ends whatever waits for longer than is configured.
    longest_own_wait: Duration,
    /// Those who have left, and could not be written down.
    due: RefCell<Vec<Leave>>,
}

/// What came of asking for a place under one bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// There is one.
    In {
        /// The caller is warned.
        warns: bool,
        /// There would be none if the bound were in force for this request.
        beyond: bool,
    },
    /// One may come free.
    Waits,
    /// All are taken.
    Full,
}

// === impl Bounds ===

impl Bounds {
    pub(super) fn new(policy: &Policy, state: &State, places: &Places) -> Self {
        let all = |bounds: &[policy::InFlight], of: &[&str]| {
            let bound = |it| Rc::new(Bound::new(places, it, of));
            bounds.iter().map(bound).collect::<Vec<_>>()
        };
        let of_agent = |agent: &policy::Agent| {
            let bound = agent.in_flight.as_ref()?;
            Some(Rc::new(Bound::new(places, bound, &["agent"])))
        };
        Self {
            grid: state.in_flight,
            workers_grid: state.workers,
            workers: RefCell::default(),
            plans: (policy.plans.iter())
                .map(|plan| all(&plan.in_flight, &["plan", &plan.name]))
                .collect(),
            everywhere: all(&policy.in_flight, &[]),
            agents: policy.agents.iter().map(of_agent).collect(),
            longest_own_wait: policy.longest_own_wait(),
            due: RefCell::default(),
        }
    }

    fn are_any(&self) -> bool {
        !self.everywhere.is_empty()
            || self.plans.iter().any(|it| !it.is_empty())
            || self.agents.iter().any(Option::is_some)
    }

    /// One of a client's own.
    fn own_bound(&self, places: &Places, bound: &policy::InFlight) -> Rc<Bound> {
        let mut own = Bound::new(places, bound, OWN);
        own.queue = own.queue.and_then(|queue| {
            let wait = queue.wait.min(self.longest_own_wait);
            (!wait.is_zero()).then_some(Queue { wait, ..queue })
        });
        Rc::new(own)
    }

    /// True if the address must be known of a request: of an anonymous one, or of all.
    pub(super) fn need_address(
        &self,
        plan: Option<PlanId>,
        agent: Option<AgentId>,
        anonymous: bool,
    ) -> bool {
        let needs = |bound: &Rc<Bound>| bound.needs_address(anonymous);
        self.of(plan, agent).any(needs)
    }

    /// All that may bound a request but its own: an agent's comes last, so that whoever waits for an agent has all else.
    fn of(&self, plan: Option<PlanId>, agent: Option<AgentId>) -> impl Iterator<Item = &Rc<Bound>> {
        let plan = plan.and_then(|id| self.plans.get(id.0));
        let agent = agent.and_then(|id| self.agents.get(id.0)?.as_ref());
        let listed = plan.into_iter().flatten();
        listed.chain(&self.everywhere).chain(agent)
    }
}

// === impl Limits ===

impl Limits {
    /// True if requests of a client with these own limits may be bounded.
    #[must_use]
    pub fn bound_in_flight(&self, own: Option<&policy::LimitSet>) -> bool {
        self.in_flight.are_any() || own.is_some_and(|own| !own.in_flight.is_empty())
    }

    /// The bounds that a request meets, in the order in which it is to enter. Whoever has places waits for those of later bounds only,
    /// and within one bound for later places only; and what it needs in one place it has at once. So no two that call the same
    /// tools wait for each other.
    #[must_use]
    pub fn met_in_flight(&self, asked: Asked<'_>) -> Vec<Met> {
        let mut own = self.own_bounds(asked.own);
        // The validator may say them in whatever order.
        sort_by(&mut own, |one, other| one.name.cmp(&other.name));
        let plan = asked.plan.filter(|_| asked.own.is_none());
        let all = own.iter().chain(self.in_flight.of(plan, asked.agent));
        let met_with = |bound, asked: &Asked<'_>| {
            let applies = |scope: &Scope| self.places.applies(scope, asked);
            let bound = Some(bound).filter(|bound: &&Rc<Bound>| bound.scope().is_none_or(applies));
            self.met_by(bound?, asked)
        };
        let mut met: Vec<Met> = Vec::new();
        for bound in all {
            let begin = met.len();
            met.extend(met_with(bound, &asked));
            // A request has one place under a bound, however many of its messages meet it, but each of the calls of tools has its own.
            let each_has_one = bound.is_by_tool();
            for nth in 1..=asked.further.len() {
                let further = met_with(bound, &asked.with_message(nth));
                let Some(further) = further else { continue };
                match met.iter_mut().find(|it| it.place() == further.place()) {
                    Some(met) => met.places += u32::from(each_has_one),
                    None => met.push(further),
                }
            }
            if let Some(of_bound) = met.get_mut(begin..) {
                sort_by_key(of_bound, Met::place);
            }
        }
        met
    }

    /// A client's own bounds.
    pub(super) fn own_bounds(&self, own: Option<&policy::LimitSet>) -> Vec<Rc<Bound>> {
        let own = own.map_or(&[][..], |own| &own.in_flight);
        let bound = |it| self.in_flight.own_bound(&self.places, it);
        own.iter().map(bound).collect()
    }

    /// These, and all that may bound requests under a plan, whichever agent they go to. Those of an agent come with it.
    pub(super) fn all_bounds<'b>(
        &'b self,
        own: &'b [Rc<Bound>],
        plan: Option<PlanId>,
    ) -> impl Iterator<Item = (&'b Rc<Bound>, Option<AgentId>)> {
        let own = own.iter().chain(self.in_flight.of(plan, None));
        let agents = self.in_flight.agents.iter().enumerate();
        let agents = agents.filter_map(|(id, bound)| Some((bound.as_ref()?, Some(AgentId(id)))));
        own.map(|bound| (bound, None)).chain(agents)
    }

    /// How many of an agent's places are taken, and how many there are. `None`: they are not bounded, or that cannot be read.
    #[must_use]
    pub fn places_of_agent<H: Host>(&self, host: &H, agent: AgentId) -> Option<(u64, u32)> {
        let bound = self.in_flight.agents.get(agent.0)?.as_ref()?;
        let asked = Asked {
            agent: Some(agent),
            ..Asked::by(Caller::Address(b""))
        };
        let met = self.met_by(bound, &asked)?;
        let (taken, _) = self.taken_of(host, &met).ok()?;
        Some((taken, met.most()))
    }

    /// How many places are taken under a bound, and how many requests wait for one.
    pub(super) fn taken_of<H: Host>(&self, host: &H, met: &Met) -> Result<(u64, u64), StateError> {
        let (value, _) = state::read(host, met.cell)?;
        let workers = self.in_flight.workers.borrow();
        let is_there = |number| workers.as_ref().is_none_or(|it| it.is_there(number));
        let entries = InFlight::read(&value, is_there);
        let tag = met.bounded.tag;
        Ok((entries.taken(tag), entries.waiting(tag)))
    }

    /// What a bound means for a request that it bounds. `None`: the request lacks what it is counted per.
    pub(super) fn met_by(&self, bound: &Rc<Bound>, asked: &Asked<'_>) -> Option<Met> {
        let places = &self.places;
        let hashed = places.hash_of(&bound.subjects, asked)?;
        let hash = |subject| places.hash_of(&[subject], asked).map(|it| it.tag);
        let client = hash(Subject::Client).unwrap_or_default();
        let (mut sharer, mut weight, mut priority) = (0, 0, 0);
        if let Some(share) = &bound.share {
            let team = hash(Subject::Team).filter(|_| share.by == Sharer::Team);
            sharer = team.unwrap_or(client);
            let of = |all: &[(policy::PlanId, u16)]| {
                let own = all.iter().find(|(plan, _)| Some(*plan) == asked.plan);
                own.map(|(_, number)| *number)
            };
            weight = of(&share.weights).unwrap_or(1);
            priority = of(&share.priorities).unwrap_or(0);
        }
        let drawn = || places.is_drawn(&bound.subjects, &bound.name, bound.enforce, asked);
        Some(Met {
            bound: Rc::clone(bound),
            cell: self.in_flight.grid.locate(hashed.cell),
            bounded: Bounded {
                tag: counters::tag(bound.salt, hashed.tag),
                sharer,
            },
            places: 1,
            turns_by: client,
            weight,
            priority,
            enforced: bound.enforce >= 100 || drawn(),
        })
    }
}
