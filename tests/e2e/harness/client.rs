//! The caller. Requests go out byte for byte as a test writes them, each on a connection of its own: no client library
//! that would tidy up a path, join headers or retry.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use waykeeper_demo::agent::Echo;

use super::PATIENCE;

/// A request under construction.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    address: SocketAddr,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    http2: bool,
}

/// A request whose body is still being written.
pub(crate) struct Upload {
    /// None once it has ended.
    body: Option<Sender<Bytes>>,
    response: JoinHandle<Result<Arriving, hyper::Error>>,
}

/// A response that has arrived whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
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
            http2: false,
        }
    }

    /// Speaks HTTP/2 in place of HTTP/1.1.
    pub(crate) fn http2(mut self) -> Self {
        self.http2 = true;
        self
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
        self.try_begin().await?.whole().await
    }

    /// Sends it and takes the response's headers; its body is read as it arrives.
    pub(crate) async fn begin(self) -> Arriving {
        let what = format!("{} {}", self.method, self.path);
        self.try_begin()
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Sends it with a body that the test goes on to write: as long as its `content-length` says, or else in chunks.
    pub(crate) fn upload(self) -> Upload {
        let (sender, body) = Channel::<Bytes>::new(1);
        Upload {
            body: Some(sender),
            response: tokio::spawn(self.exchange(body)),
        }
    }

    async fn try_begin(mut self) -> Result<Arriving, hyper::Error> {
        let body = Full::new(std::mem::take(&mut self.body));
        self.exchange(body).await
    }

    async fn exchange<B>(self, body: B) -> Result<Arriving, hyper::Error>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
        B: Send + Unpin + 'static,
    {
        let mut request = hyper::Request::new(body);
        *request.method_mut() = self.method;
        *request.headers_mut() = self.headers;
        let exchange = async {
            let stream = TcpStream::connect(self.address).await.expect("connect");
            stream.set_nodelay(true).expect("a socket option");
            if self.http2 {
                let uri = format!("http://{}{}", self.address, self.path);
                *request.uri_mut() = uri.parse().expect("a path");
                let io = TokioIo::new(stream);
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                return sender.send_request(request).await;
            }
            *request.uri_mut() = self.path.parse::<Uri>().expect("a path");
            if !request.headers().contains_key("host") {
                let host = self.address.to_string().parse().expect("a host");
                request.headers_mut().insert("host", host);
            }
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection.with_upgrades());
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

// === impl Upload ===

impl Upload {
    /// Writes a piece of the body, as soon as the connection takes it. False: it takes no more.
    pub(crate) async fn write(&mut self, piece: impl Into<Bytes>) -> bool {
        let body = self.body.as_mut().expect("the body has ended");
        let sent = timeout(PATIENCE, body.send_data(piece.into()));
        sent.await.expect("the request's body is stuck").is_ok()
    }

    /// Ends the body.
    pub(crate) fn end(&mut self) {
        self.body = None;
    }

    /// Ends the body with these trailers.
    pub(crate) async fn end_with(&mut self, trailers: HeaderMap) {
        let mut body = self.body.take().expect("the body has ended");
        let sent = body.send_trailers(trailers).await;
        sent.expect("the connection takes no more");
    }

    /// The response's headers, whether the body has ended or not.
    pub(crate) async fn response(&mut self) -> Arriving {
        let response = (&mut self.response).await.expect("the exchange");
        response.expect("a response")
    }

    /// The whole response, whether the body has ended or not.
    pub(crate) async fn answer(&mut self) -> Answer {
        let response = self.response().await;
        response.whole().await.expect("the whole response")
    }
}

fn single<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().expect("visible ASCII");
    assert!(values.next().is_none(), "{name} stands there twice");
    Some(value)
}

// === impl Answer ===

impl Answer {
    /// A header's value, if it is there once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        single(&self.headers, name)
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
    pub(crate) fn echo(&self) -> Echo {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.body).expect("an echo")
    }

    /// The error in an answer of JSON-RPC with this status, to the message with this id.
    #[track_caller]
    pub(crate) fn rpc_error(&self, status: u16, id: &Value) -> Value {
        let told = self.json();
        assert_eq!(self.status, status, "{told}");
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{told}"
        );
        assert_eq!(told["jsonrpc"], "2.0", "{told}");
        assert_eq!(told.get("id"), Some(id), "{told}");
        told["error"].clone()
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
        let code = problem["error"]["code"].as_str();
        let code = code.unwrap_or_else(|| panic!("no code: {what}")).to_owned();
        // Envoy may refuse a request before it has an id that can be told twice.
        let early = ["bad_request", "headers_too_large"].contains(&&*code);
        let id_for_anthropic = self.header("request-id");
        if !early || id_for_anthropic.is_some() {
            assert_eq!(id_for_anthropic, self.header("x-request-id"), "{what}");
        }
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
        let wait = self.header("retry-after");
        let wait: u64 = wait.map_or(0, |wait| wait.parse().expect("seconds"));
        let retry = (wait > 60).then_some("false");
        assert_eq!(self.header("x-should-retry"), retry, "{what}");
        code
    }

    /// Status and refusal in one, to be compared with a row of the contract's table.
    pub(crate) fn refused(&self) -> (u16, String) {
        (self.status, self.refusal())
    }
}

