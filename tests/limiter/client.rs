//! Who asks: one connection, and as many questions at once as a test likes.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::protocol::{
    Code, Entry, METHOD, RateLimitDescriptor, RateLimitOverride, RateLimitRequest,
    RateLimitResponse, Unit,
};

#[derive(Clone)]
pub(crate) struct Client(SendRequest<Full<Bytes>>);

/// The status of gRPC that came in place of an answer, or -1 if the connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: i32,
    pub(crate) message: String,
}

impl Client {
    pub(crate) async fn to(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        Self::over(stream).await
    }

    /// Over TLS, with a server that is to be called so.
    pub(crate) async fn over_tls(
        address: SocketAddr,
        name: &'static str,
        config: ClientConfig,
    ) -> Option<Self> {
        let stream = TcpStream::connect(address).await.ok()?;
        let name = ServerName::try_from(name).expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        Self::over(connector.connect(name, stream).await.ok()?).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Option<Self> {
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.ok()?;
        tokio::spawn(connection);
        Some(Self(sender))
    }

    pub(crate) async fn should_rate_limit(
        &self,
        request: &RateLimitRequest,
    ) -> Result<RateLimitResponse, Refused> {
        let answer = self.call(METHOD, &request.encode_to_vec()).await?;
        Ok(RateLimitResponse::decode(answer).expect("a response"))
    }

    /// What the standard health check answers for a service: 1 for `SERVING`, 2 for `NOT_SERVING`.
    pub(crate) async fn health(&self, service: &str) -> Result<u8, Refused> {
        let mut question = BytesMut::new();
        question.put_u8(0x0a);
        question.put_u8(u8::try_from(service.len()).expect("a short name"));
        question.put_slice(service.as_bytes());
        let answer = self.call("/grpc.health.v1.Health/Check", &question).await?;
        assert_eq!((answer.len(), answer[0]), (2, 0x08), "{answer:?}");
        Ok(answer[1])
    }

    /// One call of gRPC with one message, for one message.
    pub(crate) async fn call(&self, path: &str, message: &[u8]) -> Result<Bytes, Refused> {
        let lost = |error: hyper::Error| Refused {
            status: -1,
            message: error.to_string(),
        };
        let mut frame = BytesMut::with_capacity(5 + message.len());
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).expect("a small message"));
        frame.put_slice(message);
        let uri = Uri::builder()
            .scheme("http")
            .authority("limiter")
            .path_and_query(path);
        let request = Request::post(uri.build().expect("a uri"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::from(frame.freeze()))
            .expect("a request");
        let mut sender = self.0.clone();
        sender.ready().await.map_err(lost)?;
        let response = sender.send_request(request).await.map_err(lost)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(lost)?;
        let trailers = body.trailers().cloned().unwrap_or(head.headers);
        let said = |name| {
            let value = trailers
                .get(name)
                .map(|value| value.to_str().expect("text"));
            value.unwrap_or_default().to_owned()
        };
        let status = said("grpc-status").parse().expect("a status");
        if status != 0 {
            let message = said("grpc-message").replace("%20", " ");
            return Err(Refused { status, message });
        }
        let body = body.to_bytes();
        assert_eq!(body[0], 0, "not compressed");
        Ok(body.slice(5..))
    }
}

/// Asks once, and says whether it was admitted, and what remains of each descriptor.
pub(crate) async fn ask(
    client: &Client,
    descriptors: Vec<RateLimitDescriptor>,
) -> Result<(bool, Vec<u32>), Refused> {
    let request = RateLimitRequest {
        domain: "waykeeper".to_owned(),
        descriptors,
        hits_addend: 0,
    };
    let answer = client.should_rate_limit(&request).await?;
    let admitted = answer.overall_code == i32::from(Code::Ok);
    assert!(admitted || answer.overall_code == i32::from(Code::OverLimit));
    assert_eq!(answer.statuses.len(), request.descriptors.len());
    let all = answer
        .statuses
        .iter()
        .all(|status| status.code == i32::from(Code::Ok));
    assert_eq!(all, admitted, "{answer:?}");
    let remaining = answer.statuses.iter().map(|status| status.limit_remaining);
    Ok((admitted, remaining.collect()))
}

/// A limit of one client's.
pub(crate) fn descriptor(client: &str, requests_per_unit: u32, unit: Unit) -> RateLimitDescriptor {
    let entry = |key: &str, value: &str| Entry {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    RateLimitDescriptor {
        entries: vec![entry("limit", "plan"), entry("client", client)],
        limit: Some(RateLimitOverride {
            requests_per_unit,
            unit: unit.into(),
            unit_multiplier: None,
        }),
        hits_addend: None,
        is_negative_hits: false,
    }
}

/// The same with so many hits.
pub(crate) fn of(hits: u64, descriptor: RateLimitDescriptor) -> RateLimitDescriptor {
    RateLimitDescriptor {
        hits_addend: Some(hits),
        ..descriptor
    }
}
