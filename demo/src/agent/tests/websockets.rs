use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response as Handshake;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(
    agent: &Agent,
    headers: &[(&'static str, &'static str)],
) -> Result<(Socket, Handshake), Error> {
    let mut request = format!("ws://{}/api/v1/chat/ws", agent.address())
        .into_client_request()
        .unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    connect_async(request).await
}

async fn next(socket: &mut Socket) -> Message {
    socket.next().await.unwrap().unwrap()
}

#[tokio::test]
async fn messages_come_back_and_pings_are_answered() {
    let agent = agent().await;
    let (mut socket, handshake) = connect(&agent, &[]).await.unwrap();
    assert_eq!(handshake.headers()["x-demo-agent"], "chat-gpu");
    assert!(!handshake.headers().contains_key("sec-websocket-protocol"));
    let large = Message::binary(vec![7; 1 << 20]);
    for message in [
        Message::text("hello"),
        Message::text(""),
        Message::binary(vec![0, 255]),
        large,
    ] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(next(&mut socket).await, message);
    }
    socket.send(Message::Ping("p".into())).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::Pong("p".into()));
    assert_eq!(agent.stats().in_flight, 1);
}

#[tokio::test]
async fn a_close_is_answered_with_its_code() {
    let agent = agent().await;
    let (mut socket, _) = connect(&agent, &[]).await.unwrap();
    let frame = CloseFrame {
        code: 4001.into(),
        reason: "enough".into(),
    };
    socket.close(Some(frame)).await.unwrap();
    match next(&mut socket).await {
        Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 4001),
        message => panic!("{message:?}"),
    }
    let stats = until(&agent, |stats| stats.in_flight == 0).await;
    assert_eq!((stats.complete, stats.aborted), (1, 0));
}

#[tokio::test]
async fn a_client_that_leaves_without_a_close_is_counted() {
    let agent = agent().await;
    let (socket, _) = connect(&agent, &[]).await.unwrap();
    drop(socket);
    until(&agent, |stats| stats.aborted == 1).await;
}

#[tokio::test]
async fn the_agent_closes_with_the_code_it_was_asked_for() {
    let agent = agent().await;
    let (mut socket, _) = connect(&agent, &[("x-demo-close", "4002")]).await.unwrap();
    socket.send(Message::text("a")).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::text("a"));
    match next(&mut socket).await {
        Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 4002),
        message => panic!("{message:?}"),
    }
    // The client's own close goes out while it waits for the end.
    assert!(socket.next().await.is_none());
    until(&agent, |stats| stats.complete == 1).await;
}

#[tokio::test]
async fn a_subprotocol_is_selected_only_if_asked_for() {
    let agent = agent().await;
    let offer = ("sec-websocket-protocol", "chat.v1, chat.v2");
    let (_, handshake) = connect(&agent, &[offer, ("x-demo-protocol", "chat.v2")])
        .await
        .unwrap();
    assert_eq!(handshake.headers()["sec-websocket-protocol"], "chat.v2");
    // The client finds fault with an offer that nobody took; what matters here is what it was told.
    match connect(&agent, &[offer]).await {
        Ok((_, handshake)) => assert!(!handshake.headers().contains_key("sec-websocket-protocol")),
        Err(error) => assert!(error.to_string().contains("subprotocol"), "{error}"),
    }
    assert_eq!(
        agent.stats().last[1].headers.get("sec-websocket-protocol"),
        Some("chat.v1, chat.v2")
    );
}

#[tokio::test]
async fn a_handshake_fails_as_asked() {
    let agent = agent().await;
    match connect(&agent, &[("x-demo-status", "503")]).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("{other:?}"),
    }
    let plain = send(get(&agent, "/api/v1/chat/ws")).await;
    assert_eq!(
        (
            plain.status().as_u16(),
            plain.headers()["upgrade"].to_str().unwrap()
        ),
        (426, "websocket")
    );
    let stats = until(&agent, |stats| stats.in_flight == 0).await;
    assert_eq!(stats.complete, 2);
}

#[tokio::test]
async fn open_chats_end_with_the_agent() {
    let agent = agent().await;
    let (mut socket, _) = connect(&agent, &[]).await.unwrap();
    agent.stop().await;
    let end = tokio::time::timeout(Duration::from_secs(10), socket.next())
        .await
        .unwrap();
    assert!(matches!(end, None | Some(Err(_))), "{end:?}");
}
