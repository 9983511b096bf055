//! WebSockets of agents that are `sticky`: each gets where other requests that are alike, or of the same session, get, over
//! HTTP/1.1 and over HTTP/2 (RFC 8441).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::PATIENCE;
use crate::caller::Caller;
use crate::certificates::Authority;
use crate::front::Front;
use crate::gateway::{Gateway, free_address};
use crate::replica::Replica;
use crate::sticky::CLIENTS;

const ACME: (&str, &str) = ("x-api-key", "key-of-acme");
const OTHER: (&str, &str) = ("x-api-key", "key-of-other");
const SESSION: &str = "mcp-session-id";

type Headers<'a> = &'a [(&'a str, &'a str)];

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Post,
    Socket,
    SocketOverHttp2,
}

const WAYS: [By; 3] = [By::Post, By::Socket, By::SocketOverHttp2];
const SOCKETS: [By; 2] = [By::Socket, By::SocketOverHttp2];

/// What came of it.
#[derive(Debug)]
struct Came {
    status: StatusCode,
    headers: HeaderMap,
    /// What the replica told, as the body or as the first message; or what was answered instead.
    told: Value,
    socket: Option<WebSocketStream<TokioIo<Upgraded>>>,
}

impl By {
    /// To the agent's route of that kind.
    async fn send(
        self,
        listen: SocketAddr,
        agent: &str,
        query: &str,
        headers: Headers<'_>,
    ) -> Came {
        let path = match self {
            Self::Post => format!("/{agent}{query}"),
            _ => format!("/{agent}/ws{query}"),
        };
        let sent = async {
            match self {
                Self::Post => post(listen, &path, headers).await,
                Self::Socket => came(handshake(listen, &path, headers).await).await,
                Self::SocketOverHttp2 => came(connect(listen, &path, headers).await).await,
            }
        };
        let came = timeout(PATIENCE, sent).await;
        came.unwrap_or_else(|_| panic!("nothing came of {self:?} {path}"))
    }
}

impl Came {
    fn session(&self) -> Option<&str> {
        self.headers.get(SESSION)?.to_str().ok()
    }

    /// The replica, and the session as it calls it.
    fn replica(&self) -> (String, String) {
        assert!(
            matches!(self.status.as_u16(), 101 | 200),
            "{self:?} is no answer of a replica"
        );
        let text = |name: &str| self.told[name].as_str().expect("a text").to_owned();
        (text("replica"), text("session"))
    }

    /// Says something and hears it again.
    async fn goes_on(&mut self) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        socket.send(Message::text("hello")).await.expect("open");
        let echo = timeout(PATIENCE, socket.next()).await.expect("no echo");
        assert_eq!(echo.expect("open").expect("open"), Message::text("hello"));
    }
}

async fn post(listen: SocketAddr, path: &str, headers: Headers<'_>) -> Came {
    let answer = Caller::of(listen).post(path, headers, "").await;
    Came {
        status: StatusCode::from_u16(answer.status).expect("a status"),
        told: told(&answer.body),
        headers: answer.headers,
        socket: None,
    }
}

/// JSON, or text.
fn told(bytes: &[u8]) -> Value {
    let text = || Value::from(String::from_utf8_lossy(bytes));
    serde_json::from_slice(bytes).unwrap_or_else(|_| text())
}

async fn handshake(listen: SocketAddr, path: &str, headers: Headers<'_>) -> Response<Incoming> {
    let stream = TcpStream::connect(listen).await.expect("the gateway");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection.with_upgrades());
    let request = Request::get(path)
        .header("host", "gateway.example")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let request = with(request, headers);
    sender.send_request(request).await.expect("an answer")
}

async fn connect(listen: SocketAddr, path: &str, headers: Headers<'_>) -> Response<Incoming> {
    let stream = TcpStream::connect(listen).await.expect("the gateway");
    let http2 = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = http2.expect("HTTP/2");
    tokio::spawn(connection);
    // With its first answer the server says that it takes an extended CONNECT.
    let first = with(Request::get("http://gateway.example/nowhere"), &[]);
    sender.send_request(first).await.expect("an answer");
    let request = Request::connect(format!("http://gateway.example{path}"));
    let mut request = with(request, headers);
    let websocket = Protocol::from_static("websocket");
    request.extensions_mut().insert(websocket);
    sender.send_request(request).await.expect("an answer")
}

