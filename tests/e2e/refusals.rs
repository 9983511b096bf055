//! Every refusal of the contract's table: its status, its shape, its headers, and which comes first when several apply.

use serde_json::{Value, json};
use waykeeper_demo::auth::{Client, Fault};

use crate::harness::{Answer, Request, World};

const STRICT: &str = "/strict";
const NOTES: &str = "/api/v1/memory/notes";

/// A body that the strict route does not take.
const LARGE: &str = "seventeen bytes..";

#[tokio::test]
async fn of_several_refusals_the_first_of_the_table_is_told() {
    let world = strict_world().await;
    world.auth().insert_key("other-admin", admin("other"));
    let strict = |key: &str| world.request("POST", STRICT).body(LARGE).key(key);

    let upgrade = |method, path| {
        let request = world.request(method, path).body(LARGE);
        request
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
    };

    // Each request deserves all that follow, too: one fault less from row to row.
    let rows: [(Request, Row); 9] = [
        (
            upgrade("DELETE", "/nowhere/a%2fb"),
            Row(400, "bad_path", "invalid_request_error", None),
        ),
        (
            upgrade("DELETE", "/nowhere"),
            Row(404, "no_route", "not_found_error", None),
        ),
        (
            upgrade("DELETE", STRICT),
            Row(
                405,
                "method_not_allowed",
                "invalid_request_error",
                Some("allow"),
            ),
        ),
        (
            upgrade("POST", STRICT),
            Row(400, "upgrade_not_allowed", "invalid_request_error", None),
        ),
        (
            world.request("POST", STRICT).body(LARGE),
            Row(
                401,
                "missing_key",
                "authentication_error",
                Some("www-authenticate"),
            ),
        ),
        (
            strict("unheard-of"),
            Row(
                401,
                "invalid_key",
                "authentication_error",
                Some("www-authenticate"),
            ),
        ),
        (
            strict("demo-standard").header("x-agent", "nobody"),
            Row(403, "forbidden", "permission_error", None),
        ),
        (
            strict("demo-admin").header("x-agent", "nobody"),
            Row(400, "unknown_agent", "invalid_request_error", None),
        ),
        (
            strict("other-admin").header("x-agent", "memory"),
            Row(413, "body_too_large", "invalid_request_error", None),
        ),
    ];
    for (request, row) in rows {
        check(&world, request, row).await;
    }

    // When the strict route's one request an hour is spent, the limit comes before the size.
    let small = world
        .request("POST", STRICT)
        .body("small")
        .key("other-admin");
    let served = small.header("x-agent", "memory").send().await;
    assert_eq!(served.status, 200);
    let request = strict("other-admin").header("x-agent", "memory");
    let row = Row(429, "rate_limited", "rate_limit_error", Some("retry-after"));
    check(&world, request, row).await;
}

#[tokio::test]
async fn a_full_address_is_refused_after_the_route_is_found_and_before_the_key_is_read() {
    let world = World::with(|draft| {
        draft.configuration()["limits"] =
            json!([{"name": "per-address", "each": "address", "requests": "2/hour"}]);
    })
    .await;

    // Refused requests count here as well.
    for _ in 0..2 {
        assert_eq!(
            world.get(NOTES).send().await.refused(),
            (401, "missing_key".to_owned())
        );
    }

    for key in ["demo-premium", "unheard-of", ""] {
        let refused = world.get(NOTES).key(key).send().await;
        assert_eq!(refused.refused(), (429, "rate_limited".to_owned()), "{key}");
        assert!(
            refused.json()["detail"]
                .as_str()
                .expect("text")
                .contains("per-address")
        );
        assert!(seconds(&refused, "retry-after") > 0);
    }
    assert_eq!(world.get("/nowhere").send().await.status, 404);
    assert_eq!(world.request("PUT", NOTES).send().await.status, 405);
    assert_eq!(world.get("/api/v1/a%2fb").send().await.status, 400);
    assert_eq!(world.auth().stats().total, 0);
}

#[tokio::test]
async fn a_validator_that_fails_comes_before_the_role() {
    let world = strict_world().await;
    world.auth().set_fault(Fault::status(500));

    let request = world.request("POST", STRICT).key("demo-standard");

    let row = Row(
        503,
        "validator_unavailable",
        "api_error",
        Some("retry-after"),
    );
    check(&world, request, row).await;
}

#[tokio::test]
async fn an_unknown_plan_comes_before_the_role() {
    let world = strict_world().await;
    world.auth().insert_key(
        "gold",
        Client {
            client_id: "rich".to_owned(),
            plan: Some("gold".to_owned()),
            ..Client::default()
        },
    );

    let request = world.request("POST", STRICT).key("gold");

    let row = Row(503, "unknown_plan", "api_error", Some("retry-after"));
    check(&world, request, row).await;
    assert!(world.gateway().envoy_log().contains("gold"));
}

#[tokio::test]
async fn an_unknown_plan_is_the_default_plan_where_the_operator_says_so() {
    let world = World::with(|draft| {
        draft.configuration()["clients"]["unknown_plan"] = json!("default");
    })
    .await;
    world.auth().insert_key(
        "gold",
        Client {
            client_id: "rich".to_owned(),
            plan: Some("gold".to_owned()),
            ..Client::default()
        },
    );

    let served = world.get(NOTES).key("gold").send().await;

    assert_eq!(
        served.echo().headers.get("x-waykeeper-plan"),
        Some("standard")
    );
}

