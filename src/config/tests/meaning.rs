//! What a good document is compiled into.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::policy::*;
use super::{accepted, load, reference, small, with};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn the_reference_means_what_its_page_says() {
    let policy = accepted(&reference());

    let names = |agents: &[Agent]| {
        agents
            .iter()
            .map(|agent| agent.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&policy.agents),
        ["chat-cpu", "chat-gpu", "memory", "rag", "tools"]
    );
    assert_eq!(policy.agents[4].cluster, "tool-execution");

    assert_eq!(policy.plans[0].name, "premium");
    let rate = |limits: &[Limit]| limits[0].rate;
    assert_eq!(
        rate(&policy.plans[0].limits),
        Rate {
            quantity: 500,
            period: MINUTE,
            burst: 100
        }
    );
    assert_eq!(
        rate(&policy.plans[1].limits),
        Rate {
            quantity: 50,
            period: MINUTE,
            burst: 50
        }
    );
    assert_eq!(policy.plans[1].limits[0].name, "plan");

    assert_eq!(policy.clients.default_plan, Some(PlanId(1)));
    let key = &policy.clients.keys[0];
    assert_eq!((key.sha256[0], key.sha256[31]), (0x9f, 0x08));
    assert_eq!(
        (key.client.id.as_str(), key.client.plan),
        ("acme-dev", Some(PlanId(1)))
    );
    let validator = policy.clients.validator.as_ref().unwrap();
    assert_eq!(
        validator.headers,
        [("x-gateway".to_owned(), "waykeeper".to_owned())]
    );
    assert_eq!(validator.remember.valid, Duration::from_secs(300));

    let chat = &policy.routes[0];
    assert_eq!(chat.name, "/v1/chat/completions");
    assert_eq!(chat.methods.as_deref(), Some(&["POST".to_owned()][..]));
    assert_eq!(
        chat.agents,
        [
            Choice {
                agent: AgentId(1),
                weight: 70
            },
            Choice {
                agent: AgentId(0),
                weight: 30
            }
        ]
    );
    assert_eq!(
        (chat.streams, chat.timeout, chat.idle_timeout),
        (true, Some(2 * MINUTE), Some(5 * MINUTE))
    );
    let stream = &policy.routes[1];
    assert_eq!((stream.timeout, stream.idle_timeout), (None, Some(MINUTE)));
    assert_eq!(
        policy.routes[2].idle_timeout,
        Some(Duration::from_secs(300))
    );
    assert_eq!(
        policy.routes[3].retry,
        Some(Retry {
            max_attempts: Some(2),
            retry_on: vec![502, 503],
            on_5xx: false,
        })
    );
    assert_eq!(policy.routes[4].roles, ["admin"]);
    let own = &policy.routes[5].limits[0];
    assert_eq!(
        (own.name.as_str(), own.each.to_string(), own.rate.quantity),
        ("route", "client and route".to_owned(), 30)
    );
    assert_eq!(
        policy.tables,
        Tables {
            keys: 65_536,
            counters: 262_144,
            address_counters: 65_536,
            responses: 1 << 16,
        }
    );
}

#[test]
fn what_is_not_written_has_its_default() {
    let policy = accepted(&small());

    assert_eq!(
        policy.clients.key_sources,
        [
            KeySource::Header {
                name: "x-api-key".into(),
                scheme: None
            },
            KeySource::Header {
                name: "authorization".into(),
                scheme: Some("Bearer".into())
            },
        ]
    );
    assert_eq!(policy.clients.default_plan, None);
    assert_eq!(policy.clients.unknown_plan, UnknownPlan::Refuse);
    let validator = policy.clients.validator.as_ref().unwrap();
    assert_eq!(validator.host, "auth");
    assert_eq!(validator.timeout, Duration::from_secs(1));
    assert_eq!(
        (
            validator.remember.valid.as_secs(),
            validator.remember.invalid.as_secs()
        ),
        (300, 10)
    );
    assert_eq!(validator.remember.generation, 1);
    assert_eq!(validator.max_pending, 1024);
    let hold = policy.clients.hold;
    assert_eq!(
        (hold.request, hold.worker, hold.collected),
        (4 << 20, 128 << 20, 512 << 20)
    );
    let route = &policy.routes[0];
    assert!(route.auth_required);
    assert_eq!(
        (route.protocol, route.timeout),
        (Protocol::Http, Some(Duration::from_secs(300)))
    );
    assert_eq!(
        (route.methods.as_ref(), route.retry.as_ref(), route.max_body),
        (None, None, None)
    );
    assert!(!route.collect_body);
    assert_eq!(route.body_timeout, Duration::from_secs(60));
    assert_eq!(
        policy.tables,
        Tables {
            keys: 65_536,
            counters: 262_144,
            address_counters: 65_536,
            responses: 1 << 16,
        }
    );
}

