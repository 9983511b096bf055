//! At which agents a request is tried, and who has answered it in the end.

use serde_json::{Value, json};

use super::*;

/// Routes that anybody may use, with four agents: two of a kind, one that is told nothing, and one that names sessions.
fn world(route: Value, agents: &[(&str, Value)]) -> World {
    World::with(|document| {
        document["agents"]["three"] = json!({"cluster": "cluster-three"});
        document["agents"]["two"]["weight"] = json!(1);
        for (name, more) in agents {
            document["agents"][*name]["cluster"] = json!(format!("cluster-{name}"));
            let fields = document["agents"][*name].as_object_mut().unwrap();
            fields.extend(more.as_object().unwrap().clone());
        }
        let mut open = json!({"prefix": "/open", "agents": ["one"], "auth_required": false});
        let fields = open.as_object_mut().unwrap();
        fields.extend(route.as_object().unwrap().clone());
        document["routes"] = json!([open]);
    })
}

fn ask(world: &mut World, method: &str, headers: &[(&str, &str)]) {
    let gone_on = world.request(STREAM, method, "/open", headers);
    assert_eq!(gone_on, Flow::Continue);
}

/// At which clusters it is tried, in their order.
fn clusters(world: &World) -> Vec<String> {
    let stream = world.stream(STREAM);
    let alone = world.upstream(STREAM, "x-waykeeper-cluster");
    let first = world.upstream(STREAM, "x-waykeeper-further");
    assert_ne!(alone.is_some(), first.is_some(), "one of them");
    let notes = ["waykeeper_cluster_2", "waykeeper_cluster_3"].map(|name| noted(&stream, name));
    assert!(alone.is_none() || notes == [None, None]);
    let all = alone.or(first).into_iter();
    all.chain(notes.into_iter().flatten()).collect()
}

fn noted(stream: &SimulatedStream, name: &str) -> Option<String> {
    let mut notes = stream.notes.iter().rev();
    let found = notes.find(|(other, _)| other == name.as_bytes());
    found.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
}

fn tried(route: Value, agents: &[(&str, Value)], headers: &[(&str, &str)]) -> Vec<String> {
    let mut world = world(route, agents);
    ask(&mut world, "POST", headers);
    clusters(&world)
}

fn named<const N: usize>(agents: [&str; N]) -> Vec<String> {
    agents.map(|name| format!("cluster-{name}")).to_vec()
}

#[test]
fn those_that_come_next_are_said_in_their_order_and_no_more_than_two() {
    let mut world = world(json!({"fallback": ["three", "two"]}), &[]);
    ask(&mut world, "POST", &[]);
    assert_eq!(clusters(&world), named(["one", "three", "two"]));
    assert_eq!(world.upstream(STREAM, "x-waykeeper-kind"), None);
    let four = [("four", json!({}))];
    let all = tried(json!({"fallback": ["three", "two", "four"]}), &four, &[]);
    assert_eq!(all, named(["one", "three", "two"]));
    // The one that is asked at first is not asked again.
    let both = json!({"agents": [{"agent": "one", "weight": 0}, {"agent": "two", "weight": 1}], "fallback": ["two", "one"]});
    assert_eq!(tried(both, &[], &[]), named(["two", "one"]));
}

#[test]
fn who_names_an_agent_gets_that_one_or_none() {
    let route = || json!({"fallback": ["two"]});
    assert_eq!(tried(route(), &[], &[]), named(["one", "two"]));
    assert_eq!(tried(route(), &[], &[("x-agent", "one")]), named(["one"]));
}

#[test]
fn a_rule_may_have_its_own() {
    let rules = json!([
        {"match": {"header": {"x-to": "a"}}, "agents": ["two"], "fallback": ["three"]},
        {"match": {"header": {"x-to": "b"}}, "agents": ["two"]},
        {"match": {"header": {"x-to": "c"}}, "agents": ["three"], "fallback": ["one", "two"]},
    ]);
    for (to, agents) in [
        ("a", &["two", "three"][..]),
        ("b", &["two", "one"]),
        ("c", &["three", "one", "two"]),
        ("d", &["one"]),
    ] {
        let route = json!({"rules": rules, "agents": ["one"], "fallback": ["one"]});
        let route = match to {
            "d" => json!({"rules": [rules[0], rules[2]], "agents": ["one"]}),
            _ => {
                let mut route = route;
                route["agents"] =
                    json!([{"agent": "one", "weight": 1}, {"agent": "two", "weight": 0}]);
                route
            }
        };
        let all: Vec<String> = agents
            .iter()
            .map(|name| format!("cluster-{name}"))
            .collect();
        assert_eq!(tried(route, &[], &[("x-to", to)]), all, "{to}");
    }
}

