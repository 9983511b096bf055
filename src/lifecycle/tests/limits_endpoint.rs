//! Callers ask how their limits stand, and operators about every client.

use serde_json::{Value, json};

use super::*;
use crate::identity::KeyHash;
use crate::text::hex;

const PATH: &str = "/.well-known/waykeeper/limits";

/// A client with a plan, one of another team, and an operator.
fn world(change: impl FnOnce(&mut Value)) -> World {
    World::with(|document| {
        let key = |key: &str, client: &str, more: Value| {
            let mut listed = json!({"sha256": hash(key), "client_id": client, "plan": "standard"});
            let Value::Object(more) = more else {
                unreachable!("an object")
            };
            listed.as_object_mut().unwrap().extend(more);
            listed
        };
        document["clients"]["keys"] = json!([
            key("acme-key", "acme", json!({"team": "blue"})),
            key("globex-key", "globex", json!({"team": "blue"})),
            key("boss-key", "boss", json!({"roles": ["operator"]})),
        ]);
        document["limits_endpoint"] = json!({"operator_role": "operator"});
        document["limits"] = json!([
            {"name": "team", "each": "team", "requests": "10/hour"},
            {"name": "tried", "each": "client", "requests": "1/hour", "enforce": false},
            {"name": "gate", "each": "address", "requests": "100/hour"},
            {"name": "at-once", "each": "client", "in_flight": 4},
        ]);
        change(document);
    })
}

fn hash(key: &str) -> String {
    hex::encoded(&KeyHash::of(key.as_bytes()).0)
}

impl World {
    /// What one whole request is answered by the gateway itself.
    fn told(&mut self, method: &str, path: &str, key: &str) -> LocalReply {
        self.host.begin(
            STREAM,
            &[(":method", method), (":path", path), ("x-api-key", key)],
        );
        let io = self.host.io(STREAM);
        assert_eq!(
            self.gateway.on_request_headers(STREAM, &io, true),
            Flow::Hold
        );
        let reply = self.stream(STREAM).reply;
        self.gateway.on_end(STREAM);
        reply.expect("an answer")
    }

    fn left(&mut self, query: &str, key: &str) -> Value {
        let reply = self.told("GET", &format!("{PATH}{query}"), key);
        assert_eq!(reply.status, 200, "{reply:?}");
        serde_json::from_slice(&reply.body).unwrap()
    }

    fn refused_with(&mut self, method: &str, path: &str, key: &str) -> (u16, String) {
        let reply = self.told(method, path, key);
        (reply.status, reply.details["waykeeper_".len()..].to_owned())
    }

    /// So many requests pass, and are over.
    fn pass(&mut self, key: &str, number: usize) {
        for _ in 0..number {
            let headers = [("x-api-key", key)];
            assert_eq!(
                self.request(STREAM, "POST", "/chat", &headers),
                Flow::Continue
            );
            self.gateway.on_end(STREAM);
        }
    }
}

/// One limit of an answer.
fn limit<'v>(answer: &'v Value, name: &str) -> &'v Value {
    let all = answer["limits"].as_array().unwrap().iter();
    let mut all = all.chain(answer["in_flight"].as_array().unwrap());
    all.find(|it| it["name"] == name).unwrap_or(&Value::Null)
}

#[test]
fn a_caller_is_told_all_its_limits_and_takes_nothing_by_asking() {
    let mut world = world(|_| {});
    world.pass("acme-key", 2);
    let twice = [world.left("", "acme-key"), world.left("", "acme-key")];
    let [once, again] = &twice;
    assert_eq!(once["client"], "acme");
    assert_eq!(once["plan"], "standard");
    assert_eq!(
        *limit(once, "plan"),
        json!({
            "name": "plan", "per": "client", "algorithm": "token_bucket",
            "requests": 3, "window_seconds": 3600, "burst": 3, "used": 2, "remaining": 1,
            "one_more_seconds": 1200, "reset_seconds": 2400, "enforced": true,
        })
    );
    assert_eq!(limit(once, "team")["used"], 2);
    assert_eq!(limit(once, "plan"), limit(again, "plan"));
    // Only the gate counts questions: two requests, and this is the first, then the second question.
    assert_eq!(
        [once, again].map(|it| limit(it, "gate")["used"].clone()),
        [json!(3), json!(4)]
    );
    // What only counts is the operator's business.
    assert_eq!(*limit(once, "tried"), Value::Null);
}

