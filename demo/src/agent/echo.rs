//! The answer of an agent to what is no chat: what arrived, as it arrived. The body is hashed while it streams, so an
//! upload of any size takes no memory.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::headers::Headers;
use crate::text::{hex, latin1};

/// So much of a body is shown.
const START: usize = 256;

/// A request as it arrived at an agent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Echo {
    /// The agent's name.
    pub agent: String,
    /// The method.
    pub method: String,
    /// The path as it stood in the request, nothing decoded.
    pub path: String,
    /// What stood behind `?`; none if there was no `?`.
    pub query: Option<String>,
    /// The headers.
    pub headers: Headers,
    /// The length of the body.
    pub body_bytes: u64,
    /// The body's SHA-256 in hexadecimal digits.
    pub body_sha256: String,
    /// The first 256 bytes of the body as Latin-1.
    pub body_start: String,
    /// What followed the body.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub trailers: Headers,
}

/// The client left before its request was complete.
#[derive(Debug)]
pub(super) struct ClientLeft;

/// What a request looks like, once its body has passed.
pub(super) async fn echo(agent: &str, request: &Parts, body: Body) -> Result<Echo, ClientLeft> {
    let (mut length, mut hash, mut start) = (0, Sha256::new(), Vec::new());
    let trailers = read(body, |data| {
        length += data.len() as u64;
        hash.update(&data);
        start.extend(data.iter().take(START - start.len()));
    })
    .await?;
    Ok(Echo {
        agent: agent.to_owned(),
        method: request.method.to_string(),
        path: request.uri.path().to_owned(),
        query: request.uri.query().map(str::to_owned),
        headers: Headers::of(request),
        body_bytes: length,
        body_sha256: hex(&hash.finalize()),
        body_start: latin1(&start),
        trailers: Headers::of_map(&trailers),
    })
}

/// Hands a body on piece by piece, and returns its trailers.
pub(super) async fn read(
    mut body: Body,
    mut take: impl FnMut(Bytes),
) -> Result<HeaderMap, ClientLeft> {
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        match frame.map_err(|_| ClientLeft)?.into_data() {
            Ok(data) => take(data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok(trailers)
}
