//! How a limit counts in a time: its rate, its algorithm; and how hard any limit is, for whom it is in force.

use std::time::Duration;

use super::document::shown;
use super::policy::{Algorithm, Rate, Span};
use super::reader::{Fields, Spot};
use super::time;

/// The time between two requests of a rate is kept in nanoseconds; with a microsecond at least, rounding it stays
/// below a thousandth.
const LEAST_INTERVAL_NANOS: u128 = 1_000;
/// How far ahead a full bucket may reach, so that no sum of times overflows.
const LONGEST_REFILL: Duration = Duration::from_secs(30 * 86_400);
/// No place on earth is farther from Greenwich.
const FARTHEST: i64 = 14 * 3600;

/// What `utc_offset` looks like.
const UTC_OFFSET: &str = "an offset such as \"Z\" or \"+02:00\"";

/// The fields that say how a limit counts in a time.
pub(super) const FIELDS: [&str; 5] = ["requests", "burst", "algorithm", "utc_offset", "scope"];

/// The fields that say how hard a limit is.
pub(super) const SOFT_FIELDS: [&str; 2] = ["warn_at", "enforce"];

/// How a limit counts.
pub(super) struct Counting {
    pub(super) rate: Rate,
    pub(super) algorithm: Algorithm,
    pub(super) span: Span,
    pub(super) soft: Soft,
}

/// How hard a limit is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Soft {
    /// From how many per cent on callers are warned.
    pub(super) warn_at: Option<u8>,
    /// For how many per cent of those that it is counted per it is in force.
    pub(super) enforce: u8,
}

/// How hard a limit is. Where that is not written, or cannot be read: as hard as it can be.
pub(super) fn soft(fields: &Fields<'_>) -> Soft {
    let warned = fields.get("warn_at").and_then(|spot| warn_at(&spot));
    let enforced = fields.get("enforce").and_then(|spot| enforce(&spot));
    Soft {
        warn_at: warned,
        enforce: enforced.unwrap_or(100),
    }
}

/// How a limit counts, if `requests` is written.
pub(super) fn optional(fields: &Fields<'_>, soft: Soft) -> Option<Counting> {
    let Some(requests) = fields.get("requests") else {
        for name in FIELDS {
            if let Some(spot) = fields.get(name) {
                spot.fault("has no meaning without requests");
            }
        }
        return None;
    };
    counting(fields, Some(&requests), soft)
}

/// How a limit counts; `requests` must be there.
pub(super) fn needed(fields: &Fields<'_>, soft: Soft) -> Option<Counting> {
    counting(fields, fields.need("requests").as_ref(), soft)
}

fn counting(fields: &Fields<'_>, requests: Option<&Spot<'_>>, soft: Soft) -> Option<Counting> {
    let span = span(fields);
    if span == Some(Span::Fleet) {
        return in_fleet(fields, requests, soft);
    }
    let algorithm = algorithm(fields);
    let burst = burst(fields);
    let rate = rate(requests?, burst.as_ref());
    let (algorithm, rate) = (algorithm?, rate?);
    match (algorithm, burst) {
        (Algorithm::TokenBucket, Some((burst, _))) => check_bucket(&burst, &rate),
        (_, Some((burst, _))) => {
            burst.fault("has no meaning in windows: all of it may come at once")
        }
        _ => {}
    }
    let by_calendar = matches!(algorithm, Algorithm::FixedWindow { .. });
    if rate.period == Rate::MONTH && !by_calendar {
        requests?.fault("months are counted by algorithm: fixed_window only");
    }
    Some(Counting {
        rate,
        algorithm,
        span: span?,
        soft,
    })
}

fn span(fields: &Fields<'_>) -> Option<Span> {
    fields.get("scope").map_or(Some(Span::Process), |spot| {
        spot.choice(&[("process", Span::Process), ("fleet", Span::Fleet)])
    })
}

