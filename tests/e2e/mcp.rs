//! MCP: every message is read, in whatever way it comes; what a client may not call is refused in the protocol's own words, counts
//! against limits, and goes to the agent that has the tool.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::harness::{Answer, Draft, Request, Shape, World, eventually};

const MCP: &str = "/mcp";
const LIMITED: &str = "/limited/mcp";
const SORTED: &str = "/sorted/mcp";
const OPEN: &str = "/open/mcp";

const JSON: (&str, &str) = ("content-type", "application/json");

/// One world is enough for all that leaves nothing behind.
#[tokio::test]
async fn mcp_is_judged() {
    let world = World::with(routes).await;
    what_a_client_may_not_call_is_refused_however_it_comes(&world).await;
    every_message_of_a_list_is_judged(&world).await;
    methods_are_for_some(&world).await;
    streams_and_ends_of_sessions_pass(&world).await;
    what_is_no_message_is_refused(&world).await;
    headers_agree_with_the_body(&world).await;
    a_tool_goes_to_the_agent_that_has_it(&world).await;
    whoever_lacks_a_key_is_told_so_in_the_words_of_the_protocol(&world).await;
}

async fn what_a_client_may_not_call_is_refused_however_it_comes(world: &World) {
    for (body, id) in [
        (call("1", "files.write"), json!(1)),
        (call("\"a\\u0022\"", "files.write"), json!("a\"")),
        // As the official client for TypeScript writes it.
        (
            r#"{"method":"tools/call","params":{"arguments":{"x":"y"},"name":"files.\u0077rite"},"jsonrpc":"2.0","id":7}"#.to_owned(),
            json!(7),
        ),
    ] {
        for shape in Shape::ALL.into_iter().filter(|it| *it != Shape::HeadersOnly) {
            let before = world.agent("tools").stats();
            let refused = shape.send(post(world, MCP), body.clone().into()).await;
            let error = rpc_error(&refused, 200, &id);
            assert_eq!(error["code"], -32003, "{shape:?} {error}");
            assert_eq!(error["message"], "This client may not call the tool files.write.");
            assert_eq!(error["data"]["status"], 403);
            assert_eq!(error["data"]["type"], "urn:waykeeper:problem:tool_forbidden");
            assert_eq!(refused.header("request-id"), refused.header("x-request-id"));
            assert_eq!(world.agent("tools").stats().total, before.total);
            // With the role it passes, and arrives to the byte.
            let admin = keyed(world, "demo-admin", MCP);
            let echo = shape.send(admin, body.clone().into()).await.echo();
            assert_eq!((echo.agent.as_str(), echo.body_bytes), ("tools", body.len() as u64));
        }
    }
    // What no entry names nobody may call; the others pass.
    let admin = keyed(world, "demo-admin", MCP).body(call("1", "unheard.of"));
    assert_eq!(
        rpc_error(&admin.send().await, 200, &json!(1))["code"],
        -32003
    );
    for tool in ["files.read", "search"] {
        let answer = post(world, MCP).body(call("1", tool)).send().await;
        assert_eq!(answer.echo().agent, "tools", "{tool}");
    }
    // Nobody waits for the answer to a message without an id, so it is told by HTTP's own means.
    let silent = r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"files.write"}}"#;
    let refused = post(world, MCP).body(silent).send().await;
    assert_eq!(rpc_error(&refused, 403, &Value::Null)["code"], -32003);
    let log = world.access_log(&refused).await;
    assert!(log.to_string().contains("tool_forbidden"), "{log}");
}

