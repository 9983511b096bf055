use proptest::prelude::*;

use super::*;
use crate::host::Timestamp;

const SECOND: u64 = 1_000_000_000;
const START: Timestamp = Timestamp(1_700_000_000 * SECOND);

fn rate(quantity: u64, seconds: u64, burst: u64) -> Rate {
    Rate {
        quantity,
        period: Duration::from_secs(seconds),
        burst,
    }
}

/// What is owed until this moment.
fn until(moment: Timestamp, now: Timestamp) -> Debt {
    debt(moment.0.saturating_sub(now.0), 0)
}

fn debt(owed: u64, overdrawn: u64) -> Debt {
    Debt { owed, overdrawn }
}

/// A bucket with its own memory, and requests that come one after the other.
struct Bucket {
    gcra: Gcra,
    /// When nothing will be owed.
    moment: Timestamp,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        Self {
            gcra: Gcra::new(rate),
            moment: START,
        }
    }

    fn take(&mut self, now: Timestamp) -> Result<Level, Refused> {
        self.take_many(now, 1)
    }

    fn take_many(&mut self, now: Timestamp, amount: u64) -> Result<Level, Refused> {
        let debt = self.gcra.take(until(self.moment, now), amount)?;
        self.moment = Timestamp(now.0 + debt.owed);
        Ok(self.gcra.level(debt))
    }

    fn level(&self, now: Timestamp) -> Level {
        self.gcra.level(until(self.moment, now))
    }
}

#[test]
fn a_full_bucket_lets_its_burst_through_at_once_and_no_more() {
    let mut bucket = Bucket::new(rate(50, 60, 50));
    for left in (0..50).rev() {
        assert_eq!(bucket.take(START).map(|level| level.remaining), Ok(left));
    }
    assert!(bucket.take(START).is_err());
}

#[test]
fn a_refused_request_is_let_through_after_exactly_the_time_it_was_told() {
    let mut bucket = Bucket::new(rate(50, 60, 50));
    while bucket.take(START).is_ok() {}
    assert_eq!(bucket.take(START), Err(Refused::Full));
    let level = bucket.level(START);
    assert_eq!(level.next, Duration::from_millis(1200));
    let just_before = START.after(level.next - Duration::from_nanos(1));
    assert!(bucket.take(just_before).is_err());
    assert!(bucket.take(START.after(level.next)).is_ok());
    assert!(bucket.take(START.after(level.next)).is_err());
}

#[test]
fn an_unused_bucket_is_full_again_after_its_period() {
    let mut bucket = Bucket::new(rate(3, 1, 3));
    while bucket.take(START).is_ok() {}
    let later = START.after(Duration::from_nanos(SECOND + 3));
    assert_eq!(bucket.take(later).map(|level| level.remaining), Ok(2));
}

#[test]
fn a_debt_is_carried_over_as_requests_rounded_up_to_the_nanosecond() {
    let [slow, fast] = [rate(5, 86_400, 5), rate(50, 86_400, 50)].map(Gcra::new);
    let owing = |requests: u64, gcra: Gcra| debt(requests * gcra.unit(), 0);
    assert_eq!(
        fast.carried_over(owing(5, slow), slow.unit()),
        owing(5, fast)
    );
    assert_eq!(
        slow.carried_over(owing(3, fast), fast.unit()),
        owing(3, slow)
    );
    // Never emptier than empty.
    assert_eq!(
        slow.carried_over(owing(50, fast), fast.unit()),
        owing(5, slow)
    );
    let third = Gcra::new(rate(3, 1, 3));
    let there = third.carried_over(debt(1, 0), fast.unit());
    assert_eq!(there, debt(1, 0));
}

#[test]
fn an_amount_is_taken_whole_or_not_at_all() {
    let mut bucket = Bucket::new(rate(60, 60, 10));
    assert_eq!(
        bucket.take_many(START, 7).map(|level| level.remaining),
        Ok(3)
    );
    assert_eq!(bucket.take_many(START, 4), Err(Refused::Full));
    assert_eq!(bucket.level(START).remaining, 3);
    let wait = bucket.gcra.wait(until(bucket.moment, START), 4);
    assert_eq!(wait, Duration::from_secs(1));
    assert!(
        bucket
            .take_many(START.after(wait - Duration::from_nanos(1)), 4)
            .is_err()
    );
    assert!(bucket.take_many(START.after(wait), 4).is_ok());
    assert!(bucket.take_many(START.after(wait), 0).is_ok());
}

#[test]
fn more_than_the_burst_never_fits_and_that_is_said() {
    let gcra = Gcra::new(rate(60, 60, 10));
    assert_eq!(gcra.take(Debt::default(), 11), Err(Refused::TooLarge));
    assert_eq!(gcra.take(Debt::default(), u64::MAX), Err(Refused::TooLarge));
    assert!(gcra.take(Debt::default(), 10).is_ok());
    assert_eq!(gcra.take(debt(1, 0), 10), Err(Refused::Full));
}

