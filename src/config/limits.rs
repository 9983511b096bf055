//! Rates: of plans, of routes, and of limits that stand on their own.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::document::shown;
use super::names;
use super::policy::{Each, Limit, Plan, PlanId, Rate};
use super::reader::{Fields, Spot};
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

pub(super) const PLAN_FIELDS: &[&str] = &["requests", "burst"];
pub(super) const RATE_LIMIT_FIELDS: &[&str] = &["requests", "burst"];
pub(super) const LIMIT_FIELDS: &[&str] = &["name", "each", "requests", "burst"];

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
            let rate = plan
                .fields(PLAN_FIELDS)
                .and_then(|fields| optional_rate(&fields));
            let limit = rate.map(|rate| Limit {
                name: OF_PLAN.to_owned(),
                each: Each::Client,
                rate,
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
            let rate = needed_rate(&fields);
            Some(Limit {
                name: name?,
                each: each?,
                rate: rate?,
            })
        })
        .collect()
}

/// A route's own limit.
pub(super) fn rate_limit(spot: &Spot<'_>) -> Option<Limit> {
    let fields = spot.fields(RATE_LIMIT_FIELDS)?;
    Some(Limit {
        name: OF_ROUTE.to_owned(),
        each: Each::ClientRoute,
        rate: needed_rate(&fields)?,
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

/// The rate that `requests` and `burst` make, if `requests` is written.
fn optional_rate(fields: &Fields<'_>) -> Option<Rate> {
    let burst = burst(fields);
    let Some(requests) = fields.get("requests") else {
        if let Some((burst, _)) = burst {
            burst.fault("has no meaning without requests");
        }
        return None;
    };
    rate(&requests, burst)
}

/// The rate that `requests` and `burst` make; `requests` must be there.
fn needed_rate(fields: &Fields<'_>) -> Option<Rate> {
    let (requests, burst) = (fields.need("requests"), burst(fields));
    rate(&requests?, burst)
}

/// A burst as it is written.
type Burst<'a> = (Spot<'a>, Option<u64>);

fn burst<'a>(fields: &Fields<'a>) -> Option<Burst<'a>> {
    let spot = fields.get("burst")?;
    let burst = spot.whole(1..=u64::MAX >> 11);
    Some((spot, burst))
}

fn rate(requests: &Spot<'_>, burst: Option<Burst<'_>>) -> Option<Rate> {
    let (quantity, period) = requests.rate()?;
    if quantity == 0 {
        requests.fault("a rate of 0 lets nothing pass; write at least 1");
        return None;
    }
    if period.as_nanos() / u128::from(quantity) < LEAST_INTERVAL_NANOS {
        requests.fault("more than 1000000 a second; write a smaller rate");
        return None;
    }
    let Some((burst_spot, burst)) = burst else {
        return Some(Rate {
            quantity,
            period,
            burst: quantity,
        });
    };
    let most = LONGEST_REFILL
        .as_nanos()
        .saturating_mul(u128::from(quantity))
        / period.as_nanos().max(1);
    let most = u64::try_from(most).unwrap_or(u64::MAX).clamp(1, 1 << 50);
    let burst = burst?;
    if burst > most {
        burst_spot.fault(format!(
            "would take more than 30 days to refill at this rate; at most {most} is allowed"
        ));
    }
    Some(Rate {
        quantity,
        period,
        burst,
    })
}
