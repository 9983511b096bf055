//! Windows: what was counted in this one, and in the one before it.
//!
//! A fixed window is a second, a minute, an hour, a day or a month of the calendar, and forgets all at its end. A sliding window looks
//! back over one period: all of this window, and of the one before it the share that the period still covers, as if that had
//! come evenly. All arithmetic is in whole nanoseconds, and rounds so that never more is let through.
//!
//! A window that begins later than now is one of before the clock was set back: what was counted in it counts now.

use std::time::Duration;

use super::algorithm::{Level, Refused};
use crate::calendar::{days_to, month_of};
use crate::config::policy::Rate;
use crate::host::Timestamp;
use crate::state::counters::Counts;

const SECOND: u64 = 1_000_000_000;
const DAY: i64 = 86_400;

/// A limit that is counted in windows, ready to decide by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    quantity: u64,
    span: Span,
}

/// When windows begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    /// After each other, so long each. Of each the next remembers its share.
    Sliding { period: u64 },
    /// As long, as the calendar of those so many seconds east of Greenwich divides time.
    Fixed { period: u64, utc_offset: i32 },
    /// The months of that calendar.
    Month { utc_offset: i32 },
}

impl Window {
    /// The last period of `rate`, as far as two windows tell.
    #[must_use]
    pub fn sliding(rate: Rate) -> Self {
        Self {
            quantity: rate.quantity,
            span: Span::Sliding {
                period: nanoseconds(rate.period),
            },
        }
    }

    /// The windows of the calendar.
    #[must_use]
    pub fn fixed(rate: Rate, utc_offset: i32) -> Self {
        let span = if rate.period == Rate::MONTH {
            Span::Month { utc_offset }
        } else {
            Span::Fixed {
                period: nanoseconds(rate.period),
                utc_offset,
            }
        };
        Self {
            quantity: rate.quantity,
            span,
        }
    }

    /// True of one that looks back over one period.
    #[must_use]
    pub fn slides(&self) -> bool {
        matches!(self.span, Span::Sliding { .. })
    }

    /// What these counts are at `now`.
    #[must_use]
    pub fn at(&self, counts: Option<Counts>, now: Timestamp) -> Counts {
        let start = self.start(now);
        let fresh = Counts {
            start,
            ..Counts::default()
        };
        match counts {
            Some(counts) if counts.start >= start => Counts { start, ..counts },
            Some(counts) if self.is_next(counts.start, start) => Counts {
                previous: counts.current,
                ..fresh
            },
            _ => fresh,
        }
    }

    /// What is counted when `amount` was taken. Nothing can be taken from a limit that is overdrawn, not even nothing.
    ///
    /// # Errors
    /// [`Refused`] when so much is not there.
    pub fn take(&self, counts: Counts, amount: u64, now: Timestamp) -> Result<Counts, Refused> {
        if self.used(counts, now).saturating_add(amount) <= self.quantity {
            return Ok(Counts {
                current: counts.current.saturating_add(amount),
                ..counts
            });
        }
        Err(if amount > self.quantity {
            Refused::TooLarge
        } else {
            Refused::Full
        })
    }

    /// What is counted when so much more was used, whether it was there or not.
    #[must_use]
    pub fn overdraw(&self, counts: Counts, amount: u64, now: Timestamp) -> Counts {
        let taken = Counts {
            current: counts.current.saturating_add(amount),
            ..counts
        };
        Counts {
            overdrawn: counts.overdrawn || self.used(taken, now) > self.quantity,
            ..taken
        }
    }

    /// What is counted when so much is given back of what was taken in the window that began at `taken_in`.
    #[must_use]
    pub fn give_back(&self, counts: Counts, amount: u64, taken_in: Timestamp) -> Counts {
        let (mut current, mut previous) = (counts.current, counts.previous);
        if taken_in == counts.start {
            current = current.saturating_sub(amount);
        } else if self.is_next(taken_in, counts.start) {
            previous = previous.saturating_sub(amount);
        }
        Counts {
            current,
            previous,
            ..counts
        }
    }

    /// A window in which nothing is left.
    #[must_use]
    pub fn full(&self, now: Timestamp) -> Counts {
        Counts {
            start: self.start(now),
            current: self.quantity,
            ..Counts::default()
        }
    }

