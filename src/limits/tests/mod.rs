//! Decisions on the limits of whole configurations, over workers on the simulated host.

mod changed;
mod clocks;
mod errors;
mod fleet;
mod full;
mod in_flight;
mod left;
mod receipts;
mod shadow;
mod subjects;
mod windows;

use serde_json::{Value, json};
use std::time::Duration;

use super::algorithm::Algorithm;
use super::gcra::Gcra;
use super::*;
use crate::config;
use crate::config::policy::Tell;
use crate::host::CellName;
use crate::host::simulated::{Process, SimulatedHost};
use crate::state::{Grid, counters};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

const FORGOTTEN: &str = "waykeeper_counters_forgotten_total";

/// Limits over a process, as `document` says.
struct World {
    process: Process,
    policy: Policy,
}

impl World {
    fn new(document: Value) -> Self {
        Self::over(Process::default(), document)
    }

    fn over(process: Process, document: Value) -> Self {
        let policy = config::read(&document).unwrap_or_else(|faults| panic!("{faults}"));
        Self { process, policy }
    }

    /// The same process under another configuration.
    fn changed(&self, document: Value) -> Self {
        let world = Self::over(self.process.clone(), document);
        // The tables are those of the first configuration.
        self.worker();
        world
    }

    fn worker(&self) -> Worker {
        let host = self.process.worker();
        let together = routes_together(&self.policy);
        let (state, _) = State::open(&host, self.policy.tables, &together).unwrap();
        Worker {
            limits: Limits::new(&self.policy, &state),
            host,
        }
    }
}

impl Algorithm {
    fn gcra(&self) -> Gcra {
        match self {
            Self::TokenBucket(gcra) => *gcra,
            Self::Window(window) => panic!("{window:?}"),
        }
    }
}

/// A request of a client of the first plan.
fn of(client: &str, route: usize) -> Asked<'_> {
    Asked {
        plan: Some(PlanId(0)),
        route: Some(RouteId(route)),
        ..Asked::by(Caller::Client(client))
    }
}

/// A request from an address.
fn from(address: &[u8]) -> Asked<'_> {
    Asked {
        address: Some(address),
        ..Asked::by(Caller::Address(address))
    }
}

/// The names of the limits that are full.
fn full(count: &Admission) -> Vec<&str> {
    count.full().map(|full| full.name).collect()
}

struct Worker {
    host: SimulatedHost,
    limits: Limits,
}

impl Worker {
    fn try_admit(&self, client: &str, route: usize) -> Result<Admission, StateError> {
        self.try_take(client, route, 1)
    }

    fn try_take(&self, client: &str, route: usize, requests: u64) -> Result<Admission, StateError> {
        let amounts = Amounts { requests };
        self.limits.admit(&self.host, of(client, route), amounts)
    }

    fn admit(&self, client: &str, route: usize) -> Admission {
        self.try_admit(client, route).unwrap()
    }

    /// True if a request on the first route passes.
    fn passes(&self, client: &str) -> bool {
        !self.admit(client, 0).is_refused()
    }

    /// How many requests on the first route pass, one after the other at this moment.
    fn passing(&self, client: &str, most: usize) -> usize {
        (0..most).take_while(|_| self.passes(client)).count()
    }

    fn remaining(&self, client: &str, route: usize) -> u64 {
        let fields = self.admit(client, route).fields(Tell::ALL);
        fields[3].1.parse().unwrap()
    }

    fn claim<'a>(&self, rule: &'a Rc<Rule>, client: &str) -> Claim<'a> {
        let asking = Asking::new(of(client, 0));
        let claim = self.limits.claim(rule, &asking, Amounts::ONE_REQUEST);
        claim.unwrap()
    }

    /// The cell of a client's limits.
    fn cell(&self, client: &str) -> CellName {
        self.claim(&self.limits.plans[0][0], client).cell
    }

    /// As many clients whose limits lie in one cell.
    fn neighbours(&self, number: usize) -> Vec<String> {
        let names = (0..).map(|number| format!("client-{number}"));
        let cell = self.cell("client-0");
        names
            .filter(|name| self.cell(name) == cell)
            .take(number)
            .collect()
    }
}

fn document(plan: &str, limits: Value, routes: &[Option<&str>]) -> Value {
    let routes: Vec<_> = routes
        .iter()
        .enumerate()
        .map(|(index, rate)| {
            let mut route = json!({ "prefix": format!("/r{index}"), "agents": ["a"] });
            if let Some(rate) = rate {
                route["rate_limit"] = json!({ "requests": rate });
            }
            route
        })
        .collect();
    json!({
        "clients": { "validator": { "cluster": "auth", "path": "/" }, "default_plan": "standard" },
        "plans": { "standard": { "requests": plan } },
        "limits": limits,
        "agents": { "a": { "cluster": "a" } },
        "routes": routes,
        "tables": { "keys": 1024, "counters": 1024, "address_counters": 1024 },
    })
}

/// A plan and no other limit.
fn plan(requests: &str, burst: Option<u64>) -> Value {
    let mut document = document(requests, json!([]), &[None]);
    if let Some(burst) = burst {
        document["plans"]["standard"]["burst"] = json!(burst);
    }
    document
}