#[test]
fn requests_in_flight_are_told() {
    let mut world = world(|_| {});
    for id in [7, 8] {
        let headers = [("x-api-key", "acme-key")];
        world.request(StreamId(id), "POST", "/chat", &headers);
    }
    let expected = json!({
        "name": "at-once", "per": "client", "most": 4, "taken": 2, "waiting": 0, "enforced": true,
    });
    assert_eq!(*limit(&world.left("", "acme-key"), "at-once"), expected);
    assert_eq!(limit(&world.left("", "globex-key"), "at-once")["taken"], 0);
}

#[test]
fn limits_on_routes_are_told_for_those_that_the_client_may_use() {
    let mut world = world(|document| {
        for route in document["routes"].as_array_mut().unwrap() {
            route["rate_limit"] = json!({"requests": "5/minute"});
        }
    });
    world.pass("acme-key", 1);
    let answer = world.left("", "acme-key");
    let of_routes = answer["limits"].as_array().unwrap().iter();
    let of_routes: Vec<_> = of_routes
        .filter(|it| it["name"] == "route")
        .map(|it| (it["route"].as_str().unwrap(), it["used"].as_u64().unwrap()))
        .collect();
    // Not /admin, for which it has no role.
    assert_eq!(
        of_routes,
        [("/chat", 1), ("/events", 0), ("/ws", 0), ("/open", 0)]
    );
}

#[test]
fn nobody_but_an_operator_asks_about_another() {
    let mut world = world(|_| {});
    for (method, path) in [
        ("GET", "?client=globex"),
        ("GET", "?client=acme"),
        ("POST", "/reset?client=acme"),
        ("POST", "/reset"),
    ] {
        let refused = world.refused_with(method, &format!("{PATH}{path}"), "acme-key");
        assert_eq!(refused, (403, "forbidden".to_owned()), "{method} {path}");
    }
    world.pass("globex-key", 2);
    let answer = world.left("?client=globex", "boss-key");
    assert_eq!(answer["client"], "globex");
    assert_eq!(limit(&answer, "plan")["used"], 2);
    assert_eq!(limit(&answer, "tried")["enforced"], false);
    assert_eq!(answer["not_known"], json!(["address"]));
}

#[test]
fn without_a_role_in_the_configuration_nobody_is_an_operator() {
    let mut world = world(|document| document["limits_endpoint"] = json!({}));
    let refused = world.refused_with("GET", &format!("{PATH}?client=acme"), "boss-key");
    assert_eq!(refused, (403, "forbidden".to_owned()));
}

#[test]
fn of_a_client_that_nobody_knows_what_is_said_counts_and_the_rest_is_named() {
    let mut world = world(|_| {});
    let answer = world.left("?client=stranger&team=blue", "boss-key");
    assert_eq!(
        answer["not_known"],
        json!([
            "address",
            "plan",
            "own_limits",
            "organisation",
            "roles",
            "key"
        ])
    );
    assert_eq!(*limit(&answer, "plan"), Value::Null);
    assert_eq!(limit(&answer, "team")["used"], 0);
    let answer = world.left("?client=stranger&plan=standard", "boss-key");
    assert_eq!(limit(&answer, "plan")["remaining"], 3);
}

#[test]
fn a_key_that_was_validated_says_all_of_its_client() {
    let mut world = world(|_| {});
    world.request(STREAM, "POST", "/chat", &[("x-api-key", "secret")]);
    world.answer(200, ACME);
    world.gateway.on_end(STREAM);
    let query = format!("?client=acme&key_sha256={}", hash("secret"));
    let answer = world.left(&query, "boss-key");
    assert_eq!(answer["not_known"], json!(["address"]));
    assert_eq!(answer["team"], "blue");
    let other = format!("{PATH}?client=globex&key_sha256={}", hash("secret"));
    let refused = world.refused_with("GET", &other, "boss-key");
    assert_eq!(refused, (400, "bad_query".to_owned()));
}