#[test]
fn one_that_can_do_what_is_asked_for_comes_next_without_being_listed() {
    let seeing = || json!({"capabilities": ["vision"]});
    let agents = || [("one", seeing()), ("two", seeing()), ("three", seeing())];
    let route = |listed: Value| {
        let all = json!([{"agent": "one", "weight": 1_000_000}, {"agent": "two", "weight": 0}, {"agent": "three", "weight": 1}]);
        json!({"agents": all, "fallback": listed})
    };
    let asks = [("x-agent-capability", "vision")];
    // What is of weight 0 is reached by name only.
    let all = tried(route(json!([])), &agents(), &asks);
    assert_eq!(all, named(["one", "three"]));
    // Without a capability that is asked for nobody does.
    for asks in [&[][..], &[("x-agent-capability", " , ")]] {
        let all = tried(route(json!([])), &agents(), asks);
        assert_eq!(all.len(), 1, "{all:?}");
    }
    // Who is listed has to have it too, and comes before the others.
    let mut agents = agents().to_vec();
    agents.push(("four", json!({})));
    let all = tried(route(json!(["four", "two"])), &agents, &asks);
    assert_eq!(all, named(["one", "two", "three"]));
}

#[test]
fn only_those_come_next_that_are_asked_for_the_model_by_the_same_name() {
    let of = |models: Value| json!({"models": models});
    let agents = |two: Value, three: Value| {
        [
            ("one", of(json!([{"model": "chat", "as": "big"}, "other*"]))),
            ("two", of(two)),
            ("three", of(three)),
        ]
    };
    for (model, two, three, expected) in [
        (
            "chat",
            json!(["chat"]),
            json!([{"model": "chat", "as": "big"}]),
            &["one", "three"][..],
        ),
        (
            "other-1",
            json!(["other-*"]),
            json!(["chat"]),
            &["one", "two"],
        ),
        (
            "other-1",
            json!([{"model": "other-1", "as": "big"}]),
            json!(["*"]),
            &["one", "three"],
        ),
    ] {
        let mut world = world(json!({"fallback": ["two", "three"]}), &agents(two, three));
        let body = format!("{{\"model\":\"{model}\"}}");
        let json = ("content-type", "application/json");
        world.request(STREAM, "POST", "/open", &[json]);
        world.host.send(STREAM, body.as_bytes());
        let io = world.host.io(STREAM);
        let flow = world.gateway.on_request_body(STREAM, &io, body.len(), true);
        assert_eq!(flow, Flow::Continue);
        let all: Vec<String> = expected
            .iter()
            .map(|name| format!("cluster-{name}"))
            .collect();
        assert_eq!(clusters(&world), all, "{model}");
    }
}

#[test]
fn what_is_tried_again_is_said_by_the_method_and_the_route() {
    let any = "connect-failure,refused-stream,reset-before-request,envoy-ratelimited,retriable-status-codes";
    for (route, method, retries, codes, also) in [
        (json!({}), "POST", "1", "429", ""),
        (json!({}), "GET", "1", "429", ",5xx"),
        (
            json!({"fallback": ["two", "three"]}),
            "HEAD",
            "2",
            "429",
            ",5xx",
        ),
        (
            json!({"retry": {"retry_on": ["5xx"]}}),
            "POST",
            "1",
            "429",
            ",5xx",
        ),
        (
            json!({"retry": {"retry_on": [503, 429]}}),
            "PUT",
            "1",
            "429,503",
            "",
        ),
        (
            json!({"retry": {"max_attempts": 3}}),
            "POST",
            "2",
            "429",
            "",
        ),
        (
            json!({"retry": {"retry_on": ["slow_first_token"]}, "first_byte_timeout": "2s"}),
            "POST",
            "1",
            "429",
            ",reset",
        ),
        (json!({"first_byte_timeout": "2s"}), "POST", "1", "429", ""),
    ] {
        let mut route = route;
        if route.get("fallback").is_none() {
            route["fallback"] = json!(["two"]);
        }
        let mut world = world(route, &[]);
        ask(&mut world, method, &[]);
        let header = |name: &str| world.upstream(STREAM, name).unwrap();
        assert_eq!(header("x-envoy-retry-on"), format!("{any}{also}"));
        assert_eq!(header("x-envoy-max-retries"), retries);
        assert_eq!(header("x-envoy-retriable-status-codes"), codes);
    }
    let mut world = world(json!({"fallback": ["two"], "streams": true}), &[]);
    ask(&mut world, "POST", &[]);
    let kind = world.upstream(STREAM, "x-waykeeper-kind");
    assert_eq!(kind.as_deref(), Some("sse-further"));
}

