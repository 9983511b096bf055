//! WebSockets through the gateway: the key in every place that a handshake has for one, frames both ways, who names the
//! subprotocol, and how long a silence lasts.

mod ends;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use waykeeper_demo::agent::Seen;
use waykeeper_demo::auth::Fault;

use crate::harness::{PATIENCE, World, eventually, free_address};

const CHAT: &str = "/api/v1/chat/ws";
const PROTOCOLS: &str = "sec-websocket-protocol";

/// A key that can be no subprotocol.
const AWKWARD: &str = "a/key=with(odd)\"signs\"";

type Socket = WebSocketStream<TcpStream>;
type Headers<'a> = &'a [(&'a str, &'a str)];

#[tokio::test]
async fn frames_pass_both_ways_as_they_are() {
    let world = World::start().await;
    let (mut socket, _) = open(&world, CHAT, &[("x-api-key", "demo-premium")]).await;

    let large: Vec<u8> = (0..2u32 << 20).map(|byte| (byte % 251) as u8).collect();
    for message in [
        Message::text("Grüße"),
        Message::text(""),
        Message::binary(vec![0, 159, 146, 150, 255]),
        Message::binary(large),
    ] {
        send(&mut socket, message.clone()).await;
        assert!(next(&mut socket).await == message, "another message");
    }
    send(&mut socket, Message::Ping("here?".into())).await;
    assert_eq!(next(&mut socket).await, Message::Pong("here?".into()));
}

