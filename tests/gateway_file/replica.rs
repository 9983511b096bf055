//! One of several places of an agent that names sessions in its answers, as MCP servers do, and keeps them to itself.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// It ends when dropped.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    name: &'static str,
    /// Requests so far.
    total: usize,
    open: BTreeSet<String>,
}

impl Replica {
    /// Listens on any port.
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State {
            name,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            // Connections end with it.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let answer = service_fn(move |request| {
                    let answer = state.lock().expect("the state").answer(&request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                connections.spawn(async move {
                    let _ = connection.await;
                });
            }
        });
        Self {
            address,
            state,
            serving,
        }
    }

    pub(crate) fn total(&self) -> usize {
        self.state.lock().expect("the state").total
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl State {
    fn answer(&mut self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        self.total += 1;
        let path = request.uri().path();
        let header = match path {
            "/named" => "x-thread",
            _ => "mcp-session-id",
        };
        let sent = request.headers().get(header);
        let sent = sent.map(|value| value.to_str().expect("text").to_owned());
        let session = match &sent {
            Some(session) if !self.open.contains(session) => {
                return response(404)
                    .body(Full::from("no such session"))
                    .expect("an answer");
            }
            Some(session) => session.clone(),
            None => format!("session-{}-of-{}", self.total, self.name),
        };
        self.open.insert(session.clone());
        if request.method() == Method::DELETE {
            self.open.remove(&session);
        }
        let names: BTreeSet<&str> = request.headers().keys().map(|name| name.as_str()).collect();
        let told = json!({"replica": self.name, "session": session, "headers": names});
        let mut answer = response(200).header(header, &session);
        if path == "/twice" {
            answer = answer.header(header, &session);
        }
        answer
            .body(Full::from(told.to_string()))
            .expect("an answer")
    }
}

fn response(status: u16) -> hyper::http::response::Builder {
    Response::builder().status(status)
}
