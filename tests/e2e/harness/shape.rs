//! Ways in which the parts of a request may come.

use bytes::Bytes;
use hyper::HeaderMap;

use super::client::{Answer, Request, Upload};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    HeadersOnly,
    WithLength,
    Chunked,
    /// The end comes later, and with nothing.
    EmptyEnd,
    Http2,
    Trailers,
}

impl Shape {
    pub(crate) const ALL: [Self; 6] = [
        Self::HeadersOnly,
        Self::WithLength,
        Self::Chunked,
        Self::EmptyEnd,
        Self::Http2,
        Self::Trailers,
    ];

    /// Sends a request's parts so, and gives back what is answered.
    pub(crate) async fn send(self, request: Request, body: Bytes) -> Answer {
        match self {
            Self::HeadersOnly => request.send().await,
            Self::WithLength => request.body(body).send().await,
            Self::Chunked => in_two(request.upload(), body).await,
            Self::Http2 => in_two(request.http2().upload(), body).await,
            Self::EmptyEnd => {
                let mut upload = request.http2().upload();
                upload.write(body).await;
                tokio::task::yield_now().await;
                upload.end();
                upload.answer().await
            }
            Self::Trailers => {
                let mut upload = request.http2().upload();
                upload.write(body).await;
                let mut trailers = HeaderMap::new();
                trailers.insert("x-checksum", "1".parse().expect("a value"));
                upload.end_with(trailers).await;
                upload.answer().await
            }
        }
    }
}

async fn in_two(mut upload: Upload, body: Bytes) -> Answer {
    let half = body.len() / 2;
    upload.write(body.slice(..half)).await;
    upload.write(body.slice(half..)).await;
    upload.end();
    upload.answer().await
}
