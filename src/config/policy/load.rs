//! How busy agents are, what they cost, and which of several a route prefers.

use std::time::Duration;

/// How it is learned how busy an agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// By what.
    pub from: LoadSource,
    /// So many requests that wait at the agent mean that it is full. At least one.
    pub full_at: u32,
    /// What is older is not known any more.
    pub lasts: Duration,
}

/// By what it is learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadSource {
    /// How many of its places are taken, of those that bound its requests in flight.
    InFlight,
    /// ORCA: a report in its answers.
    Orca {
        /// The one of its named metrics that counts. `None`: the agent's utilization.
        metric: Option<String>,
    },
    /// `x-agent-queue-depth` in its answers.
    QueueDepth,
    /// The metrics that it shows, in Prometheus' text.
    Metrics {
        /// Where it shows them. Begins with `/`.
        path: String,
        /// Who shows them: at least one.
        shown_by: Vec<Shower>,
        /// How often they are looked at, in whole seconds.
        every: Duration,
    },
}

/// One that shows an agent's metrics, or those of one of its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shower {
    /// Its cluster.
    pub cluster: String,
    /// What it is called in the request for them.
    pub host: String,
}

impl LoadSource {
    /// As it is written.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Orca { .. } => "orca",
            Self::QueueDepth => "queue_depth",
            Self::Metrics { .. } => "metrics",
        }
    }
}

/// What an agent costs, in millionths of a dollar for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Those that it reads.
    pub input: u64,
    /// Those that it writes.
    pub output: u64,
}

impl Price {
    /// Nothing.
    pub const FREE: Self = Self {
        input: 0,
        output: 0,
    };

    /// What agents are compared by: three tokens read for each that is written, as most requests have it.
    #[must_use]
    pub fn to_compare(self) -> u64 {
        (self.input.saturating_mul(3)).saturating_add(self.output)
    }
}

/// Which of several agents gets a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefer {
    /// Each as many as its weight says, of two the less busy one.
    #[default]
    Weighted,
    /// The cheapest that is not full.
    Cheapest,
    /// The one whose first token comes soonest.
    Fastest,
}
