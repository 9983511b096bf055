//! The decision on several limits at once: all of them take the request, or none does.
//!
//! Limits in one cell are decided by one compare-and-swap. Several cells are all looked at first, then taken in the order
//! of their names, the same in every worker, and given back if one has filled up meanwhile or cannot be reached. In that
//! moment another request may find them fuller than a strictly serial order would have had them; never emptier.
//!
//! What is decided is a pure function of a cell's value and of the time, which is read after it.

use std::rc::Rc;

use super::Rule;
use super::gcra::{Level, Refused};
use super::headers;
use super::upkeep::{Owed, Taking, Upkeep};
use crate::host::{CellName, Host, Swap, Timestamp, Version, seconds_up};
use crate::state::counters::{Record, Records, Slot};
use crate::state::{self, Decision, Grid, StateError};

/// A limit and the record that it decides on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) rule: &'a Rc<Rule>,
    pub(super) cell: CellName,
    /// The cell is one of the callers that are known only by their address.
    pub(super) by_address: bool,
    pub(super) tag: u64,
}

/// What came of counting a request.
#[derive(Debug, Default)]
pub struct Count {
    standings: Vec<Standing>,
    refused: bool,
}

/// How a limit stands after a decision.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) rule: Rc<Rule>,
    pub(super) level: Level,
    pub(super) refused: bool,
    /// By which time it was decided.
    now: Timestamp,
    /// The bucket's moment before and after the request.
    before: Option<Timestamp>,
    after: Timestamp,
    seat: Seat,
}

/// Where a limit's record lies in its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    /// It is there.
    Own(Slot),
    /// There is none, but room for it.
    Free,
    /// There is none, and another has to go. `inherited`: that one is of the same limit, and what it owes goes over.
    TakenOver { slot: Slot, inherited: bool },
}

impl Count {
    /// True if a limit is full; nothing was taken then.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// The names of the limits that are full.
    pub fn full(&self) -> impl Iterator<Item = &str> {
        self.standings
            .iter()
            .filter(|standing| standing.refused)
            .map(|standing| standing.rule.name.as_str())
    }

    /// The fields that tell the caller; none if nothing was counted.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        headers::fields(&self.standings)
    }

    /// The moment from which all limits let one more request through, those included that this one has just emptied.
    /// `None`: they do already.
    #[must_use]
    pub fn opens(&self) -> Option<Timestamp> {
        let empty = |standing: &&Standing| standing.level.remaining == 0;
        let opens = |standing: &Standing| standing.now.after(standing.level.next);
        self.standings.iter().filter(empty).map(opens).max()
    }

    /// Whole seconds from `now` until all limits let one more request through; 0 if they do.
    #[must_use]
    pub fn wait(&self, now: impl FnOnce() -> Timestamp) -> u64 {
        self.opens()
            .map_or(0, |opens| seconds_up(opens.since(now())))
    }

    /// Of a request that is refused, the levels without it are told.
    fn new(mut standings: Vec<Standing>, refused: bool) -> Self {
        if refused {
            for standing in &mut standings {
                standing.level = standing.rule.gcra.level(standing.before, standing.now);
            }
        }
        Self { standings, refused }
    }

    /// This count, and behind it what another one found.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.standings.extend(other.standings);
        self.refused |= other.refused;
        self
    }
}

