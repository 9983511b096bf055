//! How one limit stands after a decision, and what a request took of it.

use std::rc::Rc;

use super::Rule;
use super::algorithm::{Level, Refused};
use crate::host::{CellName, Timestamp};
use crate::state::counters::{Record, Slot};

/// How a limit stands after a decision.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) rule: Rc<Rule>,
    /// Where its record lies, and under which tag.
    pub(super) cell: CellName,
    pub(super) tag: u64,
    /// How much the request asked for.
    pub(super) amount: u64,
    /// The limit is in force for it. Else it is counted, and nobody is told but the operator.
    pub(super) enforced: bool,
    /// Why it did not get it.
    pub(super) refused: Option<Refused>,
    /// It took it, and may give it back.
    pub(super) taken: bool,
    /// By which time it was decided.
    pub(super) now: Timestamp,
    /// Its record without the request.
    pub(super) before: Record,
    /// Its record.
    pub(super) record: Record,
    /// The era of its cell by then.
    pub(super) era: u64,
    pub(super) seat: Seat,
}

/// Where a limit's record lies in its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seat {
    /// It is there.
    Own(Slot),
    /// There is none, but room for it.
    Free,
    /// There is none, and another has to go. `inherited`: that one is of the same limit, and what it owes goes over.
    TakenOver { slot: Slot, inherited: bool },
    /// There is none, and no other can go.
    Nowhere,
}

impl Standing {
    /// What is left of it.
    #[inline]
    pub(super) fn level(&self) -> Level {
        self.rule.algorithm.level(&self.record, self.now)
    }

    /// The moment from which the limit lets one more such request through. `None`: it does already, or never will.
    #[inline]
    pub(super) fn opens(&self) -> Option<Timestamp> {
        if self.refused == Some(Refused::TooLarge) || !self.enforced {
            return None;
        }
        let wait = (self.rule.algorithm).wait(&self.record, self.amount, self.now);
        (!wait.is_zero()).then(|| self.now.after(wait))
    }

    /// The request was let through, and so much is used by now that its caller is to be warned.
    #[inline]
    pub(super) fn warns(&self) -> bool {
        // How much is left is not reckoned where nobody is to be warned.
        let may_warn = self.enforced && self.rule.warn_at.is_some();
        may_warn && self.rule.warns_at(self.level().remaining)
    }

    /// The request is refused, by this limit or by another one: nothing was taken.
    #[inline]
    pub(super) fn take_nothing(&mut self) {
        self.record = self.before;
        self.taken = false;
    }
}
