//! Agents that may rest: whose turn it is, and what is held against them.

use serde_json::json;

use super::*;
use crate::host::simulated::Access;
use crate::host::{AgentFault, AttemptEnd};
use crate::lifecycle::Attempts;

fn world(more: &serde_json::Value) -> World {
    World::with(|document| {
        let mut rest = json!({"failures": 2, "first": "10s"});
        rest.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        document["agents"]["one"]["rest"] = rest;
        document["agents"]["two"]["weight"] = json!(1);
        document["routes"] = json!([
            {"prefix": "/both", "agents": ["one", "two"], "auth_required": false, "timeout": "7s", "streams": true},
            {"prefix": "/only", "agents": ["one"], "auth_required": false, "rate_limit": {"requests": "1000/hour"}},
        ]);
    })
}

/// A request of the caller at this address, which goes to this cluster, or is refused with this code.
fn begin(world: &mut World, id: u32, path: &str, address: &str) -> Result<String, String> {
    let id = StreamId(id);
    world.host.call_from(address);
    let flow = world.request(id, "GET", path, &[]);
    world
        .gateway
        .on_request_body(id, &world.host.io(id), 0, true);
    match flow {
        Flow::Continue => Ok(world.upstream(id, "x-waykeeper-cluster").unwrap()),
        _ => Err(world.refusal(id).unwrap()),
    }
}

const HERE: &str = "192.0.2.1:1";
const THERE: &str = "192.0.2.2:1";

fn end(world: &mut World, id: u32) {
    let id = StreamId(id);
    world.gateway.on_log(id, &world.host.io(id));
    world.gateway.on_end(id);
}

/// Has one request answered with these headers.
fn ask(world: &mut World, path: &str, address: &str, answer: &[(&str, &str)]) -> Option<String> {
    let cluster = begin(world, 1, path, address).ok();
    if cluster.is_some() {
        world.answered(StreamId(1), answer);
        world.answer_passes(StreamId(1), true);
    }
    end(world, 1);
    cluster
}

/// Two callers' requests fail.
fn fail(world: &mut World) {
    for address in [HERE, THERE] {
        assert!(ask(world, "/only", address, &[(":status", "503")]).is_some());
    }
}

fn failures(world: &World, reason: &str) -> u64 {
    let name = format!("waykeeper_agent_failures_total;agent=one;outcome={reason};");
    world.host.metric(&name)
}

#[test]
fn an_agent_rests_is_probed_by_one_and_returns() {
    let mut world = world(&json!({}));
    fail(&mut world);
    for _ in 0..50 {
        let cluster = ask(&mut world, "/both", HERE, &[(":status", "200")]);
        assert_eq!(cluster.unwrap(), "cluster-two");
    }
    let refused = begin(&mut world, 1, "/only", HERE);
    assert_eq!(refused.unwrap_err(), "agents_resting");
    let reply = world.stream(StreamId(1)).reply.unwrap();
    let wait = reply
        .headers
        .iter()
        .find(|(name, _)| *name == "retry-after");
    let wait: u64 = wait.unwrap().1.parse().unwrap();
    assert!((9..=11).contains(&wait), "{wait}");
    end(&mut world, 1);

    world.process.pass(Duration::from_secs(11));
    assert_eq!(begin(&mut world, 1, "/only", HERE).unwrap(), "cluster-one");
    for id in 2..50 {
        assert_eq!(begin(&mut world, id, "/both", HERE).unwrap(), "cluster-two");
        assert_eq!(
            begin(&mut world, id + 100, "/only", HERE).unwrap_err(),
            "agents_resting"
        );
    }
    world.answered(StreamId(1), &[(":status", "200")]);
    assert_eq!(
        begin(&mut world, 200, "/only", HERE).unwrap(),
        "cluster-one"
    );
}

