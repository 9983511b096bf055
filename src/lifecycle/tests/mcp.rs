//! MCP: what waits for the body, what its callers are told, and what is counted of it.

use serde_json::json;

use super::*;

const READ: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{}}}"#;
const WRITE: &str =
    r#"{"method":"tools/call","params":{"name":"write","arguments":{}},"jsonrpc":"2.0","id":"a"}"#;

fn world() -> World {
    World::with(|document| {
        let tools = json!([{"match": "write", "roles": ["admin"]}, {"match": "*"}]);
        // Many are made.
        document["tables"] = json!({"keys": 1024, "counters": 1024, "address_counters": 1024});
        document["routes"] = json!([
            {"prefix": "/mcp", "agents": ["one"], "mcp": {"tools": tools}, "body_timeout": "2s"},
            {"prefix": "/open", "agents": ["one"], "auth_required": false, "mcp": {}},
            {"prefix": "/admin", "agents": ["one"], "roles": ["admin"], "mcp": {}},
        ]);
    })
}

impl World {
    /// One more piece of a body; true: what has come goes on.
    fn piece_of_message(&mut self, piece: &[u8], end: bool) -> bool {
        self.host.send(STREAM, piece);
        self.body(STREAM, piece.len(), end) == Flow::Continue
    }

    /// What a caller of MCP is told.
    fn answered_in_rpc(&self) -> (u16, serde_json::Value) {
        let reply = self.stream(STREAM).reply.expect("a reply");
        (
            reply.status,
            serde_json::from_slice(&reply.body).expect("JSON"),
        )
    }
}

/// Whether the agent has had all of a body that came in these two pieces, the validator's answer between them or behind both.
fn comes_whole(body: &str, cut: usize, answered_between: bool) -> (bool, World) {
    let mut world = world();
    world.request(STREAM, "POST", "/mcp", &[("x-api-key", "secret")]);
    let (first, second) = body.as_bytes().split_at(cut);
    let mut gone = world.piece_of_message(first, false);
    if answered_between {
        world.answer(200, ACME);
    }
    assert!(!gone, "nothing goes on before it is known who calls");
    let whole = world.stream(STREAM).reply.is_none() && world.piece_of_message(second, true);
    if !answered_between {
        assert!(!whole);
        world.answer(200, ACME);
        gone = world.stream(STREAM).resumed;
        return (gone, world);
    }
    (whole, world)
}