#[test]
fn the_validator_is_called_as_written_else_as_its_clusters_name_tells() {
    let istio = "outbound|8080||auth-service.agents.svc.cluster.local";
    let document = with(small(), "/clients/validator/cluster", json!(istio));
    let host = |document: &Value| accepted(document).clients.validator.unwrap().host;

    assert_eq!(
        host(&document),
        "auth-service.agents.svc.cluster.local:8080"
    );
    let written = with(document, "/clients/validator/host", json!("Auth_1:9"));
    assert_eq!(host(&written), "Auth_1:9");
}

#[test]
fn a_whole_number_may_be_written_in_any_way() {
    let document = |generation: &str| {
        let text = with(
            small(),
            "/clients/validator/remember",
            json!({"generation": 77}),
        );
        text.to_string().replace("77", generation)
    };
    for (written, generation) in [
        ("1", 1),
        ("2.0", 2),
        ("3e2", 300),
        ("9007199254740991", 9_007_199_254_740_991),
    ] {
        let policy = load(document(written).as_bytes()).unwrap();
        assert_eq!(
            policy.clients.validator.unwrap().remember.generation,
            generation,
            "{written}"
        );
    }
}

#[test]
fn get_implies_head() {
    let policy = accepted(&with(small(), "/routes/0/methods", json!(["GET", "POST"])));

    assert_eq!(
        policy.routes[0].methods.as_deref().unwrap(),
        ["GET", "POST", "HEAD"]
    );
}

#[test]
fn what_is_not_written_is_told_and_seen_and_asked_of_the_host() {
    let policy = accepted(&small());
    assert_eq!(policy.tell, Tell::ALL);
    let AgentsSee {
        client,
        plan,
        team,
        roles,
        agent,
        route,
    } = policy.agents_see;
    assert!(
        [client, plan, team, roles, agent, route]
            .iter()
            .all(|seen| *seen)
    );
    assert_eq!(policy.address, AddressSource::Host);
    assert_eq!(policy.proof, None);
}

#[test]
fn a_proof_is_what_is_written_and_nobody_is_shown_it() {
    for proof in [
        "0123456789abcdef".to_owned(),
        "a blank is fine inside".to_owned(),
        "~".repeat(256),
    ] {
        let policy = accepted(&with(small(), "/proof", json!(proof)));
        assert_eq!(policy.proof.as_ref().map(|it| it.as_str()), Some(&*proof));
        assert!(!format!("{policy:#?}").contains(&proof));
    }
}

#[test]
fn switches_mean_the_words_that_are_written() {
    let tell = |words| accepted(&with(small(), "/tell", words)).tell;
    assert_eq!(
        (tell(json!([])).ratelimit, tell(json!([])).openai),
        (false, false)
    );
    let openai = tell(json!(["openai"]));
    assert_eq!((openai.ratelimit, openai.openai), (false, true));

    let seen = accepted(&with(small(), "/agents_see", json!(["team", "client"]))).agents_see;
    let all = [
        seen.client,
        seen.plan,
        seen.team,
        seen.roles,
        seen.agent,
        seen.route,
    ];
    assert_eq!(all, [true, false, true, false, false, false]);

    // One of its own is told what stands there, and the others what is for all.
    let document = with(small(), "/agents_see", json!(["team"]));
    let policy = accepted(&with(document, "/agents/chat/sees", json!(["plan"])));
    let [chat, tools] = &policy.agents[..] else {
        panic!("two agents");
    };
    let plan = AgentsSee {
        plan: true,
        ..AgentsSee::NOTHING
    };
    assert_eq!((chat.sees, tools.sees), (Some(plan), None));

    let address = |value| accepted(&with(small(), "/address", value)).address;
    let forwarded = |trusted_hops| AddressSource::ForwardedFor { trusted_hops };
    assert_eq!(address(json!({"from": "envoy"})), AddressSource::Host);
    assert_eq!(address(json!({"from": "x-forwarded-for"})), forwarded(0));
    assert_eq!(
        address(json!({"from": "x-forwarded-for", "trusted_hops": 2})),
        forwarded(2)
    );
}
