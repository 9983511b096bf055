//! A route changes requests on their way to the agent, and its answers: headers, the host, members of a JSON body.

use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use waykeeper_demo::auth::Fault;

use crate::harness::{Draft, Puppet, Request, Shape, World};

/// Changes headers on both sides, and the host.
const HEADERS: &str = "/edited/headers";
/// Changes members of the body, too.
const BODY: &str = "/edited/body";
/// The same behind rules and a model's other name.
const NAMED: &str = "/edited/named";

const JSON: (&str, &str) = ("content-type", "application/json");

/// One world is enough for all that leaves nothing behind.
#[tokio::test]
async fn routes_change_requests_and_answers() {
    let world = World::with(|draft| {
        routes(draft);
        // Which trailers reach.
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        draft.cluster("memory")["typed_extension_protocol_options"][options]["explicit_http_config"] =
            json!({"http2_protocol_options": {}});
    })
    .await;
    headers_are_changed_on_both_sides(&world).await;
    nobody_speaks_for_another(&world).await;
    trailers_bring_nothing_back(&world).await;
    members_of_a_body_are_changed_however_it_comes(&world).await;
    a_large_body_and_a_dripping_one_are_changed(&world).await;
    a_body_that_cannot_be_changed_is_refused(&world).await;
    a_model_is_renamed_and_the_rest_is_changed(&world).await;
}

async fn headers_are_changed_on_both_sides(world: &World) {
    for http2 in [false, true] {
        let request = keyed(world, HEADERS)
            .header("x-tenant", "spoofed")
            .header("x-debug", "1")
            .header("x-via", "caller");
        let request = if http2 { request.http2() } else { request };
        let answer = request.send().await;
        let echo = answer.echo();
        let sent = |name: &str| echo.headers.all(name).to_vec();
        assert_eq!(sent("x-tenant"), ["search"]);
        assert_eq!(sent("x-who"), ["premium/globex on edited at memory"]);
        assert_eq!(
            sent("x-id"),
            [answer.header("x-request-id").expect("an id")]
        );
        assert_eq!(sent("host"), ["internal.example:8080"]);
        assert_eq!((sent("x-debug"), sent("x-org")), (vec![], vec![]));
        // Envoy may write them in one line.
        assert_eq!(sent("x-via").join(","), "caller,waykeeper");
        assert_eq!(answer.header("x-served-by"), Some("memory"));
        assert_eq!(answer.header("x-demo-agent"), None);
        let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
        assert_eq!(vary, ["x-tenant"]);
    }
    // What the gateway answers itself is its own, Envoy's answers as well.
    let refused = world.get(HEADERS).key("nobody").send().await;
    assert_eq!(refused.refused(), (401, "invalid_key".to_owned()));
    assert_eq!(refused.header("x-served-by"), None);
    let plain = keyed(world, "/api/v1/memory").header("x-tenant", "its own");
    let plain = plain.send().await;
    assert_eq!(plain.echo().headers.get("x-tenant"), Some("its own"));
    assert_eq!(plain.header("x-served-by"), None);
}

async fn nobody_speaks_for_another(world: &World) {
    let spoofed = [
        ("x-tenant", "spoofed"),
        ("x_tenant", "spoofed"),
        ("X-Tenant", "spoofed"),
        ("x_debug", "1"),
        ("x-org", "spoofed"),
    ];
    // One without a key, and one whose key knows no organisation.
    for key in [None, Some("demo-premium")] {
        let request = world.get(HEADERS);
        let request = key.map_or(request.clone(), |key| request.key(key));
        let request = spoofed.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        });
        let echo = request.send().await.echo();
        let all = format!("{:?}", echo.headers);
        assert!(!all.contains("spoofed") && !all.contains("debug"), "{all}");
        assert_eq!(echo.headers.get("x-tenant"), key.map(|_| "search"));
    }
    let body = r#"{"client_id":"spoofed","user":"spoofed","input":1}"#;
    let anonymous = world
        .request("POST", BODY)
        .header(JSON.0, JSON.1)
        .body(body);
    let echo = anonymous.send().await.echo();
    assert_eq!(echo.body_start, r#"{"input":1,"meta":{"store":false}}"#);
}

async fn trailers_bring_nothing_back(world: &World) {
    for path in [HEADERS, BODY] {
        let mut upload = keyed(world, path).header(JSON.0, JSON.1).http2().upload();
        assert!(upload.write("{}").await);
        let mut trailers = HeaderMap::new();
        for name in ["x-tenant", "x_tenant", "x-debug", "x-checksum"] {
            trailers.insert(name, "spoofed".parse().expect("a value"));
        }
        upload.end_with(trailers).await;
        let echo = upload.answer().await.echo();
        assert_eq!(echo.trailers.get("x-checksum"), Some("spoofed"), "{path}");
        for name in ["x-tenant", "x_tenant", "x-debug"] {
            assert_eq!(echo.trailers.get(name), None, "{path} {name}");
        }
    }
}

