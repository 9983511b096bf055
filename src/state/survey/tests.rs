use super::*;
use crate::host::simulated::{Process, SimulatedHost};
use crate::state::counters::{Counts, Record, Records};

const TABLES: Tables = Tables {
    keys: 1024,
    counters: 1024,
    address_counters: 1024,
    responses: 64,
};
const SECOND: Duration = Duration::from_secs(1);

struct World {
    process: Process,
    host: SimulatedHost,
    state: State,
    survey: Survey,
}

impl World {
    fn new(tables: Tables) -> Self {
        let process = Process::default();
        let host = process.worker();
        let (state, _) = State::open(&host, tables, &[]).unwrap();
        let survey = Survey::new(&state);
        Self {
            process,
            host,
            state,
            survey,
        }
    }

    /// So many counters of each of so many subjects, for an hour.
    fn count(&self, subjects: std::ops::Range<u64>, each: u64) {
        let until = self.host.now().after(3600 * SECOND);
        for subject in subjects {
            let hashed = self.state.hash.of(&[&subject.to_le_bytes()]);
            let cell = self.state.counters.locate(hashed.cell);
            Grid::update(&self.host, cell, |value| {
                let mut records = Records::read(value, self.host.now());
                for number in 0..each {
                    let tag = hashed.tag.wrapping_add(number);
                    records.push(Record::of_window(tag, Counts::default(), until));
                }
                Decision::Replace(records.take_bytes(), ())
            })
            .unwrap();
        }
    }

    /// What the next whole round says of the counters.
    fn counters(&self) -> Fullness {
        for _ in 0..=2 * IN_ROUND / AT_ONCE {
            self.process.pass(SECOND);
            let done = self.survey.tick(&self.host).unwrap();
            if let Some(fullness) = done.iter().find(|it| it.table == Table::Counters) {
                return *fullness;
            }
        }
        panic!("no round came to its end");
    }
}

#[test]
fn what_is_in_use_is_seen_and_what_has_passed_is_not() {
    let world = World::new(TABLES);
    assert_eq!(world.counters().in_use, 0);
    world.count(0..1000, 1);
    let seen = world.counters();
    assert_eq!((seen.in_use, seen.should_be), (1000, None));
    assert_eq!(seen.room, room::room(1024, 1));
    world.process.pass(3600 * SECOND);
    assert_eq!(world.counters().in_use, 0);
}

#[test]
fn a_table_that_is_nearly_full_is_told_of_once_and_again_when_it_grows() {
    let world = World::new(TABLES);
    let room = room::room(1024, 1);
    world.count(0..room * 7 / 10, 1);
    assert_eq!(world.counters().should_be, None);
    world.count(room * 7 / 10..room * 9 / 10, 1);
    let told = world.counters().should_be.expect("it is nearly full");
    for _ in 0..100 {
        assert_eq!(world.counters().should_be, None, "once");
    }
    world.count(room * 9 / 10..room * 3 / 2, 1);
    let again = world.counters().should_be.expect("it has grown");
    assert!(again > told, "{told} {again}");

    // In a table of that size there is room.
    let larger = World::new(Tables {
        counters: again,
        ..TABLES
    });
    larger.count(0..room * 3 / 2, 1);
    let seen = larger.counters();
    assert!(seen.in_use * 100 <= seen.room * FILLED_BY_THEN + 100);
    assert_eq!(seen.should_be, None);
}

#[test]
fn a_cell_that_is_nearly_full_is_told_of_though_the_others_are_not() {
    let world = World::new(TABLES);
    let cell = world.state.counters.locate(0);
    let here = |subject: &u64| {
        let hashed = world.state.hash.of(&[&subject.to_le_bytes()]);
        world.state.counters.locate(hashed.cell) == cell
    };
    for subject in (0..).filter(here).take(205) {
        world.count(subject..subject + 1, 1);
    }
    let seen = world.counters();
    assert_eq!((seen.in_use, seen.fullest), (205, 205));
    assert_eq!(seen.should_be, Some(1024 * MOST_AT_ONCE));
}

#[test]
fn subjects_of_many_counters_leave_less_room() {
    let (one, many) = (World::new(TABLES), World::new(TABLES));
    one.count(0..1920, 1);
    many.count(0..60, 32);
    let (one, many) = (one.counters(), many.counters());
    assert_eq!((one.in_use, many.in_use), (1920, 1920));
    assert!(many.room * 2 < one.room, "{} {}", many.room, one.room);
    assert!(one.should_be.is_none() && many.should_be.is_some());
}

#[test]
fn of_a_large_table_a_part_tells_the_rest_and_each_round_sees_another_part() {
    let world = World::new(Tables {
        counters: 32 * 3 * IN_ROUND,
        ..TABLES
    });
    world.count(0..100_000, 1);
    for _ in 0..3 {
        let seen = world.counters();
        assert!((95_000..105_000).contains(&seen.in_use), "{seen:?}");
    }
}

#[test]
fn of_all_workers_one_looks_each_second_and_another_goes_on_where_it_is_gone() {
    let world = World::new(TABLES);
    let other = world.process.worker();
    world.process.pass(SECOND);
    assert!(!world.survey.tick(&world.host).unwrap().is_empty());
    assert!(world.survey.tick(&other).unwrap().is_empty());
    world.process.pass(SECOND);
    assert!(!world.survey.tick(&other).unwrap().is_empty());
    // A clock that was set back stops nobody for long.
    let behind = world.process.worker();
    behind.set_ahead(-3_600_000_000_000);
    assert!(!world.survey.tick(&behind).unwrap().is_empty());
}

#[test]
fn invalid_keys_need_no_larger_table() {
    let world = World::new(TABLES);
    let now = world.host.now();
    let keys = |number: u64, answer: Option<Vec<u8>>| {
        let mut hash = [0; keys::HASH_BYTES];
        hash[..8].copy_from_slice(&number.to_le_bytes());
        let record = keys::Record {
            hash,
            realm: 1,
            learned: now,
            expires: now.after(3600 * SECOND),
            answer,
        };
        let cell = world.state.keys.locate(world.state.hash.of(&[&hash]).cell);
        Grid::update(&world.host, cell, |value| {
            match keys::insert(&value, &record, now) {
                Some(value) => Decision::Replace(value, ()),
                None => Decision::Keep(()),
            }
        })
        .unwrap();
    };
    let look = || {
        world.process.pass(SECOND);
        let done = world.survey.tick(&world.host).unwrap();
        let keys = done.iter().find(|it| it.table == Table::Keys);
        // 128 cells take two seconds.
        keys.copied().unwrap_or_else(|| {
            world.process.pass(SECOND);
            world.survey.tick(&world.host).unwrap()[0]
        })
    };
    for number in 0..10_000 {
        keys(number, None);
    }
    let flooded = look();
    assert_eq!((flooded.in_use, flooded.should_be), (0, None));
    for number in 0..300 {
        keys(number, Some(vec![1]));
    }
    let crowded = look();
    assert!(
        crowded.in_use > 290 && crowded.should_be == Some(4096),
        "{crowded:?}"
    );
}
