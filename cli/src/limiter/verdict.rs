//! What a store says of a question.

use std::time::Duration;

/// The answer to a question: all of it was counted, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// It was counted.
    pub(super) admitted: bool,
    /// One for each part, in their order.
    pub(super) standings: Vec<Standing>,
}

/// How one counter stands after the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// This part had room.
    pub(super) fits: bool,
    /// What is left in this window.
    pub(super) remaining: u32,
    /// Until the window ends.
    pub(super) reset: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no room for another counter.
    Full,
    /// The store cannot be reached, or cannot write.
    Away,
    /// More wait for the store than may.
    Crowded,
}

/// What is left of a limit of which so much is used.
pub(super) fn left(limit: u32, used: u64) -> u32 {
    u32::try_from(u64::from(limit).saturating_sub(used)).unwrap_or(u32::MAX)
}