#[test]
fn a_probe_that_never_reaches_the_agent_or_whose_caller_leaves_is_given_back() {
    let mut world = world(&json!({}));
    fail(&mut world);
    world.process.pass(Duration::from_secs(11));
    // It would be the probe, and is refused by a limit.
    world
        .host
        .refuse(|access, cell| access == Access::Swap && cell.table != b'h');
    let refused = begin(&mut world, 1, "/only", HERE);
    assert_eq!(refused.unwrap_err(), "limits_unavailable");
    world.host.refuse(|_, _| false);
    end(&mut world, 1);
    // Others' come first.
    assert!(begin(&mut world, 2, "/only", HERE).is_err());
    assert_eq!(begin(&mut world, 3, "/only", THERE).unwrap(), "cluster-one");
    assert!(begin(&mut world, 4, "/only", HERE).is_err());
    end(&mut world, 3);
    assert_eq!(begin(&mut world, 5, "/only", HERE).unwrap(), "cluster-one");
    end(&mut world, 5);
    assert!(begin(&mut world, 6, "/only", HERE).is_err());
    world.process.pass(Duration::from_secs(10));
    assert_eq!(begin(&mut world, 7, "/only", HERE).unwrap(), "cluster-one");
}

/// A request whose body is to come; where it goes, or the code that it is refused with.
fn begin_unsaid(world: &mut World, id: u32, address: &str) -> Result<String, String> {
    let id = StreamId(id);
    world.host.call_from(address);
    match world.request(id, "POST", "/only", &[("content-length", "9")]) {
        Flow::Continue => Ok(world.upstream(id, "x-waykeeper-cluster").unwrap()),
        _ => Err(world.refusal(id).unwrap()),
    }
}

#[test]
fn a_probe_keeps_others_away_for_a_second_until_all_of_it_is_said_and_then_for_ten() {
    let mut world = world(&json!({}));
    fail(&mut world);
    world.process.pass(Duration::from_secs(11));
    assert!(begin_unsaid(&mut world, 1, HERE).is_ok());
    world.process.pass(Duration::from_millis(999));
    assert!(begin(&mut world, 2, "/only", THERE).is_err());
    world.process.pass(Duration::from_millis(51));
    assert!(begin(&mut world, 3, "/only", THERE).is_ok());
    end(&mut world, 3);
    end(&mut world, 1);
    // One that is said a little later.
    assert!(begin_unsaid(&mut world, 4, "192.0.2.3:1").is_ok());
    world.process.pass(Duration::from_millis(900));
    let io = world.host.io(StreamId(4));
    let flow = (world.gateway).on_request_body(StreamId(4), &io, 9, true);
    assert!(matches!(flow, Flow::Continue));
    world.process.pass(Duration::from_millis(9_900));
    assert!(begin(&mut world, 5, "/only", THERE).is_err());
    world.process.pass(Duration::from_millis(151));
    assert!(begin(&mut world, 6, "/only", THERE).is_ok());
}

#[test]
fn what_is_no_failure_of_the_agent_is_not_held_against_it() {
    let mut world = world(&json!({}));
    for (number, status) in ["200", "404", "400", "302", "401"].into_iter().enumerate() {
        let address = [HERE, THERE][number % 2];
        ask(&mut world, "/only", address, &[(":status", status)]);
    }
    // The caller leaves; the host is at fault.
    for address in [HERE, THERE, HERE, THERE] {
        begin(&mut world, 1, "/only", address).unwrap();
        end(&mut world, 1);
        begin(&mut world, 1, "/only", address).unwrap();
        world.answered_by_host(StreamId(1), 500, false);
        end(&mut world, 1);
    }
    assert!(begin(&mut world, 1, "/only", HERE).is_ok());
    for reason in [
        "status",
        "busy",
        "late",
        "broken",
        "no_answer",
        "unconnected",
    ] {
        assert_eq!(failures(&world, reason), 0, "{reason}");
    }
}

