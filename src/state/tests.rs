use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::counters::{MOST_RECORDS_PER_CELL, Record as Counter, Records};
use super::keys::{Known, Record};
use super::*;
use crate::host::Timestamp;
use crate::host::simulated::{Access, Process};

const NOW: Timestamp = Timestamp(1_000_000_000_000);
const TABLES: Tables = Tables {
    keys: 1024,
    counters: 2048,
    address_counters: 1024,
    responses: 64,
};

/// A second, in nanoseconds.
const SECOND: u64 = 1_000_000_000;

fn later(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

// === tables ===

#[test]
fn tables_are_created_once_and_found_ever_after() {
    let process = Process::default();
    let (first, differ) = State::open(&process.worker(), TABLES, &[]).unwrap();
    assert_eq!(differ, None);
    let host = process.worker();
    let cell = first.counters.locate(42);
    Grid::update(&host, cell, |_| Decision::Replace(vec![1], ())).unwrap();
    let (second, differ) = State::open(&host, TABLES, &[]).unwrap();
    assert_eq!(differ, None);
    assert_eq!(second.counters, first.counters);
    assert_eq!(read(&host, cell).unwrap().0, [1]);
}

#[test]
fn other_sizes_wait_for_the_next_start() {
    let process = Process::default();
    let (first, _) = State::open(&process.worker(), TABLES, &[]).unwrap();
    let larger = Tables {
        keys: 4096,
        counters: 8192,
        address_counters: 4096,
        responses: 64,
    };
    let (second, differ) = State::open(&process.worker(), larger, &[]).unwrap();
    assert_eq!(differ, Some(Notice::SizesDiffer { in_force: TABLES }));
    assert_eq!((second.keys, second.counters), (first.keys, first.counters));
}

#[test]
fn the_number_of_cells_never_grows() {
    let process = Process::default();
    let host = process.worker();
    let (state, _) = State::open(&host, TABLES, &[]).unwrap();
    let (cells, _) = process.size();
    for caller in 0..10_000_u64 {
        let place = state.hash.of(&[b"client", &caller.to_le_bytes()]);
        let cell = state.counters.locate(place.cell);
        Grid::update(&host, cell, |value| {
            let mut records = Records::read(value, NOW);
            put(&mut records, counter(place.tag, later(60)));
            Decision::Replace(records.take_bytes(), ())
        })
        .unwrap();
    }
    let (cells_after, bytes) = process.size();
    assert_eq!(cells, cells_after);
    let cell = counters::HEAD_BYTES + MOST_RECORDS_PER_CELL * counters::RECORD_BYTES;
    assert!(bytes <= (state.counters.cells() * cell) as usize + 64);
}

#[test]
fn an_update_that_lost_the_race_sees_what_the_winner_wrote() {
    let process = Process::default();
    let (host, rival) = (process.worker(), process.worker());
    let (state, _) = State::open(&host, TABLES, &[]).unwrap();
    let cell = state.counters.locate(0);
    let mut rivals = 3;
    host.before_swap(move |cell| {
        if rivals > 0 {
            rivals -= 1;
            Grid::update(&rival, cell, |value| {
                Decision::Replace([value, vec![9]].concat(), ())
            })
            .unwrap();
        }
    });
    Grid::update(&host, cell, |value| {
        Decision::Replace([value, vec![1]].concat(), ())
    })
    .unwrap();
    assert_eq!(read(&host, cell).unwrap().0, [9, 9, 9, 1]);
}

#[test]
fn a_cell_that_is_fought_over_without_end_is_given_up() {
    let process = Process::default();
    let (host, rival) = (process.worker(), process.worker());
    let (state, _) = State::open(&host, TABLES, &[]).unwrap();
    host.before_swap(move |cell| {
        Grid::update(&rival, cell, |value| Decision::Replace(value, ())).unwrap();
    });
    let cell = state.counters.locate(0);
    let outcome = Grid::update(&host, cell, |value| Decision::Replace(value, ()));
    assert_eq!(outcome, Err(StateError::Contended));
}

#[test]
fn hashes_spread_evenly_over_the_cells() {
    let (state, _) = State::open(&Process::default().worker(), TABLES, &[]).unwrap();
    let mut filled = HashMap::new();
    for caller in 0..64_000_u32 {
        let place = state.hash.of(&[b"client", &caller.to_le_bytes()]);
        *filled
            .entry(state.counters.locate(place.cell))
            .or_insert(0_u32) += 1;
    }
    assert_eq!(filled.len(), 64);
    assert!(
        filled.values().all(|count| (850..1150).contains(count)),
        "{filled:?}"
    );
}

#[test]
fn where_one_part_of_a_name_ends_counts() {
    let hash = SeededHash::new([1; 16]);
    assert_ne!(hash.of(&[b"ab", b"c"]), hash.of(&[b"a", b"bc"]));
    assert_ne!(hash.of(&[b"ab"]), SeededHash::new([2; 16]).of(&[b"ab"]));
}

#[test]
fn the_first_configuration_says_which_routes_lie_together() {
    let process = Process::default();
    let host = process.worker();
    let (first, _) = State::open(&host, TABLES, &["/a", "/b"]).unwrap();
    let (second, _) = State::open(&host, TABLES, &["/c"]).unwrap();
    for state in [first, second] {
        assert!(state.is_together("/a") && state.is_together("/b"));
        assert!(!state.is_together("/c"));
    }
}

#[test]
fn tables_that_cannot_be_understood_are_not_made_anew() {
    let process = Process::default();
    let host = process.worker();
    let (state, _) = State::open(&host, TABLES, &[]).unwrap();
    let cell = state.counters.locate(42);
    Grid::update(&host, cell, |_| Decision::Replace(vec![1], ())).unwrap();

    for spoiled in [&b""[..], b"something else", &[0; 29]] {
        host.create_cell(foundation(LAYOUT), spoiled).unwrap();
        let opened = State::open(&host, TABLES, &[]);
        assert_eq!(opened.err(), Some(OpenError::Unreadable), "{spoiled:?}");
    }
    host.refuse(|access, cell| access == Access::Read && cell == foundation(LAYOUT));
    let opened = State::open(&host, TABLES, &[]);
    assert!(matches!(opened, Err(OpenError::Host(_))), "{opened:?}");

    assert_eq!(read(&host, cell).unwrap().0, [1]);
}

#[test]
fn tables_of_another_layout_are_told_of_and_left_alone() {
    let process = Process::default();
    let host = process.worker();
    let old = foundation(EARLIER_LAYOUTS[0]);
    host.create_cell(old, b"old").unwrap();

    let (_, notice) = State::open(&host, TABLES, &[]).unwrap();
    assert_eq!(notice, Some(Notice::OtherLayout));
    assert_eq!(read(&host, old).unwrap().0, b"old");
    // It is told once: from then on the new tables are there.
    assert_eq!(State::open(&host, TABLES, &[]).unwrap().1, None);
}

// === counters ===

fn counter(tag: u64, moment: Timestamp) -> Counter {
    Counter {
        tag,
        moment,
        unit: SECOND,
        within: Counter::ALL,
        returned: 0,
    }
}

/// Keeps a counter, where there is room for it.
fn put(records: &mut Records, counter: Counter) {
    match records.find(counter.tag) {
        Some((slot, _)) => records.set(slot, counter),
        None if records.room() > 0 => records.push(counter),
        None => (),
    }
}

/// The value of a cell with these counters, last changed at `NOW`.
fn counters_of(counters: impl IntoIterator<Item = Counter>) -> Vec<u8> {
    let mut records = Records::read(Vec::new(), NOW);
    for counter in counters {
        put(&mut records, counter);
    }
    records.take_bytes()
}

fn moment(records: &Records, tag: u64) -> Option<Timestamp> {
    records.find(tag).map(|(_, record)| record.moment)
}

#[test]
fn counters_of_the_past_give_their_slots_free() {
    let most = u64::from(MOST_RECORDS_PER_CELL);
    let cell = counters_of((0..most).map(|tag| counter(tag, later(1 + tag))));
    assert_eq!(Records::read(cell.clone(), NOW).room(), 0);
    let records = Records::read(cell, later(5));
    assert_eq!(records.room(), 5);
    assert_eq!(moment(&records, 4), None);
    assert_eq!(moment(&records, 5), Some(later(6)));
    assert_eq!(moment(&records, most - 1), Some(later(most)));
}

#[test]
fn a_clock_a_little_behind_is_not_believed() {
    let cell = counters_of([counter(1, later(10))]);
    for behind in [1, 1_000_000, SECOND - 1] {
        let records = Records::read(cell.clone(), Timestamp(NOW.0 - behind));
        assert_eq!(records.now(), NOW);
        assert!(!records.set_back());
        assert_eq!(moment(&records, 1), Some(later(10)));
    }
    // Nor is one that says nothing.
    assert_eq!(Records::read(cell, Timestamp(0)).now(), NOW);
}

#[test]
fn a_clock_that_was_set_back_moves_all_moments_once() {
    let cell = counters_of([counter(1, later(10)), counter(2, later(20))]);
    let back = |seconds: u64| Timestamp(NOW.0 - seconds * SECOND);
    let mut records = Records::read(cell, back(3));
    assert!(records.set_back());
    assert_eq!(records.now(), back(3));
    assert_eq!(moment(&records, 1), Some(later(7)));
    assert_eq!(moment(&records, 2), Some(later(17)));
    let cell = records.take_bytes();
    let records = Records::read(cell, back(3));
    assert!(!records.set_back());
    assert_eq!(moment(&records, 1), Some(later(7)));
}

#[test]
fn a_limit_makes_room_among_its_own_and_else_where_least_is_lost() {
    let of = |limit: u64, number: u64| counters::tag(limit << 48, number);
    let day = |number: u64| Counter {
        unit: 864 * SECOND,
        ..counter(of(1, number), later(1000 + number))
    };
    let second = |number: u64| counter(of(2, number), later(2 + number));
    let most = u64::from(MOST_RECORDS_PER_CELL);
    let none_stays = |_, _: &Counter| false;

    let mixed = counters_of((0..most / 2).flat_map(|number| [day(number), second(number)]));
    let records = Records::read(mixed, NOW);
    let owes = |record: &Counter| record.moment;
    let moment = |out: counters::Outgoing| out.inherited.map(|record| record.moment);
    let out = records.outgoing(of(1, 999), owes, none_stays).unwrap();
    assert_eq!(moment(out), Some(later(1000)));
    let out = records.outgoing(of(2, 999), owes, none_stays).unwrap();
    assert_eq!(moment(out), Some(later(2)));
    let stays = |_, record: &Counter| record.tag == second(0).tag;
    let out = records.outgoing(of(2, 999), owes, stays).unwrap();
    assert_eq!(moment(out), Some(later(3)));
    // Of one's own limit, by what is owed in the newcomer's unit.
    let reversed = |record: &Counter| Timestamp(u64::MAX - record.moment.0);
    let out = records.outgoing(of(2, 999), reversed, none_stays).unwrap();
    assert_eq!(moment(out), Some(later(2 + most / 2 - 1)));

    // Nothing is inherited from another limit.
    let out = records.outgoing(of(3, 999), owes, none_stays).unwrap();
    assert_eq!(moment(out), None);
    assert_eq!(records.find(second(0).tag).unwrap().0, out.slot);
}

// === room ===

#[test]
fn a_table_has_room_for_as_many_as_it_says() {
    for table in [1 << 10, 1 << 16, 1 << 18, 1 << 24] {
        for records_each in [1, 2, 8, 12, 17, 33, 49, 65] {
            let room = room::room(table, records_each);
            let chance = |subjects| room::overflow(room::cells(table), subjects, records_each);
            assert!(chance(room) < room::CHANCE, "{table}, {records_each}");
            assert!(chance(room + 1) >= room::CHANCE, "{table}, {records_each}");
            assert_eq!(room::room_for(table, records_each, records_each), room);
            assert_eq!(
                room::room_for(table, records_each, records_each * 3),
                room / 3
            );
        }
    }
}

/// The chance is reckoned rightly for keys: so many lie in cells of more than these can hold.
#[test]
fn keys_are_crowded_as_often_as_reckoned() {
    let (table, runs) = (1 << 14, 20_u64);
    let cells = table / keys::RECORDS_PER_CELL;
    for part in [4, 2, 1] {
        let number = u64::from(table / part);
        let mut crowded = 0;
        for run in 0..runs {
            let hash = SeededHash::new(u128::from(run).to_le_bytes());
            let grid = Grid::new(b'k', cells);
            let mut filled: HashMap<_, u32> = HashMap::new();
            for key in 0..number {
                let place = hash.of(&[&key.to_le_bytes()]);
                *filled.entry(grid.locate(place.cell)).or_default() += 1;
            }
            let full = |keys: &&u32| **keys > keys::RECORDS_PER_CELL;
            crowded += filled.values().filter(full).sum::<u32>();
        }
        let seen = f64::from(crowded) / (number * runs) as f64;
        let reckoned = room::crowded(table, number);
        println!("1/{part}: reckoned {reckoned:.5}, seen {seen:.5}");
        assert!((seen - reckoned).abs() < 0.03 * reckoned + 5e-4);
    }
}

#[test]
fn a_table_of_keys_has_room_for_as_many_as_it_says() {
    for table in [1 << 10, 1 << 16, 1 << 24] {
        let room = room::room_for_keys(table);
        let crowded = |keys| room::crowded(table, keys);
        assert!(crowded(room) < room::CHANCE_OF_KEY, "{table}");
        assert!(crowded(room + 1) >= room::CHANCE_OF_KEY, "{table}");
    }
}

/// The chance is reckoned rightly: where it is large enough to be seen, it is seen as often.
#[test]
fn tables_overflow_as_often_as_reckoned() {
    let (table, records_each, runs) = (2048, 32, 2_000);
    let cells = room::cells(table);
    for subjects in [96, 128, 160] {
        let reckoned = room::overflow(cells, subjects, records_each);
        let mut overflown = 0;
        for run in 0..runs {
            let hash = SeededHash::new(u128::from(run * 1000 + subjects).to_le_bytes());
            let grid = Grid::new(b'c', cells);
            let mut filled: HashMap<_, u32> = HashMap::new();
            for subject in 0..subjects {
                let place = hash.of(&[&subject.to_le_bytes()]);
                *filled.entry(grid.locate(place.cell)).or_default() += records_each;
            }
            let full = |records: &u32| *records > MOST_RECORDS_PER_CELL;
            overflown += u32::from(filled.values().any(full));
        }
        let seen = f64::from(overflown) / runs as f64;
        println!("{subjects}: reckoned {reckoned:.4}, seen {seen:.4}");
        // Reckoned is never too little but for chance, and not much too much.
        let deviation = (reckoned / runs as f64).sqrt();
        assert!(
            seen < reckoned + 5.0 * deviation && seen > reckoned * 0.6 - 5.0 * deviation,
            "{subjects} subjects: reckoned {reckoned}, seen {seen}"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..12_000), tag in any::<u64>(), clock in any::<u64>(),
    ) {
        let mut records = Records::read(bytes.clone(), Timestamp(clock));
        let _ = records.find(tag);
        let _ = records.outgoing(tag, |record| record.moment, |_, _| false);
        put(&mut records, counter(tag, NOW));
        let bytes_after = records.take_bytes();
        prop_assert_eq!(bytes_after.len() % 40, 24);
        let hash = [0; keys::HASH_BYTES];
        let _ = keys::find(&bytes, &hash, 0, NOW);
        let record = Record { hash, realm: 0, learned: NOW, expires: later(1), answer: None };
        let _ = keys::insert(&bytes, &record, NOW);
    }
}

// === keys ===

fn key(number: u8, seconds: u64, answer: Option<&[u8]>) -> Record {
    Record {
        hash: [number; keys::HASH_BYTES],
        realm: 1,
        learned: NOW,
        expires: later(seconds),
        answer: answer.map(<[u8]>::to_vec),
    }
}

fn cell_of(records: impl IntoIterator<Item = Record>) -> Vec<u8> {
    records.into_iter().fold(Vec::new(), |cell, record| {
        keys::insert(&cell, &record, NOW).unwrap_or(cell)
    })
}

fn is_known(cell: &[u8], number: u8, now: Timestamp) -> Option<Known> {
    keys::find(cell, &[number; keys::HASH_BYTES], 1, now).map(|(known, _)| known)
}

#[test]
fn a_key_is_remembered_until_its_answer_expires() {
    let cell = cell_of([key(1, 300, Some(b"acme")), key(2, 10, None)]);
    assert_eq!(
        is_known(&cell, 1, later(299)),
        Some(Known::Valid(b"acme".to_vec()))
    );
    assert_eq!(is_known(&cell, 1, later(300)), None);
    assert_eq!(is_known(&cell, 2, later(9)), Some(Known::Invalid));
    assert_eq!(is_known(&cell, 2, later(10)), None);
}

#[test]
fn a_key_that_was_learned_in_the_future_is_not_remembered() {
    let earlier = |milliseconds: u64| Timestamp(NOW.0 - milliseconds * 1_000_000);
    let cell = cell_of([key(1, 300, Some(b"acme"))]);
    // Clocks of workers differ a little, and one that is set back takes nothing with it.
    assert!(is_known(&cell, 1, earlier(5)).is_some());
    assert!(is_known(&cell, 1, earlier(1000)).is_some());
    assert_eq!(is_known(&cell, 1, earlier(1001)), None);
}

#[test]
fn a_newer_answer_takes_the_place_of_the_older() {
    let cell = cell_of([key(1, 300, Some(b"acme")), key(1, 10, None)]);
    assert_eq!(is_known(&cell, 1, NOW), Some(Known::Invalid));
}

#[test]
fn what_one_validator_said_does_not_count_for_another() {
    let cell = cell_of([key(1, 300, Some(b"acme"))]);
    assert_eq!(keys::find(&cell, &[1; keys::HASH_BYTES], 2, NOW), None);
}

#[test]
fn made_up_keys_never_put_out_a_valid_one() {
    let valid: Vec<_> = (0..8)
        .map(|number| key(number, 300, Some(b"acme")))
        .collect();
    let flood = (8..=255).map(|number| key(number, 10, None));
    let cell = cell_of(valid.into_iter().chain(flood));
    assert!((0..8).all(|number| is_known(&cell, number, NOW).is_some()));
}

#[test]
fn a_valid_key_puts_out_invalid_ones_first_then_the_one_that_expires_soonest() {
    let valid = (0..7).map(|number| key(number, 100 + u64::from(number), Some(b"acme")));
    let cell = cell_of(valid.chain([key(100, 10, None), key(50, 300, Some(b"new"))]));
    assert_eq!(is_known(&cell, 100, NOW), None);
    assert!(is_known(&cell, 0, NOW).is_some());
    let cell = keys::insert(&cell, &key(51, 300, Some(b"newer")), NOW).unwrap();
    assert_eq!(is_known(&cell, 0, NOW), None);
    assert!(is_known(&cell, 1, NOW).is_some());
}

#[test]
fn a_cell_keeps_within_its_bytes() {
    let long = [b'x'; 1500];
    let cell = cell_of((0..8).map(|number| key(number, 300 + u64::from(number), Some(&long))));
    assert!(cell.len() <= keys::CELL_BYTES as usize);
    assert!(is_known(&cell, 7, NOW).is_some());
    assert_eq!(is_known(&cell, 0, NOW), None);
}
