//! A gRPC service that says that it is well: `grpc.health.v1.Health`, as gRPC's own libraries have it.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

/// `HealthCheckResponse{status: SERVING}` behind its length.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 0x01];

/// Starts it; it speaks HTTP/2 alone.
pub(crate) async fn serving() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service_fn(check)));
        }
    });
    address
}

async fn check(
    request: Request<Incoming>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, hyper::Error> {
    let known = request.uri().path() == "/grpc.health.v1.Health/Check";
    // As a service does that is asked one message: what is answered before the request's end may be given up by its caller.
    request.into_body().collect().await?;
    let (message, status) = if known {
        (SERVING, "0")
    } else {
        (&[][..], "12")
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    let body = Full::from(Bytes::from_static(message)).with_trailers(ready(Some(Ok(trailers))));
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    Ok(response)
}
