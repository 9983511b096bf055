//! How a client's limits stand that are counted for all gateways, and a fresh start of them: what each kind of service is asked,
//! and what becomes of its answers.

use std::collections::BTreeMap;

use prost::Message as _;
use serde_json::{Value, json};

use super::*;
use crate::identity::KeyHash;
use crate::limits::fleet::protocol::{
    Code, DescriptorStatus, RateLimitDescriptor, RateLimitRequest, RateLimitResponse,
};
use crate::text::hex;

const PATH: &str = "/.well-known/waykeeper/limits";
const RESET: &str = "/.well-known/waykeeper/limits/reset?client=one";

/// Who counts for all gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    /// Knows a descriptor's `hits_addend`, and counts what is given back as taken.
    LooksOnly,
    /// Counts each descriptor as the request says.
    Counts,
    /// As `Counts`, and says nothing of descriptors.
    Silent,
    /// Refuses what it does not know, by this status.
    Refuses(u8),
    Away,
}

/// A service, which outlives what its askers know of it.
struct Service {
    kind: Kind,
    used: BTreeMap<String, u64>,
    asked: usize,
}

impl Service {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            used: BTreeMap::new(),
            asked: 0,
        }
    }

    fn name(descriptor: &RateLimitDescriptor) -> String {
        let entries = descriptor.entries.iter();
        let entries: Vec<_> = entries
            .map(|it| format!("{}={}", it.key, it.value))
            .collect();
        entries.join(",")
    }

    fn used(&self, of: &str) -> u64 {
        self.used.get(of).copied().unwrap_or_default()
    }

    fn answer(&mut self, request: &RateLimitRequest) -> CalloutAnswer {
        self.asked += 1;
        let beyond = request
            .descriptors
            .iter()
            .any(|it| it.hits_addend.is_some());
        match self.kind {
            Kind::Away => return CalloutAnswer::Failed,
            Kind::Refuses(status) if beyond => {
                return CalloutAnswer::Status {
                    status,
                    text: String::new(),
                };
            }
            _ => {}
        }
        let knows_hits = matches!(self.kind, Kind::Ours | Kind::LooksOnly);
        let mut all = Code::Ok;
        let before = self.used.clone();
        let statuses = request.descriptors.iter().map(|it| {
            let limit = u64::from(it.limit.unwrap().requests_per_unit);
            let own = it.hits_addend.filter(|_| knows_hits);
            let hits = own.unwrap_or_else(|| request.hits_addend.max(1).into());
            let used = self.used.entry(Self::name(it)).or_default();
            let after = match it.is_negative_hits && self.kind == Kind::Ours {
                true => used.saturating_sub(hits),
                false => used.saturating_add(hits),
            };
            let code = if after > limit {
                Code::OverLimit
            } else {
                Code::Ok
            };
            if code == Code::Ok {
                *used = after;
            } else {
                all = code;
            }
            DescriptorStatus {
                code: code.into(),
                limit_remaining: u32::try_from(limit - *used).unwrap(),
                duration_until_reset: Some(prost_types::Duration {
                    seconds: 41,
                    nanos: 5,
                }),
            }
        });
        let statuses: Vec<_> = statuses.collect();
        if all == Code::OverLimit {
            self.used = before;
        }
        let said = RateLimitResponse {
            overall_code: all.into(),
            statuses: match self.kind {
                Kind::Silent => Vec::new(),
                _ => statuses,
            },
        };
        CalloutAnswer::Message(said.encode_to_vec())
    }
}

/// A client, an operator, and a limit of the plan in a fleet of three gateways.
fn document(limit: Value, fleet: Value) -> impl FnOnce(&mut Value) {
    move |document| {
        let key = |key: &str, client: &str, roles: Value| {
            let sha256 = hex::encoded(&KeyHash::of(key.as_bytes()).0);
            json!({"sha256": sha256, "client_id": client, "plan": "standard", "roles": roles})
        };
        document["clients"] = json!({"keys": [
            key("one-key", "one", json!(["reader"])),
            key("boss-key", "boss", json!(["operator"])),
        ]});
        document["plans"]["standard"] = limit;
        document["fleet"] = json!({"limiter": {"cluster": "limiter"}, "gateways": 3});
        let Value::Object(more) = fleet else {
            panic!("no object")
        };
        document["fleet"].as_object_mut().unwrap().extend(more);
        document["limits_endpoint"] = json!({"operator_role": "operator"});
    }
}

fn world(fleet: Value) -> World {
    World::with(document(
        json!({"requests": "1200/hour", "scope": "fleet"}),
        fleet,
    ))
}

const OF_PLAN: &str = "limit=plan,plan=standard,client=one";

