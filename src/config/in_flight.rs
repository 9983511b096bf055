//! How many requests may be in flight at once, who may wait for a place, and how those of an agent are shared.

use std::collections::HashMap;
use std::time::Duration;

use super::counting::Soft;
use super::names;
use super::policy::{Each, InFlight, Inference, PlanId, Queue, Scope, Share, Sharer, Subject};
use super::reader::{Fields, Spot};
use crate::host::seconds_up;

/// The name under which callers are told of an agent's own.
pub(super) const OF_AGENT: &str = "agent";

const MOST: u32 = 1_000_000;
/// All who wait for one thing lie in one cell of shared memory.
const MOST_WAITING: u32 = 1_000;
const WAITING: u32 = 100;
/// All sharers of an agent's places lie in one cell.
const MOST_SHARED: u32 = 2_000;
const MOST_PLANS: usize = 1_024;
const MOST_WEIGHT: u32 = 1_000;

/// Ticks are all that waits are measured by.
const LEAST_WAIT: Duration = Duration::from_secs(1);
const MOST_WAIT: Duration = Duration::from_secs(300);
/// Fair shares are given to those who wait, so whoever shares lets callers wait.
const WAIT_FOR_SHARE: Duration = Duration::from_secs(10);

const FIELD: &str = "in_flight";
const FIELD_OF_AGENT: &str = "max_in_flight";

/// The fields that say how many requests may be in flight.
pub(super) const FIELDS: [&str; 3] = [FIELD, "wait", "max_waiting"];
pub(super) const INFERENCE_FIELDS: &[&str] = &["by", "objectives"];
pub(super) const SHARE_FIELDS: &[&str] = &["by", "weights", "priorities"];

/// How many may be in flight.
pub(super) struct Bound {
    most: u32,
    queue: Option<Queue>,
    soft: Soft,
}

impl InFlight {
    pub(super) fn new(name: &str, each: Each, scope: Scope, bound: Bound) -> Self {
        Self {
            name: name.to_owned(),
            each,
            scope,
            most: bound.most,
            queue: bound.queue,
            warn_at: bound.soft.warn_at,
            enforce: bound.soft.enforce,
            share: None,
        }
    }
}

/// How many may be in flight, if `in_flight` is written.
pub(super) fn optional(fields: &Fields<'_>, soft: Soft) -> Option<Bound> {
    let Some(written) = fields.get(FIELD) else {
        meaningless_without(fields, &["wait", "max_waiting"], FIELD);
        return None;
    };
    let queue = queue(fields, None);
    let most = written.whole_u32(1..=MOST)?;
    Some(Bound { most, queue, soft })
}

/// How many may be in flight to an agent, if that is written.
pub(super) fn of_agent(fields: &Fields<'_>, plans: &HashMap<&str, PlanId>) -> Option<InFlight> {
    let Some(written) = fields.get(FIELD_OF_AGENT) else {
        meaningless_without(fields, &["wait", "max_waiting", "share"], FIELD_OF_AGENT);
        return None;
    };
    let share = fields.get("share");
    let queue = queue(fields, share.as_ref().map(|_| WAIT_FOR_SHARE));
    let most = if share.is_some() { MOST_SHARED } else { MOST };
    let most = written.whole_u32(1..=most);
    let share = share.and_then(|spot| self::share(&spot, plans));
    let soft = Soft {
        warn_at: None,
        enforce: 100,
    };
    let bound = Bound {
        most: most?,
        queue,
        soft,
    };
    let each = Each::new([Subject::Agent]);
    Some(InFlight {
        share,
        ..InFlight::new(OF_AGENT, each, Scope::default(), bound)
    })
}

fn meaningless_without(fields: &Fields<'_>, names: &[&str], other: &str) {
    for spot in names.iter().filter_map(|name| fields.get(name)) {
        spot.fault(format!("has no meaning without {other}"));
    }
}

/// Who may wait. `wait` is the time unless one is written.
fn queue(fields: &Fields<'_>, wait: Option<Duration>) -> Option<Queue> {
    let most = fields.get("max_waiting");
    let number = most.as_ref().map(|spot| spot.whole_u32(1..=MOST_WAITING));
    let wait = match fields.get("wait") {
        Some(spot) => spot.duration(LEAST_WAIT..=MOST_WAIT),
        None => {
            if let (Some(spot), None) = (&most, wait) {
                spot.fault("has no meaning without wait");
            }
            wait
        }
    };
    Some(Queue {
        wait: Duration::from_secs(seconds_up(wait?)),
        most: number.map_or(Some(WAITING), |number| number)?,
    })
}

fn share(spot: &Spot<'_>, plans: &HashMap<&str, PlanId>) -> Option<Share> {
    let fields = spot.fields(SHARE_FIELDS)?;
    let by = sharer(&fields);
    let weights = of_plans(fields.get("weights").as_ref(), 1, plans);
    let priorities = of_plans(fields.get("priorities").as_ref(), 0, plans);
    Some(Share {
        by: by?,
        weights,
        priorities,
    })
}

fn sharer(fields: &Fields<'_>) -> Option<Sharer> {
    let by = fields.need("by")?;
    by.choice(&[("client", Sharer::Client), ("team", Sharer::Team)])
}

/// What an inference gateway is told.
pub(super) fn inference(spot: &Spot<'_>, plans: &HashMap<&str, PlanId>) -> Option<Inference> {
    let fields = spot.fields(INFERENCE_FIELDS)?;
    let by = sharer(&fields);
    let objectives = fields.get("objectives");
    let named = objectives.as_ref().and_then(|spot| spot.named(MOST_PLANS));
    let named = named.iter().flat_map(Fields::iter);
    let objectives = named.filter_map(|(plan, objective)| {
        let id = objective.known("plan", plan, plans);
        let name = objective.checked(names::name);
        Some((id?, name?.to_owned()))
    });
    let objectives = objectives.collect();
    Some(Inference {
        by: by?,
        objectives,
    })
}

/// A number for each of these plans.
fn of_plans(
    spot: Option<&Spot<'_>>,
    least: u32,
    plans: &HashMap<&str, PlanId>,
) -> Vec<(PlanId, u16)> {
    let named = spot.and_then(|spot| spot.named(MOST_PLANS));
    let named = named.iter().flat_map(Fields::iter);
    let numbers = named.filter_map(|(name, number)| {
        let plan = number.known("plan", name, plans);
        let number = number.whole_u32(least..=MOST_WEIGHT);
        Some((plan?, u16::try_from(number?).ok()?))
    });
    numbers.collect()
}
