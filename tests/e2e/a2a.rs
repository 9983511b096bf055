//! A2A: what a client asks of an agent is judged by whichever name it has and in whichever binding, and cards tell callers where the
//! gateway is, in whatever pieces they come.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::harness::{Draft, Puppet, Request, Shape, World};

const A2A: &str = "/a2a";
const OPEN: &str = "/open/a2a";
const NEW: &str = "/new/a2a";
const CARDS: &str = "/planner";
const PUBLIC: &str = "/shown";
/// Its methods are named as in 1.0.
const BY_NEW: &str = "/by-new";
/// As in 0.3.
const BY_OLD: &str = "/by-old";
/// By patterns, as in 0.3.
const BY_PATTERN: &str = "/by-pattern";

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a2a_is_judged() {
    let world = World::with(|draft| routes(draft, None)).await;
    a_method_is_one_by_both_of_its_names(&world).await;
    an_entry_that_names_a_method_holds_for_its_other_name(&world).await;
    paths_of_http_and_json_are_operations_too(&world).await;
    what_counts_is_the_path_that_the_agent_gets(&world).await;
    what_is_no_operation_passes_only_where_nothing_is_judged(&world).await;
    versions_are_those_that_the_route_takes(&world).await;
    what_is_no_message_is_refused(&world).await;
    whoever_lacks_a_key_is_told_so_in_the_words_of_the_protocol(&world).await;
}

async fn a_method_is_one_by_both_of_its_names(world: &World) {
    for method in [
        "tasks/cancel",
        "CancelTask",
        "tasks\\/cancel",
        "Cancel\\u0054ask",
    ] {
        for shape in Shape::ALL
            .into_iter()
            .filter(|it| *it != Shape::HeadersOnly)
        {
            let before = world.agent("tools").stats();
            let body = Bytes::from(call("\"a\"", method));
            let refused = shape.send(post(world, A2A), body.clone()).await;
            let error = refused.rpc_error(200, &json!("a"));
            assert_eq!(error["code"], -32600, "{shape:?} {error}");
            assert_eq!(error["data"][0]["reason"], "TOOL_FORBIDDEN", "{error}");
            assert_eq!(
                world.agent("tools").stats().total,
                before.total,
                "{shape:?}"
            );
            let admin = world
                .request("POST", A2A)
                .key("demo-admin")
                .header(JSON.0, JSON.1);
            let echo = shape.send(admin, body.clone()).await.echo();
            assert_eq!(
                (echo.agent.as_str(), echo.body_bytes),
                ("tools", body.len() as u64)
            );
        }
    }
    for method in ["message/send", "SendMessage", "tasks/get", "unheard/of"] {
        let echo = post(world, A2A).body(call("1", method)).send().await.echo();
        assert_eq!(
            (echo.agent.as_str(), echo.path.as_str()),
            ("tools", "/"),
            "{method}"
        );
    }
}

/// The names of each method: in 1.0, and in 0.3.
const METHODS: [[&str; 2]; 11] = [
    ["SendMessage", "message/send"],
    ["SendStreamingMessage", "message/stream"],
    ["GetTask", "tasks/get"],
    ["ListTasks", "tasks/list"],
    ["CancelTask", "tasks/cancel"],
    ["SubscribeToTask", "tasks/resubscribe"],
    [
        "CreateTaskPushNotificationConfig",
        "tasks/pushNotificationConfig/set",
    ],
    [
        "GetTaskPushNotificationConfig",
        "tasks/pushNotificationConfig/get",
    ],
    [
        "ListTaskPushNotificationConfigs",
        "tasks/pushNotificationConfig/list",
    ],
    [
        "DeleteTaskPushNotificationConfig",
        "tasks/pushNotificationConfig/delete",
    ],
    ["GetExtendedAgentCard", "agent/getAuthenticatedExtendedCard"],
];

/// Whoever is kept from a method by one of its names is kept from it by the other, and so is whom no entry lets.
async fn an_entry_that_names_a_method_holds_for_its_other_name(world: &World) {
    let ask = async |path: &str, key: &str, method: &str| {
        let request = world.request("POST", path).key(key);
        let body = call("1", method);
        request.header(JSON.0, JSON.1).body(body).send().await
    };
    for [new, old] in METHODS {
        for (path, named) in [(BY_NEW, new), (BY_OLD, old), (BY_PATTERN, old)] {
            for method in [new, old] {
                let what = format!("{method} where {named} is named, {path}");
                let before = world.agent("tools").stats().total;
                let refused = ask(path, "demo-standard", method).await;
                assert_eq!(
                    refused.rpc_error(200, &json!(1))["code"],
                    -32600,
                    "{what}: {}",
                    refused.text()
                );
                assert_eq!(world.agent("tools").stats().total, before, "{what}");
                // Who has the role, or the plan.
                let key = match path {
                    BY_PATTERN => "demo-premium",
                    _ => "demo-admin",
                };
                let echo = ask(path, key, method).await.echo();
                assert_eq!(echo.agent, "tools", "{what}");
            }
        }
    }
}