async fn every_message_of_a_list_is_judged(world: &World) {
    let of = |tools: &[&str]| {
        let calls = tools.iter().enumerate();
        let calls: Vec<String> = calls
            .map(|(id, tool)| call(&id.to_string(), tool))
            .collect();
        format!(
            "[{},{}]",
            r#"{"method":"notifications/x"}"#,
            calls.join(",")
        )
    };
    let good = post(world, MCP).body(of(&["files.read", "search"])).send();
    assert_eq!(good.await.echo().agent, "tools");
    for tools in [["files.read", "files.write"], ["files.write", "files.read"]] {
        let refused = post(world, MCP).body(of(&tools)).send().await;
        assert_eq!(refused.status, 200);
        // One for each that waits, and none for what does not.
        let errors = refused.json();
        let ids: Vec<_> = errors
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| &it["id"])
            .collect();
        assert_eq!(ids, [&json!(0), &json!(1)], "{errors}");
        assert_eq!(errors[1]["error"]["code"], -32003);
    }
    let later = post(world, MCP).header("mcp-protocol-version", "2025-06-18");
    let refused = later.body(of(&["search"])).send().await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert_eq!(refused.json()[0]["error"]["code"], -32600);
}

async fn methods_are_for_some(world: &World) {
    let logging =
        r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"debug"}}"#;
    let refused = post(world, MCP).body(logging).send().await;
    let error = rpc_error(&refused, 200, &json!(1));
    assert_eq!(
        error["message"],
        "This client may not use the method logging/setLevel."
    );
    let admin = keyed(world, "demo-admin", MCP).body(logging);
    assert_eq!(admin.send().await.echo().agent, "tools");
    for method in [
        "initialize",
        "tools/list",
        "ping",
        "notifications/initialized",
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
        let answer = post(world, MCP).body(body).send().await;
        assert_eq!(answer.echo().agent, "tools", "{method}");
    }
    // The answer to a question of the agent's.
    let sampled = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":"{}"}}}}"#,
        "x".repeat(100_000)
    );
    assert_eq!(
        post(world, MCP).body(sampled).send().await.echo().agent,
        "tools"
    );
}

async fn streams_and_ends_of_sessions_pass(world: &World) {
    for method in ["GET", "DELETE"] {
        for http2 in [false, true] {
            let request = world.request(method, MCP).key("demo-standard");
            let request = request
                .header("mcp-session-id", "a")
                .header("accept", "text/event-stream");
            let request = if http2 { request.http2() } else { request };
            let echo = request.clone().send().await.echo();
            assert_eq!(
                (echo.agent.as_str(), echo.method.as_str()),
                ("tools", method)
            );
            assert_eq!(echo.headers.get("mcp-session-id"), Some("a"));
        }
        // Whoever hides a call in such a body is judged as any other.
        let hidden = world
            .request(method, MCP)
            .key("demo-standard")
            .body(call("1", "files.write"));
        assert_eq!(
            rpc_error(&hidden.send().await, 200, &json!(1))["code"],
            -32003
        );
    }
    // Its end may come later, and with nothing.
    let mut upload = world
        .request("GET", MCP)
        .key("demo-standard")
        .http2()
        .upload();
    upload.end();
    assert_eq!(upload.answer().await.echo().agent, "tools");
}

