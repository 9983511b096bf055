//! Which agent is drawn by how busy it is, what it costs and how soon it answers.

use serde_json::{Value, json};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn document(agents: &Value, route: &Value) -> impl FnOnce(&mut Value) + use<> {
    let (agents, mut route) = (agents.clone(), route.clone());
    move |document| {
        document["agents"] = agents;
        route["prefix"] = json!("/open");
        route["auth_required"] = json!(false);
        document["routes"] = json!([route]);
    }
}

fn world(agents: &Value, route: &Value) -> World {
    let world = World::with(document(agents, route));
    world.process.pass(SECOND);
    world
}

fn reporting(from: &str) -> Value {
    json!({
        "a": {"cluster": "a", "load": {"from": from}},
        "b": {"cluster": "b", "load": {"from": from}},
    })
}

fn both() -> Value {
    json!({"agents": ["a", "b"]})
}

/// Begins a request; where it goes.
fn begin(world: &mut World, id: u32) -> String {
    let id = StreamId(id);
    assert_eq!(world.request(id, "GET", "/open", &[]), Flow::Continue);
    assert_eq!(world.body(id, 0, true), Flow::Continue);
    world.upstream(id, "x-waykeeper-cluster").unwrap()
}

fn end(world: &mut World, id: u32) {
    world
        .gateway
        .on_log(StreamId(id), &world.host.io(StreamId(id)));
}

/// Of so many requests, those that go to `a`.
fn to_a(world: &mut World, requests: u32) -> u32 {
    let mut number = 0;
    for id in 0..requests {
        number += u32::from(begin(world, 1_000 + id) == "a");
        end(world, 1_000 + id);
    }
    number
}

/// Has `agent` answer a request with these headers; what the caller gets of them.
fn report(world: &mut World, agent: &str, headers: &[(&str, &str)]) -> Vec<String> {
    let id = StreamId(7);
    world.request(id, "GET", "/open", &[("x-agent", agent)]);
    let mut all = vec![(":status", "200")];
    all.extend(headers);
    world.answered(id, &all);
    let response = world.stream(id).response;
    end(world, 7);
    world.process.pass(Duration::from_millis(25));
    let name = |(name, _): (Vec<u8>, Vec<u8>)| String::from_utf8(name).unwrap();
    response.into_iter().map(name).collect()
}

#[test]
fn the_less_busy_of_two_gets_all_until_its_report_is_too_old() {
    for (from, name, busy, idle) in [
        ("queue_depth", "x-agent-queue-depth", "9", "1"),
        (
            "orca",
            "endpoint-load-metrics",
            "TEXT application_utilization=0.9",
            "JSON {\"cpu_utilization\": 0.1}",
        ),
    ] {
        let mut world = world(&reporting(from), &both());
        let shares = to_a(&mut world, 100);
        assert!((30..70).contains(&shares), "nothing is known yet: {shares}");
        let seen = report(&mut world, "a", &[(name, busy), ("x-else", "1")]);
        assert_eq!(seen, [":status", "x-else"], "callers are not told");
        let shares = to_a(&mut world, 100);
        assert!((30..70).contains(&shares), "one alone is known: {shares}");
        report(&mut world, "b", &[(name, idle)]);
        assert_eq!(to_a(&mut world, 100), 0, "{from}");
        world.process.pass(9 * SECOND);
        assert_eq!(to_a(&mut world, 100), 0, "{from}");
        world.process.pass(SECOND);
        let shares = to_a(&mut world, 100);
        assert!((30..70).contains(&shares), "too old: {shares}");
    }
}

#[test]
fn an_agent_that_reports_by_orca_is_asked_to_and_others_are_not() {
    let agents = json!({
        "a": {"cluster": "a", "load": {"from": "orca"}},
        "b": {"cluster": "b", "load": {"from": "queue_depth"}},
    });
    let mut world = world(&agents, &both());
    for (agent, asked) in [("a", Some("TEXT")), ("b", None)] {
        world.request(STREAM, "GET", "/open", &[("x-agent", agent)]);
        let header = world.upstream(STREAM, "endpoint-load-metrics-format");
        assert_eq!(header.as_deref(), asked, "{agent}");
    }
}

