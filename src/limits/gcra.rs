//! The generic cell rate algorithm: a token bucket that is kept as one debt, the time until it is full again.
//!
//! Each request adds an interval for each that it takes, and one that would owe more than the whole bucket's worth is
//! refused. The debt drains with time by itself (it is stored as the moment when nothing will be owed, the *theoretical
//! arrival time* of the algorithm's papers), so a bucket needs no timer, no count and no window. All arithmetic is in
//! whole nanoseconds, and rounds so that never more is let through.

use std::time::Duration;

use super::algorithm::{Level, Refused};
use crate::config::policy::Rate;
use crate::state::counters::Debt;

/// A rate, ready to decide by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    /// Nanoseconds in which one more request becomes possible.
    interval: u64,
    /// Nanoseconds in which an empty bucket becomes full.
    capacity: u64,
}

impl Gcra {
    /// A bucket of `rate.burst` requests, refilled evenly.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let period = u64::try_from(rate.period.as_nanos()).unwrap_or(u64::MAX);
        // Rounded up: fifty intervals never pass in less than the period.
        let interval = period.div_ceil(rate.quantity.max(1)).max(1);
        Self {
            interval,
            capacity: interval.saturating_mul(rate.burst.max(1)),
        }
    }

    /// What the bucket owes when `amount` was taken from it. Nothing can be taken from one that is overdrawn, not even
    /// nothing.
    ///
    /// # Errors
    /// [`Refused`] when so much is not there.
    #[inline]
    pub fn take(&self, debt: Debt, amount: u64) -> Result<Debt, Refused> {
        let owed = debt.owed.saturating_add(self.worth(amount));
        if owed <= self.capacity {
            return Ok(Debt { owed, ..debt });
        }
        Err(if self.worth(amount) > self.capacity {
            Refused::TooLarge
        } else {
            Refused::Full
        })
    }

    /// The time until so much could be taken, if nobody takes anything meanwhile; zero if it can be now. Of more than the
    /// bucket holds it is the time until the bucket is full.
    #[must_use]
    #[inline]
    pub fn wait(&self, debt: Debt, amount: u64) -> Duration {
        let room = self.capacity.saturating_sub(self.worth(amount));
        Duration::from_nanos(debt.owed.saturating_sub(room))
    }

    /// The nanoseconds that so much owes.
    #[must_use]
    #[inline]
    pub fn worth(&self, amount: u64) -> u64 {
        self.interval.saturating_mul(amount)
    }

    /// The nanoseconds that one request owes: the unit in which a debt under this rate is counted.
    #[must_use]
    #[inline]
    pub fn unit(&self) -> u64 {
        self.interval
    }

    /// The debt under this rate of one that was counted in another unit: as many requests are owed as before, to the
    /// nanosecond, rounded up. A bucket that has become smaller is at most empty, but for what was overdrawn.
    #[must_use]
    #[inline]
    pub fn carried_over(&self, debt: Debt, unit: u64) -> Debt {
        let owed = rescaled(debt.owed, unit, self.interval);
        // What is not overdrawn, as nearly all, need not be reckoned.
        let overdrawn = match debt.overdrawn {
            0 => 0,
            overdrawn => rescaled(overdrawn, unit, self.interval),
        };
        Debt {
            owed: owed.min(self.capacity.saturating_add(overdrawn)),
            overdrawn,
        }
    }

    /// The debt, counted in `unit`, when so much more of this rate's requests was used, whether it was there or not. What
    /// of it lies beyond the bucket is overdrawn.
    #[must_use]
    pub fn overdraw(&self, debt: Debt, unit: u64, amount: u64) -> Debt {
        let used = rescaled(self.worth(amount), self.interval, unit);
        let owed = debt.owed.saturating_add(used);
        let bucket = rescaled(self.capacity, self.interval, unit);
        let below_empty = owed.saturating_sub(bucket).min(used);
        Debt {
            owed,
            overdrawn: debt.overdrawn.saturating_add(below_empty).min(owed),
        }
    }

    /// A bucket that is empty, and begins to fill only after so many nanoseconds.
    #[must_use]
    pub fn empty_for(&self, nanoseconds: u64) -> Debt {
        Debt {
            owed: self.capacity.saturating_add(nanoseconds),
            overdrawn: 0,
        }
    }

    /// What a bucket holds that owes so much.
    #[must_use]
    #[inline]
    pub fn level(&self, debt: Debt) -> Level {
        let owed = debt.owed;
        let remaining = self.capacity.saturating_sub(owed) / self.interval;
        // One more is possible as soon as the debt has shrunk to what `remaining + 1` leaves over.
        let one_more = self.worth(remaining.saturating_add(1)).min(self.capacity);
        let next = owed.saturating_sub(self.capacity - one_more);
        Level {
            remaining,
            next: Duration::from_nanos(next),
            full: Duration::from_nanos(owed),
        }
    }
}

/// As much in another unit, rounded up to the nanosecond.
#[inline]
fn rescaled(nanoseconds: u64, from: u64, to: u64) -> u64 {
    if from == to || from == 0 {
        return nanoseconds;
    }
    let scaled = (u128::from(nanoseconds) * u128::from(to)).div_ceil(from.into());
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
