//! What a route changes of requests and answers.

use serde_json::json;

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");

fn world() -> World {
    World::with(|document| {
        document["plans"]["standard"]["requests"] = json!("999/hour");
        // That of `secret`.
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        document["clients"]["keys"] =
            json!([{"sha256": hash, "client_id": "acme", "plan": "standard", "team": "blue"}]);
        document["routes"] = json!([
            {
                "prefix": "/edited", "agents": ["one"], "auth_required": false, "max_body": "1MiB",
                "request": {
                    "headers": {
                        "set": {"x-tenant": "{client}", "x-static": "s", "X-Path": "{plan}:{team}:{route}:{agent}:{request_id}"},
                        "add": {"x-via": "{agent}", "x-none": "{organisation}"},
                        "remove": ["x-debug"],
                    },
                    "host": "internal.example:8080",
                    "body": {
                        "set": {"/client_id": "{client}", "/user": "u-{team}", "/meta/store": false, "/n": 7},
                        "remove": ["/meta/internal"],
                    },
                },
                "response": {"headers": {"set": {"x-served-by": "{agent}", "x-org": "{organisation}"}, "add": {"vary": "x-tenant"}, "remove": ["server"]}},
            },
            {"prefix": "/redirected", "agents": ["one"], "auth_required": false, "prefix_rewrite": "/inner", "request": {"host": "internal.example"}},
            {"prefix": "/plain", "agents": ["one"], "auth_required": false},
        ]);
    })
}

/// The values of a header as they go on.
fn values(headers: &[(Vec<u8>, Vec<u8>)], name: &str) -> Vec<String> {
    let named = headers.iter().filter(|(other, _)| other == name.as_bytes());
    named
        .map(|(_, value)| String::from_utf8(value.clone()).unwrap())
        .collect()
}

impl World {
    /// Sends a body in pieces of one length; what goes on of it. `None`: the request was refused.
    fn post_in_pieces(
        &mut self,
        id: StreamId,
        headers: &[(&str, &str)],
        body: &str,
        length: usize,
    ) -> Option<String> {
        let mut flow = self.request(id, "POST", "/edited", headers);
        let (mut sent, pieces) = (0, body.len().div_ceil(length).max(1));
        for number in 1..=pieces {
            sent = (sent + length).min(body.len());
            // All is collected.
            self.host.send(id, &body.as_bytes()[..sent]);
            assert_ne!(flow, Flow::Continue);
            flow = self
                .gateway
                .on_request_body(id, &self.host.io(id), sent, number == pieces);
            if self.stream(id).reply.is_some() {
                return None;
            }
        }
        assert_eq!(flow, Flow::Continue);
        Some(String::from_utf8(self.stream(id).body).unwrap())
    }
}

#[test]
fn headers_are_set_added_and_removed_however_the_caller_spells_them() {
    let mut world = world();
    let spoofed = [
        ("x-api-key", "secret"),
        ("x-tenant", "other"),
        ("x_tenant", "other"),
        ("X-Tenant", "other"),
        ("x-path", "other"),
        ("x-debug", "1"),
        ("x_debug", "1"),
        ("x-via", "caller"),
        (":authority", "api.example"),
    ];
    world.request(STREAM, "GET", "/edited", &spoofed);
    world.host.send(STREAM, b"");
    let io = world.host.io(STREAM);
    world.gateway.on_request_body(STREAM, &io, 0, true);
    let sent = world.stream(STREAM).request;
    let values = |name: &str| values(&sent, name);
    assert_eq!(values("x-tenant"), ["acme"]);
    assert_eq!(values("x-static"), ["s"]);
    assert_eq!(values("x-path"), ["standard:blue:/edited:one:id-1"]);
    assert_eq!(values("x-via"), ["caller", "one"]);
    assert_eq!(values(":authority"), ["internal.example:8080"]);
    for name in ["x_tenant", "X-Tenant", "x-debug", "x_debug", "x-none"] {
        assert_eq!(values(name), [""; 0], "{name}");
    }
}