impl World {
    /// Answers all that is asked, until nothing is.
    fn served_by(&mut self, service: &mut Service) {
        loop {
            let asked = self.questions();
            if asked.is_empty() {
                return;
            }
            for (id, request) in asked {
                let answer = service.answer(&request);
                self.gateway.on_callout(id, &answer);
                self.turns();
            }
        }
    }

    fn begin_asking(&mut self, id: u32, method: &str, path: &str, key: &str) {
        let id = StreamId(id);
        let headers = [(":method", method), (":path", path), ("x-api-key", key)];
        self.host.begin(id, &headers);
        let io = self.host.io(id);
        self.gateway.on_request_headers(id, &io, true);
    }

    fn told_of(&mut self, id: u32) -> Value {
        let reply = self.stream(StreamId(id)).reply.expect("an answer");
        assert_eq!(reply.status, 200, "{reply:?}");
        self.gateway.on_end(StreamId(id));
        serde_json::from_slice(&reply.body).unwrap()
    }

    fn left_by(&mut self, service: &mut Service) -> Value {
        self.begin_asking(90, "GET", PATH, "one-key");
        self.served_by(service);
        self.told_of(90)
    }

    fn reset_by(&mut self, service: &mut Service) -> Value {
        self.begin_asking(91, "POST", RESET, "boss-key");
        self.served_by(service);
        self.told_of(91)
    }

    /// Whether a request passes.
    fn passes(&mut self, service: &mut Service) -> bool {
        let id = StreamId(92);
        let flow = self.request(id, "POST", "/chat", &[("x-api-key", "one-key")]);
        self.served_by(service);
        let passes = flow == Flow::Continue || self.stream(id).resumed;
        self.gateway.on_end(id);
        passes
    }
}

#[test]
fn what_the_service_has_counted_is_told_and_asking_takes_nothing() {
    let (mut world, mut service) = (world(json!({})), Service::new(Kind::Ours));
    for _ in 0..3 {
        assert!(world.passes(&mut service));
    }
    for _ in 0..2 {
        let answer = world.left_by(&mut service);
        assert_eq!(
            answer["limits"],
            json!([{
                "name": "plan", "per": "client", "scope": "fleet", "algorithm": "fixed_window",
                "requests": 1200, "window_seconds": 3600, "burst": 1200, "used": 3, "remaining": 1197,
                "one_more_seconds": 42, "reset_seconds": 42, "enforced": true,
            }])
        );
        assert_eq!(answer.get("in_fleet"), None);
    }
    assert_eq!(service.used(OF_PLAN), 3);
    // What it can do is asked once a minute: with the requests, two questions and one more.
    assert_eq!(service.asked, 6);
    world.process.pass(Duration::from_secs(60));
    world.left_by(&mut service);
    assert_eq!(service.asked, 8);
}

#[test]
fn a_service_that_would_count_the_question_is_not_asked_it() {
    for kind in [
        Kind::Counts,
        Kind::Silent,
        Kind::Refuses(2),
        Kind::Refuses(12),
    ] {
        let (mut world, mut service) = (world(json!({})), Service::new(kind));
        let answer = world.left_by(&mut service);
        let unsupported = json!([{"name": "plan", "why": "unsupported"}]);
        assert_eq!(answer["in_fleet"], unsupported, "{kind:?}");
        assert_eq!(answer["limits"], json!([]));
        let answer = world.reset_by(&mut service);
        assert_eq!(answer["in_fleet"], unsupported);
        assert_eq!(answer["done_in"], json!(["process"]));
        assert_eq!(service.used(OF_PLAN), 0, "{kind:?}");
        assert_eq!(service.asked, 1);
        // And it is not let alone for that.
        let failed = "waykeeper_limiter_calls_total;outcome=failed;";
        assert_eq!(world.host.metric(failed), 0);
    }
}

#[test]
fn a_service_that_only_looks_is_not_asked_to_give_back() {
    let (mut world, mut service) = (world(json!({})), Service::new(Kind::LooksOnly));
    assert!(world.passes(&mut service));
    assert_eq!(world.left_by(&mut service)["limits"][0]["used"], 1);
    let answer = world.reset_by(&mut service);
    let unsupported = json!([{"name": "plan", "why": "unsupported"}]);
    assert_eq!(answer["in_fleet"], unsupported);
    assert_eq!(answer["limits"], json!([]));
    assert_eq!(service.used(OF_PLAN), 1);
}

