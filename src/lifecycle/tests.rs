mod addresses;
mod canary;
mod edits;
mod fallback;
mod fleet;
mod fleet_left;
mod held_answer;
mod in_flight;
mod judge;
mod limits_endpoint;
mod load;
mod log;
mod look;
mod mcp;
mod models_endpoint;
mod servers;
mod spread;
mod sticky;
mod switches;
mod time;

use std::time::Duration;

use super::*;
use crate::config;
use crate::config::policy::Tell;
use crate::host::simulated::{Process, SimulatedHost, SimulatedStream};
use crate::host::{AgentFault, LocalReply, OwnAnswer};

const STREAM: StreamId = StreamId(1);
const ACME: &str = r#"{"client_id":"acme","plan":"standard","team":"blue","roles":["dev","ops"]}"#;

/// One worker with a gateway.
struct World {
    process: Process,
    host: Rc<SimulatedHost>,
    gateway: Gateway<SimulatedHost>,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// A world whose configuration differs from the common one.
    fn with(change: impl FnOnce(&mut serde_json::Value)) -> Self {
        let mut document = serde_json::json!({
            "clients": {
                "key_sources": [{ "header": "x-api-key" }, { "query": "key" }, { "websocket_protocol": "waykeeper.key." }],
                "validator": { "cluster": "auth", "path": "/validate", "timeout": "1s" },
            },
            "plans": { "standard": { "requests": "3/hour" } },
            "agents": { "one": { "cluster": "cluster-one" }, "two": { "cluster": "cluster-two", "weight": 0 } },
            "routes": [
                { "prefix": "/chat", "agents": ["one", "two"], "methods": ["POST"], "timeout": "7s", "max_body": "10B" },
                { "prefix": "/admin", "agents": ["one"], "roles": ["admin"] },
                { "prefix": "/events", "agents": ["one"], "protocol": "sse", "idle_timeout": "3s" },
                { "prefix": "/ws", "agents": ["one"], "protocol": "websocket" },
                { "prefix": "/open", "agents": ["one"], "auth_required": false },
            ],
        });
        change(&mut document);
        let policy = config::read(&document).unwrap_or_else(|faults| panic!("{faults}"));
        Self::of(&Process::default(), policy)
    }

    /// One more worker of this process.
    fn of(process: &Process, policy: Policy) -> Self {
        let host = Rc::new(process.worker());
        let (gateway, _) = Gateway::new(Rc::clone(&host), policy).unwrap();
        Self {
            process: process.clone(),
            host,
            gateway,
        }
    }

