//! Bodies of answers: events and bytes that are made while they are sent, so that no answer takes memory by its size;
//! and what may be done to any of them on the way out: compressed, cut off, and watched to its end.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Error;
use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::stats::{End, Passing};

/// After so many bytes a large answer repeats itself. A prime, so that no loss of a round number of bytes goes unseen.
const PERIOD: usize = 251;

/// How much of a large answer is sent at once.
const PIECE: usize = PERIOD * 256;

/// The last bytes before a cut leave as soon as the connection takes them; this is ample for it.
const BEFORE_CUT: Duration = Duration::from_millis(20);

/// The byte at `position` of an answer ordered by `x-demo-size`.
pub fn byte_at(position: u64) -> u8 {
    // The remainder is at most 250.
    (position % PERIOD as u64) as u8
}

/// A stream of events. `due` says when the event with an index is due, counted from now, and `event` makes its text
/// when it is sent; `None` ends the stream.
pub(super) fn events(
    due: impl Fn(usize) -> Duration + Send + 'static,
    event: impl Fn(usize) -> Option<String> + Send + 'static,
) -> Body {
    let start = Instant::now();
    let events = stream::unfold((0, due, event), move |(index, due, event)| async move {
        let wait = due(index).saturating_sub(start.elapsed());
        if !wait.is_zero() {
            sleep(wait).await;
        }
        let text = event(index)?;
        Some((Ok::<_, Error>(text), (index + 1, due, event)))
    });
    Body::from_stream(events)
}

/// `size` bytes as [`byte_at`] tells them, with a pause between pieces.
pub(super) fn bytes(size: u64, interval: Duration) -> Body {
    let piece: Bytes = (0..PIECE as u64).map(byte_at).collect::<Vec<_>>().into();
    pieces(Bytes::new(), piece, size, Bytes::new(), interval)
}

/// `before`, `size` letters and `after`.
pub(super) fn padded(before: String, size: u64, after: String, interval: Duration) -> Body {
    pieces(
        before.into(),
        vec![b'x'; PIECE].into(),
        size,
        after.into(),
        interval,
    )
}

/// The body as gzip. Each piece can be read as soon as it has arrived.
pub(super) fn gzip(body: Body) -> Body {
    Body::new(Gzip {
        body,
        encoder: Some(GzEncoder::new(Vec::new(), Compression::default())),
    })
}

/// The body up to so many bytes; then it breaks, and the connection or the stream with it.
pub(super) fn cut(body: Body, after: u64) -> Body {
    Body::new(Cut {
        body,
        left: after,
        pause: None,
    })
}

/// The body, whose end is told to `passing`. `length` is how many bytes it has, if that is known: the connection does
/// not ask for more than those.
pub(super) fn watched(body: Body, length: Option<u64>, mut passing: Passing) -> Body {
    if body.is_end_stream() || length == Some(0) {
        passing.end(End::Complete);
    }
    Body::new(Watched {
        body,
        left: length,
        passing,
    })
}

struct Gzip {
    body: Body,
    /// None after the end.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

struct Cut {
    body: Body,
    left: u64,
    /// Runs once all bytes were handed over.
    pause: Option<Pin<Box<Sleep>>>,
}

struct Watched {
    body: Body,
    left: Option<u64>,
    passing: Passing,
}

// === impl Gzip ===

impl HttpBody for Gzip {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(mut encoder) = self.encoder.take() else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            self.encoder = Some(encoder);
            return Poll::Pending;
        };
        let compressed = match frame {
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            // The bodies here have no trailers, so a frame without data is as good as the end.
            Some(Ok(frame)) => frame.into_data().map_or_else(
                |_| Ok(Vec::new()),
                |data| {
                    encoder.write_all(&data).and_then(|()| encoder.flush())?;
                    let compressed = std::mem::take(encoder.get_mut());
                    self.encoder = Some(encoder);
                    Ok(compressed)
                },
            ),
            None => encoder.finish(),
        };
        Poll::Ready(Some(
            compressed
                .map(|bytes| Frame::data(bytes.into()))
                .map_err(Error::new),
        ))
    }
}

// === impl Cut ===

impl HttpBody for Cut {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.left == 0 {
            let pause = self
                .pause
                .get_or_insert_with(|| Box::pin(sleep(BEFORE_CUT)));
            ready!(pause.as_mut().poll(context));
            return Poll::Ready(Some(Err(Error::new("cut off on purpose"))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            Ok(frame?.map_data(|mut data| {
                data.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= data.len() as u64;
                data
            }))
        }))
    }
}

// === impl Watched ===

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.left = self.left.map(|left| left.saturating_sub(bytes));
                if self.left == Some(0) || self.body.is_end_stream() {
                    self.passing.end(End::Complete);
                }
            }
            // The only error a body here has is its cut.
            Some(Err(_)) => self.passing.end(End::Cut),
            None => self.passing.end(End::Complete),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// `before`, `size` bytes taken from `piece` again and again, and `after`.
fn pieces(before: Bytes, piece: Bytes, size: u64, after: Bytes, interval: Duration) -> Body {
    let first = (!before.is_empty()).then_some(before);
    let last = (!after.is_empty()).then_some(after);
    let pieces = stream::unfold((first, size, last), move |(first, left, last)| {
        let piece = piece.clone();
        async move {
            if let Some(first) = first {
                return Some((Ok::<_, Error>(first), (None, left, last)));
            }
            if left == 0 {
                return last.map(|last| (Ok(last), (None, 0, None)));
            }
            if left < size && !interval.is_zero() {
                sleep(interval).await;
            }
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            Some((
                Ok(piece.slice(..length)),
                (None, left - length as u64, last),
            ))
        }
    });
    Body::from_stream(pieces)
}
