//! A gRPC server that answers as a test says, and keeps what it was asked.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// The server. It ends when it is dropped.
pub(crate) struct GrpcServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// What it was asked once.
#[derive(Debug, Clone)]
pub(crate) struct GrpcCall {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) message: Bytes,
}

/// What it answers.
pub(crate) enum GrpcReply {
    /// Status OK with this message.
    Message(Bytes),
    /// The same, when the test lets it go.
    Held(Bytes),
    /// Trailers alone: what `grpc-status` says, and `grpc-message` if it is not empty.
    Status(&'static str, &'static str),
    /// HTTP's status and a body, and nothing of gRPC.
    Http(u16, &'static str),
    /// Nothing, ever.
    Nothing,
}

struct Shared {
    reply: Box<dyn Fn(&GrpcCall) -> GrpcReply + Send + Sync>,
    calls: Mutex<Vec<GrpcCall>>,
    gate: Semaphore,
}

type Body = BoxBody<Bytes, Infallible>;

// === impl GrpcServer ===

impl GrpcServer {
    pub(crate) async fn start(
        reply: impl Fn(&GrpcCall) -> GrpcReply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            reply: Box::new(reply),
            calls: Mutex::default(),
            gate: Semaphore::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            accepting,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that it was asked so far.
    pub(crate) fn calls(&self) -> Vec<GrpcCall> {
        self.shared.calls().clone()
    }

    /// Lets as many answers go as are held, or come to be.
    pub(crate) fn let_go(&self, answers: usize) {
        self.shared.gate.add_permits(answers);
    }
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

// === impl Shared ===

impl Shared {
    fn calls(&self) -> std::sync::MutexGuard<'_, Vec<GrpcCall>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let call = GrpcCall {
            uri: head.uri,
            headers: head.headers,
            message: unframed(&body),
        };
        let reply = (self.reply)(&call);
        self.calls().push(call);
        Ok(match reply {
            GrpcReply::Message(message) => answered(&message),
            GrpcReply::Held(message) => {
                let permit = self.gate.acquire().await.expect("the gate is never closed");
                permit.forget();
                answered(&message)
            }
            GrpcReply::Status(status, text) => {
                let mut response = Response::new(Full::default().boxed());
                *response.headers_mut() = ended(status, text);
                response
            }
            GrpcReply::Http(status, body) => Response::builder()
                .status(status)
                .header("content-type", "text/html")
                .body(Full::from(body).boxed())
                .expect("a response"),
            GrpcReply::Nothing => std::future::pending().await,
        })
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("a socket option");
        connections.spawn(serve(stream, Arc::clone(&shared)));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let answer = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { shared.answer(request).await }
    });
    // How a connection ends is the gateway's affair.
    let _ = http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

/// A message with status OK.
fn answered(message: &[u8]) -> Response<Body> {
    let body = Full::from(framed(message)).with_trailers(ready(Some(Ok(ended("0", "")))));
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert(
        "content-type",
        HeaderValue::from_static("application/grpc+proto"),
    );
    response
}

fn ended(status: &'static str, text: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let mut set = |name, value| {
        trailers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    set("content-type", "application/grpc");
    set("grpc-status", status);
    if !text.is_empty() {
        set("grpc-message", text);
    }
    trailers
}

/// A message behind its length, not compressed.
fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a small message"));
    frame.put_slice(message);
    frame.freeze()
}

fn unframed(frame: &Bytes) -> Bytes {
    assert!(frame.len() >= 5 && frame[0] == 0, "no frame: {frame:?}");
    let message = frame.slice(5..);
    assert_eq!(framed(&message), frame, "not one message");
    message
}
