//! How many at once: what a checked configuration says of requests in flight.

use std::time::Duration;

use super::{Each, PlanId, Policy, Scope};

/// How many requests may be in flight at once, counted per something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// As it is told to the caller.
    pub name: String,
    /// What it is counted per.
    pub each: Each,
    /// Which requests count.
    pub scope: Scope,
    /// So many, at least one.
    pub most: u32,
    /// Whoever finds all places taken may wait. `None`: it is refused.
    pub queue: Option<Queue>,
    /// From how many per cent on callers are warned.
    pub warn_at: Option<u8>,
    /// For how many per cent of those that it is counted per it is in force. The others it only counts.
    pub enforce: u8,
    /// How places are shared among those who wait. `None`: they take turns.
    pub share: Option<Share>,
}

/// Those who wait for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// For so long at most, in whole seconds, at least one.
    pub wait: Duration,
    /// So many at most, at least one.
    pub most: u32,
}

/// Who shares an agent's places, and in which parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Who has a part.
    pub by: Sharer,
    /// How large the parts of these plans' clients are, beside 1 for all others.
    pub weights: Vec<(PlanId, u16)>,
    /// Which plans' clients go first, beside 0 for all others.
    pub priorities: Vec<(PlanId, u16)>,
}

/// Who has a part of an agent's places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharer {
    /// A client.
    Client,
    /// A team; clients without one as clients.
    Team,
}

/// What an inference gateway in an agent's place is told, so that it can share and order on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inference {
    /// Whose the request is.
    pub by: Sharer,
    /// The objectives of these plans' clients, by the names of `InferenceObjective`s. None for others.
    pub objectives: Vec<(PlanId, String)>,
}

impl InFlight {
    fn wait(&self) -> Duration {
        self.queue.map_or(Duration::ZERO, |queue| queue.wait)
    }
}

impl Policy {
    /// For how long a request may wait for places at most: under one limit after the other.
    #[must_use]
    pub fn longest_wait(&self) -> Duration {
        let sum = |all: &[InFlight]| all.iter().map(InFlight::wait).sum::<Duration>();
        let plans = self.plans.iter().map(|plan| sum(&plan.in_flight));
        let own = self
            .clients
            .keys
            .iter()
            .filter_map(|key| key.client.limits.as_ref());
        let own = own.map(|own| sum(&own.in_flight));
        let of_client = plans.chain(own).max().unwrap_or_default();
        let agents = self
            .agents
            .iter()
            .filter_map(|agent| agent.in_flight.as_ref());
        let of_agent = agents.map(InFlight::wait).max().unwrap_or_default();
        of_client + sum(&self.in_flight) + of_agent
    }

    /// The longest that is written of a client or a plan: what the validator says of a client's own is no longer.
    #[must_use]
    pub fn longest_own_wait(&self) -> Duration {
        let plans = self.plans.iter().flat_map(|plan| &plan.in_flight);
        let own = self
            .clients
            .keys
            .iter()
            .filter_map(|key| key.client.limits.as_ref());
        let own = own.flat_map(|own| &own.in_flight);
        plans
            .chain(own)
            .map(InFlight::wait)
            .max()
            .unwrap_or_default()
    }
}