#[test]
fn a_report_may_come_in_trailers_and_goes_no_further() {
    let mut world = world(&reporting("orca"), &both());
    report(
        &mut world,
        "a",
        &[("endpoint-load-metrics", "TEXT cpu_utilization=0.5")],
    );
    world.request(STREAM, "POST", "/open", &[("x-agent", "b")]);
    world.answered(STREAM, &[(":status", "200")]);
    // cpu_utilization 0.25 in field 1, without padding as gRPC has it.
    let report = [
        ("grpc-status", "0"),
        ("endpoint-load-metrics-bin", "CQAAAAAAANA/"),
    ];
    world.host.trail_response(STREAM, &report);
    world
        .gateway
        .on_response_trailers(STREAM, &world.host.io(STREAM));
    assert_eq!(world.stream(STREAM).response_trailers.len(), 1);
    assert_eq!(to_a(&mut world, 50), 0);
}

#[test]
fn what_the_host_answers_in_an_agents_place_says_nothing_of_it() {
    let mut world = world(&reporting("queue_depth"), &both());
    report(&mut world, "b", &[("x-agent-queue-depth", "5")]);
    world.request(STREAM, "GET", "/open", &[("x-agent", "a")]);
    let answer = OwnAnswer {
        status: 503,
        unreached: true,
        asks_credential: false,
        fault: None,
    };
    world.host.respond_itself(STREAM, answer);
    world.answered(STREAM, &[(":status", "503"), ("x-agent-queue-depth", "0")]);
    let shares = to_a(&mut world, 100);
    assert!((30..70).contains(&shares), "{shares}");
}

#[test]
fn a_report_that_means_nothing_is_counted_and_changes_nothing() {
    let mut world = world(&reporting("queue_depth"), &both());
    report(&mut world, "a", &[("x-agent-queue-depth", "1")]);
    report(&mut world, "b", &[("x-agent-queue-depth", "5")]);
    for bad in ["NaN", "-1", "1, 2", "", "1e"] {
        report(&mut world, "a", &[("x-agent-queue-depth", bad)]);
    }
    assert_eq!(to_a(&mut world, 50), 50);
    let unread = "waykeeper_load_reports_unread_total;agent=a;";
    assert_eq!(world.host.metric(unread), 5);
    // As much as there may be is only very much.
    report(&mut world, "a", &[("x-agent-queue-depth", "1e300")]);
    assert_eq!(to_a(&mut world, 50), 0);
}

#[test]
fn workers_share_reports() {
    let mut one = world(&reporting("queue_depth"), &both());
    let policy = one.gateway.shared.compiled.policy.clone();
    let mut two = World::of(&one.process, policy);
    report(&mut one, "a", &[("x-agent-queue-depth", "9")]);
    report(&mut two, "b", &[("x-agent-queue-depth", "1")]);
    for world in [&mut one, &mut two] {
        assert_eq!(to_a(world, 50), 0);
    }
}

#[test]
fn without_a_report_the_places_that_are_taken_count() {
    let agents = json!({
        "a": {"cluster": "a", "max_in_flight": 10, "load": {"from": "in_flight"}},
        "b": {"cluster": "b", "max_in_flight": 100},
    });
    let mut world = world(&agents, &both());
    for id in 0..2 {
        world.request(StreamId(id), "GET", "/open", &[("x-agent", "a")]);
    }
    // A fifth of its places are taken, and of the other's none.
    assert_eq!(to_a(&mut world, 50), 0);
    for id in 10..40 {
        world.request(StreamId(id), "GET", "/open", &[("x-agent", "b")]);
    }
    assert_eq!(to_a(&mut world, 50), 50, "a fifth, and three of ten");
}

#[test]
fn the_cheapest_has_all_until_it_is_full() {
    let agents = json!({
        "a": {"cluster": "a", "max_in_flight": 1, "price": {"input": 0.1, "output": 0.4}},
        "b": {"cluster": "b", "price": {"input": 1, "output": 4}},
    });
    let mut world = world(
        &agents,
        &json!({"agents": ["a", "b"], "prefer": "cheapest"}),
    );
    assert_eq!(to_a(&mut world, 50), 50);
    assert_eq!(begin(&mut world, 1), "a");
    assert_eq!(to_a(&mut world, 50), 0, "its one place is taken");
    end(&mut world, 1);
    assert_eq!(to_a(&mut world, 50), 50);
}

