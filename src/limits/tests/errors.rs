//! The host refuses its memory, or another worker is faster: what was taken is given back.

use std::cell::Cell as Shared;

use super::*;
use crate::host::simulated::Access;
use crate::state;

/// Limits in four cells: the client's, the client's on a route that is one of many, the route's, everyone's.
fn in_four_cells() -> World {
    let limits = json!([
        { "name": "everyone", "each": [], "requests": "9/day" },
        { "name": "on-route", "each": "route", "requests": "9/day" },
    ]);
    World::new(document("9/day", limits, &vec![Some("9/day"); 40]))
}

const ROUTE: usize = 39;

/// The cells of the limits that a client meets on the last route, in the order in which they are taken.
fn cells(world: &World, client: &str) -> Vec<CellName> {
    let worker = world.worker();
    let seen = Rc::new(std::cell::RefCell::new(Vec::new()));
    let cells = Rc::clone(&seen);
    worker
        .host
        .before_swap(move |cell| cells.borrow_mut().push(cell));
    assert!(!worker.admit(client, ROUTE).is_refused());
    seen.take()
}

/// A client whose limits lie in as many cells as there are.
fn spread_client(world: &World) -> (String, Vec<CellName>) {
    (0..)
        .map(|number| format!("client-{number}"))
        .map(|client| (client.clone(), cells(world, &client)))
        .find(|(_, cells)| cells.len() == 4)
        .unwrap()
}

/// The cell of the limits of everyone.
fn everyone(worker: &Worker) -> CellName {
    worker.claim(&worker.limits.everywhere[0], "").cell
}

/// What lies in cells.
fn values(world: &World, cells: &[CellName]) -> Vec<Vec<u8>> {
    let host = world.process.worker();
    let value = |cell: &CellName| state::read(&host, *cell).unwrap().0;
    cells.iter().map(value).collect()
}

#[test]
fn an_error_in_any_cell_leaves_nothing_taken() {
    let world = in_four_cells();
    let (client, cells) = spread_client(&world);
    let before = values(&world, &cells);
    for access in [Access::Read, Access::Swap] {
        for failing in &cells {
            let worker = world.worker();
            let failing = *failing;
            worker
                .host
                .refuse(move |asked, cell| asked == access && cell == failing);
            let refused = worker.try_admit(&client, ROUTE);
            assert_eq!(refused.err(), Some(StateError::Refused));
            assert_eq!(values(&world, &cells), before, "{access:?} {failing:?}");
        }
    }
}

#[test]
fn a_cell_that_is_fought_over_without_end_leaves_nothing_taken_either() {
    let world = in_four_cells();
    let (client, cells) = spread_client(&world);
    let before = values(&world, &cells);
    let (worker, rival) = (world.worker(), world.process.worker());
    let last = cells[3];
    worker.host.before_swap(move |cell| {
        if cell == last {
            let same = |value| state::Decision::Replace(value, ());
            Grid::update(&rival, cell, same).unwrap();
        }
    });
    let refused = worker.try_admit(&client, ROUTE);
    assert_eq!(refused.err(), Some(StateError::Contended));
    assert_eq!(values(&world, &cells), before);
}

#[test]
fn the_gate_keeps_its_count_whatever_becomes_of_the_request() {
    let limits = json!([{ "name": "address", "each": "address", "requests": "9/day" }]);
    let world = World::new(document("9/day", limits, &[None]));
    let worker = world.worker();
    let gate = |expected: &str| {
        let count = worker
            .limits
            .gate(&worker.host, from(b"192.0.2.1"))
            .unwrap();
        assert_eq!(count.fields(Tell::ALL)[3].1, expected);
    };
    gate("8");
    worker.host.refuse(|_, cell| cell.table == b'c');
    assert!(worker.try_admit("acme", 0).is_err());
    gate("7");
}

#[test]
fn what_cannot_be_given_back_at_once_is_given_back_on_a_later_tick() {
    let world = in_four_cells();
    let (client, cells) = spread_client(&world);
    let before = values(&world, &cells);
    let worker = world.worker();
    assert!(worker.limits.have_chores());
    // The second cell cannot be taken, and from then on the first one not be reached.
    let (first, second) = (cells[0], cells[1]);
    let broken = Rc::new(Shared::new(true));
    let (still_broken, failed) = (Rc::clone(&broken), Shared::new(false));
    worker.host.refuse(move |access, cell| {
        if access == Access::Swap && cell == second {
            failed.set(true);
        }
        still_broken.get()
            && (cell == second || cell == first && failed.get())
            && access == Access::Swap
    });
    let failures = || {
        worker
            .host
            .metric("waykeeper_limits_give_back_failures_total")
    };

    assert!(worker.try_admit(&client, ROUTE).is_err());
    assert_ne!(values(&world, &cells), before);
    assert_eq!(failures(), 1);
    worker.limits.chores(&worker.host);
    assert_eq!(failures(), 2);
    broken.set(false);
    worker.limits.chores(&worker.host);
    assert_eq!(values(&world, &cells), before);
    // It is given back once.
    worker.limits.chores(&worker.host);
    assert_eq!(values(&world, &cells), before);
    assert_eq!(failures(), 2);
}

