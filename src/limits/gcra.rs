//! The generic cell rate algorithm: a token bucket that is kept as one moment.
//!
//! The moment is when the bucket will be full again (the *theoretical arrival time* of the algorithm's papers). Each
//! request pushes it one interval on, and a request that would push it further than the whole bucket's worth into
//! the future is refused. So a bucket needs no timer, no count and no window, and a record of the past is a full
//! bucket. All arithmetic is in whole nanoseconds, and rounds so that never more is let through.

use std::time::Duration;

use crate::config::policy::Rate;
use crate::host::Timestamp;

/// A rate, ready to decide by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    /// Nanoseconds in which one more request becomes possible.
    interval: u64,
    /// Nanoseconds in which an empty bucket becomes full.
    capacity: u64,
}

/// What a bucket holds after a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// How many requests would be let through now.
    pub remaining: u64,
    /// The time until `remaining` grows by one; zero when the bucket is full.
    pub next: Duration,
    /// The time until the bucket is full.
    pub full: Duration,
}

/// A request does not fit the bucket; its level says how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub Level);

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

    /// Decides on one request at `now`, given the bucket's moment, if it has one.
    ///
    /// # Errors
    /// [`Refused`] when the bucket is empty; its moment is to stay as it is.
    pub fn take(
        &self,
        moment: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(Timestamp, Level), Refused> {
        let moment = self.start(moment, now);
        let taken = Timestamp(moment.0.saturating_add(self.interval));
        if taken.0.saturating_sub(now.0) > self.capacity {
            return Err(Refused(self.level(Some(moment), now)));
        }
        Ok((taken, self.level(Some(taken), now)))
    }

    /// The nanoseconds that one request owes: the unit in which a debt under this rate is counted.
    #[must_use]
    pub fn unit(&self) -> u64 {
        self.interval
    }

    /// The moment under this rate of a debt that was counted in another unit: as many requests are owed as before, to the
    /// nanosecond, rounded up. A bucket that has become smaller is at most empty.
    #[must_use]
    pub fn carried_over(&self, moment: Timestamp, unit: u64, now: Timestamp) -> Timestamp {
        let debt = moment.0.saturating_sub(now.0);
        let debt = if unit == self.interval || unit == 0 {
            debt
        } else {
            let scaled = (u128::from(debt) * u128::from(self.interval)).div_ceil(unit.into());
            u64::try_from(scaled).unwrap_or(u64::MAX)
        };
        Timestamp(now.0.saturating_add(debt.min(self.capacity)))
    }

    /// What the bucket holds at `now`.
    #[must_use]
    pub fn level(&self, moment: Option<Timestamp>, now: Timestamp) -> Level {
        let debt = self.start(moment, now).0.saturating_sub(now.0);
        let remaining = (self.capacity - debt) / self.interval;
        // One more is possible as soon as the debt has shrunk to what `remaining + 1` leaves over.
        let next = debt.saturating_sub(
            self.capacity
                - (remaining + 1)
                    .saturating_mul(self.interval)
                    .min(self.capacity),
        );
        Level {
            remaining,
            next: Duration::from_nanos(next),
            full: Duration::from_nanos(debt),
        }
    }

    /// Where the bucket stands: not before now, and never emptier than empty.
    fn start(&self, moment: Option<Timestamp>, now: Timestamp) -> Timestamp {
        let latest = now.0.saturating_add(self.capacity);
        Timestamp(moment.map_or(now.0, |moment| moment.0.clamp(now.0, latest)))
    }
}

#[cfg(test)]
mod tests;
