use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;
const START: Timestamp = Timestamp(1_700_000_000 * SECOND);

fn rate(quantity: u64, seconds: u64, burst: u64) -> Rate {
    Rate {
        quantity,
        period: Duration::from_secs(seconds),
        burst,
    }
}

/// A bucket with its own memory, and requests that come one after the other.
struct Bucket {
    gcra: Gcra,
    moment: Option<Timestamp>,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        Self {
            gcra: Gcra::new(rate),
            moment: None,
        }
    }

    fn take(&mut self, now: Timestamp) -> Result<Level, Refused> {
        let (moment, level) = self.gcra.take(self.moment, now)?;
        self.moment = Some(moment);
        Ok(level)
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
    let Err(Refused(level)) = bucket.take(START) else {
        panic!("the bucket is empty");
    };
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
    let owing = |requests: u64, gcra: Gcra| Timestamp(START.0 + requests * gcra.unit());
    assert_eq!(
        fast.carried_over(owing(5, slow), slow.unit(), START),
        owing(5, fast)
    );
    assert_eq!(
        slow.carried_over(owing(3, fast), fast.unit(), START),
        owing(3, slow)
    );
    // Never emptier than empty.
    assert_eq!(
        slow.carried_over(owing(50, fast), fast.unit(), START),
        owing(5, slow)
    );
    let third = Gcra::new(rate(3, 1, 3));
    let there = third.carried_over(Timestamp(START.0 + 1), fast.unit(), START);
    assert_eq!(there.0, START.0 + 1);
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
        bucket.moment = Some(Timestamp(START.0 + ahead.min(bucket.gcra.capacity)));
        let level = bucket.gcra.level(bucket.moment, START);
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
        let debt = (one.capacity as f64 * part) as u64;
        let there = other.carried_over(Timestamp(START.0 + debt), one.unit(), START);
        if there.0 - START.0 < other.capacity {
            let back = one.carried_over(there, other.unit(), START).0 - START.0;
            prop_assert!(back >= debt.min(one.capacity));
            prop_assert!(back <= debt + 1 + one.unit() / other.unit());
        }
    }

    /// Whatever lies in a record, deciding by it neither overflows nor panics.
    #[test]
    fn any_moment_is_survived(
        quantity in any::<u64>(), burst in any::<u64>(), moment in any::<u64>(), now in any::<u64>(),
        unit in any::<u64>(),
    ) {
        let gcra = Gcra::new(rate(quantity, 60, burst));
        let _ = gcra.take(Some(Timestamp(moment)), Timestamp(now));
        let _ = gcra.level(Some(Timestamp(moment)), Timestamp(now));
        let _ = gcra.carried_over(Timestamp(moment), unit, Timestamp(now));
    }
}