#[test]
fn a_rule_prefers_something_else_than_its_route() {
    let agents = json!({
        "a": {"cluster": "a", "price": {"input": 0.1, "output": 0.4}},
        "b": {"cluster": "b", "price": {"input": 1, "output": 4}},
    });
    let rule = json!({"match": {"method": "GET"}, "agents": ["a", "b"], "prefer": "cheapest"});
    let mut world = world(&agents, &json!({"agents": ["a", "b"], "rules": [rule]}));
    assert_eq!(to_a(&mut world, 50), 50);
    let mut posted = 0;
    for id in 0..50 {
        world.request(StreamId(id), "POST", "/open", &[]);
        posted += u32::from(world.upstream(StreamId(id), "x-waykeeper-cluster").unwrap() == "a");
    }
    assert!((10..40).contains(&posted), "{posted}");
}

// === the fastest ===

fn fast() -> World {
    let agents = json!({"a": {"cluster": "a"}, "b": {"cluster": "b"}});
    world(&agents, &json!({"agents": ["a", "b"], "prefer": "fastest"}))
}

/// Has a request answered after this time of its agent's; where it went.
fn timed(world: &mut World, of_a: u64, of_b: u64) -> String {
    let agent = begin(world, 1);
    let takes = if agent == "a" { of_a } else { of_b };
    world.answered(STREAM, &[(":status", "200")]);
    world.process.pass(Duration::from_millis(takes));
    world.answer_passes(STREAM, false);
    world.answer_passes(STREAM, true);
    end(world, 1);
    world.process.pass(Duration::from_millis(25));
    agent
}

fn times(world: &mut World, requests: u32, of_a: u64, of_b: u64) -> u32 {
    (0..requests)
        .map(|_| u32::from(timed(world, of_a, of_b) == "a"))
        .sum()
}

#[test]
fn the_one_whose_first_token_comes_soonest_has_nearly_all_and_the_other_is_tried_again() {
    let mut world = fast();
    let number = times(&mut world, 200, 400, 100);
    assert!(
        (1..=4).contains(&number),
        "tried again now and then: {number}"
    );
    // It has become fast: whoever tries it finds out, and it gets more than it had.
    times(&mut world, 400, 50, 100);
    let number = times(&mut world, 100, 50, 100);
    assert!(number >= 95, "{number}");
    // And slow again.
    times(&mut world, 50, 2_000, 100);
    let number = times(&mut world, 100, 2_000, 100);
    assert!(number <= 4, "{number}");
}

#[test]
fn of_many_at_once_one_tries_an_agent_of_which_nothing_is_known() {
    let mut world = fast();
    let first: Vec<String> = (0..2).map(|id| begin(&mut world, id)).collect();
    assert_ne!(first[0], first[1]);
    // Nothing is known of either yet.
    let shares = to_a(&mut world, 100);
    assert!((30..70).contains(&shares), "{shares}");
    // One has answered: all go there until the other has as well.
    let id = StreamId(u32::from(first[0] != "a"));
    world.answered(id, &[(":status", "200")]);
    world.answer_passes(id, false);
    assert_eq!(to_a(&mut world, 100), 100);
}

#[test]
fn one_that_does_not_answer_at_all_is_slow_before_it_has_not_answered() {
    let mut world = fast();
    times(&mut world, 20, 10, 100);
    assert_eq!(begin(&mut world, 5), "a");
    world.process.pass(SECOND);
    world.tick();
    assert_eq!(to_a(&mut world, 15), 0);
}

#[test]
fn a_caller_that_takes_long_to_send_makes_no_agent_slow() {
    let mut world = fast();
    times(&mut world, 20, 10, 100);
    let id = StreamId(5);
    assert_eq!(world.request(id, "POST", "/open", &[]), Flow::Continue);
    let agent = world.upstream(id, "x-waykeeper-cluster");
    assert_eq!(agent.as_deref(), Some("a"));
    world.process.pass(SECOND * 3);
    world.tick();
    assert_eq!(to_a(&mut world, 15), 15);
    // When all of it has come, it is the agent that is waited for.
    world.host.send(id, b"{}");
    assert_eq!(world.body(id, 2, true), Flow::Continue);
    world.process.pass(SECOND);
    world.tick();
    assert_eq!(to_a(&mut world, 15), 0);
    // Nor one that leaves before.
    let mut world = fast();
    times(&mut world, 20, 10, 100);
    world.request(id, "POST", "/open", &[]);
    world.process.pass(SECOND * 3);
    end(&mut world, 5);
    assert_eq!(to_a(&mut world, 15), 15);
}

