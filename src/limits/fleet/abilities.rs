//! What a service can do beside counting, which not every one of the protocol can.
//!
//! To be asked how a limit stands, and to give all back, are fields of the protocol that a service may not know; one that does not
//! would count such a question as any other. So it is asked first about two counters of nobody's: what it says of them shows what
//! it can do.

use std::time::Duration;

use super::protocol::{
    DescriptorStatus, Entry, RateLimitDescriptor, RateLimitOverride, RateLimitResponse, Unit,
};
use super::{Fleet, Question, Topic};
use crate::host::Timestamp;

/// So long a service is taken for what it has shown to be.
const BELIEVED: Duration = Duration::from_secs(60);

/// The counters of nobody's: this entry, and what is tried there.
const TRIED: &str = "waykeeper";
/// Their limit.
const TRIED_LIMIT: u32 = 1_000;

/// What a service can do beside counting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    /// A question that takes nothing.
    pub looks: bool,
    /// One that gives back, down to nothing used and no further.
    pub gives_back: bool,
}

impl Abilities {
    /// By the answer to [`Fleet::try_abilities`].
    pub(super) fn shown_by(said: &RateLimitResponse) -> Self {
        // Who does not know the field has counted one.
        let untouched = |it: Option<&DescriptorStatus>| {
            it.is_some_and(|status| status.limit_remaining == TRIED_LIMIT)
        };
        let looks = untouched(said.statuses.first());
        Self {
            looks,
            gives_back: looks && untouched(said.statuses.get(1)),
        }
    }
}

impl Fleet {
    /// What the service has shown lately that it can do.
    #[must_use]
    pub fn abilities(&self, now: Timestamp) -> Option<Abilities> {
        let (abilities, at) = self.abilities.get()?;
        let lately = at <= now && now.since(at) < BELIEVED;
        lately.then_some(abilities)
    }

    /// The question that shows it.
    #[must_use]
    pub fn try_abilities(&self) -> Question {
        let tried = |what: &str, hits: u64, is_negative_hits: bool| RateLimitDescriptor {
            entries: vec![Entry {
                key: TRIED.to_owned(),
                value: what.to_owned(),
            }],
            limit: Some(RateLimitOverride {
                requests_per_unit: TRIED_LIMIT,
                unit: Unit::Second.into(),
            }),
            hits_addend: Some(hits),
            is_negative_hits,
        };
        let all = vec![tried("look", 0, false), tried("give back", 1, true)];
        self.question(Topic::Abilities, all)
    }
}
