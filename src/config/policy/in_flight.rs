//! How many at once: what a checked configuration says of requests in flight.

use std::time::Duration;

use super::{Each, PlanId, Scope};

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
