//! Who calls: every place a key may stand in, the validator and what is remembered of its answers, roles, and what the
//! agent is told.

use std::time::Duration;

use serde_json::json;
use waykeeper_demo::auth::{Answer, Client, Fault, Field};
use waykeeper_demo::stack::AUTH_CLUSTER;

use crate::harness::{Draft, World, eventually, free_address};

const NOTES: &str = "/api/v1/memory/notes";

#[tokio::test]
async fn the_agent_is_told_who_calls_and_never_the_key() {
    let world = World::start().await;

    for (name, value) in [
        ("x-api-key", "demo-admin"),
        ("authorization", "bearer demo-admin"),
        ("api-key", "demo-admin"),
        ("x-goog-api-key", "demo-admin"),
    ] {
        let answer = world.get(NOTES).header(name, value).send().await;
        let headers = answer.echo().headers;
        for (name, value) in [
            ("x-waykeeper-client", "operations"),
            ("x-waykeeper-plan", "premium"),
            ("x-waykeeper-team", "platform"),
            ("x-waykeeper-roles", "admin"),
            ("x-waykeeper-agent", "memory"),
            ("x-waykeeper-route", "/api/v1/memory"),
        ] {
            assert_eq!(headers.get(name), Some(value), "{name}");
        }
        for name in [
            "x-api-key",
            "authorization",
            "api-key",
            "x-goog-api-key",
            "x-waykeeper-cluster",
            "x-waykeeper-kind",
        ] {
            assert_eq!(headers.get(name), None, "{name}");
        }
        assert!(!answer.text().contains("demo-admin"), "{}", answer.text());
    }
    let logs = world.gateway().access_log() + &world.gateway().envoy_log();
    assert!(!logs.contains("demo-admin"), "{logs}");
}

#[tokio::test]
async fn the_first_source_that_is_present_counts() {
    let world = World::start().await;
    let both = |key: &str, token: &str| {
        let authorization = format!("Bearer {token}");
        world
            .get(NOTES)
            .key(key)
            .header("authorization", authorization)
    };

    let first = both("demo-premium", "unheard-of").send().await;
    let second = both("unheard-of", "demo-premium").send().await;

    assert_eq!(
        first.echo().headers.get("x-waykeeper-client"),
        Some("globex")
    );
    // The key that did not count goes no further either.
    assert_eq!(first.echo().headers.get("authorization"), None);
    assert_eq!(second.refused(), (401, "invalid_key".to_owned()));
}

#[tokio::test]
async fn another_scheme_is_no_key_and_stays_the_agents() {
    let world = World::start().await;
    let basic = |request: crate::harness::Request| request.header("authorization", "Basic dTpw");

    let alone = basic(world.get(NOTES)).send().await;
    let beside = basic(world.get(NOTES).key("demo-premium")).send().await;

    assert_eq!(alone.refused(), (401, "missing_key".to_owned()));
    assert_eq!(
        beside.echo().headers.get("authorization"),
        Some("Basic dTpw")
    );
}

#[tokio::test]
async fn the_query_counts_on_handshakes_only_unless_the_operator_says_otherwise() {
    let narrow = World::start().await;
    let wide = World::with(|draft| {
        draft.configuration()["clients"]["key_sources"][4] =
            json!({"query": "api_key", "any_request": true});
    })
    .await;
    let path = format!("{NOTES}?a=1&api_key=demo-premium&b=2");

    let refused = narrow.get(&path).send().await;
    let served = wide.get(&path).send().await;

    assert_eq!(refused.refused(), (401, "missing_key".to_owned()));
    assert_eq!(served.echo().query.as_deref(), Some("a=1&b=2"));
    assert!(!served.text().contains("demo-premium"));
}

#[tokio::test]
async fn a_listed_key_is_known_without_asking_anyone() {
    let world = World::with(list_a_key).await;

    let served = world.get(NOTES).key("test").send().await;

    assert_eq!(
        served.echo().headers.get("x-waykeeper-client"),
        Some("acme-dev")
    );
    assert_eq!(world.auth().stats().total, 0);
}

