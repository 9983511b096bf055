//! Several servers of MCP behind one address, beside what else a gateway does: each server rests by itself, tools have limits, places
//! and roles, and sessions are as long as they must be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::caller::{Answer, Caller};
use crate::eventually;
use crate::gateway::{Gateway, free_address};
use crate::stand_in::{Came, StandIn, json as answer};

const KEY: (&str, &str) = ("x-api-key", "example-key");
const ADMIN: (&str, &str) = ("x-api-key", "example-admin-key");

/// A server with two tools beside `break`, which it fails to run.
fn says(name: &str, came: &Came) -> Response<Full<Bytes>> {
    let asked: Value = serde_json::from_slice(&came.body).unwrap_or_default();
    if asked["params"]["name"] == "break" {
        return answer(500, "{}");
    }
    let result = match asked["method"].as_str() {
        Some("tools/list") => json!({"tools": [{"name": "read"}, {"name": "secret"}]}),
        _ => json!({"server": name, "tool": asked["params"]["name"]}),
    };
    let id = &asked["id"];
    answer(
        200,
        &json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string(),
    )
}

fn text(listen: SocketAddr, operations: SocketAddr, [files, web, gone]: [SocketAddr; 3]) -> String {
    format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
clients:
  keys:
    - {{sha256: c018c41c1afaf2c0b66c64f97d0ee135657b699ad260f299234cd40a5d625e0e, client_id: me}}
    - {{sha256: 9b3a91136feac4a6472d2cc9af52e9a6f9e367c1e8fcffb5a41c5c2beeaad08e, client_id: them, roles: [admin]}}
sessions: {{keys: ['{}']}}
limits:
  - {{name: finds, each: [client, tool], match: {{tool: web__find}}, requests: 1/hour}}
  - {{name: slow-ones, each: tool, match: {{tool: '*__slow'}}, in_flight: 1}}
agents:
  files-agent: {{url: 'http://{files}', rest: {{failures: 1, first: 1h}}}}
  web-agent: {{url: 'http://{web}', rest: {{failures: 1, first: 1h}}}}
  gone-agent: {{url: 'http://{gone}'}}
routes:
  - prefix: /mcp
    mcp:
      servers: {{files: files-agent, web: web-agent, gone: gone-agent}}
      tools: [{{match: '*__secret', roles: [admin]}}, {{match: '*'}}]
  - {{prefix: /v1, agents: [gone-agent], fallback: [files-agent]}}
",
        "3".repeat(64)
    )
}

/// Calls a tool, or asks for their list.
async fn ask(caller: &Caller, key: (&str, &str), tool: Option<&str>) -> Answer {
    let message = match tool {
        Some(tool) => {
            json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool}})
        }
        None => json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"}),
    };
    let headers = [key, ("content-type", "application/json")];
    caller.post("/mcp", &headers, &message.to_string()).await
}

#[track_caller]
fn listed(answer: &Answer) -> (Value, Value) {
    let told = answer.json();
    let tools = told["result"]["tools"].as_array();
    let Some(names) = tools else { panic!("{told}") };
    let names = names.iter().map(|tool| tool["name"].clone()).collect();
    let missing = &told["result"]["_meta"]["waykeeper/missing"];
    (names, missing.clone())
}

/// An error of JSON-RPC with the call's id, and the kind of problem that it tells.
#[track_caller]
fn refused(answer: &Answer) -> (u16, i64, String) {
    let told = answer.json();
    assert_eq!(told["id"], 7, "{told}");
    let kind = told["error"]["data"]["type"].as_str().unwrap_or_default();
    let code = told["error"]["code"].as_i64().expect("a code");
    let kind = kind.rsplit(':').next().unwrap_or_default();
    (answer.status, code, kind.to_owned())
}