#[test]
fn wherever_a_message_is_cut_and_whenever_its_caller_is_known_it_is_judged_alike() {
    for answered_between in [false, true] {
        for cut in (0..READ.len()).step_by(3) {
            assert!(comes_whole(READ, cut, answered_between).0, "{cut}");
        }
        for cut in (0..WRITE.len()).step_by(3) {
            let (whole, world) = comes_whole(WRITE, cut, answered_between);
            assert!(!whole, "{cut}");
            let (status, told) = world.answered_in_rpc();
            assert_eq!((status, &told["id"]), (200, &json!("a")), "{cut}");
            assert_eq!(told["error"]["code"], -32003);
            assert_eq!(world.refusal(STREAM).as_deref(), Some("tool_forbidden"));
        }
        let twice = READ.replace(r#""arguments":{}"#, r#""name":"write""#);
        for cut in (0..twice.len()).step_by(3) {
            let (whole, world) = comes_whole(&twice, cut, answered_between);
            assert!(!whole, "{cut}");
            assert_eq!(world.answered_in_rpc().1["error"]["code"], -32600, "{cut}");
        }
    }
}

#[test]
fn who_may_not_use_the_route_is_told_nothing_of_the_message() {
    let mut world = world();
    world.request(STREAM, "POST", "/admin", &[("x-api-key", "secret")]);
    world.piece_of_message(b"nonsense", true);
    world.answer(200, ACME);
    assert_eq!(world.refusal(STREAM).as_deref(), Some("forbidden"));
    let (status, told) = world.answered_in_rpc();
    assert_eq!((status, &told["error"]["code"]), (403, &json!(-32003)));
}

#[test]
fn a_message_that_does_not_come_is_given_up() {
    let mut world = world();
    world.validated(STREAM, "POST", "/mcp", &[]);
    assert!(!world.piece_of_message(&READ.as_bytes()[..40], false));
    for _ in 0..3 {
        world.tick();
    }
    assert_eq!(world.refusal(STREAM).as_deref(), Some("request_timeout"));
    let (status, told) = world.answered_in_rpc();
    assert_eq!((status, &told["error"]["code"]), (408, &json!(-32600)));
    assert_eq!(told["id"], 1);
}

#[test]
fn a_full_limit_is_told_to_the_message_and_a_list_counts_each_of_its_own() {
    let mut world = world();
    let list = format!("[{READ},{READ}]");
    for (body, passes) in [
        (list.as_str(), true),
        (&list, false),
        (READ, true),
        (READ, false),
    ] {
        world.request(STREAM, "POST", "/mcp", &[("x-api-key", "secret")]);
        let gone = world.piece_of_message(body.as_bytes(), true);
        assert!(!gone || passes);
        if world.stream(STREAM).reply.is_none() && !gone {
            world.answer(200, ACME);
        }
        assert_eq!(world.stream(STREAM).reply.is_none(), passes, "{body}");
        if !passes {
            let (status, told) = world.answered_in_rpc();
            let error = told.get(0).unwrap_or(&told);
            assert_eq!((status, &error["id"]), (429, &json!(1)));
            assert_eq!(error["error"]["code"], -32005);
        }
        world.gateway.on_end(STREAM);
    }
}

#[test]
fn a_list_of_more_messages_than_a_limit_lets_through_at_once_is_told_so() {
    let mut world = world();
    let list = format!("[{}]", [READ; 4].join(","));
    world.request(STREAM, "POST", "/mcp", &[("x-api-key", "secret")]);
    world.piece_of_message(list.as_bytes(), true);
    world.answer(200, ACME);
    assert_eq!(world.refusal(STREAM).as_deref(), Some("bad_message"));
    let (status, told) = world.answered_in_rpc();
    assert_eq!(status, 400);
    let message = told[0]["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("more messages than the limit"), "{told}");
}

#[test]
fn each_call_of_a_list_has_a_place_of_its_own_under_a_bound_on_tools() {
    let mut world = World::with(|document| {
        document["limits"] = json!([{"name": "slow", "each": "tool", "in_flight": 2}]);
        document["routes"] =
            json!([{"prefix": "/mcp", "agents": ["one"], "auth_required": false, "mcp": {}}]);
    });
    let list = |calls: usize| format!("[{}]", vec![READ; calls].join(","));
    let mut come = |id: u32, body: &str| {
        let id = StreamId(id);
        world.request(id, "POST", "/mcp", &[]);
        world.host.send(id, body.as_bytes());
        world.body(id, body.len(), true);
        let refusal = world.refusal(id);
        if id == StreamId(4) {
            world.gateway.on_end(StreamId(1));
        }
        refusal
    };
    assert_eq!(come(1, &list(2)), None);
    assert_eq!(come(2, READ).as_deref(), Some("too_many_in_flight"));
    assert_eq!(come(3, &list(3)).as_deref(), Some("bad_message"));
    // Another tool, and then the first list is over.
    assert_eq!(come(4, WRITE), None);
    assert_eq!(come(5, READ), None);
    assert_eq!(come(6, &list(2)).as_deref(), Some("too_many_in_flight"));
}

#[test]
fn a_request_that_ends_with_its_headers_has_no_message() {
    for (method, refused) in [
        ("GET", None),
        ("DELETE", None),
        ("POST", Some("bad_message")),
    ] {
        let mut world = world();
        let all = [
            (":method", method),
            (":path", "/open"),
            ("x-request-id", "id-1"),
        ];
        world.host.begin(STREAM, &all);
        let io = world.host.io(STREAM);
        world.gateway.on_request_headers(STREAM, &io, true);
        assert_eq!(world.refusal(STREAM).as_deref(), refused, "{method}");
        let facts = world.gateway.streams[&STREAM].common.facts.borrow();
        let lists = facts.called.as_ref().map(|called| called.lists_tools);
        assert_eq!(lists, refused.is_none().then_some(true));
    }
}

#[test]
fn a_message_does_not_pass_as_the_body_of_what_its_path_asks() {
    let body = r#"{"message":{},"method":"CancelTask","id":1}"#;
    let fine = r#"{"message":{},"x":"CancelTask","id":1}"#;
    for (body, passes) in [(body, false), (fine, true)] {
        for cut in [0, 1, 20, body.len()] {
            for answered_between in [true, false] {
                let mut world = World::with(|document| {
                    document["tables"] =
                        json!({"keys": 1024, "counters": 1024, "address_counters": 1024});
                    let methods =
                        json!([{"match": "CancelTask", "roles": ["admin"]}, {"match": "*"}]);
                    document["routes"] =
                        json!([{"prefix": "/a2a", "agents": ["one"], "a2a": {"methods": methods}}]);
                });
                let path = "/a2a/message:send";
                world.request(STREAM, "POST", path, &[("x-api-key", "secret")]);
                let (first, second) = body.as_bytes().split_at(cut);
                world.piece_of_message(first, false);
                if answered_between {
                    world.answer(200, ACME);
                }
                let mut whole =
                    world.stream(STREAM).reply.is_none() && world.piece_of_message(second, true);
                if !answered_between {
                    assert!(!whole);
                    world.answer(200, ACME);
                    whole = world.stream(STREAM).resumed;
                }
                assert_eq!(whole, passes, "{body} {cut} {answered_between}");
                if !passes {
                    let (status, told) = world.answered_in_rpc();
                    assert_eq!(
                        (status, &told["error"]["code"]),
                        (400, &json!(400)),
                        "{told}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_the_host_answers_in_the_agents_place_has_the_calls_id() {
    let problem = r#"{"type":"urn:waykeeper:problem:agent_unreachable","title":"Service Unavailable","status":503,"detail":"The agent cannot be reached.","instance":"i","error":{"message":"x","code":"agent_unreachable"}}"#;
    let data = json!({"type":"urn:waykeeper:problem:agent_unreachable","title":"Service Unavailable","status":503,"detail":"The agent cannot be reached.","instance":"i"});
    for (body, answer) in [
        (
            READ,
            json!({"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"The agent cannot be reached.","data":data}}),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"read"}}"#,
            json!({"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"The agent cannot be reached.","data":data}}),
        ),
        (
            r#"[{"id":1,"method":"ping"},{"id":"b","method":"ping"}]"#,
            json!([
                {"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"The agent cannot be reached.","data":data}},
                {"jsonrpc":"2.0","id":"b","error":{"code":-32603,"message":"The agent cannot be reached.","data":data}},
            ]),
        ),
    ] {
        for (told, expected) in [(problem, Some(&answer)), ("{}", None), ("no JSON", None)] {
            let mut world = world();
            world.request(STREAM, "POST", "/open", &[]);
            assert!(world.piece_of_message(body.as_bytes(), true));
            let own = OwnAnswer {
                status: 503,
                unreached: true,
                asks_credential: false,
                fault: None,
            };
            world.host.respond_itself(STREAM, own);
            let io = world.host.io(STREAM);
            io.set_response_header("content-type", b"application/problem+json");
            io.set_response_header("content-length", b"7");
            assert_eq!(
                world.gateway.on_response_headers(STREAM, &io, false),
                Flow::Hold
            );
            world.host.say(STREAM, told.as_bytes());
            let io = world.host.io(STREAM);
            let flow = world
                .gateway
                .on_response_body(STREAM, &io, told.len(), true);
            assert_eq!(flow, Flow::Continue);
            let stream = world.stream(STREAM);
            let length = world.of_response(STREAM, "content-length");
            assert_eq!(length, Some(stream.answer.len().to_string()));
            let content_type = world.of_response(STREAM, "content-type");
            match expected {
                Some(expected) => {
                    let seen: serde_json::Value = serde_json::from_slice(&stream.answer).unwrap();
                    assert_eq!(seen, *expected);
                    assert_eq!(content_type.as_deref(), Some("application/json"));
                }
                None => assert_eq!(stream.answer, told.as_bytes()),
            }
        }
    }
}
