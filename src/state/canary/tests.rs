use std::cell::{Cell, RefCell};
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::config::policy::Tables;
use crate::host::simulated::{Process, SimulatedHost};

const TABLES: Tables = Tables {
    keys: 64,
    counters: 64,
    address_counters: 64,
    responses: 64,
};

struct World {
    process: Process,
    host: SimulatedHost,
    state: State,
    canaries: Canaries,
    clients: Cell<u64>,
}

fn world() -> World {
    let process = Process::default();
    let host = process.worker();
    let (state, _) = State::open(&host, TABLES, &[]).unwrap();
    let canaries = Canaries::new(&state);
    World {
        process,
        host,
        state,
        canaries,
        clients: Cell::new(100),
    }
}

fn came(failed: bool) -> Came {
    if failed { Came::Provoked } else { Came::Answer }
}

impl World {
    fn lines(&self, route: &str, percent: u8) -> Lines {
        Lines::new(&self.state, route, &[b"new", &[percent]])
    }

    /// Counts a request of a client that has never come before.
    fn count(&self, key: Lines, failed: bool) -> Option<Standing> {
        let client = self.clients.replace(self.clients.get() + 1);
        self.count_of(client, key, came(failed))
    }

    fn count_of(&self, client: u64, key: Lines, came: Came) -> Option<Standing> {
        (self.canaries.count(&self.host, key, client, came, 5)).unwrap()
    }

    fn is_aborted(&self, key: Lines) -> bool {
        self.canaries.is_aborted(&self.host, key).unwrap()
    }

    fn come(&self, all: &[Lines]) -> Vec<Standing> {
        self.canaries.come(&self.host, all).unwrap()
    }
}

#[test]
fn a_canary_is_aborted_by_the_first_request_by_which_more_have_failed_than_may_of_at_least_fifty() {
    let world = world();
    let key = world.lines("chat", 5);
    world.come(&[key]);
    for number in 1..=49 {
        assert_eq!(world.count(key, number % 2 == 0), None, "{number}");
        assert!(!world.is_aborted(key));
    }
    let aborted = world.count(key, false).unwrap();
    assert_eq!((aborted.requests, aborted.failed), (50, 24));
    assert!(world.is_aborted(key));
    // What still comes in changes nothing, and is told nobody.
    assert_eq!(world.count(key, true), None);
}

#[test]
fn as_many_as_may_fail_are_not_too_many() {
    let world = world();
    let key = world.lines("chat", 5);
    world.come(&[key]);
    for number in 0..100 {
        let failed = [50, 60, 70, 80].contains(&number);
        assert_eq!(world.count(key, failed), None);
    }
    // 4 of 100; two more of 102 are 5.9 in a hundred.
    assert_eq!(world.count(key, true), None);
    let aborted = world.count(key, true).unwrap();
    assert_eq!((aborted.requests, aborted.failed), (102, 6));
}

#[test]
fn one_that_fails_after_it_has_long_done_well_is_noticed_as_soon() {
    let world = world();
    let key = world.lines("chat", 5);
    world.come(&[key]);
    for _ in 0..100_000 {
        world.count(key, false);
    }
    let failing = (1..).find(|_| world.count(key, true).is_some());
    assert!(failing.is_some_and(|number| number < 60), "{failing:?}");
}

#[test]
fn it_stays_aborted_over_reloads_until_its_own_lines_change() {
    let world = world();
    let [chat, other, changed] = [
        world.lines("chat", 5),
        world.lines("other", 5),
        world.lines("chat", 6),
    ];
    assert_eq!(world.come(&[chat]), [Standing::default()]);
    while !world.is_aborted(chat) {
        world.count(chat, true);
    }
    for all in [&[chat][..], &[other, chat], &[], &[other], &[chat]] {
        for (key, standing) in all.iter().zip(world.come(all)) {
            assert_eq!(standing.aborted, *key == chat);
        }
        assert!(world.is_aborted(chat));
    }
    assert_eq!(world.come(&[changed]), [Standing::default()]);
    // Those that began before count for nothing, and nothing more goes there.
    assert!(world.is_aborted(chat));
    assert_eq!(world.count(chat, true), None);
    assert!(!world.is_aborted(changed));
    // What is written again begins anew.
    assert_eq!(world.come(&[chat]), [Standing::default()]);
}

#[test]
fn there_is_a_cell_also_where_an_older_module_has_made_the_tables() {
    let world = world();
    let cell = world.canaries.cell;
    let process = Process::default();
    let host = process.worker();
    let canaries = Canaries { cell };
    assert_eq!(canaries.come(&host, &[]).unwrap(), []);
    assert!(host.read_cell(cell).unwrap().is_none(), "none is needed");
    let key = world.lines("chat", 5);
    assert!(canaries.is_aborted(&host, key).is_err());
    assert_eq!(canaries.come(&host, &[key]).unwrap().len(), 1);
    assert!(!canaries.is_aborted(&host, key).unwrap());
}

