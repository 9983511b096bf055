//! Several servers of MCP behind one address: who is asked what, and what callers are told of it, in whatever order answers come.

use serde_json::{Value, json};

use super::*;
use crate::host::simulated::SentCallout;

const LIST: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#;
const BEGIN: &str = r#"{"jsonrpc":"2.0","id":"a","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"sampling":{}},"clientInfo":{"name":"x"}}}"#;

fn world() -> World {
    world_with(|_| {})
}

fn world_with(change: impl FnOnce(&mut Value)) -> World {
    World::with(|document| {
        // Many are made.
        document["tables"] = json!({"keys": 1024, "counters": 1024, "address_counters": 1024});
        document["sessions"] = json!({"keys": ["7".repeat(64)]});
        document["agents"]["two"]["host"] = json!("two.internal");
        let key = |key: &str, client: &str| {
            use sha2::Digest as _;
            let hash: String = (sha2::Sha256::digest(key).iter())
                .map(|byte| format!("{byte:02x}"))
                .collect();
            json!({"sha256": hash, "client_id": client})
        };
        document["clients"] = json!({"keys": [key("acmes", "acme"), key("others", "other")]});
        document["routes"] = json!([{
            "prefix": "/mcp", "first_byte_timeout": "2s", "body_timeout": "2s",
            "mcp": {
                "servers": {"files": "one", "web": "two"},
                "tools": [{"match": "*__secret", "roles": ["admin"]}, {"match": "*"}],
            },
        }]);
        change(document);
    })
}

fn tools(names: &[&str]) -> String {
    let tools: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
    json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}).to_string()
}

fn begun(version: &str) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": version, "capabilities": {"tools": {}}}}).to_string()
}

impl World {
    /// A caller's message, in one piece. What is asked of servers because of it.
    fn message(&mut self, id: StreamId, headers: &[(&str, &str)], body: &str) -> Vec<SentCallout> {
        let mut all = vec![("x-api-key", "acmes"), (":authority", "gateway")];
        all.retain(|(name, _)| headers.iter().all(|(other, _)| other != name));
        all.extend(headers);
        let length = body.len().to_string();
        all.push(("content-length", &length));
        self.request(id, "POST", "/mcp", &all);
        self.host.send(id, body.as_bytes());
        self.body(id, body.len(), true);
        self.host.sent_callouts()
    }

    fn server_says(&mut self, asked: &SentCallout, status: u16, body: &str, session: Option<&str>) {
        self.host
            .answer_with(session.map(|session| ("mcp-session-id", session)));
        let body = body.as_bytes().to_vec();
        let came = CalloutAnswer::Response { status, body };
        self.gateway.on_callout(asked.id, &came);
    }

    /// What a caller was told: the status, the session, and the message.
    fn told_of_all(&self, id: StreamId) -> (u16, Option<String>, Value) {
        let reply = self.stream(id).reply.expect("a reply");
        let session = reply
            .headers
            .iter()
            .find(|(name, _)| *name == "mcp-session-id");
        (
            reply.status,
            session.map(|(_, value)| value.clone()),
            serde_json::from_slice(&reply.body).unwrap_or_default(),
        )
    }

    /// A session that both servers have named.
    fn begin_session(&mut self, id: StreamId) -> String {
        let asked = self.message(id, &[], BEGIN);
        self.server_says(&asked[0], 200, &begun("2025-11-25"), Some("of-one"));
        self.server_says(&asked[1], 200, &begun("2025-06-18"), Some("of-two"));
        self.turns();
        let (status, session, told) = self.told_of_all(id);
        assert_eq!((status, &told["id"]), (200, &json!("a")), "{told}");
        assert_eq!(told["result"]["protocolVersion"], "2025-06-18");
        session.expect("a session")
    }
}

fn header(asked: &SentCallout, name: &str) -> Option<String> {
    let found = asked.headers().iter().find(|(other, _)| other == name);
    found.map(|(_, value)| value.clone())
}