async fn what_is_no_message_is_refused(world: &World) {
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","name":"files.write"}}"#;
    for (body, code, id) in [
        ("", -32600, Value::Null),
        ("hello", -32700, Value::Null),
        ("method=tools/call", -32700, Value::Null),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping""#,
            -32700,
            json!(1),
        ),
        (r#"{"id":1}"#, -32600, json!(1)),
        (r#"{"id":1,"method":"tools/call"}"#, -32602, json!(1)),
        (
            r#"{"id":1,"method":"Tools/Call","params":{"name":"files.write"}}"#,
            -32600,
            json!(1),
        ),
        (twice, -32600, json!(1)),
    ] {
        for shape in Shape::ALL {
            let body = Bytes::from(if shape == Shape::HeadersOnly {
                ""
            } else {
                body
            });
            let (code, id) = if body.is_empty() {
                (-32600, &Value::Null)
            } else {
                (code, &id)
            };
            if body.is_empty() && !matches!(shape, Shape::HeadersOnly | Shape::WithLength) {
                continue;
            }
            let before = world.agent("tools").stats().complete;
            let refused = shape.send(post(world, MCP), body.clone()).await;
            let error = rpc_error(&refused, 400, id);
            assert_eq!(error["code"], code, "{shape:?} {body:?} {error}");
            assert_eq!(error["data"]["type"], "urn:waykeeper:problem:bad_message");
            assert_eq!(
                world.agent("tools").stats().complete,
                before,
                "{shape:?} {body:?}"
            );
        }
    }
    for header in [("content-type", "text/plain"), ("content-encoding", "gzip")] {
        let request = world.request("POST", MCP).key("demo-standard");
        let request = request.header(header.0, header.1);
        let refused = request.body(call("1", "search")).send().await;
        assert_eq!(
            rpc_error(&refused, 400, &Value::Null)["code"],
            -32600,
            "{header:?}"
        );
    }
    // What is called must be said within max_scan.
    let long = "x".repeat(70_000);
    let late = format!(
        r#"{{"id":1,"method":"tools/call","params":{{"arguments":{{"x":"{long}"}},"name":"search"}}}}"#
    );
    let refused = post(world, MCP).body(late).send().await;
    let error = rpc_error(&refused, 400, &json!(1));
    assert!(
        error["message"].as_str().unwrap().contains("65536 bytes"),
        "{error}"
    );
    let early = format!(
        r#"{{"id":1,"method":"tools/call","params":{{"name":"search","arguments":{{"x":"{long}"}}}}}}"#
    );
    assert_eq!(
        post(world, MCP)
            .body(early.clone())
            .send()
            .await
            .echo()
            .body_bytes,
        early.len() as u64
    );
}

#[tokio::test]
async fn a_second_name_behind_the_first_never_comes_whole_to_the_agent() {
    let world = World::with(routes).await;
    let agent = world.agent("tools");
    // Once, so that the key is known.
    assert_eq!(
        post(&world, MCP)
            .body(call("1", "search"))
            .send()
            .await
            .status,
        200
    );
    for again in [
        r#","name":"files.write"}}"#,
        r#","n\u0061me":"files.write"}}"#,
        r#","Name":"files.write"}}"#,
        r#"},"params":{"name":"files.write"}}"#,
        r#"},"method":"tools/list"}"#,
        r#"},"result":{}}"#,
        r#"}} {"id":2,"method":"tools/call","params":{"name":"files.write"}}"#,
        r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
    ] {
        for http2 in [false, true] {
            let before = agent.stats();
            let request = post(&world, MCP);
            let request = if http2 { request.http2() } else { request };
            let mut upload = request.upload();
            let begun = r#"{"id":1,"method":"tools/call","params":{"name":"search""#;
            assert!(upload.write(begun).await);
            eventually("the request at its agent", || async {
                (agent.stats().total == before.total + 1).then_some(())
            })
            .await;
            upload.write(again).await;
            upload.end();
            let refused = upload.answer().await;
            rpc_error(&refused, 400, &json!(1));
            // The agent never had the end of it.
            eventually("its end at the agent", || async {
                (agent.stats().aborted == before.aborted + 1).then_some(())
            })
            .await;
            assert_eq!(agent.stats().complete, before.complete, "{again}");
        }
    }
}

async fn headers_agree_with_the_body(world: &World) {
    let body = r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"files.read","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    let version = ("mcp-protocol-version", "2026-07-28");
    let (method, name) = (("mcp-method", "tools/call"), ("mcp-name", "files.read"));
    let with = |headers: &[(&str, &str)]| {
        let request = post(world, MCP).body(body);
        headers
            .iter()
            .fold(request, |it, (name, value)| it.header(name, value))
    };
    let encoded = ("mcp-name", "=?base64?ZmlsZXMucmVhZA==?=");
    for good in [&[version, method, name], &[version, method, encoded]] {
        assert_eq!(with(good).send().await.echo().agent, "tools", "{good:?}");
    }
    for bad in [
        &[method, name][..],
        &[version, name],
        &[version, method],
        &[version, method, ("mcp-name", "search")],
        &[version, method, name, ("mcp-name", "search")],
        &[version, method, name, ("mcp-name", "files.read")],
        &[version, ("mcp-method", "ping"), name],
        &[("mcp-protocol-version", "2025-11-25"), method, name],
        &[version, method, ("mcp-name", "=?base64?ZmlsZXMucmVhZA?=")],
    ] {
        for http2 in [false, true] {
            let request = with(bad);
            let request = if http2 { request.http2() } else { request };
            let refused = request.send().await;
            let error = rpc_error(&refused, 400, &json!("x"));
            assert_eq!(error["code"], -32020, "{bad:?} {error}");
            assert_eq!(
                error["data"]["type"],
                "urn:waykeeper:problem:header_mismatch"
            );
        }
    }
    // Before that revision they may be missing, and still may not lie.
    let old = post(world, MCP).body(call("1", "files.read"));
    let lies = old.clone().header("mcp-name", "search").send().await;
    assert_eq!(rpc_error(&lies, 400, &json!(1))["code"], -32020);
    let agrees = old
        .header("mcp-name", "files.read")
        .header("mcp-protocol-version", "2025-11-25");
    assert_eq!(agrees.send().await.echo().agent, "tools");
    // What names nothing, and what is no message, has no such header.
    let nameless = post(world, MCP).body(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    assert_eq!(nameless.clone().send().await.echo().agent, "tools");
    let named = nameless.header("mcp-name", "files.read").send().await;
    assert_eq!(rpc_error(&named, 400, &json!(1))["code"], -32020);
    for (name, value) in [method, name] {
        let stream = world.request("GET", MCP).key("demo-standard");
        let refused = stream.header(name, value).send().await;
        let expected = (400, "header_mismatch".to_owned());
        assert_eq!(refused.refused(), expected, "{name}");
    }
}

async fn a_tool_goes_to_the_agent_that_has_it(world: &World) {
    let tool = |tool: &str| post(world, SORTED).body(call("1", tool));
    for (name, agent) in [
        ("files.read", "memory"),
        ("web.search", "rag"),
        ("other", "tools"),
    ] {
        for http2 in [false, true] {
            let request = if http2 {
                tool(name).http2()
            } else {
                tool(name)
            };
            assert_eq!(request.send().await.echo().agent, agent, "{name}");
        }
    }
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    assert_eq!(
        post(world, SORTED).body(list).send().await.echo().agent,
        "tools"
    );
    let list = |one: &str, other: &str| format!("[{},{}]", call("1", one), call("2", other));
    let together = post(world, SORTED).body(list("files.a", "files.b"));
    assert_eq!(together.send().await.echo().agent, "memory");
    let apart = post(world, SORTED)
        .body(list("files.a", "web.b"))
        .send()
        .await;
    assert_eq!(apart.status, 400, "{}", apart.text());
    assert!(
        apart.text().contains("different agents"),
        "{}",
        apart.text()
    );
}

async fn whoever_lacks_a_key_is_told_so_in_the_words_of_the_protocol(world: &World) {
    let refused = world
        .request("POST", MCP)
        .header(JSON.0, JSON.1)
        .body(call("1", "search"))
        .send()
        .await;
    let error = rpc_error(&refused, 401, &Value::Null);
    assert_eq!(error["data"]["type"], "urn:waykeeper:problem:missing_key");
    assert!(refused.header("www-authenticate").is_some());
    // A stream has no message to answer to.
    let stream = world.request("GET", MCP).send().await;
    assert_eq!(stream.refused(), (401, "missing_key".to_owned()));
}

#[tokio::test]
async fn each_call_of_a_tool_counts() {
    let world = World::with(routes).await;
    let one = |tool: &str| post(&world, LIMITED).body(call("5", tool));
    let list = |tools: &[&str]| {
        let calls: Vec<String> = tools.iter().map(|tool| call("5", tool)).collect();
        post(&world, LIMITED).body(format!("[{}]", calls.join(",")))
    };
    // Three calls of each in an hour; of searches five in all.
    assert_eq!(list(&["a", "a"]).send().await.status, 200);
    assert_eq!(list(&["a", "a", "b"]).send().await.status, 429);
    assert_eq!(one("a").send().await.status, 200);
    let full = one("a").send().await;
    let error = rpc_error(&full, 429, &json!(5));
    assert_eq!(error["code"], -32005);
    assert_eq!(
        error["data"]["violated-policies"],
        json!(["each-tool"]),
        "{error}"
    );
    assert!(full.header("retry-after").is_some());
    assert_eq!(list(&["b", "b", "b"]).send().await.status, 200);
    assert_eq!(
        list(&["search.a", "search.b", "search.c", "search.d"])
            .send()
            .await
            .status,
        200
    );
    let full = list(&["search.a", "search.b"]).send().await;
    assert_eq!(full.status, 429);
    assert_eq!(
        full.json()[0]["error"]["data"]["violated-policies"],
        json!(["searches"])
    );
    assert_eq!(one("search.e").send().await.status, 200);
    assert_eq!(one("search.f").send().await.status, 429);
    // What calls no tool is counted by none of them.
    for _ in 0..8 {
        let ping = post(&world, LIMITED).body(r#"{"id":1,"method":"ping"}"#);
        assert_eq!(ping.send().await.status, 200);
    }
    // A list counts as often as it has messages, whatever they are.
    let open = |count: usize| {
        let all = vec![r#"{"method":"a"}"#; count].join(",");
        post(&world, OPEN).body(format!("[{all}]"))
    };
    assert_eq!(open(7).send().await.status, 200);
    assert_eq!(open(4).send().await.status, 429);
    assert_eq!(open(3).send().await.status, 200);
    assert_eq!(
        post(&world, OPEN).body(call("1", "x")).send().await.status,
        429
    );
}

/// The error in an answer of JSON-RPC, which says what a problem says.
#[track_caller]
fn rpc_error(answer: &Answer, status: u16, id: &Value) -> Value {
    let error = answer.rpc_error(status, id);
    assert_eq!(error["message"], error["data"]["detail"], "{error}");
    assert_eq!(
        error["data"]["instance"].as_str(),
        answer.header("x-request-id"),
        "{error}"
    );
    error
}

fn call(id: &str, tool: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}"}}}}"#)
}

fn keyed(world: &World, key: &str, path: &str) -> Request {
    let request = world.request("POST", path).key(key);
    request.header(JSON.0, JSON.1)
}

fn post(world: &World, path: &str) -> Request {
    keyed(world, "demo-standard", path)
}

fn routes(draft: &mut Draft) {
    let configuration = draft.configuration();
    for plan in ["standard", "premium"] {
        configuration["plans"][plan] = json!({});
    }
    configuration["limits"] = json!([
        {"name": "each-tool", "each": ["client", "tool"], "match": {"route": LIMITED}, "requests": "3/hour"},
        {"name": "searches", "each": "client", "match": {"route": LIMITED, "tool": "search.*"}, "requests": "5/hour"},
    ]);
    let judged = json!({
        "tools": [
            {"match": "files.read"},
            {"match": ["files.*", "shell"], "roles": ["admin"]},
            {"match": "search"},
        ],
        "methods": [{"match": "logging/*", "roles": ["admin"]}, {"match": "*"}],
    });
    draft.routes().extend([
        json!({"prefix": MCP, "agents": ["tools"], "mcp": judged}),
        json!({"prefix": LIMITED, "agents": ["tools"], "mcp": {}}),
        json!({"prefix": OPEN, "agents": ["tools"], "mcp": {}, "rate_limit": {"requests": "10/hour"}}),
        json!({"prefix": SORTED, "agents": ["tools"], "mcp": {}, "rules": [
            {"match": {"tool": "files.*"}, "agents": ["memory"]},
            {"match": {"tool": ["web.*", "news"]}, "agents": ["rag"]},
        ]}),
    ]);
}
