//! An exact bucket, in its simplest form, and a bound on what may pass when clocks differ.

/// A bucket of `burst` requests, of which one comes back each `interval` nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) quantity: u64,
    pub(crate) unit: &'static str,
    pub(crate) burst: u64,
}

impl Rate {
    pub(crate) const fn new(quantity: u64, unit: &'static str, burst: u64) -> Self {
        Self {
            quantity,
            unit,
            burst,
        }
    }

    /// Rounded up, as the filter says it rounds: never more is let through.
    pub(crate) fn interval(&self) -> i128 {
        let period: u64 = match self.unit {
            "second" => 1,
            "minute" => 60,
            "hour" => 3_600,
            _ => 86_400,
        };
        i128::from((period * 1_000_000_000).div_ceil(self.quantity))
    }

    pub(crate) fn capacity(&self) -> i128 {
        self.interval() * i128::from(self.burst)
    }
}

/// What is known of one bucket.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    rate: Rate,
    /// When it will be full, if every clock is right.
    full_at: i128,
    /// How many requests have passed.
    passed: i128,
    /// The least of `passed × interval − time` when each passed.
    least: i128,
    /// The latest time at which one has passed.
    latest: i128,
}

impl Bucket {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            full_at: i128::MIN,
            passed: 0,
            least: i128::MAX,
            latest: i128::MIN,
        }
    }

    /// How long until one more request fits; zero if it does now.
    pub(crate) fn wait(&self, now: i128) -> i128 {
        (self.full_at.max(now) + self.rate.interval() - self.rate.capacity() - now).max(0)
    }

    pub(crate) fn is_full(&self, now: i128) -> bool {
        self.full_at <= now
    }

    /// A request passes at `now`.
    pub(crate) fn take(&mut self, now: i128) {
        self.full_at = self.full_at.max(now) + self.rate.interval();
    }

    /// A request has passed on a worker whose clock says `read`, when no clock has said anything later than `latest`.
    /// False: that is one too many, whatever of these clocks counts.
    pub(crate) fn passes(&mut self, read: i128, latest: i128) -> bool {
        let interval = self.rate.interval();
        // Where a clock lags, the latest time that counted is taken instead.
        self.latest = self.latest.max(read);
        self.least = self.least.min(self.passed * interval - self.latest);
        self.passed += 1;
        self.passed * interval - self.rate.capacity() - latest <= self.least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i128 = 1_000_000_000;

    #[test]
    fn the_bound_holds_for_what_a_bucket_lets_through_and_for_not_one_more() {
        let mut bucket = Bucket::new(Rate::new(10, "second", 3));
        for _ in 0..3 {
            assert!(bucket.passes(SECOND, SECOND));
        }
        assert!(!bucket.clone().passes(SECOND, SECOND));
        assert!(
            !bucket
                .clone()
                .passes(SECOND * 11 / 10 - 1, SECOND * 11 / 10 - 1)
        );
        assert!(bucket.passes(SECOND * 11 / 10, SECOND * 11 / 10));
    }

    #[test]
    fn a_clock_that_lags_lets_nothing_more_through() {
        let mut bucket = Bucket::new(Rate::new(1000, "second", 1));
        assert!(bucket.passes(SECOND, SECOND));
        assert!(!bucket.passes(SECOND - SECOND / 1000, SECOND));
    }
}
