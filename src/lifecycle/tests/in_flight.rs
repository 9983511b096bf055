//! How many requests may be under way at once, and who waits for a place among them.

use serde_json::{Value, json};

use super::*;

/// Workers of one process, each with a gateway under the same configuration.
struct Workers(Vec<World>);

impl World {
    fn document(bound: &Value) -> Value {
        json!({
            "clients": {"keys": [
                {"sha256": "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed", "client_id": "one", "plan": "bounded"},
                {"sha256": "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3", "client_id": "two", "plan": "bounded"},
            ]},
            "plans": {"bounded": bound, "free": {}},
            "agents": {"agent": {"cluster": "cluster"}},
            "routes": [{"prefix": "/", "agents": ["agent"], "max_body": "10B"}],
        })
    }

    /// A worker of this process.
    fn reading(process: &Process, document: &Value) -> Self {
        let policy = config::read(document).unwrap_or_else(|faults| panic!("{faults}"));
        Self::of(process, policy)
    }

    fn ends(&mut self, id: StreamId) {
        self.gateway.on_end(id);
    }

    /// What has become of a request: it has gone on, it waits, or it was refused so.
    fn state(&self, id: StreamId) -> String {
        self.refusal(id).unwrap_or_else(|| {
            let stream = self.stream(id);
            (if stream.resumed { "resumed" } else { "waits" }).to_owned()
        })
    }
}

impl Workers {
    fn new(number: usize, bound: &Value) -> Self {
        let (process, document) = (Process::default(), World::document(bound));
        Self(
            (0..number)
                .map(|_| World::reading(&process, &document))
                .collect(),
        )
    }

    /// A request of `key` at a worker: true if it goes on at once.
    fn come(&mut self, worker: usize, id: u32, key: &str) -> bool {
        let flow = self.0[worker].request(StreamId(id), "GET", "/", &[("x-api-key", key)]);
        flow == Flow::Continue
    }

    fn ends(&mut self, worker: usize, id: u32) {
        self.0[worker].ends(StreamId(id));
        self.turns();
    }

    fn turns(&mut self) {
        self.0.iter_mut().for_each(World::turns);
    }

    fn tick(&mut self, workers: impl IntoIterator<Item = usize>) {
        for worker in workers {
            self.0[worker].gateway.on_tick();
        }
        self.turns();
    }

    fn state(&self, worker: usize, id: u32) -> String {
        self.0[worker].state(StreamId(id))
    }
}

#[test]
fn no_more_are_in_flight_than_may_be_over_all_workers_and_each_that_ends_makes_room() {
    let mut workers = Workers::new(2, &json!({"in_flight": 2}));
    assert!(workers.come(0, 1, "one"));
    assert!(workers.come(1, 2, "one"));
    assert!(!workers.come(0, 3, "one"));
    assert_eq!(workers.state(0, 3), "too_many_in_flight");
    // Another client has places of its own.
    assert!(workers.come(1, 4, "two"));
    workers.ends(1, 2);
    assert!(workers.come(0, 5, "one"));
    assert!(!workers.come(1, 6, "one"));
}

#[test]
fn a_refused_request_gives_back_what_its_limits_had_counted() {
    let mut workers = Workers::new(1, &json!({"requests": "2/hour", "in_flight": 1}));
    assert!(workers.come(0, 1, "one"));
    for id in 2..9 {
        assert!(!workers.come(0, id, "one"));
        assert_eq!(workers.state(0, id), "too_many_in_flight");
        workers.ends(0, id);
    }
    workers.ends(0, 1);
    assert!(workers.come(0, 10, "one"));
}

#[test]
fn a_request_that_is_refused_behind_its_place_gives_it_free_at_once() {
    let mut workers = Workers::new(1, &json!({"in_flight": 1}));
    let too_large = [("x-api-key", "one"), ("content-length", "11")];
    workers.0[0].request(STREAM, "POST", "/", &too_large);
    assert_eq!(workers.state(0, 1), "body_too_large");
    // Its answer is still on its way.
    assert!(workers.come(0, 2, "one"));
}

