//! The WebSocket chat: every text and every binary message comes back as it is, pings are answered, and a close is
//! answered with its own code.

use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::stats::{End, Passing};
use super::wishes::Wishes;
use crate::reply;
use crate::serving::Stopping;

/// Answers the handshake and then the messages. No subprotocol is selected unless `x-demo-protocol` names one, and
/// then that one, whether it was offered or not.
pub(super) async fn upgrade(
    request: &mut Parts,
    wishes: &Wishes,
    passing: Passing,
    stopping: Stopping,
) -> Response {
    let upgrade = match WebSocketUpgrade::from_request_parts(request, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return refuse(&rejection.to_string(), passing),
    };
    let close = wishes.close;
    let mut response = upgrade.on_upgrade(move |socket| async move {
        // When the service stops, so does the chat: the socket is dropped.
        tokio::select! {
            () = chat(socket, close, passing) => {}
            () = stopping.wait() => {}
        }
    });
    if let Some(protocol) = &wishes.protocol {
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, protocol.clone());
    }
    response
}

fn refuse(why: &str, mut passing: Passing) -> Response {
    passing.end(End::Complete);
    let error = reply::error(StatusCode::UPGRADE_REQUIRED, "invalid_request_error", why);
    (
        [(header::UPGRADE, HeaderValue::from_static("websocket"))],
        error,
    )
        .into_response()
}

async fn chat(mut socket: WebSocket, close: Option<u16>, mut passing: Passing) {
    while let Some(Ok(message)) = socket.recv().await {
        match message {
            Message::Text(_) | Message::Binary(_) => {
                if socket.send(message).await.is_err() {
                    return;
                }
                if let Some(code) = close {
                    let frame = CloseFrame {
                        code,
                        reason: "asked to close".into(),
                    };
                    if socket.send(Message::Close(Some(frame))).await.is_err() {
                        return;
                    }
                }
            }
            // The library answers both; the close is out when the next message is asked for.
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(_) => passing.end(End::Complete),
        }
    }
}