/// Counts a request against all claims, or against none of them. What comes back is in the claims' order.
pub(super) fn count<H: Host>(
    host: &H,
    upkeep: &Upkeep,
    claims: &[Claim<'_>],
) -> Result<Count, StateError> {
    match claims {
        [] => Ok(Count::default()),
        [first, others @ ..] if others.iter().all(|other| other.cell == first.cell) => {
            in_one_cell(host, upkeep, *first, claims)
        }
        _ => in_several_cells(host, upkeep, claims),
    }
}

/// How the limits stand without a request that is refused for another reason. Nothing is taken.
pub(super) fn look<H: Host>(host: &H, claims: &[Claim<'_>]) -> Result<Count, StateError> {
    let mut sorted = claims.to_vec();
    sorted.sort_by_key(|claim| claim.cell);
    let cells = Cell::look(host, &sorted)?;
    let standings = cells.into_iter().flat_map(|cell| cell.desk.standings);
    Ok(Count {
        refused: false,
        ..Count::new(standings.collect(), true)
    })
}

/// What nearly every request needs: the limits of one client. To sort it, and to look first, as several cells need, would
/// be two per cent of all that the filter adds.
fn in_one_cell<H: Host>(
    host: &H,
    upkeep: &Upkeep,
    first: Claim<'_>,
    claims: &[Claim<'_>],
) -> Result<Count, StateError> {
    let decided = update(host, first.cell, claims)?;
    decided.tell_forgotten(host, upkeep, first);
    Ok(Count::new(decided.standings, decided.refused))
}

/// Looks at all cells, then takes them in the order of their names.
fn in_several_cells<H: Host>(
    host: &H,
    upkeep: &Upkeep,
    claims: &[Claim<'_>],
) -> Result<Count, StateError> {
    let mut sorted: Vec<(usize, Claim<'_>)> = claims.iter().copied().enumerate().collect();
    sorted.sort_by_key(|(_, claim)| claim.cell);
    let (order, sorted): (Vec<usize>, Vec<Claim<'_>>) = sorted.into_iter().unzip();
    let mut cells = Cell::look(host, &sorted)?;
    let full_at_once = cells.iter().any(|cell| cell.desk.refused);
    let mut taken = 0;
    let mut came = Ok(!full_at_once);
    while came == Ok(true)
        && let Some(cell) = cells.get_mut(taken)
    {
        came = cell.take(host);
        taken += usize::from(came == Ok(true));
    }
    for cell in cells.iter().take(taken) {
        cell.desk.tell_forgotten(host, upkeep, cell.first);
        if came != Ok(true) {
            upkeep.give_back(host, cell.owed());
        }
    }
    let refused = !came?;
    if full_at_once {
        for cell in &mut cells {
            cell.settle(host, upkeep);
        }
    }
    let standings = cells.into_iter().flat_map(|cell| cell.desk.standings);
    let mut standings: Vec<_> = order.into_iter().zip(standings).collect();
    standings.sort_by_key(|(place, _)| *place);
    let standings = standings.into_iter().map(|(_, standing)| standing);
    Ok(Count::new(standings.collect(), refused))
}

/// Decides on the claims of one cell, and writes what came of it.
fn update<H: Host>(host: &H, cell: CellName, claims: &[Claim<'_>]) -> Result<Desk, StateError> {
    Grid::update(host, cell, |value| {
        let mut desk = Desk::new(value, host.now(), claims);
        let value = if desk.refused {
            desk.settled(claims)
        } else {
            Some(desk.taken(claims))
        };
        match value {
            Some(value) => Decision::Replace(value, desk),
            None => Decision::Keep(desk),
        }
    })
}

/// A cell that was looked at, and what is to become of it.
struct Cell<'c, 'a> {
    first: Claim<'a>,
    claims: &'c [Claim<'a>],
    version: Version,
    desk: Desk,
}

impl<'c, 'a> Cell<'c, 'a> {
    /// Looks at the cells of all claims, which are sorted by them. One look at the clock, after the last of them, serves all.
    fn look<H: Host>(host: &H, claims: &'c [Claim<'a>]) -> Result<Vec<Self>, StateError> {
        let mut values = Vec::new();
        for claims in claims.chunk_by(|one, other| one.cell == other.cell) {
            let first = *claims.first().ok_or(StateError::NoCell)?;
            values.push((first, claims, state::read(host, first.cell)?));
        }
        let clock = host.now();
        let cells = values
            .into_iter()
            .map(|(first, claims, (value, version))| Self {
                first,
                claims,
                version,
                desk: Desk::new(value, clock, claims),
            });
        Ok(cells.collect())
    }

    /// Takes what was looked at, and looks again as often as another worker was faster. False: a limit has filled up
    /// meanwhile, and nothing was taken.
    fn take<H: Host>(&mut self, host: &H) -> Result<bool, StateError> {
        let taken = self.desk.taken(self.claims);
        match host.swap_cell(self.first.cell, &taken, self.version) {
            Swap::Done => return Ok(true),
            Swap::Failed => return Err(StateError::Refused),
            Swap::Changed => {}
        }
        self.desk = update(host, self.first.cell, self.claims)?;
        Ok(!self.desk.refused)
    }

    /// Writes down what holds though the request is refused. Should another worker have been faster, the next request will.
    fn settle<H: Host>(&mut self, host: &H, upkeep: &Upkeep) {
        if let Some(settled) = self.desk.settled(self.claims)
            && host.swap_cell(self.first.cell, &settled, self.version) == Swap::Done
        {
            self.desk.tell_forgotten(host, upkeep, self.first);
        }
    }

    /// What was taken.
    fn owed(&self) -> Owed {
        let takings = self.claims.iter().zip(&self.desk.standings);
        Owed {
            cell: self.first.cell,
            at: self.desk.records.now(),
            takings: takings
                .map(|(claim, standing)| Taking {
                    tag: claim.tag,
                    unit: claim.rule.gcra.unit(),
                    moment: standing.after,
                })
                .collect(),
        }
    }
}

/// The claims of one cell, weighed: a pure function of its value and of the clock, which was read after it.
struct Desk {
    records: Records,
    standings: Vec<Standing>,
    refused: bool,
    /// The records have changed though nothing was taken: the clock was set back, or a debt was carried over from another
    /// configuration. That is to be written, or it would be reckoned anew each time, and never grow less.
    unsettled: bool,
    /// How many records were put out.
    forgotten: u64,
}

impl Desk {
    fn new(value: Vec<u8>, clock: Timestamp, claims: &[Claim<'_>]) -> Self {
        let records = Records::read(value, clock);
        let mut desk = Self {
            unsettled: records.set_back(),
            records,
            standings: Vec::with_capacity(claims.len()),
            refused: false,
            forgotten: 0,
        };
        let mut room = desk.records.room();
        for claim in claims {
            let (before, seat) = desk.find(claim, claims, &mut room);
            desk.weigh(claim, before, seat);
        }
        desk
    }

    /// Where a claim's record lies, and its moment as the claim's limit counts.
    fn find(
        &mut self,
        claim: &Claim<'_>,
        claims: &[Claim<'_>],
        room: &mut usize,
    ) -> (Option<Timestamp>, Seat) {
        let gcra = &claim.rule.gcra;
        if let Some((slot, record)) = self.records.find(claim.tag) {
            let moment = gcra.carried_over(record.moment, record.unit, self.records.now());
            let carried_over = claim.record(moment);
            if carried_over != record {
                self.records.set(slot, carried_over);
                self.unsettled = true;
            }
            return (Some(moment), Seat::Own(slot));
        }
        if *room > 0 {
            *room -= 1;
            return (None, Seat::Free);
        }
        let stays = |slot: Slot, tag: u64| {
            claims.iter().any(|claim| claim.tag == tag)
                || self.standings.iter().any(|standing| {
                    matches!(standing.seat, Seat::TakenOver { slot: taken, .. } if taken == slot)
                })
        };
        let now = self.records.now();
        let owes = |record: &Record| gcra.carried_over(record.moment, record.unit, now);
        match self.records.outgoing(claim.tag, owes, stays) {
            Some(outgoing) => {
                let moment = outgoing.inherited.as_ref().map(owes);
                let slot = outgoing.slot;
                let inherited = moment.is_some();
                (moment, Seat::TakenOver { slot, inherited })
            }
            // No request has as many limits as a cell has records.
            None => (None, Seat::Free),
        }
    }

    fn weigh(&mut self, claim: &Claim<'_>, before: Option<Timestamp>, seat: Seat) {
        let now = self.records.now();
        let (after, level, refused) = match claim.rule.gcra.take(before, now) {
            Ok((after, level)) => (after, level, false),
            Err(Refused(level)) => (before.unwrap_or(now), level, true),
        };
        self.refused |= refused;
        self.standings.push(Standing {
            rule: Rc::clone(claim.rule),
            level,
            refused,
            now,
            before,
            after,
            seat,
        });
    }

    /// The cell's value with the request taken.
    fn taken(&mut self, claims: &[Claim<'_>]) -> Vec<u8> {
        for (claim, standing) in claims.iter().zip(&self.standings) {
            let record = claim.record(standing.after);
            match standing.seat {
                Seat::Own(slot) => self.records.set(slot, record),
                Seat::Free => self.records.push(record),
                Seat::TakenOver { slot, .. } => {
                    self.records.set(slot, record);
                    self.forgotten += 1;
                }
            }
        }
        self.records.take_bytes()
    }

    /// The cell's value without the request, if it has to be written all the same. Whoever is refused for what it has
    /// inherited is written down too: what it is told of when to come back is then its own.
    fn settled(&mut self, claims: &[Claim<'_>]) -> Option<Vec<u8>> {
        for (claim, standing) in claims.iter().zip(&self.standings) {
            if let (true, Some(before)) = (standing.refused, standing.before)
                && let Seat::TakenOver {
                    slot,
                    inherited: true,
                } = standing.seat
            {
                self.records.set(slot, claim.record(before));
                self.unsettled = true;
                self.forgotten += 1;
            }
        }
        self.unsettled.then(|| self.records.take_bytes())
    }

    fn tell_forgotten<H: Host>(&self, host: &H, upkeep: &Upkeep, claim: Claim<'_>) {
        if self.forgotten > 0 {
            upkeep.forgotten(host, self.forgotten, claim.by_address);
        }
    }
}

impl Claim<'_> {
    /// The limit's record with this moment.
    fn record(&self, moment: Timestamp) -> Record {
        Record {
            tag: self.tag,
            moment,
            unit: self.rule.gcra.unit(),
        }
    }
}
