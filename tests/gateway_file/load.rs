//! 200 changes in a row, under load and beneath open streams and WebSockets: no request is lost, nothing that is open is cut,
//! and Envoy does not grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::PATIENCE;
use crate::caller::Caller;
use crate::gateway::{agent, free_address};
use crate::running::{Running, at};

const CHANGES: usize = 200;
/// By then all caches and tables are warm.
const WARM: usize = 50;

/// An answer that goes on for as long as anybody reads it.
pub(crate) async fn stream(address: std::net::SocketAddr, path: &str) -> Incoming {
    let connected = TcpStream::connect(address).await.expect("the gateway");
    let (mut sender, connection) = http1::handshake(TokioIo::new(connected))
        .await
        .expect("HTTP");
    tokio::spawn(connection);
    let request = Request::post(path)
        .header("host", "gateway.example")
        .header("x-demo-events", "1000000")
        .header("x-demo-interval", "50ms")
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    tokio::spawn(async move {
        // As long as the sender is there, so is the connection.
        let _sender = sender;
        std::future::pending::<()>().await;
    });
    answer.into_body()
}

pub(crate) async fn goes_on(stream: &mut Incoming) {
    // What has arrived meanwhile counts too; so many events are in no buffer.
    for _ in 0..20 {
        let frame = stream.frame().await.expect("the stream was ended");
        frame.expect("the stream was cut");
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn socket(address: std::net::SocketAddr, path: &str) -> Socket {
    let url = format!("ws://{address}{path}");
    let opened = tokio_tungstenite::connect_async(url).await;
    opened.expect("a WebSocket").0
}

async fn answers(socket: &mut Socket, text: String) {
    let message = Message::text(text);
    let sent = socket.send(message.clone()).await;
    sent.expect("the WebSocket was cut");
    let heard = tokio::time::timeout(PATIENCE, socket.next()).await;
    let heard = heard.expect("the WebSocket is stuck");
    let heard = heard.expect("the WebSocket was ended");
    assert_eq!(heard.expect("the WebSocket was cut"), message);
}

/// Bytes that Envoy has allocated.
async fn allocated(running: &Running) -> u64 {
    let memory = running.admin("/memory").await;
    let memory: serde_json::Value = serde_json::from_str(&memory).expect("JSON");
    let allocated = memory["allocated"].as_str().expect("a number").parse();
    allocated.expect("a number")
}

/// Bytes of Envoy that lie in memory.
fn resident(process: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("VmRSS");
    let kibibytes: u64 = line
        .split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .unwrap();
    kibibytes << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_changes_lose_no_request_cut_no_stream_or_socket_and_take_no_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let (steady, moving) = (agent("steady").await, agent("moving").await);
    let listen = free_address();
    let (steadily, moves) = (at(steady.address()), at(moving.address()));
    // Each time a plan says something else; every second time a route of Envoy's does, every fourth an agent has another name, and
    // another comes or goes.
    let text = |change: usize| {
        let index = change / 4;
        let guest = match index % 2 {
            0 => format!("  guest-{index}: {moves}\n"),
            _ => String::new(),
        };
        format!(
            "
listen: [{{address: '{listen}'}}]
clients: {{default_plan: plan}}
plans: {{plan: {{requests: {}/minute}}}}
agents:
  steady: {steadily}
  name-{index}: {moves}
{guest}routes:
  - {{prefix: /steady, agents: [steady], auth_required: false}}
  - {{prefix: /moving, agents: [name-{index}], auth_required: false, timeout: {}s}}
  - {{prefix: /v1/chat, agents: [steady], auth_required: false, protocol: sse}}
  - {{prefix: /moving/v1/chat, agents: [name-{index}], auth_required: false, protocol: sse, idle_timeout: {}s}}
  - {{prefix: /ws, agents: [steady], auth_required: false, protocol: websocket, prefix_rewrite: /api/v1/chat/ws}}
  - {{prefix: /moving/ws, agents: [name-{index}], auth_required: false, protocol: websocket, prefix_rewrite: /api/v1/chat/ws}}
",
            change + 1,
            600 + change / 2,
            4000 + change / 2,
        )
    };
    let mut running = Running::start(directory.path(), &text(0), &["--drain-time", "5s"]).await;
    let envoy = running.envoy();
    let mut first = stream(listen, "/v1/chat/stream").await;
    let mut second = stream(listen, "/moving/v1/chat/stream").await;
    goes_on(&mut first).await;
    let mut sockets = [
        socket(listen, "/ws").await,
        socket(listen, "/moving/ws").await,
    ];

    let (ends, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let callers = ["/steady/x", "/moving/x", "/moving/y"].map(|path| {
        let (ends, count, caller) = (Arc::clone(&ends), Arc::clone(&count), Caller::of(listen));
        tokio::spawn(async move {
            while !ends.load(Ordering::Relaxed) {
                let answer = caller.get(path, &[]).await;
                assert_eq!(answer.status, 200, "{path}: {answer:?}");
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
    });
    let mut early = (0, 0);
    for index in 1..=CHANGES {
        let said = running.change(&text(index)).await;
        let renamed = said.contains(&format!("name-{}", index / 4));
        assert_eq!(renamed, index % 4 == 0, "{said}");
        for socket in &mut sockets {
            answers(socket, format!("after change {index}")).await;
        }
        if index == WARM {
            early = (allocated(&running).await, resident(envoy));
        }
    }
    let late = (allocated(&running).await, resident(envoy));
    ends.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("a request was lost");
    }
    goes_on(&mut first).await;
    goes_on(&mut second).await;
    let requests = count.load(Ordering::Relaxed);
    assert!(requests > CHANGES, "only {requests} requests");
    assert_eq!(running.stat("listener_manager.listener_modified").await, 0);
    assert_eq!(running.envoy(), envoy, "Envoy was started again");
    println!("{requests} requests; allocated and resident: {early:?}, then {late:?}");
    // A configuration that was kept each time would be 150 of them.
    assert!(
        late.0 < early.0 + (8 << 20),
        "allocated {early:?}, then {late:?}"
    );
    assert!(
        late.1 < early.1 + (32 << 20),
        "resident {early:?}, then {late:?}"
    );
}
