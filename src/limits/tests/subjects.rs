//! What limits are counted per, and which requests count.

use super::*;
use crate::config::policy::AgentId;
use crate::host::HeaderBlock;

/// A request of a client of a team, an organisation and a plan, by one of its keys, on a route to an agent.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) client: &'a str,
    pub(super) key: &'a str,
    pub(super) team: Option<&'a str>,
    pub(super) organisation: Option<&'a str>,
    pub(super) plan: usize,
    pub(super) route: usize,
    pub(super) agent: usize,
    pub(super) method: &'a str,
    pub(super) tenant: Option<&'a str>,
    pub(super) address: &'a str,
}

pub(super) const CALL: Call<'_> = Call {
    client: "acme",
    key: "one",
    team: Some("blue"),
    organisation: Some("acme-inc"),
    plan: 0,
    route: 0,
    agent: 0,
    method: "POST",
    tenant: Some("t1"),
    address: "192.0.2.1",
};

pub(super) fn world(limits: Value) -> World {
    World::new(json!({
        "clients": { "validator": { "cluster": "auth", "path": "/" } },
        "plans": { "free": {}, "paid": {} },
        "limits": limits,
        "agents": { "a": { "cluster": "a" }, "b": { "cluster": "b" } },
        "routes": [{ "prefix": "/r0", "agents": ["a", "b"] }, { "prefix": "/r1", "agents": ["a", "b"] }],
        "tables": { "keys": 1024, "counters": 1024, "address_counters": 1024 },
    }))
}

fn headers(tenant: Option<&str>) -> HeaderBlock {
    let pairs: Vec<_> = tenant
        .map(|tenant| ("x-tenant", tenant))
        .into_iter()
        .collect();
    HeaderBlock::from_pairs(&pairs)
}

impl Worker {
    pub(super) fn call(&self, call: Call<'_>) -> Admission {
        let headers = headers(call.tenant);
        let asked = Asked {
            caller: Caller::Client(call.client),
            key: Some(call.key.as_bytes()),
            plan: Some(PlanId(call.plan)),
            own: None,
            team: call.team,
            organisation: call.organisation,
            address: Some(call.address.as_bytes()),
            route: Some(RouteId(call.route)),
            agent: Some(AgentId(call.agent)),
            method: call.method.as_bytes(),
            headers: Some(&headers),
            tool: None,
            further: &[],
        };
        (self.limits)
            .admit(&self.host, asked, Amounts::ONE_REQUEST)
            .unwrap()
    }

    pub(super) fn lets(&self, call: Call<'_>) -> bool {
        !self.call(call).is_refused()
    }
}

/// A limit of one request an hour.
fn one(each: Value) -> Value {
    json!([{ "name": "one", "each": each, "requests": "1/hour" }])
}

#[test]
fn a_limit_counts_once_for_each_of_its_subjects_and_for_nothing_else() {
    let others = [
        ("key", Call { key: "two", ..CALL }),
        (
            "client",
            Call {
                client: "globex",
                ..CALL
            },
        ),
        (
            "team",
            Call {
                team: Some("red"),
                ..CALL
            },
        ),
        (
            "organisation",
            Call {
                organisation: Some("globex-inc"),
                ..CALL
            },
        ),
        (
            "address",
            Call {
                address: "192.0.2.2",
                ..CALL
            },
        ),
        ("route", Call { route: 1, ..CALL }),
        ("agent", Call { agent: 1, ..CALL }),
        ("plan", Call { plan: 1, ..CALL }),
        (
            "x-tenant",
            Call {
                tenant: Some("t2"),
                ..CALL
            },
        ),
    ];
    let subject = |name: &str| match name {
        "x-tenant" => json!({ "header": "X-Tenant" }),
        name => json!(name),
    };
    let pairs = others
        .iter()
        .flat_map(|(one, _)| others.iter().map(move |(two, _)| (*one, *two)));
    for (first, second) in pairs {
        let mut each = vec![subject(first)];
        if second != first {
            each.push(subject(second));
        }
        // That of addresses alone, or with what is known at the gate, counts there.
        let gate = ["address", "route", "x-tenant"];
        if each.contains(&json!("address")) && [first, second].iter().all(|it| gate.contains(it)) {
            continue;
        }
        let world = world(one(json!(each)));
        let worker = world.worker();
        assert!(worker.lets(CALL), "{each:?}");
        for (changed, call) in &others {
            let counted_apart = [first, second].contains(changed);
            assert_eq!(
                worker.lets(*call),
                counted_apart,
                "{each:?}: another {changed}"
            );
        }
        assert!(!world.worker().lets(CALL), "{each:?}");
    }
}

