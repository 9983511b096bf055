use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::*;

async fn demo() -> Auth {
    start("127.0.0.1:0", Keys::demo()).await.unwrap()
}

async fn send(auth: &Auth, method: Method, path: &str, body: &Value) -> reqwest::Response {
    let url = format!("http://{}{path}", auth.address());
    reqwest::Client::new()
        .request(method, url)
        .json(body)
        .send()
        .await
        .unwrap()
}

async fn validate(auth: &Auth, key: &str) -> reqwest::Response {
    send(auth, Method::POST, "/validate", &json!({"api_key": key})).await
}

async fn order(auth: &Auth, fault: &Value) {
    let response = send(auth, Method::PUT, "/demo/faults", fault).await;
    assert_eq!(
        response.status(),
        StatusCode::NO_CONTENT,
        "{}",
        response.text().await.unwrap()
    );
}

#[tokio::test]
async fn a_known_key_is_answered_with_its_client() {
    let auth = demo().await;
    let response = validate(&auth, "demo-admin").await;
    assert_eq!(response.status(), StatusCode::OK);
    let expected = json!({"client_id": "operations", "plan": "premium", "team": "platform", "roles": ["admin"]});
    assert_eq!(response.json::<Value>().await.unwrap(), expected);
}

#[tokio::test]
async fn an_unknown_key_is_401() {
    let auth = demo().await;
    assert_eq!(
        validate(&auth, "demo-nobody").await.status(),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        auth.stats().outcomes,
        Outcomes {
            invalid: 1,
            ..Outcomes::default()
        }
    );
}

#[tokio::test]
async fn what_asks_about_no_key_is_400() {
    let auth = demo().await;
    for body in [
        json!({}),
        json!({"api_key": 7}),
        json!(null),
        json!("demo-admin"),
    ] {
        let response = send(&auth, Method::POST, "/validate", &body).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
    }
    assert_eq!(auth.stats().outcomes.bad_request, 4);
}

