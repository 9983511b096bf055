//! Which tools a caller sees in an agent's answer to MCP's `tools/list`: those that it may call, however the answer comes, and
//! nothing of one that cannot be read.

mod agent;

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::{
    Answer, Arriving, Draft, PATIENCE, Puppet, Request, World, eventually, needed, repository,
};
use agent::{Lister, list};

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look"}}"#;

/// What a list may have at most, and how much that is in tools.
const MOST: usize = 1 << 20;

/// A world whose agent for MCP listens there.
async fn world(agent: SocketAddr, change: impl FnOnce(&mut Draft)) -> World {
    World::with(|draft| {
        draft.connect("tools", &[agent]);
        let configuration = draft.configuration();
        configuration["plans"] = json!({"standard": {}, "premium": {}});
        configuration["limits"] = json!([]);
        *draft.routes() = vec![json!({
            "prefix": "/mcp", "agents": ["tools"],
            "mcp": {"tools": [{"match": "admin*", "roles": ["admin"]}, {"match": "*"}]},
        })];
        change(draft);
    })
    .await
}

fn asking(world: &World, path: &str, key: &str) -> Request {
    let request = world.request("POST", path).key(key).body(LIST);
    let request = request.header("content-type", "application/json");
    request.header("accept", "application/json, text/event-stream")
}

fn names(message: &Value) -> Vec<&str> {
    let tools = message["result"]["tools"].as_array().expect("tools");
    let names = tools.iter().map(|tool| tool["name"].as_str());
    names.map(|name| name.expect("a name")).collect()
}

/// One world is enough for all that leaves nothing behind.
#[tokio::test]
async fn tools_are_seen_by_those_who_may_call_them() {
    let agent = Lister::start().await;
    let world = world(agent.address(), |draft| draft.workers(2)).await;
    in_a_text_however_it_comes(&world).await;
    in_an_event_of_a_stream(&world).await;
    in_no_answer_that_cannot_be_read(&world).await;
    in_no_answer_beyond_the_bound(&world).await;
    answers_without_a_list_pass(&world).await;
    agents_are_asked_for_what_can_be_read(&world, &agent).await;
    crowds_see_what_each_may(&world).await;
}

async fn in_a_text_however_it_comes(world: &World) {
    for form in ["length", "chunks", "bytes", "late-end"] {
        for http2 in [false, true] {
            for (key, seen) in [
                ("demo-standard", &["look", "find"][..]),
                ("demo-admin", &["look", "admin.wipe", "find"][..]),
            ] {
                let request = asking(world, &format!("/mcp/{form}"), key);
                let request = if http2 { request.http2() } else { request };
                let answer = request.send().await;
                assert_eq!(answer.status, 200, "{form} {}", answer.text());
                let came = answer.json();
                assert_eq!(names(&came), seen, "{form} {key}");
                // All else is as it came.
                let mut whole: Value = serde_json::from_str(&list(0)).expect("JSON");
                whole["result"]["tools"] = came["result"]["tools"].clone();
                assert_eq!(came, whole, "{form} {key}");
                let told = answer.header("content-length").expect("a length");
                assert_eq!(told, answer.body.len().to_string());
                assert!(key == "demo-admin" || answer.header("etag").is_none());
            }
        }
    }
}

async fn in_an_event_of_a_stream(world: &World) {
    for form in ["events", "one-event", "counted-events"] {
        for (method, body) in [("POST", LIST), ("GET", "")] {
            for (key, seen) in [("demo-standard", 2), ("demo-admin", 3)] {
                let request = world.request(method, &format!("/mcp/{form}")).key(key);
                let request = request
                    .header("content-type", "application/json")
                    .body(body);
                let answer = request.header("last-event-id", "7").send().await;
                assert_eq!(answer.status, 200, "{form} {}", answer.text());
                assert_eq!(answer.header("content-type"), Some("text/event-stream"));
                let text = answer.text();
                assert_eq!(text.contains("admin"), key == "demo-admin", "{form} {text}");
                let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
                let messages: Vec<Value> = data
                    .map(|it| serde_json::from_str(it).expect("JSON"))
                    .collect();
                let (list, before) = messages.split_last().expect("an event");
                assert_eq!(names(list).len(), seen, "{form} {text}");
                assert_eq!(list["result"]["nextCursor"], "c");
                assert_eq!(before.len(), if form == "events" { 3 } else { 0 }, "{text}");
                assert!(
                    before
                        .iter()
                        .all(|it| it["method"] == "notifications/progress")
                );
                assert!(text.contains("id: 8\r\n"), "{text}");
            }
        }
    }
}

/// The code of an error of the gateway's, of which the agent's answer has nothing in it.
fn told(answer: &Answer) -> String {
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(!answer.text().contains("admin."), "{}", answer.text());
    let told = answer.json();
    assert_eq!(
        (&told["jsonrpc"], &told["id"]),
        (&json!("2.0"), &json!(1)),
        "{told}"
    );
    let kind = told["error"]["data"]["type"].as_str().expect("a type");
    kind.trim_start_matches("urn:waykeeper:problem:").to_owned()
}