#[test]
fn what_is_overdrawn_is_kept_by_any_smaller_bucket() {
    let large = Gcra::new(rate(60, 60, 10));
    let small = Gcra::new(rate(60, 60, 2));
    let slow = Gcra::new(rate(6, 60, 2));
    let (unit, seconds) = (large.unit(), |seconds: u64| seconds * SECOND);
    // Nine are taken, and four more were used than that.
    let nine = large.take(Debt::default(), 9).unwrap();
    let overdrawn = large.overdraw(nine, unit, 4);
    assert_eq!(overdrawn, debt(seconds(13), seconds(3)));
    assert_eq!(large.take(overdrawn, 0), Err(Refused::Full));
    assert_eq!(large.level(overdrawn).remaining, 0);
    assert_eq!(large.wait(overdrawn, 1), Duration::from_secs(4));

    assert_eq!(large.carried_over(overdrawn, unit), overdrawn);
    let there = small.carried_over(overdrawn, unit);
    assert_eq!(there, debt(seconds(5), seconds(3)));
    let there = slow.carried_over(overdrawn, unit);
    assert_eq!(there, debt(seconds(50), seconds(30)));
    // Nor does it grow by what had not been there before.
    assert_eq!(small.overdraw(nine, unit, 1), debt(seconds(10), seconds(1)));
}

proptest! {
    /// The promise of the documentation: any window of one period sees at most burst + quantity.
    #[test]
    fn no_window_of_one_period_sees_more_than_burst_and_quantity(
        quantity in 1u64..200,
        burst in 1u64..300,
        seconds in prop::sample::select(vec![1u64, 60, 3600]),
        gaps in prop::collection::vec(0u64..5_000_000_000, 1..600),
    ) {
        let mut bucket = Bucket::new(rate(quantity, seconds, burst));
        let mut now = START;
        let mut passed = Vec::new();
        for gap in gaps {
            now = Timestamp(now.0 + gap * seconds / 60);
            if bucket.take(now).is_ok() {
                passed.push(now.0);
            }
        }
        for (index, first) in passed.iter().enumerate() {
            let within = passed[index..].iter().take_while(|time| *time - first < seconds * SECOND).count() as u64;
            prop_assert!(within <= burst + quantity);
        }
    }

    /// What the caller is told is true: `remaining` requests pass now, one more does not, and does after `next`.
    #[test]
    fn the_level_tells_the_truth(
        quantity in 1u64..1_000_000,
        burst in 1u64..200,
        seconds in prop::sample::select(vec![1u64, 60, 3600, 86_400]),
        ahead in 0.0..=1.0,
    ) {
        let mut bucket = Bucket::new(rate(quantity, seconds, burst));
        let ahead = (bucket.gcra.capacity as f64 * ahead) as u64;
        bucket.moment = Timestamp(START.0 + ahead.min(bucket.gcra.capacity));
        let level = bucket.level(START);
        prop_assert!(level.remaining <= burst);
        let later = START.after(level.next);
        for _ in 0..level.remaining {
            prop_assert!(bucket.take(START).is_ok());
        }
        prop_assert!(bucket.take(START).is_err());
        if level.remaining < burst {
            prop_assert!(bucket.take(later).is_ok());
        }
    }

    /// Carried over and back, a debt is not less than it was, and hardly more.
    #[test]
    fn no_debt_shrinks_on_its_way_there_and_back(
        rates in [(1u64..100_000, 1u64..1000), (1u64..100_000, 1u64..1000)], part in 0.0..=1.0,
    ) {
        let [one, other] = rates.map(|(quantity, burst)| Gcra::new(rate(quantity, 60, burst)));
        let owed = (one.capacity as f64 * part) as u64;
        let there = other.carried_over(debt(owed, 0), one.unit());
        if there.owed < other.capacity {
            let back = one.carried_over(there, other.unit()).owed;
            prop_assert!(back >= owed.min(one.capacity));
            prop_assert!(back <= owed + 1 + one.unit() / other.unit());
        }
    }

    /// Whatever lies in a record, deciding by it neither overflows nor panics.
    #[test]
    fn any_debt_and_any_amount_is_survived(
        quantity in any::<u64>(), burst in any::<u64>(), owed in any::<u64>(), overdrawn in any::<u64>(),
        unit in any::<u64>(), amount in any::<u64>(),
    ) {
        let gcra = Gcra::new(rate(quantity, 60, burst));
        let debt = Debt { owed, overdrawn };
        let _ = gcra.take(debt, amount);
        let _ = gcra.wait(debt, amount);
        let _ = gcra.level(debt);
        let _ = gcra.carried_over(debt, unit);
        let _ = gcra.overdraw(debt, unit, amount);
        let _ = gcra.level(gcra.empty_for(amount));
    }

    /// Taken at once or one by one, the same is owed, and the same is refused.
    #[test]
    fn an_amount_is_as_many_single_requests(
        quantity in 1u64..1_000_000, burst in 1u64..200, first in 0u64..200, amount in 0u64..200,
    ) {
        let gcra = Gcra::new(rate(quantity, 60, burst));
        let one_by_one = |from: Debt, number: u64| {
            (0..number).try_fold(from, |debt, _| gcra.take(debt, 1))
        };
        let Ok(begun) = one_by_one(Debt::default(), first) else {
            return Ok(());
        };
        prop_assert_eq!(gcra.take(begun, amount).ok(), one_by_one(begun, amount).ok());
        // After the wait that is told it fits, and not a nanosecond earlier.
        let wait = u64::try_from(gcra.wait(begun, amount).as_nanos()).unwrap();
        let later = |time: u64| debt(begun.owed.saturating_sub(time), 0);
        if amount <= burst {
            prop_assert!(gcra.take(later(wait), amount).is_ok());
            prop_assert!(wait == 0 || gcra.take(later(wait - 1), amount).is_err());
        }
    }
}