#[test]
fn each_way_to_fail_has_its_name() {
    let mut world =
        world(&json!({"failures": 1000, "error_rate": "100%", "slow_first_token": "5s"}));
    ask(&mut world, "/only", HERE, &[(":status", "500")]);
    assert_eq!(failures(&world, "status"), 1);
    ask(&mut world, "/only", HERE, &[(":status", "429")]);
    assert_eq!(failures(&world, "busy"), 1);
    begin(&mut world, 1, "/only", HERE).unwrap();
    world.answered_by_host(StreamId(1), 503, true);
    end(&mut world, 1);
    assert_eq!(failures(&world, "unconnected"), 1);
    // Late; and left by its caller when it was.
    for answered in [true, false] {
        begin(&mut world, 1, "/only", HERE).unwrap();
        world.process.pass(Duration::from_secs(6));
        if answered {
            world.answered(StreamId(1), &[(":status", "200")]);
        }
        end(&mut world, 1);
    }
    assert_eq!(failures(&world, "late"), 2);
    // An answer that breaks off.
    begin(&mut world, 1, "/both", HERE).unwrap();
    while world.upstream(StreamId(1), "x-waykeeper-cluster").unwrap() != "cluster-one" {
        end(&mut world, 1);
        begin(&mut world, 1, "/both", HERE).unwrap();
    }
    world.answered(StreamId(1), &[(":status", "200")]);
    world.host.break_off(StreamId(1));
    end(&mut world, 1);
    assert_eq!(failures(&world, "broken"), 1);
    // None within the gateway's own bound.
    while begin(&mut world, 1, "/both", HERE).unwrap() != "cluster-one" {
        end(&mut world, 1);
    }
    for _ in 0..9 {
        world.tick();
    }
    assert_eq!(world.refusal(StreamId(1)).unwrap(), "agent_timeout");
    end(&mut world, 1);
    assert_eq!(failures(&world, "no_answer"), 1);
}

#[test]
fn a_stream_that_is_deleted_before_it_is_logged_is_judged_once() {
    let mut world = world(&json!({"failures": 1}));
    begin(&mut world, 1, "/only", HERE).unwrap();
    world.answered(StreamId(1), &[(":status", "500")]);
    world.gateway.on_end(StreamId(1));
    world
        .gateway
        .on_log(StreamId(1), &world.host.io(StreamId(1)));
    assert_eq!(failures(&world, "status"), 1);
    assert!(begin(&mut world, 1, "/only", HERE).is_err());
}

#[test]
fn where_shared_memory_fails_no_agent_rests() {
    let mut world = world(&json!({}));
    fail(&mut world);
    world.process.pass(Duration::from_millis(51));
    world.host.refuse(|_, cell| cell.table == b'h');
    assert_eq!(begin(&mut world, 1, "/only", HERE).unwrap(), "cluster-one");
}

#[test]
fn other_workers_and_later_configurations_know_and_an_agent_elsewhere_begins_anew() {
    let mut world = world(&json!({}));
    fail(&mut world);
    let again = |cluster: &str| {
        let document = serde_json::json!({
            "agents": {"one": {"cluster": cluster, "rest": {}}},
            "routes": [{"prefix": "/only", "agents": ["one"], "auth_required": false}],
        });
        let policy = config::read(&document).unwrap();
        let mut other = World::of(&world.process, policy);
        begin(&mut other, 1, "/only", HERE)
    };
    assert_eq!(again("cluster-one").unwrap_err(), "agents_resting");
    assert_eq!(again("cluster-one~2").unwrap(), "cluster-one~2");
    assert_eq!(again("cluster-one").unwrap_err(), "agents_resting");
    assert!(begin(&mut world, 1, "/only", HERE).is_err());
}

#[test]
fn a_configuration_without_rest_has_no_cell_read_and_no_note_written() {
    let mut world = World::with(|document| {
        document["routes"] =
            json!([{"prefix": "/only", "agents": ["one"], "auth_required": false}]);
    });
    world
        .host
        .refuse(|_, cell| cell.table == b'h' && panic!("a cell of agents"));
    begin(&mut world, 1, "/only", HERE).unwrap();
    world.answered(StreamId(1), &[(":status", "500")]);
    assert!(world.stream(StreamId(1)).notes.is_empty());
    end(&mut world, 1);
}

/// What judges on the agent's side, of the same process.
fn attempts(world: &World) -> (Rc<SimulatedHost>, Attempts<SimulatedHost>) {
    let text = br#"{"attempts": {"agent": "one", "cluster": "cluster-one", "rest": {"failures": 2, "first": "10s", "each_attempt": true}}}"#;
    let Ok(config::Loaded::Attempts(policy)) = config::load_any(text, &|_| None) else {
        panic!("a configuration of the other kind")
    };
    let host = Rc::new(world.process.worker());
    (Rc::clone(&host), Attempts::new(host, *policy))
}