#[test]
fn a_list_is_one_in_whatever_order_it_comes_and_whoever_fails() {
    let (one, two) = (tools(&["read", "secret"]), tools(&["find"]));
    let stream = format!("event: message\ndata: {two}\n\n");
    let none = r#"{"id":1,"error":{"code":-32601,"message":"no"}}"#;
    for (first, second, listed, missing) in [
        (
            one.as_str(),
            two.as_str(),
            json!(["files__read", "web__find"]),
            json!(null),
        ),
        (
            one.as_str(),
            stream.as_str(),
            json!(["files__read", "web__find"]),
            json!(null),
        ),
        (one.as_str(), none, json!(["files__read"]), json!(null)),
        (
            "broken",
            two.as_str(),
            json!(["web__find"]),
            json!(["files"]),
        ),
        (
            r#"{"error":{"code":-1}}"#,
            two.as_str(),
            json!(["web__find"]),
            json!(["files"]),
        ),
    ] {
        for order in [[0, 1], [1, 0]] {
            let mut world = world();
            let asked = world.message(STREAM, &[], LIST);
            assert_eq!(asked.len(), 2);
            assert_eq!(
                (asked[0].cluster.as_str(), asked[1].cluster.as_str()),
                ("cluster-one", "cluster-two")
            );
            assert_eq!(asked[0].body(), LIST.as_bytes());
            assert_eq!(asked[0].timeout, Duration::from_secs(2));
            assert_eq!(header(&asked[0], ":authority").as_deref(), Some("gateway"));
            assert_eq!(
                header(&asked[1], ":authority").as_deref(),
                Some("two.internal")
            );
            assert_eq!(
                header(&asked[0], "x-waykeeper-client").as_deref(),
                Some("acme")
            );
            assert_eq!(
                header(&asked[1], "x-waykeeper-agent").as_deref(),
                Some("two")
            );
            assert_eq!(header(&asked[0], "x-api-key"), None);
            for (number, place) in order.into_iter().enumerate() {
                assert!(world.stream(STREAM).reply.is_none(), "{number}");
                world.server_says(&asked[place], 200, [first, second][place], None);
                // Each stream has its own turn.
                assert!(world.stream(STREAM).reply.is_none());
                world.turns();
            }
            let (status, session, told) = world.told_of_all(STREAM);
            assert_eq!(
                (status, session, &told["id"]),
                (200, None, &json!(7)),
                "{told}"
            );
            let names: Vec<&Value> = (told["result"]["tools"].as_array().unwrap().iter())
                .map(|tool| &tool["name"])
                .collect();
            assert_eq!(json!(names), listed, "{first} {second}");
            let told_missing = told["result"].pointer("/_meta/waykeeper~1missing");
            assert_eq!(told_missing.cloned().unwrap_or_default(), missing);
            let metric = "waykeeper_mcp_servers_missing_total;route=/mcp;agent=one;";
            assert_eq!(world.host.metric(metric), u64::from(!missing.is_null()));
            assert_eq!(world.held_of_answers(), 0);
        }
    }
}

