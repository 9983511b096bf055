//! Keys that this worker has just seen. They are looked at before shared state, which saves a hash and a copy of a cell.
//!
//! An entry holds for a second at most, so whatever another worker learns of a key counts here a second later. The
//! secret itself is not kept, only a hash of it that is keyed by the process's own seed.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::Client;
use crate::host::Timestamp;
use crate::state::{Hashed, SeededHash};

/// How many keys are held. A key that falls on another's slot takes its place.
const SLOTS: usize = 1024;

/// How long an entry holds.
const FRESH: Duration = Duration::from_secs(1);

/// Keys that this worker has just seen.
#[derive(Debug)]
pub(super) struct Recent {
    hash: SeededHash,
    slots: RefCell<Vec<Option<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    key: Hashed,
    client: Rc<Client>,
    /// When it was held. A clock that shows an earlier time was set back.
    since: Timestamp,
    until: Timestamp,
}

impl Recent {
    pub(super) fn new(hash: SeededHash) -> Self {
        let slots = RefCell::new((0..SLOTS).map(|_| None).collect());
        Self { hash, slots }
    }

    /// What stands for the key here.
    #[inline]
    pub(super) fn place(&self, secret: &str) -> Hashed {
        self.hash.of(&[secret.as_bytes()])
    }

    /// The client that the key proved a moment ago.
    #[inline]
    pub(super) fn find(&self, key: Hashed, now: Timestamp) -> Option<Rc<Client>> {
        let slots = self.slots.borrow();
        let entry = slots.get(slot(key))?.as_ref()?;
        (entry.key == key && (entry.since..entry.until).contains(&now))
            .then(|| Rc::clone(&entry.client))
    }

    /// Holds what the key proves, for a moment and not beyond `expires`.
    pub(super) fn hold(
        &self,
        key: Hashed,
        client: &Rc<Client>,
        expires: Timestamp,
        now: Timestamp,
    ) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(slot(key)) {
            *slot = Some(Entry {
                key,
                client: Rc::clone(client),
                since: now,
                until: expires.min(now.after(FRESH)),
            });
        }
    }
}

#[inline]
fn slot(key: Hashed) -> usize {
    usize::try_from(key.cell % SLOTS as u64).unwrap_or(0)
}
