//! An exact bucket, in its simplest form, and a bound on what may pass when clocks differ. (`windows` has the same of windows.)

use crate::windows::Windows;

/// A bucket of `burst` requests, of which one comes back each `interval` nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) quantity: u64,
    pub(crate) unit: &'static str,
    pub(crate) burst: u64,
    pub(crate) algorithm: Algorithm,
}

/// How it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Bucket,
    Sliding,
    Fixed,
}

impl Rate {
    pub(crate) const fn new(quantity: u64, unit: &'static str, burst: u64) -> Self {
        Self {
            quantity,
            unit,
            burst,
            algorithm: Algorithm::Bucket,
        }
    }

    pub(crate) const fn sliding(quantity: u64, unit: &'static str) -> Self {
        Self {
            algorithm: Algorithm::Sliding,
            ..Self::new(quantity, unit, quantity)
        }
    }

    pub(crate) const fn fixed(quantity: u64, unit: &'static str) -> Self {
        Self {
            algorithm: Algorithm::Fixed,
            ..Self::new(quantity, unit, quantity)
        }
    }

    /// Rounded up, as the filter says it rounds: never more is let through.
    pub(crate) fn interval(&self) -> i128 {
        let quantity = i128::from(self.quantity);
        (self.period() + quantity - 1) / quantity
    }

    pub(crate) fn period(&self) -> i128 {
        let seconds = match self.unit {
            "second" => 1,
            "minute" => 60,
            "hour" => 3_600,
            _ => 86_400,
        };
        seconds * 1_000_000_000
    }

    fn capacity(&self) -> i128 {
        self.interval() * i128::from(self.burst)
    }

    /// How long until all can be taken again, whatever was.
    pub(crate) fn fills_in(&self) -> i128 {
        match self.algorithm {
            Algorithm::Bucket => self.capacity(),
            Algorithm::Sliding | Algorithm::Fixed => 2 * self.period(),
        }
    }
}

/// What is known of one bucket.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    rate: Rate,
    /// What was taken, and when, if every clock is right.
    taken: Vec<(i128, i128)>,
    /// When it will be full then.
    full_at: i128,
    /// How much emptier it may be, since nobody knows how much of what is given back has drained.
    late: i128,
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
            taken: Vec::new(),
            full_at: i128::MIN,
            late: 0,
            passed: 0,
            least: i128::MAX,
            latest: i128::MIN,
        }
    }

    /// How long until so many requests fit; zero if they do now. `None`: they never will.
    pub(crate) fn wait(&self, now: i128, amount: u64) -> Option<i128> {
        let needs = self.rate.interval() * i128::from(amount);
        let wait = self.full_at.max(now) + needs - self.rate.capacity() - now;
        (needs <= self.rate.capacity()).then_some(wait.max(0))
    }

    /// True if it is exactly as full as this one.
    pub(crate) fn is_exact(&self) -> bool {
        self.late == 0
    }

    /// How long until it is full, also if it is as empty as it may be.
    pub(crate) fn fills_in(&self, now: i128) -> i128 {
        self.full_at.max(now) - now + self.late
    }

    pub(crate) fn is_full(&self, now: i128) -> bool {
        self.full_at <= now
    }

    /// So many requests pass at `now`. What comes back says where they are noted.
    pub(crate) fn take(&mut self, now: i128, amount: u64) -> usize {
        self.taken.push((now, amount.into()));
        self.reckon();
        self.taken.len() - 1
    }

    /// Of what is noted there, so much was used.
    pub(crate) fn settle(&mut self, noted: usize, now: i128, used: u64) {
        let used = i128::from(used);
        let (at, amount) = self.taken[noted];
        let unused = (amount - used).max(0);
        self.late += (now - at).min(unused * self.rate.interval());
        self.passed -= unused;
        self.taken[noted] = (at, used.min(amount));
        self.taken.push((now, (used - amount).max(0)));
        self.reckon();
    }

    fn reckon(&mut self) {
        let interval = self.rate.interval();
        let taken = self.taken.iter().filter(|(_, amount)| *amount > 0);
        self.full_at = taken.fold(i128::MIN, |full_at, (at, amount)| {
            full_at.max(*at) + amount * interval
        });
    }

    /// So many requests have passed on a worker whose clock says `read`, when no clock has said anything later than
    /// `latest`. False: that is too many, whatever of these clocks counts.
    pub(crate) fn passes(&mut self, read: i128, latest: i128, amount: u64) -> bool {
        let interval = self.rate.interval();
        // Where a clock lags, the latest time that counted is taken instead.
        self.latest = self.latest.max(read);
        self.least = self.least.min(self.passed * interval - self.latest);
        self.passed += i128::from(amount);
        self.passed * interval - self.rate.capacity() - latest <= self.least
    }
}

