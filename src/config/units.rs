//! Quantities with their units, as people write them: `250ms`, `64KiB`, `50/minute`. Whole numbers only; a number
//! without its unit is refused, since its reader would have to guess.

use std::time::Duration;

use super::policy::Rate;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const DURATIONS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", KIB), ("MiB", MIB), ("GiB", GIB)];
const PERIODS: [(&str, u64); 5] = [
    ("second", 1),
    ("minute", 60),
    ("hour", 3_600),
    ("day", 86_400),
    ("month", Rate::MONTH.as_secs()),
];

/// What a duration looks like, for the texts of faults.
pub(super) const DURATION: &str = "a duration such as \"250ms\", \"30s\", \"5m\" or \"1h\"";
/// What a size looks like.
pub(super) const SIZE: &str = "a size such as \"64KiB\" or \"10MiB\"";
/// What a rate looks like.
pub(super) const RATE: &str = "a rate such as \"50/minute\" (second, minute, hour, day or month)";

/// What a share looks like.
pub(super) const PERCENT: &str = "a share in whole per cent such as \"80%\"";

/// Reads `80%`. `None` if it is not one, or more than all.
pub(super) fn percent(text: &str) -> Option<u8> {
    let percent = whole(text.strip_suffix('%')?)?;
    u8::try_from(percent).ok().filter(|percent| *percent <= 100)
}

/// Reads `250ms`, `30s`, `5m` or `1h`. `None` if it is not one, or too large for its type.
pub fn duration(text: &str) -> Option<Duration> {
    quantity(text, &DURATIONS).map(Duration::from_millis)
}

/// Reads `512B`, `64KiB`, `10MiB` or `1GiB` as bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    quantity(text, &SIZES)
}

/// Reads `50/minute` as a quantity and its period; that of a month is the longest month's.
pub(super) fn rate(text: &str) -> Option<(u64, Duration)> {
    let (quantity, unit) = text.split_once('/')?;
    let seconds = factor(unit, &PERIODS)?;
    Some((whole(quantity)?, Duration::from_secs(seconds)))
}

/// A duration in the largest unit that holds it whole; none at all is `0s`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    if duration.is_zero() {
        return "0s".to_owned();
    }
    show(
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        &DURATIONS,
    )
}

/// So many in each period, as the configuration has it: `50/minute`.
#[must_use]
pub fn show_rate(quantity: u64, period: Duration) -> String {
    let mut periods = PERIODS.iter();
    match periods.find(|(_, seconds)| Duration::from_secs(*seconds) == period) {
        Some((name, _)) => format!("{quantity}/{name}"),
        None => format!("{quantity}/{}", show_duration(period)),
    }
}

/// A size in the largest unit that holds it whole.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES)
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    whole(number)?.checked_mul(factor(unit, units)?)
}

fn factor(unit: &str, units: &[(&str, u64)]) -> Option<u64> {
    units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor)
}

/// Digits only: no sign, no point, no separators.
fn whole(digits: &str) -> Option<u64> {
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(())?;
    digits.parse().ok()
}

fn show(amount: u64, units: &[(&str, u64)]) -> String {
    let fitting = units
        .iter()
        .rev()
        .find(|(_, factor)| amount > 0 && amount.is_multiple_of(*factor));
    let (name, factor) = fitting.or(units.first()).copied().unwrap_or(("", 1));
    format!("{}{name}", amount / factor.max(1))
}
