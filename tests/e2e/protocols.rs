//! What callers speak beside plain HTTP/1.1 and HTTP/2: HTTP/1.0, which old proxies put in front, and requests that would
//! like to go on in another protocol.

use crate::harness::{Exchange, Puppet, Request, World};

const NOTES: &str = "/api/v1/memory/notes";

#[tokio::test]
async fn http_1_0_is_served_with_a_host_and_without() {
    let world = World::start().await;
    let ask = |headers: &str| {
        let request = format!("GET {NOTES}?x=1 HTTP/1.0\r\n{headers}\r\n");
        let world = &world;
        async move { world.raw(request).await }
    };
    let key = "x-api-key: demo-premium\r\n";

    let named = ask(&format!("host: shop.example\r\n{key}")).await;
    let unnamed = ask(key).await;
    let refused = ask("").await;

    for (answer, host) in [(&named, "shop.example"), (&unnamed, "waykeeper")] {
        let text = answer.text();
        assert_eq!(answer.status(), Some(200), "{text}");
        assert!(text.starts_with("HTTP/1.0 "), "{text}");
        assert!(!text.contains("transfer-encoding"), "{text}");
        let echo = answer.echo();
        assert_eq!(echo.headers.get("host"), Some(host));
        assert_eq!(echo.headers.get("x-waykeeper-client"), Some("globex"));
        assert_eq!(echo.headers.get("x-api-key"), None);
    }
    assert_eq!(refused.status(), Some(401));
    assert_eq!(refused.code().as_deref(), Some("missing_key"));
    // HTTP/1.1 still has to name a host.
    let request = format!("GET {NOTES} HTTP/1.1\r\n{key}\r\n");
    assert_eq!(world.raw(request).await.status(), Some(400));
}

#[tokio::test]
async fn a_connection_of_http_1_0_is_kept_where_both_ends_can_tell_the_end_of_an_answer() {
    let world = World::start().await;
    let request =
        |connection: &str| format!("GET {NOTES} HTTP/1.0\r\nconnection: {connection}\r\n\r\n");

    let both = request("keep-alive") + &request("close");
    let answers = until_closed(&world, &both).await;

    assert_eq!(answers.matches("HTTP/1.0 401 ").count(), 2, "{answers}");
    assert_eq!(answers.matches("connection: keep-alive").count(), 1);
}

