use super::*;

const TAG: u64 = 7;

fn bounded(sharer: u64) -> Bounded {
    Bounded { tag: TAG, sharer }
}

fn who(stream: u32) -> Waiting {
    Waiting {
        worker: 1,
        bell: 9,
        stream,
    }
}

fn claim(most: u32, turns_by: u64) -> Claim {
    Claim {
        places: 1,
        most,
        most_waiting: 100,
        turns_by,
        weight: 0,
        priority: 0,
    }
}

/// Has one of these streams after the other enter; each is its own client's, as `of` says.
fn all_enter(entries: &mut InFlight, most: u32, streams: &[u32], of: impl Fn(u32) -> u64) {
    for stream in streams {
        entries.enter(bounded(0), who(*stream), claim(most, of(*stream)));
    }
}

/// Lets one place after the other come free, and says who had it next.
fn order_of(entries: &mut InFlight, shared_by: impl Fn(u32) -> u64) -> Vec<u32> {
    let mut order = Vec::new();
    let mut last = None;
    loop {
        let granted = match last {
            None => entries.leave(bounded(0), 1, 1),
            Some(stream) => entries.leave(bounded(shared_by(stream)), 1, 1),
        };
        let [next] = granted[..] else {
            return order;
        };
        assert_eq!(entries.take_up(TAG, next), Some(Entered::In));
        order.push(next.stream);
        last = Some(next.stream);
    }
}

#[test]
fn as_many_enter_as_there_are_places_and_the_next_one_does_not() {
    let mut entries = InFlight::default();
    let one = Claim {
        most_waiting: 0,
        ..claim(2, 1)
    };
    for (stream, wanted) in [(1, Entered::In), (2, Entered::In), (3, Entered::Full)] {
        assert_eq!(entries.enter(bounded(0), who(stream), one).0, wanted);
    }
    assert_eq!(entries.taken(TAG), 2);
    entries.leave(bounded(0), 1, 1);
    assert_eq!(entries.enter(bounded(0), who(4), one).0, Entered::In);
    // Other limits do not count here.
    let other = Bounded { tag: 8, sharer: 0 };
    assert_eq!(entries.enter(other, who(5), one).0, Entered::In);
    entries.leave(bounded(0), 1, 1);
    entries.leave(bounded(0), 1, 1);
    entries.leave(other, 1, 1);
    assert_eq!(entries, InFlight::default());
    assert!(entries.encode().is_empty());
}

#[test]
fn clients_that_wait_take_turns_and_each_ones_own_requests_come_in_their_order() {
    let mut entries = InFlight::default();
    let client = |stream: u32| u64::from(stream / 10);
    all_enter(&mut entries, 1, &[0, 11, 12, 13, 14, 21, 31, 22], client);
    assert_eq!(order_of(&mut entries, |_| 0), [11, 21, 31, 12, 22, 13, 14]);
    assert_eq!(entries, InFlight::default());
}

#[test]
fn who_comes_back_waits_behind_those_of_the_same_turn() {
    let mut entries = InFlight::default();
    let client = |stream: u32| u64::from(stream / 10);
    all_enter(&mut entries, 1, &[0, 11, 12, 21], client);
    let next = entries.leave(bounded(0), 1, 1);
    assert_eq!(next, [who(11)]);
    entries.take_up(TAG, who(11));
    // Both are in the turn of client 1's second request.
    all_enter(&mut entries, 1, &[13, 22], client);
    entries.leave(bounded(0), 1, 1);
    entries.take_up(TAG, who(21));
    assert_eq!(order_of(&mut entries, |_| 0), [12, 22, 13]);
}

#[test]
fn those_who_wait_are_bounded_and_those_who_were_granted_a_place_do_not_wait() {
    let mut entries = InFlight::default();
    let narrow = Claim {
        most_waiting: 2,
        ..claim(1, 1)
    };
    let come = |entries: &mut InFlight, stream| entries.enter(bounded(0), who(stream), narrow).0;
    assert_eq!(come(&mut entries, 1), Entered::In);
    assert_eq!(come(&mut entries, 2), Entered::Waits);
    assert_eq!(come(&mut entries, 3), Entered::Waits);
    assert_eq!(come(&mut entries, 4), Entered::Full);
    entries.leave(bounded(0), 1, 1);
    assert_eq!(entries.taken(TAG), 1, "granted, and not taken up yet");
    assert_eq!(come(&mut entries, 5), Entered::Waits);
    assert_eq!(come(&mut entries, 6), Entered::Full);
}