#[test]
fn who_has_no_team_is_not_counted_by_teams_and_a_missing_header_is_one_value() {
    let teams = world(one(json!("team"))).worker();
    let nobody = Call { team: None, ..CALL };
    assert!(teams.lets(nobody) && teams.lets(nobody));
    let tenants = world(one(json!({ "header": "x-tenant" }))).worker();
    let unnamed = Call {
        tenant: None,
        ..CALL
    };
    assert!(tenants.lets(unnamed) && !tenants.lets(unnamed) && tenants.lets(CALL));
}

#[test]
fn all_levels_are_checked_at_once_and_the_full_ones_are_named() {
    let worker = world(json!([
        { "name": "of-key", "each": "key", "requests": "2/hour" },
        { "name": "of-client", "each": "client", "requests": "3/hour" },
        { "name": "of-team", "each": "team", "requests": "4/hour" },
        { "name": "of-organisation", "each": "organisation", "requests": "5/hour" },
    ]))
    .worker();
    let refusing = |call| {
        let count = worker.call(call);
        let full = count
            .full()
            .map(|full| (full.name.to_owned(), full.per.to_owned()));
        full.collect::<Vec<_>>()
    };
    let full = |names: &[&str]| -> Vec<(String, String)> {
        let named = |name: &&str| (format!("of-{name}"), (*name).to_owned());
        names.iter().map(named).collect()
    };
    for _ in 0..2 {
        assert_eq!(refusing(CALL), []);
    }
    assert_eq!(refusing(CALL), full(&["key"]));
    let other_key = Call { key: "two", ..CALL };
    assert_eq!(refusing(other_key), []);
    assert_eq!(refusing(other_key), full(&["client"]));
    let colleague = Call {
        client: "carol",
        key: "three",
        ..CALL
    };
    assert_eq!(refusing(colleague), []);
    assert_eq!(refusing(colleague), full(&["team"]));
    let other_team = Call {
        team: Some("red"),
        client: "dave",
        key: "four",
        ..CALL
    };
    assert_eq!(refusing(other_team), []);
    assert_eq!(refusing(other_team), full(&["organisation"]));
}

#[test]
fn a_limit_counts_only_what_matches_all_its_conditions() {
    for (scope, outside) in [
        (json!({ "route": "/r0" }), Call { route: 1, ..CALL }),
        (json!({ "agent": ["a"] }), Call { agent: 1, ..CALL }),
        (
            json!({ "method": ["POST", "PUT"] }),
            Call {
                method: "GET",
                ..CALL
            },
        ),
        (json!({ "plan": "free" }), Call { plan: 1, ..CALL }),
        (
            json!({ "team": ["blue", "green"] }),
            Call { team: None, ..CALL },
        ),
        (
            json!({ "header": { "x-tenant": ["t1", "t3"] } }),
            Call {
                tenant: Some("t2"),
                ..CALL
            },
        ),
        (
            json!({ "route": "/r0", "plan": "free" }),
            Call { plan: 1, ..CALL },
        ),
    ] {
        let limit = json!([{ "name": "one", "each": [], "match": scope, "requests": "1/hour" }]);
        let worker = world(limit).worker();
        assert!(worker.lets(outside) && worker.lets(outside), "{scope}");
        assert!(worker.lets(CALL) && !worker.lets(CALL), "{scope}");
        assert!(worker.lets(outside), "{scope}");
        assert_eq!(worker.call(outside).fields(Tell::ALL), [], "{scope}");
    }
}

