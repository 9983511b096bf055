//! WebSockets over HTTP/2 (RFC 8441), as browsers open them where a connection speaks it: an extended CONNECT, without the
//! key that a handshake of HTTP/1.1 has. And every other CONNECT, which leads nowhere.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::harness::{PATIENCE, World};

const CHAT: &str = "http://a/api/v1/chat/ws";
const NOTES: &str = "http://a/api/v1/memory/notes";
const PROTOCOLS: &str = "sec-websocket-protocol";
const KEY: (&str, &str) = ("x-api-key", "demo-premium");

type Headers<'a> = &'a [(&'a str, &'a str)];

/// A connection of HTTP/2, and what it was told of by the server's settings.
struct Connection(SendRequest<Empty<Bytes>>);

#[tokio::test]
async fn they_open_side_by_side_on_one_connection_with_the_key_in_any_place() {
    let world = World::start().await;
    let mut connection = Connection::open(&world).await;
    let in_query = format!("{CHAT}?x=1&api_key=demo-premium");
    let cases: [(&str, Headers<'_>, Option<&str>); 5] = [
        (CHAT, &[KEY], None),
        (CHAT, &[("authorization", "Bearer demo-premium")], None),
        (&in_query, &[], None),
        (
            CHAT,
            &[(PROTOCOLS, "waykeeper.key.demo-premium, chat.v1")],
            Some("chat.v1"),
        ),
        (
            CHAT,
            &[(PROTOCOLS, "waykeeper.key.demo-premium")],
            Some("waykeeper.key.demo-premium"),
        ),
    ];

    let mut sockets = Vec::new();
    for (target, headers, named) in cases {
        let opened = connection.connect(target, Some("websocket"), headers).await;
        assert_eq!(opened.status(), 200, "{target} {headers:?}: {opened:?}");
        let protocol = opened.headers().get(PROTOCOLS);
        let protocol = protocol.map(|value| value.to_str().expect("text"));
        assert_eq!(protocol, named, "{target} {headers:?}");
        let upgraded = hyper::upgrade::on(opened).await.expect("a stream");
        let stream = TokioIo::new(upgraded);
        sockets.push(WebSocketStream::from_raw_socket(stream, Role::Client, None).await);
    }

    for (number, socket) in sockets.iter_mut().enumerate().rev() {
        let message = Message::text(number.to_string());
        let sent = timeout(PATIENCE, socket.send(message.clone())).await;
        sent.expect("the socket is stuck").expect("an open socket");
        let echo = timeout(PATIENCE, socket.next()).await.expect("no message");
        assert_eq!(echo.expect("an open socket").expect("a message"), message);
    }
    let arrived = world.agent("chat-gpu").stats();
    assert_eq!((arrived.total, arrived.in_flight), (5, 5));
    for seen in &arrived.last {
        assert_eq!(seen.headers.get("x-waykeeper-client"), Some("globex"));
        assert_eq!(seen.headers.get("upgrade"), Some("websocket"));
    }
    let arrived = format!("{:?}", arrived.last);
    let logs = world.gateway().access_log() + &world.gateway().envoy_log();
    assert!(!arrived.contains("demo-premium"), "{arrived}");
    assert!(!logs.contains("demo-premium"), "{logs}");
}

#[tokio::test]
async fn any_other_connect_goes_nowhere() {
    let world = World::start().await;
    // As if an operator had Envoy pass on all of them, on a route that takes any method.
    let open = World::with(|draft| {
        let memory = draft.route("/api/v1/memory").as_object_mut();
        memory.expect("a mapping").remove("methods");
        let manager = draft.connection_manager();
        for other in ["CONNECT", "bytestream"] {
            let upgrades = manager["upgrade_configs"].as_array_mut().expect("a list");
            upgrades.push(json!({"upgrade_type": other}));
        }
    })
    .await;

    let websocket = Some("websocket");
    let other = Some("bytestream");
    for (world, target, protocol, headers, refused) in [
        (&world, CHAT, websocket, None, (401, "missing_key")),
        (
            &world,
            NOTES,
            websocket,
            Some(KEY),
            (400, "upgrade_not_allowed"),
        ),
        (&world, CHAT, other, Some(KEY), (403, "bad_request")),
        (&world, NOTES, other, Some(KEY), (403, "bad_request")),
        (&world, "a:80", None, Some(KEY), (400, "bad_path")),
        (&open, CHAT, other, Some(KEY), (405, "method_not_allowed")),
        (
            &open,
            NOTES,
            websocket,
            Some(KEY),
            (400, "upgrade_not_allowed"),
        ),
        (&open, NOTES, other, Some(KEY), (400, "upgrade_not_allowed")),
        (&open, "a:80", None, Some(KEY), (400, "bad_path")),
    ] {
        let mut connection = Connection::open(world).await;
        let headers = headers.as_slice();
        let answer = connection.connect(target, protocol, headers).await;
        let what = format!("{target} {protocol:?}: {answer:?}");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a body");
        let problem: Value = serde_json::from_slice(&body.to_bytes()).expect("JSON");
        let code = problem["error"]["code"].as_str().expect("a code");
        assert_eq!((status, code), refused, "{what}");
    }
    for world in [&world, &open] {
        for agent in ["chat-gpu", "memory"] {
            assert_eq!(world.agent(agent).stats().total, 0, "{agent}");
        }
    }
}

/// The key is added only where HTTP/2 has none.
#[tokio::test]
async fn a_handshake_over_http_1_has_its_own_key_or_none() {
    let world = World::start().await;
    let handshake = |key: Option<&str>| {
        let mut request = world
            .get("/api/v1/chat/ws")
            .key("demo-premium")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13");
        if let Some(key) = key {
            request = request.header("sec-websocket-key", key);
        }
        request.send()
    };

    let with = handshake(Some("dGhlIHNhbXBsZSBub25jZQ==")).await;
    let without = handshake(None).await;

    // The accept that RFC 6455 gives for this key.
    let accept = with.header("sec-websocket-accept");
    assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(without.status, 426);
    assert_eq!(without.header("x-demo-agent"), Some("chat-gpu"));
}

impl Connection {
    async fn open(world: &World) -> Self {
        let exchange = async {
            let stream = TcpStream::connect(world.address()).await.expect("connect");
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            // With its first answer the server says that it takes an extended CONNECT.
            let first = hyper::Request::get("http://a/nowhere").body(Empty::<Bytes>::new());
            sender.send_request(first.expect("a request")).await?;
            Ok::<_, hyper::Error>(Self(sender))
        };
        let opened = timeout(PATIENCE, exchange).await.expect("no answer");
        opened.expect("HTTP/2")
    }

    /// CONNECT, extended by a protocol or plain.
    async fn connect(
        &mut self,
        target: &str,
        protocol: Option<&'static str>,
        headers: Headers<'_>,
    ) -> Response<Incoming> {
        let mut request = hyper::Request::connect(target).header("sec-websocket-version", "13");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Empty::new()).expect("a request");
        if let Some(protocol) = protocol {
            let protocol = Protocol::from_static(protocol);
            request.extensions_mut().insert(protocol);
        }
        let response = timeout(PATIENCE, self.0.send_request(request)).await;
        let response = response.expect("no answer");
        response.unwrap_or_else(|error| panic!("{target} {protocol:?}: {error:?}"))
    }
}
