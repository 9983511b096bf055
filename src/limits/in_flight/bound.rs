//! One bound, and what it means for a request that meets it.

use std::rc::Rc;
use std::time::Duration;

use super::Came;
use crate::config::policy::{self, Queue, Scope, Share, Subject};
use crate::host::CellName;
use crate::limits::admission::Full;
use crate::limits::place::Places;
use crate::state::in_flight::{Bounded, Claim};

/// One bound, ready to decide by.
#[derive(Debug)]
pub(in crate::limits) struct Bound {
    pub(super) name: String,
    /// What it is counted per, in words.
    pub(super) per: String,
    pub(super) subjects: Box<[Subject]>,
    pub(super) scope: Option<Box<Scope>>,
    pub(super) most: u32,
    pub(super) queue: Option<Queue>,
    pub(super) warn_at: Option<u8>,
    pub(super) enforce: u8,
    pub(super) share: Option<Share>,
    pub(super) salt: u64,
}

/// One bound that a request meets.
#[derive(Debug, Clone)]
pub struct Met {
    pub(super) bound: Rc<Bound>,
    pub(super) cell: CellName,
    pub(super) bounded: Bounded,
    /// So many places: one, or one for each call.
    pub(super) places: u32,
    pub(super) turns_by: u64,
    pub(super) weight: u16,
    pub(super) priority: u16,
    pub(super) enforced: bool,
}

impl Bound {
    pub(super) fn new(places: &Places, bound: &policy::InFlight, of: &[&str]) -> Self {
        let policy::InFlight {
            name,
            each,
            scope,
            most,
            queue,
            warn_at,
            enforce,
            share,
        } = bound;
        let per = each.to_string();
        Self {
            salt: places.salt_in_flight(name, &per, of),
            name: name.clone(),
            per,
            subjects: each.subjects().into(),
            scope: (*scope != Scope::default()).then(|| Box::new(scope.clone())),
            most: *most,
            queue: *queue,
            warn_at: *warn_at,
            enforce: *enforce,
            share: share.clone(),
        }
    }

    pub(in crate::limits) fn subjects(&self) -> &[Subject] {
        &self.subjects
    }

    /// Which requests it counts. `None`: all.
    pub(in crate::limits) fn scope(&self) -> Option<&Scope> {
        self.scope.as_deref()
    }

    /// True if what it counts are calls of tools.
    pub(super) fn is_by_tool(&self) -> bool {
        let named = |scope: &Scope| !scope.tools.is_empty();
        self.subjects.contains(&Subject::Tool) || self.scope().is_some_and(named)
    }

    /// True if the address must be known of a request: of an anonymous one, or of all.
    pub(super) fn needs_address(&self, anonymous: bool) -> bool {
        let has = |subject| self.subjects.contains(&subject);
        has(Subject::Address)
            || anonymous && (has(Subject::Client) || self.share.is_some() || self.queue.is_some())
    }
}

// === impl Met ===

impl Met {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.bound.name
    }

    /// What it is counted per, in words.
    #[must_use]
    pub fn per(&self) -> &str {
        &self.bound.per
    }

    /// What a caller is told of it where it is full.
    #[must_use]
    pub fn full(&self) -> Full<'_> {
        Full {
            name: self.name(),
            per: self.per(),
        }
    }

    /// Where it is counted.
    #[cfg(test)]
    pub(in crate::limits) fn cell(&self) -> CellName {
        self.cell
    }

    /// How long a place may be waited for.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.bound.queue.map(|it| it.wait)
    }

    /// How many may be in flight at once.
    pub(in crate::limits) fn most(&self) -> u32 {
        self.bound.most
    }

    /// False: it only counts.
    pub(in crate::limits) fn is_enforced(&self) -> bool {
        self.enforced
    }

    /// True if it is the same bound that another meets.
    #[must_use]
    pub fn is_under_that_of(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.bound, &other.bound)
    }

    /// Where it is counted, and under which tag.
    pub(in crate::limits) fn place(&self) -> (CellName, u64) {
        (self.cell, self.bounded.tag)
    }

    /// Of the bounds that a request meets, one under which it needs more places than there are.
    #[must_use]
    pub fn too_small(met: &[Self]) -> Option<&Self> {
        let mut enforced = met.iter().filter(|it| it.is_enforced());
        enforced.find(|it| it.places > it.most())
    }

    pub(super) fn claim(&self, may_wait: bool) -> Claim {
        let queue = self.bound.queue.filter(|_| may_wait && self.enforced);
        Claim {
            places: self.places,
            most: if self.enforced {
                self.bound.most
            } else {
                u32::MAX
            },
            most_waiting: queue.map_or(0, |it| it.most),
            turns_by: self.turns_by,
            weight: self.weight,
            priority: self.priority,
        }
    }

    pub(super) fn came_in(&self, taken: u64) -> Came {
        let most = u64::from(self.bound.most);
        let warned = |at: u8| taken.saturating_mul(100) >= most.saturating_mul(at.into());
        Came::In {
            warns: self.enforced && self.bound.warn_at.is_some_and(warned),
            beyond: taken > most,
        }
    }
}