#[tokio::test]
async fn the_validator_is_asked_once_for_a_hundred_requests_in_a_row() {
    let world = World::with(|draft| draft.workers(2)).await;

    for _ in 0..100 {
        assert_eq!(
            world.get(NOTES).key("demo-premium").send().await.status,
            200
        );
    }

    assert_eq!(world.auth().stats().total, 1);
    let metrics = world.metrics().await;
    let name = "waykeeper_remembered_keys_total";
    assert_eq!(metrics.sum(name, &[("outcome", "miss")]), 1.0);
    assert_eq!(metrics.sum(name, &[("outcome", "hit")]), 99.0);
    assert_eq!(metrics.sum("waykeeper_validator_calls_total", &[]), 1.0);
    eventually("the histogram", || async {
        let count = "waykeeper_validator_duration_milliseconds_count";
        (world.metrics().await.sum(count, &[]) == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_invalid_key_is_remembered_too() {
    let world = World::with(|draft| draft.workers(2)).await;

    for _ in 0..20 {
        assert_eq!(world.get(NOTES).key("unheard-of").send().await.status, 401);
    }

    assert_eq!(world.auth().stats().total, 1);
}

#[tokio::test]
async fn what_is_remembered_is_forgotten_in_time() {
    let world = World::with(|draft| {
        draft.configuration()["clients"]["validator"]["remember"] =
            json!({"valid": "1s", "invalid": "1s"});
    })
    .await;
    assert_eq!(
        world.get(NOTES).key("demo-premium").send().await.status,
        200
    );

    world.auth().revoke("demo-premium");

    eventually("the revocation", || async {
        let answer = world.get(NOTES).key("demo-premium").send().await;
        (answer.status == 401).then_some(())
    })
    .await;
    world.auth().restore("demo-premium");
    eventually("the restoration", || async {
        let answer = world.get(NOTES).key("demo-premium").send().await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_validators_ttl_shortens_what_is_remembered() {
    let world = World::start().await;
    world.auth().insert_key(
        "brief",
        Client {
            client_id: "brief".to_owned(),
            ttl: Some(1),
            ..Client::default()
        },
    );
    assert_eq!(world.get(NOTES).key("brief").send().await.status, 200);

    world.auth().revoke("brief");

    eventually("the revocation", || async {
        (world.get(NOTES).key("brief").send().await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nobody_gets_in_because_the_validator_fails_and_nothing_is_remembered_of_it() {
    let world = World::with(|draft| {
        draft.configuration()["clients"]["validator"]["timeout"] = json!("2s");
    })
    .await;
    let faults = [
        ("slow", Fault::slow(Duration::from_secs(60))),
        ("500", Fault::status(500)),
        ("301", Fault::status(301)),
        ("429", Fault::status(429)),
        ("nonsense", Fault::nonsense()),
        ("an empty body", Fault::body("")),
        ("no object", Fault::body("[]")),
        ("no client", Fault::body(r#"{"plan":"premium"}"#)),
        (
            "a client that is no text",
            Fault::body(r#"{"client_id":7}"#),
        ),
        ("too big", Fault::too_big()),
        ("a bad client", Fault::bad_name(Field::ClientId)),
        ("a bad plan", Fault::bad_name(Field::Plan)),
        ("a bad team", Fault::bad_name(Field::Team)),
        ("a bad role", Fault::bad_name(Field::Roles)),
        ("hang", Fault::hang()),
        ("hang up", Fault::hang_up()),
    ];
    for (what, fault) in faults {
        world.auth().set_fault(fault);
        let before = world.auth().stats().total;

        let refused = world.get(NOTES).key("demo-premium").send().await;

        // Only what nobody has answered is asked again; what is late is not.
        let asked = world.auth().stats().total - before;
        assert_eq!(asked, if what == "hang up" { 3 } else { 1 }, "{what}");

        assert_eq!(
            refused.refused(),
            (503, "validator_unavailable".to_owned()),
            "{what}"
        );
        assert!(refused.headers.contains_key("retry-after"), "{what}");
    }
    world.auth().clear_fault();
    assert_eq!(
        world.get(NOTES).key("demo-premium").send().await.status,
        200
    );
    assert_eq!(world.agent("memory").stats().total, 1);
}

#[tokio::test]
async fn the_validator_is_believed_if_its_answer_is_the_documented_object_and_only_then() {
    let world = World::start().await;
    let says = |key: &str, body: &str| {
        let (status, body) = (200, body.to_owned());
        world.auth().insert_key(key, Answer::Raw { status, body });
    };
    for (number, body) in [
        r#"["acme"]"#,
        r#"["acme","premium",null,["admin"],300]"#,
        r#"[{"client_id":"acme"}]"#,
        r#""acme""#,
        "null",
        "{}",
        r#"{"client_id":null}"#,
        r#"{"client_id":["acme"]}"#,
        r#"{"client_id":"acme","client_id":"acme"}"#,
        r#"{"client_id":"acme","client\u005fid":"globex"}"#,
        r#"{"client_id":"acme","roles":[],"roles":["admin"]}"#,
        r#"{"client_id":"acme","roles":"admin"}"#,
        r#"{"client_id":"acme","roles":["admin",null]}"#,
        r#"{"client_id":"acme","roles":[7]}"#,
        r#"{"client_id":"acme","plan":7}"#,
        r#"{"client_id":"acme","team":{}}"#,
        r#"{"client_id":"acme","ttl":"300"}"#,
        r#"{"client_id":"acme","ttl":-1}"#,
        r#"{"client_id":"acme","ttl":1.5}"#,
        r#"{"client_id":"acme","ttl":NaN}"#,
        r#"{"client_id":"acme"} and more"#,
        r#"{"client_id":"acme"}{}"#,
        "\u{feff}{\"client_id\":\"acme\"}",
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("bad-{number}");
        says(&key, body);

        let refused = world.get(NOTES).key(&key).send().await;

        let unavailable = (503, "validator_unavailable".to_owned());
        assert_eq!(refused.refused(), unavailable, "{body}");
        // It is remembered for nobody: a moment later the validator says another thing.
        says(&key, r#"{"client_id":"acme"}"#);
        assert_eq!(
            world.get(NOTES).key(&key).send().await.status,
            200,
            "{body}"
        );
    }
    for (number, body) in [
        r#"{"client_id":"acme"}"#,
        r#"{"client_id":"acme","plan":null,"team":null,"roles":null,"ttl":null}"#,
        r#"{"client_id":"acme","ttl":300.0}"#,
        r#"{"client_id":"acme","ttl":3e2}"#,
        r#"{"x":1,"client_id":"acme","x":{"client_id":"globex"},"roles":[]}"#,
        r#" {"client\u005fid":"\u0061cme"} "#,
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("good-{number}");
        says(&key, body);

        let served = world.get(NOTES).key(&key).send().await;

        let headers = served.echo().headers;
        assert_eq!(headers.get("x-waykeeper-client"), Some("acme"), "{body}");
        for name in ["x-waykeeper-team", "x-waykeeper-roles"] {
            assert_eq!(headers.get(name), None, "{body}");
        }
        // And it is remembered: what the validator says now nobody asks for.
        says(&key, "{}");
        assert_eq!(
            world.get(NOTES).key(&key).send().await.status,
            200,
            "{body}"
        );
    }
}

/// Lists the key `test` in the configuration.
fn list_a_key(draft: &mut Draft) {
    let sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    draft.configuration()["clients"]["keys"] =
        json!([{"sha256": sha256, "client_id": "acme-dev", "roles": ["admin"]}]);
}

#[tokio::test]
async fn nobody_gets_in_because_the_validator_is_gone() {
    let nobody = free_address();
    for addresses in [vec![nobody], Vec::new()] {
        let world = World::with(|draft| {
            draft.lead(AUTH_CLUSTER, &addresses);
            list_a_key(draft);
        })
        .await;

        let refused = world.get(NOTES).key("demo-premium").send().await;

        assert_eq!(refused.refused(), (503, "validator_unavailable".to_owned()));
        // Who is listed needs no validator.
        assert_eq!(world.get(NOTES).key("test").send().await.status, 200);
    }
}

#[tokio::test]
async fn the_validator_gets_the_headers_it_may_demand() {
    let world = World::start().await;

    world.get(NOTES).key("demo-premium").send().await;

    let stats = world.auth().stats();
    let call = stats.last.back().expect("a call");
    assert_eq!(call.headers.get("x-gateway"), Some("waykeeper"));
    assert_eq!(call.headers.get("content-type"), Some("application/json"));
}

#[tokio::test]
async fn one_of_the_roles_is_enough() {
    let world = World::with(|draft| {
        draft.route("/api/v1/tools")["roles"] = json!(["owner", "admin"]);
    })
    .await;
    let tools = |key: &str| world.get("/api/v1/tools/list").key(key).send();

    assert_eq!(tools("demo-admin").await.status, 200);
    assert_eq!(
        tools("demo-premium").await.refused(),
        (403, "forbidden".to_owned())
    );
}

#[tokio::test]
async fn where_no_key_is_needed_the_agent_is_told_of_no_client() {
    let world = World::with(|draft| {
        draft.route("/api/v1/memory")["auth_required"] = json!(false);
    })
    .await;

    let anonymous = world.get(NOTES).send().await;
    let known = world.get(NOTES).key("demo-premium").send().await;
    let wrong = world.get(NOTES).key("unheard-of").send().await;

    let headers = anonymous.echo().headers;
    assert_eq!(headers.get("x-waykeeper-agent"), Some("memory"));
    assert_eq!(headers.get("x-waykeeper-route"), Some("/api/v1/memory"));
    for name in [
        "x-waykeeper-client",
        "x-waykeeper-plan",
        "x-waykeeper-team",
        "x-waykeeper-roles",
    ] {
        assert_eq!(headers.get(name), None, "{name}");
    }
    assert_eq!(
        known.echo().headers.get("x-waykeeper-client"),
        Some("globex")
    );
    assert_eq!(wrong.refused(), (401, "invalid_key".to_owned()));
}