#[test]
fn each_attempt_is_judged_on_the_agents_side_by_the_word_of_the_callers() {
    let mut world = world(&json!({"each_attempt": true}));
    let (host, mut attempts) = attempts(&world);
    let attempt = StreamId(7);
    // Of each request two attempts fail, one without an answer; its caller counts once.
    for address in [HERE, THERE] {
        begin(&mut world, 1, "/only", address).unwrap();
        let note = world.stream(StreamId(1)).notes;
        for answered in [true, false] {
            host.begin(attempt, &[(":path", "/only")]);
            for (name, value) in &note {
                host.io(attempt)
                    .note(std::str::from_utf8(name).unwrap(), value);
            }
            attempts.on_request_headers(attempt, &host.io(attempt), true);
            if answered {
                host.respond(attempt, &[(":status", "503")]);
                attempts.on_response_headers(attempt, &host.io(attempt), true);
            } else {
                host.attempt_ends(attempt, AttemptEnd::Broken);
            }
            attempts.on_end(attempt, &host.io(attempt));
        }
        // What the caller gets is not judged again.
        world.answered(StreamId(1), &[(":status", "503")]);
        end(&mut world, 1);
    }
    assert_eq!(failures(&world, "status"), 0);
    world.process.pass(Duration::from_millis(51));
    assert!(begin(&mut world, 1, "/only", HERE).is_err());
    end(&mut world, 1);

    // The probe is known there, and given back by nobody once it was heard.
    world.process.pass(Duration::from_secs(11));
    begin(&mut world, 1, "/only", "192.0.2.3:1").unwrap();
    host.begin(attempt, &[(":path", "/only")]);
    for (name, value) in &world.stream(StreamId(1)).notes {
        host.io(attempt)
            .note(std::str::from_utf8(name).unwrap(), value);
    }
    attempts.on_request_headers(attempt, &host.io(attempt), true);
    host.respond(attempt, &[(":status", "200")]);
    attempts.on_response_headers(attempt, &host.io(attempt), false);
    world.process.pass(Duration::from_millis(51));
    assert!(
        begin(&mut world, 2, "/only", HERE).is_ok(),
        "it has begun to answer"
    );
    end(&mut world, 1);
}

#[test]
fn on_the_agents_side_what_no_gateway_has_sent_counts_nothing_and_neither_do_callers_that_leave() {
    let mut world = world(&json!({"each_attempt": true}));
    let (host, mut attempts) = attempts(&world);
    for number in 0..10 {
        let attempt = StreamId(number);
        host.begin(attempt, &[(":path", "/only")]);
        attempts.on_request_headers(attempt, &host.io(attempt), true);
        host.respond(attempt, &[(":status", "503")]);
        attempts.on_response_headers(attempt, &host.io(attempt), true);
        attempts.on_end(attempt, &host.io(attempt));
        // One whose caller leaves.
        host.begin(attempt, &[(":path", "/only")]);
        attempts.on_request_headers(attempt, &host.io(attempt), true);
        host.attempt_ends(attempt, AttemptEnd::Left);
        attempts.on_end(attempt, &host.io(attempt));
    }
    assert!(begin(&mut world, 1, "/only", HERE).is_ok());
}

#[test]
fn on_the_agents_side_a_connection_that_does_not_come_at_once_counts_and_one_for_which_there_is_no_room_does_not()
 {
    let mut world = world(&json!({"each_attempt": true}));
    let (host, mut attempts) = attempts(&world);
    let attempt = StreamId(7);
    for (waited, rests) in [(100, false), (300, true)] {
        for address in [HERE, THERE] {
            begin(&mut world, 1, "/only", address).unwrap();
            host.begin(attempt, &[(":path", "/only")]);
            for (name, value) in &world.stream(StreamId(1)).notes {
                host.io(attempt)
                    .note(std::str::from_utf8(name).unwrap(), value);
            }
            attempts.on_request_headers(attempt, &host.io(attempt), true);
            world.process.pass(Duration::from_millis(waited));
            host.attempt_ends(attempt, AttemptEnd::Waited);
            attempts.on_end(attempt, &host.io(attempt));
            end(&mut world, 1);
        }
        world.process.pass(Duration::from_millis(51));
        assert_eq!(begin(&mut world, 1, "/only", HERE).is_err(), rests);
        end(&mut world, 1);
    }
}