#[test]
fn where_nobody_answers_the_caller_is_told_so() {
    // Both fail, one after the other is lost, or neither can be asked.
    for how in ["failed", "lost", "unasked"] {
        let mut world = world();
        if how == "unasked" {
            world.host.refuse_callouts();
        }
        let asked = world.message(STREAM, &[], LIST);
        match how {
            "failed" => {
                for asked in &asked {
                    world.gateway.on_callout(asked.id, &CalloutAnswer::Failed);
                }
                world.turns();
            }
            "lost" => {
                world
                    .gateway
                    .on_callout(asked[1].id, &CalloutAnswer::Failed);
                for _ in 0..3 {
                    world.tick();
                    assert!(world.stream(STREAM).reply.is_none());
                }
                world.tick();
            }
            _ => {}
        }
        let (status, _, told) = world.told_of_all(STREAM);
        assert_eq!(status, 503, "{how} {told}");
        assert_eq!(
            told["error"]["data"]["type"],
            "urn:waykeeper:problem:servers_unavailable"
        );
        assert_eq!(told["id"], 7);
    }
    // What all say that they do not know is unknown.
    let mut world = world();
    for asked in world.message(STREAM, &[], LIST) {
        world.server_says(&asked, 404, r#"{"error":{"code":-32601}}"#, None);
    }
    world.turns();
    let (status, _, told) = world.told_of_all(STREAM);
    assert_eq!(
        (status, &told["error"]["code"]),
        (200, &json!(-32601)),
        "{told}"
    );
}

#[test]
fn a_caller_that_leaves_is_forgotten_and_the_next_is_answered() {
    let mut world = world();
    let asked = world.message(STREAM, &[], LIST);
    world.server_says(&asked[0], 200, &tools(&["read"]), None);
    assert!(world.held_of_answers() > 0);
    world.gateway.on_end(STREAM);
    assert_eq!(world.held_of_answers(), 0);
    assert_eq!(world.gateway.most_bytes(asked[1].id), 0);
    world.server_says(&asked[1], 200, &tools(&["find"]), None);
    assert_eq!(world.held_of_answers(), 0);
    assert!(world.host.woken().is_empty());
    let asked = world.message(StreamId(2), &[], LIST);
    assert_eq!(world.gateway.most_bytes(asked[1].id), 1 << 20);
    for asked in &asked {
        world.server_says(asked, 200, &tools(&["read"]), None);
    }
    world.turns();
    assert_eq!(world.told_of_all(StreamId(2)).0, 200);
}

#[test]
fn a_session_is_its_callers_alone_and_leads_to_each_servers_own() {
    let mut world = world();
    let asked = {
        let asked = world.message(STREAM, &[], BEGIN);
        let sent: Value = serde_json::from_slice(asked[0].body()).unwrap();
        // What callers can, servers are not told.
        assert_eq!(sent["params"]["capabilities"], json!({}));
        assert_eq!(sent["params"]["clientInfo"], json!({"name": "x"}));
        asked
    };
    for asked in &asked {
        world.gateway.on_callout(asked.id, &CalloutAnswer::Failed);
    }
    world.turns();
    let session = world.begin_session(StreamId(2));
    assert!(!session.contains("of-one"), "{session}");

    let own = [
        ("mcp-session-id", session.as_str()),
        ("mcp-protocol-version", "2025-06-18"),
    ];
    let asked = world.message(StreamId(3), &own, LIST);
    for (asked, session, version) in [
        (&asked[0], "of-one", "2025-11-25"),
        (&asked[1], "of-two", "2025-06-18"),
    ] {
        assert_eq!(header(asked, "mcp-session-id").as_deref(), Some(session));
        assert_eq!(
            header(asked, "mcp-protocol-version").as_deref(),
            Some(version)
        );
    }
    // A server that has lost its session ends the whole.
    world.server_says(&asked[0], 200, &tools(&["read"]), None);
    world.server_says(&asked[1], 404, r#"{"error":{"code":-32600}}"#, None);
    world.turns();
    assert_eq!(world.told_of_all(StreamId(3)).0, 404);

    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"web__read","arguments":{"name":"web__read"}}}"#;
    assert!(world.message(StreamId(4), &own, call).is_empty());
    assert_eq!(
        world.upstream(StreamId(4), "mcp-session-id").as_deref(),
        Some("of-two")
    );
    assert_eq!(
        world
            .upstream(StreamId(4), "x-waykeeper-cluster")
            .as_deref(),
        Some("cluster-two")
    );
    let gone = String::from_utf8(world.stream(StreamId(4)).body).unwrap();
    assert_eq!(gone, call.replacen("web__read", "read", 1));
    assert_eq!(
        world.upstream(StreamId(4), "content-length"),
        Some(gone.len().to_string())
    );
    world.answered(
        StreamId(4),
        &[(":status", "200"), ("mcp-session-id", "of-two")],
    );
    let told = world.of_response(StreamId(4), "mcp-session-id");
    assert_eq!(told.as_deref(), Some(session.as_str()));

    // Nobody else's, and no other word.
    for (number, headers) in [
        vec![("x-api-key", "others"), own[0]],
        vec![("mcp-session-id", "of-two")],
        vec![own[0], own[0]],
    ]
    .into_iter()
    .enumerate()
    {
        let id = StreamId(10 + u32::try_from(number).unwrap());
        for body in [LIST, call] {
            assert!(world.message(id, &headers, body).is_empty(), "{headers:?}");
            assert_eq!(world.told_of_all(id).0, 404, "{headers:?}");
            world.gateway.on_end(id);
        }
    }
    // Who begins anew needs no old one.
    assert_eq!(
        world
            .message(StreamId(20), &[("mcp-session-id", "stale")], BEGIN)
            .len(),
        2
    );

    // Its end reaches all.
    let mut all = vec![("x-api-key", "acmes"), own[0]];
    all.push((":authority", "gateway"));
    let id = StreamId(21);
    world.request(id, "DELETE", "/mcp", &all);
    world.host.send(id, b"");
    world.body(id, 0, true);
    let asked = world.host.sent_callouts();
    assert_eq!(asked.len(), 2);
    assert_eq!(header(&asked[0], ":method").as_deref(), Some("DELETE"));
    for asked in &asked {
        world.server_says(asked, 200, "", None);
    }
    world.turns();
    assert_eq!(world.told_of_all(id).0, 200);
}