#[test]
fn a_place_that_comes_free_goes_to_who_waits_at_another_worker() {
    let mut workers = Workers::new(2, &json!({"in_flight": 1, "wait": "2s"}));
    assert!(workers.come(0, 1, "one"));
    assert!(!workers.come(1, 2, "one"));
    assert_eq!(workers.state(1, 2), "waits");
    workers.ends(0, 1);
    assert_eq!(workers.state(1, 2), "resumed");
    // It is taken now.
    assert!(!workers.come(0, 3, "one"));
    workers.ends(1, 2);
    assert_eq!(workers.state(0, 3), "resumed");
}

#[test]
fn who_has_waited_for_as_long_as_it_may_is_refused_and_takes_no_place() {
    let mut workers = Workers::new(
        2,
        &json!({"in_flight": 1, "wait": "2s", "requests": "9/hour"}),
    );
    assert!(workers.come(0, 1, "one"));
    assert!(!workers.come(1, 2, "one"));
    for _ in 0..2 {
        workers.tick([0, 1]);
        assert_eq!(workers.state(1, 2), "waits");
    }
    workers.tick([0, 1]);
    assert_eq!(workers.state(1, 2), "too_many_in_flight");
    workers.ends(0, 1);
    assert!(workers.come(0, 3, "one"));
}

#[test]
fn a_list_of_calls_waits_for_all_its_places_under_a_bound_no_longer_than_for_one() {
    let mut document = World::document(&json!({}));
    document["limits"] = json!([{"name": "tools", "each": "tool", "in_flight": 1, "wait": "4s"}]);
    document["routes"][0] = json!({"prefix": "/", "agents": ["agent"], "mcp": {}});
    let calls = |world: &mut World, id: u32, tools: &[&str]| {
        let call = |tool: &&str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}"}}}}"#
            )
        };
        let calls: Vec<String> = tools.iter().map(call).collect();
        let id = StreamId(id);
        let headers = [("x-api-key", "one"), ("content-type", "application/json")];
        world.request(id, "POST", "/", &headers);
        let list = format!("[{}]", calls.join(","));
        world.host.send(id, list.as_bytes());
        world.body(id, list.len(), true) == Flow::Continue
    };
    // One of its places comes free, and the other does not, whichever it has waited for first.
    for (leaves, stays) in [(1, 2), (2, 1)] {
        let mut world = World::reading(&Process::default(), &document);
        assert!(calls(&mut world, 1, &["a"]) && calls(&mut world, 2, &["b"]));
        assert!(!calls(&mut world, 3, &["a", "b"]));
        (0..3).for_each(|_| world.tick());
        world.ends(StreamId(leaves));
        world.turns();
        assert_eq!(world.state(StreamId(3)), "waits");
        (0..2).for_each(|_| world.tick());
        world.ends(StreamId(stays));
        world.turns();
        assert!(!world.stream(StreamId(3)).resumed, "it was refused before");
    }
}

#[test]
fn who_leaves_while_it_waits_leaves_the_queue() {
    let mut workers = Workers::new(2, &json!({"in_flight": 1, "wait": "2s"}));
    assert!(workers.come(0, 1, "one"));
    assert!(!workers.come(1, 2, "one"));
    assert!(!workers.come(0, 3, "one"));
    workers.ends(1, 2);
    workers.ends(0, 1);
    assert_eq!(workers.state(0, 3), "resumed");
    workers.ends(0, 3);
    assert!(workers.come(1, 4, "one"));
}

#[test]
fn who_leaves_before_it_takes_up_its_place_leaves_it_to_the_next() {
    let mut workers = Workers::new(2, &json!({"in_flight": 1, "wait": "2s"}));
    assert!(workers.come(0, 1, "one"));
    assert!(!workers.come(1, 2, "one"));
    assert!(!workers.come(0, 3, "one"));
    // Its worker has been told, and has not had its turn.
    workers.0[0].ends(StreamId(1));
    workers.ends(1, 2);
    assert_eq!(workers.state(0, 3), "resumed");
}

#[test]
fn those_who_wait_are_bounded_in_number() {
    let bound = json!({"in_flight": 1, "wait": "2s", "max_waiting": 2});
    let mut workers = Workers::new(2, &bound);
    assert!(workers.come(0, 1, "one"));
    for (id, state) in [(2, "waits"), (3, "waits"), (4, "too_many_in_flight")] {
        assert!(!workers.come(1, id, "one"));
        assert_eq!(workers.state(1, id), state);
    }
}

