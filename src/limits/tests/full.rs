//! Cells that many share, and cells that are full.

use std::collections::HashMap;

use proptest::prelude::*;

use super::subjects::{CALL, Call, world};
use super::*;
use crate::host::Timestamp;
use crate::state::room;

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

const FORGOTTEN_OF_ADDRESSES: &str = "waykeeper_address_counters_forgotten_total";

/// Limits are counted per one of these.
const EACH: [&str; 9] = [
    r#""client""#,
    r#""key""#,
    r#""team""#,
    r#""organisation""#,
    AT_THE_GATE,
    r#"[{"header": "x-tenant"}]"#,
    r#"["client", "route"]"#,
    r#"["team", "address"]"#,
    r#"["organisation", {"header": "x-tenant"}, "agent"]"#,
];
const AT_THE_GATE: &str = r#""address""#;

const ALGORITHMS: [&str; 3] = ["token_bucket", "sliding_window", "fixed_window"];

/// A request that differs from all others in everything that limits are counted per, but for what the configuration names.
fn with_one<T>(number: u64, then: impl FnOnce(Call<'_>) -> T) -> T {
    let name = format!("n{number}");
    then(Call {
        client: &name,
        key: &name,
        team: Some(&name),
        organisation: Some(&name),
        tenant: Some(&name),
        address: &name,
        ..CALL
    })
}

/// True if a limit per `each` lets it pass.
fn lets(worker: &Worker, each: &str, call: Call<'_>) -> bool {
    if each == AT_THE_GATE {
        let asked = from(call.address.as_bytes());
        return !worker
            .limits
            .gate(&worker.host, asked)
            .unwrap()
            .is_refused();
    }
    worker.lets(call)
}

/// Limits like this one, of so many names.
fn limits_per(each: &str, algorithm: &str, number: u32) -> Value {
    let each: Value = serde_json::from_str(each).unwrap();
    let period = if algorithm == "fixed_window" {
        "month"
    } else {
        "day"
    };
    let limit = |number| {
        json!({
            "name": format!("l{number}"),
            "each": each,
            "requests": format!("2/{period}"),
            "algorithm": algorithm,
        })
    };
    (0..number).map(limit).collect()
}

/// A flood that brings new subjects of every kind leaves nobody a fresh start whose limit is full, by whatever it is counted.
#[test]
fn no_flood_of_new_subjects_gives_back_what_was_used() {
    for (index, each) in EACH.into_iter().enumerate() {
        let algorithm = ALGORITHMS[index % ALGORITHMS.len()];
        let world = world(limits_per(each, algorithm, 1));
        let workers = [world.worker(), world.worker()];
        let passing = || {
            (0..8)
                .filter(|it| lets(&workers[it % 2], each, CALL))
                .count()
        };
        assert_eq!(passing(), 2, "{each:?} {algorithm}");
        let room = room::room(1024, 1);
        for number in 0..room * 3 / 2 {
            with_one(number, |call| {
                lets(&workers[number as usize % 2], each, call)
            });
        }
        let forgotten = |name| workers.iter().map(|it| it.host.metric(name)).sum::<u64>();
        assert!(forgotten(FORGOTTEN) + forgotten(FORGOTTEN_OF_ADDRESSES) > 0);
        assert_eq!(passing(), 0, "{each:?} {algorithm}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Of whatever subjects, and however they are counted: as many as a table has room for have each all of their limit, and
    /// no more.
    #[test]
    fn in_a_table_with_room_each_subject_has_all_of_its_limit_and_no_more(
        each in prop::sample::select(&EACH[..]),
        algorithm in prop::sample::select(&ALGORITHMS[..]),
        limits in 1_u32..5,
        first in 0_u64..1_000_000,
    ) {
        let world = world(limits_per(each, algorithm, limits));
        let workers = [world.worker(), world.worker()];
        let subjects = room::room(1024, limits);
        for times in 0..3 {
            for number in first..first + subjects {
                let worker = &workers[(number + times) as usize % 2];
                prop_assert_eq!(with_one(number, |call| lets(worker, each, call)), times < 2);
            }
        }
        for worker in &workers {
            prop_assert_eq!(worker.host.metric(FORGOTTEN), 0);
            prop_assert_eq!(worker.host.metric(FORGOTTEN_OF_ADDRESSES), 0);
        }
    }
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