#[test]
fn a_service_that_is_away_is_said_and_the_rest_is_told() {
    let limits = json!({"requests": "9/hour", "limits": [
        {"name": "month", "each": "client", "requests": "30/month", "scope": "fleet"},
    ]});
    let mut world = World::with(document(limits, json!({})));
    let mut service = Service::new(Kind::Away);
    for asked in [1, 1] {
        let answer = world.left_by(&mut service);
        assert_eq!(answer["limits"][0]["name"], "plan");
        let unavailable = json!([{"name": "month", "why": "unavailable"}]);
        assert_eq!(answer["in_fleet"], unavailable);
        // The second time nobody waits: it is let alone.
        assert_eq!(service.asked, asked);
    }
    world.process.pass(Duration::from_secs(10));
    let answer = world.reset_by(&mut service);
    assert_eq!(answer["limits"][0]["name"], "plan");
    assert_eq!(answer["in_fleet"][0]["why"], "unavailable");
    // There it is again.
    service.kind = Kind::Ours;
    world.process.pass(Duration::from_secs(10));
    assert_eq!(world.left_by(&mut service)["limits"][1]["name"], "month");
}

#[test]
fn an_answer_that_does_not_come_is_waited_for_as_long_as_any() {
    let mut world = world(json!({}));
    world.begin_asking(1, "GET", PATH, "one-key");
    assert_eq!(world.questions().len(), 1);
    for _ in 0..4 {
        world.tick();
    }
    let answer = world.told_of(1);
    assert_eq!(answer["in_fleet"][0]["why"], "unavailable");
}

#[test]
fn a_crowd_of_one_client_shares_one_question() {
    let (mut world, mut service) = (world(json!({})), Service::new(Kind::Ours));
    world.left_by(&mut service);
    for id in 1..50 {
        world.begin_asking(id, "GET", PATH, "one-key");
    }
    world.served_by(&mut service);
    assert_eq!(service.asked, 3);
    for id in 1..50 {
        assert_eq!(world.told_of(id)["limits"][0]["used"], 0);
    }
}

#[test]
fn who_only_asks_keeps_no_request_from_being_asked_about() {
    let mut world = world(json!({"limiter": {"cluster": "limiter", "max_pending": 4}}));
    let mut service = Service::new(Kind::Ours);
    world.left_by(&mut service);
    let requests = |world: &mut World, ids: std::ops::Range<u32>| {
        for id in ids {
            let headers = [("x-api-key", "one-key")];
            let flow = world.request(StreamId(id), "POST", "/chat", &headers);
            assert_eq!(flow, Flow::Hold);
        }
    };
    requests(&mut world, 1..3);
    world.begin_asking(5, "GET", PATH, "one-key");
    assert_eq!(world.told_of(5)["in_fleet"][0]["why"], "unavailable");
    requests(&mut world, 3..5);
    world.served_by(&mut service);
    assert!((1..5).all(|id| world.stream(StreamId(id)).resumed));
}

#[test]
fn many_limits_are_asked_about_in_questions_that_the_service_takes() {
    let mut world = World::with(|it| {
        document(json!({}), json!({}))(it);
        let route = |number| json!({"prefix": format!("/r{number}"), "agents": ["one"]});
        // With the four others that the client may use.
        let more = (0..150).map(route);
        it["routes"].as_array_mut().unwrap().extend(more);
        it["limits"] = json!([
            {"name": "each", "each": ["client", "route"], "requests": "9/day", "scope": "fleet"},
        ]);
    });
    let mut service = Service::new(Kind::Ours);
    let answer = world.left_by(&mut service);
    assert_eq!(answer["limits"].as_array().unwrap().len(), 154);
    assert_eq!(service.asked, 1 + 3);
    let answer = world.reset_by(&mut service);
    assert_eq!(answer["limits"].as_array().unwrap().len(), 154);
    assert_eq!(service.asked, 1 + 3 + 3 + 3);
}

#[test]
fn a_fresh_start_is_given_in_the_fleet_too_to_this_client_alone() {
    let mut world = World::with(|it| {
        document(json!({"requests": "2/hour", "scope": "fleet"}), json!({}))(it);
        it["limits"] =
            json!([{"name": "all", "each": "route", "requests": "99/day", "scope": "fleet"}]);
    });
    let mut service = Service::new(Kind::Ours);
    assert_eq!(
        [(); 3].map(|()| world.passes(&mut service)),
        [true, true, false]
    );
    let answer = world.reset_by(&mut service);
    let expected = json!([{"name": "plan", "per": "client", "scope": "fleet", "was_used": true}]);
    assert_eq!(answer["limits"], expected);
    assert_eq!(answer["done_in"], json!(["process", "fleet"]));
    assert_eq!(
        [(); 3].map(|()| world.passes(&mut service)),
        [true, true, false]
    );
    let others = service
        .used
        .iter()
        .filter(|(name, _)| name.starts_with("limit=all"));
    let others: Vec<_> = others.map(|(_, used)| *used).collect();
    assert_eq!(others, [4], "what others share stays");
    let again = world.reset_by(&mut service);
    assert_eq!(again["limits"][0]["was_used"], true);
    assert_eq!(world.reset_by(&mut service)["limits"][0]["was_used"], false);
}