fn with(request: hyper::http::request::Builder, headers: Headers<'_>) -> Request<Empty<Bytes>> {
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    let request = request.header("sec-websocket-version", "13");
    request.body(Empty::new()).expect("a request")
}

async fn came(answer: Response<Incoming>) -> Came {
    let (status, headers) = (answer.status(), answer.headers().clone());
    if !matches!(status.as_u16(), 101 | 200) {
        let body = answer.into_body().collect().await.expect("a body");
        return Came {
            status,
            headers,
            told: told(&body.to_bytes()),
            socket: None,
        };
    }
    let stream = TokioIo::new(hyper::upgrade::on(answer).await.expect("a stream"));
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    let first = socket.next().await.expect("open").expect("a message");
    Came {
        status,
        headers,
        told: told(first.into_text().expect("text").as_bytes()),
        socket: Some(socket),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_gets_where_others_of_its_kind_or_session_get() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "authority");
    let localhost = authority.sign("localhost");
    let (one, two) = (Replica::start("one").await, Replica::start("two").await);
    // HTTP/2 is not ruled out for these, so their WebSockets have a cluster of their own.
    let front_one = Front::of(one.address, localhost.server(&["http/1.1"])).await;
    let front_two = Front::of(two.address, localhost.server(&["http/1.1"])).await;
    let (listen, operations) = (free_address(), free_address());
    let clear = format!(
        "endpoints: ['http://{}', 'http://{}']",
        one.address, two.address
    );
    let secure = format!(
        "endpoints: ['https://localhost:{}', 'https://localhost:{}'], tls: {{ca: {}}}",
        front_one.port(),
        front_two.port(),
        authority.file.display()
    );
    let agents = [
        (
            "tools",
            format!("{clear}, sticky: {{header: mcp-session-id}}, balance: round_robin"),
        ),
        (
            "secure",
            format!("{secure}, sticky: {{header: mcp-session-id}}, balance: round_robin"),
        ),
        ("header", format!("{clear}, sticky: {{header: x-thread}}")),
        (
            "ring",
            format!("{clear}, sticky: {{header: x-thread}}, balance: ring_hash"),
        ),
        (
            "over-tls",
            format!("{secure}, sticky: {{header: x-thread}}"),
        ),
        ("cookie", format!("{clear}, sticky: {{cookie: thread}}")),
        ("query", format!("{clear}, sticky: {{query: thread}}")),
        ("client", format!("{clear}, sticky: {{client: true}}")),
    ];
    let lines = |line: &dyn Fn(&str, &str) -> String| -> String {
        { agents.iter() }
            .map(|(name, fields)| line(name, fields))
            .collect()
    };
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
{CLIENTS}
sessions: {{keys: ['{}']}}
agents:
{}routes:
{}",
        "4".repeat(64),
        lines(&|name, fields| format!("  {name}: {{{fields}}}\n")),
        lines(&|name, _| format!(
            "  - {{prefix: /{name}, agents: [{name}]}}\n  \
             - {{prefix: /{name}/ws, agents: [{name}], protocol: websocket}}\n"
        )),
    );
    let _gateway = Gateway::start(directory.path(), &text, "", operations).await;

    // Sessions: however one began, it goes on in every way, at the replica that has named it, and under the same word.
    let mut of_tools = Vec::new();
    let mut began_at = BTreeSet::new();
    for agent in ["tools", "secure"] {
        // Two of each, as they begin in turn at either replica.
        for begin in WAYS.into_iter().chain(WAYS) {
            let mut begun = begin.send(listen, agent, "", &[ACME]).await;
            let sealed = begun.session();
            let sealed =
                sealed.unwrap_or_else(|| panic!("{agent}, {begin:?}: no session: {begun:?}"));
            let sealed = sealed.to_owned();
            let named = begun.replica();
            assert!(!sealed.contains(&named.1), "{sealed}");
            began_at.insert((agent, begin == By::Post, named.0.clone()));
            for way in WAYS {
                let mut next = way
                    .send(listen, agent, "", &[ACME, (SESSION, &sealed)])
                    .await;
                let what = format!("{agent}, begun by {begin:?}, goes on by {way:?}: {next:?}");
                assert_eq!(next.replica(), named, "{what}");
                assert_eq!(next.session(), Some(sealed.as_str()), "{what}");
                let arrived = next.told["headers"].to_string();
                assert!(!arrived.contains("x-waykeeper-session"), "{what}");
                next.goes_on().await;
            }
            begun.goes_on().await;
            if agent == "tools" {
                of_tools.push((sealed, named));
            }
        }
    }
    assert_eq!(began_at.len(), 8, "{began_at:?}");

    // What is not the caller's, or the agent's, or was never sealed, opens no socket and reaches nobody.
    let before = (one.total(), two.total());
    let (sealed, (_, name)) = &of_tools[0];
    for (agent, headers) in [
        ("tools", &[OTHER, (SESSION, sealed.as_str())][..]),
        ("secure", &[ACME, (SESSION, sealed)]),
        ("tools", &[ACME, (SESSION, name)]),
        ("tools", &[ACME, (SESSION, &sealed[1..])]),
        ("tools", &[ACME, (SESSION, sealed), (SESSION, sealed)]),
        ("tools", &[ACME, (SESSION, "")]),
    ] {
        for way in SOCKETS {
            let refused = way.send(listen, agent, "", headers).await;
            let code = refused.told["error"]["code"].as_str();
            let what = format!("{way:?} {headers:?}: {refused:?}");
            assert_eq!(
                (refused.status.as_u16(), code),
                (404, Some("unknown_session")),
                "{what}"
            );
            assert_eq!(refused.session(), None, "{what}");
        }
    }
    assert_eq!((one.total(), two.total()), before);

    // A hash: what requests have in common leads each of them to the same replica.
    for agent in ["header", "ring", "over-tls", "cookie", "query"] {
        let mut replicas = BTreeSet::new();
        for value in 0..20 {
            let (value, cookie) = (value.to_string(), format!("thread={value}"));
            let (query, header) = match agent {
                "query" => (format!("?thread={value}"), None),
                "cookie" => (String::new(), Some(("cookie", cookie.as_str()))),
                _ => (String::new(), Some(("x-thread", value.as_str()))),
            };
            let headers: Vec<_> = [Some(ACME), header].into_iter().flatten().collect();
            let mut alike = BTreeSet::new();
            for way in WAYS {
                let answer = way.send(listen, agent, &query, &headers).await;
                alike.insert(answer.replica().0);
                let arrived = answer.told["headers"].to_string();
                assert!(!arrived.contains("x-waykeeper-hash"), "{arrived}");
            }
            assert_eq!(alike.len(), 1, "{agent} {value}");
            replicas.append(&mut alike);
        }
        assert_eq!(replicas.len(), 2, "{agent}");
    }
    for key in [ACME, OTHER] {
        let mut alike = BTreeSet::new();
        for way in WAYS.into_iter().chain(WAYS) {
            alike.insert(way.send(listen, "client", "", &[key]).await.replica().0);
        }
        assert_eq!(alike.len(), 1, "{key:?}");
    }

    // A replica that dies ends its own sessions; on a socket too the other one says so itself.
    drop(one);
    for (sealed, (replica, _)) in &of_tools {
        for way in SOCKETS {
            let answer = way
                .send(listen, "tools", "", &[ACME, (SESSION, sealed)])
                .await;
            if replica == "two" {
                assert_eq!(answer.replica().0, "two");
            } else {
                let said = (answer.status.as_u16(), answer.told.as_str());
                assert_eq!(said, (404, Some("no such session")), "{answer:?}");
            }
        }
    }
}