/// What the clock of a worker says, and the latest that any has said; both as if the clock of all had never been set back by so
/// much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    pub(crate) read: i128,
    pub(crate) latest: i128,
    pub(crate) set_back: i128,
}

/// What is known of one limit, however it is counted.
#[derive(Debug, Clone)]
pub(crate) enum Counted {
    Bucket(Bucket),
    Windows(Windows),
}

impl Counted {
    pub(crate) fn new(rate: Rate) -> Self {
        match rate.algorithm {
            Algorithm::Bucket => Self::Bucket(Bucket::new(rate)),
            Algorithm::Sliding | Algorithm::Fixed => Self::Windows(Windows::new(rate)),
        }
    }

    /// How long until so much fits; zero if it does now. `None`: it never will.
    pub(crate) fn wait(&self, now: i128, amount: u64) -> Option<i128> {
        match self {
            Self::Bucket(bucket) => bucket.wait(now, amount),
            Self::Windows(windows) => windows.wait(now, amount),
        }
    }

    /// True if it is exactly as full as this one.
    pub(crate) fn is_exact(&self) -> bool {
        match self {
            Self::Bucket(bucket) => bucket.is_exact(),
            Self::Windows(_) => true,
        }
    }

    /// How long until it is full, also if more was used than there was.
    pub(crate) fn fills_in(&self, now: i128) -> i128 {
        match self {
            Self::Bucket(bucket) => bucket.fills_in(now),
            Self::Windows(_) => 0,
        }
    }

    pub(crate) fn is_full(&self, now: i128) -> bool {
        match self {
            Self::Bucket(bucket) => bucket.is_full(now),
            Self::Windows(windows) => windows.is_full(now),
        }
    }

    /// So much is taken at `now`. What comes back says where that is noted.
    pub(crate) fn take(&mut self, now: i128, amount: u64) -> usize {
        match self {
            Self::Bucket(bucket) => bucket.take(now, amount),
            Self::Windows(windows) => windows.take(now, amount),
        }
    }

    /// Of what is noted there, so much was used.
    pub(crate) fn settle(&mut self, noted: usize, now: i128, used: u64) {
        match self {
            Self::Bucket(bucket) => bucket.settle(noted, now, used),
            Self::Windows(windows) => windows.settle(noted, now, used),
        }
    }

    /// So much, which was noted there, has passed when the clocks were so. False: that is too much, whichever of them counts.
    pub(crate) fn passes(&mut self, noted: usize, amount: u64, clocks: Clocks) -> bool {
        match self {
            Self::Bucket(bucket) => bucket.passes(clocks.read, clocks.latest, amount),
            Self::Windows(windows) => windows.passes(noted, clocks),
        }
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
            assert!(bucket.passes(SECOND, SECOND, 1));
        }
        assert!(!bucket.clone().passes(SECOND, SECOND, 1));
        assert!(
            !bucket
                .clone()
                .passes(SECOND * 11 / 10 - 1, SECOND * 11 / 10 - 1, 1)
        );
        assert!(bucket.passes(SECOND * 11 / 10, SECOND * 11 / 10, 1));
    }

    #[test]
    fn a_clock_that_lags_lets_nothing_more_through() {
        let mut bucket = Bucket::new(Rate::new(1000, "second", 1));
        assert!(bucket.passes(SECOND, SECOND, 1));
        assert!(!bucket.passes(SECOND - SECOND / 1000, SECOND, 1));
    }

    #[test]
    fn what_is_settled_was_taken_when_it_was_taken_and_the_rest_later() {
        let mut bucket = Bucket::new(Rate::new(1, "second", 3));
        let noted = bucket.take(0, 3);
        assert_eq!(bucket.wait(0, 1), Some(SECOND));
        assert_eq!(bucket.wait(0, 4), None);
        bucket.settle(noted, 2 * SECOND, 1);
        assert!(bucket.is_full(2 * SECOND) && !bucket.is_exact());
        let noted = bucket.take(2 * SECOND, 1);
        bucket.settle(noted, 2 * SECOND, 5);
        assert_eq!(bucket.wait(2 * SECOND, 1), Some(3 * SECOND));
    }
}
