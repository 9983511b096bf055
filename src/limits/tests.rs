use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use super::*;
use crate::config;
use crate::host::simulated::{Process, SimulatedHost};

/// Limits over a process of their own, as `document` says.
struct World {
    process: Process,
    policy: Policy,
}

impl World {
    fn new(document: serde_json::Value) -> Self {
        let policy = config::read(&document).unwrap_or_else(|faults| panic!("{faults}"));
        Self {
            process: Process::default(),
            policy,
        }
    }

    fn worker(&self) -> Worker {
        let host = self.process.worker();
        let (state, _) = State::open(&host, self.policy.tables).unwrap();
        Worker {
            limits: Limits::new(&self.policy, &state),
            host,
        }
    }
}

struct Worker {
    host: SimulatedHost,
    limits: Limits,
}

impl Worker {
    fn admit(&self, client: &str, route: usize) -> Count {
        let (caller, plan) = (Caller::Client(client), Some(PlanId(0)));
        self.limits
            .admit(&self.host, caller, plan, RouteId(route), self.host.now())
            .unwrap()
    }

    fn remaining(&self, client: &str, route: usize) -> u64 {
        let fields = self.admit(client, route).fields();
        fields[3].1.parse().unwrap()
    }
}

fn document(plan: &str, limits: serde_json::Value, routes: &[Option<&str>]) -> serde_json::Value {
    let routes: Vec<_> = routes
        .iter()
        .enumerate()
        .map(|(index, rate)| {
            let mut route = serde_json::json!({ "prefix": format!("/r{index}"), "agents": ["a"] });
            if let Some(rate) = rate {
                route["rate_limit"] = serde_json::json!({ "requests": rate });
            }
            route
        })
        .collect();
    serde_json::json!({
        "clients": { "validator": { "cluster": "auth", "path": "/" }, "default_plan": "standard" },
        "plans": { "standard": { "requests": plan } },
        "limits": limits,
        "agents": { "a": { "cluster": "a" } },
        "routes": routes,
        "tables": { "keys": 1024, "counters": 1024 },
    })
}

#[test]
fn a_request_refused_by_one_limit_takes_nothing_from_the_others() {
    let world = World::new(document(
        "10/hour",
        serde_json::json!([]),
        &[Some("1/hour"), None],
    ));
    let worker = world.worker();
    assert!(!worker.admit("acme", 0).is_refused());
    for _ in 0..5 {
        let count = worker.admit("acme", 0);
        assert_eq!(count.full().collect::<Vec<_>>(), ["route"]);
    }
    // One was let through on the limited route, and this is the second.
    assert_eq!(worker.remaining("acme", 1), 8);
}

#[test]
fn limits_in_several_cells_are_all_left_alone_when_one_is_full() {
    let limits = serde_json::json!([
        { "name": "everyone", "each": [], "requests": "1/hour" },
        { "name": "per-route", "each": "route", "requests": "5/hour" },
    ]);
    let world = World::new(document("10/hour", limits, &[None]));
    let worker = world.worker();
    assert!(!worker.admit("acme", 0).is_refused());
    let refused = worker.admit("other", 0);
    assert_eq!(refused.full().collect::<Vec<_>>(), ["everyone"]);
    let fields = refused.fields();
    assert_eq!(
        fields[0].1,
        "\"plan\";q=10;w=3600, \"per-route\";q=5;w=3600, \"everyone\";q=1;w=3600"
    );
    assert_eq!(fields[1].1, "\"everyone\";r=0;t=3600");
    let levels: Vec<_> = (0..3).map(|_| worker.admit("other", 0).fields()).collect();
    assert!(levels.iter().all(|level| level == &levels[0]), "{levels:?}");
}

