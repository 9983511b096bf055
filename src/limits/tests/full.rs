//! Cells that many share, and cells that are full.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::host::Timestamp;

#[test]
fn a_client_with_many_limits_of_days_keeps_its_limit_of_seconds() {
    let days = (0..32).map(
        |number| json!({ "name": format!("d{number}"), "each": "client", "requests": "100/day" }),
    );
    let world = World::new(document("5/second", days.collect(), &[None]));
    let worker = world.worker();
    for _ in 0..10 {
        assert_eq!(worker.passing("acme", 10), 5);
        let refused = worker.admit("acme", 0);
        assert_eq!(full(&refused), ["plan"]);
        world
            .process
            .pass(Duration::from_secs(refused.wait(|| worker.host.now())));
    }
    assert_eq!(worker.host.metric(FORGOTTEN), 0);
}

#[test]
fn a_table_of_the_documented_size_turns_nobody_away() {
    let days = (0..7).map(
        |number| json!({ "name": format!("d{number}"), "each": "client", "requests": "100/day" }),
    );
    let world = World::new(document("5/second", days.collect(), &[None]));
    let worker = world.worker();
    for client in 0..128 {
        let client = format!("client-{client}");
        assert_eq!(worker.passing(&client, 6), 5, "{client}");
    }
    assert_eq!(worker.host.metric(FORGOTTEN), 0);
}

#[test]
fn in_a_full_cell_a_limit_of_seconds_does_not_meet_a_limit_of_days() {
    let days = (0..32).map(|number| json!({ "name": format!("d{number}"), "each": "client", "requests": "100/day", "burst": 10 }));
    let world = World::new(document("5/second", days.collect(), &[None]));
    let worker = world.worker();
    let clients = worker.neighbours(9);
    for client in &clients {
        assert_eq!(worker.passing(client, 6), 5, "{client}");
        world.process.pass(Duration::from_secs(2));
    }
    // Eight times 33 are more than 256.
    assert!(worker.host.metric(FORGOTTEN) > 0);
}

#[test]
fn whoever_is_refused_in_a_full_cell_comes_back_when_told() {
    let world = World::new(plan("10/hour", Some(1)));
    let worker = world.worker();
    let clients = worker.neighbours(300);
    let most = counters::MOST_RECORDS_PER_CELL as usize;
    for client in &clients[..most] {
        assert!(worker.passes(client));
        world.process.pass(Duration::from_millis(1));
    }
    let newcomer = &clients[most];
    let refused = worker.admit(newcomer, 0);
    assert!(refused.is_refused());
    assert_eq!(worker.host.metric(FORGOTTEN), 1);
    // It has the wait for its own: others that come meanwhile do not lengthen it.
    world
        .process
        .pass(Duration::from_secs(refused.wait(|| worker.host.now()) - 1));
    assert!(!worker.passes(newcomer));
    assert!(!worker.passes(&clients[most + 1]));
    world.process.pass(Duration::from_secs(1));
    assert!(worker.passes(newcomer));
}

#[test]
fn whoever_is_put_out_comes_back_to_as_little_also_when_the_limit_has_changed() {
    for (changed_to, left) in [("9/hour", 0), ("10/hour", 0), ("11/hour", 1)] {
        let world = World::new(plan("10/hour", None));
        let worker = world.worker();
        let clients = worker.neighbours(257);
        let (newcomer, others) = clients.split_last().unwrap();
        for client in others {
            assert_eq!(worker.passing(client, 11), 10);
        }
        let worker = world.changed(plan(changed_to, None)).worker();
        assert_eq!(worker.passing(newcomer, 11), left, "{changed_to}");
        for client in others {
            assert!(worker.passing(client, 11) <= left, "{changed_to}");
        }
        assert!(worker.host.metric(FORGOTTEN) > 0);
    }
}

#[test]
fn strangers_take_no_room_from_clients() {
    let limits = json!([{ "name": "address", "each": "address", "requests": "5/day" }]);
    let world = World::new(document("5/day", limits, &[None]));
    let worker = world.worker();
    assert_eq!(worker.passing("acme", 10), 5);
    for stranger in 0..30_000_u32 {
        worker
            .limits
            .gate(&worker.host, from(&stranger.to_le_bytes()))
            .unwrap();
    }
    assert!(
        worker
            .host
            .metric("waykeeper_address_counters_forgotten_total")
            > 0
    );
    assert_eq!(worker.host.metric(FORGOTTEN), 0);
    assert!(!worker.passes("acme"));
    assert_eq!(worker.passing("other", 10), 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A cell that is far too small for the clients of one limit refuses too much, never too little: whatever it lets
    /// through, a bucket of the client's own would have let through too.
    #[test]
    fn an_overfull_cell_never_lets_more_through_than_the_limit(
        requests in prop::collection::vec((0_usize..400, 0_u64..200_000_000), 1500..2500),
        burst in 1_u64..4,
    ) {
        let world = World::new(plan("5/minute", Some(burst)));
        let worker = world.worker();
        let clients = worker.neighbours(400);
        let gcra = worker.limits.plans[0][0].algorithm.gcra();
        let mut exact: HashMap<usize, Timestamp> = HashMap::new();
        for (client, gap) in requests {
            world.process.pass(Duration::from_nanos(gap));
            if worker.passes(&clients[client]) {
                let now = world.process.now();
                let until = exact.get(&client).copied().unwrap_or(now);
                let owed = until.0.saturating_sub(now.0);
                let taken = gcra.take(counters::Debt { owed, overdrawn: 0 }, 1);
                prop_assert!(taken.is_ok(), "client {client} got too much");
                exact.insert(client, Timestamp(now.0 + taken.unwrap().owed));
            }
        }
    }
}
