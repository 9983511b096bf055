//! When an agent rests: what a checked configuration says of agents that fail.

use std::time::Duration;

/// When an agent gets no requests for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// After so many failures in a row, at least one.
    pub failures: u32,
    /// When more than so many of a hundred have failed; 100: never for that.
    pub error_rate: u8,
    /// For so long at first.
    pub first: Duration,
    /// For so long at most, whatever the agent says. Not below `first`.
    pub longest: Duration,
    /// An answer whose headers come later than this is a failure. `None`: none is for that.
    pub slow_first_token: Option<Duration>,
    /// Whether a 429 with `Retry-After` has it rest for so long. If not, a 429 is an answer as any other.
    pub heeds_429: bool,
    /// The module stands on the agent's side too, and judges each attempt there.
    pub each_attempt: bool,
}

impl Rest {
    /// Unless something else is written.
    pub const DEFAULT: Self = Self {
        failures: 5,
        error_rate: 50,
        first: Duration::from_secs(10),
        longest: Duration::from_secs(300),
        slow_first_token: None,
        heeds_429: true,
        each_attempt: false,
    };
}
