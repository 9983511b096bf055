//! Limits that are counted for all gateways: what the service is asked, what its answers mean, and what holds without them.

use prost::Message as _;
use serde_json::{Value, json};

use super::*;
use crate::host::simulated::SentRequest;
use crate::limits::fleet::protocol::{
    Code, DescriptorStatus, RateLimitRequest, RateLimitResponse, Unit,
};

impl World {
    /// A gateway with these limits of `plans.standard`, one of three.
    fn of_fleet(limit: &Value, fleet: &Value) -> Self {
        let mut world_fleet = json!({"limiter": {"cluster": "limiter"}, "gateways": 3});
        let more = fleet.as_object().unwrap().clone();
        world_fleet.as_object_mut().unwrap().extend(more);
        Self::with(|document| {
            document["clients"] = json!({"keys": [
                {"sha256": "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed", "client_id": "one", "plan": "standard"},
                {"sha256": "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3", "client_id": "two", "plan": "standard"},
            ]});
            document["plans"]["standard"] = limit.clone();
            document["fleet"] = world_fleet;
        })
    }

    fn comes(&mut self, id: u32) -> Flow {
        self.request(StreamId(id), "POST", "/chat", &[("x-api-key", "one")])
    }

    /// What the service is asked: each question with its callout.
    pub(super) fn questions(&self) -> Vec<(CalloutId, RateLimitRequest)> {
        let sent = self.host.sent_callouts().into_iter();
        sent.map(|sent| match sent.request {
            SentRequest::Grpc {
                service,
                method,
                message,
                ..
            } => {
                let called = (sent.cluster.as_str(), service.as_str(), method.as_str());
                let service = "envoy.service.ratelimit.v3.RateLimitService";
                assert_eq!(called, ("limiter", service, "ShouldRateLimit"));
                (
                    sent.id,
                    RateLimitRequest::decode(message.as_slice()).unwrap(),
                )
            }
            SentRequest::Http { .. } => panic!("by HTTP"),
        })
        .collect()
    }

    fn says(&mut self, id: CalloutId, code: Code, left: u32, lasts: Option<u64>) {
        // As exact as our own service says it.
        let lasts = lasts.map(|seconds| prost_types::Duration {
            seconds: i64::try_from(seconds).unwrap() - 1,
            nanos: 999_999_999,
        });
        let said = RateLimitResponse {
            overall_code: code.into(),
            statuses: vec![DescriptorStatus {
                code: code.into(),
                limit_remaining: left,
                duration_until_reset: lasts,
            }],
        };
        self.gateway
            .on_callout(id, &CalloutAnswer::Message(said.encode_to_vec()));
        self.turns();
    }

    fn fails(&mut self, id: CalloutId) {
        self.gateway.on_callout(id, &CalloutAnswer::Failed);
        self.turns();
    }

    fn header_told(&mut self, id: u32, name: &str) -> Option<String> {
        self.answered(StreamId(id), &[(":status", "200")]);
        let response = self.stream(StreamId(id)).response.into_iter();
        let mut values = response.filter(|(other, _)| other == name.as_bytes());
        values
            .next()
            .map(|(_, value)| String::from_utf8(value).unwrap())
    }
}

fn strict(rate: &str) -> World {
    World::of_fleet(&json!({"requests": rate, "scope": "fleet"}), &json!({}))
}

fn leased(rate: &str) -> World {
    World::of_fleet(
        &json!({"requests": rate, "scope": "fleet"}),
        &json!({"manner": "leased"}),
    )
}