async fn in_no_answer_that_cannot_be_read(world: &World) {
    for form in ["gzip", "garbage", "half", "html"] {
        let answer = asking(world, &format!("/mcp/{form}"), "demo-standard")
            .send()
            .await;
        assert_eq!(told(&answer), "unreadable_answer", "{form}");
        let log = world.access_log(&answer).await;
        assert!(log.to_string().contains("unreadable_answer"), "{log}");
    }
    // Where the agent breaks off, its headers have not gone either: Envoy says so.
    let answer = asking(world, "/mcp/cut", "demo-standard").send().await;
    assert_eq!(answer.refused(), (502, "bad_answer".to_owned()));
    let metrics = world.metrics().await;
    let labels = [("route", "/mcp"), ("outcome", "unreadable_answer")];
    assert_eq!(metrics.sum("waykeeper_requests_total", &labels), 4.0);
}

/// What comes of it until it is cut off, of which nothing is secret.
async fn cut_off(mut stream: Arriving) {
    let mut came = Vec::new();
    let cut = loop {
        match stream.chunk().await {
            Ok(Some(chunk)) => came.extend(chunk),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    let came = String::from_utf8(came).expect("text");
    assert!(cut && !came.contains("look"), "{came}");
}

async fn in_no_answer_beyond_the_bound(world: &World) {
    // A thousand tools are a little more than the bound, nine hundred a little less.
    for form in ["length", "chunks", "one-event"] {
        let fits = asking(world, &format!("/mcp/{form}/900"), "demo-standard")
            .send()
            .await;
        assert_eq!(fits.status, 200, "{form}");
        assert!(fits.body.len() > MOST / 2 && !fits.text().contains("admin"));
        for http2 in [false, true] {
            for tools in [1100, 2200] {
                let request = asking(world, &format!("/mcp/{form}/{tools}"), "demo-standard");
                let request = if http2 { request.http2() } else { request };
                let answer = request.send().await;
                assert_eq!(told(&answer), "answer_too_large", "{form}");
            }
        }
    }
    // Of a stream something may have gone before.
    let stream = asking(world, "/mcp/events/1100", "demo-standard");
    let stream = stream.begin().await;
    match stream.status {
        200 => cut_off(stream).await,
        _ => assert_eq!(
            told(&stream.whole().await.expect("an answer")),
            "answer_too_large"
        ),
    }
}

async fn answers_without_a_list_pass(world: &World) {
    let answer = asking(world, "/mcp/not-found", "demo-standard")
        .send()
        .await;
    assert_eq!((answer.status, answer.text().as_str()), (404, "<p>none {}"));
    let answer = asking(world, "/mcp/accepted", "demo-standard").send().await;
    assert_eq!((answer.status, answer.text().as_str()), (202, ""));
    let answer = asking(world, "/mcp/error", "demo-standard").send().await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["code"], -32601);
    // What calls a tool may be answered by anything, of any size.
    let answer = asking(world, "/mcp/gzip/2000", "demo-standard")
        .body(CALL)
        .send()
        .await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.len() > MOST);
}

async fn agents_are_asked_for_what_can_be_read(world: &World, agent: &Lister) {
    for (request, encoding) in [
        (asking(world, "/mcp/length", "demo-standard"), "identity"),
        (world.get("/mcp/events").key("demo-standard"), "identity"),
        (
            asking(world, "/mcp/length", "demo-standard").body(CALL),
            "gzip, br",
        ),
    ] {
        let answer = request.header("accept-encoding", "gzip, br").send().await;
        assert_eq!(answer.status, 200);
        assert_eq!(agent.last_encoding().as_deref(), Some(encoding));
    }
}

async fn crowds_see_what_each_may(world: &World) {
    let mut callers = JoinSet::new();
    for number in 0..500 {
        let (key, seen) = match number % 3 {
            0 => ("demo-admin", 23),
            _ => ("demo-standard", 22),
        };
        let form = ["length/20", "chunks/20", "one-event/20", "events/20"][number % 4];
        let request = asking(world, &format!("/mcp/{form}"), key);
        callers.spawn(async move {
            let answer = request.send().await;
            let text = answer.text();
            let list = text.split("data: ").last().expect("a part");
            (
                answer.status,
                names(&serde_json::from_str(list).expect("JSON")).len(),
                seen,
            )
        });
    }
    while let Some(came) = callers.join_next().await {
        let (status, tools, seen) = came.expect("a caller");
        assert_eq!((status, tools), (200, seen));
    }
}

