//! Rates: of plans, of routes, and of limits that stand on their own.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::document::shown;
use super::policy::{Algorithm, Each, Limit, Plan, PlanId, Rate};
use super::reader::{Fields, Spot};
use super::{names, time};
use crate::sort::sort_by;

/// The name under which callers are told of a plan's requests.
const OF_PLAN: &str = "plan";
/// The name under which callers are told of a route's own limit.
const OF_ROUTE: &str = "route";

const MOST_PLANS: usize = 1024;
/// All limits of a request are told in one header.
const MOST_LIMITS: usize = 32;
/// The time between two requests of a rate is kept in nanoseconds; with a microsecond at least, rounding it stays
/// below a thousandth.
const LEAST_INTERVAL_NANOS: u128 = 1_000;
/// How far ahead a full bucket may reach, so that no sum of times overflows.
const LONGEST_REFILL: Duration = Duration::from_secs(30 * 86_400);

pub(super) const PLAN_FIELDS: &[&str] = &["requests", "burst", "algorithm", "utc_offset"];
pub(super) const RATE_LIMIT_FIELDS: &[&str] = PLAN_FIELDS;
pub(super) const LIMIT_FIELDS: &[&str] = &[
    "name",
    "each",
    "requests",
    "burst",
    "algorithm",
    "utc_offset",
];

/// No place on earth is farther from Greenwich.
const FARTHEST: i64 = 14 * 3600;

/// What `utc_offset` looks like.
const UTC_OFFSET: &str = "an offset such as \"Z\" or \"+02:00\"";

const EACH: &str = "address, client, route, [client, route], or [] for one count of all";

/// The plans in the order of their names.
pub(super) fn plans(spot: Option<&Spot<'_>>) -> Vec<Plan> {
    let Some(named) = spot.and_then(|spot| spot.named(MOST_PLANS)) else {
        return Vec::new();
    };
    let mut plans: Vec<Plan> = named
        .iter()
        .map(|(name, plan)| {
            if let Err(fault) = names::name(name) {
                plan.fault(fault);
            }
            let counting = plan
                .fields(PLAN_FIELDS)
                .and_then(|fields| optional_counting(&fields));
            let limit = counting.map(|(rate, algorithm)| Limit {
                name: OF_PLAN.to_owned(),
                each: Each::Client,
                rate,
                algorithm,
            });
            Plan {
                name: name.to_owned(),
                limits: limit.into_iter().collect(),
            }
        })
        .collect();
    sort_by(&mut plans, |left, right| left.name.cmp(&right.name));
    plans
}

/// Where each plan stands.
pub(super) fn by_name(plans: &[Plan]) -> HashMap<&str, PlanId> {
    plans
        .iter()
        .enumerate()
        .map(|(index, plan)| (plan.name.as_str(), PlanId(index)))
        .collect()
}

/// Limits that stand on their own, in the order of the document.
pub(super) fn limits(spot: Option<&Spot<'_>>) -> Vec<Limit> {
    let Some(items) = spot.and_then(|spot| spot.list(MOST_LIMITS)) else {
        return Vec::new();
    };
    let mut taken = HashSet::new();
    items
        .filter_map(|item| {
            let fields = item.fields(LIMIT_FIELDS)?;
            let name = fields
                .need("name")
                .and_then(|name| limit_name(&name, &mut taken));
            let each = fields.need("each").and_then(|each| self::each(&each));
            let counting = needed_counting(&fields);
            let (rate, algorithm) = counting?;
            Some(Limit {
                name: name?,
                each: each?,
                rate,
                algorithm,
            })
        })
        .collect()
}

/// A route's own limit.
pub(super) fn rate_limit(spot: &Spot<'_>) -> Option<Limit> {
    let fields = spot.fields(RATE_LIMIT_FIELDS)?;
    let (rate, algorithm) = needed_counting(&fields)?;
    Some(Limit {
        name: OF_ROUTE.to_owned(),
        each: Each::ClientRoute,
        rate,
        algorithm,
    })
}

fn limit_name(spot: &Spot<'_>, taken: &mut HashSet<String>) -> Option<String> {
    let name = spot.checked(names::name)?;
    if name == OF_PLAN || name == OF_ROUTE {
        spot.fault(format!(
            "{} is how callers are told of a {name}'s own limit; choose another name",
            shown(name)
        ));
    } else if !taken.insert(name.to_owned()) {
        spot.fault(format!("another limit is already named {}", shown(name)));
    }
    Some(name.to_owned())
}

fn each(spot: &Spot<'_>) -> Option<Each> {
    if spot.is_text() {
        return spot.choice(&[
            ("address", Each::Address),
            ("client", Each::Client),
            ("route", Each::Route),
        ]);
    }
    let words = [
        ("address", Each::Address),
        ("client", Each::Client),
        ("route", Each::Route),
    ];
    // Read to the end, so that each word that is none is told.
    let parts: Vec<_> = spot
        .list(words.len())?
        .map(|item| item.choice(&words))
        .collect();
    let parts = parts.into_iter().collect::<Option<Vec<_>>>()?;
    match parts.as_slice() {
        [] => Some(Each::All),
        [one] => Some(*one),
        [Each::Client, Each::Route] | [Each::Route, Each::Client] => Some(Each::ClientRoute),
        _ => {
            spot.fault(format!("expected {EACH}"));
            None
        }
    }
}

/// How a limit counts, if `requests` is written.
fn optional_counting(fields: &Fields<'_>) -> Option<(Rate, Algorithm)> {
    let Some(requests) = fields.get("requests") else {
        for name in ["burst", "algorithm", "utc_offset"] {
            if let Some(spot) = fields.get(name) {
                spot.fault("has no meaning without requests");
            }
        }
        return None;
    };
    counting(fields, Some(&requests))
}

/// How a limit counts; `requests` must be there.
fn needed_counting(fields: &Fields<'_>) -> Option<(Rate, Algorithm)> {
    counting(fields, fields.need("requests").as_ref())
}

fn counting(fields: &Fields<'_>, requests: Option<&Spot<'_>>) -> Option<(Rate, Algorithm)> {
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
    Some((rate, algorithm))
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
