//! The caller. Requests go out byte for byte as a test writes them, each on a connection of its own: no client library
//! that would tidy up a path, join headers or retry.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// A request under construction.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    address: SocketAddr,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A response that has arrived whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A response that is arriving.
pub(crate) struct Arriving {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: Incoming,
}

/// What came back for bytes sent as they are.
#[derive(Debug)]
pub(crate) struct RawAnswer(pub(crate) Vec<u8>);

// === impl Request ===

impl Request {
    pub(super) fn new(address: SocketAddr, method: &str, path: &str) -> Self {
        Self {
            address,
            method: method.parse().expect("a method"),
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// Adds a header, beside any of the same name. The value is bytes, not text.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        let value = HeaderValue::from_bytes(value.as_ref()).expect("a header value");
        self.headers.append(name, value);
        self
    }

    /// The caller's key, in `x-api-key`.
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("x-api-key", key)
    }

    /// The whole body.
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it and takes the whole response.
    pub(crate) async fn send(self) -> Answer {
        let what = format!("{} {}", self.method, self.path);
        self.try_send()
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Sends it and takes the whole response, where a connection that breaks is no surprise.
    pub(crate) async fn try_send(self) -> Result<Answer, hyper::Error> {
        let arriving = self.try_begin().await?;
        let body = arriving.body.collect().await?.to_bytes();
        Ok(Answer {
            status: arriving.status,
            headers: arriving.headers,
            body,
        })
    }

    /// Sends it and takes the response's headers; its body is read as it arrives.
    pub(crate) async fn begin(self) -> Arriving {
        let what = format!("{} {}", self.method, self.path);
        self.try_begin()
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    async fn try_begin(self) -> Result<Arriving, hyper::Error> {
        let exchange = async {
            let stream = TcpStream::connect(self.address).await.expect("connect");
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection.with_upgrades());
            let mut request = hyper::Request::new(Full::new(self.body));
            *request.method_mut() = self.method;
            *request.uri_mut() = self.path.parse::<Uri>().expect("a path");
            *request.headers_mut() = self.headers;
            if !request.headers().contains_key("host") {
                let host = self.address.to_string().parse().expect("a host");
                request.headers_mut().insert("host", host);
            }
            sender.send_request(request).await
        };
        let response = timeout(PATIENCE, exchange).await.expect("no response");
        let (head, body) = response.map(Response::into_parts)?;
        Ok(Arriving {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }
}

// === impl Answer ===

impl Answer {
    /// A header's value, if it is there once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().expect("visible ASCII");
        assert!(values.next().is_none(), "{name} stands there twice");
        Some(value)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: no JSON ({error}): {}", self.status, self.text()))
    }

    /// What the agent says arrived of the request.
    pub(crate) fn echo(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// The first value of a request header that the agent says it got.
    pub(crate) fn echoed(&self, header: &str) -> Option<String> {
        let value = &self.echo()["headers"][header][0];
        value.as_str().map(str::to_owned)
    }

    /// Which refusal it is: checks that the body is a whole problem of this status and gives its code.
    pub(crate) fn refusal(&self) -> String {
        let problem = self.json();
        let what = format!("{} {problem}", self.status);
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{what}"
        );
        assert_eq!(problem["status"], self.status, "{what}");
        assert_eq!(
            problem["instance"].as_str(),
            self.header("x-request-id"),
            "{what}"
        );
        for field in [
            "/type",
            "/title",
            "/detail",
            "/error/message",
            "/error/type",
        ] {
            let text = problem.pointer(field).and_then(Value::as_str);
            assert!(text.is_some_and(|text| !text.is_empty()), "{field}: {what}");
        }
        assert!(problem["error"].get("param").is_some(), "{what}");
        let code = problem["error"]["code"].as_str();
        code.unwrap_or_else(|| panic!("no code: {what}")).to_owned()
    }

    /// Status and refusal in one, to be compared with a row of the contract's table.
    pub(crate) fn refused(&self) -> (u16, String) {
        (self.status, self.refusal())
    }
}

// === impl Arriving ===

impl Arriving {
    /// The next piece of the body, as it came; none at the end. An error is a response that was cut off.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        loop {
            let frame = timeout(PATIENCE, self.body.frame())
                .await
                .expect("the response stopped arriving");
            match frame {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

// === impl RawAnswer ===

impl RawAnswer {
    /// The status of the first response, none if the connection just ended.
    pub(crate) fn status(&self) -> Option<u16> {
        let line = self.0.strip_prefix(b"HTTP/1.1 ")?;
        let status = StatusCode::from_bytes(line.get(..3)?).ok()?;
        Some(status.as_u16())
    }

    /// All that came, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// The refusal's code, if the response holds one.
    pub(crate) fn code(&self) -> Option<String> {
        let text = self.text();
        let body = &text[text.find("\r\n\r\n")? + 4..];
        let problem: Value = serde_json::from_str(body).ok()?;
        Some(problem["error"]["code"].as_str()?.to_owned())
    }
}

/// Sends bytes as they are and reads what comes back until the connection ends. Requests should say `connection: close`.
pub(super) async fn raw(address: SocketAddr, bytes: &[u8]) -> RawAnswer {
    let mut answer = Vec::new();
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("connect");
        // Whoever answers early may close before all is sent.
        let _ = stream.write_all(bytes).await;
        let _ = stream.read_to_end(&mut answer).await;
    };
    // A connection that stays open is read as far as it goes.
    let _ = timeout(Duration::from_secs(5), exchange).await;
    RawAnswer(answer)
}