#[tokio::test]
async fn each_server_is_judged_by_itself_and_each_tool_bounded() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = StandIn::start(|came| says("files", came)).await;
    let web = StandIn::start(|came| says("web", came)).await;
    let [listen, operations, gone] = [(); 3].map(|()| free_address());
    let text = text(listen, operations, [files.address, web.address, gone]);
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let caller = Caller::of(listen);

    // One is gone: the others' tools are there, each for whom it is.
    let (mine, missing) = listed(&ask(&caller, KEY, None).await);
    assert_eq!(mine, json!(["files__read", "web__read"]));
    assert_eq!(missing, json!(["gone"]));
    let (all, _) = listed(&ask(&caller, ADMIN, None).await);
    assert_eq!(
        all,
        json!(["files__read", "files__secret", "web__read", "web__secret"])
    );
    // Envoy says this itself, and knows no id.
    let call = ask(&caller, KEY, Some("gone__read")).await;
    assert_eq!(
        refused(&call),
        (503, -32603, "agent_unreachable".to_owned())
    );
    let call = ask(&caller, KEY, Some("files__secret")).await;
    assert_eq!(refused(&call), (200, -32003, "tool_forbidden".to_owned()));
    let call = ask(&caller, ADMIN, Some("files__secret")).await;
    assert_eq!(
        call.json()["result"],
        json!({"server": "files", "tool": "secret"})
    );

    // A tool's limit counts by the name that callers know, for each of them.
    for key in [KEY, ADMIN] {
        assert_eq!(ask(&caller, key, Some("web__find")).await.status, 200);
        let full = ask(&caller, key, Some("web__find")).await;
        let (status, code, _) = refused(&full);
        assert_eq!((status, code), (429, -32005));
        assert!(full.header("retry-after").is_some());
    }
    assert_eq!(ask(&caller, KEY, Some("files__find")).await.status, 200);

    // One call is in flight until its body ends.
    let mut open = TcpStream::connect(listen).await.expect("connect");
    let begins = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"files__slow","#;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: a\r\nx-api-key: example-key\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{begins}",
        begins.len() + 100
    );
    open.write_all(head.as_bytes()).await.expect("write");
    eventually("the place is taken", || async {
        let call = ask(&caller, ADMIN, Some("files__slow")).await;
        (call.status == 429).then(|| assert_eq!(refused(&call).1, -32005))
    })
    .await;
    assert_eq!(ask(&caller, ADMIN, Some("web__slow")).await.status, 200);
    drop(open);
    eventually("the place is free", || async {
        let call = ask(&caller, ADMIN, Some("files__slow")).await;
        (call.status == 200).then_some(())
    })
    .await;

    // Whoever is a server here answers elsewhere as any agent does.
    let headers = [KEY, ("content-type", "application/json")];
    let fallen = caller.post("/v1/chat", &headers, r#"{"id":1}"#).await;
    assert_eq!(fallen.json()["result"]["server"], "files");

    // One rests: it is asked nothing, and the others are asked as before.
    assert_eq!(ask(&caller, KEY, Some("web__break")).await.status, 500);
    eventually("the rest", || async {
        let call = ask(&caller, KEY, Some("web__read")).await;
        (call.status == 503).then(|| {
            assert_eq!(refused(&call), (503, -32603, "agents_resting".to_owned()));
            assert!(call.header("retry-after").is_some());
        })
    })
    .await;
    web.came();
    files.came();
    let (mine, missing) = listed(&ask(&caller, KEY, None).await);
    assert_eq!(mine, json!(["files__read"]));
    assert_eq!(missing, json!(["gone", "web"]));
    assert_eq!((web.came().len(), files.came().len()), (0, 1));
    assert_eq!(ask(&caller, KEY, Some("files__read")).await.status, 200);
}