#[test]
fn a_worker_that_is_gone_gives_its_places_free_after_ten_seconds_and_not_before() {
    let mut workers = Workers::new(2, &json!({"in_flight": 1, "wait": "60s"}));
    assert!(workers.come(1, 1, "one"));
    assert!(!workers.come(0, 2, "one"));
    for second in 0..10 {
        workers.tick([0]);
        assert_eq!(workers.state(0, 2), "waits", "after {second} s");
    }
    workers.tick([0]);
    workers.tick([0]);
    assert_eq!(workers.state(0, 2), "resumed");
}

#[test]
fn a_worker_that_was_only_slow_counts_again_what_it_has() {
    let mut workers = Workers::new(2, &json!({"in_flight": 2, "wait": "60s"}));
    assert!(workers.come(1, 1, "one"));
    assert!(workers.come(0, 2, "one"));
    assert!(!workers.come(1, 3, "one"), "it waits at the slow one");
    for _ in 0..12 {
        workers.tick([0]);
    }
    // Its own are forgotten, also the one that waits: whether it still does nobody knows.
    workers.tick([1]);
    assert_eq!(workers.state(1, 3), "waits");
    assert!(!workers.come(0, 4, "one"));
    workers.ends(1, 1);
    assert_eq!(workers.state(1, 3), "resumed");
    assert_eq!(workers.state(0, 4), "waits");
    workers.ends(0, 2);
    assert_eq!(workers.state(0, 4), "resumed");
}

#[test]
fn who_was_granted_a_place_and_not_told_finds_it_on_the_next_tick() {
    let mut workers = Workers::new(2, &json!({"in_flight": 1, "wait": "9s"}));
    assert!(workers.come(0, 1, "one"));
    assert!(!workers.come(1, 2, "one"));
    workers.0[0].ends(StreamId(1));
    // The word gets lost.
    assert_eq!(workers.0[1].host.woken(), [StreamId(2)]);
    workers.tick([0, 1]);
    assert_eq!(workers.state(1, 2), "resumed");
}

#[test]
fn a_place_that_cannot_be_given_back_at_once_is_on_a_later_tick() {
    let mut workers = Workers::new(1, &json!({"in_flight": 1}));
    assert!(workers.come(0, 1, "one"));
    workers.0[0].host.refuse(|_, cell| cell.table == b'i');
    workers.ends(0, 1);
    workers.0[0].host.refuse(|_, _| false);
    assert!(!workers.come(0, 2, "one"));
    workers.tick([0]);
    assert!(workers.come(0, 3, "one"));
}

#[test]
fn a_new_configuration_counts_those_in_flight_under_the_old_one() {
    let mut workers = Workers::new(1, &json!({"in_flight": 2}));
    assert!(workers.come(0, 1, "one"));
    let document = World::document(&json!({"in_flight": 1}));
    let process = workers.0[0].process.clone();
    workers.0.push(World::reading(&process, &document));
    assert!(!workers.come(1, 2, "one"));
    workers.ends(0, 1);
    assert!(workers.come(1, 3, "one"));
}

#[test]
fn a_bound_that_is_not_in_force_refuses_nobody_and_says_whom_it_would_have() {
    let mut workers = Workers::new(1, &json!({"in_flight": 1, "enforce": false}));
    assert!(workers.come(0, 1, "one"));
    assert!(workers.come(0, 2, "one"));
    let metric = "waykeeper_limit_would_refuse_total;limit=in-flight;";
    assert_eq!(workers.0[0].host.metric(metric), 1);
}

#[test]
fn a_caller_is_warned_of_the_places_that_are_taken() {
    let mut workers = Workers::new(1, &json!({"in_flight": 2, "warn_at": "100%"}));
    let mut warned = |id: u32| {
        assert!(workers.come(0, id, "one"));
        workers.0[0].answered(StreamId(id), &[(":status", "200")]);
        let response = workers.0[0].stream(StreamId(id)).response;
        let mut names = response.into_iter().map(|(name, _)| name);
        names.any(|name| name == b"x-waykeeper-limit-warning")
    };
    assert!(!warned(1));
    assert!(warned(2));
}