#[test]
fn a_place_that_was_granted_to_one_who_has_left_goes_to_the_next() {
    let mut entries = InFlight::default();
    all_enter(&mut entries, 1, &[1, 2, 3], u64::from);
    assert_eq!(entries.leave(bounded(0), 1, 1), [who(2)]);
    assert_eq!(entries.give_up(TAG, who(2)), [who(3)]);
    assert_eq!(entries.take_up(TAG, who(2)), None);
    assert_eq!(entries.take_up(TAG, who(3)), Some(Entered::In));
    assert!(entries.leave(bounded(0), 1, 1).is_empty());
    assert_eq!(entries, InFlight::default());
}

#[test]
fn a_part_that_is_filled_less_goes_first_and_weights_make_parts_larger() {
    let mut entries = InFlight::default();
    let enter = |entries: &mut InFlight, sharer: u64, stream: u32, weight| {
        let claim = Claim {
            weight,
            ..claim(4, sharer)
        };
        entries.enter(bounded(sharer), who(stream), claim).0
    };
    // One has all places, and more wait.
    for stream in 10..20 {
        enter(&mut entries, 1, stream, 1);
    }
    for stream in 20..24 {
        assert_eq!(enter(&mut entries, 2, stream, 1), Entered::Waits);
    }
    for stream in 30..34 {
        assert_eq!(enter(&mut entries, 3, stream, 2), Entered::Waits);
    }
    let mut parts = Vec::new();
    for _ in 0..4 {
        let next = entries.leave(bounded(1), 1, 1);
        assert_eq!(entries.take_up(TAG, next[0]), Some(Entered::In));
        parts.push(next[0].stream / 10);
    }
    // The first had more than its part until all its places had come back.
    assert_eq!(parts, [2, 3, 3, 1]);
}

#[test]
fn priorities_go_first_whoever_has_come_before() {
    let mut entries = InFlight::default();
    for (stream, priority) in [(1, 0), (2, 0), (3, 5), (4, 1), (5, 5)] {
        let claim = Claim {
            priority,
            weight: 1,
            ..claim(1, u64::from(stream))
        };
        entries.enter(bounded(u64::from(stream)), who(stream), claim);
    }
    let mut order = Vec::new();
    let mut last = 1;
    while let [next] = entries.leave(bounded(last), 1, 1)[..] {
        entries.take_up(TAG, next);
        last = u64::from(next.stream);
        order.push(next.stream);
    }
    assert_eq!(order, [3, 5, 4, 2]);
}

#[test]
fn entries_are_read_as_they_were_written_and_those_of_workers_that_are_gone_are_not() {
    let mut entries = InFlight::default();
    all_enter(&mut entries, 1, &[1, 2, 3], u64::from);
    let of_another = Waiting {
        worker: 2,
        ..who(4)
    };
    entries.enter(bounded(5), of_another, claim(1, 4));
    entries.leave(bounded(0), 1, 1);
    assert_eq!(InFlight::read(&entries.encode(), |_| true), entries);

    let rest = InFlight::read(&entries.encode(), |worker| worker == 2);
    assert_eq!(rest.taken(TAG), 0);
    assert!(rest.waits(TAG, of_another));
    assert_eq!(InFlight::read(&[], |_| true), InFlight::default());
    // What nobody wrote is read without a fault.
    for bytes in [&[1][..], &[255; 4], &[255; 100]] {
        let _ = InFlight::read(bytes, |_| true);
    }
}

#[test]
fn a_cell_holds_no_more_than_it_may() {
    let mut entries = InFlight::default();
    let mut number = 0;
    let crowded = |entries: &mut InFlight, number: u32| {
        let claim = claim(u32::MAX, 1);
        let entered = entries
            .enter(bounded(u64::from(number)), who(number), claim)
            .0;
        entered == Entered::Crowded
    };
    while !crowded(&mut entries, number) {
        number += 1;
    }
    assert!(entries.encode().len() <= MOST_BYTES);
    assert_eq!(entries.taken(TAG), u64::from(number));
    entries.leave(bounded(0), 1, 1);
    assert!(!crowded(&mut entries, number));
}