#[test]
fn a_request_refused_by_one_limit_takes_nothing_from_the_others() {
    let world = World::new(document("10/hour", json!([]), &[Some("1/hour"), None]));
    let worker = world.worker();
    assert!(!worker.admit("acme", 0).is_refused());
    for _ in 0..5 {
        let count = worker.admit("acme", 0);
        assert_eq!(full(&count), ["route"]);
    }
    // One was let through on the limited route, and this is the second.
    assert_eq!(worker.remaining("acme", 1), 8);
}

#[test]
fn limits_in_several_cells_are_all_left_alone_when_one_is_full() {
    let limits = json!([
        { "name": "everyone", "each": [], "requests": "1/hour" },
        { "name": "per-route", "each": "route", "requests": "5/hour" },
    ]);
    let world = World::new(document("10/hour", limits, &[None]));
    let worker = world.worker();
    assert!(!worker.admit("acme", 0).is_refused());
    let refused = worker.admit("other", 0);
    assert_eq!(full(&refused), ["everyone"]);
    let fields = refused.fields(Tell::ALL);
    assert_eq!(
        fields[0].1,
        "\"plan\";q=10;w=3600, \"per-route\";q=5;w=3600, \"everyone\";q=1;w=3600"
    );
    assert_eq!(fields[1].1, "\"everyone\";r=0;t=3600");
    let levels: Vec<_> = (0..3)
        .map(|_| worker.admit("other", 0).fields(Tell::ALL))
        .collect();
    assert!(levels.iter().all(|level| level == &levels[0]), "{levels:?}");
}

#[test]
fn a_client_of_many_limited_routes_is_refused_by_none_of_them_early() {
    let routes = vec![Some("5/hour"); 100];
    let world = World::new(document("1000/hour", json!([]), &routes));
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
            json!([{ "name": "per-route", "each": "route", "requests": "900/hour" }]),
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
    let world = World::new(document("1/hour", json!([]), &[Some("1/hour")]));
    let worker = world.worker();
    assert!(!worker.admit("acme", 0).is_refused());
    assert!(worker.admit("acme", 0).is_refused());
    assert!(!worker.admit("other", 0).is_refused());
    let anonymous = |name: &'static [u8]| {
        let asked = Asked {
            route: Some(RouteId(0)),
            ..Asked::by(Caller::Address(name))
        };
        let count = (worker.limits).admit(&worker.host, asked, Amounts::ONE_REQUEST);
        count.unwrap().is_refused()
    };
    assert!(!anonymous(b"acme"));
    assert!(anonymous(b"acme"));
}

#[test]
fn callers_without_a_name_have_a_table_of_their_own() {
    let limits = json!([{ "name": "address", "each": "address", "requests": "5/hour" }]);
    let world = World::new(document("5/hour", limits, &[Some("5/hour")]));
    let worker = world.worker();
    let tables = Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = Rc::clone(&tables);
    worker
        .host
        .before_swap(move |cell| seen.borrow_mut().push(char::from(cell.table)));
    worker
        .limits
        .gate(&worker.host, from(b"192.0.2.1"))
        .unwrap();
    let anonymous = Caller::Address(b"192.0.2.1");
    let asked = Asked {
        route: Some(RouteId(0)),
        ..Asked::by(anonymous)
    };
    let count = (worker.limits).admit(&worker.host, asked, Amounts::ONE_REQUEST);
    assert!(!count.unwrap().is_refused());
    assert!(worker.passes("acme"));
    assert_eq!(*tables.borrow(), ['a', 'a', 'c']);
}

#[test]
fn no_configuration_has_more_counters_of_one_caller_than_fit_a_cell() {
    let each = |each: Value| -> Value {
        let limit =
            |number| json!({"name": format!("l{number}"), "each": each, "requests": "500/hour"});
        (0..32).map(limit).collect()
    };
    for (limits, routes) in [
        (each(json!("client")), 4096),
        (each(json!(["client", "route"])), 4096),
        (each(json!("address")), 40),
        (each(json!([])), 9),
        (json!([]), 4096),
    ] {
        let mut document = document("500/hour", limits, &vec![Some("5/hour"); routes]);
        document["routes"][0]["auth_required"] = json!(false);
        let world = World::new(document);
        let clients = CountersOfOne::client(&world.policy).in_one_cell;
        let addresses = CountersOfOne::address(&world.policy).in_one_cell;
        let most = counters::MOST_RECORDS_PER_CELL as usize;
        assert!(clients * 2 <= most && addresses * 2 <= most);
        // And it is reckoned rightly: a client that goes everywhere fills its cell as far, and others hardly further.
        if routes <= 40 {
            let worker = world.worker();
            for route in 0..routes {
                worker.admit("acme", route);
            }
            let value = crate::state::read(&worker.host, worker.cell("acme"))
                .unwrap()
                .0;
            let bytes = |number: usize| {
                counters::HEAD_BYTES as usize + number * counters::RECORD_BYTES as usize
            };
            assert!(value.len() >= bytes(clients) && value.len() < bytes(most));
        }
    }
}
