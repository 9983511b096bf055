//! A server that a test writes: it answers each request as it is told to, and remembers what came.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// Whom it was for.
    pub(crate) host: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The server; it speaks HTTP/1.1 and HTTP/2 in clear, whichever comes.
pub(crate) struct StandIn {
    pub(crate) address: SocketAddr,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Came {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl StandIn {
    pub(crate) async fn start<A>(answer: A) -> Self
    where
        A: Fn(&Came) -> Response<Full<Bytes>> + Send + Sync + 'static,
    {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), answer).await
    }

    /// One that others knew of before it was there.
    pub(crate) async fn start_at<A>(address: SocketAddr, answer: A) -> Self
    where
        A: Fn(&Came) -> Response<Full<Bytes>> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let came = Arc::new(Mutex::new(Vec::new()));
        let (list, answer) = (Arc::clone(&came), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (list, answer) = (Arc::clone(&list), Arc::clone(&answer));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (list, answer) = (Arc::clone(&list), Arc::clone(&answer));
                    async move {
                        let came = read(request).await?;
                        list.lock().expect("what came").push(came.clone());
                        Ok::<_, hyper::Error>(answer(&came))
                    }
                });
                tokio::spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    // It ends when the other end hangs up.
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, came }
    }

    /// What has come since this was asked last.
    pub(crate) fn came(&self) -> Vec<Came> {
        std::mem::take(&mut *self.came.lock().expect("what came"))
    }
}

async fn read(request: Request<Incoming>) -> Result<Came, hyper::Error> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query();
    let host = head.uri.authority().map(|host| host.as_str().to_owned());
    let in_header = head.headers.get("host").and_then(|it| it.to_str().ok());
    Ok(Came {
        method: head.method.to_string(),
        path: path.map_or("", |path| path.as_str()).to_owned(),
        host: host.or(in_header.map(str::to_owned)).unwrap_or_default(),
        headers: head.headers,
        body: body.collect().await?.to_bytes(),
    })
}

/// An answer with a body of JSON.
pub(crate) fn json(status: u16, body: &str) -> Response<Full<Bytes>> {
    let answer = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    answer
        .body(Full::from(Bytes::from(body.to_owned())))
        .expect("an answer")
}