#[test]
fn what_was_taken_is_given_back_when_a_later_cell_fills_up_meanwhile() {
    let limits = serde_json::json!([{ "name": "everyone", "each": [], "requests": "1/hour" }]);
    let world = World::new(document("10/hour", limits, &[None]));
    for client in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let (worker, rival) = (world.worker(), world.worker());
        let everyone = worker
            .limits
            .claim(&worker.limits.everyone[0], Caller::Client(client))
            .cell;
        let own = worker
            .limits
            .claim(&worker.limits.plans[0][0], Caller::Client(client))
            .cell;
        let before = world.process.worker().read_cell(own).unwrap();
        // Just before the worker swaps the last cell, a rival takes the only request that everyone has.
        worker.host.before_swap(move |cell| {
            if cell == everyone {
                rival.admit("rival", 0);
            }
        });
        let count = worker.admit(client, 0);
        assert_eq!(count.full().collect::<Vec<_>>(), ["everyone"]);
        let after = world.process.worker().read_cell(own).unwrap();
        if own != everyone {
            let records = |value| {
                crate::state::counters::Records::read(value, worker.host.now()).into_bytes()
            };
            assert_eq!(records(before.0), records(after.0));
        }
    }
}

#[test]
fn exactly_what_a_limit_allows_is_admitted_over_many_workers() {
    let limits = serde_json::json!([{ "name": "everyone", "each": [], "requests": "300/hour" }]);
    let world = World::new(document("250/hour", limits, &[None]));
    let (workers, each) = (8, 150);
    let barrier = Barrier::new(workers);
    let admitted: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| {
                    let worker = world.worker();
                    barrier.wait();
                    (0..each)
                        .filter(|_| !worker.admit("acme", 0).is_refused())
                        .count()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(admitted, 250);
}

#[test]
fn a_client_of_many_limited_routes_is_refused_by_none_of_them_early() {
    let routes = vec![Some("5/hour"); 100];
    let world = World::new(document("1000/hour", serde_json::json!([]), &routes));
    let worker = world.worker();
    for round in 0..5 {
        for route in 0..routes.len() {
            assert!(
                !worker.admit("acme", route).is_refused(),
                "round {round}, route {route}"
            );
        }
    }
    assert!((0..routes.len()).all(|route| worker.admit("acme", route).is_refused()));
}

#[test]
fn counts_are_found_again_wherever_their_route_stands_in_the_next_configuration() {
    for routes in [2, 40] {
        let mut world = World::new(document(
            "1000/hour",
            serde_json::json!([{ "name": "per-route", "each": "route", "requests": "900/hour" }]),
            &vec![Some("3/hour"); routes],
        ));
        let worker = world.worker();
        for route in 0..routes {
            assert_eq!(worker.remaining("acme", route), 2);
        }
        let first = world.policy.routes.remove(0);
        world.policy.routes.push(first);
        let worker = world.worker();
        for route in 0..routes {
            assert_eq!(worker.remaining("acme", route), 1, "{route} of {routes}");
        }
    }
}

#[test]
fn clients_and_addresses_do_not_count_for_each_other() {
    let world = World::new(document("1/hour", serde_json::json!([]), &[Some("1/hour")]));
    let worker = world.worker();
    assert!(!worker.admit("acme", 0).is_refused());
    assert!(worker.admit("acme", 0).is_refused());
    assert!(!worker.admit("other", 0).is_refused());
    let anonymous = |name: &'static [u8]| {
        let caller = Caller::Address(name);
        let count = worker
            .limits
            .admit(&worker.host, caller, None, RouteId(0), worker.host.now());
        count.unwrap().is_refused()
    };
    assert!(!anonymous(b"acme"));
    assert!(anonymous(b"acme"));
}

#[test]
fn a_clock_set_back_by_an_hour_costs_no_more_than_an_empty_bucket() {
    let world = World::new(document("60/minute", serde_json::json!([]), &[None]));
    let worker = world.worker();
    let now = worker.host.now();
    let at = |time: Timestamp| {
        let caller = Caller::Client("acme");
        worker
            .limits
            .admit(&worker.host, caller, Some(PlanId(0)), RouteId(0), time)
            .unwrap()
    };
    assert!(!at(now).is_refused());
    let hour_before = Timestamp(now.0 - 3_600_000_000_000);
    assert!(at(hour_before).is_refused());
    assert!(!at(hour_before.after(Duration::from_secs(1))).is_refused());
}

#[test]
fn a_cell_that_is_not_there_lets_nobody_through() {
    let world = World::new(document("10/hour", serde_json::json!([]), &[None]));
    let worker = world.worker();
    let elsewhere = Process::default().worker();
    let count = worker.limits.admit(
        &elsewhere,
        Caller::Client("acme"),
        Some(PlanId(0)),
        RouteId(0),
        elsewhere.now(),
    );
    assert!(matches!(count, Err(StateError::NoCell)));
}
