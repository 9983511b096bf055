//! The places that a request has, and the one that it waits for: how it comes to them, keeps them and leaves.

use std::rc::Rc;

use super::{Bound, Bounds, Came, Met};
use crate::host::{Bell, CellName, Host, StreamId};
use crate::limits::Limits;
use crate::state::in_flight::{Bounded, Entered, InFlight, Waiting};
use crate::state::workers::Workers;
use crate::state::{Decision, Grid, StateError};

/// So many leaves are tried again. A host that refuses its memory that often has other troubles.
const MOST_DUE: usize = 1 << 16;

/// A request's place under one bound, or its place in the queue.
#[derive(Debug)]
struct Ticket {
    cell: CellName,
    bounded: Bounded,
    who: Waiting,
    places: u32,
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
pub(super) struct Leave(Ticket, Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Held,
    Waited,
}

// === impl Bounds ===

impl Bounds {
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
            Kind::Held => entries.leave(ticket.bounded, ticket.who.worker, ticket.places),
            Kind::Waited => entries.give_up(ticket.bounded.tag, ticket.who),
        });
        let mut due = self.due.borrow_mut();
        if left.is_err() && due.len() < MOST_DUE {
            due.push(leave);
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
    /// True if something is counted here, or may be, so that [`Self::keep_in_flight`] is to be called on ticks.
    #[must_use]
    pub fn count_in_flight(&self) -> bool {
        self.in_flight.workers.borrow().is_some()
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
            places: met.places,
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
                    entries.count_again(ticket.bounded, own, ticket.places);
                    Vec::new()
                })?;
                ticket.who.worker = own;
            }
            let Some(Ticket {
                cell, bounded, who, ..
            }) = &tickets.waits
            else {
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
