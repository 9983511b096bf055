use proptest::prelude::*;

use super::*;
use crate::config::time::seconds;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn rate(quantity: u64, period: Duration) -> Rate {
    Rate {
        quantity,
        period,
        burst: quantity,
    }
}

fn moment(text: &str) -> Timestamp {
    Timestamp::from_seconds(seconds(text).unwrap())
}

/// What is counted when so much was taken at these moments, in seconds.
fn counted(window: &Window, taken: &[(u64, u64)]) -> Counts {
    taken
        .iter()
        .fold(Counts::default(), |counts, (at, amount)| {
            let now = Timestamp::from_seconds(*at);
            window
                .take(window.at(Some(counts), now), *amount, now)
                .unwrap()
        })
}

#[test]
fn fixed_windows_are_those_of_the_calendar() {
    const EAST: i32 = 5 * 3600 + 1800;
    const WEST: i32 = -5 * 3600;
    for (period, utc_offset, now, start, end) in [
        (
            MINUTE,
            0,
            "2026-11-26T16:29:42Z",
            "2026-11-26T16:29:00Z",
            "2026-11-26T16:30:00Z",
        ),
        (
            HOUR,
            EAST,
            "2026-11-26T16:29:42Z",
            "2026-11-26T15:30:00Z",
            "2026-11-26T16:30:00Z",
        ),
        (
            24 * HOUR,
            0,
            "2026-11-26T23:59:59Z",
            "2026-11-26T00:00:00Z",
            "2026-11-27T00:00:00Z",
        ),
        (
            24 * HOUR,
            EAST,
            "2026-11-26T18:30:00Z",
            "2026-11-26T18:30:00Z",
            "2026-11-27T18:30:00Z",
        ),
        (
            24 * HOUR,
            WEST,
            "2026-11-26T04:59:59Z",
            "2026-11-25T05:00:00Z",
            "2026-11-26T05:00:00Z",
        ),
        (
            Rate::MONTH,
            0,
            "2028-02-29T12:00:00Z",
            "2028-02-01T00:00:00Z",
            "2028-03-01T00:00:00Z",
        ),
        (
            Rate::MONTH,
            0,
            "2100-02-28T23:59:59Z",
            "2100-02-01T00:00:00Z",
            "2100-03-01T00:00:00Z",
        ),
        (
            Rate::MONTH,
            0,
            "2026-12-31T23:59:59Z",
            "2026-12-01T00:00:00Z",
            "2027-01-01T00:00:00Z",
        ),
        (
            Rate::MONTH,
            EAST,
            "2026-12-31T18:30:00Z",
            "2026-12-31T18:30:00Z",
            "2027-01-31T18:30:00Z",
        ),
        (
            Rate::MONTH,
            WEST,
            "2027-01-01T04:59:59Z",
            "2026-12-01T05:00:00Z",
            "2027-01-01T05:00:00Z",
        ),
    ] {
        let window = Window::fixed(rate(5, period), utc_offset);
        let counts = window.at(None, moment(now));
        assert_eq!(counts.start, moment(start), "{now} {utc_offset}");
        assert_eq!(window.until(counts), moment(end), "{now} {utc_offset}");
        let last = Timestamp(moment(end).0 - 1);
        let taken = window.take(counts, 5, moment(now)).unwrap();
        assert_eq!(window.at(Some(taken), last).current, 5);
        assert_eq!(window.at(Some(taken), moment(end)).current, 0);
    }
}

#[test]
fn a_fixed_window_forgets_all_at_its_end_and_nothing_before() {
    let window = Window::fixed(rate(3, MINUTE), 0);
    let counts = counted(&window, &[(61, 1), (90, 2)]);
    let now = Timestamp(119 * SECOND + 999_999_999);
    assert_eq!(window.take(counts, 1, now), Err(Refused::Full));
    assert_eq!(window.wait(counts, 1, now), Duration::from_nanos(1));
    assert_eq!(window.take(counts, 4, now), Err(Refused::TooLarge));
    let next = Timestamp::from_seconds(120);
    assert!(window.take(window.at(Some(counts), next), 3, next).is_ok());
}

#[test]
fn a_sliding_window_counts_the_share_of_the_one_before_that_its_period_covers() {
    let window = Window::sliding(rate(10, MINUTE));
    let counts = counted(&window, &[(59, 10)]);
    for (at, used, next) in [
        (60, 10, 6_000),
        (66, 9, 6_000),
        (67, 9, 5_000),
        (90, 5, 6_000),
        (119, 1, 1_000),
        (120, 0, 0),
    ] {
        let now = Timestamp::from_seconds(at);
        let counts = window.at(Some(counts), now);
        assert_eq!(window.used(counts, now), used, "{at}");
        let level = window.level(counts, now);
        assert_eq!(level.remaining, 10 - used);
        assert_eq!(level.next, Duration::from_millis(next), "{at}");
        let left = Duration::from_secs(120 - at);
        assert_eq!(level.full, left, "{at}");
    }
}