#[test]
fn a_request_bears_what_all_may_see_and_more_only_where_clusters_take_it_out() {
    let told = |one: Value, two: Value| {
        let mut world = world(json!({"fallback": ["two"]}), &[("one", one), ("two", two)]);
        ask(&mut world, "POST", &[]);
        let names = ["x-waykeeper-agent", "x-waykeeper-route"];
        let told = names.map(|name| world.upstream(STREAM, name));
        let note = noted(&world.stream(STREAM), "waykeeper").unwrap();
        assert_eq!(
            note, r#"{"agent":"one","route":"/open"}"#,
            "the log has all"
        );
        told
    };
    let of = |name: &str| Some(name.to_owned());
    let all = [of("one"), of("/open")];
    assert_eq!(told(json!({}), json!({})), all);
    let nothing = || json!({"sees": []});
    assert_eq!(told(json!({}), nothing()), [None, None]);
    assert_eq!(told(nothing(), json!({})), [None, None]);
    let hides = || json!({"sees": [], "cluster_hides": true});
    assert_eq!(told(json!({}), hides()), all);
    assert_eq!(
        told(hides(), json!({"sees": ["route"]})),
        [None, of("/open")]
    );
    assert_eq!(told(hides(), hides()), [None, None]);
}

#[test]
fn an_inference_gateway_is_told_of_nobody_where_another_agent_would_be() {
    let told = |two: Value| {
        let one = json!({"inference": {"by": "client"}});
        let mut world = world(
            json!({"fallback": ["two"], "auth_required": true}),
            &[("one", one), ("two", two)],
        );
        world.validated(STREAM, "POST", "/open", &[]);
        assert_eq!(clusters(&world), named(["one", "two"]));
        world.upstream(STREAM, "x-gateway-inference-fairness-id")
    };
    assert_eq!(told(json!({})), None);
    let same = json!({"inference": {"by": "client"}});
    assert_eq!(told(same), Some("acme".to_owned()));
}

#[test]
fn a_request_is_counted_for_the_agent_that_has_answered_and_told_of_it() {
    let metric = |world: &World, agent: &str| {
        let outcome = "outcome=allowed;";
        let name = format!("waykeeper_requests_total;route=/open;agent={agent};{outcome}");
        world.host.metric(&name)
    };
    let passed = |world: &World, agent: &str| {
        let name = format!("waykeeper_fallbacks_total;route=/open;agent={agent};");
        world.host.metric(&name)
    };
    for (cluster, answered, expected) in [
        ("cluster-one", "one", [0, 0]),
        ("cluster-two", "two", [1, 0]),
        ("cluster-three", "three", [1, 1]),
        ("cluster-of-nobody", "one", [0, 0]),
    ] {
        let mut world = world(json!({"fallback": ["two", "three"]}), &[]);
        ask(&mut world, "POST", &[]);
        world.host.try_at(STREAM, cluster);
        world.answered(STREAM, &[(":status", "200")]);
        let stream = world.stream(STREAM);
        let told = stream
            .response
            .iter()
            .find(|(name, _)| name == b"x-waykeeper-agent");
        let told = told.map(|(_, value)| String::from_utf8(value.clone()).unwrap());
        assert_eq!(told, (answered != "one").then(|| answered.to_owned()));
        let note = noted(&stream, "waykeeper").unwrap();
        assert!(
            note.contains(&format!("\"agent\":\"{answered}\"")),
            "{note}"
        );
        world.gateway.on_log(STREAM, &world.host.io(STREAM));
        assert_eq!(metric(&world, answered), 1, "{cluster}");
        assert_eq!([passed(&world, "one"), passed(&world, "two")], expected);
    }
}