// === impl Arriving ===

impl Arriving {
    /// The rest of it.
    pub(crate) async fn whole(self) -> Result<Answer, hyper::Error> {
        let body = timeout(PATIENCE, self.body.collect());
        let body = body.await.expect("the response stopped arriving")?;
        Ok(Answer {
            status: self.status,
            headers: self.headers,
            trailers: body.trailers().cloned().unwrap_or_default(),
            body: body.to_bytes(),
        })
    }

    /// The next piece of the body, as it came; none at the end. An error is a response that was cut off.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        loop {
            let frame = timeout(PATIENCE, self.body.frame())
                .await
                .expect("the response stopped arriving");
            match frame {
                None => return Ok(None),
                Some(frame) => {
                    // HTTP/2 may end with a piece of nothing.
                    let data = frame?.into_data().unwrap_or_default();
                    if !data.is_empty() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// A header's value, if it is there once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        single(&self.headers, name)
    }

    /// Waits until the response breaks off, and not as one that is over.
    pub(crate) async fn cut_off(&mut self) {
        loop {
            match self.chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("an end that looks like a good one"),
                Err(_) => return,
            }
        }
    }
}

// === impl RawAnswer ===

impl RawAnswer {
    /// The status of the first response, none if the connection just ended.
    pub(crate) fn status(&self) -> Option<u16> {
        let version = |version: &[u8]| self.0.strip_prefix(version);
        let line = version(b"HTTP/1.1 ").or_else(|| version(b"HTTP/1.0 "))?;
        let status = StatusCode::from_bytes(line.get(..3)?).ok()?;
        Some(status.as_u16())
    }

    /// All that came, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// The refusal's code, if the response holds one.
    pub(crate) fn code(&self) -> Option<String> {
        let problem: Value = serde_json::from_slice(self.body()?).ok()?;
        Some(problem["error"]["code"].as_str()?.to_owned())
    }

    /// What the agent says arrived of the request.
    pub(crate) fn echo(&self) -> Echo {
        let body = self.body().unwrap_or_default();
        serde_json::from_slice(body).unwrap_or_else(|_| panic!("no echo: {}", self.text()))
    }

    /// Whether the response has come to the end that its headers announce.
    fn is_whole(&self) -> bool {
        let text = self.text().to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return false;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        match length {
            Some(length) => self.body().is_some_and(|body| body.len() >= length),
            None => head.contains("transfer-encoding: chunked") && body.ends_with("0\r\n\r\n"),
        }
    }

    /// What follows the headers: the body, if it is not chunked.
    fn body(&self) -> Option<&[u8]> {
        let end = self.0.windows(4).position(|four| four == b"\r\n\r\n")?;
        self.0.get(end + 4..)
    }
}

/// Sends bytes as they are, on a connection of their own, and reads the first response to them; or all that comes, if
/// that is none.
pub(super) async fn raw(address: SocketAddr, bytes: &[u8]) -> RawAnswer {
    let mut answer = RawAnswer(Vec::new());
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("connect");
        // Whoever answers early may close before all is sent.
        let _ = stream.write_all(bytes).await;
        while !answer.is_whole() {
            // A connection that breaks is an end as well.
            if !matches!(stream.read_buf(&mut answer.0).await, Ok(1..)) {
                break;
            }
        }
    };
    let exchange = timeout(PATIENCE, exchange).await;
    exchange.unwrap_or_else(|_| panic!("no whole response: {}", answer.text()));
    answer
}
