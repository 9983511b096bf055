//! How much callers have the gateway hold before anybody knows who they are.
//!
//! Such a request waits with its headers and what has come of its body, for the validator or for the rest of the body. What
//! one of them may have held is bounded, and so is what all of them may in one worker; otherwise callers with made-up keys could
//! fill the memory.

use std::cell::Cell;
use std::rc::Rc;

use crate::config::policy::Hold;

/// What is held in this worker for callers that nobody knows yet.
#[derive(Debug)]
pub(super) struct Holds {
    bounds: Hold,
    all: Rc<Cell<u64>>,
}

/// What is held for one request. It is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    bytes: u64,
    all: Rc<Cell<u64>>,
}

/// Why a request may not be held.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TooMuch {
    /// It alone would have more held than this.
    Request(u64),
    /// All together would have more held than this.
    Worker(u64),
}

impl Holds {
    pub(super) fn new(bounds: Hold) -> Self {
        Self {
            bounds,
            all: Rc::default(),
        }
    }

    /// Holds so many bytes for a request, in place of what was `held` for it.
    pub(super) fn hold(&self, held: &mut Option<Held>, bytes: u64) -> Result<(), TooMuch> {
        let before = held.as_ref().map_or(0, |held| held.bytes);
        let all = self.all.get().saturating_sub(before).saturating_add(bytes);
        if bytes > self.bounds.request {
            return Err(TooMuch::Request(self.bounds.request));
        }
        // What is given back is never too much.
        if all > self.bounds.worker && bytes > before {
            return Err(TooMuch::Worker(self.bounds.worker));
        }
        self.all.set(all);
        match held {
            Some(held) => held.bytes = bytes,
            None => {
                let all = Rc::clone(&self.all);
                *held = Some(Held { bytes, all });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
impl Held {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.set(self.all.get().saturating_sub(self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_and_all_together_are_bounded_and_what_is_dropped_makes_room() {
        let holds = Holds::new(Hold {
            request: 10,
            worker: 15,
        });
        let (mut one, mut other) = (None, None);
        holds.hold(&mut one, 4).unwrap();
        holds.hold(&mut one, 10).unwrap();
        assert_eq!(holds.hold(&mut one, 11), Err(TooMuch::Request(10)));
        holds.hold(&mut other, 5).unwrap();
        assert_eq!(holds.hold(&mut other, 6), Err(TooMuch::Worker(15)));
        // Nothing was taken by what failed.
        assert_eq!(holds.all.get(), 15);
        drop(one);
        holds.hold(&mut other, 6).unwrap();
        assert_eq!(holds.all.get(), 6);
        drop(other);
        assert_eq!(holds.all.get(), 0);
    }
}
