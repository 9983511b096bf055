//! The windows that limits are counted in: so many seconds, minutes, hours, days, months or years of the calendar, in UTC. What
//! is counted in one is forgotten at its end.

use waykeeper::calendar::{days_to, month_of};
use waykeeper::host::Timestamp;

use super::protocol::Unit;

const DAY: u64 = 86_400;
/// No window is longer than some thousand years, so that all moments around now can be told.
const LONGEST: u64 = 1_000;

/// How long windows are. Those of a length follow each other without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Span {
    unit: Unit,
    /// So many units; at least one.
    multiplier: u32,
}

/// From one moment up to the other, which belongs to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

/// What a span is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Seconds(u64),
    Months(u32),
}

impl Span {
    /// `None` for no window at all, and for one that is too long.
    pub(super) fn new(unit: Unit, multiplier: u32) -> Option<Self> {
        let span = Self { unit, multiplier };
        let fits = match span.measure() {
            Measure::Seconds(seconds) => seconds <= LONGEST * 366 * DAY,
            Measure::Months(months) => u64::from(months) <= LONGEST * 12,
        };
        (unit != Unit::Unknown && multiplier > 0 && fits).then_some(span)
    }

    pub(super) fn unit(self) -> Unit {
        self.unit
    }

    pub(super) fn multiplier(self) -> u32 {
        self.multiplier
    }

    /// How long each window is, where all are equally long.
    pub(super) fn seconds(self) -> Option<u64> {
        match self.measure() {
            Measure::Seconds(seconds) => Some(seconds),
            Measure::Months(_) => None,
        }
    }

    /// The window that this moment lies in.
    pub(super) fn around(self, now: Timestamp) -> Window {
        let seconds = now.0 / NANOSECONDS;
        let (start, end) = match self.measure() {
            Measure::Seconds(period) => {
                let start = seconds - seconds % period;
                (start, start + period)
            }
            Measure::Months(months) => {
                let days = i64::try_from(seconds / DAY).unwrap_or(i64::MAX);
                let (year, month) = month_of(days);
                let months = i64::from(months);
                let index = year * 12 + month - 1;
                let first = index - index.rem_euclid(months);
                (beginning(first), beginning(first + months))
            }
        };
        Window {
            start: Timestamp::from_seconds(start),
            end: Timestamp::from_seconds(end),
        }
    }

    fn measure(self) -> Measure {
        let multiplier = self.multiplier.max(1);
        let seconds = |each: u64| Measure::Seconds(u64::from(multiplier) * each);
        match self.unit {
            Unit::Second | Unit::Unknown => seconds(1),
            Unit::Minute => seconds(60),
            Unit::Hour => seconds(3_600),
            Unit::Day => seconds(DAY),
            Unit::Month => Measure::Months(multiplier),
            Unit::Year => Measure::Months(multiplier.saturating_mul(12)),
        }
    }
}

const NANOSECONDS: u64 = 1_000_000_000;

/// When a month begins, in seconds since 1970; months are counted from the first of year 0.
fn beginning(index: i64) -> u64 {
    let days = days_to(index.div_euclid(12), index.rem_euclid(12) + 1, 1);
    u64::try_from(days).unwrap_or(0) * DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(year: i64, month: i64, day: i64) -> Timestamp {
        Timestamp::from_seconds(u64::try_from(days_to(year, month, day)).unwrap() * DAY)
    }

    fn window(unit: Unit, multiplier: u32, now: Timestamp) -> (Timestamp, Timestamp) {
        let Window { start, end } = Span::new(unit, multiplier).unwrap().around(now);
        (start, end)
    }

    #[test]
    fn windows_begin_with_their_unit_and_end_with_the_next() {
        let now = Timestamp(at(2028, 2, 29).0 + 13 * 3_600 * NANOSECONDS + 61_500_000_000);
        let seconds = |from: u64, to: u64| {
            let day = at(2028, 2, 29).0;
            (
                Timestamp(day + from * NANOSECONDS),
                Timestamp(day + to * NANOSECONDS),
            )
        };
        let hour = 13 * 3_600;
        for (unit, multiplier, expected) in [
            (Unit::Second, 1, seconds(hour + 61, hour + 62)),
            (Unit::Minute, 1, seconds(hour + 60, hour + 120)),
            (Unit::Minute, 15, seconds(hour, hour + 900)),
            (Unit::Hour, 1, seconds(hour, hour + 3_600)),
            (Unit::Day, 1, (at(2028, 2, 29), at(2028, 3, 1))),
            (Unit::Month, 1, (at(2028, 2, 1), at(2028, 3, 1))),
            (Unit::Month, 3, (at(2028, 1, 1), at(2028, 4, 1))),
            (Unit::Year, 1, (at(2028, 1, 1), at(2029, 1, 1))),
            (Unit::Year, 4, (at(2028, 1, 1), at(2032, 1, 1))),
        ] {
            assert_eq!(
                window(unit, multiplier, now),
                expected,
                "{multiplier} {unit:?}"
            );
        }
    }

    #[test]
    fn the_last_nanosecond_of_a_month_belongs_to_it() {
        let last = Timestamp(at(2027, 3, 1).0 - 1);
        assert_eq!(
            window(Unit::Month, 1, last),
            (at(2027, 2, 1), at(2027, 3, 1))
        );
        let december = Timestamp(at(2027, 1, 1).0 - 1);
        assert_eq!(
            window(Unit::Month, 1, december),
            (at(2026, 12, 1), at(2027, 1, 1))
        );
        assert_eq!(
            window(Unit::Year, 1, december),
            (at(2026, 1, 1), at(2027, 1, 1))
        );
    }

    #[test]
    fn every_window_of_four_hundred_years_is_followed_by_the_next() {
        for (unit, multiplier) in [
            (Unit::Month, 1),
            (Unit::Month, 5),
            (Unit::Year, 1),
            (Unit::Day, 7),
        ] {
            let span = Span::new(unit, multiplier).unwrap();
            let mut now = at(2000, 1, 1);
            while now < at(2400, 1, 1) {
                let Window { start, end } = span.around(now);
                assert!(start <= now && now < end, "{unit:?}");
                assert_eq!(span.around(end).start, end, "{unit:?}");
                assert_eq!(span.around(Timestamp(end.0 - 1)).start, start, "{unit:?}");
                now = end;
            }
        }
    }

    #[test]
    fn a_window_without_a_unit_or_of_more_than_a_thousand_years_is_none() {
        for (unit, multiplier) in [
            (Unit::Unknown, 1),
            (Unit::Second, 0),
            (Unit::Year, 1_001),
            (Unit::Year, u32::MAX),
            (Unit::Day, u32::MAX),
        ] {
            assert_eq!(Span::new(unit, multiplier), None, "{multiplier} {unit:?}");
        }
        assert!(Span::new(Unit::Second, u32::MAX).is_some());
        assert!(Span::new(Unit::Year, 1_000).is_some());
    }
}
