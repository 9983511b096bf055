use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::counters::{RECORDS_PER_CELL, Records};
use super::keys::{Known, Record};
use super::*;
use crate::config::policy::Rate;
use crate::host::Timestamp;
use crate::host::simulated::Process;
use crate::limits::gcra::Gcra;

const NOW: Timestamp = Timestamp(1_000_000_000_000);
const TABLES: Tables = Tables {
    keys: 1024,
    counters: 2048,
};

fn later(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

// === tables ===

#[test]
fn tables_are_created_once_and_found_ever_after() {
    let process = Process::default();
    let (first, differ) = State::open(&process.worker(), TABLES).unwrap();
    assert_eq!(differ, None);
    let host = process.worker();
    let cell = first.counters.locate(42);
    Grid::update(&host, cell, |_| Decision::Replace(vec![1], ())).unwrap();
    let (second, differ) = State::open(&host, TABLES).unwrap();
    assert_eq!(differ, None);
    assert_eq!(second.counters, first.counters);
    assert_eq!(host.read_cell(cell).unwrap().0, [1]);
}

#[test]
fn other_sizes_wait_for_the_next_start() {
    let process = Process::default();
    let (first, _) = State::open(&process.worker(), TABLES).unwrap();
    let larger = Tables {
        keys: 4096,
        counters: 8192,
    };
    let (second, differ) = State::open(&process.worker(), larger).unwrap();
    assert_eq!(differ, Some(SizesDiffer { in_force: TABLES }));
    assert_eq!((second.keys, second.counters), (first.keys, first.counters));
}

#[test]
fn the_number_of_cells_never_grows() {
    let process = Process::default();
    let host = process.worker();
    let (state, _) = State::open(&host, TABLES).unwrap();
    let (cells, _) = process.size();
    for caller in 0..10_000_u64 {
        let place = state.hash.place(&[b"client", &caller.to_le_bytes()]);
        let cell = state.counters.locate(place.cell);
        Grid::update(&host, cell, |value| {
            let mut records = Records::read(value, NOW);
            records.put(place.tag, later(60));
            Decision::Replace(records.into_bytes(), ())
        })
        .unwrap();
    }
    let (cells_after, bytes) = process.size();
    assert_eq!(cells, cells_after);
    assert!(bytes <= (TABLES.counters * counters::RECORD_BYTES) as usize + 64);
}

#[test]
fn an_update_that_lost_the_race_sees_what_the_winner_wrote() {
    let process = Process::default();
    let (host, rival) = (process.worker(), process.worker());
    let (state, _) = State::open(&host, TABLES).unwrap();
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
    assert_eq!(host.read_cell(cell).unwrap().0, [9, 9, 9, 1]);
}

#[test]
fn a_cell_that_is_fought_over_without_end_is_given_up() {
    let process = Process::default();
    let (host, rival) = (process.worker(), process.worker());
    let (state, _) = State::open(&host, TABLES).unwrap();
    host.before_swap(move |cell| {
        Grid::update(&rival, cell, |value| Decision::Replace(value, ())).unwrap();
    });
    let cell = state.counters.locate(0);
    let outcome = Grid::update(&host, cell, |value| Decision::Replace(value, ()));
    assert_eq!(outcome, Err(StateError::Contended));
}

#[test]
fn hashes_spread_evenly_over_the_cells() {
    let (state, _) = State::open(&Process::default().worker(), TABLES).unwrap();
    let mut filled = HashMap::new();
    for caller in 0..64_000_u32 {
        let place = state.hash.place(&[b"client", &caller.to_le_bytes()]);
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
    assert_ne!(hash.place(&[b"ab", b"c"]), hash.place(&[b"a", b"bc"]));
    assert_ne!(
        hash.place(&[b"ab"]),
        SeededHash::new([2; 16]).place(&[b"ab"])
    );
}

// === counters ===

#[test]
fn records_of_the_past_give_their_slots_free() {
    let mut records = Records::read(Vec::new(), NOW);
    for tag in 0..u64::from(RECORDS_PER_CELL) {
        records.put(tag, later(1 + tag));
    }
    assert!(records.is_full());
    let bytes = records.into_bytes();
    let records = Records::read(bytes, later(5));
    assert!(!records.is_full());
    assert_eq!(records.get(4), None);
    assert_eq!(records.get(5), Some(later(6)));
}

#[test]
fn a_newcomer_to_a_full_cell_starts_from_the_earliest_moment_and_takes_its_slot() {
    let mut records = Records::read(Vec::new(), NOW);
    for tag in 0..u64::from(RECORDS_PER_CELL) {
        records.put(tag, later(10 + tag));
    }
    assert_eq!(records.get(999), Some(later(10)));
    records.put(999, later(70));
    assert_eq!(records.get(999), Some(later(70)));
    // The one that was put out finds a moment at least as late as its own.
    assert_eq!(records.get(0), Some(later(11)));
}

proptest! {
    /// A cell that is far too small refuses too much, never too little: whatever it lets through, a bucket of the
    /// caller's own would have let through too.
    #[test]
    fn an_overfull_cell_never_lets_more_through_than_each_limit_allows(
        requests in prop::collection::vec((0_u64..120, 0_u64..3, 0_u64..200_000_000), 1..1500),
    ) {
        let rate = |quantity, seconds, burst| Gcra::new(Rate { quantity, period: Duration::from_secs(seconds), burst });
        let limits = [rate(5, 60, 5), rate(2, 1, 4), rate(100, 3600, 1)];
        let mut exact = HashMap::new();
        let mut cell = Vec::new();
        let mut now = NOW;
        for (caller, limit, gap) in requests {
            now = now.after(Duration::from_nanos(gap));
            let limit_index = usize::try_from(limit).unwrap();
            let tag = caller * 3 + limit;
            let mut records = Records::read(cell.clone(), now);
            let Ok((moment, _)) = limits[limit_index].take(records.get(tag), now) else { continue };
            records.put(tag, moment);
            cell = records.into_bytes();
            let own: &mut Option<Timestamp> = exact.entry(tag).or_default();
            let taken = limits[limit_index].take(*own, now);
            prop_assert!(taken.is_ok(), "limit {limit} of caller {caller} let too much through");
            *own = taken.ok().map(|(moment, _)| moment);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600), tag in any::<u64>()) {
        let mut records = Records::read(bytes.clone(), NOW);
        let _ = records.get(tag);
        records.put(tag, NOW);
        let hash = [0; keys::HASH_BYTES];
        let _ = keys::find(&bytes, &hash, 0, NOW);
        let record = Record { hash, realm: 0, expires: later(1), answer: None };
        let _ = keys::insert(&bytes, &record, NOW);
    }
}

// === keys ===

fn key(number: u8, seconds: u64, answer: Option<&[u8]>) -> Record {
    Record {
        hash: [number; keys::HASH_BYTES],
        realm: 1,
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
