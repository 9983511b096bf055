//! The algorithms by which limits count. What each keeps lies in the words of a record, which the rest of the limits hands
//! on without reading it.

use std::time::Duration;

use super::gcra::Gcra;
use super::window::Window;
use crate::config::policy::{self, Limit};
use crate::host::Timestamp;
use crate::state::counters::{Counts, Debt, Record};

/// How a limit counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Algorithm {
    TokenBucket(Gcra),
    Window(Window),
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// How many requests would be let through now.
    pub remaining: u64,
    /// The time until `remaining` grows; zero when nothing is used.
    pub next: Duration,
    /// The time until nothing is used.
    pub full: Duration,
}

/// A request does not fit the limit, whose record is to stay as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not now, but after a wait.
    Full,
    /// Never: it asks for more than the whole limit.
    TooLarge,
}

/// What a receipt knows of what was taken of a limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    /// How much was taken, and how much of it was used in the end.
    pub(super) amount: u64,
    pub(super) used: u64,
    /// When it was taken, and the record as it was then.
    pub(super) at: Timestamp,
    pub(super) record: Record,
}

impl Algorithm {
    pub(super) fn new(limit: &Limit) -> Self {
        match limit.algorithm {
            policy::Algorithm::TokenBucket => Self::TokenBucket(Gcra::new(limit.rate)),
            policy::Algorithm::SlidingWindow => Self::Window(Window::sliding(limit.rate)),
            policy::Algorithm::FixedWindow { utc_offset } => {
                Self::Window(Window::fixed(limit.rate, utc_offset))
            }
        }
    }