/// A client whose cell is taken after another one, and that cell.
fn client_behind(worker: &Worker, other: CellName) -> (String, CellName) {
    (0..)
        .map(|number| format!("client-{number}"))
        .map(|client| (client.clone(), worker.cell(&client)))
        .find(|(_, own)| *own > other)
        .unwrap()
}

/// From now on `first` is taken once, and neither it nor `second` changes any more until this is set to false.
fn take_only(worker: &Worker, first: CellName, second: CellName) -> Rc<Shared<bool>> {
    let broken = Rc::new(Shared::new(true));
    let (still_broken, taken) = (Rc::clone(&broken), Shared::new(false));
    worker.host.refuse(move |access, cell| {
        let once = access == Access::Swap && cell == first && !taken.replace(true);
        access == Access::Swap && (cell == first || cell == second) && still_broken.get() && !once
    });
    broken
}

#[test]
fn of_what_has_drained_meanwhile_nothing_is_given_back() {
    let limits = json!([{ "name": "everyone", "each": [], "requests": "1/second", "burst": 2 }]);
    let world = World::new(document("100/second", limits, &[None]));
    let worker = world.worker();
    let everyone = everyone(&worker);
    let (client, own) = client_behind(&worker, everyone);
    // Everyone's is taken, the client's own cannot be, and for a while nothing be given back.
    let broken = take_only(&worker, everyone, own);
    assert!(worker.try_admit(&client, 0).is_err());
    world.process.pass(Duration::from_millis(900));
    assert!(world.worker().passes("rival"));
    broken.set(false);
    worker.limits.chores(&worker.host);

    // A tenth of the request was left to be given back. Another one of two is there, and the next comes after nine tenths
    // of a second.
    assert_eq!(worker.passing("other", 5), 1);
    world.process.pass(Duration::from_millis(899));
    assert_eq!(worker.passing("other", 5), 0);
    world.process.pass(Duration::from_millis(101));
    assert_eq!(worker.passing("other", 5), 1);
}

#[test]
fn what_was_taken_is_given_back_when_a_later_cell_fills_up_meanwhile() {
    let limits = json!([{ "name": "everyone", "each": [], "requests": "1/hour" }]);
    let world = World::new(document("10/hour", limits, &[None]));
    let everyone = everyone(&world.worker());
    for client in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let (worker, rival) = (world.worker(), world.worker());
        let own = worker.cell(client);
        let before = values(&world, &[own]);
        // Just before the worker swaps the last cell, a rival takes the only request that everyone has.
        worker.host.before_swap(move |cell| {
            if cell == everyone {
                rival.admit("rival", 0);
            }
        });
        let count = worker.admit(client, 0);
        assert_eq!(full(&count), ["everyone"]);
        if own != everyone {
            assert!(!worker.passes(client));
            let after = values(&world, &[own]);
            let now = worker.host.now();
            let records = |values: &[Vec<u8>]| {
                let records = counters::Records::read(values[0].clone(), now);
                records.all().collect::<Vec<_>>()
            };
            let (before, after) = (records(&before), records(&after));
            assert_eq!(before.len(), after.len());
            for (before, after) in before.iter().zip(&after) {
                assert_eq!(before.tag, after.tag);
                assert_eq!(before.debt(now), after.debt(now));
            }
        }
    }
}

#[test]
fn a_cell_that_is_not_there_lets_nobody_through() {
    let world = World::new(plan("10/hour", None));
    let mut worker = world.worker();
    worker.host = Process::default().worker();
    assert_eq!(worker.try_admit("acme", 0).err(), Some(StateError::NoCell));
}

#[test]
fn a_late_give_back_lets_nobody_through_a_limit_that_was_lowered_since() {
    let of_everyone = |requests: &str| {
        let limits = json!([{ "name": "everyone", "each": [], "requests": requests }]);
        document("1000/second", limits, &[None])
    };
    let world = World::new(of_everyone("50/day"));
    let worker = world.worker();
    let everyone = everyone(&worker);
    let (client, own) = client_behind(&worker, everyone);
    assert_eq!(worker.passing("other", 49), 49);
    let broken = take_only(&worker, everyone, own);
    assert!(worker.try_admit(&client, 0).is_err());
    broken.set(false);

    let lowered = world.changed(of_everyone("5/day")).worker();
    assert!(!lowered.passes("other"));
    worker.limits.chores(&worker.host);
    assert!(!lowered.passes("other"));
}