#[test]
fn an_answer_that_failed_is_not_fast() {
    let mut world = fast();
    times(&mut world, 20, 100, 50);
    for id in 100..120 {
        world.request(StreamId(id), "GET", "/open", &[("x-agent", "a")]);
        world.body(StreamId(id), 0, true);
        world.answered(StreamId(id), &[(":status", "500")]);
        world.answer_passes(StreamId(id), true);
        end(&mut world, id);
        world.process.pass(Duration::from_millis(25));
    }
    assert_eq!(to_a(&mut world, 15), 0);
}

// === metrics that agents show ===

fn metrics() -> Value {
    let of = |cluster: &str| json!({"cluster": cluster, "load": {"from": "metrics", "host": "gpu:8000"}});
    json!({"a": of("a"), "b": of("b")})
}

fn shown(waiting: u32) -> CalloutAnswer {
    let body = format!("vllm:num_requests_waiting{{}} {waiting}\n").into_bytes();
    CalloutAnswer::Response { status: 200, body }
}

#[test]
fn metrics_are_looked_at_by_one_worker_at_a_time() {
    let mut one = world(&metrics(), &both());
    assert!(one.gateway.needs_ticks());
    let policy = one.gateway.shared.compiled.policy.clone();
    let mut two = World::of(&one.process, policy);
    one.tick();
    two.tick();
    let sent = one.host.sent_callouts();
    let clusters: Vec<&str> = sent.iter().map(|it| it.cluster.as_str()).collect();
    assert_eq!(clusters, ["a", "b"]);
    assert!(
        sent[0]
            .headers()
            .contains(&(":path".to_owned(), "/metrics".to_owned()))
    );
    assert!(
        sent[0]
            .headers()
            .contains(&(":authority".to_owned(), "gpu:8000".to_owned()))
    );
    assert_eq!(two.host.sent_callouts(), []);
    one.gateway.on_callout(sent[0].id, &shown(9));
    one.gateway.on_callout(sent[1].id, &shown(1));
    assert_eq!(to_a(&mut two, 50), 0);
    one.process.pass(SECOND);
    two.tick();
    one.tick();
    assert_eq!(two.host.sent_callouts().len(), 2, "whoever comes first");
    assert_eq!(one.host.sent_callouts(), []);
}

#[test]
fn an_agent_that_cannot_be_asked_here_is_asked_elsewhere_and_one_that_does_not_answer_is_unknown() {
    let mut world = world(&metrics(), &both());
    let refuses = Rc::new(std::cell::Cell::new(true));
    let refused = Rc::clone(&refuses);
    world.host.refuse_callouts_if(move |_| refused.get());
    world.tick();
    refuses.set(false);
    world.tick();
    let sent = world.host.sent_callouts();
    assert_eq!(sent.len(), 2, "it was not claimed for nothing");
    world.gateway.on_callout(sent[0].id, &shown(1));
    world.gateway.on_callout(sent[1].id, &CalloutAnswer::Failed);
    let shares = to_a(&mut world, 100);
    assert!((30..70).contains(&shares), "{shares}");
    // A second answer to the same, and one that nobody has asked for.
    world.gateway.on_callout(sent[1].id, &shown(0));
    world.gateway.on_callout(CalloutId(999), &shown(0));
    let shares = to_a(&mut world, 100);
    assert!((30..70).contains(&shares), "{shares}");
}

