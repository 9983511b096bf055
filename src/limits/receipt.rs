//! Receipts: what a request has taken of a limit, and how it is put right when it used less of it, nothing, or more.
//!
//! What is given back is never more than what is certainly still owed of it, however many others took and gave back
//! meanwhile, so nobody gains. A bucket's debt drains in the order in which it was taken. So a receipt knows two bounds: what
//! it took, less the time that has passed since; and where its part ended in the queue, less the time, and less all that
//! was given back meanwhile, as if that had stood in front of it. Both are right, and the larger one counts. When debts
//! of the cell changed in any other way (the clock was set back, a record was put out, another configuration counted
//! in another unit or in a smaller bucket), a new era has begun, and nothing is given back.
//!
//! A window knows what was taken in it, and the one after it what was taken in that before: there what was not used comes
//! back to the request.
//!
//! What was used beyond what was taken is owed in any case, even below empty.

use std::rc::Rc;

use super::Rule;
use super::algorithm::Taken;
use super::standing::{Seat, Standing};
use super::weigh::newcomer;
use crate::host::{CellName, Host, Timestamp};
use crate::state::counters::{Record, Records};
use crate::state::{Decision, Grid, StateError};

/// What is to be put right in one cell.
#[derive(Debug)]
pub(super) struct Corrections {
    pub(super) cell: CellName,
    all: Vec<Correction>,
}

/// What is to be put right with one limit.
#[derive(Debug, Clone)]
struct Correction {
    rule: Rc<Rule>,
    tag: u64,
    taken: Taken,
    /// The era of the cell when it was taken.
    era: u64,
}

/// How a cell's limits stand when they were put right.
pub(super) struct Corrected {
    pub(super) now: Timestamp,
    /// The record of each limit, in the order of the corrections.
    pub(super) records: Vec<Record>,
    /// What could not be written down, since the cell is full of those who have overdrawn.
    left: Vec<Correction>,
    /// How many records were put out.
    pub(super) forgotten: u64,
}

impl Corrections {
    /// All that was taken in a cell is to be given back.
    pub(super) fn to_nothing(standings: &[Standing], cell: CellName) -> Self {
        Self::to_used(standings.iter(), cell, |_| 0)
    }

    /// What was used is to stand in place of what was taken in a cell.
    pub(super) fn to_used<'s>(
        standings: impl Iterator<Item = &'s Standing>,
        cell: CellName,
        used: impl Fn(&Rule) -> u64,
    ) -> Self {
        let correction = |standing: &Standing| Correction {
            rule: Rc::clone(&standing.rule),
            tag: standing.tag,
            taken: Taken {
                amount: standing.amount,
                used: used(&standing.rule),
                at: standing.now,
                record: standing.record,
            },
            era: standing.era,
        };
        Self {
            cell,
            all: standings.map(correction).collect(),
        }
    }

    /// False if everything is as it should be.
    pub(super) fn are_needed(&self) -> bool {
        let wrong = |correction: &Correction| correction.taken.amount != correction.taken.used;
        self.all.iter().any(wrong)
    }

    /// True if all that was to be given back has drained meanwhile, and nothing else is owed.
    pub(super) fn have_drained(&self, now: Timestamp) -> bool {
        let drained = |correction: &Correction| {
            !correction.is_overdrawn() && correction.taken.record.moment <= now
        };
        self.all.iter().all(drained)
    }

    /// Puts the records right.
    pub(super) fn write<H: Host>(&self, host: &H) -> Result<Corrected, StateError> {
        Grid::update(host, self.cell, |value| {
            let mut records = Records::read(value, host.now());
            let mut corrected = Corrected {
                now: records.now(),
                records: Vec::with_capacity(self.all.len()),
                left: Vec::new(),
                forgotten: 0,
            };
            let mut changed = records.set_back();
            for correction in &self.all {
                if !correction.is_overdrawn() {
                    changed |= correction.give_back(&mut records);
                } else if correction.take_more(&mut records, &mut corrected.forgotten) {
                    changed = true;
                } else {
                    corrected.left.push(correction.clone());
                }
                corrected.records.push(correction.record(&records));
            }
            if changed {
                Decision::Replace(records.take_bytes(), corrected)
            } else {
                Decision::Keep(corrected)
            }
        })
    }

    /// What is still to be put right then.
    pub(super) fn rest(&self, corrected: &mut Corrected) -> Option<Self> {
        let all = std::mem::take(&mut corrected.left);
        let cell = self.cell;
        (!all.is_empty()).then_some(Self { cell, all })
    }
}

impl Correction {
    /// More was used than was taken.
    fn is_overdrawn(&self) -> bool {
        self.taken.used > self.taken.amount
    }

    /// Gives back what was not used, as far as it has certainly not drained yet. False: all has.
    fn give_back(&self, records: &mut Records) -> bool {
        let now = records.now();
        let Some((slot, record)) = records.find(self.tag) else {
            return false;
        };
        if self.era != records.era() || now < self.taken.at {
            return false;
        }
        let Some((record, behind)) = self.rule.algorithm.give_back(record, &self.taken, now) else {
            return false;
        };
        if behind {
            records.note_returned(&record);
        }
        records.set(slot, record);
        true
    }

    /// Takes what was used beyond what had been taken. False: there is no place to write it down.
    fn take_more(&self, records: &mut Records, forgotten: &mut u64) -> bool {
        let (algorithm, now) = (&self.rule.algorithm, records.now());
        let more = self.taken.used.saturating_sub(self.taken.amount);
        if let Some((slot, record)) = records.find(self.tag) {
            records.set(slot, algorithm.overdraw(record, more, now));
            return true;
        }
        let found = newcomer(records, &self.rule, self.tag, records.room(), |_, _| false);
        let record = algorithm.overdraw(found.record, more, now);
        match found.seat {
            Seat::Own(slot) | Seat::TakenOver { slot, .. } => {
                records.set(slot, record);
                records.begin_era();
                *forgotten += 1;
            }
            Seat::Free => records.push(record),
            Seat::Nowhere => return false,
        }
        true
    }

    /// The limit's record as it is now.
    fn record(&self, records: &Records) -> Record {
        let (algorithm, now) = (&self.rule.algorithm, records.now());
        match records.find(self.tag) {
            Some((_, record)) => algorithm.carried_over(record, now).0,
            None => algorithm.fresh(self.tag, records.returned(), now),
        }
    }
}
