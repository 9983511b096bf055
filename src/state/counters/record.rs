//! A record of a counter: a bucket's or a window's, and how it is laid out.

use super::{RECORD, word};
use crate::host::Timestamp;

/// The bit of [`Record::unit`] that marks a window's, and that of [`Record::within`] that marks one overdrawn.
const OF_WINDOW: u64 = 1 << 63;
const OVERDRAWN: u64 = 1 << 63;

/// One counter: a bucket's, or a window's, which has other words in the place of the last three ([`Record::counts`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Tells it from the other records of its cell.
    pub tag: u64,
    /// When nothing will be owed any more.
    pub moment: Timestamp,
    /// The nanoseconds that one request owes.
    pub unit: u64,
    /// How much of what is owed lies in the bucket, in nanoseconds. What is owed beyond that is overdrawn.
    pub within: u64,
    /// What was given back so far from before others, in nanoseconds. It wraps.
    pub returned: u64,
}

/// What a bucket owes, in nanoseconds: so long it takes to be full again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Debt {
    /// All of it.
    pub owed: u64,
    /// The part of it that lies below empty, which drains first. Only what a request has used beyond what it took
    /// leads there, and it is never forgiven.
    pub overdrawn: u64,
}

/// What was counted in a window, and in the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// When the window began.
    pub start: Timestamp,
    /// What was counted since.
    pub current: u64,
    /// What had been counted in the one before.
    pub previous: u64,
    /// More was used than there was. That is never forgiven.
    pub overdrawn: bool,
}

impl Record {
    /// In [`Self::within`]: nothing is overdrawn, whatever is owed.
    pub const ALL: u64 = u64::MAX;

    /// A record of a bucket that owes `debt` at `now`.
    #[must_use]
    pub fn of(tag: u64, unit: u64, debt: Debt, now: Timestamp, returned: u64) -> Self {
        Self {
            tag,
            moment: Timestamp(now.0.saturating_add(debt.owed)),
            unit,
            within: match debt.overdrawn {
                0 => Self::ALL,
                overdrawn => debt.owed.saturating_sub(overdrawn),
            },
            returned,
        }
    }

    /// A record of a window: it says something until `until`.
    #[must_use]
    pub fn of_window(tag: u64, counts: Counts, until: Timestamp) -> Self {
        let overdrawn = if counts.overdrawn { OVERDRAWN } else { 0 };
        Self {
            tag,
            moment: until,
            unit: counts.start.0 | OF_WINDOW,
            within: counts.current.min(!OVERDRAWN) | overdrawn,
            returned: counts.previous,
        }
    }

    /// What was counted. `None`: it is no window's.
    #[must_use]
    pub fn counts(&self) -> Option<Counts> {
        self.is_of_window().then_some(Counts {
            start: Timestamp(self.unit & !OF_WINDOW),
            current: self.within & !OVERDRAWN,
            previous: self.returned,
            overdrawn: self.within & OVERDRAWN != 0,
        })
    }

    fn is_of_window(&self) -> bool {
        self.unit & OF_WINDOW != 0
    }

    /// For how many nanoseconds it is overdrawn still.
    #[must_use]
    pub fn overdrawn(&self, now: Timestamp) -> u64 {
        match self.counts() {
            None => self.debt(now).overdrawn,
            Some(Counts {
                overdrawn: true, ..
            }) => self.moment.0.saturating_sub(now.0),
            Some(_) => 0,
        }
    }

    /// The record of a bucket when so many nanoseconds of its debt are given back. `behind`: others have taken of it since, and
    /// their receipts must know.
    #[must_use]
    pub fn less(self, nanoseconds: u64, behind: bool) -> Self {
        let returned = if behind { nanoseconds } else { 0 };
        Self {
            moment: Timestamp(self.moment.0.saturating_sub(nanoseconds)),
            within: match self.within {
                Self::ALL => Self::ALL,
                within => within.saturating_sub(nanoseconds),
            },
            returned: self.returned.wrapping_add(returned),
            ..self
        }
    }

    /// The record when the clock was set back by so many nanoseconds, to `now`. A debt keeps its size. A window lies in the
    /// calendar and stays, but lasts no longer from now on than it has lasted in all.
    pub(super) fn set_back(self, nanoseconds: u64, now: Timestamp) -> Self {
        if !self.is_of_window() {
            let moment = Timestamp(self.moment.0.saturating_sub(nanoseconds));
            return Self { moment, ..self };
        }
        let start = self.unit & !OF_WINDOW;
        let whole = self.moment.0.saturating_sub(start);
        Self {
            moment: self.moment.min(Timestamp(now.0.saturating_add(whole))),
            unit: start.min(now.0) | OF_WINDOW,
            ..self
        }
    }

    /// What a bucket owes at `now`; nothing, if it is none.
    #[must_use]
    pub fn debt(&self, now: Timestamp) -> Debt {
        if self.is_of_window() {
            return Debt::default();
        }
        let owed = self.moment.0.saturating_sub(now.0);
        Debt {
            owed,
            overdrawn: owed.saturating_sub(self.within),
        }
    }

    pub(super) fn encode(self) -> [u8; RECORD] {
        let mut raw = [0; RECORD];
        if let ([tag, moment, unit, within, returned], _) = raw.as_chunks_mut() {
            *tag = self.tag.to_le_bytes();
            *moment = self.moment.0.to_le_bytes();
            *unit = self.unit.to_le_bytes();
            *within = self.within.to_le_bytes();
            *returned = self.returned.to_le_bytes();
        }
        raw
    }

    pub(super) fn decode(raw: &[u8; RECORD]) -> Self {
        Self {
            tag: word(raw, 0),
            moment: Timestamp(word(raw, 1)),
            unit: word(raw, 2),
            within: word(raw, 3),
            returned: word(raw, 4),
        }
    }
}