#[tokio::test]
async fn a_revoked_key_is_401_until_it_is_restored() {
    let auth = demo().await;
    let key = json!({"api_key": "demo-premium"});
    assert_eq!(
        send(&auth, Method::POST, "/demo/revoke", &key)
            .await
            .status(),
        StatusCode::OK
    );
    assert_eq!(
        validate(&auth, "demo-premium").await.status(),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        validate(&auth, "demo-standard").await.status(),
        StatusCode::OK
    );
    assert_eq!(
        send(&auth, Method::POST, "/demo/restore", &key)
            .await
            .status(),
        StatusCode::OK
    );
    assert_eq!(
        validate(&auth, "demo-premium").await.status(),
        StatusCode::OK
    );
    let unknown = json!({"api_key": "demo-nobody"});
    assert_eq!(
        send(&auth, Method::POST, "/demo/revoke", &unknown)
            .await
            .status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_stats_count_by_key_and_show_headers_but_no_key() {
    let auth = demo().await;
    for _ in 0..3 {
        validate(&auth, "demo-standard").await;
    }
    let url = format!("http://{}/validate", auth.address());
    let request = reqwest::Client::new()
        .post(url)
        .header("x-gateway", "waykeeper")
        .header("x-leak", "is demo-admin");
    request
        .json(&json!({"api_key": "demo-admin"}))
        .send()
        .await
        .unwrap();

    let text = send(&auth, Method::GET, "/demo/stats", &Value::Null)
        .await
        .text()
        .await
        .unwrap();
    assert!(!text.contains("demo-"), "{text}");
    let stats: Stats = serde_json::from_str(&text).unwrap();
    assert_eq!(stats, auth.stats());
    assert_eq!(
        (stats.total, stats.in_flight, stats.outcomes.valid),
        (4, 0, 4)
    );
    assert_eq!(
        (
            stats.calls_about("demo-standard"),
            stats.calls_about("demo-admin")
        ),
        (3, 1)
    );
    let last = stats.last.back().unwrap();
    assert_eq!(last.headers.get("x-gateway"), Some("waykeeper"));
    assert_eq!(last.headers.get("x-leak"), Some("is [key]"));
    assert_eq!(
        (last.method.as_str(), last.path.as_str()),
        ("POST", "/validate")
    );

    send(&auth, Method::DELETE, "/demo/stats", &Value::Null).await;
    assert_eq!(auth.stats(), Stats::default());
}

#[tokio::test]
async fn a_fault_for_two_calls_ends_after_two_calls() {
    let auth = demo().await;
    order(
        &auth,
        &json!({"kind": "status", "status": 502, "body": "later", "calls": 2}),
    )
    .await;
    for _ in 0..2 {
        let response = validate(&auth, "demo-standard").await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(response.text().await.unwrap(), "later");
    }
    assert_eq!(
        validate(&auth, "demo-standard").await.status(),
        StatusCode::OK
    );
    assert_eq!(
        auth.stats().outcomes,
        Outcomes {
            valid: 1,
            fault: 2,
            ..Outcomes::default()
        }
    );
}

#[tokio::test]
async fn a_fault_for_a_time_ends_with_the_time() {
    let auth = demo().await;
    let start = Instant::now();
    order(&auth, &json!({"kind": "nonsense", "for": "1s"})).await;
    let text = validate(&auth, "demo-standard").await.text().await.unwrap();
    assert!(serde_json::from_str::<Value>(&text).is_err(), "{text}");
    while validate(&auth, "demo-standard").await.text().await.unwrap() == text {
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_fault_lasts_until_it_is_cleared() {
    let auth = demo().await;
    for end in [Method::DELETE, Method::PUT] {
        auth.set_fault(Fault::status(500));
        for _ in 0..5 {
            assert_eq!(
                validate(&auth, "demo-standard").await.status(),
                StatusCode::INTERNAL_SERVER_ERROR
            );
        }
        send(&auth, end, "/demo/faults", &json!({"kind": "none"})).await;
        assert_eq!(
            validate(&auth, "demo-standard").await.status(),
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn a_slow_answer_is_the_right_answer_late() {
    let auth = demo().await;
    order(&auth, &json!({"kind": "slow", "delay": "200ms"})).await;
    let start = Instant::now();
    assert_eq!(
        validate(&auth, "demo-standard").await.status(),
        StatusCode::OK
    );
    assert_eq!(
        validate(&auth, "demo-nobody").await.status(),
        StatusCode::UNAUTHORIZED
    );
    assert!(start.elapsed() >= Duration::from_millis(400));
}

#[tokio::test]
async fn a_hanging_call_is_under_way_and_ends_with_the_service() {
    let auth = demo().await;
    auth.set_fault(Fault::hang());
    let url = format!("http://{}/validate", auth.address());
    let call = tokio::spawn(
        reqwest::Client::new()
            .post(url)
            .json(&json!({"api_key": "demo-admin"}))
            .send(),
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    while auth.stats().in_flight != 1 {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    assert!(!call.is_finished());
    auth.stop().await;
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn a_call_that_is_hung_up_on_gets_no_answer() {
    let auth = demo().await;
    order(&auth, &json!({"kind": "hang-up", "calls": 1})).await;
    let url = format!("http://{}/validate", auth.address());
    let error = reqwest::Client::new()
        .post(url)
        .json(&json!({"api_key": "demo-admin"}))
        .send()
        .await
        .unwrap_err();
    assert!(error.is_request(), "{error:?}");
    assert_eq!(validate(&auth, "demo-admin").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn answers_too_long_and_names_too_strange_are_wrong_in_that_alone() {
    let auth = demo().await;
    order(&auth, &json!({"kind": "too-big"})).await;
    let text = validate(&auth, "demo-standard").await.text().await.unwrap();
    assert!(text.len() > 16 * 1024);
    assert!(serde_json::from_str::<Value>(&text).unwrap()["client_id"].is_string());

    for field in ["client_id", "plan", "team", "roles"] {
        order(
            &auth,
            &json!({"kind": "bad-name", "field": field, "name": "a b"}),
        )
        .await;
        let answer: Value = validate(&auth, "demo-standard").await.json().await.unwrap();
        let expected = if field == "roles" {
            json!(["a b"])
        } else {
            json!("a b")
        };
        assert_eq!(answer[field], expected);
        assert!(answer["client_id"].is_string());
    }
}

#[tokio::test]
async fn an_order_that_makes_no_sense_is_400_and_says_why() {
    let auth = demo().await;
    let orders = [
        (json!({"kind": "sleepy"}), "unknown variant `sleepy`"),
        (json!({"kind": "slow"}), "kind slow needs a delay"),
        (json!({"kind": "slow", "delay": "2"}), "`2` is no duration"),
        (json!({"kind": "status", "status": 99}), "from 200 to 599"),
        (
            json!({"kind": "hang", "status": 500}),
            "`status` does not go with this kind",
        ),
        (
            json!({"kind": "none", "calls": 1}),
            "`calls` does not go with this kind",
        ),
        (json!({"kind": "hang", "calls": 1, "for": "1s"}), "not both"),
        (
            json!({"kind": "hang", "until": "1s"}),
            "unknown field `until`",
        ),
    ];
    for (fault, expected) in orders {
        let response = send(&auth, Method::PUT, "/demo/faults", &fault).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{fault}");
        let text = response.text().await.unwrap();
        let error: Value = serde_json::from_str(&text).unwrap();
        assert!(
            error["error"]["message"]
                .as_str()
                .unwrap()
                .contains(expected),
            "{fault}: {text}"
        );
    }
}

#[tokio::test]
async fn a_key_may_be_answered_word_for_word() {
    let keys = r#"{"keys": [
        {"api_key": "odd", "raw": {"body": {"client_id": "a", "ttl": -1}}},
        {"api_key": "gone", "raw": {"status": 404, "body": "no"}}
    ]}"#;
    let auth = start("127.0.0.1:0", Keys::from_json(keys).unwrap())
        .await
        .unwrap();
    let odd = validate(&auth, "odd").await;
    assert_eq!(odd.status(), StatusCode::OK);
    assert_eq!(
        odd.json::<Value>().await.unwrap(),
        json!({"client_id": "a", "ttl": -1})
    );
    let gone = validate(&auth, "gone").await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    assert_eq!(gone.text().await.unwrap(), "no");
}

#[test]
fn a_bad_key_file_is_refused_with_the_place() {
    let files = [
        (
            r#"{"keys": [{"api_key": "a", "client_id": "x"}, {"api_key": "a", "client_id": "y"}]}"#,
            "keys[1]: ",
        ),
        (
            r#"{"keys": [{"api_key": "a"}]}"#,
            "keys[0]: one of client_id and raw",
        ),
        (
            r#"{"keys": [{"api_key": "", "client_id": "x"}]}"#,
            "keys[0]: api_key is empty",
        ),
        (
            r#"{"keys": [{"api_key": "a", "plan": "p", "raw": {}}]}"#,
            "keys[0]: raw stands alone",
        ),
        (
            r#"{"keys": [{"api_key": "a", "raw": {"status": 100}}]}"#,
            "keys[0]: raw.status",
        ),
        (
            r#"{"keys": [{"api_key": "a", "clientid": "x"}]}"#,
            "unknown field `clientid`",
        ),
        ("", "EOF"),
    ];
    for (file, expected) in files {
        let error = Keys::from_json(file).unwrap_err().to_string();
        assert!(error.contains(expected), "{file}: {error}");
    }
    let error = Keys::from_file("/no/such/keys.json".as_ref())
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("/no/such/keys.json: "), "{error}");
}

#[test]
fn debug_output_holds_no_key() {
    assert!(!format!("{:?}", Keys::demo()).contains("demo"));
}

#[tokio::test]
async fn a_port_in_use_is_told_in_one_line() {
    let auth = demo().await;
    let error = start(&auth.address().to_string(), Keys::none())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("port is in use") && !error.contains('\n'),
        "{error}"
    );
}