#[test]
fn who_stands_in_is_not_charged_the_time_that_another_took() {
    let route = json!({"agents": ["one", "two"], "prefer": "fastest", "fallback": ["one", "two"]});
    let mut world = world(route, &[]);
    let mut timed = |answers: Option<&str>, took: Duration| {
        ask(&mut world, "POST", &[]);
        world.body(STREAM, 0, true);
        let first = clusters(&world).remove(0);
        world.process.pass(took);
        world.host.try_at(STREAM, answers.unwrap_or(&first));
        world.answered(STREAM, &[(":status", "200")]);
        world.answer_passes(STREAM, true);
        world.gateway.on_log(STREAM, &world.host.io(STREAM));
        world.process.pass(Duration::from_millis(25));
        first
    };
    // Both are known, and one of them is faster.
    let mut known = vec![timed(None, Duration::from_millis(10))];
    known.push(timed(None, Duration::from_millis(100)));
    known.sort_unstable();
    assert_eq!(known, named(["one", "two"]));
    let fast = timed(None, Duration::from_millis(10));
    let other = known.into_iter().find(|it| *it != fast).unwrap();
    let slow = timed(Some(&other), Duration::from_secs(5));
    assert_eq!(slow, fast);
    for _ in 0..5 {
        assert_eq!(timed(None, Duration::from_millis(100)), other);
    }
}

#[test]
fn of_a_cluster_that_is_several_agents_the_attempt_says_which_of_them_it_was() {
    for (attempts, answered) in [(1, "one"), (2, "two"), (3, "three"), (4, "one"), (0, "one")] {
        let mut world = world(json!({"fallback": ["two", "three"]}), &[]);
        ask(&mut world, "POST", &[]);
        let composite = "waykeeper/further/cluster-one+cluster-two+cluster-three";
        world.host.try_at(STREAM, composite);
        world.host.try_often(STREAM, attempts);
        world.answered(STREAM, &[(":status", "200")]);
        world.gateway.on_log(STREAM, &world.host.io(STREAM));
        let name =
            format!("waykeeper_requests_total;route=/open;agent={answered};outcome=allowed;");
        assert_eq!(world.host.metric(&name), 1, "{attempts}");
    }
}

#[test]
fn of_a_caller_that_leaves_it_is_known_how_far_it_came() {
    let mut world = world(json!({"fallback": ["two"]}), &[]);
    ask(&mut world, "POST", &[]);
    world.host.try_at(STREAM, "cluster-two");
    world.gateway.on_log(STREAM, &world.host.io(STREAM));
    let left = "waykeeper_requests_total;route=/open;agent=two;outcome=caller_left;";
    assert_eq!(world.host.metric(left), 1);
    let passed = "waykeeper_fallbacks_total;route=/open;agent=one;";
    assert_eq!(world.host.metric(passed), 1);
}

#[test]
fn what_the_gateway_ends_as_too_late_is_the_agents_that_was_asked_last() {
    let route = json!({"fallback": ["two"], "timeout": "7s", "streams": true});
    let mut world = world(route, &[]);
    ask(&mut world, "POST", &[]);
    let io = world.host.io(STREAM);
    world.gateway.on_request_body(STREAM, &io, 0, true);
    world.host.try_at(STREAM, "cluster-two");
    for _ in 0..9 {
        world.tick();
    }
    assert_eq!(world.refusal(STREAM).unwrap(), "agent_timeout");
    world.gateway.on_log(STREAM, &world.host.io(STREAM));
    let late = "waykeeper_requests_total;route=/open;agent=two;outcome=agent_timeout;";
    assert_eq!(world.host.metric(late), 1);
}

#[test]
fn when_all_fail_the_last_one_has() {
    let mut world = world(json!({"fallback": ["two"]}), &[]);
    ask(&mut world, "POST", &[]);
    world.host.try_at(STREAM, "cluster-two");
    world.answered_by_host(STREAM, 503, true);
    world.gateway.on_log(STREAM, &world.host.io(STREAM));
    let failed = "waykeeper_requests_total;route=/open;agent=two;outcome=agent_unreachable;";
    assert_eq!(world.host.metric(failed), 1);
}

#[test]
fn a_canary_has_failed_whose_request_another_has_to_answer() {
    for (cluster, outcome) in [("cluster-two", "answered"), ("cluster-one", "failed")] {
        let canary = json!({"agent": "two", "percent": 100});
        let mut world = world(json!({"fallback": ["one"], "canary": canary}), &[]);
        ask(&mut world, "POST", &[]);
        assert_eq!(clusters(&world), named(["two", "one"]));
        world.host.try_at(STREAM, cluster);
        world.answered(STREAM, &[(":status", "200")]);
        world.gateway.on_log(STREAM, &world.host.io(STREAM));
        let name =
            format!("waykeeper_canary_requests_total;route=/open;agent=two;outcome={outcome};");
        assert_eq!(world.host.metric(&name), 1, "{cluster}");
    }
}
