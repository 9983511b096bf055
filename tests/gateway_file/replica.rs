//! One of several places of an agent that names sessions in its answers, as MCP servers do, and keeps them to itself.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// It ends when dropped. On a WebSocket its first message is what it answers elsewhere, and then it says what it hears.
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
            let (_lives, ends) = watch::channel(());
            while let Ok((stream, _)) = listener.accept().await {
                let (state, ends) = (Arc::clone(&shared), ends.clone());
                let answer = service_fn(move |mut request| {
                    let answer = state.lock().expect("the state").answer(&request);
                    let answer = switched(&mut request, answer, ends.clone());
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .with_upgrades();
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
    fn answer(&mut self, request: &Request<Incoming>) -> Response<String> {
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
                    .body("no such session".to_owned())
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
        answer.body(told.to_string()).expect("an answer")
    }
}

/// The answer, or in its place a WebSocket on which it is said, where one is asked for.
fn switched(
    request: &mut Request<Incoming>,
    answer: Response<String>,
    mut ends: watch::Receiver<()>,
) -> Response<Full<Bytes>> {
    let key = request.headers().get("sec-websocket-key");
    let accept = key.map(|key| derive_accept_key(key.as_bytes()));
    let (mut head, said) = answer.into_parts();
    let (Some(accept), 200) = (accept, head.status.as_u16()) else {
        return Response::from_parts(head, Full::from(said));
    };
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let talk = async {
            let stream = TokioIo::new(upgraded.await?);
            let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            socket.send(Message::text(said)).await?;
            while let Some(message) = socket.next().await {
                let message = message?;
                if message.is_text() {
                    socket.send(message).await?;
                }
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        };
        // Nobody sends; it closes when the replica ends.
        tokio::select! {
            _ = ends.changed() => {}
            // Who hangs up ends it too.
            _ = talk => {}
        }
    });
    head.status = hyper::StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", accept.as_str()),
    ] {
        let value = value.parse().expect("a value");
        head.headers.insert(name, value);
    }
    Response::from_parts(head, Full::default())
}

fn response(status: u16) -> hyper::http::response::Builder {
    Response::builder().status(status)
}
