//! A route's canary: which requests try it, and what becomes of it.

use serde_json::json;

use super::*;

fn world(more: &serde_json::Value) -> World {
    World::with(|document| {
        let mut canary = json!({"agent": "new", "percent": 100, "header": "x-canary"});
        canary
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        document["agents"]["new"] = json!({"cluster": "cluster-new", "max_in_flight": 1});
        document["routes"] = json!([
            {"prefix": "/open", "agents": ["one"], "auth_required": false, "canary": canary, "idle_timeout": "5s"},
        ]);
    })
}

/// Has one request answered with this status; where it went.
fn ask(world: &mut World, id: u32, status: &str, headers: &[(&str, &str)]) -> String {
    let id = StreamId(id);
    assert_eq!(world.request(id, "GET", "/open", headers), Flow::Continue);
    let cluster = world.upstream(id, "x-waykeeper-cluster").unwrap();
    world.answered(id, &[(":status", status)]);
    world.gateway.on_log(id, &world.host.io(id));
    cluster
}

fn counted(world: &World, outcome: &str) -> u64 {
    world.host.metric(&format!(
        "waykeeper_canary_requests_total;route=/open;agent=new;outcome={outcome};"
    ))
}

/// How often it was told that the canary is aborted. This host counts what it is told of a gauge, and is told once as the
/// configuration comes.
fn aborted(world: &World) -> u64 {
    let told = "waykeeper_canary_aborted;route=/open;agent=new;";
    world.host.metric(told) - 1
}

#[test]
fn a_caller_says_whether_it_is_the_canary_that_answers() {
    let mut world = world(&json!({"percent": 0}));
    for (headers, cluster) in [
        (&[][..], "cluster-one"),
        (&[("x-canary", "always")], "cluster-new"),
        (&[("x-canary", "never")], "cluster-one"),
        (&[("x-agent", "new")], "cluster-new"),
        (&[("x-agent", "one"), ("x-canary", "true")], "cluster-one"),
    ] {
        assert_eq!(ask(&mut world, 1, "200", headers), cluster, "{headers:?}");
    }
    assert_eq!(counted(&world, "answered"), 1, "by its header alone");
    let mut world = self::world(&json!({}));
    assert_eq!(ask(&mut world, 1, "200", &[]), "cluster-new");
    assert_eq!(
        ask(&mut world, 1, "200", &[("x-canary", "never")]),
        "cluster-one"
    );
}

#[test]
fn a_canary_that_fails_gets_nothing_any_more_but_by_its_callers_word() {
    let mut world = world(&json!({"abort_at": "10%"}));
    for number in 0..50 {
        assert_eq!(aborted(&world), 0);
        world.host.call_from(&format!("192.0.2.{number}:1"));
        let status = ["500", "404", "404", "999", "404"][number % 5];
        assert_eq!(ask(&mut world, 1, status, &[]), "cluster-new", "{number}");
    }
    assert_eq!(
        (counted(&world, "answered"), counted(&world, "failed")),
        (30, 20)
    );
    assert_eq!(aborted(&world), 1);
    assert_eq!(ask(&mut world, 1, "200", &[]), "cluster-one");
    assert_eq!(
        ask(&mut world, 1, "200", &[("x-canary", "always")]),
        "cluster-new"
    );
}

#[test]
fn what_one_client_provokes_aborts_no_canary_for_others_and_that_it_is_gone_does() {
    let mut world = world(&json!({"abort_at": "0%"}));
    for _ in 0..60 {
        for (address, status) in [("192.0.2.1:1", "500"), ("192.0.2.2:1", "200")] {
            world.host.call_from(address);
            assert_eq!(ask(&mut world, 1, status, &[]), "cluster-new");
        }
    }
    assert_eq!((counted(&world, "failed"), aborted(&world)), (60, 0));
    // Two of them have failed, and one of these for want of a connection.
    world.request(StreamId(1), "GET", "/open", &[]);
    world.answered_by_host(StreamId(1), 503, true);
    (world.gateway).on_log(StreamId(1), &world.host.io(StreamId(1)));
    assert_eq!(aborted(&world), 1);
}

#[test]
fn what_callers_send_to_it_themselves_does_not_abort_it_nor_what_never_came_there() {
    let mut world = world(&json!({"abort_at": "0%"}));
    for number in 0..60 {
        ask(&mut world, 1, "500", &[("x-canary", "always")]);
        // Its caller does not wait; one has no place; and for one the gateway cannot find out whether there is one.
        let (left, full, failed) = (StreamId(2), StreamId(3), StreamId(4));
        assert_eq!(world.request(left, "GET", "/open", &[]), Flow::Continue);
        world.request(full, "GET", "/open", &[]);
        assert!(world.stream(full).reply.is_some(), "{number}");
        world.host.refuse(|_, cell| cell.table == b'i');
        world.request(failed, "GET", "/open", &[]);
        assert_eq!(world.stream(failed).reply.map(|it| it.status), Some(503));
        world.host.refuse(|_, _| false);
        for id in [left, full, failed] {
            world.gateway.on_log(id, &world.host.io(id));
        }
    }
    assert_eq!(
        (counted(&world, "failed"), counted(&world, "answered")),
        (60, 0)
    );
    assert_eq!(aborted(&world), 0);
}

#[test]
fn an_agent_that_is_gone_late_or_breaks_off_has_failed() {
    let mut world = world(&json!({"abort_at": "99%"}));
    for (status, unreached, expected) in [
        (503, true, 1),
        (504, false, 2),
        (502, false, 3),
        (408, false, 3),
    ] {
        let id = StreamId(1);
        world.request(id, "GET", "/open", &[]);
        world.answered_by_host(id, status, unreached);
        world.gateway.on_log(id, &world.host.io(id));
        assert_eq!(counted(&world, "failed"), expected, "{status}");
    }
    let id = StreamId(2);
    world.request(id, "GET", "/open", &[]);
    world.answered(id, &[(":status", "200")]);
    world.host.break_off(id);
    world.gateway.on_log(id, &world.host.io(id));
    assert_eq!(
        (counted(&world, "failed"), counted(&world, "answered")),
        (4, 0)
    );
}

#[test]
fn a_canary_of_which_nothing_is_known_gets_nothing() {
    let mut world = world(&json!({"abort_at": "5%"}));
    assert_eq!(ask(&mut world, 1, "200", &[]), "cluster-new");
    world.host.refuse(|_, cell| cell.table == b'n');
    assert_eq!(ask(&mut world, 1, "200", &[]), "cluster-one");
}