#[test]
fn a_reset_gives_one_client_a_fresh_start_and_leaves_what_it_shares() {
    let mut world = world(|_| {});
    world.pass("acme-key", 3);
    world.pass("globex-key", 2);
    let reset = world.told("POST", &format!("{PATH}/reset?client=acme"), "boss-key");
    let answer: Value = serde_json::from_slice(&reset.body).unwrap();
    assert_eq!(answer["done_in"], json!(["process"]));
    let names = |answer: &Value| -> Vec<String> {
        let limits = answer["limits"].as_array().unwrap().iter();
        let mut names: Vec<_> = limits
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&answer), ["plan", "tried"]);
    let acme = world.left("", "acme-key");
    assert_eq!(limit(&acme, "plan")["used"], 0);
    assert_eq!(limit(&acme, "team")["used"], 5);
    assert_eq!(limit(&world.left("", "globex-key"), "plan")["used"], 2);

    let path = format!("{PATH}/reset?client=acme&limit=team");
    let reset = world.told("POST", &path, "boss-key");
    assert_eq!(
        names(&serde_json::from_slice(&reset.body).unwrap()),
        ["team"]
    );
    assert_eq!(limit(&world.left("", "acme-key"), "team")["used"], 0);
}

#[test]
fn a_question_that_is_not_understood_changes_nothing() {
    let mut world = world(|_| {});
    world.pass("acme-key", 1);
    for query in [
        "",
        "?client=a%20b",
        "?client=acme&client=acme",
        "?client=acme&organization=x",
        "?client=acme&plan=none",
        "?client=acme&key_sha256=12",
        "?client=acme&limit=plan&limit=none",
        "?plan=standard",
    ] {
        let path = format!("{PATH}/reset{query}");
        let refused = world.refused_with("POST", &path, "boss-key");
        assert_eq!(refused, (400, "bad_query".to_owned()), "{query}");
    }
    assert_eq!(limit(&world.left("", "acme-key"), "plan")["used"], 1);
}

#[test]
fn the_endpoint_takes_its_own_methods_and_needs_a_key() {
    let mut world = world(|_| {});
    for (method, path, key, status, code) in [
        ("POST", PATH, "acme-key", 405, "method_not_allowed"),
        ("OPTIONS", PATH, "acme-key", 405, "method_not_allowed"),
        (
            "GET",
            "/.well-known/waykeeper/limits/reset",
            "boss-key",
            405,
            "method_not_allowed",
        ),
        ("GET", PATH, "", 401, "missing_key"),
        ("HEAD", PATH, "acme-key", 200, "answered"),
        (
            "GET",
            "/.well-known/waykeeper/limits/x",
            "acme-key",
            404,
            "no_route",
        ),
        (
            "GET",
            "/.well-known/waykeeper/limitsx",
            "acme-key",
            404,
            "no_route",
        ),
    ] {
        let came = world.refused_with(method, path, key);
        assert_eq!(came, (status, code.to_owned()), "{method} {path} {key}");
    }
    let reply = world.told("GET", PATH, "acme-key");
    let no_store = ("cache-control", "no-store".to_owned());
    assert!(reply.headers.contains(&no_store), "{:?}", reply.headers);
    assert_eq!(
        world
            .host
            .metric("waykeeper_requests_total;route=none;agent=none;outcome=answered;"),
        2
    );
}

#[test]
fn it_can_be_moved_switched_off_and_taken_by_a_route() {
    let mut moved = world(|document| document["limits_endpoint"] = json!({"path": "/left"}));
    assert_eq!(moved.told("GET", "/left", "acme-key").status, 200);
    let refused = moved.refused_with("GET", PATH, "acme-key");
    assert_eq!(refused, (404, "no_route".to_owned()));

    let mut off = world(|document| document["limits_endpoint"] = json!({"enabled": false}));
    let refused = off.refused_with("GET", PATH, "acme-key");
    assert_eq!(refused, (404, "no_route".to_owned()));

    let mut taken = world(|document| {
        let route = json!({"prefix": PATH, "agents": ["one"]});
        document["routes"].as_array_mut().unwrap().push(route);
    });
    let headers = [("x-api-key", "acme-key")];
    assert_eq!(taken.request(STREAM, "GET", PATH, &headers), Flow::Continue);
    // One for all paths does not.
    let mut all = world(|document| {
        let route = json!({"prefix": "/", "agents": ["one"]});
        document["routes"].as_array_mut().unwrap().push(route);
    });
    assert_eq!(all.told("GET", PATH, "acme-key").status, 200);
}