#[test]
fn without_the_gateways_tables_attempts_pass_unjudged() {
    let text = br#"{"attempts": {"agent": "one", "cluster": "c", "rest": {}}}"#;
    let Ok(config::Loaded::Attempts(policy)) = config::load_any(text, &|_| None) else {
        panic!("a configuration of the other kind")
    };
    let host = Rc::new(Process::default().worker());
    let mut attempts = Attempts::new(Rc::clone(&host), *policy);
    host.begin(STREAM, &[(":path", "/")]);
    attempts.on_request_headers(STREAM, &host.io(STREAM), false);
    attempts.on_request_end(STREAM);
    host.respond(STREAM, &[(":status", "500")]);
    attempts.on_response_headers(STREAM, &host.io(STREAM), false);
    attempts.on_response_end(STREAM, &host.io(STREAM));
    attempts.on_end(STREAM, &host.io(STREAM));
}

#[test]
fn that_an_agent_has_no_healthy_host_counts_also_where_each_attempt_is_judged_elsewhere() {
    let mut world = world(&json!({"each_attempt": true}));
    for _ in 0..2 {
        begin(&mut world, 1, "/only", HERE).unwrap();
        let answer = OwnAnswer {
            status: 503,
            unreached: true,
            asks_credential: false,
            fault: Some(AgentFault::NoHost),
        };
        world.host.respond_itself(StreamId(1), answer);
        let io = world.host.io(StreamId(1));
        world.gateway.on_response_headers(StreamId(1), &io, true);
        end(&mut world, 1);
    }
    assert!(begin(&mut world, 1, "/only", HERE).is_err());
}

/// Routes on which the second agent, or the third, stands in for the first. `one` and `two` rest after two failures.
fn lists(one: &serde_json::Value, two: &serde_json::Value) -> World {
    World::with(|document| {
        for (name, more) in [("one", one), ("two", two)] {
            let mut rest = json!({"failures": 2, "first": "10s"});
            let fields = rest.as_object_mut().unwrap();
            fields.extend(more.as_object().unwrap().clone());
            document["agents"][name]["rest"] = rest;
        }
        document["agents"]["three"] = json!({"cluster": "cluster-three"});
        let open = |prefix: &str, agent: &str, fallback: &[&str]| json!({"prefix": prefix, "agents": [agent], "fallback": fallback, "auth_required": false});
        document["routes"] = json!([
            open("/list", "one", &["two", "three"]),
            open("/pair", "one", &["two"]),
            {"prefix": "/back", "agents": [{"agent": "two", "weight": 1}], "fallback": ["one"], "auth_required": false},
            {"prefix": "/only-one", "agents": ["one"], "auth_required": false},
            {"prefix": "/only-two", "agents": [{"agent": "two", "weight": 1}], "auth_required": false},
        ]);
    })
}

/// A request of the caller at this address, and the clusters at which it is tried, or the code that it is refused with.
fn order(world: &mut World, id: u32, path: &str, address: &str) -> Result<Vec<String>, String> {
    let id = StreamId(id);
    world.host.call_from(address);
    let flow = world.request(id, "GET", path, &[]);
    let io = world.host.io(id);
    world.gateway.on_request_body(id, &io, 0, true);
    if flow != Flow::Continue {
        return Err(world.refusal(id).unwrap());
    }
    let headers = ["x-waykeeper-cluster", "x-waykeeper-further"];
    let first = headers
        .into_iter()
        .find_map(|name| world.upstream(id, name));
    let notes = ["waykeeper_cluster_2", "waykeeper_cluster_3"];
    let next = notes.into_iter().filter_map(|name| io.noted(name));
    let next = next.map(|cluster| String::from_utf8(cluster).unwrap());
    let all = first.into_iter().chain(next);
    Ok(all.map(|it| it.replace("cluster-", "")).collect())
}

/// Has a request be tried at agents up to this one, which answers so.
fn answered_at(world: &mut World, path: &str, address: &str, agent: &str, status: &str) {
    order(world, 1, path, address).unwrap();
    world.host.try_at(StreamId(1), &format!("cluster-{agent}"));
    world.answered(StreamId(1), &[(":status", status)]);
    world.answer_passes(StreamId(1), true);
    end(world, 1);
}