#[tokio::test]
async fn a_close_passes_with_its_code_from_either_side() {
    let world = World::start().await;
    let key = ("x-api-key", "demo-premium");
    let (mut leaving, _) = open(&world, CHAT, &[key]).await;
    let (mut left, _) = open(&world, CHAT, &[key, ("x-demo-close", "4001")]).await;

    let bye = CloseFrame {
        code: CloseCode::Library(4002),
        reason: "done".into(),
    };
    send(&mut leaving, Message::Close(Some(bye.clone()))).await;
    assert_eq!(next(&mut leaving).await, Message::Close(Some(bye)));
    send(&mut left, Message::text("go")).await;
    assert_eq!(next(&mut left).await, Message::text("go"));
    let Message::Close(Some(frame)) = next(&mut left).await else {
        panic!("no close");
    };
    assert_eq!(frame.code, CloseCode::Library(4001));
    tokio::join!(finished(&mut leaving), finished(&mut left));
    eventually("the agent to be told", || async {
        (world.agent("chat-gpu").stats().complete == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_key_may_stand_wherever_a_handshake_has_a_place_and_goes_no_further() {
    let world = World::start().await;
    world.auth().insert_key(
        AWKWARD,
        waykeeper_demo::auth::Client::named("awkward").plan("premium"),
    );
    let encoded = |key: &str| URL_SAFE_NO_PAD.encode(key);
    let base64 = format!("waykeeper.key64.{}", encoded(AWKWARD));
    let in_query = format!("{CHAT}?x=1&api_key=demo-premium&y=2");
    let escaped = format!("{CHAT}?api%5Fkey=demo%2Dpremium");
    let openai64 = format!("openai-insecure-api-key64.{}", encoded(AWKWARD));
    let cases: [(&str, Headers<'_>, &str); 10] = [
        (CHAT, &[("x-api-key", "demo-premium")], "globex"),
        (CHAT, &[("api-key", "demo-premium")], "globex"),
        (CHAT, &[("x-goog-api-key", "demo-premium")], "globex"),
        (CHAT, &[("authorization", "Bearer demo-premium")], "globex"),
        (&in_query, &[], "globex"),
        (&escaped, &[], "globex"),
        (CHAT, &[(PROTOCOLS, "waykeeper.key.demo-premium")], "globex"),
        (CHAT, &[(PROTOCOLS, &base64)], "awkward"),
        (
            CHAT,
            &[(PROTOCOLS, "openai-insecure-api-key.demo-premium")],
            "globex",
        ),
        (CHAT, &[(PROTOCOLS, &openai64)], "awkward"),
    ];
    for (path, headers, client) in cases {
        let (mut socket, _) = open(&world, path, headers).await;

        send(&mut socket, Message::text("hello")).await;

        assert_eq!(next(&mut socket).await, Message::text("hello"));
        let seen = last(&world);
        let what = format!("{path} {headers:?}: {seen:?}");
        assert_eq!(
            seen.headers.get("x-waykeeper-client"),
            Some(client),
            "{what}"
        );
        let places = ["x-api-key", "authorization", "api-key", "x-goog-api-key"];
        for name in places.into_iter().chain([PROTOCOLS]) {
            assert_eq!(seen.headers.get(name), None, "{what}");
        }
        let query = if path == in_query { "?x=1&y=2" } else { "" };
        assert_eq!(seen.path, format!("{CHAT}{query}"), "{what}");
    }

    let seen = format!("{:?}", world.agent("chat-gpu").stats().last);
    let logs = world.gateway().access_log() + &world.gateway().envoy_log();
    for key in ["demo-premium", "demo%2Dpremium", AWKWARD, &encoded(AWKWARD)] {
        assert!(!seen.contains(key), "{seen}");
        assert!(!logs.contains(key), "{logs}");
    }
}

/// A proxy in front of an agent takes out the headers that `connection` names.
#[tokio::test]
async fn a_handshake_has_no_proxy_take_out_what_the_gateway_says() {
    let world = World::start().await;
    for named in ["x-waykeeper-client, x-waykeeper-roles", "keep-alive"] {
        let headers = [("x-api-key", "demo-premium"), ("connection", named)];
        let (mut socket, _) = open(&world, CHAT, &headers).await;
        send(&mut socket, Message::text("hello")).await;
        assert_eq!(next(&mut socket).await, Message::text("hello"));
        let seen = last(&world);
        assert_eq!(seen.headers.get("connection"), Some("upgrade"), "{named}");
        assert_eq!(seen.headers.get("x-waykeeper-client"), Some("globex"));
    }
}

#[tokio::test]
async fn the_answer_names_a_protocol_that_was_offered_and_the_keys_only_for_want_of_another() {
    let world = World::start().await;
    let key = "waykeeper.key.demo-premium";
    let cases: [(&[&str], Option<&str>, Option<&str>); 8] = [
        // What the client offers, what reaches the agent, what comes back.
        (&[key], None, Some(key)),
        (
            &["waykeeper.key.demo-premium, chat.v1"],
            Some("chat.v1"),
            Some("chat.v1"),
        ),
        (
            &["chat.v1, waykeeper.key.demo-premium"],
            Some("chat.v1"),
            Some("chat.v1"),
        ),
        (
            &["chat.v2", key, "chat.v1"],
            Some("chat.v2, chat.v1"),
            Some("chat.v2"),
        ),
        // What OpenAI's client offers in browsers.
        (
            &["realtime, openai-insecure-api-key.demo-premium, openai-beta.realtime-v1"],
            Some("realtime, openai-beta.realtime-v1"),
            Some("realtime"),
        ),
        // A key in two forms is one.
        (
            &["openai-insecure-api-key.demo-premium", "realtime", key],
            Some("realtime"),
            Some("realtime"),
        ),
        // Where no key was offered, the names are between the client and the agent.
        (&["chat.v1"], Some("chat.v1"), None),
        (&[], None, None),
    ];
    for (offered, reaching, named) in cases {
        let carried = offered.iter().any(|it| it.contains("demo-premium"));
        let mut headers: Vec<_> = offered.iter().map(|list| (PROTOCOLS, *list)).collect();
        if !carried {
            headers.push(("x-api-key", "demo-premium"));
        }

        let response = handshake(&world, CHAT, &headers).await;

        assert_eq!(response.status, 101, "{offered:?}");
        assert_eq!(response.header(PROTOCOLS), named, "{offered:?}");
        let seen = last(&world);
        assert_eq!(seen.headers.get(PROTOCOLS), reaching, "{offered:?}");
    }
}

#[tokio::test]
async fn the_agents_own_choice_of_a_protocol_stands() {
    let world = World::start().await;

    let (_socket, response) = open(
        &world,
        CHAT,
        &[
            (PROTOCOLS, "waykeeper.key.demo-premium, chat.v1, chat.v2"),
            ("x-demo-protocol", "chat.v2"),
        ],
    )
    .await;

    let named: Vec<_> = response.headers().get_all(PROTOCOLS).iter().collect();
    assert_eq!(named, ["chat.v2"]);
}

#[tokio::test]
async fn a_bad_key_is_an_answer_and_no_socket() {
    let world = World::start().await;
    let unknown = format!("{CHAT}?api_key=unheard-of");
    let empty = format!("{CHAT}?api_key=");
    let two = format!("{CHAT}?api_key=demo-premium&api_key=demo-admin");
    let cases: [(&str, Headers<'_>, &str); 8] = [
        (CHAT, &[], "missing_key"),
        (CHAT, &[("x-api-key", "unheard-of")], "invalid_key"),
        (&unknown, &[], "invalid_key"),
        (&empty, &[], "missing_key"),
        (&two, &[], "invalid_key"),
        (
            CHAT,
            &[(PROTOCOLS, "waykeeper.key.unheard-of")],
            "invalid_key",
        ),
        (CHAT, &[(PROTOCOLS, "waykeeper.key.")], "missing_key"),
        (CHAT, &[(PROTOCOLS, "waykeeper.key64.%%%")], "invalid_key"),
    ];
    for (path, headers, code) in cases {
        let refused = handshake(&world, path, headers).await;

        let what = format!("{path} {headers:?}");
        assert_eq!(refused.refused(), (401, code.to_owned()), "{what}");
        assert!(refused.headers.contains_key("www-authenticate"), "{what}");
    }
    assert_eq!(world.agent("chat-gpu").stats().total, 0);
}

#[tokio::test]
async fn the_first_place_that_holds_a_key_counts_in_a_handshake_too() {
    let world = World::start().await;
    let path = format!("{CHAT}?api_key=demo-premium");
    let protocol = (PROTOCOLS, "waykeeper.key.demo-premium");

    let malformed = handshake(&world, &path, &[("x-api-key", "no key"), protocol]).await;
    let good = handshake(&world, &path, &[("x-api-key", "demo-admin"), protocol]).await;

    assert_eq!(malformed.refused(), (401, "invalid_key".to_owned()));
    assert_eq!(good.status, 101);
    let seen = last(&world);
    assert_eq!(seen.headers.get("x-waykeeper-client"), Some("operations"));
    // The keys that did not count are gone all the same.
    assert_eq!(seen.headers.get(PROTOCOLS), None);
    assert_eq!(seen.path, CHAT);
}

#[tokio::test]
async fn an_agent_that_wants_no_socket_says_so_itself() {
    let nobody = free_address();
    let world = World::start().await;
    let without = World::with(|draft| {
        draft.connect("chat-gpu", &[nobody]);
    })
    .await;
    let key = ("x-api-key", "demo-premium");

    let unwilling = handshake(&world, CHAT, &[key, ("x-demo-status", "503")]).await;
    let unreachable = handshake(&without, CHAT, &[key]).await;

    assert_eq!(unwilling.status, 503);
    assert_eq!(unwilling.header("x-demo-agent"), Some("chat-gpu"));
    let expected = (503, "agent_unreachable".to_owned());
    assert_eq!(unreachable.refused(), expected);
}

#[tokio::test]
async fn a_message_that_is_sent_with_the_handshake_waits_for_the_validator_too() {
    let world = World::start().await;
    world
        .auth()
        .set_fault(Fault::slow(Duration::from_millis(200)));
    let stream = TcpStream::connect(world.address()).await.expect("connect");
    let mut stream = BufReader::new(stream);

    // A text frame, masked with zeros.
    let handshake = format!(
        "GET {CHAT} HTTP/1.1\r\nhost: a\r\nx-api-key: demo-premium\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x01\x05\0\0\0\0hello"
    );
    let mut bytes = handshake.into_bytes();
    let frame = bytes.len() - 11;
    bytes[frame..frame + 2].copy_from_slice(&[0x81, 0x85]);
    stream.write_all(&bytes).await.expect("write");

    let reading = async {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let count = stream.read_line(&mut head).await.expect("a line");
            assert!(count > 0, "{head}");
        }
        let mut echo = [0; 7];
        stream.read_exact(&mut echo).await.expect("a frame");
        (head, echo)
    };
    let (head, echo) = timeout(PATIENCE, reading).await.expect("no echo");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(&echo, b"\x81\x05hello");
}

#[tokio::test]
async fn a_silent_socket_ends_after_its_idle_timeout_and_a_busy_one_does_not() {
    let world = World::with(|draft| draft.route(CHAT)["idle_timeout"] = json!("1s")).await;
    let key = ("x-api-key", "demo-premium");
    let (mut silent, _) = open(&world, CHAT, &[key]).await;
    let (mut busy, _) = open(&world, CHAT, &[key]).await;
    // The gateway has passed the last word on before it is seen here.
    let begun = Instant::now();
    send(&mut silent, Message::text("the last word")).await;
    next(&mut silent).await;

    let ending = async {
        let end = timeout(PATIENCE, silent.next()).await.expect("no end");
        assert!(!matches!(end, Some(Ok(_))), "{end:?}");
        let passed = begun.elapsed();
        let expected = Duration::from_secs(1)..Duration::from_secs(15);
        assert!(expected.contains(&passed), "{passed:?}");
    };
    let chatting = async {
        let mut pace = interval(Duration::from_millis(200));
        while begun.elapsed() < Duration::from_millis(2800) {
            pace.tick().await;
            send(&mut busy, Message::text("still here")).await;
            assert_eq!(next(&mut busy).await, Message::text("still here"));
        }
    };
    tokio::join!(ending, chatting);
    eventually("the agent to be told", || async {
        (world.agent("chat-gpu").stats().aborted == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_is_gone_is_gone_for_the_agent_too() {
    let world = World::start().await;
    let (mut socket, _) = open(&world, CHAT, &[("x-api-key", "demo-premium")]).await;
    send(&mut socket, Message::text("hello")).await;
    next(&mut socket).await;

    drop(socket);

    eventually("the agent to be told", || async {
        let stats = world.agent("chat-gpu").stats();
        (stats.in_flight == 0 && stats.aborted == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_websocket_on_a_route_that_carries_none_is_refused() {
    let world = World::start().await;
    let stream = "/api/v1/chat/stream";
    let upgrade = |method, path: &str| {
        world
            .request(method, path)
            .key("demo-premium")
            .header("connection", "Upgrade")
            .header("upgrade", "WebSocket")
    };
    for request in [
        upgrade("GET", "/api/v1/memory/notes"),
        upgrade("POST", "/v1/chat/completions").body("{}"),
        upgrade("POST", stream).body("{}"),
    ] {
        let refused = request.send().await;
        assert_eq!(refused.refused(), (400, "upgrade_not_allowed".to_owned()));
    }
    // The method comes first.
    let method = upgrade("GET", stream).send().await;
    assert_eq!(method.refused(), (405, "method_not_allowed".to_owned()));
    assert_eq!(world.agent("chat-gpu").stats().total, 0);
}

#[tokio::test]
async fn anything_but_a_websocket_on_a_websockets_route_is_told_to_upgrade() {
    let world = World::with(|draft| {
        draft.route(CHAT)["methods"] = json!(["GET", "POST"]);
    })
    .await;
    let without_key = world.get(CHAT).send().await;
    let head = world.request("HEAD", CHAT).key("demo-premium").send().await;
    let post = world.post(CHAT).key("demo-premium");
    let post = post
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    let post = post.send().await;
    let put = world.request("PUT", CHAT).key("demo-premium").send().await;
    let http2 = world.get(CHAT).key("demo-premium").http2().send().await;

    for refused in [&without_key, &post, &http2] {
        assert_eq!(
            refused.refused(),
            (426, "upgrade_required".to_owned()),
            "{refused:?}"
        );
    }
    assert_eq!(head.status, 426);
    for named in [&without_key, &head, &post] {
        assert_eq!(named.header("upgrade"), Some("websocket"), "{named:?}");
        assert_eq!(named.header("connection"), Some("upgrade"), "{named:?}");
    }
    // HTTP/2 has no such fields.
    for field in ["upgrade", "connection"] {
        assert_eq!(http2.header(field), None, "{http2:?}");
    }
    assert_eq!(put.refused(), (405, "method_not_allowed".to_owned()));
    assert_eq!(world.agent("chat-gpu").stats().total, 0);
    let metrics = world.metrics().await;
    let labels = [("route", CHAT), ("outcome", "upgrade_required")];
    assert_eq!(metrics.sum("waykeeper_requests_total", &labels), 4.0);
}

#[tokio::test]
async fn a_connection_goes_on_in_http_after_it_was_told_to_upgrade() {
    let world = World::start().await;
    let stream = TcpStream::connect(world.address()).await.expect("connect");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);

    for (path, status) in [(CHAT, 426), ("/api/v1/memory", 200), (CHAT, 426)] {
        let request = hyper::Request::get(path)
            .header("host", "a")
            .header("x-api-key", "demo-premium")
            .body(Empty::<Bytes>::new())
            .expect("a request");
        let response = timeout(PATIENCE, sender.send_request(request)).await;
        let response = response.expect("no answer").expect("an answer");
        assert_eq!(response.status(), status, "{path}");
        response.into_body().collect().await.expect("a body");
    }
}

/// Opens a WebSocket as a browser would: the answer must name a protocol exactly if some were offered, and one of them.
async fn open(
    world: &World,
    path: &str,
    headers: Headers<'_>,
) -> (Socket, Response<Option<Vec<u8>>>) {
    let mut request = format!("ws://{}{path}", world.address())
        .into_client_request()
        .expect("a request");
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("a name");
        let value = HeaderValue::from_str(value).expect("a value");
        request.headers_mut().append(name, value);
    }
    let stream = TcpStream::connect(world.address()).await.expect("connect");
    stream.set_nodelay(true).expect("a socket option");
    let opened = timeout(PATIENCE, client_async(request, stream)).await;
    opened.expect("no answer").expect("a handshake")
}

/// The answer to a handshake, whatever it is. Nothing follows it.
async fn handshake(world: &World, path: &str, headers: Headers<'_>) -> crate::harness::Answer {
    let request = world
        .get(path)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    headers
        .iter()
        .fold(request, |request, (name, value)| {
            request.header(name, value)
        })
        .send()
        .await
}

async fn send(socket: &mut Socket, message: Message) {
    let sent = timeout(PATIENCE, socket.send(message)).await;
    sent.expect("the socket is stuck").expect("an open socket");
}

async fn next(socket: &mut Socket) -> Message {
    let came = timeout(PATIENCE, socket.next()).await.expect("no message");
    came.expect("an open socket").expect("a message")
}

/// Waits for the end after a close.
async fn finished(socket: &mut Socket) {
    let end = timeout(PATIENCE, socket.next()).await.expect("no end");
    assert!(
        matches!(end, None | Some(Err(Error::ConnectionClosed))),
        "{end:?}"
    );
}

/// The latest request that reached the agent.
fn last(world: &World) -> Seen {
    let stats = world.agent("chat-gpu").stats();
    stats.last.back().expect("a request").clone()
}
