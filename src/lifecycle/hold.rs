//! How much callers have the gateway hold.
//!
//! A request waits with its headers and what has arrived of its body. Those that wait for the validator may be anybody's: what
//! one of them may have held is bounded, and so is what all of them may in one worker; else whoever sends keys that nobody
//! knows could fill the memory. Those that wait for the rest of their body have passed all stages. What they have held is
//! bounded apart, so that nobody who sends slowly shuts out new keys. So is, for the same reason, what those have held whose agent
//! is to be chosen by their body: of them it is known who they are, but no limit has counted them yet. And so is what is held of
//! answers that are changed on their way.
//!
//! Where it is known whose request waits, nobody's may have more held together than is left for others: else one caller that never
//! says all of what it begins would shut out all of them. A single one may have held what its own bounds let it.

use std::cell::RefCell;
use std::rc::Rc;

use crate::config::policy::Hold;

/// What is held in this worker, in bytes.
#[derive(Debug)]
pub(super) struct Holds {
    /// What one request may have held that waits for the validator or its rules.
    request: u64,
    undecided: Pool,
    asked: Pool,
    collected: Pool,
    answers: Pool,
}

/// What is held for one reason, together.
#[derive(Debug)]
struct Pool {
    /// What it holds.
    what: &'static str,
    /// The field that bounds it.
    bound: &'static str,
    most: u64,
    held: Rc<RefCell<Sums>>,
}

#[derive(Debug, Default)]
struct Sums {
    all: u64,
    /// By callers, in their order; of those alone that have something held.
    own: Vec<(u64, u64)>,
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
    caller: u64,
    of: Rc<RefCell<Sums>>,
}

/// Why a request may not be held.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TooMuch {
    /// It alone would have more held than this.
    Request(u64),
    /// With others it would.
    Together(Full),
}

/// What can hold no more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) what: &'static str,
    /// The field of `clients.hold` that bounds it.
    pub(super) bound: &'static str,
    pub(super) most: u64,
    /// There is room, but for others than this caller.
    pub(super) for_others: bool,
}

impl Sums {
    /// What is held for this caller. Of one that is not known nothing is its own.
    fn own(&self, caller: u64) -> u64 {
        let place = self.own.binary_search_by_key(&caller, |(of, _)| *of).ok();
        place
            .and_then(|place| self.own.get(place))
            .map_or(0, |(_, bytes)| *bytes)
    }

    /// Of this caller so many bytes are held in place of those before.
    fn change(&mut self, caller: u64, before: u64, bytes: u64) {
        self.all = self.all.saturating_sub(before).saturating_add(bytes);
        if caller == 0 {
            return;
        }
        match self.own.binary_search_by_key(&caller, |(of, _)| *of) {
            Ok(place) => {
                if let Some((_, own)) = self.own.get_mut(place) {
                    *own = own.saturating_sub(before).saturating_add(bytes);
                    if *own == 0 {
                        self.own.remove(place);
                    }
                }
            }
            Err(place) if bytes > 0 => self.own.insert(place, (caller, bytes)),
            Err(_) => {}
        }
    }
}

impl Pool {
    fn new(what: &'static str, bound: &'static str, most: u64) -> Self {
        let held = Rc::default();
        Self {
            what,
            bound,
            most,
            held,
        }
    }

    /// Whether a request of this caller may have so many bytes held in place of those before.
    fn has_room(&self, caller: u64, before: u64, bytes: u64) -> Result<(), TooMuch> {
        let held = self.held.borrow();
        let all = held.all.saturating_sub(before).saturating_add(bytes);
        let others_own = held.own(caller).saturating_sub(before);
        let left = self.most.checked_sub(all);
        let is_share =
            |left| caller == 0 || others_own == 0 || others_own.saturating_add(bytes) <= left;
        // What is given back is never too much.
        if bytes <= before || left.is_some_and(is_share) {
            return Ok(());
        }
        Err(TooMuch::Together(Full {
            what: self.what,
            bound: self.bound,
            most: self.most,
            for_others: left.is_some(),
        }))
    }
}

impl Holds {
    pub(super) fn new(bounds: Hold) -> Self {
        let Hold {
            request,
            worker,
            collected,
        } = bounds;
        let pool = Pool::new;
        Self {
            request,
            undecided: pool("requests that wait for the validator", "worker", worker),
            asked: pool("bodies that choose their agents", "worker", worker),
            collected: pool("bodies that are collected", "collected", collected),
            answers: pool("answers that are changed", "collected", collected),
        }
    }

    /// Holds so many bytes for a request of this caller (0: nobody knows whose), in place of what was `held` for it.
    pub(super) fn hold(
        &self,
        held: &mut Option<Held>,
        bytes: u64,
        waits: Waits,
        caller: u64,
    ) -> Result<(), TooMuch> {
        if matches!(waits, Waits::ForValidator | Waits::ForRules) && bytes > self.request {
            return Err(TooMuch::Request(self.request));
        }
        let pool = match waits {
            Waits::ForValidator => &self.undecided,
            Waits::ForRules | Waits::ForLook => &self.asked,
            Waits::Admitted => &self.collected,
            Waits::Answer => &self.answers,
        };
        // It waited for something else before.
        held.take_if(|held| !Rc::ptr_eq(&held.of, &pool.held));
        let before = held.as_ref().map_or(0, |held| held.bytes);
        pool.has_room(caller, before, bytes)?;
        let held = held.get_or_insert_with(|| Held {
            bytes: 0,
            caller,
            of: Rc::clone(&pool.held),
        });
        held.set(bytes);
        Ok(())
    }
}

