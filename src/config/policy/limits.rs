//! How much: what a checked configuration says of limits.

use std::time::Duration;

/// A named set of limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// As the validator names it.
    pub name: String,
    /// Counted per client; named `plan`.
    pub limits: Vec<Limit>,
}

/// A rate that may not be exceeded, counted per something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// As it is told to the caller.
    pub name: String,
    /// What it is counted per.
    pub each: Each,
    /// How much.
    pub rate: Rate,
    /// How it is counted.
    pub algorithm: Algorithm,
}

/// What a limit is counted per.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Each {
    /// The address of the caller (IPv6 by /64). Counted at the gate.
    Address,
    /// The client; anonymous callers by address.
    Client,
    /// The route.
    Route,
    /// The client on the route; anonymous callers by address.
    ClientRoute,
    /// One count of all.
    All,
}

/// So much in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least one.
    pub quantity: u64,
    /// A second, a minute, an hour or a day. Of a month, which only [`Algorithm::FixedWindow`] counts, [`Rate::MONTH`].
    pub period: Duration,
    /// At least one; how many may come at once. Of a token bucket; in windows it is the quantity.
    pub burst: u64,
}

impl Rate {
    /// The longest of all months.
    pub const MONTH: Duration = Duration::from_secs(31 * 86_400);
}

/// How a limit is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// [`Rate::burst`] at once, refilled evenly.
    TokenBucket,
    /// The last period, as far as this window and the one before it tell.
    SlidingWindow,
    /// The minute, hour, day or month of the calendar.
    FixedWindow {
        /// Whose calendar: seconds east of Greenwich.
        utc_offset: i32,
    },
}