#[test]
fn what_another_agent_of_the_list_answers_is_that_ones_and_the_first_has_failed() {
    let mut world = lists(&json!({}), &json!({}));
    for address in [HERE, THERE] {
        answered_at(&mut world, "/list", address, "two", "200");
    }
    assert_eq!(failures(&world, "no_answer"), 2, "the first one's");
    world.process.pass(Duration::from_millis(51));
    let rests = order(&mut world, 1, "/only-one", HERE);
    assert_eq!(rests.unwrap_err(), "agents_resting");
    end(&mut world, 1);
    // The second one's failures are its own, also where it is the last that was asked.
    let mut world = lists(&json!({}), &json!({}));
    for address in [HERE, THERE] {
        answered_at(&mut world, "/list", address, "two", "503");
    }
    let name = "waykeeper_agent_failures_total;agent=two;outcome=status;";
    assert_eq!(world.host.metric(name), 2);
    world.process.pass(Duration::from_millis(51));
    assert!(order(&mut world, 1, "/only-two", HERE).is_err());
    end(&mut world, 1);
    // Both have failed where a third one answers.
    let mut world = lists(&json!({}), &json!({}));
    for address in [HERE, THERE] {
        answered_at(&mut world, "/list", address, "three", "503");
    }
    world.process.pass(Duration::from_millis(51));
    for path in ["/only-one", "/only-two"] {
        assert!(order(&mut world, 1, path, HERE).is_err(), "{path}");
        end(&mut world, 1);
    }
}

#[test]
fn an_agent_whose_429_is_ignored_is_not_judged_by_what_may_have_been_one() {
    let mut world = lists(&json!({"failures": 1, "on_429": "ignore"}), &json!({}));
    for address in [HERE, THERE] {
        answered_at(&mut world, "/list", address, "two", "200");
    }
    assert_eq!(failures(&world, "no_answer"), 0);
    world.process.pass(Duration::from_millis(51));
    assert!(order(&mut world, 1, "/only-one", HERE).is_ok());
    end(&mut world, 1);
}

#[test]
fn an_agent_behind_the_first_that_does_not_answer_in_time_has_failed_and_not_the_first() {
    let mut world = lists(&json!({"failures": 9}), &json!({"failures": 1}));
    order(&mut world, 1, "/list", HERE).unwrap();
    world.host.try_at(StreamId(1), "cluster-two");
    world.answered_by_host(StreamId(1), 503, true);
    end(&mut world, 1);
    let name = "waykeeper_agent_failures_total;agent=two;outcome=unconnected;";
    assert_eq!(world.host.metric(name), 1);
    assert_eq!(failures(&world, "no_answer"), 1);
}

#[test]
fn where_each_attempt_is_judged_on_its_agents_side_nothing_is_judged_twice() {
    let each = || json!({"each_attempt": true, "failures": 1});
    let mut world = lists(&each(), &each());
    answered_at(&mut world, "/list", HERE, "two", "503");
    assert_eq!(failures(&world, "no_answer"), 0);
    world.process.pass(Duration::from_millis(51));
    for path in ["/only-one", "/only-two"] {
        assert!(order(&mut world, 1, path, HERE).is_ok(), "{path}");
        end(&mut world, 1);
    }
}

/// Has both agents of a list rest.
fn fail_both(world: &mut World) {
    for path in ["/only-one", "/only-two"] {
        for address in [HERE, THERE] {
            assert!(ask(world, path, address, &[(":status", "503")]).is_some());
        }
    }
    world.process.pass(Duration::from_millis(51));
}

#[test]
fn a_request_goes_past_those_that_rest_and_where_all_do_its_caller_is_told_of_the_shortest_rest() {
    let mut world = lists(
        &json!({"first": "40s", "longest": "40s"}),
        &json!({"first": "10s"}),
    );
    assert_eq!(
        order(&mut world, 1, "/list", HERE).unwrap(),
        ["one", "two", "three"]
    );
    end(&mut world, 1);
    fail_both(&mut world);
    assert_eq!(order(&mut world, 1, "/list", HERE).unwrap(), ["three"]);
    end(&mut world, 1);
    assert_eq!(
        order(&mut world, 1, "/pair", HERE).unwrap_err(),
        "agents_resting"
    );
    let reply = world.stream(StreamId(1)).reply.unwrap();
    let told = reply
        .headers
        .iter()
        .find(|(name, _)| *name == "retry-after");
    let wait: u64 = told.unwrap().1.parse().unwrap();
    assert!((9..=11).contains(&wait), "{wait}");
    end(&mut world, 1);
}

