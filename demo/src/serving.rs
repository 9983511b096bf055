//! A listening socket with an HTTP service behind it: HTTP/1.1, WebSocket upgrades and cleartext HTTP/2 on one port.
//! It is its own accept loop because a test needs two things that a web framework hides: hanging up on a client
//! instead of answering it, and ending every connection when the service stops.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt;

/// How long requests under way may take to finish once [`Server::stop`] was called.
const GRACE: Duration = Duration::from_secs(5);

/// Envoy passes on up to 100 headers and adds its own; hyper's default of 100 would refuse such a request.
const MAX_HEADERS: usize = 256;

/// Envoy lets 60 KiB of headers pass; HTTP/2's usual default of 16 KiB would refuse such a request.
const MAX_HEADER_BYTES: u32 = 1 << 20;

/// A service cannot listen on the address it was given.
#[derive(Debug)]
pub struct ListenError {
    address: String,
    source: std::io::Error,
}

/// A socket that listens, with nothing behind it yet.
#[derive(Debug)]
pub(crate) struct Listening {
    listener: TcpListener,
    address: SocketAddr,
    stopping: watch::Sender<bool>,
}

/// A running service. Dropping it ends every connection at once; [`Server::stop`] lets requests under way finish.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stopping: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

/// Tells a request under way that its service is stopping.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

/// The extension of a response that is never sent, see [`hang_up`].
#[derive(Clone, Copy, Debug)]
struct HangUp;

/// What hyper sees when a response carries [`HangUp`].
#[derive(Debug)]
struct HungUp;

// === impl ListenError ===

impl std::fmt::Display for ListenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, source } = self;
        match source.kind() {
            std::io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "cannot listen on {address}: the port is in use; stop what listens there or choose another with --listen"
                )
            }
            _ => write!(f, "cannot listen on {address}: {source}"),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

// === impl Listening ===

impl Listening {
    /// Listens on `address` (`host:port`; port 0 for any free one).
    pub(crate) async fn on(address: &str) -> Result<Self, ListenError> {
        let failed = |source| ListenError {
            address: address.to_owned(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stopping, _) = watch::channel(false);
        Ok(Self {
            listener,
            address,
            stopping,
        })
    }

    /// The signal that the service is stopping, for answers that would otherwise never end.
    pub(crate) fn stopping(&self) -> Stopping {
        Stopping(self.stopping.subscribe())
    }

    /// Serves from now on.
    pub(crate) fn serve(self, router: Router) -> Server {
        let stopping = self.stopping();
        let accepting = tokio::spawn(accept(self.listener, router, stopping));
        Server {
            address: self.address,
            stopping: self.stopping,
            accepting,
        }
    }
}

// === impl Server ===

impl Server {
    /// Where it listens, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more connections, waits up to five seconds for requests under way, then ends what is left.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        // Fails only if the loop panicked or was aborted; either way it is over.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
        // The loop owns all connections, so they end with it.
        self.accepting.abort();
    }
}

// === impl Stopping ===

impl Stopping {
    /// Waits until the service stops.
    pub(crate) async fn wait(mut self) {
        // An error means that the server is gone, which is a stop too.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}

// === impl HungUp ===

impl std::fmt::Display for HungUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hung up on purpose")
    }
}

impl std::error::Error for HungUp {}

async fn accept(listener: TcpListener, router: Router, stopping: Stopping) {
    let mut connections = JoinSet::new();
    let mut stop = pin!(stopping.clone().wait());
    loop {
        tokio::select! {
            () = &mut stop => break,
            // Keeps the set as small as the number of open connections.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, router.clone(), stopping.clone()));
                }
                // Out of file descriptors, or the peer gave up before it was accepted: both pass.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
        }
    }
    drop(listener);
    let all_done = async { while connections.join_next().await.is_some() {} };
    // What is left after the grace ends with the set.
    let _ = tokio::time::timeout(GRACE, all_done).await;
}

async fn serve(stream: TcpStream, router: Router, stopping: Stopping) {
    // Every event leaves when it is written. A socket without the option still works, only slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| answer(router.clone(), request));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_BYTES)
        .enable_connect_protocol();
    let mut connection =
        pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    // Errors are the client's leaving or our own hanging up; neither is news here.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopping.wait() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// In place of a response: nothing is sent, and the connection is closed (HTTP/1.1) or the stream reset (HTTP/2).
pub(crate) fn hang_up() -> Response<Body> {
    let mut response = Response::default();
    response.extensions_mut().insert(HangUp);
    response
}

async fn answer(router: Router, request: Request<Incoming>) -> Result<Response<Body>, HungUp> {
    let response = router
        .oneshot(request.map(Body::new))
        .await
        .unwrap_or_else(|never: Infallible| match never {});
    match response.extensions().get::<HangUp>() {
        Some(HangUp) => Err(HungUp),
        None => Ok(response),
    }
}