#[tokio::test]
async fn a_listed_key_that_has_expired_is_told_so() {
    let world = World::with(|draft| {
        // The key is the word `test`.
        let sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        draft.configuration()["clients"]["keys"] =
            json!([{"sha256": sha256, "client_id": "acme-dev", "expires": "2020-01-01T00:00:00Z"}]);
    })
    .await;

    let request = world.get(NOTES).key("test");

    let row = Row(
        401,
        "expired_key",
        "authentication_error",
        Some("www-authenticate"),
    );
    check(&world, request, row).await;
}

#[tokio::test]
async fn a_request_refused_before_its_limits_takes_nothing_from_them() {
    let world = strict_world().await;
    let strict = |key: &str| world.request("POST", STRICT).body("small").key(key);

    for _ in 0..3 {
        let refused = strict("demo-admin")
            .header("x-agent", "nobody")
            .send()
            .await;
        assert_eq!(refused.status, 400);
    }

    let served = strict("demo-admin")
        .header("x-agent", "memory")
        .send()
        .await;
    assert_eq!(served.status, 200);
}

#[tokio::test]
async fn a_request_that_says_it_is_too_large_leaves_its_limits_as_they_were() {
    let world = World::with(|draft| {
        draft.configuration()["plans"]["premium"] = json!({"requests": "5/hour"});
        let route = draft.route("/api/v1/memory");
        route["max_body"] = json!("16B");
    })
    .await;
    let notes = |length: usize| {
        world
            .request("POST", NOTES)
            .key("demo-premium")
            .body("x".repeat(length))
            .send()
    };
    let remaining = |answer: &Answer| {
        let told = answer.header("ratelimit").expect("the limits' fields");
        assert!(told.starts_with(r#""plan";r="#), "{told}");
        told.split(';').nth(1).map(str::to_owned)
    };

    let served = notes(16).await;
    assert_eq!(served.status, 200, "{}", served.text());
    assert_eq!(remaining(&served).as_deref(), Some("r=4"));
    for _ in 0..20 {
        let refused = notes(17).await;
        assert_eq!(refused.status, 413);
        assert_eq!(remaining(&refused).as_deref(), Some("r=4"));
    }
    for left in ["r=3", "r=2", "r=1", "r=0"] {
        assert_eq!(remaining(&notes(16).await).as_deref(), Some(left));
    }
    assert_eq!(notes(17).await.status, 429);
}

#[tokio::test]
async fn a_body_that_grows_too_large_on_the_way_is_refused() {
    let world = strict_world().await;
    let chunked = "POST /strict HTTP/1.1\r\nhost: a\r\nx-api-key: demo-admin\r\nx-agent: memory\r\n\
        transfer-encoding: chunked\r\nconnection: close\r\n\r\n\
        a\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n";

    let refused = world.raw(chunked).await;

    assert_eq!(refused.status(), Some(413), "{}", refused.text());
    assert_eq!(refused.code().as_deref(), Some("body_too_large"));
    assert_eq!(world.agent("memory").stats().complete, 0);
}

#[tokio::test]
async fn callers_of_grpc_are_told_in_its_own_numbers() {
    let world = World::with(|draft| {
        draft.route("/api/v1/memory")["rate_limit"] = json!({"requests": "1/hour"});
    })
    .await;
    let call = |path: &str| {
        world
            .request("POST", path)
            .header("content-type", "application/grpc")
    };
    let notes = || call(NOTES).key("demo-premium");

    assert_eq!(notes().send().await.header("grpc-status"), None);
    let full = notes().send().await;
    let nobody = call(NOTES).send().await;
    let no_role = call("/api/v1/tools/list").key("demo-premium").send().await;
    world.auth().set_fault(Fault::hang_up());
    let no_validator = call(NOTES).key("unheard-of").send().await;

    for (answer, status) in [
        (full, "8"),
        (nobody, "16"),
        (no_role, "7"),
        (no_validator, "14"),
    ] {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("grpc-status"), Some(status), "{answer:?}");
    }
}

/// Status, code, `error.type` and a header that must be there.
struct Row(u16, &'static str, &'static str, Option<&'static str>);

/// The request is refused as the row says, and so say the metrics and the access log.
async fn check(world: &World, request: Request, row: Row) {
    let Row(status, code, error_type, header) = row;
    let outcome = [("outcome", code)];
    let before = world
        .metrics()
        .await
        .sum("waykeeper_requests_total", &outcome);

    let answer = request.send().await;

    assert_eq!(answer.refused(), (status, code.to_owned()));
    let problem = answer.json();
    assert_eq!(problem["error"]["type"], error_type, "{code}");
    let expected = match status {
        429 => "https://iana.org/assignments/http-problem-types#quota-exceeded".to_owned(),
        _ => format!("urn:waykeeper:problem:{code}"),
    };
    assert_eq!(problem["type"], expected);
    if let Some(header) = header {
        assert!(answer.headers.contains_key(header), "{code}: no {header}");
    }
    let line = world.access_log(&answer).await;
    assert_eq!(line["details"], format!("waykeeper_{code}"));
    let after = world
        .metrics()
        .await
        .sum("waykeeper_requests_total", &outcome);
    assert_eq!(after - before, 1.0, "{code}");
}

/// A world with a route that has something to say against any request.
async fn strict_world() -> World {
    World::with(|draft| draft.routes().push(strict_route())).await
}

fn strict_route() -> Value {
    json!({
        "prefix": STRICT,
        "agents": ["memory"],
        "methods": ["POST"],
        "roles": ["admin"],
        "rate_limit": {"requests": "1/hour"},
        "max_body": "16B",
    })
}

fn admin(client_id: &str) -> Client {
    Client {
        client_id: client_id.to_owned(),
        roles: vec!["admin".to_owned()],
        ..Client::default()
    }
}

fn seconds(answer: &Answer, header: &str) -> u64 {
    let value = answer.header(header).expect("the header");
    value.parse().expect("seconds")
}