#[test]
fn who_may_not_have_a_place_keeps_it_from_nobody_who_may() {
    let mut entries = InFlight::default();
    all_enter(&mut entries, 1, &[1, 2], u64::from);
    // The limit was raised meanwhile.
    let (came, told) = entries.enter(bounded(0), who(3), claim(3, 3));
    assert_eq!((came, told), (Entered::In, Vec::new()));
    // It is not in force for this one.
    let free = Claim {
        most_waiting: 0,
        ..claim(u32::MAX, 4)
    };
    assert_eq!(entries.enter(bounded(0), who(4), free).0, Entered::In);
    assert_eq!(entries.enter(bounded(0), who(5), free).0, Entered::In);
    assert_eq!(entries.taken(TAG), 4);
    // Nor does it get one before its time.
    for _ in 0..3 {
        assert_eq!(entries.leave(bounded(0), 1, 1), []);
    }
    assert_eq!(entries.leave(bounded(0), 1, 1), [who(2)]);
}

#[test]
fn however_many_wait_in_a_cell_others_have_their_places_in_it() {
    let mut entries = InFlight::default();
    let patient = Claim {
        most_waiting: 1_000,
        ..claim(1, 1)
    };
    let mut came = Vec::new();
    for tag in [1, 2] {
        for stream in 0..1_001 {
            came.push(
                entries
                    .enter(Bounded { tag, sharer: 0 }, who(stream), patient)
                    .0,
            );
        }
    }
    assert!(!came.contains(&Entered::Crowded));
    assert_eq!(came.iter().filter(|it| **it == Entered::In).count(), 2);
    assert!(came.iter().filter(|it| **it == Entered::Waits).count() >= 1_000);
    let encoded = entries.encode();
    assert!(encoded.len() <= MOST_BYTES + MOST_BYTES_WAITING);
    assert_eq!(
        entries.enter(bounded(0), who(9_000), claim(1, 1)).0,
        Entered::In
    );
    // There is no room for one who would wait.
    assert_eq!(
        entries.enter(bounded(0), who(9_001), claim(1, 1)).0,
        Entered::Full
    );
}

fn list(places: u32, most: u32) -> Claim {
    Claim {
        places,
        ..claim(most, 1)
    }
}

#[test]
fn who_needs_several_places_has_all_of_them_or_none_and_in_its_turn() {
    let mut entries = InFlight::default();
    assert_eq!(entries.enter(bounded(0), who(1), list(3, 4)).0, Entered::In);
    assert_eq!(
        entries.enter(bounded(0), who(2), list(3, 4)).0,
        Entered::Waits
    );
    assert_eq!(entries.taken(TAG), 3, "it holds none meanwhile");
    // One place is free, and kept for it.
    assert_eq!(
        entries.enter(bounded(0), who(3), list(1, 4)).0,
        Entered::Waits
    );
    // Whom the bound does not bind does not wait.
    let free = list(2, u32::MAX);
    assert_eq!(entries.enter(bounded(0), who(4), free).0, Entered::In);
    assert!(entries.leave(bounded(0), 1, 2).is_empty());
    assert_eq!(entries.leave(bounded(0), 1, 3), [who(2), who(3)]);
    for stream in [2, 3] {
        assert_eq!(entries.take_up(TAG, who(stream)), Some(Entered::In));
    }
    assert_eq!(entries.taken(TAG), 4);
    // Who leaves the queue lets those behind it go.
    assert_eq!(
        entries.enter(bounded(0), who(5), list(4, 4)).0,
        Entered::Waits
    );
    assert_eq!(
        entries.enter(bounded(0), who(6), list(1, 4)).0,
        Entered::Waits
    );
    assert_eq!(entries.leave(bounded(0), 1, 1), []);
    assert_eq!(entries.give_up(TAG, who(5)), [who(6)]);
}
