use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::limiter::protocol::{RateLimitDescriptor, Unit};
use crate::limiter::question::tests::{descriptor, question};

/// A moment in the middle of a second, in the first minute of an hour.
const NOW: Timestamp = Timestamp(1_900_000_800_500_000_000);

fn one(value: &str, limit: u32) -> RateLimitDescriptor {
    descriptor(&[value], limit, Unit::Minute)
}

fn of(hits: u64, descriptor: RateLimitDescriptor) -> RateLimitDescriptor {
    RateLimitDescriptor {
        hits_addend: Some(hits),
        ..descriptor
    }
}

fn back(hits: u64, descriptor: RateLimitDescriptor) -> RateLimitDescriptor {
    RateLimitDescriptor {
        is_negative_hits: true,
        ..of(hits, descriptor)
    }
}

/// What is admitted, and what remains of each part.
fn asked(
    memory: &mut Memory,
    descriptors: Vec<RateLimitDescriptor>,
    now: Timestamp,
) -> (bool, Vec<u32>) {
    let verdict = memory.count(&question(descriptors), now).unwrap();
    let remaining = verdict.standings.iter().map(|it| it.remaining);
    (verdict.admitted, remaining.collect())
}

#[test]
fn a_limit_admits_what_it_says_and_tells_what_is_left() {
    let mut memory = Memory::new(10);
    for left in [2, 1, 0] {
        assert_eq!(
            asked(&mut memory, vec![one("a", 3)], NOW),
            (true, vec![left])
        );
    }
    assert_eq!(asked(&mut memory, vec![one("a", 3)], NOW), (false, vec![0]));
    assert_eq!(asked(&mut memory, vec![one("b", 3)], NOW), (true, vec![2]));
    // A limit that is changed goes on from where it stood.
    assert_eq!(asked(&mut memory, vec![one("a", 5)], NOW), (true, vec![1]));
    assert_eq!(asked(&mut memory, vec![one("a", 2)], NOW), (false, vec![0]));
}

#[test]
fn a_limit_of_nothing_admits_nothing() {
    let mut memory = Memory::new(10);
    assert_eq!(asked(&mut memory, vec![one("a", 0)], NOW), (false, vec![0]));
    assert_eq!(memory.len(), 0);
}

#[test]
fn the_reset_is_the_end_of_the_window_and_there_it_is_full_again() {
    let mut memory = Memory::new(10);
    let verdict = memory.count(&question(vec![one("a", 1)]), NOW).unwrap();
    let reset = verdict.standings[0].reset;
    assert_eq!(reset, Duration::from_millis(59_500));
    let end = NOW.after(reset);
    let before = Timestamp(end.0 - 1);
    assert_eq!(
        asked(&mut memory, vec![one("a", 1)], before),
        (false, vec![0])
    );
    assert_eq!(asked(&mut memory, vec![one("a", 1)], end), (true, vec![0]));
    assert_eq!(memory.len(), 1);
}

#[test]
fn all_parts_are_counted_or_none() {
    let mut memory = Memory::new(10);
    assert!(asked(&mut memory, vec![one("small", 1)], NOW).0);
    let both = || vec![one("large", 9), one("small", 1), one("other", 4)];
    let verdict = memory.count(&question(both()), NOW).unwrap();
    let fits: Vec<_> = verdict.standings.iter().map(|it| it.fits).collect();
    assert_eq!((verdict.admitted, fits), (false, vec![true, false, true]));
    assert_eq!(asked(&mut memory, both(), NOW), (false, vec![9, 0, 4]));
    assert_eq!(memory.len(), 1, "nothing is left of what was refused");
}

#[test]
fn one_counter_twice_in_a_question_is_counted_twice() {
    let mut memory = Memory::new(10);
    assert_eq!(
        asked(&mut memory, vec![one("a", 1), one("a", 1)], NOW),
        (false, vec![1, 1])
    );
    assert_eq!(
        asked(&mut memory, vec![one("a", 2), one("a", 2)], NOW),
        (true, vec![0, 0])
    );
}

#[test]
fn no_hits_only_look() {
    let mut memory = Memory::new(10);
    assert_eq!(
        asked(&mut memory, vec![of(0, one("a", 2))], NOW),
        (true, vec![2])
    );
    assert_eq!(memory.len(), 0);
    assert!(asked(&mut memory, vec![of(2, one("a", 2))], NOW).0);
    assert_eq!(
        asked(&mut memory, vec![of(0, one("a", 2))], NOW),
        (true, vec![0])
    );
    // Overdrawn, since the limit was lowered.
    assert_eq!(
        asked(&mut memory, vec![of(0, one("a", 1))], NOW),
        (false, vec![0])
    );
}

#[test]
fn who_wants_more_than_is_left_gets_none_and_learns_how_much_there_is() {
    let mut memory = Memory::new(10);
    assert!(asked(&mut memory, vec![of(7, one("a", 10))], NOW).0);
    assert_eq!(
        asked(&mut memory, vec![of(5, one("a", 10))], NOW),
        (false, vec![3])
    );
    assert_eq!(
        asked(&mut memory, vec![of(3, one("a", 10))], NOW),
        (true, vec![0])
    );
    assert_eq!(
        asked(&mut memory, vec![of(u64::MAX, one("a", 10))], NOW),
        (false, vec![0])
    );
}