    /// How much is counted now.
    #[must_use]
    pub fn used(&self, counts: Counts, now: Timestamp) -> u64 {
        let Span::Sliding { period } = self.span else {
            return counts.current;
        };
        let left = period.saturating_sub(now.0.saturating_sub(counts.start.0));
        let share = (u128::from(counts.previous) * u128::from(left)).div_ceil(period.into());
        let share = u64::try_from(share).unwrap_or(u64::MAX);
        counts.current.saturating_add(share)
    }

    /// The time until so much could be taken, if nobody takes anything meanwhile; zero if it can be now. Of more than the
    /// limit it is the time until nothing is counted any more.
    #[must_use]
    pub fn wait(&self, counts: Counts, amount: u64, now: Timestamp) -> Duration {
        let room = self.quantity.saturating_sub(amount);
        if self.used(counts, now) <= room {
            return Duration::ZERO;
        }
        let Span::Sliding { period } = self.span else {
            return self.end(counts.start).since(now);
        };
        // So long before the end of the window that covers them in part, `count` have shrunk to `room`.
        let before_end = |count: u64, room: u64| {
            let before = u128::from(room) * u128::from(period) / u128::from(count.max(1));
            u64::try_from(before).unwrap_or(period).min(period)
        };
        let end = self.end(counts.start);
        let moment = match room.checked_sub(counts.current) {
            Some(room) => end.0.saturating_sub(before_end(counts.previous, room)),
            None => {
                let next = end.0.saturating_add(period);
                next.saturating_sub(before_end(counts.current, room))
            }
        };
        Timestamp(moment).since(now)
    }

    /// What is left.
    #[must_use]
    pub fn level(&self, counts: Counts, now: Timestamp) -> Level {
        let remaining = self.quantity.saturating_sub(self.used(counts, now));
        let next = if remaining < self.quantity {
            self.wait(counts, remaining.saturating_add(1), now)
        } else {
            Duration::ZERO
        };
        Level {
            remaining,
            next,
            full: self.wait(counts, self.quantity, now),
        }
    }

    /// From when on these counts say nothing any more.
    #[must_use]
    pub fn until(&self, counts: Counts) -> Timestamp {
        let end = self.end(counts.start);
        match self.span {
            Span::Sliding { period } if counts.current > 0 => {
                Timestamp(end.0.saturating_add(period))
            }
            _ => end,
        }
    }

    /// True if a sliding window that began at `start` is the one before that which began at `next`.
    fn is_next(&self, start: Timestamp, next: Timestamp) -> bool {
        match self.span {
            Span::Sliding { period } => start.0.saturating_add(period) == next.0,
            Span::Fixed { .. } | Span::Month { .. } => false,
        }
    }

    /// When the window of this moment began.
    fn start(&self, now: Timestamp) -> Timestamp {
        match self.span {
            Span::Sliding { period } => Timestamp(now.0 - now.0 % period),
            Span::Fixed { period, utc_offset } => {
                let since = local(now, utc_offset).rem_euclid(i128::from(period));
                let since = u64::try_from(since).unwrap_or(0);
                Timestamp(now.0.saturating_sub(since))
            }
            Span::Month { utc_offset } => {
                let (year, month) = month_of(day(now, utc_offset));
                beginning(year, month, utc_offset)
            }
        }
    }

    /// When the window that began then ends.
    fn end(&self, start: Timestamp) -> Timestamp {
        match self.span {
            Span::Sliding { period } | Span::Fixed { period, .. } => {
                Timestamp(start.0.saturating_add(period))
            }
            Span::Month { utc_offset } => match month_of(day(start, utc_offset)) {
                (year, 12) => beginning(year + 1, 1, utc_offset),
                (year, month) => beginning(year, month + 1, utc_offset),
            },
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// The nanoseconds since 1970 on the clocks there.
fn local(now: Timestamp, utc_offset: i32) -> i128 {
    i128::from(now.0) + i128::from(utc_offset) * i128::from(SECOND)
}

/// The days since 1970 in the calendars there.
fn day(now: Timestamp, utc_offset: i32) -> i64 {
    let seconds = local(now, utc_offset).div_euclid(i128::from(SECOND));
    i64::try_from(seconds).unwrap_or(0).div_euclid(DAY)
}

/// When a month begins there.
fn beginning(year: i64, month: i64, utc_offset: i32) -> Timestamp {
    let seconds = days_to(year, month, 1) * DAY - i64::from(utc_offset);
    Timestamp::from_seconds(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests;