#[tokio::test]
async fn nothing_waits_for_a_list_but_the_list() {
    let agent = Puppet::listen().await;
    let world = world(agent.address(), |_| ()).await;
    let list = list(0);

    // A stream that is open: each event goes on while nothing else comes.
    let stream = tokio::spawn(world.get("/mcp").key("demo-standard").begin());
    let mut exchange = agent.accept().await;
    exchange.read_until("\r\n\r\n").await;
    exchange
        .write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        .await;
    let mut stream = stream.await.expect("the caller");
    assert_eq!(stream.status, 200);
    for event in [
        ": ping\n\n",
        "event: message\ndata: {\"method\":\"a\"}\n\n",
        "data: {\"result\":{}}\r\n\r\n",
    ] {
        exchange.write(event).await;
        let came = stream.chunk().await.expect("a piece").expect("a piece");
        assert_eq!(came, event.as_bytes());
    }
    exchange.write(&format!("data: {list}\n")).await;
    exchange.write("\n").await;
    let came = stream.chunk().await.expect("a piece").expect("a piece");
    let came = String::from_utf8(came.to_vec()).expect("text");
    assert!(
        came.ends_with("\n\n") && came.contains("look") && !came.contains("admin"),
        "{came}"
    );
    drop(stream);

    // The list goes on with its last byte, and not with the answer's.
    let asked = tokio::spawn(asking(&world, "/mcp", "demo-standard").begin());
    let mut exchange = agent.accept().await;
    exchange.read_until(LIST).await;
    exchange
        .write(&format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{list}"
        ))
        .await;
    let mut answer = asked.await.expect("the caller");
    let came = answer.chunk().await.expect("a piece").expect("a piece");
    assert_eq!(
        names(&serde_json::from_slice(&came).expect("JSON")),
        ["look", "find"]
    );
    drop(exchange);

    // The answer to a call is not held, whatever it is.
    let asked = tokio::spawn(asking(&world, "/mcp", "demo-standard").body(CALL).begin());
    let mut exchange = agent.accept().await;
    exchange.read_until(CALL).await;
    exchange
        .write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"res")
        .await;
    let mut answer = asked.await.expect("the caller");
    let came = answer.chunk().await.expect("a piece").expect("a piece");
    assert_eq!(came, &b"{\"res"[..]);
    drop(exchange);

    // An event that cannot be read breaks its stream off, also where it is the agent that has done so.
    for list in [list.replace("look", "\u{1}"), list.replace("find", "\0")] {
        let asked = tokio::spawn(asking(&world, "/mcp", "demo-standard").begin());
        let mut exchange = agent.accept().await;
        exchange.read_until(LIST).await;
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        exchange
            .write(&format!("{head}data: {{\"method\":\"a\"}}\n\n"))
            .await;
        let mut answer = asked.await.expect("the caller");
        assert_eq!(answer.status, 200);
        answer.chunk().await.expect("a piece").expect("a piece");
        match list.split_once('\0') {
            None => exchange.write(&format!("data: {list}\n\n")).await,
            Some((half, _)) => exchange.write(&format!("data: {half}")).await,
        }
        drop(exchange);
        cut_off(answer).await;
    }

    // A caller that leaves takes its agent's answer with it.
    let asked = tokio::spawn(asking(&world, "/mcp", "demo-standard").send());
    let mut exchange = agent.accept().await;
    exchange.read_until(LIST).await;
    exchange
        .write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"result\":")
        .await;
    let held = || async {
        let metrics = world.metrics().await;
        (metrics.sum(
            "envoy_cluster_upstream_rq_active",
            &[("envoy_cluster_name", "tools")],
        ) == 1.0)
            .then_some(())
    };
    eventually("the request", held).await;
    asked.abort();
    exchange.read_to_end().await;
    let left = || async {
        let metrics = world.metrics().await;
        let labels = [("route", "/mcp"), ("outcome", "allowed")];
        (metrics.sum("waykeeper_requests_total", &labels) == 4.0).then_some(())
    };
    eventually("the end", left).await;
}

#[tokio::test]
async fn the_official_client_sees_what_its_caller_may_call() {
    for form in [&[][..], &["json", "stateless"]] {
        let (_server, address) = server(form).await;
        let world = world(address, |_| ()).await;
        let seen = client(&format!("http://{}/mcp", world.address())).await;
        for mode in ["legacy", "2026-07-28", "auto"] {
            for (key, tools) in [
                ("demo-standard", json!(["look"])),
                ("demo-admin", json!(["look", "admin_reset", "admin_wipe"])),
            ] {
                let seen = &seen[key][mode];
                assert_eq!(seen["tools"], tools, "{form:?} {mode} {seen}");
                assert_eq!(seen["called"], "seen", "{form:?} {mode} {seen}");
                assert_eq!(seen["private"], true, "{form:?} {mode} {seen}");
            }
        }
    }
}

/// A server of the official package, in one of its forms.
async fn server(form: &[&str]) -> (Child, SocketAddr) {
    let mut server = python("server.py")
        .args(form)
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut lines = BufReader::new(server.stdout.take().expect("its output")).lines();
    let port = timeout(3 * PATIENCE, lines.next_line())
        .await
        .expect("a port")
        .expect("its output");
    let port = port.expect("a line").parse().expect("a port");
    (server, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// What the official client has seen.
async fn client(url: &str) -> Value {
    let output = timeout(6 * PATIENCE, python("client.py").arg(url).output()).await;
    let output = output.expect("the client is not done").expect("python3");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    command
        .arg(repository(&format!("tests/e2e/tool_lists/{script}")))
        .env("PYTHONPATH", needed(".tools/mcp", "make test-tools"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true);
    command
}