#[test]
fn an_inference_gateway_is_told_whose_request_it_is_and_callers_cannot_say_it() {
    let mut document = World::document(&json!({}));
    document["clients"]["keys"][0]["team"] = json!("blue");
    document["agents"]["agent"]["inference"] =
        json!({"by": "team", "objectives": {"bounded": "interactive"}});
    let mut world = World::reading(&Process::default(), &document);
    let headers = [
        ("x-api-key", "one"),
        ("X-Gateway-Inference-Fairness-Id", "mine"),
        ("x-llm-d-slo-ttft-ms", "1"),
        ("x-gateway-destination-endpoint", "10.0.0.1:8000"),
    ];
    world.request(STREAM, "GET", "/", &headers);
    for (name, value) in [
        ("x-gateway-inference-fairness-id", Some("blue")),
        ("x-llm-d-inference-fairness-id", Some("blue")),
        ("x-gateway-inference-objective", Some("interactive")),
        ("x-llm-d-inference-objective", Some("interactive")),
        ("X-Gateway-Inference-Fairness-Id", None),
        ("x-llm-d-slo-ttft-ms", None),
        ("x-gateway-destination-endpoint", None),
    ] {
        assert_eq!(world.upstream(STREAM, name).as_deref(), value, "{name}");
    }
    // Without a team the client is its own.
    world.request(StreamId(2), "GET", "/", &[("x-api-key", "two")]);
    let fairness = world.upstream(StreamId(2), "x-llm-d-inference-fairness-id");
    assert_eq!(fairness.as_deref(), Some("two"));
}

#[test]
fn an_agent_is_given_no_more_at_once_than_it_takes_whoever_asks() {
    let mut document = World::document(&json!({}));
    document["agents"]["agent"] = json!({"cluster": "cluster", "max_in_flight": 2, "wait": "5s"});
    let process = Process::default();
    let mut workers = Workers(
        (0..2)
            .map(|_| World::reading(&process, &document))
            .collect(),
    );
    assert!(workers.come(0, 1, "one"));
    assert!(workers.come(1, 2, "two"));
    assert!(!workers.come(1, 3, "one"));
    workers.ends(0, 1);
    assert_eq!(workers.state(1, 3), "resumed");
}

/// A list of calls of these tools.
fn calls(tools: &[&str]) -> String {
    let call =
        |tool| json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}});
    Value::from(tools.iter().map(call).collect::<Vec<_>>()).to_string()
}

#[test]
fn no_two_lists_of_calls_wait_for_each_other() {
    for (places, holders, lists) in [
        (1, &["a", "b"][..], [["a", "b"], ["b", "a"]]),
        (2, &["a", "a"], [["a", "a"], ["a", "a"]]),
    ] {
        let process = Process::default();
        let mut world = World::reading(
            &process,
            &json!({
                "agents": {"agent": {"cluster": "cluster"}},
                "routes": [{"prefix": "/", "agents": ["agent"], "auth_required": false, "mcp": {}}],
                "limits": [{"name": "tools", "each": "tool", "in_flight": places, "wait": "60s"}],
            }),
        );
        let come = |world: &mut World, id: u32, tools: &[&str]| {
            let (id, body) = (StreamId(id), calls(tools));
            world.request(id, "POST", "/", &[]);
            world.host.send(id, body.as_bytes());
            world.body(id, body.len(), true)
        };
        for (id, tool) in (1..).zip(holders) {
            assert_eq!(come(&mut world, id, &[tool]), Flow::Continue);
        }
        for (id, tools) in [(10, lists[0]), (11, lists[1])] {
            come(&mut world, id, &tools);
        }
        for id in [1, 2] {
            world.ends(StreamId(id));
            world.turns();
        }
        // Of those that have not been told that there is no room, one goes on after the other.
        let mut left = vec![StreamId(10), StreamId(11)];
        left.retain(|id| world.refusal(*id).is_none());
        while !left.is_empty() {
            let on = left.iter().position(|id| world.stream(*id).resumed);
            let id = left.remove(on.unwrap_or_else(|| panic!("all wait: {lists:?}")));
            world.ends(id);
            world.turns();
            left.retain(|id| world.refusal(*id).is_none());
        }
    }
}
