//! The client of all who ask something over HTTP: one request on a connection of its own.

use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

/// Sends a request in the version that it says, and gives its answer; the connection ends with that.
///
/// # Errors
/// If there is none: what has ended the connection, if anything has, which says more than that the request has ended with it.
pub(crate) async fn ask<S, B>(stream: S, request: Request<B>) -> hyper::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static,
{
    let io = TokioIo::new(stream);
    let (answer, connection) = if request.version() == Version::HTTP_2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        let connection = tokio::spawn(connection);
        (sender.send_request(request).await, connection)
    } else {
        let (mut sender, connection) = http1::handshake(io).await?;
        let connection = tokio::spawn(connection);
        (sender.send_request(request).await, connection)
    };
    match answer {
        Ok(answer) => Ok(answer),
        Err(error) => Err(match connection.await {
            Ok(Err(reason)) => reason,
            _ => error,
        }),
    }
}
