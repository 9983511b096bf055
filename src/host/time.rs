//! A moment, to the nanosecond.

use std::time::Duration;

/// Nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The moment `later` after this one; the end of time if that lies beyond it.
    #[must_use]
    #[inline]
    pub fn after(self, later: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(later)))
    }

    /// The time from `earlier` to this moment; zero if the clock was set back meanwhile.
    #[must_use]
    #[inline]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment so many whole seconds after 1970.
    #[must_use]
    #[inline]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }
}

/// A duration in nanoseconds; some 584 years at most.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Whole seconds, rounded up: what a caller is told to wait.
#[must_use]
#[inline]
pub fn seconds_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(seconds_up(Duration::from_nanos(1)), 1);
        assert_eq!(seconds_up(Duration::from_secs(2)), 2);
        assert_eq!(seconds_up(Duration::ZERO), 0);
    }
}
