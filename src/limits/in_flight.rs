//! How many at once: which bounds a request meets, the place that it has or waits for under each, and who has the next one.
//!
//! Whoever enters holds a [`Ticket`] for each bound, until it leaves: at its last byte, whatever becomes of it. Where a place
//! must be waited for, the ticket says so, and whoever frees one has the next in turn told, in whichever worker that is.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::admission::Full;
use super::place::Places;
use super::subject::{Asked, Caller};
use super::{Limits, OWN};
use crate::config::policy::{self, AgentId, PlanId, Policy, Queue, Scope, Share, Sharer, Subject};
use crate::host::{Bell, CellName, Host, StreamId};
use crate::state::in_flight::{Bounded, Claim, Entered, InFlight, Waiting};
use crate::state::workers::Workers;
use crate::state::{self, Decision, Grid, State, StateError, counters};

/// So many leaves are tried again. A host that refuses its memory that often has other troubles.
const MOST_DUE: usize = 1 << 16;

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

/// One bound, ready to decide by.
#[derive(Debug)]
pub(super) struct Bound {
    name: String,
    /// What it is counted per, in words.
    per: String,
    subjects: Box<[Subject]>,
    scope: Option<Box<Scope>>,
    most: u32,
    queue: Option<Queue>,
    warn_at: Option<u8>,
    enforce: u8,
    share: Option<Share>,
    salt: u64,
}

/// One bound that a request meets.
#[derive(Debug, Clone)]
pub struct Met {
    bound: Rc<Bound>,
    cell: CellName,
    bounded: Bounded,
    turns_by: u64,
    weight: u16,
    priority: u16,
    enforced: bool,
}

/// A request's place under one bound, or its place in the queue.
#[derive(Debug)]
struct Ticket {
    cell: CellName,
    bounded: Bounded,
    who: Waiting,
}

/// All places of one request.
#[derive(Debug, Default)]
pub struct Tickets {
    held: Vec<Ticket>,
    waits: Option<Ticket>,
    /// The bounds of which so much is taken that the caller is warned.
    warned: Vec<Rc<Bound>>,
}

/// Someone who has left.
#[derive(Debug)]
struct Leave(Ticket, Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Held,
    Waited,
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

    /// Changes a cell, by a function of its entries that says who is granted a place by it, and has these told.
    #[inline(never)]
    fn update<H: Host>(
        &self,
        host: &H,
        cell: CellName,
        change: &mut dyn FnMut(&mut InFlight) -> Vec<Waiting>,
    ) -> Result<(), StateError> {
        let workers = self.workers.borrow();
        let is_there = |number| workers.as_ref().is_none_or(|it| it.is_there(number));
        let granted = Grid::update(host, cell, |value| {
            let mut entries = InFlight::read(&value, is_there);
            let granted = change(&mut entries);
            let new = entries.encode();
            if new == value {
                Decision::Keep(granted)
            } else {
                Decision::Replace(new, granted)
            }
        })?;
        for waiting in granted {
            // Whoever is not told finds out on its next tick.
            let _ = host.ring(Bell(waiting.bell), StreamId(waiting.stream));
        }
        Ok(())
    }

    /// The number of this worker; it comes in if it has not yet.
    fn own<H: Host>(&self, host: &H) -> Result<u32, StateError> {
        let mut workers = self.workers.borrow_mut();
        if let Some(workers) = &*workers {
            return Ok(workers.own());
        }
        let joined = Workers::join(host, self.workers_grid)?;
        Ok(workers.insert(joined).own())
    }

    fn leave<H: Host>(&self, host: &H, leave: Leave) {
        let Leave(ticket, kind) = &leave;
        let left = self.update(host, ticket.cell, &mut |entries| match kind {
            Kind::Held => entries.leave(ticket.bounded, ticket.who.worker),
            Kind::Waited => entries.give_up(ticket.bounded.tag, ticket.who),
        });
        let mut due = self.due.borrow_mut();
        if left.is_err() && due.len() < MOST_DUE {
            due.push(leave);
        }
    }
}

impl Bound {
    fn new(places: &Places, bound: &policy::InFlight, of: &[&str]) -> Self {
        let policy::InFlight {
            name,
            each,
            scope,
            most,
            queue,
            warn_at,
            enforce,
            share,
        } = bound;
        let per = each.to_string();
        Self {
            salt: places.salt_in_flight(name, &per, of),
            name: name.clone(),
            per,
            subjects: each.subjects().into(),
            scope: (*scope != Scope::default()).then(|| Box::new(scope.clone())),
            most: *most,
            queue: *queue,
            warn_at: *warn_at,
            enforce: *enforce,
            share: share.clone(),
        }
    }

    pub(super) fn subjects(&self) -> &[Subject] {
        &self.subjects
    }

    /// Which requests it counts. `None`: all.
    pub(super) fn scope(&self) -> Option<&Scope> {
        self.scope.as_deref()
    }