#[test]
fn a_name_that_no_limit_has_resets_nothing_and_one_of_the_fleet_is_a_name() {
    let limits = json!({"requests": "9/hour", "limits": [
        {"name": "month", "each": "client", "requests": "30/month", "scope": "fleet"},
    ]});
    let mut world = World::with(document(limits, json!({})));
    let mut service = Service::new(Kind::Ours);
    assert!(world.passes(&mut service));
    let query = format!("{RESET}&limit=month&limit=other");
    world.begin_asking(1, "POST", &query, "boss-key");
    world.served_by(&mut service);
    assert_eq!(world.refusal(StreamId(1)).as_deref(), Some("bad_query"));
    assert_eq!(world.left_by(&mut service)["limits"][1]["used"], 1);

    world.begin_asking(2, "POST", &format!("{RESET}&limit=month"), "boss-key");
    world.served_by(&mut service);
    assert_eq!(world.told_of(2)["limits"][0]["name"], "month");
    let left = world.left_by(&mut service);
    assert_eq!(
        [&left["limits"][0]["used"], &left["limits"][1]["used"]],
        [&json!(1), &json!(0)]
    );
}

#[test]
fn a_fresh_start_reaches_what_the_process_counted_alone() {
    let limit = json!({"requests": "6/hour", "scope": "fleet"});
    let mut world = World::with(document(limit, json!({})));
    let mut away = Service::new(Kind::Away);
    let passed =
        |world: &mut World, service: &mut Service| (0..5).filter(|_| world.passes(service)).count();
    assert_eq!(passed(&mut world, &mut away), 2, "a third of it");
    assert_eq!(
        world.reset_by(&mut away)["in_fleet"][0]["why"],
        "unavailable"
    );
    assert_eq!(passed(&mut world, &mut away), 2);
}

#[test]
fn leases_are_used_and_told_and_a_fresh_start_ends_them() {
    // Shares of 4.
    let mut world = world(json!({"manner": "leased"}));
    let mut service = Service::new(Kind::Ours);
    assert!(world.passes(&mut service));
    let plan = world.left_by(&mut service)["limits"][0].clone();
    assert_eq!((&plan["used"], &plan["leased"]), (&json!(4), &json!(3)));

    world.process.pass(Duration::from_millis(1));
    world.reset_by(&mut service);
    assert_eq!(service.used(OF_PLAN), 0);
    world.process.pass(Duration::from_millis(1));
    // What is left of the lease is worth nothing: a new one is asked for, and nothing of the other is with it.
    assert!(world.passes(&mut service));
    let plan = world.left_by(&mut service)["limits"][0].clone();
    assert_eq!((&plan["used"], &plan["leased"]), (&json!(4), &json!(3)));
}

#[test]
fn a_full_limit_is_looked_at_again_so_that_a_fresh_start_elsewhere_is_seen() {
    let mut world = world(json!({"manner": "leased", "on_failure": "allow"}));
    let mut service = Service::new(Kind::Ours);
    service.used.insert(OF_PLAN.to_owned(), 1_200);
    assert!(!world.passes(&mut service));
    let asked = service.asked;
    assert!(!world.passes(&mut service));
    assert_eq!(service.asked, asked, "within a second");
    world.process.pass(Duration::from_secs(1));
    // A service that is away makes room for nobody.
    service.kind = Kind::Away;
    assert!(!world.passes(&mut service));
    service.kind = Kind::Ours;
    service.used.clear();
    world.process.pass(Duration::from_secs(10));
    assert!(world.passes(&mut service));
}

#[test]
fn a_caller_that_leaves_puts_back_what_it_took_of_a_share() {
    let limits = json!({"limits": [
        {"name": "leased", "each": "client", "requests": "1200/hour", "scope": "fleet"},
        {"name": "strict", "each": "client", "requests": "9/hour", "scope": "fleet"},
    ]});
    let mut world = World::with(document(limits, json!({"manner": "leased"})));
    let mut service = Service::new(Kind::Ours);
    assert!(world.passes(&mut service));
    assert_eq!(world.left_by(&mut service)["limits"][0]["leased"], 3);
    // It waits for the word on the strict one.
    let headers = [("x-api-key", "one-key")];
    assert_eq!(
        world.request(StreamId(1), "POST", "/chat", &headers),
        Flow::Hold
    );
    world.gateway.on_end(StreamId(1));
    assert_eq!(world.left_by(&mut service)["limits"][0]["leased"], 3);
}