#[test]
fn a_name_leads_to_its_server_whatever_its_spelling_and_to_nobody_else() {
    for (name, own) in [
        ("files__read", "\"read\""),
        (r"f\u0069les__r\u0065ad\u005f_x", "\"read__x\""),
        ("files__", "\"\""),
        (r"files__a\\\u0022b", r#""a\\\"b""#),
    ] {
        let before =
            r#"{"id":1,"method":"tools/call","params":{"arguments":{"name":"files__read"},"name":"#;
        let body = format!("{before}\"{name}\"}}}}");
        for cut in [0, 30, before.len() + 3, body.len()] {
            let mut world = world();
            world.request(STREAM, "POST", "/mcp", &[("x-api-key", "acmes")]);
            let (first, second) = body.as_bytes().split_at(cut);
            world.host.send(STREAM, first);
            let mut flow = world.body(STREAM, first.len(), false);
            if flow == Flow::Collect {
                let all = [first, second].concat();
                world.host.send(STREAM, &all);
                flow = world.body(STREAM, all.len(), true);
            }
            assert_eq!(flow, Flow::Continue, "{name} {cut}");
            let gone = String::from_utf8(world.stream(STREAM).body).unwrap();
            if cut < body.len() {
                assert_eq!(gone, format!("{before}{own}}}}}"), "{cut}");
            }
            assert_eq!(
                world.upstream(STREAM, "x-waykeeper-cluster").as_deref(),
                Some("cluster-one")
            );
        }
    }
    for (body, code) in [
        (
            r#"{"id":1,"method":"tools/call","params":{"name":"read"}}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"tools/call","params":{"name":"Files__read"}}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"tools/call","params":{"name":"files__secret"}}"#,
            -32003,
        ),
        (
            r#"{"id":1,"method":"tools/call","params":{"name":"files__read","name":"web__read"}}"#,
            -32600,
        ),
        (r#"{"id":1,"method":"tools/call","params":{}}"#, -32602),
        (r#"{"id":1,"method":"prompts/get","params":{}}"#, -32602),
        (
            r#"{"id":1,"method":"resources/read","params":{"uri":"file:///a"}}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"completion/complete","params":{"ref":{"name":"files__a","uri":"web+a:b"}}}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"resources/subscribe","params":{"uri":"files+a:b"}}"#,
            -32601,
        ),
        (r#"{"id":1,"method":"subscriptions/listen"}"#, -32601),
        (
            r#"{"id":1,"method":"tools/list","params":{"cursor":"x"}}"#,
            -32602,
        ),
        (
            r#"[{"id":1,"method":"tools/list"},{"id":2,"method":"tools/list"}]"#,
            -32600,
        ),
    ] {
        let mut world = world();
        assert!(world.message(STREAM, &[], body).is_empty(), "{body}");
        let told = world.told_of_all(STREAM).2;
        let error = told.get(0).unwrap_or(&told);
        assert_eq!(error["error"]["code"], code, "{body} {told}");
    }
    for (method, what, own) in [
        ("prompts/get", r#""name":"files__a""#, r#""name":"a""#),
        (
            "resources/read",
            r#""uri":"files+file:///a+b""#,
            r#""uri":"file:///a+b""#,
        ),
        (
            "completion/complete",
            r#""ref":{"type":"ref/prompt","name":"files__p"}"#,
            r#""ref":{"type":"ref/prompt","name":"p"}"#,
        ),
        (
            "completion/complete",
            r#""ref":{"type":"ref/resource","uri":"files+u:{a}"}"#,
            r#""ref":{"type":"ref/resource","uri":"u:{a}"}"#,
        ),
    ] {
        let mut world = world();
        let body = |what: &str| format!(r#"{{"id":1,"method":"{method}","params":{{{what}}}}}"#);
        world.message(STREAM, &[], &body(what));
        let gone = String::from_utf8(world.stream(STREAM).body).unwrap();
        assert_eq!(gone, body(own));
    }
}

#[test]
fn what_is_no_question_is_told_to_all_and_what_is_none_of_theirs_to_nobody() {
    let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let mut world = world();
    let asked = world.message(STREAM, &[], note);
    assert_eq!(asked.len(), 2);
    world.server_says(&asked[0], 202, "", None);
    world
        .gateway
        .on_callout(asked[1].id, &CalloutAnswer::Failed);
    world.turns();
    assert_eq!(world.told_of_all(STREAM).0, 202);
    for (body, status) in [
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, 200),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, 202),
    ] {
        let id = StreamId(2);
        assert!(world.message(id, &[], body).is_empty());
        assert_eq!(world.told_of_all(id).0, status);
        world.gateway.on_end(id);
    }
    world.request(StreamId(3), "GET", "/mcp", &[("x-api-key", "acmes")]);
    world.host.send(StreamId(3), b"");
    world.body(StreamId(3), 0, true);
    let reply = world.stream(StreamId(3)).reply.unwrap();
    assert_eq!(reply.status, 405);
}

#[test]
fn pages_are_told_together_and_each_server_goes_on_where_it_stood() {
    let mut world = world();
    let asked = world.message(STREAM, &[], LIST);
    let page = json!({"result": {"tools": [{"name": "a"}], "nextCursor": "p\"2"}}).to_string();
    world.server_says(&asked[0], 200, &page, None);
    world.server_says(&asked[1], 200, &tools(&["b"]), None);
    world.turns();
    let told = world.told_of_all(STREAM).2;
    let cursor = told["result"]["nextCursor"].as_str().unwrap().to_owned();
    let next =
        json!({"jsonrpc": "2.0", "id": 8, "method": "tools/list", "params": {"cursor": cursor}});
    let asked = world.message(StreamId(2), &[], &next.to_string());
    assert_eq!(asked.len(), 1);
    let sent: Value = serde_json::from_slice(asked[0].body()).unwrap();
    assert_eq!(sent["params"]["cursor"], "p\"2");
    world.server_says(&asked[0], 200, &tools(&["c"]), None);
    world.turns();
    let told = world.told_of_all(StreamId(2)).2;
    assert_eq!(told["result"], json!({"tools": [{"name": "files__c"}]}));
}

#[test]
fn where_pieces_end_does_not_decide_which_server_is_named() {
    let long = "x".repeat(70 << 10);
    let late =
        format!(r#"{{"id":1,"method":"prompts/get","params":{{"x":"{long}","name":"files__p"}}}}"#);
    for cuts in [
        vec![],
        vec![40],
        vec![66 << 10],
        vec![64 << 10],
        vec![1, 65 << 10],
    ] {
        let mut world = world();
        world.request(STREAM, "POST", "/mcp", &[("x-api-key", "acmes")]);
        let ends = cuts.iter().copied().chain([late.len()]);
        for end in ends {
            world.host.send(STREAM, &late.as_bytes()[..end]);
            if world.body(STREAM, end, end == late.len()) == Flow::Continue {
                break;
            }
        }
        let told = world.told_of_all(STREAM);
        assert_eq!(told.0, 400, "{cuts:?} {}", told.2);
    }
}

#[test]
fn who_could_ask_nobody_has_what_was_counted_back() {
    let mut world = world_with(|document| {
        document["clients"]["default_plan"] = json!("few");
        document["plans"] = json!({"few": {"requests": "1/hour"}});
    });
    let page = LIST.replace(
        "\"tools/list\"",
        "\"tools/list\",\"params\":{\"cursor\":\"x\"}",
    );
    for id in 0..3 {
        assert!(world.message(StreamId(id), &[], &page).is_empty());
        world.turns();
        let told = world.told_of_all(StreamId(id)).2;
        assert_eq!(told["error"]["code"], -32602, "{told}");
    }
}

#[test]
fn no_more_is_asked_than_may_be() {
    let mut world = world();
    for id in 0..256 {
        assert_eq!(world.message(StreamId(id), &[], LIST).len(), 2, "{id}");
    }
    assert!(world.message(StreamId(1000), &[], LIST).is_empty());
    assert_eq!(world.told_of_all(StreamId(1000)).0, 503);
    for _ in 0..4 {
        world.tick();
    }
    assert_eq!(world.message(StreamId(1001), &[], LIST).len(), 2);
}

#[test]
fn nobody_has_more_questions_under_way_than_are_left_for_others() {
    let mut world = world();
    // Whoever leaves has asked all the same, until Envoy has done with it.
    for id in 0..256 {
        assert_eq!(world.message(StreamId(id), &[], LIST).len(), 2, "{id}");
        world.gateway.on_end(StreamId(id));
    }
    assert!(world.message(StreamId(1000), &[], LIST).is_empty());
    let other = [("x-api-key", "others")];
    for id in 2000..2128 {
        assert_eq!(world.message(StreamId(id), &other, LIST).len(), 2, "{id}");
    }
    assert!(world.message(StreamId(3000), &other, LIST).is_empty());
}

#[test]
fn a_worker_asks_so_many_questions_at_once_and_is_free_again_when_one_has_its_answers() {
    let mut world = world();
    let mut asked = Vec::new();
    for number in 0..256 {
        asked.push(world.message(StreamId(number), &[], LIST));
    }
    let crowded = StreamId(1000);
    assert!(world.message(crowded, &[], LIST).is_empty());
    let (status, _, told) = world.told_of_all(crowded);
    assert_eq!((status, &told["id"]), (503, &json!(7)), "{told}");
    // Calls are no such questions.
    let call = r#"{"id":1,"method":"tools/call","params":{"name":"files__read"}}"#;
    assert!(world.message(StreamId(1001), &[], call).is_empty());
    let agent = world.upstream(StreamId(1001), "x-waykeeper-cluster");
    assert_eq!(agent.as_deref(), Some("cluster-one"));

    for asked in &asked[7] {
        world.server_says(asked, 200, &tools(&["read"]), None);
    }
    world.turns();
    assert_eq!(world.told_of_all(StreamId(7)).0, 200);
    assert_eq!(world.message(StreamId(1002), &[], LIST).len(), 2);
    // Whoever leaves has asked all the same, until Envoy has done with it.
    world.gateway.on_end(StreamId(8));
    assert!(world.message(StreamId(1003), &[], LIST).is_empty());
    for asked in &asked[8] {
        world.gateway.on_callout(asked.id, &CalloutAnswer::Failed);
    }
    assert_eq!(world.message(StreamId(1004), &[], LIST).len(), 2);
}