#[test]
fn of_an_agent_of_several_endpoints_each_is_looked_at_and_their_mean_counts() {
    let many = json!({"from": "metrics", "stale_after": "5s", "clusters": ["a/1", {"cluster": "a/2", "host": "two:8000"}, "a/3"]});
    let agents = json!({
        "a": {"cluster": "a", "load": many},
        "b": {"cluster": "b", "load": {"from": "metrics"}},
    });
    let mut world = world(&agents, &both());
    let hosts = |world: &mut World| -> Vec<(CalloutId, String, String)> {
        let sent = world.host.sent_callouts().into_iter();
        sent.map(|it| {
            let headers = it.headers();
            let host = headers.iter().find(|(name, _)| name == ":authority");
            let host = host.unwrap().1.clone();
            (it.id, it.cluster.clone(), host)
        })
        .collect()
    };
    let answer = |world: &mut World, loads: [Option<u32>; 4]| {
        world.process.pass(SECOND);
        world.tick();
        let sent = hosts(world);
        assert_eq!(sent.len(), loads.len());
        for ((id, ..), load) in sent.into_iter().zip(loads) {
            let answer = load.map_or(CalloutAnswer::Failed, shown);
            world.gateway.on_callout(id, &answer);
        }
    };
    world.tick();
    let sent = hosts(&mut world);
    let asked: Vec<_> = { sent.iter() }
        .map(|(_, cluster, host)| (cluster.as_str(), host.as_str()))
        .collect();
    let all = [
        ("a/1", "validator"),
        ("a/2", "two:8000"),
        ("a/3", "validator"),
        ("b", "b"),
    ];
    assert_eq!(asked, all);
    for ((id, ..), waiting) in sent.into_iter().zip([9, 0, 0, 5]) {
        world.gateway.on_callout(id, &shown(waiting));
    }
    assert_eq!(to_a(&mut world, 50), 50, "3 on average are less than 5");
    // The two that are idle say nothing any more.
    for second in 1..=5 {
        answer(&mut world, [Some(9), None, None, Some(5)]);
        let all = if second < 5 { 50 } else { 0 };
        assert_eq!(to_a(&mut world, 50), all, "{second}");
    }
    for _ in 0..5 {
        answer(&mut world, [None, None, None, Some(5)]);
    }
    let shares = to_a(&mut world, 100);
    assert!((30..70).contains(&shares), "{shares}");
}

#[test]
fn endpoints_that_can_be_reached_are_asked_whoever_cannot() {
    let agents = json!({
        "a": {"cluster": "a", "load": {"from": "metrics", "clusters": ["a/1", "a/2"]}},
        "b": {"cluster": "b"},
    });
    let mut world = world(&agents, &both());
    let refuses = Rc::new(std::cell::Cell::new(true));
    let refused = Rc::clone(&refuses);
    world
        .host
        .refuse_callouts_if(move |callout| refused.get() || callout.cluster == "a/1");
    world.tick();
    assert_eq!(world.host.sent_callouts(), []);
    refuses.set(false);
    world.tick();
    let sent = world.host.sent_callouts();
    assert_eq!(sent.len(), 1, "nobody was claimed for nothing");
    assert_eq!(sent[0].cluster, "a/2");
    world.tick();
    assert_eq!(world.host.sent_callouts(), [], "once a second");
}

#[test]
fn only_metrics_may_be_long() {
    let mut world = world(&metrics(), &both());
    world.tick();
    let sent = world.host.sent_callouts();
    assert_eq!(world.gateway.most_bytes(sent[0].id), 1 << 20);
    assert_eq!(world.gateway.most_bytes(CalloutId(999)), MAX_ANSWER_BYTES);
}

#[test]
fn what_cannot_be_read_or_written_leaves_weights() {
    let mut world = world(
        &reporting("queue_depth"),
        &json!({"agents": ["a", "b"], "prefer": "fastest"}),
    );
    world.host.refuse(|_, cell| cell.table == b'm');
    report(&mut world, "a", &[("x-agent-queue-depth", "9")]);
    world.tick();
    let shares = to_a(&mut world, 100);
    assert!((30..70).contains(&shares), "{shares}");
}

#[test]
fn nothing_is_read_or_timed_where_nothing_is_written() {
    let agents = json!({"a": {"cluster": "a", "max_in_flight": 10}, "b": {"cluster": "b"}});
    let mut world = world(&agents, &both());
    world.host.refuse(|_, cell| {
        assert_ne!(cell.table, b'm', "a cell of loads");
        false
    });
    let seen = report(&mut world, "a", &[("x-agent-queue-depth", "9")]);
    assert!(seen.contains(&"x-agent-queue-depth".to_owned()));
    world.tick();
    assert!(to_a(&mut world, 10) > 0);
}