impl Held {
    fn set(&mut self, bytes: u64) {
        let mut sums = self.of.borrow_mut();
        sums.change(self.caller, self.bytes, bytes);
        self.bytes = bytes;
    }
}

#[cfg(test)]
impl Holds {
    pub(super) fn of_answers(&self) -> u64 {
        self.answers.held.borrow().all
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
        self.set(0);
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

    impl Pool {
        fn sum(&self) -> u64 {
            self.held.borrow().all
        }

        fn full(&self, for_others: bool) -> TooMuch {
            TooMuch::Together(Full {
                what: self.what,
                bound: self.bound,
                most: self.most,
                for_others,
            })
        }
    }

    #[test]
    fn one_request_and_all_together_are_bounded_and_what_is_dropped_makes_room() {
        let holds = Holds::new(BOUNDS);
        let (mut one, mut other) = (None, None);
        holds.hold(&mut one, 4, Waits::ForValidator, 0).unwrap();
        holds.hold(&mut one, 10, Waits::ForValidator, 0).unwrap();
        assert_eq!(
            holds.hold(&mut one, 11, Waits::ForValidator, 0),
            Err(TooMuch::Request(10))
        );
        holds.hold(&mut other, 5, Waits::ForValidator, 0).unwrap();
        assert_eq!(
            holds.hold(&mut other, 6, Waits::ForValidator, 0),
            Err(holds.undecided.full(false))
        );
        // Nothing was taken by what failed.
        assert_eq!(holds.undecided.sum(), 15);
        drop(one);
        holds.hold(&mut other, 6, Waits::ForValidator, 0).unwrap();
        assert_eq!(holds.undecided.sum(), 6);
        drop(other);
        assert_eq!(holds.undecided.sum(), 0);
    }

    #[test]
    fn whose_bodies_are_asked_take_no_room_from_those_who_wait_for_the_validator() {
        let holds = Holds::new(BOUNDS);
        let (mut one, mut other, mut new) = (None, None, None);
        holds.hold(&mut one, 10, Waits::ForRules, 0).unwrap();
        holds.hold(&mut other, 5, Waits::ForRules, 0).unwrap();
        assert_eq!(
            holds.hold(&mut other, 6, Waits::ForRules, 0),
            Err(holds.asked.full(false))
        );
        assert_eq!(
            holds.hold(&mut one, 11, Waits::ForRules, 0),
            Err(TooMuch::Request(10))
        );
        holds.hold(&mut new, 10, Waits::ForValidator, 0).unwrap();
        drop((one, other));
        assert_eq!((holds.undecided.sum(), holds.asked.sum()), (10, 0));
    }

    #[test]
    fn who_is_admitted_is_counted_with_those_whose_bodies_are_collected() {
        let holds = Holds::new(BOUNDS);
        let mut held = None;
        holds.hold(&mut held, 8, Waits::ForValidator, 0).unwrap();
        holds.hold(&mut held, 18, Waits::Admitted, 0).unwrap();
        assert_eq!((holds.undecided.sum(), holds.collected.sum()), (0, 18));
        let mut other = None;
        assert_eq!(
            holds.hold(&mut other, 3, Waits::Admitted, 0),
            Err(holds.collected.full(false))
        );
        drop(held);
        assert_eq!(holds.collected.sum(), 0);
    }

    #[test]
    fn of_several_requests_nobody_has_more_held_than_is_left_for_others() {
        let holds = Holds::new(BOUNDS);
        let hold = |held: &mut Option<Held>, bytes, caller| {
            holds.hold(held, bytes, Waits::Admitted, caller)
        };
        let (mut first, mut second, mut other) = (None, None, None);
        // One alone may fill it.
        hold(&mut first, 20, 1).unwrap();
        hold(&mut first, 6, 1).unwrap();
        hold(&mut second, 4, 1).unwrap();
        assert_eq!(
            hold(&mut second, 5, 1),
            Err(holds.collected.full(true)),
            "of 20 there are 11, so 9 left"
        );
        assert_eq!(hold(&mut first, 7, 1), Err(holds.collected.full(true)));
        hold(&mut other, 10, 2).unwrap();
        assert_eq!(hold(&mut other, 11, 2), Err(holds.collected.full(false)));
        // What is given back is never too much, though others have come meanwhile.
        hold(&mut second, 3, 1).unwrap();
        drop((first, second));
        assert_eq!(holds.collected.held.borrow().own, [(2, 10)]);
        drop(other);
        assert_eq!(holds.collected.held.borrow().own, []);
    }
}