async fn paths_of_http_and_json_are_operations_too(world: &World) {
    for (method, path) in [
        ("POST", "/tasks/1:cancel"),
        ("POST", "/v1/tasks/1:cancel"),
        ("POST", "/tenant/tasks/1%3Acancel"),
        ("POST", "/Tasks/1:Cancel/"),
    ] {
        let ask = |key| {
            let request = world.request(method, &format!("{A2A}{path}")).key(key);
            request
                .header("content-type", "application/a2a+json")
                .body("{}")
        };
        let refused = ask("demo-standard").send().await;
        assert_eq!(refused.status, 403, "{path} {}", refused.text());
        let error = &refused.json()["error"];
        assert_eq!(
            (&error["code"], &error["status"]),
            (&json!(403), &json!("PERMISSION_DENIED"))
        );
        assert_eq!(error["details"][0]["domain"], "waykeeper", "{error}");
        assert_eq!(
            ask("demo-admin").send().await.echo().agent,
            "tools",
            "{path}"
        );
    }
    let get = world.get(&format!("{A2A}/tasks/1")).key("demo-standard");
    assert_eq!(get.send().await.echo().agent, "tools");
    // gRPC names its methods in the path; a type that only says so changes nothing.
    let lies = world
        .request("POST", A2A)
        .key("demo-standard")
        .header("content-type", "application/grpc");
    let lies = lies.body(call("1", "CancelTask")).send().await;
    assert_eq!(lies.status, 200);
    assert_ne!(lies.header("grpc-status"), None, "{}", lies.text());
    // Some agents take a message wherever it is sent to.
    for path in ["/message:send", "/v1/tasks/1:subscribe"] {
        let path = format!("{A2A}{path}");
        for shape in Shape::ALL
            .into_iter()
            .filter(|it| *it != Shape::HeadersOnly)
        {
            let before = world.agent("tools").stats().complete;
            let body = call("1", "CancelTask");
            let refused = shape.send(post(world, &path), body.into()).await;
            assert_eq!(refused.status, 400, "{shape:?} {path} {}", refused.text());
            assert_eq!(world.agent("tools").stats().complete, before);
            let own = r#"{"message":{"parts":[]}}"#;
            let echo = shape.send(post(world, &path), own.into()).await.echo();
            assert_eq!(echo.agent, "tools", "{shape:?} {path}");
        }
    }
}

/// The route's prefix may hold a part of what an operation is known by, or what it is rewritten to may.
async fn what_counts_is_the_path_that_the_agent_gets(world: &World) {
    let service = "lf.a2a.v1.A2AService";
    for path in [
        "/v1/tasks/1:cancel",
        "/v1/tasks/a:b:cancel",
        "/v1/tasks/a%2Fb:cancel",
        "/v1/tasks/1/pushNotificationConfigs",
        "/short/1:cancel",
        "/short/1%3acancel",
        &format!("{A2A}/{service}/CancelTask"),
        &format!("{A2A}/{service}/canceltask"),
        &format!("{A2A}/a2a.v1.A2AService/CreateTaskPushNotification"),
    ] {
        let before = world.agent("tools").stats().total;
        // Some agents read it whatever it is said to be.
        for kind in [JSON.1, "application/a2a+json", "text/plain"] {
            let ask = |key| {
                let request = world.request("POST", path).key(key);
                request.header(JSON.0, kind).body("{}")
            };
            let refused = ask("demo-standard").send().await;
            assert_eq!(refused.status, 403, "{path} {kind} {}", refused.text());
            assert_eq!(world.agent("tools").stats().total, before, "{path} {kind}");
        }
        let admin = world.request("POST", path).key("demo-admin");
        let echo = admin.header(JSON.0, JSON.1).body("{}").send().await.echo();
        assert_eq!(echo.agent, "tools", "{path}");
    }
    // A message that is sent there is none of these.
    let get = world.get("/v1/tasks/1").key("demo-standard");
    assert_eq!(get.send().await.echo().path, "/v1/tasks/1");
}