/// How a limit counts for all gateways: as the protocol has it, in windows of the calendar in UTC.
#[inline(never)]
fn in_fleet(fields: &Fields<'_>, requests: Option<&Spot<'_>>, soft: Soft) -> Option<Counting> {
    for name in ["burst", "utc_offset"] {
        if let Some(spot) = fields.get(name) {
            spot.fault("has no meaning beside scope: fleet, which counts in windows of the calendar in UTC");
        }
    }
    if let Some(spot) = fields.get("algorithm")
        && !matches!(
            algorithm(fields),
            None | Some(Algorithm::FixedWindow { .. })
        )
    {
        spot.fault("scope: fleet counts by fixed_window only; write that, or leave it out");
    }
    if let Some(spot) = fields.get("enforce").filter(|_| soft.enforce < 100) {
        spot.fault("has no meaning beside scope: fleet, which always refuses");
    }
    let rate = rate(requests?, None)?;
    if u32::try_from(rate.quantity).is_err() {
        requests?.fault("scope: fleet counts to 4294967295 at most");
        return None;
    }
    Some(Counting {
        rate,
        algorithm: Algorithm::FixedWindow { utc_offset: 0 },
        span: Span::Fleet,
        soft,
    })
}

/// From how many per cent on callers are warned.
fn warn_at(spot: &Spot<'_>) -> Option<u8> {
    let percent = spot.percent()?;
    if percent == 0 {
        spot.fault("would warn of every request; write at least \"1%\"");
    }
    Some(percent)
}

/// For how many per cent of those that it is counted per the limit is in force.
fn enforce(spot: &Spot<'_>) -> Option<u8> {
    if spot.is_text() {
        return spot.percent();
    }
    let all = spot.flag_or("true, false or a share such as \"10%\"")?;
    Some(if all { 100 } else { 0 })
}

/// By which algorithm, if it can be told.
fn algorithm(fields: &Fields<'_>) -> Option<Algorithm> {
    let spot = fields.get("algorithm");
    let utc_offset = fields.get("utc_offset");
    let algorithm = match &spot {
        None => Some(Algorithm::TokenBucket),
        Some(spot) => spot.choice(&[
            ("token_bucket", Algorithm::TokenBucket),
            ("sliding_window", Algorithm::SlidingWindow),
            ("fixed_window", Algorithm::FixedWindow { utc_offset: 0 }),
        ]),
    };
    let Some(written) = utc_offset else {
        return algorithm;
    };
    let utc_offset = self::utc_offset(&written);
    if !matches!(algorithm, None | Some(Algorithm::FixedWindow { .. })) {
        written.fault("has no meaning without algorithm: fixed_window");
    }
    algorithm?;
    utc_offset.map(|utc_offset| Algorithm::FixedWindow { utc_offset })
}

/// Whose calendar windows go by. Zones by their names would change with the season, and with the laws of their countries.
fn utc_offset(spot: &Spot<'_>) -> Option<i32> {
    let text = spot.text_such_as(UTC_OFFSET)?;
    let seconds = time::offset(text).filter(|seconds| seconds.abs() <= FARTHEST);
    if seconds.is_none() {
        spot.fault(format!(
            "expected {UTC_OFFSET}, found {}; names of zones are not taken, since their time changes with the season",
            shown(text)
        ));
    }
    i32::try_from(seconds?).ok()
}

/// A burst as it is written.
type Burst<'a> = (Spot<'a>, Option<u64>);

fn burst<'a>(fields: &Fields<'a>) -> Option<Burst<'a>> {
    let spot = fields.get("burst")?;
    let burst = spot.whole(1..=u64::MAX >> 11);
    Some((spot, burst))
}

fn rate(requests: &Spot<'_>, burst: Option<&Burst<'_>>) -> Option<Rate> {
    let (quantity, period) = requests.rate()?;
    if quantity == 0 {
        requests.fault("a rate of 0 lets nothing pass; write at least 1");
        return None;
    }
    if period.as_nanos() / u128::from(quantity) < LEAST_INTERVAL_NANOS {
        requests.fault("more than 1000000 a second; write a smaller rate");
        return None;
    }
    let burst = match burst {
        None => quantity,
        Some((_, burst)) => (*burst)?,
    };
    Some(Rate {
        quantity,
        period,
        burst,
    })
}

/// Tells of a burst that a bucket cannot keep.
fn check_bucket(burst: &Spot<'_>, rate: &Rate) {
    let most = LONGEST_REFILL
        .as_nanos()
        .saturating_mul(u128::from(rate.quantity))
        / rate.period.as_nanos().max(1);
    let most = u64::try_from(most).unwrap_or(u64::MAX).clamp(1, 1 << 50);
    if rate.burst > most {
        burst.fault(format!(
            "would take more than 30 days to refill at this rate; at most {most} is allowed"
        ));
    }
}
