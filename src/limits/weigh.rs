//! The claims of one cell, weighed: what would become of them, as a pure function of the cell's value and of the clock.

use std::rc::Rc;

use super::Rule;
use super::standing::{Seat, Standing};
use crate::host::{CellName, Timestamp};
use crate::state::counters::{Record, Records, Slot};

/// A limit, the record that it decides on, and how much is asked of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) rule: &'a Rc<Rule>,
    pub(super) cell: CellName,
    pub(super) tag: u64,
    pub(super) amount: u64,
    /// The request is refused if it is. Else it is only told.
    pub(super) enforced: bool,
}

/// The claims of one cell, weighed.
pub(super) struct Weighed {
    records: Records,
    pub(super) standings: Vec<Standing>,
    /// One of the claims is refused.
    pub(super) refused: bool,
    /// The records have changed though nothing was taken: the clock was set back, or a debt was carried over from another
    /// configuration. That is to be written, or it would be reckoned anew each time, and never grow less.
    changed: bool,
    /// How many records were put out.
    pub(super) forgotten: u64,
}

impl Weighed {
    /// Weighs the claims against a cell's value. `clock` was read after the cell was.
    #[inline]
    pub(super) fn new(value: Vec<u8>, clock: Timestamp, claims: &[Claim<'_>]) -> Self {
        let records = Records::read(value, clock);
        let mut weighed = Self {
            changed: records.set_back(),
            records,
            standings: Vec::with_capacity(claims.len()),
            refused: false,
            forgotten: 0,
        };
        let mut room = weighed.records.room();
        for claim in claims {
            weighed.weigh(claim, claims, &mut room);
        }
        weighed
    }

    #[inline]
    fn weigh(&mut self, claim: &Claim<'_>, claims: &[Claim<'_>], room: &mut usize) {
        let found = self.find(claim, claims, room);
        let now = self.records.now();
        let taken = (claim.rule.algorithm).take(found.record, claim.amount, now);
        self.refused |= claim.enforced && taken.is_err();
        self.standings.push(Standing {
            rule: Rc::clone(claim.rule),
            cell: claim.cell,
            tag: claim.tag,
            amount: claim.amount,
            enforced: claim.enforced,
            refused: taken.err(),
            taken: taken.is_ok(),
            now,
            before: found.record,
            record: taken.unwrap_or(found.record),
            era: 0,
            seat: found.seat,
        });
    }

    /// Where a claim's record lies, and what it is as the claim's limit counts.
    #[inline]
    fn find(&mut self, claim: &Claim<'_>, claims: &[Claim<'_>], room: &mut usize) -> Found {
        let Some((slot, record)) = self.records.find(claim.tag) else {
            let stays = |slot: Slot, record: &Record| {
                claims.iter().any(|claim| claim.tag == record.tag)
                    || self.standings.iter().any(|standing| {
                        matches!(standing.seat, Seat::TakenOver { slot: taken, .. } if taken == slot)
                    })
            };
            let found = newcomer(&self.records, claim.rule, claim.tag, *room, stays);
            *room = room.saturating_sub(1);
            return found;
        };
        let now = self.records.now();
        let (record, rewritten) = claim.rule.algorithm.carried_over(record, now);
        if rewritten {
            self.records.set(slot, record);
            self.records.begin_era();
            self.changed = true;
        }
        Found {
            record,
            seat: Seat::Own(slot),
        }
    }

    /// The cell's value with the request taken.
    #[inline]
    pub(super) fn taken(&mut self) -> Vec<u8> {
        let takes_over = |standing: &Standing| matches!(standing.seat, Seat::TakenOver { .. });
        if self.standings.iter().any(takes_over) {
            self.records.begin_era();
        }
        let era = self.records.era();
        for standing in &mut self.standings {
            standing.era = era;
            let record = standing.record;
            match standing.seat {
                Seat::Own(slot) => self.records.set(slot, record),
                Seat::Free => self.records.push(record),
                Seat::TakenOver { slot, .. } => {
                    self.records.set(slot, record);
                    self.forgotten += 1;
                }
                // Nothing was taken of it.
                Seat::Nowhere => {}
            }
        }
        self.records.take_bytes()
    }

    /// The cell's value without the request, if it has to be written all the same. Whoever is refused for what it has
    /// inherited is written down too: what it is told of when to come back is then its own.
    #[inline]
    pub(super) fn without(&mut self) -> Option<Vec<u8>> {
        for standing in &self.standings {
            if standing.refused.is_some()
                && let Seat::TakenOver {
                    slot,
                    inherited: true,
                } = standing.seat
            {
                self.records.set(slot, standing.before);
                self.records.begin_era();
                self.changed = true;
                self.forgotten += 1;
            }
        }
        self.changed.then(|| self.records.take_bytes())
    }
}

/// Where a limit's record lies or is to lie, and what it starts from.
pub(super) struct Found {
    pub(super) record: Record,
    pub(super) seat: Seat,
}

/// Where a limit is written down that has no record in a cell with room for so many more. Those that `stays` says do not go
/// for it, nor does who has overdrawn: that is never forgiven. If none goes, nothing can be taken before one may.
pub(super) fn newcomer(
    records: &Records,
    rule: &Rule,
    tag: u64,
    room: usize,
    stays: impl Fn(Slot, &Record) -> bool,
) -> Found {
    let (algorithm, now) = (&rule.algorithm, records.now());
    let fresh = || algorithm.fresh(tag, records.returned(), now);
    if room > 0 {
        return Found {
            record: fresh(),
            seat: Seat::Free,
        };
    }
    let owes = |record: &Record| Timestamp(algorithm.owes(record, now));
    let stays = |slot: Slot, record: &Record| record.overdrawn(now) > 0 || stays(slot, record);
    let Some(outgoing) = records.outgoing(tag, owes, stays) else {
        let first = records.all().map(|record| record.overdrawn(now)).min();
        return Found {
            record: algorithm.full_for(tag, first.unwrap_or(0), now),
            seat: Seat::Nowhere,
        };
    };
    let (slot, inherited) = (outgoing.slot, outgoing.inherited.is_some());
    let record = match outgoing.inherited {
        Some(record) => algorithm.inherited(&record, tag, records.returned(), now),
        None => fresh(),
    };
    Found {
        record,
        seat: Seat::TakenOver { slot, inherited },
    }
}