#[test]
fn the_oldest_that_nobody_has_any_more_make_room() {
    let world = world();
    let keys: Vec<Lines> = (0..3 * MOST)
        .map(|it| world.lines(&it.to_string(), 5))
        .collect();
    for key in &keys {
        world.come(&[keys[0], *key]);
    }
    let (value, _) = read(&world.host, world.canaries.cell).unwrap();
    assert_eq!(value.len(), RECORD * MOST);
    assert!(!world.is_aborted(keys[0]) && !world.is_aborted(keys[3 * MOST - 1]));
    assert!(world.is_aborted(keys[1]), "nothing is known of it");
}

/// Two workers count at once: none of it is lost, and one of them, and only one, is told that it is over.
#[test]
fn workers_that_count_at_once_lose_nothing_and_one_is_told() {
    let world = world();
    let key = world.lines("chat", 5);
    world.come(&[key]);
    let rival = world.process.worker();
    let (told, inside) = (Rc::new(RefCell::new(Vec::new())), Cell::new(0));
    let (list, cell) = (Rc::clone(&told), world.canaries.cell);
    world.host.before_swap(move |swapped| {
        // It wins each race twice.
        inside.set(inside.get() + 1);
        if swapped == cell && inside.get() % 3 != 0 {
            let canaries = Canaries { cell };
            list.borrow_mut().extend(
                canaries
                    .count(&rival, key, 1, Came::Unconnected, 5)
                    .unwrap(),
            );
        }
    });
    for _ in 0..40 {
        let came = world.count_of(2, key, Came::Unconnected);
        told.borrow_mut().extend(came);
    }
    let told = told.borrow();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].requests, told[0].failed), (50, 50));
    assert!(world.is_aborted(key));
}

#[test]
fn one_client_ends_no_canary_for_others_in_whichever_workers_they_are() {
    for skew in [-1_000_000, 0, 1_000_000] {
        let world = world();
        let key = world.lines("chat", 5);
        world.come(&[key]);
        let other = world.process.worker();
        other.set_ahead(skew);
        let count = |client, came| {
            let host = if client == 1 { &world.host } else { &other };
            world.canaries.count(host, key, client, came, 5).unwrap()
        };
        // Another client comes less than once a minute, for a day; what it asks is answered, but for one request.
        for round in 0..1_440_u64 {
            for _ in 0..10 {
                world.process.pass(Duration::from_secs(5));
                assert_eq!(count(1, Came::Provoked), None, "{skew}, {round}");
            }
            world.process.pass(Duration::from_secs(5));
            let failed = round == 700;
            assert_eq!(count(2 + round % 2, came(failed)), None, "{skew}, {round}");
        }
        // It begins to fail for others too.
        let after = (0..80).find(|_| {
            count(1, Came::Provoked);
            count(2, Came::Provoked).is_some() || count(1, Came::Answer).is_some()
        });
        assert!(after.is_some(), "{skew}");
    }
}

#[test]
fn of_a_client_that_is_alone_there_all_counts_after_a_minute_and_that_nobody_is_there_at_once() {
    let world = world();
    let key = world.lines("chat", 5);
    world.come(&[key]);
    for _ in 0..59 {
        assert_eq!(world.count_of(1, key, Came::Provoked), None);
        world.process.pass(Duration::from_secs(1));
    }
    world.process.pass(Duration::from_secs(1));
    let counted = (1..).find(|_| world.count_of(1, key, Came::Provoked).is_some());
    assert_eq!(counted, Some(49), "the first one counts");
    let world = self::world();
    world.come(&[key]);
    let counted = (1..).find(|_| world.count_of(1, key, Came::Unconnected).is_some());
    assert_eq!(counted, Some(50));
}

#[test]
fn the_part_that_fails_is_told_whoever_sends_most() {
    // One client sends nine of ten, and two of ten requests fail, whosever they are.
    for abort_at in [15, 25] {
        let world = world();
        let key = world.lines("chat", 5);
        world.come(&[key]);
        let aborted = (0..5_000_u64).find(|number| {
            let drawn = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            let client = if drawn % 10 == 0 { 2 + number % 3 } else { 1 };
            let came = came((drawn >> 8) % 10 < 2);
            let counted = world
                .canaries
                .count(&world.host, key, client, came, abort_at);
            counted.unwrap().is_some()
        });
        assert_eq!(aborted.is_some(), abort_at == 15, "{aborted:?}");
    }
}

proptest! {
    /// Whatever one client asks in between, a canary that answers all others is never aborted while these come more than once a
    /// minute.
    #[test]
    fn whatever_one_client_provokes_ends_no_canary(
        steps in prop::collection::vec((0..30_u64, 0..4_u64, any::<bool>()), 1..600),
        skew in -900_000_000_i64..900_000_000,
        abort_at in 0..100_u8,
    ) {
        let world = world();
        let key = world.lines("chat", 5);
        world.come(&[key]);
        let other = world.process.worker();
        other.set_ahead(skew);
        for (seconds, client, failed) in steps {
            world.process.pass(Duration::from_secs(seconds));
            let client = client.saturating_sub(1);
            let (host, failed) = if client == 0 { (&world.host, failed) } else { (&other, false) };
            let count = world.canaries.count(host, key, client + 1, came(failed), abort_at);
            prop_assert_eq!(count.unwrap(), None);
            world.process.pass(Duration::from_secs(25));
            world.canaries.count(&other, key, 9, Came::Answer, abort_at).unwrap();
        }
    }
}