#[test]
fn what_is_not_known_of_an_anonymous_caller_it_cannot_say_itself() {
    let mut world = world();
    let spoofed = [
        ("x-tenant", "other"),
        ("x_tenant", "other"),
        ("x-path", "other"),
        JSON,
    ];
    let body = world.post_in_pieces(
        STREAM,
        &spoofed,
        r#"{"client_id":"other","user":"other"}"#,
        99,
    );
    assert_eq!(body.as_deref(), Some(r#"{"meta":{"store":false},"n":7}"#));
    let sent = world.stream(STREAM).request;
    for name in ["x-tenant", "x_tenant", "x-path"] {
        assert_eq!(values(&sent, name), [""; 0], "{name}");
    }
    assert_eq!(values(&sent, "x-static"), ["s"]);
}

#[test]
fn trailers_bring_back_nothing_that_is_set_or_removed() {
    let mut world = world();
    world.request(STREAM, "POST", "/edited", &[]);
    world.host.send(STREAM, b"{}");
    world
        .gateway
        .on_request_body(STREAM, &world.host.io(STREAM), 2, false);
    let trailers = [
        ("x-tenant", "other"),
        ("x_tenant", "other"),
        ("x-debug", "1"),
        ("x-via", "kept"),
    ];
    world.host.trail(STREAM, &trailers);
    let flow = world
        .gateway
        .on_request_trailers(STREAM, &world.host.io(STREAM));
    assert_eq!(flow, Flow::Continue);
    let stream = world.stream(STREAM);
    assert_eq!(stream.trailers, [(b"x-via".to_vec(), b"kept".to_vec())]);
    assert_eq!(stream.body, br#"{"meta":{"store":false},"n":7}"#);
    assert_eq!(values(&stream.request, "content-length"), [""; 0]);
}

#[test]
fn a_body_is_the_same_however_it_came_and_its_length_is_told() {
    let body = r#"{ "client_id" : "other", "meta": {"internal": [1, {"a": "}"}], "x": 1}, "user": null, "input": "é" }"#;
    let expected = r#"{ "client_id" : "acme", "meta": { "x": 1,"store":false}, "user": "u-blue", "input": "é" ,"n":7}"#;
    let expected_length = expected.len().to_string();
    let length = body.len().to_string();
    for pieces in [1, 2, 7, 40, 1000] {
        for told in [None, Some(("content-length", length.as_str()))] {
            let mut world = world();
            let mut headers = vec![("x-api-key", "secret"), JSON];
            headers.extend(told);
            let sent = world.post_in_pieces(STREAM, &headers, body, pieces);
            assert_eq!(sent.as_deref(), Some(expected), "{pieces}");
            let request = world.stream(STREAM).request;
            assert_eq!(values(&request, "content-length"), [&*expected_length]);
        }
    }
}

#[test]
fn a_body_that_cannot_be_changed_is_refused_and_counts_for_nothing() {
    for (header, body, why) in [
        (JSON, r#"{"user":1,"user":2}"#, "/user twice"),
        (JSON, r#"{"user":1,"\u0075ser":2}"#, "/user twice"),
        (JSON, r#"{"User":1}"#, "some readers take for /user"),
        (
            JSON,
            r#"{"meta":"x"}"#,
            "something else than an object at /meta",
        ),
        (JSON, "[{}]", "not an object"),
        (JSON, r#"{"user":"#, "ends too early"),
        (JSON, " ", "ends too early"),
        (("content-type", "text/plain"), "{}", "send JSON"),
        (
            ("content-type", "multipart/form-data; boundary=x"),
            "{}",
            "send JSON",
        ),
        (("content-encoding", "gzip"), "{}", "send JSON"),
    ] {
        let mut world = world();
        let headers = [("x-api-key", "secret"), header];
        assert_eq!(
            world.post_in_pieces(STREAM, &headers, body, 3),
            None,
            "{body}"
        );
        assert_eq!(world.refusal(STREAM).as_deref(), Some("bad_body"), "{body}");
        let reply = world.stream(STREAM).reply.unwrap();
        let told = String::from_utf8(reply.body).unwrap();
        assert!(
            told.contains("This route changes the body") && told.contains(why),
            "{told}"
        );
        let left = reply.headers.iter().find(|(name, _)| *name == "ratelimit");
        assert!(left.unwrap().1.contains("r=999"), "{left:?}");
    }
    // Where there is no body, none is changed.
    let mut world = world();
    assert_eq!(
        world.post_in_pieces(STREAM, &[], "", 1).as_deref(),
        Some("")
    );
}

#[test]
fn a_redirect_leads_to_where_the_caller_has_asked() {
    let mut world = world();
    for (id, path, location, told) in [
        (1, "/edited", "http://internal.example:8080/a", "/a"),
        (
            2,
            "/edited",
            "http://elsewhere.example/a",
            "http://elsewhere.example/a",
        ),
        (
            3,
            "/redirected",
            "http://internal.example/inner/a",
            "/redirected/a",
        ),
        (
            4,
            "/plain",
            "http://internal.example/a",
            "http://internal.example/a",
        ),
    ] {
        let id = StreamId(id);
        world.host.begin(
            id,
            &[
                (":method", "GET"),
                (":path", path),
                (":authority", "api.example"),
            ],
        );
        world
            .gateway
            .on_request_headers(id, &world.host.io(id), true);
        world.answered(id, &[(":status", "302"), ("location", location)]);
        assert_eq!(
            values(&world.stream(id).response, "location"),
            [told],
            "{path}"
        );
    }
}

#[test]
fn agents_answers_are_changed_and_no_other() {
    let mut world = world();
    for id in [1, 2].map(StreamId) {
        world.post_in_pieces(id, &[("x-api-key", "secret"), JSON], "{}", 1);
    }
    let answer = [
        (":status", "200"),
        ("server", "uvicorn"),
        ("x-org", "o"),
        ("vary", "accept"),
    ];
    world.answered(STREAM, &answer);
    let told = world.stream(STREAM).response;
    let told = |name: &str| values(&told, name);
    assert_eq!(told("x-served-by"), ["one"]);
    assert_eq!(told("vary"), ["accept", "x-tenant"]);
    assert_eq!((told("server"), told("x-org")), (vec![], vec![]));
    world.answered_by_host(StreamId(2), 503, true);
    assert_eq!(
        values(&world.stream(StreamId(2)).response, "x-served-by"),
        [""; 0]
    );
    world.request(StreamId(3), "POST", "/plain", &[("x-tenant", "its own")]);
    assert_eq!(
        world.upstream(StreamId(3), "x-tenant").as_deref(),
        Some("its own")
    );
}
