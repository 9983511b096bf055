//! How much callers have the gateway hold.
//!
//! A request waits with its headers and what has arrived of its body. Those that wait for the validator may be anybody's: what
//! one of them may have held is bounded, and so is what all of them may in one worker; else whoever sends keys that nobody
//! knows could fill the memory. Those that wait for the rest of their body have passed all stages. What they have held is
//! bounded apart, so that nobody who sends slowly shuts out new keys. So is, for the same reason, what those have held whose agent
//! is to be chosen by their body: of them it is known who they are, but no limit has counted them yet. And so is what is held of
//! answers that are changed on their way.

use std::cell::Cell;
use std::rc::Rc;

use crate::config::policy::Hold;

/// What is held in this worker, in bytes.
#[derive(Debug)]
pub(super) struct Holds {
    bounds: Hold,
    undecided: Rc<Cell<u64>>,
    asked: Rc<Cell<u64>>,
    collected: Rc<Cell<u64>>,
    answers: Rc<Cell<u64>>,
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Waits {
    /// The validator's answer.
    #[default]
    ForValidator,
    /// What its body says of what the rules ask.
    ForRules,
    /// What its body says of what it has in common with others.
    ForLook,
    /// The rest of its body, or a place: its limits have let it pass.
    Admitted,
    /// The rest of its answer.
    Answer,
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
    /// All that wait for the validator would have more held together than this.
    Worker(u64),
    /// All whose bodies choose their agents would have more held together than this.
    Asked(u64),
    /// All whose bodies are collected would have more held together than this.
    Collected(u64),
    /// All whose answers are changed would have more held together than this.
    Answers(u64),
}

impl Holds {
    pub(super) fn new(bounds: Hold) -> Self {
        Self {
            bounds,
            undecided: Rc::default(),
            asked: Rc::default(),
            collected: Rc::default(),
            answers: Rc::default(),
        }
    }

    /// Holds so many bytes for a request, in place of what was `held` for it.
    pub(super) fn hold(
        &self,
        held: &mut Option<Held>,
        bytes: u64,
        waits: Waits,
    ) -> Result<(), TooMuch> {
        let Hold {
            request,
            worker,
            collected,
        } = self.bounds;
        if matches!(waits, Waits::ForValidator | Waits::ForRules) && bytes > request {
            return Err(TooMuch::Request(request));
        }
        let (all, most, too_much): (_, _, fn(u64) -> TooMuch) = match waits {
            Waits::ForValidator => (&self.undecided, worker, TooMuch::Worker),
            Waits::ForRules | Waits::ForLook => (&self.asked, worker, TooMuch::Asked),
            Waits::Admitted => (&self.collected, collected, TooMuch::Collected),
            Waits::Answer => (&self.answers, collected, TooMuch::Answers),
        };
        // It waited for something else before.
        if held
            .as_ref()
            .is_some_and(|held| !Rc::ptr_eq(&held.all, all))
        {
            *held = None;
        }
        let before = held.as_ref().map_or(0, |held| held.bytes);
        let sum = all.get().saturating_sub(before).saturating_add(bytes);
        // What is given back is never too much.
        if sum > most && bytes > before {
            return Err(too_much(most));
        }
        all.set(sum);
        let all = Rc::clone(all);
        match held {
            Some(held) => held.bytes = bytes,
            None => *held = Some(Held { bytes, all }),
        }
        Ok(())
    }
}

#[cfg(test)]
impl Holds {
    pub(super) fn of_answers(&self) -> u64 {
        self.answers.get()
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

    const BOUNDS: Hold = Hold {
        request: 10,
        worker: 15,
        collected: 20,
    };

    #[test]
    fn one_request_and_all_together_are_bounded_and_what_is_dropped_makes_room() {
        let holds = Holds::new(BOUNDS);
        let (mut one, mut other) = (None, None);
        holds.hold(&mut one, 4, Waits::ForValidator).unwrap();
        holds.hold(&mut one, 10, Waits::ForValidator).unwrap();
        assert_eq!(
            holds.hold(&mut one, 11, Waits::ForValidator),
            Err(TooMuch::Request(10))
        );
        holds.hold(&mut other, 5, Waits::ForValidator).unwrap();
        assert_eq!(
            holds.hold(&mut other, 6, Waits::ForValidator),
            Err(TooMuch::Worker(15))
        );
        // Nothing was taken by what failed.
        assert_eq!(holds.undecided.get(), 15);
        drop(one);
        holds.hold(&mut other, 6, Waits::ForValidator).unwrap();
        assert_eq!(holds.undecided.get(), 6);
        drop(other);
        assert_eq!(holds.undecided.get(), 0);
    }

    #[test]
    fn whose_bodies_are_asked_take_no_room_from_those_who_wait_for_the_validator() {
        let holds = Holds::new(BOUNDS);
        let (mut one, mut other, mut new) = (None, None, None);
        holds.hold(&mut one, 10, Waits::ForRules).unwrap();
        holds.hold(&mut other, 5, Waits::ForRules).unwrap();
        assert_eq!(
            holds.hold(&mut other, 6, Waits::ForRules),
            Err(TooMuch::Asked(15))
        );
        assert_eq!(
            holds.hold(&mut one, 11, Waits::ForRules),
            Err(TooMuch::Request(10))
        );
        holds.hold(&mut new, 10, Waits::ForValidator).unwrap();
        drop((one, other));
        assert_eq!((holds.undecided.get(), holds.asked.get()), (10, 0));
    }

    #[test]
    fn who_is_admitted_is_counted_with_those_whose_bodies_are_collected() {
        let holds = Holds::new(BOUNDS);
        let mut held = None;
        holds.hold(&mut held, 8, Waits::ForValidator).unwrap();
        holds.hold(&mut held, 18, Waits::Admitted).unwrap();
        assert_eq!((holds.undecided.get(), holds.collected.get()), (0, 18));
        let mut other = None;
        assert_eq!(
            holds.hold(&mut other, 3, Waits::Admitted),
            Err(TooMuch::Collected(20))
        );
        drop(held);
        assert_eq!(holds.collected.get(), 0);
    }
}