/// A server that names its sessions by 400 letters, and has forgotten those that it is told to forget.
fn keeps(forgets: &AtomicBool, came: &Came) -> Response<Full<Bytes>> {
    let asked: Value = serde_json::from_slice(&came.body).unwrap_or_default();
    let session = came.header("mcp-session-id");
    if session.is_some() && forgets.load(Ordering::SeqCst) {
        return answer(404, r#"{"error":{"code":-32600,"message":"no session"}}"#);
    }
    let result = match asked["method"].as_str() {
        Some("initialize") => json!({"protocolVersion": "2025-11-25", "capabilities": {}}),
        _ => json!({"tools": [], "length": session.map(str::len)}),
    };
    let message = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
    let mut said = answer(200, &message.to_string());
    if session.is_none() {
        let name = "s".repeat(400).parse().expect("a header");
        said.headers_mut().insert("mcp-session-id", name);
    }
    said
}

#[tokio::test]
async fn a_session_at_many_servers_is_as_long_as_it_must_be_and_no_longer_than_clients_bear() {
    let directory = tempfile::tempdir().expect("a directory");
    let forgets = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&forgets);
    let keeper = StandIn::start(move |came| keeps(&seen, came)).await;
    let [listen, operations] = [(); 2].map(|()| free_address());
    let names: Vec<String> = (0..8).map(|number| format!("s{number}")).collect();
    let agents = names.iter().map(|name| {
        format!(
            "  {name}-agent: {{url: 'http://{}', sees: []}}\n",
            keeper.address
        )
    });
    let servers = |number: usize| {
        let all = names[..number].iter();
        let all = all.map(|name| format!("{name}: {name}-agent"));
        all.collect::<Vec<_>>().join(", ")
    };
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
clients:
  keys: [{{sha256: c018c41c1afaf2c0b66c64f97d0ee135657b699ad260f299234cd40a5d625e0e, client_id: me}}]
sessions: {{keys: ['{}']}}
agents:
{}
routes:
  - {{prefix: /six, mcp: {{servers: {{{}}}}}}}
  - {{prefix: /eight, mcp: {{servers: {{{}}}}}}}
",
        "3".repeat(64),
        agents.collect::<String>(),
        servers(6),
        servers(8)
    );
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let caller = Caller::of(listen);
    let json_type = ("content-type", "application/json");
    let begin = r#"{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}"#;
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"s5__read"}}"#;
    let list = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#;

    let begun = caller.post("/six", &[KEY, json_type], begin).await;
    assert_eq!(begun.status, 200, "{}", begun.text());
    let session = begun
        .header("mcp-session-id")
        .expect("a session")
        .to_owned();
    assert!((3072..=4096).contains(&session.len()), "{}", session.len());
    let own = [KEY, json_type, ("mcp-session-id", session.as_str())];
    let called = caller.post("/six", &own, call).await;
    assert_eq!(called.json()["result"]["length"], 400, "{}", called.text());
    assert_eq!(caller.post("/six", &own, list).await.status, 200);

    // It would be longer than it may be: said at once, and not by a call that fails.
    let refused_at = caller.post("/eight", &[KEY, json_type], begin).await;
    assert_eq!(
        refused(&refused_at),
        (502, -32603, "answer_too_large".to_owned())
    );

    // It is over at a server: clients are told so by calls and lists alike, and begin anew.
    forgets.store(true, Ordering::SeqCst);
    for message in [call, list] {
        assert_eq!(caller.post("/six", &own, message).await.status, 404);
    }
    let anew = caller.post("/six", &[KEY, json_type], begin).await;
    assert_eq!(anew.status, 200);
}

/// Envoy lets the request wait for as long as the gateway does.
#[tokio::test]
async fn a_server_that_hangs_is_missing_once_its_time_is_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = StandIn::start(|came| says("files", came)).await;
    // It takes connections, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let silent_at = silent.local_addr().expect("an address");
    let [listen, operations, gone] = [(); 3].map(|()| free_address());
    let text = text(listen, operations, [files.address, silent_at, gone]);
    let text = text.replace(
        "  - prefix: /mcp\n",
        "  - prefix: /mcp\n    first_byte_timeout: 5s\n",
    );
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;
    let (mine, missing) = listed(&ask(&Caller::of(listen), KEY, None).await);
    assert_eq!(mine, json!(["files__read"]));
    assert_eq!(missing, json!(["gone", "web"]));
}