#[test]
fn an_agent_behind_the_first_whose_rest_is_over_keeps_its_place_until_somebody_probes_it() {
    let mut world = lists(&json!({}), &json!({}));
    for address in [HERE, THERE] {
        ask(&mut world, "/only-two", address, &[(":status", "503")]);
    }
    world.process.pass(Duration::from_millis(51));
    assert_eq!(
        order(&mut world, 1, "/list", HERE).unwrap(),
        ["one", "three"]
    );
    end(&mut world, 1);
    world.process.pass(Duration::from_secs(11));
    // Requests whose first agent answers are none.
    for _ in 0..3 {
        answered_at(&mut world, "/list", HERE, "one", "200");
    }
    assert_eq!(
        order(&mut world, 1, "/list", HERE).unwrap(),
        ["one", "two", "three"]
    );
    assert_eq!(
        order(&mut world, 2, "/only-two", THERE).unwrap(),
        ["two"],
        "the probe"
    );
    assert_eq!(
        order(&mut world, 3, "/list", HERE).unwrap(),
        ["one", "three", "two"]
    );
    end(&mut world, 2);
    // The one that comes to it through the list is the probe.
    world.host.try_at(StreamId(1), "cluster-two");
    world.answered(StreamId(1), &[(":status", "200")]);
    end(&mut world, 1);
    assert!(order(&mut world, 4, "/only-two", HERE).is_ok());
    assert!(order(&mut world, 5, "/only-two", HERE).is_ok(), "fit");
}

#[test]
fn on_the_agents_side_an_attempt_that_comes_behind_another_to_an_agent_that_is_due_is_the_probe() {
    let each = || json!({"each_attempt": true});
    for (status, becomes) in [
        (Some("200"), "fit"),
        (Some("503"), "resting"),
        (None, "due"),
    ] {
        let mut world = lists(&each(), &each());
        let (host, mut attempts) = attempts(&world);
        let id = StreamId(7);
        let begin = |world: &mut World, attempts: &mut Attempts<SimulatedHost>, address: &str| {
            // Its first agent is another.
            assert_eq!(order(world, 1, "/back", address).unwrap(), ["two", "one"]);
            host.begin(id, &[(":path", "/")]);
            for (name, value) in &world.stream(StreamId(1)).notes {
                host.io(id).note(std::str::from_utf8(name).unwrap(), value);
            }
            attempts.on_request_headers(id, &host.io(id), true);
            end(world, 1);
        };
        let answer = |attempts: &mut Attempts<SimulatedHost>, status: Option<&str>| {
            if let Some(status) = status {
                host.respond(id, &[(":status", status)]);
                attempts.on_response_headers(id, &host.io(id), true);
            }
            attempts.on_end(id, &host.io(id));
        };
        for address in [HERE, THERE] {
            begin(&mut world, &mut attempts, address);
            answer(&mut attempts, Some("503"));
        }
        world.process.pass(Duration::from_millis(51));
        assert_eq!(order(&mut world, 1, "/back", HERE).unwrap(), ["two"]);
        end(&mut world, 1);

        world.process.pass(Duration::from_secs(11));
        begin(&mut world, &mut attempts, "192.0.2.3:1");
        world.process.pass(Duration::from_millis(51));
        assert!(order(&mut world, 2, "/only-one", HERE).is_err(), "probed");
        end(&mut world, 2);
        answer(&mut attempts, status);
        world.process.pass(Duration::from_millis(51));
        let all = [3, 4].map(|id| order(&mut world, id, "/only-one", HERE).is_ok());
        let expected = match becomes {
            "fit" => [true, true],
            "due" => [true, false],
            _ => [false, false],
        };
        assert_eq!(all, expected, "{becomes}");
    }
}