async fn what_is_no_operation_passes_only_where_nothing_is_judged(world: &World) {
    for (method, path) in [("GET", "/docs"), ("PUT", ""), ("DELETE", "/tasks/1")] {
        let ask = |prefix: &str| {
            world
                .request(method, &format!("{prefix}{path}"))
                .key("demo-admin")
        };
        assert_eq!(
            ask(OPEN).send().await.echo().agent,
            "tools",
            "{method} {path}"
        );
        let body = call("1", "CancelTask");
        assert_eq!(
            ask(A2A).body(body).send().await.status,
            403,
            "{method} {path}"
        );
    }
}

async fn versions_are_those_that_the_route_takes(world: &World) {
    let send = |version: &[&str], path: &str| {
        let request = world
            .request("POST", path)
            .key("demo-standard")
            .header(JSON.0, JSON.1);
        version
            .iter()
            .fold(request, |it, version| it.header("a2a-version", version))
    };
    let body = call("7", "SendMessage");
    let with_query = format!("{NEW}?A2A-Version=1.0");
    let old_in_query = format!("{NEW}?a2a-version=0.3");
    for (version, path) in [(&["1.0"][..], NEW), (&["1.0.2"], NEW), (&[], &with_query)] {
        let echo = send(version, path).body(body.clone()).send().await.echo();
        assert_eq!(echo.headers.get("a2a-version"), version.first().copied());
    }
    for (version, path) in [
        (&[][..], NEW),
        (&[""], NEW),
        (&["0.3"], NEW),
        (&["1.1"], NEW),
        (&["1.0", "0.3"], NEW),
        (&["1.0"], &old_in_query),
    ] {
        let refused = send(version, path).body(body.clone()).send().await;
        let error = refused.rpc_error(200, &json!(7));
        assert_eq!(error["code"], -32009, "{version:?} {error}");
        assert_eq!(
            error["data"][0]["reason"], "VERSION_NOT_SUPPORTED",
            "{error}"
        );
        assert_eq!(error["data"][0]["domain"], "a2a-protocol.org", "{error}");
    }
    let refused = send(&["0.3"], &format!("{NEW}/message:send"))
        .body("{}")
        .send()
        .await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert_eq!(refused.json()["error"]["status"], "FAILED_PRECONDITION");
    // Without versions every one passes, also one that is to come.
    let echo = send(&["2.0"], OPEN).body(body).send().await.echo();
    assert_eq!(echo.headers.get("a2a-version"), Some("2.0"));
}