#[test]
fn what_is_given_back_can_be_taken_again_and_no_more() {
    let mut memory = Memory::new(10);
    assert!(asked(&mut memory, vec![of(10, one("a", 10))], NOW).0);
    assert_eq!(
        asked(&mut memory, vec![back(4, one("a", 10))], NOW),
        (true, vec![4])
    );
    assert_eq!(
        asked(&mut memory, vec![back(u64::MAX, one("a", 10))], NOW),
        (true, vec![10])
    );
    assert_eq!(
        asked(&mut memory, vec![back(1, one("b", 10))], NOW),
        (true, vec![10])
    );
    // Not if another part is refused.
    assert!(asked(&mut memory, vec![of(10, one("a", 10))], NOW).0);
    let mixed = vec![back(4, one("a", 10)), of(11, one("c", 10))];
    assert_eq!(asked(&mut memory, mixed, NOW), (false, vec![0, 10]));
}

#[test]
fn units_are_counted_apart() {
    let mut memory = Memory::new(10);
    let each = || {
        vec![
            descriptor(&["a"], 1, Unit::Second),
            descriptor(&["a"], 2, Unit::Minute),
            descriptor(&["a"], 3, Unit::Year),
        ]
    };
    assert_eq!(asked(&mut memory, each(), NOW), (true, vec![0, 1, 2]));
    let next = NOW.after(Duration::from_secs(1));
    assert_eq!(asked(&mut memory, each(), next), (true, vec![0, 0, 1]));
    let third = next.after(Duration::from_secs(1));
    assert_eq!(asked(&mut memory, each(), third), (false, vec![1, 0, 1]));
}

#[test]
fn when_all_places_are_taken_no_count_is_forgotten_and_nothing_new_is_counted() {
    let mut memory = Memory::new(2);
    assert!(asked(&mut memory, vec![one("a", 1)], NOW).0);
    assert!(asked(&mut memory, vec![descriptor(&["b"], 1, Unit::Second)], NOW).0);
    let third = question(vec![one("a", 5), one("c", 5)]);
    assert_eq!(memory.count(&third, NOW), Err(Failure::Full));
    // What was refused has not counted for the others either.
    assert_eq!(
        asked(&mut memory, vec![of(0, one("a", 5))], NOW),
        (true, vec![4])
    );
    // The counter of the second before makes room.
    let later = NOW.after(Duration::from_secs(1));
    assert!(memory.count(&third, later).unwrap().admitted);
    assert_eq!(memory.len(), 2);
    assert_eq!(
        asked(&mut memory, vec![one("a", 2)], later),
        (false, vec![0])
    );
}

#[test]
fn spans_that_nothing_is_counted_in_take_no_room() {
    let mut memory = Memory::new(2);
    for multiplier in 1..100 {
        let mut it = one("a", 0);
        it.limit.as_mut().unwrap().unit_multiplier = Some(multiplier);
        assert!(!asked(&mut memory, vec![it], NOW).0);
    }
    assert!(memory.spans.is_empty());
}

#[test]
fn a_clock_that_is_set_back_forgets_nothing_and_blocks_nobody_for_longer_than_a_window() {
    let mut memory = Memory::new(10);
    assert!(asked(&mut memory, vec![one("a", 1)], NOW).0);
    let earlier = Timestamp(NOW.0 - 3_600_000_000_000);
    assert_eq!(
        asked(&mut memory, vec![one("a", 1)], earlier),
        (false, vec![0])
    );
    let next = earlier.after(Duration::from_secs(60));
    assert_eq!(asked(&mut memory, vec![one("a", 1)], next), (true, vec![0]));
}

proptest! {
    /// Against the plainest rule there is: in each window no counter ever stands above its limit, and what is refused or fails
    /// changes nothing.
    #[test]
    fn no_sequence_admits_more_than_the_limits(
        steps in prop::collection::vec(
            (prop::collection::vec((0_usize..4, 0_u64..5, prop::bool::weighted(0.2)), 1..4), 0_u64..400),
            1..80,
        ),
        most in 1_usize..6,
    ) {
        let limits = [3_u32, 5, 8, 1];
        let units = [Unit::Second, Unit::Second, Unit::Minute, Unit::Month];
        let mut memory = Memory::new(most);
        let mut now = NOW;
        let mut model = [0_u64; 4];
        let mut starts = [Timestamp(0); 4];
        for (parts, milliseconds) in steps {
            now = now.after(Duration::from_millis(milliseconds));
            for index in 0..4 {
                let start = Span::new(units[index], 1).unwrap().around(now).start;
                if start != starts[index] {
                    (starts[index], model[index]) = (start, 0);
                }
            }
            let descriptors = parts.iter().map(|(index, hits, given_back)| RateLimitDescriptor {
                is_negative_hits: *given_back,
                ..of(*hits, descriptor(&[&index.to_string()], limits[*index], units[*index]))
            });
            let mut expected = model;
            let mut fits = true;
            for (index, hits, given_back) in &parts {
                if *given_back {
                    expected[*index] = expected[*index].saturating_sub(*hits);
                } else if expected[*index] + hits <= limits[*index].into() {
                    expected[*index] += hits;
                } else {
                    fits = false;
                }
            }
            match memory.count(&question(descriptors.collect()), now) {
                Ok(verdict) => {
                    prop_assert_eq!(verdict.admitted, fits);
                    if fits {
                        model = expected;
                    }
                    for (standing, (index, ..)) in verdict.standings.iter().zip(&parts) {
                        prop_assert_eq!(u64::from(standing.remaining), u64::from(limits[*index]) - model[*index]);
                    }
                }
                Err(failure) => prop_assert_eq!(failure, Failure::Full),
            }
            let counted = memory.iter().count();
            prop_assert_eq!(counted, memory.len());
            prop_assert!(memory.len() <= most);
        }
    }
}
