//! Connections: gRPC over HTTP/2, with TLS or without, and metrics over HTTP/1.1.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::protocol::METHOD;
use super::service::{Limiter, ShouldRateLimit};
use super::tls::Tls;

/// An Envoy opens one for each of its workers.
const MOST_CONNECTIONS: usize = 4_096;
/// How many questions one connection may have open.
const MOST_STREAMS: u32 = 1_024;
/// What a question may be, in bytes.
const MOST_BYTES: usize = 64 << 10;
/// A connection whose other end is gone is noticed after both.
const ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// What an asker may take until TLS is spoken.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// What a scraper may take for its request.
const SCRAPE: Duration = Duration::from_secs(10);

/// Where connections come from.
pub(super) trait Listener: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Whose turn it is to end.
#[derive(Clone)]
pub(super) struct End(watch::Receiver<bool>);

impl End {
    /// And what tells it.
    pub(super) fn new() -> (watch::Sender<bool>, Self) {
        let (tell, told) = watch::channel(false);
        (tell, Self(told))
    }

    async fn told(&mut self) {
        // If nobody can tell any more, it is the end too.
        let _ = self.0.wait_for(|ended| *ended).await;
    }
}

pub(super) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
}

/// Answers questions until the end; what is under way then has so long.
pub(super) async fn questions<H: Health>(
    listener: impl Listener,
    tls: Option<Tls>,
    limiter: Arc<Limiter>,
    health: HealthServer<H>,
    end: End,
    grace: Duration,
) {
    let serve = |stream, mut end: End| {
        let acceptor = tls.as_ref().map(Tls::acceptor);
        let (limiter, health) = (Arc::clone(&limiter), health.clone());
        async move {
            let Some(acceptor) = acceptor else {
                return connection(stream, limiter, health, end).await;
            };
            let spoken = tokio::select! {
                spoken = timeout(HANDSHAKE, acceptor.accept(stream)) => spoken,
                () = end.told() => return,
            };
            // Whoever speaks no TLS, or is not known, is let go.
            if let Ok(Ok(stream)) = spoken {
                connection(stream, limiter, health, end).await;
            }
        }
    };
    accept(listener, end, grace, serve).await;
}

/// Answers `GET /metrics` until the end.
pub(super) async fn metrics(listener: TcpListener, limiter: Arc<Limiter>, end: End) {
    let serve = |stream, _| scrape(stream, Arc::clone(&limiter));
    accept(listener, end, Duration::ZERO, serve).await;
}

async fn accept<L, F>(
    listener: L,
    mut end: End,
    grace: Duration,
    serve: impl Fn(L::Stream, End) -> F,
) where
    L: Listener,
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = end.told() => break,
            // Keeps the set as small as the number of open connections.
            Some(_) = connections.join_next() => {}
            accepted = listener.next() => match accepted {
                Ok(stream) => {
                    // One too many is closed.
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                        continue;
                    };
                    let served = serve(stream, end.clone());
                    connections.spawn(async move {
                        served.await;
                        drop(place);
                    });
                }
                // Out of file descriptors, or the other end gave up before it was accepted: both pass.
                Err(_) => sleep(Duration::from_millis(20)).await,
            },
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(grace, all).await;
    connections.shutdown().await;
}

/// How a connection ends is the other end's affair, and not looked at.
async fn connection<H: Health>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    limiter: Arc<Limiter>,
    health: HealthServer<H>,
    mut end: End,
) {
    let service = service_fn(move |request| {
        let (limiter, health) = (Arc::clone(&limiter), health.clone());
        async move { Ok::<_, Infallible>(answer(request, limiter, health).await) }
    });
    let (interval, patience) = ALIVE;
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(interval)
        .keep_alive_timeout(patience)
        .max_concurrent_streams(MOST_STREAMS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = end.told() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer<H: Health>(
    request: Request<Incoming>,
    limiter: Arc<Limiter>,
    mut health: HealthServer<H>,
) -> Response<Body> {
    let path = request.uri().path();
    if path == METHOD {
        let mut call =
            Grpc::new(ProstCodec::default()).apply_max_message_size_config(Some(MOST_BYTES), None);
        call.unary(ShouldRateLimit(limiter), request).await
    } else if path.starts_with("/grpc.health.v1.Health/") {
        match health.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    } else {
        Status::unimplemented("").into_http()
    }
}

async fn scrape(stream: TcpStream, limiter: Arc<Limiter>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = if request.uri().path() == "/metrics" {
            let text = limiter.metrics.text(limiter.store().len());
            let mut response = Response::new(Full::new(Bytes::from(text)));
            let form = HeaderValue::from_static("text/plain; version=0.0.4");
            response.headers_mut().insert(CONTENT_TYPE, form);
            response
        } else {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        };
        async move { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(SCRAPE);
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}