async fn what_is_no_message_is_refused(world: &World) {
    for (body, code, id) in [
        ("", -32600, Value::Null),
        ("{", -32700, Value::Null),
        ("[]", -32600, Value::Null),
        (r#"[{"id":1,"method":"tasks/cancel"}]"#, -32600, Value::Null),
        (r#"{"id":1}"#, -32600, json!(1)),
        (r#"{"id":1,"result":{}}"#, -32600, json!(1)),
        (r#"{"id":1,"method":"Tasks/Cancel"}"#, -32600, json!(1)),
        (r#"{"id":1,"method":"CancelTask "}"#, -32600, json!(1)),
        (
            r#"{"id":1,"method":"tasks/get","method":"tasks/cancel"}"#,
            -32600,
            json!(1),
        ),
        (
            r#"{"id":1,"method":"tasks/get","Method":"tasks/cancel"}"#,
            -32600,
            json!(1),
        ),
    ] {
        for shape in Shape::ALL
            .into_iter()
            .filter(|it| *it != Shape::HeadersOnly)
        {
            if body.is_empty() && shape != Shape::WithLength {
                continue;
            }
            let before = world.agent("tools").stats().complete;
            let refused = shape.send(post(world, OPEN), body.into()).await;
            let error = refused.rpc_error(400, &id);
            assert_eq!(error["code"], code, "{shape:?} {body:?} {error}");
            assert_eq!(error["data"][0]["reason"], "BAD_MESSAGE");
            assert_eq!(world.agent("tools").stats().complete, before, "{body:?}");
        }
    }
}

async fn whoever_lacks_a_key_is_told_so_in_the_words_of_the_protocol(world: &World) {
    let nobody = world.request("POST", OPEN).header(JSON.0, JSON.1);
    let refused = nobody.body(call("1", "SendMessage")).send().await;
    assert_eq!(refused.status, 401);
    assert_eq!(
        refused.json()["error"]["code"],
        -32600,
        "{}",
        refused.text()
    );
    let refused = world.get(&format!("{OPEN}/tasks/1")).send().await;
    assert_eq!(
        refused.json()["error"]["status"],
        "UNAUTHENTICATED",
        "{}",
        refused.text()
    );
    // A card is public where the route says so, and nothing else of it is.
    let card = |prefix: &str| world.get(&format!("{prefix}/.well-known/agent-card.json"));
    assert_eq!(card(OPEN).send().await.status, 401);
    assert_eq!(card(PUBLIC).send().await.echo().agent, "tools");
    assert_eq!(card(PUBLIC).key("nonsense").send().await.status, 401);
    assert_eq!(
        world.get(&format!("{PUBLIC}/tasks/1")).send().await.status,
        401
    );
}

#[tokio::test]
async fn cards_name_the_gateway_however_they_come() {
    let agent = Puppet::listen().await;
    let address = agent.address();
    let world = World::with(|draft| routes(draft, Some(address))).await;
    let own = format!("http://{address}");
    let card = json!({"name": "é", "supportedInterfaces": [{"url": format!("{own}/rpc"), "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
        {"url": address.to_string(), "protocolBinding": "GRPC"}], "url": format!("{own}/rpc"), "iconUrl": format!("{own}/icon")});
    let text = card.to_string();
    let shown = |gateway: &str| {
        let url = format!("{gateway}/planner/rpc");
        let text = json!({"name": "é", "supportedInterfaces": [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
            "url": url, "iconUrl": format!("{own}/icon")});
        text.to_string()
    };
    let here = format!("http://{}", world.address());
    let path = format!("{CARDS}/.well-known/agent-card.json");
    let ask = || world.get(&path).key("demo-standard");
    let chunks = |text: &str, size: usize| {
        let pieces = text.as_bytes().chunks(size).map(|it| {
            let it: String = it.iter().map(|byte| *byte as char).collect();
            it
        });
        pieces.collect::<Vec<_>>()
    };

    // In one piece, and in many.
    for size in [1, 50, 1000] {
        let asking = tokio::spawn(ask().header("accept-encoding", "gzip").send());
        let mut exchange = agent.accept().await;
        let seen = exchange.read_until("\r\n\r\n").await;
        assert!(
            seen.starts_with("GET /.well-known/agent-card.json "),
            "{seen}"
        );
        assert!(seen.contains("accept-encoding: identity\r\n"), "{seen}");
        let ascii = text.replace('é', "e");
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\netag: \"x\"\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
        exchange.write(head).await;
        for piece in chunks(&ascii, size) {
            exchange
                .write(&format!("{:x}\r\n{piece}\r\n", piece.len()))
                .await;
        }
        exchange.write("0\r\n\r\n").await;
        let answer = asking.await.expect("an answer");
        assert_eq!(answer.text(), shown(&here).replace('é', "e"));
        assert_eq!(answer.header("etag"), None);
        let length = answer.text().len().to_string();
        assert_eq!(answer.header("content-length"), Some(length.as_str()));
    }

    let answered = async |request: Request, head: &str, body: &str| {
        let asking = tokio::spawn(request.send());
        let mut exchange = agent.accept().await;
        exchange.read_until("\r\n\r\n").await;
        let length = body.len();
        exchange
            .write(&format!(
                "HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            ))
            .await;
        asking.await.expect("an answer")
    };
    let json = "200 OK\r\ncontent-type: application/json";

    // Whoever asks by another name, or by a proxy that ends TLS, is told that.
    let elsewhere = ask()
        .header("host", "agents.example")
        .header("x-forwarded-proto", "https");
    let answer = answered(elsewhere, json, &text).await;
    assert!(
        answer.text().contains("://agents.example/planner/rpc"),
        "{}",
        answer.text()
    );
    // A route may say it once and for all.
    let named = world
        .get("/named/.well-known/agent.json")
        .key("demo-standard");
    let answer = answered(named, json, &text).await;
    assert!(
        answer.text().contains("https://public.example/named/rpc"),
        "{}",
        answer.text()
    );
    // The extended card, by JSON-RPC and by HTTP+JSON.
    let extended = post(&world, CARDS).body(call("3", "agent/getAuthenticatedExtendedCard"));
    let asking = tokio::spawn(extended.send());
    let mut exchange = agent.accept().await;
    exchange.read_until("ExtendedCard\"}").await;
    let result = format!(r#"{{"jsonrpc":"2.0","id":3,"result":{text}}}"#);
    exchange
        .write(&format!(
            "HTTP/1.1 {json}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{result}",
            result.len()
        ))
        .await;
    let answer = asking.await.expect("an answer");
    assert_eq!(
        answer.text(),
        format!(r#"{{"jsonrpc":"2.0","id":3,"result":{}}}"#, shown(&here))
    );
    let extended = world.get(&format!("{CARDS}/v1/card")).key("demo-standard");
    assert_eq!(answered(extended, json, &text).await.text(), shown(&here));
    // Signed, or no card at all: as it came.
    let mut signed = card.clone();
    signed["signatures"] = json!([{"protected": "a", "signature": "b"}]);
    for whole in [signed.to_string(), r#"{"detail":"none"}"#.to_owned()] {
        assert_eq!(answered(ask(), json, &whole).await.text(), whole);
    }
    let none = answered(
        ask(),
        "404 Not Found\r\ncontent-type: text/html",
        "<p>none</p>",
    )
    .await;
    assert_eq!((none.status, none.text()), (404, "<p>none</p>".to_owned()));
    // What cannot be read nobody sees.
    let large = format!(r#"{{"url":"{own}","x":"{}"}}"#, "x".repeat(5000));
    for (head, body, code) in [
        (json, "{\"url\":\"http://a/\"", "unreadable_answer"),
        (
            json,
            "{\"url\":\"http://a/\",\"url\":\"http://b/\"}",
            "unreadable_answer",
        ),
        (
            "200 OK\r\ncontent-type: text/html",
            "<p>a card?</p>",
            "unreadable_answer",
        ),
        (
            "200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip",
            "x",
            "unreadable_answer",
        ),
        (json, large.as_str(), "answer_too_large"),
    ] {
        let refused = answered(ask(), head, body).await;
        assert_eq!(refused.refused(), (502, code.to_owned()), "{body}");
    }
    // Rewriting is off where the route says so.
    let left = world
        .get("/left/.well-known/agent-card.json")
        .key("demo-standard");
    assert_eq!(answered(left, json, &text).await.text(), text);
}

fn call(id: &str, method: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"params":{{"id":"t","metadata":{{"method":"x"}}}},"method":"{method}"}}"#
    )
}

fn post(world: &World, path: &str) -> Request {
    world
        .request("POST", path)
        .key("demo-standard")
        .header(JSON.0, JSON.1)
}

/// `cards`: where the agent is whose cards are shown.
fn routes(draft: &mut Draft, cards: Option<std::net::SocketAddr>) {
    if let Some(cards) = cards {
        // None that is asked for its health.
        draft.add_cluster("cards", &[cards]);
    }
    let configuration = draft.configuration();
    let agent = if cards.is_some() { "cards" } else { "tools" };
    if cards.is_some() {
        configuration["agents"]["cards"] = json!({"cluster": "cards"});
    }
    for plan in ["standard", "premium"] {
        configuration["plans"][plan] = json!({});
    }
    let judged = json!([
        {"match": ["tasks/cancel", "CreateTaskPushNotificationConfig"], "roles": ["admin"]},
        {"match": "*"},
    ]);
    let by_names = |which: usize| {
        let names = METHODS.map(|names| names[which]);
        json!({"methods": [{"match": names, "roles": ["admin"]}], "rewrite_card": false})
    };
    let by_pattern = json!({"methods": [{"match": ["message/*", "tasks/*", "agent/*"], "plans": ["premium"]}], "rewrite_card": false});
    let route = |prefix: &str, a2a: Value| json!({"prefix": prefix, "agents": [agent], "prefix_rewrite": "/", "a2a": a2a});
    draft.routes().extend([
        route(A2A, json!({"methods": judged})),
        json!({"prefix": "/v1/tasks", "agents": [agent], "encoded_slashes": "keep_anywhere", "a2a": {"methods": judged}}),
        json!({"prefix": "/short", "agents": [agent], "prefix_rewrite": "/v1/tasks", "a2a": {"methods": judged}}),
        route(BY_NEW, by_names(0)),
        route(BY_OLD, by_names(1)),
        route(BY_PATTERN, by_pattern),
        route(OPEN, json!({})),
        route(NEW, json!({"versions": ["1.0"]})),
        route(CARDS, json!({"max_card": "4KiB"})),
        route(PUBLIC, json!({"public_card": true, "rewrite_card": false})),
        route("/named", json!({"public_url": "https://public.example"})),
        route("/left", json!({"rewrite_card": false})),
    ]);
}