#[test]
fn what_is_given_back_comes_back_where_it_was_taken() {
    let at = Timestamp::from_seconds;
    let window = Window::sliding(rate(10, MINUTE));
    let taken = counted(&window, &[(10, 4), (70, 3)]);
    let back = window.give_back(taken, 2, at(60));
    assert_eq!((back.current, back.previous), (1, 4));
    let back = window.give_back(taken, 2, at(0));
    assert_eq!((back.current, back.previous), (3, 2));
    let later = window.at(Some(taken), at(180));
    assert_eq!(window.give_back(later, 2, at(0)), later);
    let fixed = Window::fixed(rate(10, MINUTE), 0);
    let later = fixed.at(Some(counted(&fixed, &[(10, 4)])), at(70));
    assert_eq!(fixed.give_back(later, 2, at(0)), later);
}

#[test]
fn what_is_overdrawn_lets_nothing_pass_until_it_is_over() {
    let at = Timestamp::from_seconds;
    for window in [
        Window::sliding(rate(10, MINUTE)),
        Window::fixed(rate(10, MINUTE), 0),
    ] {
        let counts = window.overdraw(window.at(None, at(30)), 15, at(30));
        assert!(counts.overdrawn);
        assert_eq!(window.take(counts, 0, at(30)), Err(Refused::Full));
        assert_eq!(window.level(counts, at(30)).remaining, 0);
        let opens = window.wait(counts, 1, at(30));
        let then = at(30).after(opens);
        let counts = window.at(Some(counts), then);
        assert!(window.take(counts, 1, then).is_ok());
    }
}

fn windows() -> impl Strategy<Value = Window> {
    let periods = prop_oneof![
        Just(Duration::from_secs(1)),
        Just(MINUTE),
        Just(HOUR),
        Just(24 * HOUR)
    ];
    let rates = (1..50_u64, periods).prop_map(|(quantity, period)| rate(quantity, period));
    let offsets = -12 * 60..=14 * 60_i32;
    prop_oneof![
        rates.clone().prop_map(Window::sliding),
        (rates, offsets.clone()).prop_map(|(rate, minutes)| Window::fixed(rate, minutes * 60)),
        (1..50_u64, offsets).prop_map(|(quantity, minutes)| Window::fixed(
            rate(quantity, Rate::MONTH),
            minutes * 60
        )),
    ]
}

/// So much is taken after so many thousandths of the window, or of a month.
fn steps() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((0..800_u64, 0..30_u64), 1..20)
}

proptest! {
    /// The wait that is told is the shortest after which so much fits, whatever came before.
    #[test]
    fn waits_are_exact(window in windows(), start in 0..4_000_000_000_u64, steps in steps(), amount in 1..50_u64) {
        let mut now = Timestamp::from_seconds(start);
        let mut counts = window.at(None, now);
        let whole = window.until(counts).0 - counts.start.0;
        for (pass, taken) in steps {
            now = Timestamp(now.0 + whole / 1000 * pass);
            counts = window.at(Some(counts), now);
            if let Ok(after) = window.take(counts, taken, now) {
                counts = after;
            }
        }
        let amount = amount.min(window.quantity);
        let wait = window.wait(counts, amount, now);
        let fits = |at: Timestamp| window.take(window.at(Some(counts), at), amount, at).is_ok();
        let then = now.after(wait);
        prop_assert!(fits(then), "{wait:?}");
        if !wait.is_zero() {
            prop_assert!(!fits(Timestamp(then.0 - 1)), "{wait:?}");
        }
        let level = window.level(counts, now);
        let takes = |amount| window.take(counts, amount, now).is_ok();
        prop_assert!(takes(level.remaining));
        prop_assert!(!takes(level.remaining + 1));
    }

    /// No window of the calendar sees more than its quantity, and no period more than twice that of a sliding one.
    #[test]
    fn no_more_passes_than_the_quantity(window in windows(), start in 0..4_000_000_000_u64, steps in steps()) {
        let mut now = Timestamp::from_seconds(start);
        let mut counts = window.at(None, now);
        let whole = window.end(counts.start).0 - counts.start.0;
        let mut passed: Vec<(Timestamp, u64)> = Vec::new();
        for (pass, taken) in steps {
            now = Timestamp(now.0 + whole / 1000 * pass);
            counts = window.at(Some(counts), now);
            if let Ok(after) = window.take(counts, taken, now) {
                counts = after;
                passed.push((now, taken));
            }
            let since = |start: Timestamp| -> u64 {
                passed.iter().filter(|(at, _)| *at >= start).map(|(_, taken)| taken).sum()
            };
            prop_assert!(since(window.start(now)) <= window.quantity);
            if let Span::Sliding { period } = window.span {
                prop_assert!(since(Timestamp(now.0.saturating_sub(period) + 1)) <= 2 * window.quantity);
            }
        }
    }
}