#[tokio::test]
async fn a_stream_over_http_1_0_comes_piece_by_piece_and_ends_with_the_connection() {
    let agent = Puppet::listen().await;
    let world = World::with(|draft| {
        draft.connect("chat-gpu", &[agent.address()]);
    })
    .await;
    let mut caller = Exchange::open(world.address()).await;
    let request = "POST /api/v1/chat/stream HTTP/1.0\r\nx-api-key: demo-premium\r\nconnection: keep-alive\r\n\
                   content-length: 2\r\n\r\n{}";
    caller.write(request).await;
    let mut exchange = agent.accept().await;
    exchange.read_until("\r\n\r\n{}").await;

    exchange
        .write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    exchange.write("9\r\ndata: 1\n\n\r\n").await;
    let mut head = caller.read_until("data: 1\n\n").await;
    exchange.write("9\r\ndata: 2\n\n\r\n").await;
    caller.read_until("data: 2\n\n").await;
    exchange.write("0\r\n\r\n").await;
    let rest = caller.read_to_end().await;

    head.make_ascii_lowercase();
    assert!(head.starts_with("http/1.0 200 "), "{head}");
    assert!(head.ends_with("\r\n\r\ndata: 1\n\n"), "{head}");
    // No length and no chunks: the end of the connection is the end of the stream.
    assert!(head.contains("connection: close\r\n"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert_eq!(rest, "");
}

#[tokio::test]
async fn whoever_expects_to_be_told_to_go_on_is_told_so_by_envoy_whatever_becomes_of_it() {
    let world = World::start().await;
    let ask = |key: &str, body: &str| {
        format!(
            "POST {NOTES} HTTP/1.1\r\nhost: a\r\n{key}expect: 100-continue\r\nconnection: close\r\n\
             content-length: 5\r\n\r\n{body}"
        )
    };

    let refused = until_closed(&world, &ask("", "")).await;
    let served = until_closed(&world, &ask("x-api-key: demo-premium\r\n", "hello")).await;

    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    let refusal = refused.strip_prefix(go_on).expect("to be told to go on");
    assert!(refusal.starts_with("HTTP/1.1 401 "), "{refused}");
    let answer = served.strip_prefix(go_on).expect("to be told to go on");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{served}");
    assert!(!answer.contains("\"expect\""), "{served}");
}

/// Apache's client asks every server for TLS, Java's for HTTP/2.
#[tokio::test]
async fn a_request_that_would_like_another_protocol_goes_on_in_http() {
    let world = World::start().await;
    let ask = |method: &str, connection: &str, upgrade: &[&str]| {
        let request = world
            .request(method, NOTES)
            .key("demo-premium")
            .header("connection", connection)
            .body("hello");
        let add = |request: Request, it: &&str| request.header("upgrade", it);
        upgrade.iter().fold(request, add).send()
    };

    for (connection, upgrade) in [
        ("upgrade", &["TLS/1.2"][..]),
        ("Upgrade", &["tls/1.0, HTTP/2.0"]),
        ("Upgrade, HTTP2-Settings", &["h2c"]),
        ("upgrade", &["h2c, TLS/1.2"]),
        ("upgrade", &["TLS/1.3", "h2c"]),
        ("upgrade", &["connect-UDP"]),
        ("upgrade", &["w"]),
        ("upgrade", &["web,websockets,websocket/13"]),
        ("upgrade", &["foo,, bar"]),
        ("upgrade", &[""]),
        // Not meant for this connection, as long as `connection` does not say so.
        ("keep-alive", &["websocket"]),
    ] {
        for method in ["GET", "POST"] {
            let what = format!("{method} {connection} {upgrade:?}");
            let served = ask(method, connection, upgrade).await;
            assert_eq!(served.status, 200, "{what}: {}", served.text());
            let echo = served.echo();
            assert_eq!(echo.body_bytes, 5, "{what}");
            for name in ["upgrade", "connection", "http2-settings"] {
                assert_eq!(echo.headers.get(name), None, "{what}");
            }
        }
    }
    // A WebSocket among them is one.
    for upgrade in [&["TLS/1.2, WebSocket"][..], &["websocket", "h2c"]] {
        let refused = ask("GET", "upgrade", upgrade).await;
        let code = "upgrade_not_allowed".to_owned();
        assert_eq!(refused.refused(), (400, code), "{upgrade:?}");
    }
    let tunnel = "CONNECT memory:443 HTTP/1.1\r\nhost: memory:443\r\nconnection: close\r\n\r\n";
    let tunnel = world.raw(tunnel).await;
    assert_eq!(tunnel.status(), Some(400), "{}", tunnel.text());
    assert_eq!(tunnel.code().as_deref(), Some("bad_path"));

    // What follows on the connection is a request again.
    let upgrade = format!(
        "POST {NOTES} HTTP/1.1\r\nhost: a\r\nx-api-key: demo-premium\r\nconnection: upgrade\r\nupgrade: TLS/1.2\r\ncontent-length: 2\r\n\r\n{{}}\
         GET /nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    );
    let answers = until_closed(&world, &upgrade).await;
    let statuses = ["HTTP/1.1 200 ", "HTTP/1.1 404 "].map(|it| answers.matches(it).count());
    assert_eq!(statuses, [1, 1], "{answers}");
}

/// Sends bytes as they are, and takes all that comes until the gateway closes the connection.
async fn until_closed(world: &World, bytes: &str) -> String {
    let mut caller = Exchange::open(world.address()).await;
    caller.write(bytes).await;
    caller.read_to_end().await
}