    /// True if what it counts are calls of tools.
    fn is_by_tool(&self) -> bool {
        let named = |scope: &Scope| !scope.tools.is_empty();
        self.subjects.contains(&Subject::Tool) || self.scope().is_some_and(named)
    }

    /// True if the address must be known of a request: of an anonymous one, or of all.
    fn needs_address(&self, anonymous: bool) -> bool {
        let has = |subject| self.subjects.contains(&subject);
        has(Subject::Address)
            || anonymous && (has(Subject::Client) || self.share.is_some() || self.queue.is_some())
    }
}

// === impl Met ===

impl Met {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.bound.name
    }

    /// What it is counted per, in words.
    #[must_use]
    pub fn per(&self) -> &str {
        &self.bound.per
    }

    /// What a caller is told of it where it is full.
    #[must_use]
    pub fn full(&self) -> Full<'_> {
        Full {
            name: self.name(),
            per: self.per(),
        }
    }

    /// Where it is counted.
    #[cfg(test)]
    pub(super) fn cell(&self) -> CellName {
        self.cell
    }

    /// How long a place may be waited for.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.bound.queue.map(|it| it.wait)
    }

    /// How many may be in flight at once.
    pub(super) fn most(&self) -> u32 {
        self.bound.most
    }

    /// False: it only counts.
    pub(super) fn is_enforced(&self) -> bool {
        self.enforced
    }

    /// Where it is counted, and under which tag.
    pub(super) fn place(&self) -> (CellName, u64) {
        (self.cell, self.bounded.tag)
    }

    /// Of the bounds that a request meets, one under which it needs more places than there are.
    #[must_use]
    pub fn too_small(met: &[Self]) -> Option<&Self> {
        let needed = |it: &Self| met.iter().filter(|met| met.place() == it.place()).count();
        let mut enforced = met.iter().filter(|it| it.is_enforced());
        enforced.find(|it| needed(it) as u64 > u64::from(it.most()))
    }

    fn claim(&self, may_wait: bool) -> Claim {
        let queue = self.bound.queue.filter(|_| may_wait && self.enforced);
        Claim {
            most: if self.enforced {
                self.bound.most
            } else {
                u32::MAX
            },
            most_waiting: queue.map_or(0, |it| it.most),
            turns_by: self.turns_by,
            weight: self.weight,
            priority: self.priority,
        }
    }

    fn came_in(&self, taken: u64) -> Came {
        let most = u64::from(self.bound.most);
        let warned = |at: u8| taken.saturating_mul(100) >= most.saturating_mul(at.into());
        Came::In {
            warns: self.enforced && self.bound.warn_at.is_some_and(warned),
            beyond: taken > most,
        }
    }
}

// === impl Tickets ===

impl Tickets {
    /// True if a place is waited for.
    #[must_use]
    pub fn wait(&self) -> bool {
        self.waits.is_some()
    }

    /// The names of the bounds of which so much is taken that the caller is warned.
    pub fn warning(&self) -> impl Iterator<Item = &str> {
        self.warned.iter().map(|bound| bound.name.as_str())
    }
}

// === impl Limits ===

impl Limits {
    /// True if requests of a client with these own limits may be bounded.
    #[must_use]
    pub fn bound_in_flight(&self, own: Option<&policy::LimitSet>) -> bool {
        self.in_flight.are_any() || own.is_some_and(|own| !own.in_flight.is_empty())
    }

    /// True if something is counted here, or may be, so that [`Self::keep_in_flight`] is to be called on ticks.
    #[must_use]
    pub fn count_in_flight(&self) -> bool {
        self.in_flight.workers.borrow().is_some()
    }