#[test]
fn a_request_waits_for_the_service_which_is_told_the_limit_and_whose_it_is() {
    let mut world = strict("50/minute");
    assert_eq!(world.comes(1), Flow::Hold);
    let [(id, asked)] = &world.questions()[..] else {
        panic!("one question");
    };
    assert_eq!((asked.domain.as_str(), asked.hits_addend), ("waykeeper", 1));
    let [descriptor] = &asked.descriptors[..] else {
        panic!("one descriptor");
    };
    let entries = descriptor.entries.iter();
    let entries: Vec<_> = entries.map(|it| (&*it.key, &*it.value)).collect();
    assert_eq!(
        entries,
        [("limit", "plan"), ("plan", "standard"), ("client", "one")]
    );
    let limit = descriptor.limit.unwrap();
    assert_eq!((limit.requests_per_unit, limit.unit()), (50, Unit::Minute));

    world.says(*id, Code::Ok, 41, Some(17));
    assert!(world.stream(STREAM).resumed);
    assert_eq!(
        world.header_told(1, "ratelimit-policy").as_deref(),
        Some(r#""plan";q=50;w=60"#)
    );
    assert_eq!(
        world
            .stream(STREAM)
            .response
            .iter()
            .find_map(|(name, value)| {
                (name == b"ratelimit").then(|| String::from_utf8(value.clone()).unwrap())
            }),
        Some(r#""plan";r=41;t=17"#.to_owned())
    );
}

#[test]
fn a_limit_per_address_tells_the_service_of_the_address() {
    let limit = json!({"limits": [{"name": "near", "each": "address", "requests": "5/minute", "scope": "fleet"}]});
    let mut world = World::of_fleet(&limit, &json!({}));
    assert_eq!(world.comes(1), Flow::Hold);
    let (_, asked) = &world.questions()[0];
    let entries = asked.descriptors[0].entries.iter();
    let entries: Vec<_> = entries.map(|it| (&*it.key, &*it.value)).collect();
    // 192.0.2.1
    let address = ("address", "c0000201");
    assert_eq!(entries, [("limit", "near"), ("plan", "standard"), address]);
}

#[test]
fn what_the_service_refuses_is_refused_until_its_window_ends() {
    let mut world = strict("50/minute");
    world.comes(1);
    let (id, _) = world.questions()[0];
    world.says(id, Code::OverLimit, 0, Some(17));
    assert_eq!(world.refusal(STREAM).as_deref(), Some("rate_limited"));
    let reply = world.stream(STREAM).reply.unwrap();
    assert!(reply.headers.contains(&("retry-after", "17".to_owned())));
    assert!(
        reply
            .headers
            .contains(&("ratelimit", r#""plan";r=0;t=17"#.to_owned()))
    );
}

#[test]
fn limits_of_the_process_are_given_back_when_the_fleet_refuses() {
    let mut world = World::of_fleet(
        &json!({"requests": "9/minute", "scope": "fleet", "limits": [{"name": "own", "each": "client", "requests": "1/hour"}]}),
        &json!({}),
    );
    for id in 1..5 {
        world.comes(id);
        let (callout, _) = world.questions()[0];
        world.says(callout, Code::OverLimit, 0, Some(17));
        assert_eq!(world.refusal(StreamId(id)).as_deref(), Some("rate_limited"));
    }
    world.comes(9);
    let (callout, _) = world.questions()[0];
    world.says(callout, Code::Ok, 3, Some(17));
    assert!(world.stream(StreamId(9)).resumed);
}

#[test]
fn without_statuses_all_that_was_asked_about_is_full() {
    let mut world = strict("50/minute");
    world.comes(1);
    let (id, _) = world.questions()[0];
    let said = RateLimitResponse {
        overall_code: Code::OverLimit.into(),
        statuses: Vec::new(),
    };
    world
        .gateway
        .on_callout(id, &CalloutAnswer::Message(said.encode_to_vec()));
    world.turns();
    assert_eq!(world.refusal(STREAM).as_deref(), Some("rate_limited"));
    let reply = world.stream(STREAM).reply.unwrap();
    assert!(String::from_utf8_lossy(&reply.body).contains(r#"\"plan\" (per client)"#));
    assert!(reply.headers.contains(&("retry-after", "1".to_owned())));
}

#[test]
fn a_share_is_fetched_once_and_taken_from_and_the_next_one_ahead_of_need() {
    // A hundredth of it for each of three gateways.
    let mut world = leased("1200/minute");
    assert_eq!(world.comes(1), Flow::Hold);
    assert_eq!(world.comes(2), Flow::Hold);
    let asked = world.questions();
    assert_eq!(asked.len(), 1, "both wait for one share");
    assert_eq!(asked[0].1.hits_addend, 4);
    world.says(asked[0].0, Code::Ok, 1_196, Some(60));
    assert!(world.stream(StreamId(1)).resumed && world.stream(StreamId(2)).resumed);
    // Two of four are left: more is asked for, and nobody waits.
    let ahead = world.questions();
    assert_eq!(ahead.len(), 1);
    assert_eq!(world.comes(3), Flow::Continue);
    world.says(ahead[0].0, Code::Ok, 1_192, Some(60));
    for id in 4..6 {
        assert_eq!(world.comes(id), Flow::Continue);
    }
    assert_eq!(
        world.header_told(5, "ratelimit").as_deref(),
        Some(r#""plan";r=1195;t=60"#)
    );
}

#[test]
fn a_share_ends_with_its_window_counted_from_when_it_was_asked_for() {
    let mut world = leased("1200/minute");
    world.comes(1);
    let (id, _) = world.questions()[0];
    world.process.pass(Duration::from_secs(3));
    world.says(id, Code::Ok, 1_000, Some(10));
    assert!(world.stream(STREAM).resumed);
    world.process.pass(Duration::from_millis(6_999));
    assert_eq!(world.comes(2), Flow::Continue);
    world.process.pass(Duration::from_millis(1));
    assert_eq!(world.comes(3), Flow::Hold);
}

#[test]
fn a_whole_number_of_seconds_may_have_been_rounded_up() {
    let mut world = leased("1200/minute");
    world.comes(1);
    let (id, _) = world.questions()[0];
    let said = RateLimitResponse {
        overall_code: Code::Ok.into(),
        statuses: vec![DescriptorStatus {
            code: Code::Ok.into(),
            limit_remaining: 1_000,
            duration_until_reset: Some(prost_types::Duration {
                seconds: 10,
                nanos: 0,
            }),
        }],
    };
    world
        .gateway
        .on_callout(id, &CalloutAnswer::Message(said.encode_to_vec()));
    world.turns();
    assert!(world.stream(STREAM).resumed);
    world.process.pass(Duration::from_millis(8_999));
    assert_eq!(world.comes(2), Flow::Continue);
    world.process.pass(Duration::from_millis(1));
    assert_eq!(world.comes(3), Flow::Hold);
}

#[test]
fn what_is_left_of_a_limit_is_fetched_to_the_last_and_then_nobody_asks() {
    let mut world = leased("1200/minute");
    world.comes(1);
    let (id, _) = world.questions()[0];
    // Less than a share is left, and nothing was taken.
    world.says(id, Code::OverLimit, 2, Some(30));
    let rest = world.questions();
    assert_eq!(rest[0].1.hits_addend, 2);
    world.says(rest[0].0, Code::Ok, 0, Some(30));
    assert!(world.stream(STREAM).resumed);
    assert_eq!(world.comes(2), Flow::Continue);
    assert_eq!(world.comes(3), Flow::Hold);
    assert_eq!(world.refusal(StreamId(3)).as_deref(), Some("rate_limited"));
    assert!(world.questions().is_empty());
    world.process.pass(Duration::from_secs(30));
    world.comes(4);
    assert_eq!(world.questions().len(), 1);
}

#[test]
fn small_limits_are_asked_for_on_each_request() {
    let mut world = leased("599/minute");
    world.comes(1);
    let (id, asked) = world.questions().remove(0);
    assert_eq!(asked.hits_addend, 1);
    world.says(id, Code::Ok, 9, Some(60));
    assert_eq!(world.comes(2), Flow::Hold);
}

#[test]
fn without_the_length_of_windows_there_are_no_shares() {
    let mut world = leased("1200/minute");
    world.comes(1);
    let (id, _) = world.questions()[0];
    world.says(id, Code::Ok, 1_000, None);
    let strictly = world.questions();
    assert_eq!(strictly[0].1.hits_addend, 1);
    world.says(strictly[0].0, Code::Ok, 999, None);
    assert!(world.stream(STREAM).resumed);
}

#[test]
fn while_the_service_is_away_each_process_has_its_share_and_asks_now_and_then() {
    let mut world = strict("9/minute");
    world.comes(1);
    let (id, _) = world.questions()[0];
    world.fails(id);
    assert!(world.stream(STREAM).resumed);
    // It is let alone for a moment.
    for id in 2..4 {
        assert_eq!(world.comes(id), Flow::Continue);
    }
    assert!(world.questions().is_empty());
    world.comes(4);
    assert_eq!(world.refusal(StreamId(4)).as_deref(), Some("rate_limited"));
    world.process.pass(Duration::from_secs(7));
    assert_eq!(world.comes(5), Flow::Hold);
    let again = world.questions();
    assert_eq!(again.len(), 1, "one tries");
    world.comes(6);
    assert!(world.questions().is_empty());
    world.says(again[0].0, Code::Ok, 3, Some(60));
    assert!(world.stream(StreamId(5)).resumed);
    let missed = "waykeeper_limiter_missed_total;on_failure=process_share;";
    assert_eq!(world.host.metric(missed), 5);
}

#[test]
fn operators_choose_what_holds_while_the_service_is_away() {
    for (on_failure, refusal) in [("allow", None), ("deny", Some("limits_unavailable"))] {
        let mut world = World::of_fleet(
            &json!({"requests": "1/minute", "scope": "fleet"}),
            &json!({"on_failure": on_failure}),
        );
        for id in 1..4 {
            world.comes(id);
            for (callout, _) in world.questions() {
                world.fails(callout);
            }
            assert_eq!(world.refusal(StreamId(id)).as_deref(), refusal);
        }
    }
}

#[test]
fn an_answer_that_gets_lost_is_a_failure() {
    let mut world = strict("9/minute");
    world.comes(1);
    for _ in 0..4 {
        world.tick();
    }
    assert!(world.stream(STREAM).resumed);
}

#[test]
fn a_crowd_that_may_not_be_asked_about_at_once_says_nothing_of_the_service() {
    let mut world = World::of_fleet(
        &json!({"requests": "900/minute", "scope": "fleet"}),
        &json!({"limiter": {"cluster": "limiter", "max_pending": 2}}),
    );
    for id in 1..3 {
        assert_eq!(world.comes(id), Flow::Hold);
    }
    let asked = world.questions();
    for id in 3..50 {
        assert_eq!(world.comes(id), Flow::Continue);
    }
    let missed = "waykeeper_limiter_missed_total;on_failure=process_share;";
    assert_eq!(world.host.metric(missed), 47);
    // One of its places is free again, and the next one is asked about.
    world.gateway.on_end(StreamId(1));
    world.says(asked[1].0, Code::Ok, 41, Some(17));
    assert!(world.stream(StreamId(2)).resumed);
    assert_eq!(world.comes(50), Flow::Hold);
    assert_eq!(world.questions().len(), 1);
}

#[test]
fn what_is_left_over_of_a_crowd_does_not_have_the_service_let_alone() {
    let mut world = World::of_fleet(
        &json!({"requests": "900/minute", "scope": "fleet"}),
        &json!({"limiter": {"cluster": "limiter", "max_pending": 1}, "on_failure": "deny"}),
    );
    world.comes(1);
    for id in 2..50 {
        world.comes(id);
    }
    // Its answer is lost with its caller.
    let (id, _) = world.questions()[0];
    world.gateway.on_end(STREAM);
    world.gateway.on_callout(id, &CalloutAnswer::Failed);
    world.process.pass(Duration::from_millis(300));
    assert_eq!(world.comes(50), Flow::Hold, "after one failure");
}

#[test]
fn a_service_that_talks_nonsense_of_its_windows_is_asked_again_all_the_same() {
    for seconds in [u64::MAX >> 1, 10_000_000_000, 61] {
        let mut world = leased("1200/minute");
        world.comes(1);
        let (id, _) = world.questions()[0];
        world.says(id, Code::OverLimit, 0, Some(seconds));
        assert_eq!(world.refusal(STREAM).as_deref(), Some("rate_limited"));
        let reply = world.stream(STREAM).reply.unwrap();
        assert!(reply.headers.contains(&("retry-after", "60".to_owned())));
        world.process.pass(Duration::from_secs(60));
        assert_eq!(world.comes(2), Flow::Hold);

        let mut world = strict("50/minute");
        world.comes(1);
        let (id, _) = world.questions()[0];
        world.says(id, Code::OverLimit, 0, Some(seconds));
        let reply = world.stream(STREAM).reply.unwrap();
        assert!(reply.headers.contains(&("retry-after", "60".to_owned())));
    }
}

#[test]
fn a_refusal_names_a_limit_whatever_the_statuses_say() {
    for statuses in [vec![], vec![Code::Ok], vec![Code::Unknown, Code::OverLimit]] {
        let mut world = strict("50/minute");
        world.comes(1);
        let (id, _) = world.questions()[0];
        let statuses = statuses.into_iter().map(|code| DescriptorStatus {
            code: code.into(),
            limit_remaining: 7,
            duration_until_reset: Some(prost_types::Duration {
                seconds: -5,
                nanos: i32::MIN,
            }),
        });
        let said = RateLimitResponse {
            overall_code: Code::OverLimit.into(),
            statuses: statuses.collect(),
        };
        world
            .gateway
            .on_callout(id, &CalloutAnswer::Message(said.encode_to_vec()));
        world.turns();
        let reply = world.stream(STREAM).reply.unwrap();
        assert!(String::from_utf8_lossy(&reply.body).contains(r#"\"plan\" (per client)"#));
        assert!(reply.headers.contains(&("retry-after", "1".to_owned())));
    }
}

#[test]
fn values_that_are_no_text_or_long_are_told_by_their_hashes() {
    let mut world = World::of_fleet(
        &json!({"limits": [{"name": "own", "each": {"header": "x-app"}, "requests": "9/minute", "scope": "fleet"}]}),
        &json!({}),
    );
    let mut told = Vec::new();
    for (id, value) in [
        (1, &b"\xff"[..]),
        (2, b"\xfe"),
        (3, b"a"),
        (4, &[b'a'; 256]),
        (5, &[b'a'; 60_000]),
        (6, &[0xff; 60_000]),
    ] {
        let headers = [
            (":method", &b"POST"[..]),
            (":path", b"/chat"),
            ("x-app", value),
            ("x-api-key", b"one"),
        ];
        let id = StreamId(id);
        world.host.begin(id, &headers);
        (world.gateway).on_request_headers(id, &world.host.io(id), false);
        let (_, mut asked) = world.questions().remove(0);
        told.push(asked.descriptors.remove(0).entries.pop().unwrap().value);
    }
    assert_eq!(told[2..4], ["a".to_owned(), "a".repeat(256)]);
    for hash in [&told[..2], &told[4..]].concat() {
        assert_eq!((hash.starts_with("sha256:"), hash.len()), (true, 71));
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 6);
}

#[test]
fn a_question_that_is_refused_says_nothing_of_others() {
    let mut world = World::of_fleet(
        &json!({"requests": "9/minute", "scope": "fleet"}),
        &json!({"on_failure": "deny"}),
    );
    world.comes(1);
    let (id, _) = world.questions()[0];
    world
        .gateway
        .on_callout(id, &CalloutAnswer::status(3, b"no such limit"));
    world.turns();
    let refusal = world.refusal(STREAM);
    assert_eq!(refusal.as_deref(), Some("limits_unavailable"));
    assert_eq!(world.comes(2), Flow::Hold);
}