    /// As the configuration names it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::TokenBucket(_) => "token_bucket",
            Self::Window(window) if window.slides() => "sliding_window",
            Self::Window(_) => "fixed_window",
        }
    }

    /// The record of a subject of which nothing was counted. `returned` is what buckets begin to count from.
    #[inline]
    pub(super) fn fresh(&self, tag: u64, returned: u64, now: Timestamp) -> Record {
        match self {
            Self::TokenBucket(gcra) => gcra.record(tag, Debt::default(), now, returned),
            Self::Window(window) => window.record(tag, window.at(None, now)),
        }
    }

    /// What a record is at this time and under this configuration, and whether that is to be written down though nothing is
    /// taken.
    #[inline]
    pub(super) fn carried_over(&self, record: Record, now: Timestamp) -> (Record, bool) {
        match self {
            Self::TokenBucket(gcra) => {
                let before = record.debt(now);
                let debt = gcra.carried_over(before, record.unit);
                if debt == before && record.unit == gcra.unit() {
                    return (record, false);
                }
                (gcra.record(record.tag, debt, now, record.returned), true)
            }
            Self::Window(window) => {
                let counts = window.at(record.counts(), now);
                (window.record(record.tag, counts), false)
            }
        }
    }

    /// The record of a subject that starts from what another one of the limit has used.
    pub(super) fn inherited(
        &self,
        from: &Record,
        tag: u64,
        returned: u64,
        now: Timestamp,
    ) -> Record {
        match self {
            Self::TokenBucket(gcra) => {
                let debt = gcra.carried_over(from.debt(now), from.unit);
                gcra.record(tag, debt, now, returned)
            }
            Self::Window(window) => window.record(tag, window.at(from.counts(), now)),
        }
    }

    /// The record when `amount` was taken.
    #[inline]
    pub(super) fn take(
        &self,
        record: Record,
        amount: u64,
        now: Timestamp,
    ) -> Result<Record, Refused> {
        match self {
            Self::TokenBucket(gcra) => {
                let debt = gcra.take(record.debt(now), amount)?;
                Ok(gcra.record(record.tag, debt, now, record.returned))
            }
            Self::Window(window) => {
                let counts = window.take(counts(&record), amount, now)?;
                Ok(window.record(record.tag, counts))
            }
        }
    }

    /// The record when so much more was used, whether it was there or not.
    pub(super) fn overdraw(&self, record: Record, amount: u64, now: Timestamp) -> Record {
        match self {
            Self::TokenBucket(gcra) => {
                let debt = gcra.overdraw(record.debt(now), record.unit, amount);
                Record::of(record.tag, record.unit, debt, now, record.returned)
            }
            Self::Window(window) => {
                let counts = window.at(record.counts(), now);
                window.record(record.tag, window.overdraw(counts, amount, now))
            }
        }
    }

    /// A record of which nothing can be taken before so many nanoseconds, or the end of the window.
    pub(super) fn full_for(&self, tag: u64, nanoseconds: u64, now: Timestamp) -> Record {
        match self {
            Self::TokenBucket(gcra) => gcra.record(tag, gcra.empty_for(nanoseconds), now, 0),
            Self::Window(window) => window.record(tag, window.full(now)),
        }
    }

    /// How much a record owes, in whatever measure it can be compared with others of its limit.
    pub(super) fn owes(&self, record: &Record, now: Timestamp) -> u64 {
        match self {
            Self::TokenBucket(gcra) => gcra.carried_over(record.debt(now), record.unit).owed,
            Self::Window(window) => window.used(window.at(record.counts(), now), now),
        }
    }

    /// The time until so much could be taken, if nobody takes anything meanwhile; zero if it can be now. Of more than the
    /// limit it is the time until nothing is used.
    #[inline]
    pub(super) fn wait(&self, record: &Record, amount: u64, now: Timestamp) -> Duration {
        match self {
            Self::TokenBucket(gcra) => gcra.wait(record.debt(now), amount),
            Self::Window(window) => window.wait(counts(record), amount, now),
        }
    }

    /// What is left.
    #[inline]
    pub(super) fn level(&self, record: &Record, now: Timestamp) -> Level {
        match self {
            Self::TokenBucket(gcra) => gcra.level(record.debt(now)),
            Self::Window(window) => window.level(counts(record), now),
        }
    }

    /// The record when what was not used is given back, as far as it has certainly not drained yet, and whether others have
    /// taken of it since. `None`: all has drained.
    pub(super) fn give_back(
        &self,
        record: Record,
        taken: &Taken,
        now: Timestamp,
    ) -> Option<(Record, bool)> {
        match self {
            Self::TokenBucket(gcra) => gcra.give_back(record, taken, now),
            Self::Window(window) => {
                let before = window.at(record.counts(), now);
                let unused = taken.amount.saturating_sub(taken.used);
                let taken_in = counts(&taken.record).start;
                let after = window.give_back(before, unused, taken_in);
                (after != before).then(|| (window.record(record.tag, after), false))
            }
        }
    }
}

fn counts(record: &Record) -> Counts {
    record.counts().unwrap_or_default()
}

impl Gcra {
    #[inline]
    fn record(&self, tag: u64, debt: Debt, now: Timestamp, returned: u64) -> Record {
        Record::of(tag, self.unit(), debt, now, returned)
    }

    /// A bucket's debt drains in the order in which it was taken, see `receipt.rs`.
    fn give_back(&self, record: Record, taken: &Taken, now: Timestamp) -> Option<(Record, bool)> {
        if record.unit != self.unit() {
            return None;
        }
        let worth = self.worth(taken.amount);
        let unused = worth.saturating_sub(self.worth(taken.used));
        let owed = record.debt(now).owed;
        let by_time = worth.saturating_sub(now.0.saturating_sub(taken.at.0));
        let since = record.returned.wrapping_sub(taken.record.returned);
        let by_place = (taken.record.moment.0)
            .saturating_sub(now.0)
            .saturating_sub(since);
        let still_owed = unused.min(by_time.max(by_place)).min(owed);
        let behind = by_place < owed;
        (still_owed > 0).then(|| (record.less(still_owed, behind), behind))
    }
}

impl Window {
    #[inline]
    fn record(&self, tag: u64, counts: Counts) -> Record {
        Record::of_window(tag, counts, self.until(counts))
    }
}
