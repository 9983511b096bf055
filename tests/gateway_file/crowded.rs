//! Several servers of MCP behind one address that are slow: who asks them much keeps nobody else from asking.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::caller::{Answer, Caller};
use crate::eventually;
use crate::gateway::{Gateway, free_address};

const ME: (&str, &str) = ("x-api-key", "example-key");
const THEM: (&str, &str) = ("x-api-key", "example-admin-key");

/// As many as a route may have.
const SERVERS: usize = 16;
/// What one client may have under way: half of 1024.
const SHARE: usize = 512;

/// Servers that answer one client as soon as they are told to, and all others at once.
struct Slow {
    address: SocketAddr,
    /// How many questions of that client have come.
    held: Arc<AtomicUsize>,
    answers: watch::Sender<bool>,
}

impl Slow {
    async fn start(client: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let held = Arc::<AtomicUsize>::default();
        let (answers, told) = watch::channel(false);
        let came = Arc::clone(&held);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (came, told) = (Arc::clone(&came), told.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (came, mut told) = (Arc::clone(&came), told.clone());
                    async move {
                        let of = request.headers().get("x-waykeeper-client");
                        let waits = of.is_some_and(|of| of == client);
                        let body = request.into_body().collect().await?.to_bytes();
                        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
                        if waits && asked["method"] == "tools/list" {
                            came.fetch_add(1, Ordering::SeqCst);
                            // Whoever told it has gone: the test is over.
                            let _ = told.wait_for(|it| *it).await;
                        }
                        let tools = json!({"tools": [{"name": "read"}]});
                        let said = json!({"jsonrpc": "2.0", "id": asked["id"], "result": tools});
                        let answer = Response::builder().header("content-type", "application/json");
                        let answer = answer.body(Full::new(Bytes::from(said.to_string())));
                        Ok::<_, hyper::Error>(answer.expect("an answer"))
                    }
                });
                tokio::spawn(async move {
                    // It ends when the other end hangs up.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            held,
            answers,
        }
    }

    async fn holds(&self, number: usize) {
        eventually("questions at the servers", || async {
            let held = self.held.load(Ordering::SeqCst);
            assert!(held <= number, "{held} in place of {number}");
            (held == number).then_some(())
        })
        .await;
    }
}

fn text(listen: SocketAddr, operations: SocketAddr, server: SocketAddr) -> String {
    let all = || (0..SERVERS).map(|number| format!("s{number}"));
    let agents: String = all()
        .map(|name| format!("  {name}-agent: {{url: 'http://{server}'}}\n"))
        .collect();
    let servers: Vec<String> = all().map(|name| format!("{name}: {name}-agent")).collect();
    format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
clients:
  keys:
    - {{sha256: c018c41c1afaf2c0b66c64f97d0ee135657b699ad260f299234cd40a5d625e0e, client_id: me}}
    - {{sha256: 9b3a91136feac4a6472d2cc9af52e9a6f9e367c1e8fcffb5a41c5c2beeaad08e, client_id: them}}
sessions: {{keys: ['{}']}}
agents:
{agents}routes:
  - {{prefix: /mcp, first_byte_timeout: 10m, timeout: 10m, mcp: {{servers: {{{}}}}}}}
",
        "3".repeat(64),
        servers.join(", ")
    )
}

async fn asks(listen: SocketAddr, key: (&str, &str), method: &str, tool: &str) -> Answer {
    let message =
        json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": {"name": tool}}).to_string();
    let headers = [key, ("content-type", "application/json")];
    let caller = Caller::of(listen);
    let answer = timeout(PATIENCE, caller.post("/mcp", &headers, &message));
    answer.await.expect("no answer")
}

async fn lists(listen: SocketAddr, key: (&str, &str)) -> Answer {
    asks(listen, key, "tools/list", "").await
}

#[track_caller]
fn is_listed(answer: &Answer) {
    let told = answer.json();
    let tools = told["result"]["tools"].as_array();
    assert_eq!(tools.map(Vec::len), Some(SERVERS), "{told}");
}

#[track_caller]
fn is_refused(answer: &Answer) {
    let told = answer.json();
    assert_eq!(answer.status, 503, "{told}");
    assert_eq!(
        (&told["id"], &told["error"]["code"]),
        (&json!(7), &json!(-32603))
    );
    let kind = "urn:waykeeper:problem:servers_unavailable";
    assert_eq!(told["error"]["data"]["type"], kind, "{told}");
}

#[tokio::test]
async fn who_has_all_questions_under_way_that_one_may_have_keeps_nobody_else_from_asking() {
    let directory = tempfile::tempdir().expect("a directory");
    let slow = Slow::start("me").await;
    let [listen, operations] = [(); 2].map(|()| free_address());
    let text = text(listen, operations, slow.address);
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;

    let mut waiting = JoinSet::new();
    for number in 1..=SHARE / SERVERS {
        waiting.spawn(lists(listen, ME));
        slow.holds(number * SERVERS).await;
    }
    // One more would be more than what is left for others.
    is_refused(&lists(listen, ME).await);
    slow.holds(SHARE).await;
    for _ in 0..2 {
        is_listed(&lists(listen, THEM).await);
    }
    // What goes to one server is asked of no others, and goes on.
    let call = asks(listen, ME, "tools/call", "s3__read").await;
    assert_eq!(call.status, 200, "{}", call.text());

    // Whoever leaves takes back nothing.
    waiting.abort_all();
    while waiting.join_next().await.is_some() {}
    is_refused(&lists(listen, ME).await);
    is_listed(&lists(listen, THEM).await);

    slow.answers.send_replace(true);
    eventually("room for more", || async {
        let answer = lists(listen, ME).await;
        (answer.status == 200).then(|| is_listed(&answer))
    })
    .await;
}