async fn members_of_a_body_are_changed_however_it_comes(world: &World) {
    let long = "x".repeat(50_000);
    for (body, expected) in [
        (
            "{}".to_owned(),
            r#"{"client_id":"globex","meta":{"store":false},"user":"u/search"}"#.to_owned(),
        ),
        (
            r#"{ "client_id": "spoofed" , "a": [1.0, {"user": "kept"}], "meta": {"internal": {"b": "}"}, "c": 1e400} }"#.to_owned(),
            r#"{ "client_id": "globex" , "a": [1.0, {"user": "kept"}], "meta": { "c": 1e400,"store":false} ,"user":"u/search"}"#.to_owned(),
        ),
        (
            r#"{"\u0075ser":"spoofed","a":"é\ud83d\ude00\"","meta":null}"#.to_owned(),
            r#"{"\u0075ser":"u/search","a":"é\ud83d\ude00\"","meta":{"store":false},"client_id":"globex"}"#.to_owned(),
        ),
        (
            format!(r#"{{"input":"{long}","user":"spoofed"}}"#),
            format!(r#"{{"input":"{long}","user":"u/search","client_id":"globex","meta":{{"store":false}}}}"#),
        ),
    ] {
        for shape in Shape::ALL {
            let request = keyed(world, BODY).header(JSON.0, JSON.1);
            let echo = shape.send(request, body.clone().into()).await.echo();
            if shape == Shape::HeadersOnly {
                assert_eq!(echo.body_bytes, 0);
                assert_eq!(echo.headers.get("x-tenant"), Some("search"));
                continue;
            }
            let start = &echo.body_start;
            assert_eq!(echo.body_sha256, sha256(expected.as_bytes()), "{shape:?} {start}");
            if shape != Shape::Trailers {
                let length = expected.len().to_string();
                assert_eq!(echo.headers.get("content-length"), Some(&*length), "{shape:?}");
            }
        }
    }
}

async fn a_large_body_and_a_dripping_one_are_changed(world: &World) {
    let body = |user: &str, length: usize| {
        let items: Vec<_> = (0..length)
            .map(|at| json!({"at": at, "user": "kept"}))
            .collect();
        format!(r#"{{"items":{},"user":"{user}"}}"#, Value::from(items))
    };
    let expected = |length: usize| {
        let body = body("u/search", length);
        format!(
            r#"{},"client_id":"globex","meta":{{"store":false}}}}"#,
            &body[..body.len() - 1]
        )
    };
    for shape in [Shape::WithLength, Shape::Chunked, Shape::Http2] {
        let large = body("spoofed", 35_000);
        assert!(large.len() > 900_000, "{}", large.len());
        let request = keyed(world, BODY).header(JSON.0, JSON.1);
        let echo = shape.send(request, large.into()).await.echo();
        assert_eq!(
            echo.body_sha256,
            sha256(expected(35_000).as_bytes()),
            "{shape:?}"
        );
    }
    for http2 in [false, true] {
        let request = keyed(world, BODY).header(JSON.0, JSON.1);
        let request = if http2 { request.http2() } else { request };
        let mut upload = request.upload();
        for byte in body("spoofed", 3).into_bytes() {
            assert!(upload.write(vec![byte]).await);
        }
        upload.end();
        let echo = upload.answer().await.echo();
        assert_eq!(echo.body_start, expected(3), "{http2}");
    }
}

async fn a_body_that_cannot_be_changed_is_refused(world: &World) {
    let agent = world.agent("memory");
    for (what, header, body) in [
        ("twice", JSON, r#"{"user":1,"user":2}"#),
        (
            "twice in escapes",
            JSON,
            r#"{"client_id":1,"client\u005fid":2}"#,
        ),
        ("in other letters", JSON, r#"{"Client_ID":"spoofed"}"#),
        (
            "an inner one twice",
            JSON,
            r#"{"meta":{},"meta":{"internal":1}}"#,
        ),
        ("no object within", JSON, r#"{"meta":"text"}"#),
        ("a list", JSON, r#"[{"user":"spoofed"}]"#),
        ("no JSON", JSON, "user=spoofed"),
        ("half of it", JSON, r#"{"user":"spoofed""#),
        ("more than it", JSON, r#"{} {"user":"spoofed"}"#),
        ("with a mark before it", JSON, "\u{feff}{}"),
        (
            "a form",
            ("content-type", "application/x-www-form-urlencoded"),
            "user=spoofed",
        ),
        (
            "a form of parts",
            ("content-type", "multipart/form-data; boundary=x"),
            "--x--",
        ),
        (
            "in UTF-16",
            ("content-type", "application/json; charset=utf-16"),
            "{}",
        ),
        ("compressed", ("content-encoding", "gzip"), "{}"),
    ] {
        let before = agent.stats().total;
        for shape in Shape::ALL
            .into_iter()
            .filter(|it| *it != Shape::HeadersOnly)
        {
            let request = keyed(world, BODY).header(header.0, header.1);
            let refused = shape.send(request, Bytes::from(body.to_owned())).await;
            assert_eq!(
                refused.refused(),
                (400, "bad_body".to_owned()),
                "{what} {shape:?}"
            );
            assert_eq!(refused.header("x-served-by"), None);
        }
        assert_eq!(
            agent.stats().total,
            before,
            "{what}: nothing of it has gone on"
        );
    }
}

async fn a_model_is_renamed_and_the_rest_is_changed(world: &World) {
    let body = r#"{"model": "smart", "user": "spoofed", "stream": false}"#;
    let expected =
        r#"{"model": "our-deployment/4o", "user": "globex at named-gpu", "stream": false}"#;
    for shape in Shape::ALL
        .into_iter()
        .filter(|it| *it != Shape::HeadersOnly)
    {
        let request = keyed(world, NAMED).header(JSON.0, JSON.1);
        let echo = shape.send(request, body.into()).await.echo();
        assert_eq!(echo.body_start, expected, "{shape:?}");
        if shape != Shape::Trailers {
            let length = expected.len().to_string();
            assert_eq!(
                echo.headers.get("content-length"),
                Some(&*length),
                "{shape:?}"
            );
        }
    }
}

/// All of it is here before anybody knows who calls, and it goes on from another callback than its own.
#[tokio::test]
async fn a_body_that_waited_for_the_validator_is_changed() {
    let world = World::with(|draft| {
        routes(draft);
        draft.configuration()["clients"]["validator"]["remember"] = json!({"valid": "0s"});
    })
    .await;
    world
        .auth()
        .set_fault(Fault::slow(Duration::from_millis(100)));
    let (body, expected) = (
        r#"{"user":"spoofed"}"#,
        r#"{"user":"u/search","client_id":"globex","meta":{"store":false}}"#,
    );
    for shape in Shape::ALL
        .into_iter()
        .filter(|it| *it != Shape::HeadersOnly)
    {
        let request = keyed(&world, BODY).header(JSON.0, JSON.1);
        let echo = shape.send(request, body.into()).await.echo();
        assert_eq!(echo.body_start, expected, "{shape:?}");
        let refused = keyed(&world, BODY).header(JSON.0, JSON.1);
        let refused = shape.send(refused, r#"{"user":1,"user":2}"#.into()).await;
        assert_eq!(refused.refused(), (400, "bad_body".to_owned()), "{shape:?}");
    }
    assert_eq!(world.auth().stats().total, 10);
}

#[tokio::test]
async fn a_redirect_to_the_agents_own_host_leads_to_where_the_caller_asked() {
    let agent = Puppet::listen().await;
    let world = World::with(|draft| {
        routes(draft);
        draft.connect("memory", &[agent.address()]);
    })
    .await;
    for (location, told) in [
        ("http://internal.example:8080/a?b", "/a?b"),
        ("http://other.example/a", "http://other.example/a"),
    ] {
        let asking = tokio::spawn(keyed(&world, HEADERS).send());
        let mut exchange = agent.accept().await;
        exchange.read_until("\r\n\r\n").await;
        let answer = format!(
            "HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        exchange.write(&answer).await;
        let answer = asking.await.expect("an answer");
        assert_eq!(
            (answer.status, answer.header("location")),
            (302, Some(told))
        );
    }
}

fn routes(draft: &mut Draft) {
    let manager = draft.connection_manager();
    manager["common_http_protocol_options"]["headers_with_underscores_action"] = json!("ALLOW");
    let configuration = draft.configuration();
    configuration["limits"] = json!([]);
    configuration["plans"] = json!({"standard": {}, "premium": {}});
    configuration["model_aliases"] = json!({"smart": "gpt-4o"});
    let mut agent = json!({"models": [{"model": "gpt-4o", "as": "our-deployment/4o"}]});
    agent["cluster"] = configuration["agents"]["chat-gpu"]["cluster"].clone();
    configuration["agents"]["named-gpu"] = agent;
    let headers = json!({
        "set": {
            "X-Tenant": "{team}",
            "x-who": "{plan}/{client} on {route} at {agent}",
            "x-org": "{organisation}",
            "x-id": "{request_id}",
        },
        "add": {"x-via": "waykeeper"},
        "remove": ["x-debug"],
    });
    let response = json!({
        "headers": {"set": {"x-served-by": "{agent}"}, "add": {"vary": "x-tenant"}, "remove": ["x-demo-agent"]},
    });
    draft.routes().extend([
        json!({
            "prefix": HEADERS, "name": "edited", "agents": ["memory"], "auth_required": false,
            "request": {"headers": headers, "host": "internal.example:8080"}, "response": response,
        }),
        json!({
            "prefix": BODY, "agents": ["memory"], "auth_required": false, "max_body": "1MiB", "response": response,
            "request": {"headers": headers, "body": {
                "set": {"/client_id": "{client}", "/user": "u/{team}", "/meta/store": false},
                "remove": ["/meta/internal"],
            }},
        }),
        json!({
            "prefix": NAMED, "agents": ["named-gpu"], "max_body": "1MiB",
            "rules": [{"match": {"stream": true}, "agents": ["memory"]}],
            "request": {"body": {"set": {"/user": "{client} at {agent}"}}},
        }),
    ]);
}

fn keyed(world: &World, path: &str) -> Request {
    world.request("POST", path).key("demo-premium")
}

fn sha256(body: &[u8]) -> String {
    let hash = Sha256::digest(body);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
