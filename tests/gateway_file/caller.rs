//! Requests to a gateway: in clear or over TLS, in HTTP/1.1 or HTTP/2, with whatever stands before them.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A caller of one listener.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    http2: bool,
    preamble: &'static [u8],
    body: Full<Bytes>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Caller {
    pub(crate) fn of(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            http2: false,
            preamble: b"",
            body: Full::default(),
        }
    }

    /// Over TLS; in HTTP/2 if that is what both agree on.
    pub(crate) fn over(mut self, tls: ClientConfig) -> Self {
        self.tls = Some(Arc::new(tls));
        self
    }

    /// In HTTP/2 without being asked.
    pub(crate) fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// Sends this first on each connection.
    pub(crate) fn after(mut self, preamble: &'static [u8]) -> Self {
        self.preamble = preamble;
        self
    }

    /// Sends this as the body of each request.
    pub(crate) fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Full::new(body.into());
        self
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let answer = self.send("GET", path, headers).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let caller = self.clone().with_body(body.to_owned());
        let answer = caller.send("POST", path, headers).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        let request = (method, path, headers, self.body.clone());
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(self.preamble).await?;
        let Some(tls) = &self.tls else {
            return exchange(stream, request, self.http2).await;
        };
        let connector = TlsConnector::from(Arc::clone(tls));
        let stream = connector.connect("localhost".try_into()?, stream).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        exchange(stream, request, http2).await
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The agent that answered.
    pub(crate) fn agent(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["agent"].as_str().expect("an agent").to_owned()
    }

    /// A header as it reached the agent.
    pub(crate) fn arrived(&self, name: &str) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        let arrived = self.json();
        let value = arrived["headers"][name][0].as_str();
        value
            .unwrap_or_else(|| panic!("no {name}: {arrived}"))
            .to_owned()
    }
}

async fn exchange<S>(
    stream: S,
    (method, path, headers, body): (&str, &str, &[(&str, &str)], Full<Bytes>),
    http2: bool,
) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let host = "gateway.example";
    let mut request = Request::builder().method(method);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let stream = TokioIo::new(stream);
    let response: Response<_> = if http2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        let request = request.uri(format!("http://{host}{path}"));
        sender.send_request(request.body(body)?).await?
    } else {
        let (mut sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(connection);
        let request = request.uri(path).header("host", host);
        sender.send_request(request.body(body)?).await?
    };
    let (head, body) = response.into_parts();
    Ok(Answer {
        status: head.status.as_u16(),
        version: head.version,
        headers: head.headers,
        body: body.collect().await?.to_bytes(),
    })
}