#[test]
fn the_gate_counts_an_address_on_each_route_and_of_each_header() {
    let world = world(json!([
        { "name": "on-route", "each": ["address", "route"], "requests": "1/hour" },
    ]));
    let worker = world.worker();
    let lets = |address: &[u8], route: Option<usize>| {
        let asked = Asked {
            route: route.map(RouteId),
            ..from(address)
        };
        !worker
            .limits
            .gate(&worker.host, asked)
            .unwrap()
            .is_refused()
    };
    assert!(lets(b"one", Some(0)) && !lets(b"one", Some(0)));
    assert!(lets(b"one", Some(1)) && lets(b"two", Some(0)));
    assert!(lets(b"one", None) && lets(b"one", None));
    assert_eq!(worker.call(CALL).fields(Tell::ALL), []);
}

#[test]
fn plans_hold_further_limits_and_a_clients_own_stand_in_their_place() {
    let world = World::new(json!({
        "clients": { "validator": { "cluster": "auth", "path": "/" }, "keys": [
            { "sha256": "0".repeat(64), "client_id": "acme", "plan": "free",
              "limits": { "requests": "4/hour", "limits": [{ "name": "monthly", "requests": "3/month", "algorithm": "fixed_window" }] } },
        ] },
        "plans": { "free": { "requests": "9/hour", "limits": [
            { "name": "daily", "each": "client", "requests": "2/day" },
            { "name": "team", "each": "team", "requests": "3/day" },
        ] } },
        "agents": { "a": { "cluster": "a" } },
        "routes": [{ "prefix": "/", "agents": ["a"] }],
        "tables": { "keys": 1024, "counters": 1024, "address_counters": 1024 },
    }));
    let worker = world.worker();
    assert!(worker.lets(CALL) && worker.lets(CALL));
    assert_eq!(full(&worker.call(CALL)), ["daily"]);
    let colleague = Call {
        client: "carol",
        ..CALL
    };
    assert!(worker.lets(colleague));
    assert_eq!(full(&worker.call(colleague)), ["team"]);

    let own = world.policy.clients.keys[0].client.limits.clone();
    let asked = Asked {
        own: own.as_ref(),
        plan: Some(PlanId(0)),
        route: Some(RouteId(0)),
        ..Asked::by(Caller::Client("acme"))
    };
    let admit = || {
        (worker.limits)
            .admit(&worker.host, asked, Amounts::ONE_REQUEST)
            .unwrap()
    };
    assert_eq!(
        admit().fields(Tell::ALL)[0].1,
        r#""plan";q=4;w=3600, "monthly";q=3;w=2678400"#
    );
    assert!(!admit().is_refused() && !admit().is_refused());
    assert_eq!(full(&admit()), ["monthly"]);
}

#[test]
fn a_plans_limit_per_address_counts_addresses_and_not_clients() {
    let world = World::new(json!({
        "clients": { "validator": { "cluster": "auth", "path": "/" } },
        "plans": { "free": { "limits": [{ "name": "address", "each": "address", "requests": "1/hour" }] } },
        "agents": { "a": { "cluster": "a" } },
        "routes": [{ "prefix": "/", "agents": ["a"] }],
        "tables": { "keys": 1024, "counters": 1024, "address_counters": 1024 },
    }));
    let worker = world.worker();
    assert!(
        worker
            .limits
            .need_address(Some(PlanId(0)), RouteId(0), None, false)
    );
    assert!(!worker.limits.has_gate());
    assert!(worker.lets(CALL) && !worker.lets(CALL));
    assert!(!worker.lets(Call {
        client: "globex",
        ..CALL
    }));
    assert!(worker.lets(Call {
        address: "192.0.2.9",
        ..CALL
    }));
}

#[test]
fn whoever_sends_many_values_of_a_header_puts_out_no_other_limit() {
    let world = world(json!([
        { "name": "client", "each": "client", "requests": "1/hour" },
        { "name": "tenant", "each": [{ "header": "x-tenant" }], "requests": "1000/hour" },
    ]));
    let worker = world.worker();
    assert!(worker.lets(CALL));
    for number in 0..40_000 {
        let (tenant, client) = (format!("t{number}"), format!("c{}", number % 100));
        worker.call(Call {
            tenant: Some(&tenant),
            client: &client,
            ..CALL
        });
    }
    assert!(!worker.lets(CALL));
}