    fn request(
        &mut self,
        id: StreamId,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Flow {
        let mut all = vec![
            (":method", method),
            (":path", path),
            ("x-request-id", "id-1"),
        ];
        all.extend(headers);
        self.host.begin(id, &all);
        self.gateway
            .on_request_headers(id, &self.host.io(id), false)
    }

    /// A request whose key the validator is asked about, and answers for.
    fn validated(&mut self, id: StreamId, method: &str, path: &str, headers: &[(&str, &str)]) {
        let mut all = vec![("x-api-key", "secret")];
        all.extend(headers);
        if self.request(id, method, path, &all) != Flow::Continue && self.stream(id).reply.is_none()
        {
            self.answer(200, ACME);
        }
    }

    fn answer(&mut self, status: u16, body: &str) {
        let body = body.as_bytes().to_vec();
        self.conclude(&CalloutAnswer::Response { status, body });
    }

    fn conclude(&mut self, answer: &CalloutAnswer) {
        let callouts = self.host.sent_callouts();
        assert_eq!(callouts.len(), 1, "one callout is under way");
        self.gateway.on_callout(callouts[0].id, answer);
        self.turns();
    }

    /// The agent's answer has arrived.
    fn answered(&mut self, id: StreamId, headers: &[(&str, &str)]) {
        self.host.respond(id, headers);
        self.gateway
            .on_response_headers(id, &self.host.io(id), false);
    }

    /// A piece of the agent's answer passes.
    fn piece_passes(&mut self, id: StreamId) {
        self.answer_passes(id, false);
    }

    /// Another one does; `end`: the last.
    fn answer_passes(&mut self, id: StreamId, end: bool) {
        let io = self.host.io(id);
        self.gateway.on_response_body(id, &io, 0, end);
    }

    /// The host has answered itself.
    fn answered_by_host(&mut self, id: StreamId, status: u16, unreached: bool) {
        let answer = OwnAnswer {
            status,
            unreached,
            asks_credential: false,
            fault: unreached.then_some(AgentFault::Unconnected),
        };
        self.host.respond_itself(id, answer);
        self.gateway
            .on_response_headers(id, &self.host.io(id), false);
    }

    /// A second passes.
    fn tick(&mut self) {
        self.gateway.on_tick();
        self.turns();
    }

    /// Gives all streams their turn that were promised one.
    fn turns(&mut self) {
        for id in self.host.woken() {
            self.gateway.on_wake(id, &self.host.io(id));
        }
    }

    fn stream(&self, id: StreamId) -> SimulatedStream {
        self.host.stream(id)
    }

    fn upstream(&self, id: StreamId, name: &str) -> Option<String> {
        let stream = self.stream(id);
        let header = stream
            .request
            .iter()
            .find(|(other, _)| other == name.as_bytes());
        header.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
    }

    /// The code that the request was refused with.
    fn refusal(&self, id: StreamId) -> Option<String> {
        let LocalReply { details, .. } = self.stream(id).reply?;
        details.strip_prefix("waykeeper_").map(str::to_owned)
    }
}

fn refusal_of(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let mut world = World::new();
    world.validated(STREAM, method, path, headers);
    world.refusal(STREAM).unwrap_or_default()
}

// === the walk ===

#[test]
fn a_request_waits_for_the_validator_and_goes_on_with_its_answer() {
    let mut world = World::new();
    assert_eq!(
        world.request(STREAM, "POST", "/chat/x?q=1", &[("x-api-key", "secret")]),
        Flow::Hold
    );
    assert!(!world.stream(STREAM).resumed);
    world.answer(200, ACME);
    assert!(world.stream(STREAM).resumed);
    for (name, value) in [
        ("x-waykeeper-client", "acme"),
        ("x-waykeeper-plan", "standard"),
        ("x-waykeeper-team", "blue"),
        ("x-waykeeper-roles", "dev,ops"),
        ("x-waykeeper-agent", "one"),
        ("x-waykeeper-route", "/chat"),
        ("x-waykeeper-cluster", "cluster-one"),
        ("x-envoy-upstream-rq-timeout-ms", "7000"),
    ] {
        assert_eq!(
            world.upstream(STREAM, name).as_deref(),
            Some(value),
            "{name}"
        );
    }
    assert_eq!(world.upstream(STREAM, "x-api-key"), None);
}

#[test]
fn only_a_websocket_goes_to_the_cluster_for_websockets() {
    let mut world = World::with(|document| {
        document["agents"]["one"]["websocket_cluster"] = "cluster-one-http1".into();
    });
    let upgrade = [("upgrade", "websocket"), ("connection", "upgrade")];
    world.validated(STREAM, "GET", "/ws", &upgrade);
    world.validated(StreamId(2), "GET", "/events", &[]);
    let cluster = |id| world.upstream(id, "x-waykeeper-cluster");
    assert_eq!(cluster(STREAM).as_deref(), Some("cluster-one-http1"));
    assert_eq!(cluster(StreamId(2)).as_deref(), Some("cluster-one"));
}

#[test]
fn a_remembered_key_is_not_asked_about_again() {
    let mut world = World::new();
    world.validated(STREAM, "POST", "/chat", &[]);
    assert_eq!(
        world.request(StreamId(2), "POST", "/chat", &[("x-api-key", "secret")]),
        Flow::Continue
    );
    assert!(world.host.sent_callouts().is_empty());
    assert_eq!(
        world
            .host
            .metric("waykeeper_remembered_keys_total;outcome=hit;"),
        1
    );
    assert_eq!(
        world
            .host
            .metric("waykeeper_remembered_keys_total;outcome=miss;"),
        1
    );
}

#[test]
fn the_validator_is_told_the_key_and_nothing_else_is() {
    let mut world = World::new();
    world.request(STREAM, "POST", "/chat", &[("x-api-key", "sec\"ret")]);
    let callouts = world.host.sent_callouts();
    assert_eq!(callouts[0].body(), br#"{"api_key":"sec\"ret"}"#);
    assert_eq!(callouts[0].cluster, "auth");
    assert_eq!(callouts[0].timeout, Duration::from_secs(1));
    // Where nobody answered it may be asked again, and only there: "5xx" would be more.
    let header = |name: &str| {
        let mut headers = callouts[0].headers().iter();
        headers.find_map(|(written, value)| (written == name).then_some(value.as_str()))
    };
    assert_eq!(
        header("x-envoy-retry-on"),
        Some("reset,connect-failure,refused-stream")
    );
    assert_eq!(header("x-envoy-max-retries"), Some("2"));
    assert_eq!(header(":authority"), Some("auth"));
}

#[test]
fn refusals_come_in_their_order() {
    let key = ("x-agent", "nobody");
    assert_eq!(refusal_of("PUT", "/chat/../admin", &[key]), "bad_path");
    assert_eq!(refusal_of("PUT", "/nowhere", &[key]), "no_route");
    assert_eq!(refusal_of("PUT", "/chat", &[key]), "method_not_allowed");
    assert_eq!(refusal_of("GET", "/admin", &[key]), "forbidden");
    assert_eq!(refusal_of("POST", "/chat", &[key]), "unknown_agent");
    assert_eq!(
        refusal_of("POST", "/chat", &[("content-length", "11")]),
        "body_too_large"
    );
    assert_eq!(refusal_of("POST", "/chat", &[("content-length", "10")]), "");
}

#[test]
fn a_request_that_says_it_is_too_large_takes_nothing_from_its_limits() {
    let mut world = World::with(|document| {
        document["limits"] = serde_json::json!([
            { "name": "address", "each": "address", "requests": "9/hour" },
            { "name": "everyone", "each": [], "requests": "5/hour" },
        ]);
    });
    let told = |world: &World, id: StreamId| {
        let reply = world.stream(id).reply.unwrap();
        let field = |name: &str| {
            let mut headers = reply.headers.iter();
            headers.find(|(other, _)| *other == name).unwrap().1.clone()
        };
        [field("ratelimit-policy"), field("ratelimit")]
    };
    let policies = r#""plan";q=3;w=3600, "everyone";q=5;w=3600, "address";q=9;w=3600"#;
    for number in 1..=5 {
        let id = StreamId(number);
        world.validated(id, "POST", "/chat", &[("content-length", "11")]);
        assert_eq!(world.refusal(id).as_deref(), Some("body_too_large"));
        assert_eq!(told(&world, id), [policies, r#""plan";r=3;t=0"#]);
    }
    // They count at the gate, where three are left.
    for number in 6..=8 {
        let id = StreamId(number);
        world.validated(id, "POST", "/chat", &[("content-length", "10")]);
        assert_eq!(world.refusal(id), None, "{number}");
    }
    // One that is too large by the bytes that have passed counts.
    world.validated(StreamId(9), "POST", "/chat", &[]);
    assert_eq!(world.refusal(StreamId(9)).as_deref(), Some("rate_limited"));
    world.process.pass(Duration::from_secs(1200));
    let id = StreamId(10);
    world.validated(id, "POST", "/chat", &[]);
    world
        .gateway
        .on_request_body(id, &world.host.io(id), 11, false);
    assert_eq!(world.refusal(id).as_deref(), Some("body_too_large"));
    assert_eq!(told(&world, id), [policies, r#""plan";r=0;t=1200"#]);
}

#[test]
fn a_request_without_a_key_is_refused_unless_its_route_is_open() {
    let mut world = World::new();
    assert_eq!(world.request(STREAM, "POST", "/chat", &[]), Flow::Hold);
    assert_eq!(world.refusal(STREAM).as_deref(), Some("missing_key"));
    assert_eq!(
        world.request(StreamId(2), "GET", "/open", &[]),
        Flow::Continue
    );
    assert_eq!(world.upstream(StreamId(2), "x-waykeeper-client"), None);
    assert_eq!(
        world.upstream(StreamId(2), "x-waykeeper-agent").as_deref(),
        Some("one")
    );
}

#[test]
fn a_full_plan_is_refused_and_told() {
    let mut world = World::new();
    for id in 1..=3 {
        world.validated(StreamId(id), "POST", "/chat", &[]);
        assert_eq!(world.refusal(StreamId(id)), None);
    }
    world.validated(StreamId(4), "POST", "/chat", &[]);
    assert_eq!(world.refusal(StreamId(4)).as_deref(), Some("rate_limited"));
    let headers = world.stream(StreamId(4)).reply.unwrap().headers;
    assert!(
        headers.contains(&("retry-after", "1200".to_owned())),
        "{headers:?}"
    );
    assert!(headers.contains(&("ratelimit", "\"plan\";r=0;t=1200".to_owned())));
    world.gateway.on_end(StreamId(4));
    let metric = "waykeeper_requests_total;route=/chat;agent=one;outcome=rate_limited;";
    assert_eq!(world.host.metric(metric), 1);
}

#[test]
fn the_gate_counts_requests_whatever_becomes_of_them() {
    let mut world = World::with(|document| {
        document["limits"] =
            serde_json::json!([{ "name": "per-address", "each": "address", "requests": "2/hour" }]);
    });
    for id in [1, 2] {
        world.request(StreamId(id), "POST", "/chat", &[]);
        assert_eq!(world.refusal(StreamId(id)).as_deref(), Some("missing_key"));
    }
    world.request(StreamId(3), "POST", "/chat", &[]);
    assert_eq!(world.refusal(StreamId(3)).as_deref(), Some("rate_limited"));
    world.host.call_from("192.0.2.3:1");
    for (id, path, code) in [
        (5, "/a//b", "bad_path"),
        (6, "/nowhere", "no_route"),
        (7, "/chat", "rate_limited"),
    ] {
        world.request(StreamId(id), "POST", path, &[]);
        assert_eq!(world.refusal(StreamId(id)).as_deref(), Some(code));
    }
    world.host.call_from("192.0.2.2:1");
    world.request(StreamId(4), "POST", "/chat", &[]);
    assert_eq!(world.refusal(StreamId(4)).as_deref(), Some("missing_key"));
}

#[test]
fn whoever_is_refused_is_told_to_wait_for_every_limit_that_is_empty() {
    let retry_after = |world: &World, id| {
        let headers = world.stream(id).reply.unwrap().headers;
        let header = headers.into_iter().find(|(name, _)| *name == "retry-after");
        header.map(|(_, value)| value)
    };
    let gated = |requests: &str| {
        World::with(|document| {
            document["limits"] = serde_json::json!([{ "name": "per-address", "each": "address", "requests": requests }]);
            document["plans"]["standard"] = serde_json::json!({ "requests": "1/minute" });
            document["routes"][0]["agents"] = serde_json::json!([{ "agent": "one", "weight": 0 }]);
        })
    };
    let text = |text: &str| Some(text.to_owned());

    // The gate's last token goes with the request that the plan refuses.
    let mut world = gated("2/hour");
    world.validated(StreamId(1), "GET", "/events", &[]);
    world.validated(StreamId(2), "GET", "/events", &[]);
    assert_eq!(world.refusal(StreamId(2)).as_deref(), Some("rate_limited"));
    assert_eq!(retry_after(&world, StreamId(2)), text("1800"));
    // No limit is full when the validator fails, but the gate has become empty meanwhile, and some of the wait is over.
    let mut world = gated("1/hour");
    world.request(STREAM, "GET", "/events", &[("x-api-key", "secret")]);
    world.process.pass(Duration::from_secs(1));
    world.answer(500, "");
    assert_eq!(retry_after(&world, STREAM), text("3599"));
    // Nobody answers, and the client has used up its plan.
    let mut world = gated("5/hour");
    world.validated(StreamId(1), "GET", "/events", &[]);
    world.validated(StreamId(2), "POST", "/chat", &[]);
    assert_eq!(world.refusal(StreamId(2)).as_deref(), Some("no_agent"));
    assert_eq!(retry_after(&world, StreamId(2)), text("60"));
    // Looking took nothing.
    world.process.pass(Duration::from_secs(60));
    world.validated(StreamId(3), "GET", "/events", &[]);
    assert_eq!(world.refusal(StreamId(3)), None);
}

#[test]
fn an_agent_without_a_place_does_not_call_back_a_caller_whom_its_limits_refuse() {
    let told = |requests: &str, response: &[(&str, &str)]| {
        let mut world = World::with(|document| {
            document["plans"]["standard"] = serde_json::json!({ "requests": requests });
        });
        world.validated(STREAM, "POST", "/chat", &[]);
        world.process.pass(Duration::from_secs(10));
        world.host.respond(STREAM, response);
        world
            .gateway
            .on_response_headers(STREAM, &world.host.io(STREAM), false);
        let told = ResponseHeaders(world.stream(STREAM).response);
        let retry_after = told.get("retry-after");
        // Only what was lengthened, and is long then.
        let not_again = retry_after.as_deref() == Some("3590");
        let should_retry = not_again.then(|| "false".to_owned());
        assert_eq!(told.get("x-should-retry"), should_retry);
        retry_after
    };
    let text = |text: &str| Some(text.to_owned());
    let later = ("retry-after", "7200");
    let date = ("retry-after", "Wed, 15 Nov 2023 22:13:20 GMT");

    for status in ["429", "503"] {
        let status = (":status", status);
        assert_eq!(told("1/hour", &[status]), text("3590"));
        assert_eq!(
            told("1/hour", &[status, ("retry-after", "1")]),
            text("3590")
        );
        assert_eq!(
            told("1/hour", &[status, ("retry-after", "soon")]),
            text("3590")
        );
        assert_eq!(told("1/hour", &[status, later]), text(later.1));
        assert_eq!(told("1/hour", &[status, date]), text(date.1));
        assert_eq!(told("2/hour", &[status, ("retry-after", "1")]), text("1"));
        assert_eq!(told("2/hour", &[status]), None);
    }
    assert_eq!(told("1/hour", &[(":status", "200")]), None);
    assert_eq!(
        told("1/hour", &[(":status", "500"), ("retry-after", "1")]),
        text("1")
    );
}

// === waiting ===

#[test]
fn all_that_wait_for_one_key_share_one_callout() {
    let mut world = World::new();
    for id in 1..=3 {
        assert_eq!(
            world.request(StreamId(id), "POST", "/chat", &[("x-api-key", "secret")]),
            Flow::Hold
        );
    }
    // The first caller leaves; the others are let go on all the same.
    world.host.end(StreamId(1));
    world.gateway.on_end(StreamId(1));
    world.answer(200, ACME);
    assert!(world.stream(StreamId(2)).resumed && world.stream(StreamId(3)).resumed);
    assert_eq!(
        world
            .host
            .metric("waykeeper_validator_calls_total;outcome=valid;"),
        1
    );
}

#[test]
fn each_that_waits_is_let_go_on_in_a_turn_of_its_own_and_at_the_time_of_that_turn() {
    let mut world = World::new();
    let ids = [1, 2, 3, 4].map(StreamId);
    for id in ids {
        world.request(id, "POST", "/chat", &[("x-api-key", "secret")]);
    }
    let callout = world.host.sent_callouts()[0].id;
    let body = ACME.as_bytes().to_vec();
    let answer = CalloutAnswer::Response { status: 200, body };
    world.gateway.on_callout(callout, &answer);
    let touched = |world: &World| {
        let done = |id: &StreamId| world.stream(*id).resumed || world.stream(*id).reply.is_some();
        ids.iter().filter(|id| done(id)).count()
    };
    assert_eq!(touched(&world), 0);
    let woken = world.host.woken();
    assert_eq!(woken, ids);
    for (turn, id) in woken.into_iter().enumerate() {
        // The plan holds three; by the last turn it holds one more.
        if turn == 3 {
            world.process.pass(Duration::from_secs(1200));
        }
        world.gateway.on_wake(id, &world.host.io(id));
        assert_eq!(touched(&world), turn + 1);
        // A turn that nobody waits for any more changes nothing.
        world.gateway.on_wake(id, &world.host.io(id));
        assert_eq!(touched(&world), turn + 1);
    }
    assert!(ids.iter().all(|id| world.stream(*id).resumed));
}

#[test]
fn a_stream_that_gives_a_sign_of_life_before_its_turn_is_not_ended() {
    let mut world = World::new();
    world.validated(STREAM, "GET", "/events", &[]);
    world.host.respond(STREAM, &[(":status", "200")]);
    world
        .gateway
        .on_response_headers(STREAM, &world.host.io(STREAM), false);
    for _ in 0..4 {
        world.gateway.on_tick();
    }
    world
        .gateway
        .on_response_body(STREAM, &world.host.io(STREAM), 0, false);
    world.turns();
    assert!(!world.stream(STREAM).reset);
}

#[test]
fn a_caller_that_leaves_just_before_the_answer_is_no_trouble() {
    let mut world = World::new();
    world.request(STREAM, "POST", "/chat", &[("x-api-key", "secret")]);
    // The host has dropped the stream, and the gateway has not been told yet.
    world.host.end(STREAM);
    world.answer(200, ACME);
    world.gateway.on_end(STREAM);
    assert!(!world.stream(STREAM).resumed);
}

#[test]
fn nothing_of_a_waiting_request_goes_on() {
    let mut world = World::new();
    world.request(STREAM, "POST", "/chat", &[("x-api-key", "secret")]);
    assert_eq!(
        world
            .gateway
            .on_request_body(STREAM, &world.host.io(STREAM), 5, false),
        Flow::Hold
    );
    assert_eq!(
        world
            .gateway
            .on_request_trailers(STREAM, &world.host.io(STREAM)),
        Flow::Hold
    );
    assert_eq!(
        world
            .gateway
            .on_request_body(StreamId(99), &world.host.io(StreamId(99)), 5, false),
        Flow::Hold
    );
}

#[test]
fn a_validator_that_fails_lets_nobody_through_and_is_asked_again() {
    for answer in [
        CalloutAnswer::Failed,
        CalloutAnswer::Response {
            status: 500,
            body: Vec::new(),
        },
        CalloutAnswer::Response {
            status: 200,
            body: b"nonsense".to_vec(),
        },
    ] {
        let mut world = World::new();
        world.request(STREAM, "POST", "/chat", &[("x-api-key", "secret")]);
        world.conclude(&answer);
        assert_eq!(
            world.refusal(STREAM).as_deref(),
            Some("validator_unavailable")
        );
        assert!(!world.stream(STREAM).resumed);
        assert_eq!(
            world.request(StreamId(2), "POST", "/chat", &[("x-api-key", "secret")]),
            Flow::Hold
        );
        assert_eq!(world.host.sent_callouts().len(), 1);
    }
}

#[test]
fn a_request_that_the_host_does_not_show_goes_nowhere() {
    let mut world = World::new();
    world.host.refuse_request_headers();
    assert_eq!(world.request(STREAM, "GET", "/open", &[]), Flow::Hold);
    assert_eq!(
        world.refusal(STREAM).as_deref(),
        Some("gateway_unavailable")
    );
    assert_eq!(
        world
            .gateway
            .on_request_body(STREAM, &world.host.io(STREAM), 1, false),
        Flow::Hold
    );
    assert_eq!(
        world
            .gateway
            .on_request_trailers(STREAM, &world.host.io(STREAM)),
        Flow::Hold
    );
}

#[test]
fn a_validator_that_cannot_be_asked_lets_nobody_through() {
    let mut world = World::new();
    world.host.refuse_callouts();
    assert_eq!(
        world.request(STREAM, "POST", "/chat", &[("x-api-key", "secret")]),
        Flow::Hold
    );
    assert_eq!(
        world.refusal(STREAM).as_deref(),
        Some("validator_unavailable")
    );
}

#[test]
fn an_invalid_key_is_remembered_for_its_own_time() {
    let mut world = World::new();
    world.request(STREAM, "POST", "/chat", &[("x-api-key", "wrong")]);
    world.answer(401, "");
    assert_eq!(world.refusal(STREAM).as_deref(), Some("invalid_key"));
    world.request(StreamId(2), "POST", "/chat", &[("x-api-key", "wrong")]);
    assert_eq!(world.refusal(StreamId(2)).as_deref(), Some("invalid_key"));
    assert!(world.host.sent_callouts().is_empty());
    world.process.pass(Duration::from_secs(10));
    world.request(StreamId(3), "POST", "/chat", &[("x-api-key", "wrong")]);
    assert_eq!(world.host.sent_callouts().len(), 1);
}

#[test]
fn an_answer_to_a_question_nobody_asked_changes_nothing() {
    let mut world = World::new();
    world
        .gateway
        .on_callout(CalloutId(77), &CalloutAnswer::Failed);
    assert_eq!(world.request(STREAM, "GET", "/open", &[]), Flow::Continue);
}

#[test]
fn an_answer_that_gets_lost_holds_nobody() {
    let mut world = World::new();
    let request = |world: &mut World, id| {
        let key = [("x-api-key", "secret")];
        world.request(StreamId(id), "POST", "/chat", &key)
    };
    assert_eq!(request(&mut world, 1), Flow::Hold);
    assert_eq!(request(&mut world, 2), Flow::Hold);
    let lost = world.host.sent_callouts()[0].id;
    // A second for the validator, one more to be sure, and three ticks may be little more than two seconds.
    for _ in 0..2 {
        world.tick();
    }
    assert_eq!(world.refusal(StreamId(1)), None);
    world.tick();
    for id in [1, 2].map(StreamId) {
        let refusal = world.refusal(id);
        assert_eq!(refusal.as_deref(), Some("validator_unavailable"));
    }
    let failed = "waykeeper_validator_calls_total;outcome=failed;";
    assert_eq!(world.host.metric(failed), 1);

    // The next one asks again, and the lost answer is none to that question.
    assert_eq!(request(&mut world, 3), Flow::Hold);
    world.gateway.on_callout(lost, &CalloutAnswer::Failed);
    world.turns();
    assert_eq!(world.refusal(StreamId(3)), None);
    world.answer(200, ACME);
    assert!(world.stream(StreamId(3)).resumed);
}

#[test]
fn only_so_many_keys_are_asked_about_at_a_time() {
    let mut world = World::with(|document| {
        document["clients"]["validator"]["max_pending"] = serde_json::json!(2);
        document["plans"]["standard"] = serde_json::json!({ "requests": "99/hour" });
    });
    for id in 1..=30 {
        let key = if id % 2 == 0 { "even" } else { "odd" };
        let flow = world.request(StreamId(id), "POST", "/chat", &[("x-api-key", key)]);
        assert_eq!((flow, world.refusal(StreamId(id))), (Flow::Hold, None));
    }
    world.request(StreamId(31), "POST", "/chat", &[("x-api-key", "third")]);
    let LocalReply {
        status, headers, ..
    } = world.stream(StreamId(31)).reply.unwrap();
    assert_eq!(status, 503);
    assert!(headers.contains(&("retry-after", "1".to_owned())));
    assert_eq!(
        world.refusal(StreamId(31)).as_deref(),
        Some("validator_unavailable")
    );

    for callout in world.host.sent_callouts() {
        let body = ACME.as_bytes().to_vec();
        let answer = CalloutAnswer::Response { status: 200, body };
        world.gateway.on_callout(callout.id, &answer);
    }
    world.turns();
    assert!((1..=30).all(|id| world.stream(StreamId(id)).resumed));
    world.request(StreamId(32), "POST", "/chat", &[("x-api-key", "third")]);
    assert_eq!(world.host.sent_callouts().len(), 1);
}

#[test]
fn a_stream_for_which_the_host_has_no_event_has_its_turn_after_a_tick() {
    let mut world = World::new();
    world.request(STREAM, "POST", "/chat", &[("x-api-key", "secret")]);
    world.host.refuse_wakes(1);
    world.answer(200, ACME);
    assert!(!world.stream(STREAM).resumed);
    world.tick();
    assert!(world.stream(STREAM).resumed);
}

#[test]
fn each_request_counts_once_when_it_ends_by_what_became_of_it() {
    let mut world = World::with(|document| {
        document["clients"]["validator"]["timeout"] = serde_json::json!("10s");
    });
    let counted = |world: &World, route: &str, agent: &str, outcome: &str| {
        let labels = format!("route={route};agent={agent};outcome={outcome};");
        world
            .host
            .metric(&format!("waykeeper_requests_total;{labels}"))
    };
    // Too large for the agent, after it had some of it; silent before an answer, and in one.
    world.validated(StreamId(1), "POST", "/chat", &[]);
    world
        .gateway
        .on_request_body(StreamId(1), &world.host.io(StreamId(1)), 11, false);
    world.validated(StreamId(2), "GET", "/events", &[]);
    world.body(StreamId(2), 0, true);
    world.validated(StreamId(3), "GET", "/events", &[]);
    world.answered(StreamId(3), &[(":status", "200")]);
    // Answered, by the agent and in its place; left before the answer.
    for id in 4..=8 {
        world.request(StreamId(id), "GET", "/open", &[]);
    }
    world.answered(StreamId(4), &[(":status", "500")]);
    world.answered(StreamId(5), &[(":status", "200")]);
    world.answered_by_host(StreamId(6), 503, true);
    world.answered_by_host(StreamId(7), 504, false);
    // Refused; left while the validator was asked, and ended by the host then.
    world.request(StreamId(9), "POST", "/chat", &[]);
    world.request(StreamId(10), "POST", "/chat", &[("x-api-key", "other")]);
    world.request(StreamId(11), "POST", "/chat", &[("x-api-key", "other")]);
    world.answered_by_host(StreamId(11), 408, false);
    (0..4).for_each(|_| world.tick());
    assert_eq!(counted(&world, "/open", "one", "allowed"), 0);

    for id in (1..=11).map(StreamId) {
        world.host.end(id);
        world.gateway.on_end(id);
        // It ends once.
        world.gateway.on_end(id);
    }

    for (route, agent, outcome, number) in [
        ("/chat", "one", "body_too_large", 1),
        ("/chat", "one", "allowed", 0),
        ("/events", "one", "agent_timeout", 2),
        ("/events", "one", "allowed", 0),
        ("/open", "one", "allowed", 2),
        ("/open", "one", "agent_unreachable", 1),
        ("/open", "one", "agent_timeout", 1),
        ("/open", "one", "caller_left", 1),
        ("/chat", "none", "missing_key", 1),
        ("/chat", "none", "caller_left", 1),
        ("/chat", "none", "request_timeout", 1),
    ] {
        let found = counted(&world, route, agent, outcome);
        assert_eq!(found, number, "{route} {agent} {outcome}");
    }
    assert!(world.gateway.streams.is_empty());
}

// === what goes on, and what does not ===

#[test]
fn headers_of_the_gateway_are_removed_before_anything_reads_them() {
    let mut world = World::new();
    let spoofed = [
        ("x-waykeeper-team", "root"),
        ("x_waykeeper_client", "root"),
        ("x-envoy-max-retries", "9"),
        ("x-envoy-external-address", "198.51.100.7"),
    ];
    world.request(STREAM, "GET", "/open", &spoofed);
    for (name, _) in spoofed {
        assert_eq!(world.upstream(STREAM, name), None, "{name}");
    }
}

#[test]
fn the_key_is_gone_even_from_a_request_that_is_refused() {
    let mut world = World::new();
    world.request(
        STREAM,
        "GET",
        "/nowhere?key=secret&a=1",
        &[("x-api-key", "secret")],
    );
    assert_eq!(world.refusal(STREAM).as_deref(), Some("no_route"));
    assert_eq!(
        world.upstream(STREAM, ":path").as_deref(),
        Some("/nowhere?a=1")
    );
    assert_eq!(world.upstream(STREAM, "x-api-key"), None);
}

#[test]
fn a_handshake_is_answered_with_a_protocol_that_was_offered() {
    let handshake = |offer: &str, chosen: Option<&str>| {
        let mut world = World::new();
        world.request(
            STREAM,
            "GET",
            "/ws",
            &[("upgrade", "WebSocket"), ("sec-websocket-protocol", offer)],
        );
        world.answer(200, ACME);
        let mut response = vec![(":status", "101")];
        response.extend(chosen.map(|protocol| ("sec-websocket-protocol", protocol)));
        world.host.respond(STREAM, &response);
        world
            .gateway
            .on_response_headers(STREAM, &world.host.io(STREAM), false);
        let response = ResponseHeaders(world.stream(STREAM).response);
        (
            world.upstream(STREAM, "sec-websocket-protocol"),
            response.get("sec-websocket-protocol"),
        )
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        handshake("waykeeper.key.k", None),
        (None, text("waykeeper.key.k"))
    );
    assert_eq!(
        handshake("waykeeper.key.k, chat", None),
        (text("chat"), text("chat"))
    );
    assert_eq!(
        handshake("waykeeper.key.k, chat, v2", Some("v2")),
        (text("chat, v2"), text("v2"))
    );
}

/// Headers, to be read as text.
struct ResponseHeaders(Vec<(Vec<u8>, Vec<u8>)>);

impl ResponseHeaders {
    fn get(&self, name: &str) -> Option<String> {
        let header = self.0.iter().find(|(other, _)| other == name.as_bytes())?;
        String::from_utf8(header.1.clone()).ok()
    }
}

#[test]
fn a_body_that_grows_beyond_its_bound_is_refused() {
    let mut world = World::new();
    world.validated(STREAM, "POST", "/chat", &[]);
    assert_eq!(
        world
            .gateway
            .on_request_body(STREAM, &world.host.io(STREAM), 6, false),
        Flow::Continue
    );
    assert_eq!(
        world
            .gateway
            .on_request_body(STREAM, &world.host.io(STREAM), 4, false),
        Flow::Continue
    );
    assert_eq!(
        world
            .gateway
            .on_request_body(STREAM, &world.host.io(STREAM), 1, false),
        Flow::Hold
    );
    assert_eq!(world.refusal(STREAM).as_deref(), Some("body_too_large"));
}

// === bodies ===

/// A world with a route whose agent gets whole bodies only, and little room for callers that nobody knows.
fn collecting() -> World {
    World::with(|document| {
        document["routes"].as_array_mut().unwrap().extend([
            serde_json::json!({ "prefix": "/whole", "agents": ["one"], "max_body": "10B", "collect_body": true }),
            serde_json::json!({ "prefix": "/anyone", "agents": ["one"], "max_body": "1MiB", "collect_body": true, "auth_required": false }),
        ]);
        document["clients"]["hold"] =
            serde_json::json!({ "request": "64KiB", "worker": "1MiB", "collected": "1MiB" });
        document["plans"]["standard"]["requests"] = serde_json::json!("99/hour");
    })
}

impl World {
    fn body(&mut self, id: StreamId, size: usize, end: bool) -> Flow {
        self.gateway
            .on_request_body(id, &self.host.io(id), size, end)
    }

    /// What is held for callers that nobody knows.
    fn held(&self) -> u64 {
        let held = |stream: &Stream<_>| stream.held.as_ref().map_or(0, hold::Held::bytes);
        self.gateway.streams.values().map(held).sum()
    }
}

#[test]
fn an_agent_gets_a_whole_body_or_nothing() {
    let key = [("x-api-key", "secret")];
    let mut world = collecting();
    world.validated(STREAM, "POST", "/whole", &[]);
    assert_eq!(world.upstream(STREAM, "x-waykeeper-cluster"), None);
    // Each time all is at hand that has come.
    assert_eq!(world.body(STREAM, 4, false), Flow::Collect);
    assert_eq!(world.body(STREAM, 10, false), Flow::Collect);
    assert_eq!(world.body(STREAM, 10, true), Flow::Continue);
    assert_eq!(
        world.upstream(STREAM, "x-waykeeper-cluster").as_deref(),
        Some("cluster-one")
    );
    assert_eq!(
        world.upstream(STREAM, "content-length").as_deref(),
        Some("10")
    );

    // One without a body waits for none.
    let id = StreamId(2);
    world
        .host
        .begin(id, &[(":method", "GET"), (":path", "/whole"), key[0]]);
    let io = world.host.io(id);
    assert_eq!(
        world.gateway.on_request_headers(id, &io, true),
        Flow::Continue
    );
    assert_eq!(world.upstream(id, "content-length"), None);

    // Trailers are an end too, behind which no length can be told.
    let id = StreamId(3);
    assert_eq!(world.request(id, "POST", "/whole", &key), Flow::Collect);
    assert_eq!(world.body(id, 3, false), Flow::Collect);
    let io = world.host.io(id);
    assert_eq!(world.gateway.on_request_trailers(id, &io), Flow::Continue);
    assert_eq!(world.upstream(id, "content-length"), None);

    for (id, pieces) in [(StreamId(4), &[11][..]), (StreamId(5), &[10, 11])] {
        assert_eq!(world.request(id, "POST", "/whole", &key), Flow::Collect);
        for size in pieces {
            world.body(id, *size, false);
        }
        assert_eq!(world.refusal(id).as_deref(), Some("body_too_large"));
    }
    let long = [key[0], ("content-length", "11")];
    assert_eq!(
        world.request(StreamId(6), "POST", "/whole", &long),
        Flow::Hold
    );
    assert_eq!(
        world.refusal(StreamId(6)).as_deref(),
        Some("body_too_large")
    );
}

#[test]
fn a_body_that_does_not_end_in_time_is_given_up_whatever_still_comes() {
    let mut world = World::with(|document| {
        let route = &mut document["routes"][0];
        route["collect_body"] = serde_json::json!(true);
        route["body_timeout"] = serde_json::json!("2s");
    });
    world.validated(STREAM, "POST", "/chat", &[]);
    for sent in 1..=2 {
        world.tick();
        assert_eq!(world.body(STREAM, sent, false), Flow::Collect);
    }
    // Two ticks may be little more than a second.
    assert_eq!(world.refusal(STREAM), None);
    world.tick();
    assert_eq!(world.refusal(STREAM).as_deref(), Some("request_timeout"));
    assert_eq!(world.body(STREAM, 3, true), Flow::Hold);
    assert!(!world.stream(STREAM).resumed);
    assert_eq!(world.held(), 0);

    // One that ends in time goes on, and nothing comes of its time any more.
    let id = StreamId(2);
    world.request(id, "POST", "/chat", &[("x-api-key", "secret")]);
    assert_eq!(world.body(id, 3, true), Flow::Continue);
    for _ in 0..5 {
        world.tick();
    }
    assert_eq!(world.refusal(id), None);
    assert!(!world.stream(id).reset);
}

#[test]
fn a_body_may_end_before_or_after_the_validator_s_answer() {
    let mut world = collecting();
    let key = [("x-api-key", "secret")];
    assert_eq!(world.request(STREAM, "POST", "/whole", &key), Flow::Collect);
    assert_eq!(world.body(STREAM, 5, true), Flow::Collect);
    world.answer(200, ACME);
    assert!(world.stream(STREAM).resumed);
    assert_eq!(
        world.upstream(STREAM, "content-length").as_deref(),
        Some("5")
    );

    let other = StreamId(2);
    let key = [("x-api-key", "another")];
    assert_eq!(world.request(other, "POST", "/whole", &key), Flow::Collect);
    assert_eq!(world.body(other, 5, false), Flow::Collect);
    world.answer(200, ACME);
    assert!(!world.stream(other).resumed);
    assert_eq!(world.body(other, 6, true), Flow::Continue);

    // It was too large before anybody knew whose it is, and for which route.
    let third = StreamId(3);
    let key = [("x-api-key", "third")];
    assert_eq!(world.request(third, "POST", "/whole", &key), Flow::Collect);
    assert_eq!(world.body(third, 11, false), Flow::Collect);
    world.answer(200, ACME);
    assert_eq!(world.refusal(third).as_deref(), Some("body_too_large"));
    assert!(!world.stream(third).resumed);
}

#[test]
fn callers_whom_nobody_knows_have_only_so_much_held() {
    let mut world = collecting();
    // Alone: counted with its headers, piece by piece.
    world.request(STREAM, "POST", "/chat", &[("x-api-key", "secret")]);
    assert_eq!(world.body(STREAM, 60_000, false), Flow::Hold);
    assert_eq!(world.body(STREAM, 6_000, false), Flow::Hold);
    assert_eq!(world.refusal(STREAM).as_deref(), Some("body_too_large"));
    assert_eq!(world.held(), 0);

    // Together: sixteen times some 60 KB are too much by one.
    for id in 2..=17 {
        let id = StreamId(id);
        world.request(id, "POST", "/chat", &[("x-api-key", "secret")]);
        assert_eq!(world.body(id, 65_000, false), Flow::Hold);
        assert_eq!(world.refusal(id), None);
    }
    world.request(StreamId(18), "POST", "/chat", &[("x-api-key", "secret")]);
    assert_eq!(world.body(StreamId(18), 20_000, false), Flow::Hold);
    assert_eq!(
        world.refusal(StreamId(18)).as_deref(),
        Some("gateway_unavailable")
    );
    // One leaves, and there is room for another.
    world.gateway.on_end(StreamId(2));
    world.request(StreamId(19), "POST", "/chat", &[("x-api-key", "secret")]);
    world.body(StreamId(19), 20_000, false);
    assert_eq!(world.refusal(StreamId(19)), None);
    // Who is known by then may have more.
    world.answer(200, ACME);
    assert_eq!(world.held(), 0);

    // Who waits for his own body, with a key or where none is needed, shuts none of these out, but is bounded too.
    for id in [StreamId(20), StreamId(21)] {
        assert_eq!(world.request(id, "POST", "/anyone", &[]), Flow::Collect);
        assert_eq!(
            world.body(id, 400_000, false),
            if id.0 == 20 {
                Flow::Collect
            } else {
                Flow::Hold
            }
        );
    }
    assert_eq!(
        world.refusal(StreamId(21)).as_deref(),
        Some("gateway_unavailable")
    );
    world.request(StreamId(22), "POST", "/chat", &[("x-api-key", "new")]);
    world.body(StreamId(22), 20_000, false);
    assert_eq!(world.refusal(StreamId(22)), None);
}

#[test]
fn a_body_that_is_collected_is_not_bound_by_what_one_stranger_may_have_held() {
    let mut world = World::with(|document| {
        document["routes"][0]["max_body"] = serde_json::json!("1MiB");
        document["routes"][0]["collect_body"] = serde_json::json!(true);
        document["clients"]["hold"] = serde_json::json!({ "request": "64KiB" });
    });
    world.validated(STREAM, "POST", "/chat", &[]);
    assert_eq!(world.body(STREAM, 100_000, false), Flow::Collect);
    assert_eq!(world.body(STREAM, 1 << 20, true), Flow::Continue);
    assert_eq!(world.held(), 0);
}

#[test]
fn the_callers_limits_stand_on_the_response_in_place_of_the_agents() {
    let mut world = World::new();
    world.validated(STREAM, "POST", "/chat", &[]);
    world.host.respond(
        STREAM,
        &[(":status", "200"), ("ratelimit", "\"theirs\";r=1;t=1")],
    );
    world
        .gateway
        .on_response_headers(STREAM, &world.host.io(STREAM), false);
    let response = ResponseHeaders(world.stream(STREAM).response);
    assert_eq!(
        response.get("ratelimit").as_deref(),
        Some("\"plan\";r=2;t=1200")
    );
    assert_eq!(
        response.get("ratelimit-policy").as_deref(),
        Some("\"plan\";q=3;w=3600")
    );
    assert_eq!(
        response.get("x-ratelimit-remaining-requests").as_deref(),
        Some("2")
    );
    assert_eq!(
        response.get("x-ratelimit-reset-requests").as_deref(),
        Some("20m0s")
    );
}

#[test]
fn an_unlimited_response_passes_as_the_agent_sent_it() {
    let mut world = World::new();
    world.request(STREAM, "GET", "/open", &[]);
    let sent = [(":status", "200"), ("x-ratelimit-limit-requests", "7")];
    world.host.respond(STREAM, &sent);
    world
        .gateway
        .on_response_headers(STREAM, &world.host.io(STREAM), false);
    let response = ResponseHeaders(world.stream(STREAM).response);
    assert_eq!(
        response.get("x-ratelimit-limit-requests").as_deref(),
        Some("7")
    );
    assert_eq!(response.0.len(), 2);
}

// === what must not be seen ===

#[test]
fn trailers_go_on_without_keys_and_names_of_the_gateway_s_also_when_they_wait() {
    let mut world = World::new();
    let trailers = [
        ("x-waykeeper-client", "root"),
        ("X_Envoy_Retry_On", "5xx"),
        ("x-api-key", "secret"),
        ("sec-websocket-protocol", "waykeeper.key.secret"),
        ("x-checksum", "1"),
    ];
    for (id, flow) in [(STREAM, Flow::Hold), (StreamId(2), Flow::Continue)] {
        let key = [("x-api-key", "secret")];
        assert_eq!(world.request(id, "POST", "/chat", &key), flow);
        world.host.trail(id, &trailers);
        assert_eq!(
            world.gateway.on_request_trailers(id, &world.host.io(id)),
            flow
        );
        let kept = [(b"x-checksum".to_vec(), b"1".to_vec())];
        assert_eq!(world.stream(id).trailers, kept);
        if flow == Flow::Hold {
            world.answer(200, ACME);
        }
    }
}

#[test]
fn nothing_that_is_kept_of_a_request_shows_what_it_holds() {
    let mut world = World::with(|document| {
        document["clients"]["validator"]["headers"] = serde_json::json!({ "x-gateway": "SECRET" });
        document["routes"][3]["prefix_rewrite"] = serde_json::json!("/rewritten");
    });
    let mut shown = String::new();
    let mut show = |world: &World| shown += &format!("{:?}{:?}", world.gateway, world.host);
    let headers = [
        ("upgrade", "websocket"),
        ("sec-websocket-protocol", "waykeeper.key.SECRET"),
        ("x-api-key", "SECRET"),
        ("x-other", "SECRET"),
    ];
    let path = "/ws/SECRET?key=SECRET&other=SECRET";
    assert_eq!(world.request(STREAM, "GET", path, &headers), Flow::Hold);
    world.host.trail(STREAM, &[("x-trailer", "SECRET")]);
    show(&world);
    let callouts = world.host.sent_callouts();
    let answer = CalloutAnswer::Response {
        status: 200,
        body: ACME.replace("blue", "SECRET").into_bytes(),
    };
    world.gateway.on_callout(callouts[0].id, &answer);
    show(&world);
    shown += &format!("{callouts:?}{answer:?}");
    assert!(shown.contains("x-api-key"), "{shown}");
    // The team is no secret: it is told to agents.
    let shown = shown.replace("team: Some(\"SECRET\")", "");
    assert!(!shown.contains("SECRET"), "{shown}");
}

// === any input ===

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a caller sends, the request is forwarded to an agent of its route, waits, or is refused; and
        /// it is only forwarded without a key on the open route.
        #[test]
        fn every_request_comes_to_one_end(
            method in "GET|POST|PUT|", path in "(/chat|/open|/ws|/admin|/|\\PC{0,5})(/\\PC{0,8})?(\\?key=\\PC{0,5})?",
            headers in prop::collection::vec(
                ("x-api-key|x-agent|upgrade|sec-websocket-protocol|content-length|x-waykeeper-client", "\\PC{0,12}"), 0..6,
            ),
        ) {
            let mut world = World::new();
            let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let flow = world.request(STREAM, &method, &path, &headers);
            let stream = world.stream(STREAM);
            let waits = !world.host.sent_callouts().is_empty();
            match flow {
                Flow::Continue => {
                    prop_assert!(stream.reply.is_none());
                    prop_assert_eq!(world.upstream(STREAM, "x-waykeeper-route"), Some("/open".to_owned()));
                    prop_assert_eq!(world.upstream(STREAM, "x-waykeeper-client"), None);
                }
                Flow::Hold | Flow::Collect => prop_assert!(stream.reply.is_some() != waits),
            }
        }
    }
}

// === limits ===

#[test]
fn what_a_refused_request_took_is_given_back_on_a_tick() {
    let mut world = World::with(|document| {
        document["limits"] =
            serde_json::json!([{ "name": "all", "each": [], "requests": "9/hour" }]);
    });
    assert!(world.gateway.needs_ticks());
    world.validated(STREAM, "POST", "/chat", &[]);
    let remaining = |world: &World, id: StreamId| {
        let facts = world.gateway.streams[&id].common.facts.borrow();
        let rate = facts.rate_limit_headers(Tell::ALL);
        rate[3].1.clone()
    };
    assert_eq!(remaining(&world, STREAM), "2");

    // One cell is taken; then the host refuses its memory, until after the request.
    let broken = Rc::new(std::cell::Cell::new(true));
    let (still_broken, mut swaps) = (Rc::clone(&broken), 0);
    world.host.refuse(move |access, _| {
        swaps += u32::from(access == crate::host::simulated::Access::Swap);
        still_broken.get() && swaps > 1
    });
    world.validated(StreamId(2), "POST", "/chat", &[]);
    assert_eq!(
        world.refusal(StreamId(2)),
        Some("limits_unavailable".to_owned())
    );
    broken.set(false);
    world.gateway.on_tick();

    world.validated(StreamId(3), "POST", "/chat", &[]);
    assert_eq!(remaining(&world, StreamId(3)), "1");
    let failures = "waykeeper_limits_give_back_failures_total";
    assert_eq!(world.host.metric(failures), 1);
}

#[test]
fn each_of_those_who_wait_for_one_answer_is_counted_at_its_own_time() {
    let mut world = World::with(|document| {
        document["plans"]["standard"] = serde_json::json!({ "requests": "1/second" });
    });
    let ids = [1, 2, 3].map(StreamId);
    for id in ids {
        world.request(id, "POST", "/chat", &[("x-api-key", "secret")]);
    }
    // However long it takes to let one after the other go on.
    let process = world.process.clone();
    world
        .host
        .before_swap(move |_| process.pass(Duration::from_secs(1)));
    world.answer(200, ACME);
    for id in ids {
        assert!(world.stream(id).resumed, "{id:?}");
    }
}
