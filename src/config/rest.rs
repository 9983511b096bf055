//! When an agent rests.

use std::time::Duration;

use super::policy::Rest;
use super::reader::Spot;

pub(super) const REST_FIELDS: &[&str] = &[
    "failures",
    "error_rate",
    "first",
    "longest",
    "slow_first_token",
    "on_429",
    "each_attempt",
];

const MOST_FAILURES: u32 = 1_000;
const LEAST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(86_400);

/// When an agent gets no requests for a while.
#[inline(never)]
pub(super) fn rest(spot: &Spot<'_>) -> Option<Rest> {
    let usual = Rest::DEFAULT;
    let fields = spot.fields(REST_FIELDS)?;
    let failures = fields
        .get("failures")
        .and_then(|spot| spot.whole_u32(1..=MOST_FAILURES));
    let error_rate = fields.get("error_rate").and_then(|spot| {
        let percent = spot.percent()?;
        if percent == 0 {
            spot.fault("the agent would rest for its first failure; write failures: 1 for that");
        }
        Some(percent)
    });
    let time = |name: &str| {
        let spot = fields.get(name)?;
        spot.duration(LEAST..=MOST)
    };
    let (first, longest) = (time("first"), time("longest"));
    let slow_first_token = time("slow_first_token");
    let heeds_429 = fields
        .get("on_429")
        .and_then(|spot| spot.choice(&[("rest", true), ("ignore", false)]));
    let each_attempt = fields.get("each_attempt").and_then(|spot| spot.flag());
    let first = first.unwrap_or(usual.first);
    if let Some(longest) = longest
        && longest < first
        && let Some(spot) = fields.get("longest")
    {
        spot.fault("is shorter than first");
    }
    Some(Rest {
        failures: failures.unwrap_or(usual.failures),
        error_rate: error_rate.unwrap_or(usual.error_rate),
        first,
        longest: longest.unwrap_or(usual.longest.max(first)),
        slow_first_token,
        heeds_429: heeds_429.unwrap_or(usual.heeds_429),
        each_attempt: each_attempt.unwrap_or(usual.each_attempt),
    })
}
