//! One count for many gateways: who keeps it, and what holds while it cannot be asked.

use std::time::Duration;

/// Who counts for all gateways: a service of Envoy's rate limit protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// Envoy's cluster.
    pub cluster: String,
    /// What it is called in questions.
    pub host: String,
    /// Whose descriptors these are.
    pub domain: String,
    /// How long it may take for an answer.
    pub timeout: Duration,
    /// How many questions may be under way in a worker.
    pub max_pending: usize,
    /// How many gateways there are, at least one.
    pub gateways: u32,
    /// Whether it is asked on each request.
    pub manner: Manner,
    /// What holds while it does not answer.
    pub on_failure: OnFailure,
}

/// When the service is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// On each request, which waits for the answer.
    Strict,
    /// Ahead of need: a worker has a share of what is left, and takes from it.
    Leased,
}

/// What holds while the service does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Each process has its share of the limit: as much as it is divided by the number of gateways.
    ProcessShare,
    /// All requests pass.
    Allow,
    /// None does.
    Deny,
}