    /// The bounds that a request meets, in the order in which it is to enter.
    #[must_use]
    pub fn met_in_flight(&self, asked: Asked<'_>) -> Vec<Met> {
        let own = self.own_bounds(asked.own);
        let plan = asked.plan.filter(|_| asked.own.is_none());
        let all = own.iter().chain(self.in_flight.of(plan, asked.agent));
        let met_with = |bound, asked: &Asked<'_>| {
            let applies = |scope: &Scope| self.places.applies(scope, asked);
            let bound = Some(bound).filter(|bound: &&Rc<Bound>| bound.scope().is_none_or(applies));
            self.met_by(bound?, asked)
        };
        let mut met: Vec<Met> = Vec::new();
        for bound in all {
            met.extend(met_with(bound, &asked));
            // A request has one place under a bound, however many of its messages meet it, but each of the calls of tools has its own.
            let each_has_one = bound.is_by_tool();
            for nth in 1..=asked.further.len() {
                let further = met_with(bound, &asked.with_message(nth));
                let is_new = |it: &Met| met.iter().all(|other| other.place() != it.place());
                met.extend(further.filter(|it| each_has_one || is_new(it)));
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
            turns_by: client,
            weight,
            priority,
            enforced: bound.enforce >= 100 || drawn(),
        })
    }

    /// Has a request enter under one bound, or wait for a place.
    ///
    /// # Errors
    /// When the shared state cannot be changed, or has no room. Nothing was taken then.
    pub fn enter<H: Host>(
        &self,
        host: &H,
        tickets: &mut Tickets,
        met: &Met,
        stream: StreamId,
    ) -> Result<Came, StateError> {
        let bounds = &self.in_flight;
        let bell = host.bell();
        let claim = met.claim(bell.is_some());
        let who = Waiting {
            worker: bounds.own(host)?,
            bell: bell.map_or(0, |Bell(bell)| bell),
            stream: stream.0,
        };
        let (mut entered, mut taken) = (Entered::Crowded, 0);
        bounds.update(host, met.cell, &mut |entries| {
            let granted;
            (entered, granted) = entries.enter(met.bounded, who, claim);
            taken = entries.taken(met.bounded.tag);
            granted
        })?;
        let ticket = Ticket {
            cell: met.cell,
            bounded: met.bounded,
            who,
        };
        match entered {
            Entered::In => {
                tickets.held.push(ticket);
                let came = met.came_in(taken);
                if matches!(came, Came::In { warns: true, .. }) {
                    tickets.warned.push(Rc::clone(&met.bound));
                }
                Ok(came)
            }
            Entered::Waits => {
                tickets.waits = Some(ticket);
                Ok(Came::Waits)
            }
            Entered::Full => Ok(Came::Full),
            Entered::Crowded => Err(StateError::NoRoom),
        }
    }

    /// Has a request that waits take up the place that it was granted. `Ok(None)`: its worker was taken for gone meanwhile,
    /// and it is to enter again.
    ///
    /// # Errors
    /// When the shared state cannot be changed.
    pub fn take_up<H: Host>(
        &self,
        host: &H,
        tickets: &mut Tickets,
        met: &Met,
    ) -> Result<Option<Came>, StateError> {
        let Some(ticket) = &tickets.waits else {
            return Ok(None);
        };
        let (tag, who) = (ticket.bounded.tag, ticket.who);
        let (mut taken_up, mut taken) = (None, 0);
        self.in_flight.update(host, ticket.cell, &mut |entries| {
            taken_up = entries.take_up(tag, who);
            taken = entries.taken(tag);
            Vec::new()
        })?;
        Ok(match taken_up {
            Some(Entered::In) => {
                tickets.held.extend(tickets.waits.take());
                Some(met.came_in(taken))
            }
            Some(_) => Some(Came::Waits),
            None => {
                tickets.waits = None;
                None
            }
        })
    }

    /// Has a request leave under all bounds, whatever it has or waits for.
    pub fn leave<H: Host>(&self, host: &H, tickets: Tickets) {
        let waits = tickets.waits.map(|ticket| Leave(ticket, Kind::Waited));
        let held = tickets.held.into_iter();
        let held = held.map(|ticket| Leave(ticket, Kind::Held));
        for leave in waits.into_iter().chain(held) {
            self.in_flight.leave(host, leave);
        }
    }

    /// What is due on a tick: to say that this worker is there, to try again what has failed, and to look after those who
    /// wait, whom nobody may have told. `tickets` are those of all requests here, each with its stream. Those come back whose
    /// turn has come.
    ///
    /// # Errors
    /// When the shared state cannot be changed. The next tick tries again.
    pub fn keep_in_flight<'t, H: Host>(
        &self,
        host: &H,
        tickets: impl Iterator<Item = (StreamId, &'t mut Tickets)>,
    ) -> Result<Vec<StreamId>, StateError> {
        let bounds = &self.in_flight;
        let own = match &mut *bounds.workers.borrow_mut() {
            Some(workers) => {
                workers.tick(host)?;
                workers.own()
            }
            None => return Ok(Vec::new()),
        };
        for leave in bounds.due.take() {
            bounds.leave(host, leave);
        }
        let mut turns = Vec::new();
        // The entries of each limit of which somebody waits here, in the order of their cells.
        let mut seen: Vec<((CellName, u64), InFlight)> = Vec::new();
        for (stream, tickets) in tickets {
            // What was counted under a number that was taken for gone counts no more.
            for ticket in tickets.held.iter_mut().filter(|it| it.who.worker != own) {
                bounds.update(host, ticket.cell, &mut |entries| {
                    entries.count_again(ticket.bounded, own);
                    Vec::new()
                })?;
                ticket.who.worker = own;
            }
            let Some(Ticket { cell, bounded, who }) = &tickets.waits else {
                continue;
            };
            let of_limit = (*cell, bounded.tag);
            let index = match seen.binary_search_by_key(&of_limit, |(it, _)| *it) {
                Ok(index) => index,
                Err(index) => {
                    let mut now = InFlight::default();
                    bounds.update(host, *cell, &mut |entries| {
                        let granted = entries.grant(bounded.tag);
                        now.clone_from(entries);
                        granted
                    })?;
                    seen.insert(index, (of_limit, now));
                    index
                }
            };
            let waits = |(_, entries): &(_, InFlight)| entries.waits(bounded.tag, *who);
            if !seen.get(index).is_some_and(waits) {
                turns.push(stream);
            }
        }
        Ok(turns)
    }
}
