//! The agent that stands in a `gateway.yaml` as `builtin: echo`: something to try a gateway with before there is an agent of
//! one's own. It is asked and answers as OpenAI's and Anthropic's services do, and says what it was asked. It listens on a
//! Unix socket, for this user's Envoy alone.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use waykeeper_shapes::{Chat, Dialect, Endpoint, MAX_QUESTION, PACE, Position, Shape};

/// What it is called where the gateway does not say which of its agents was asked, and its model.
const NAME: &str = "echo";
/// Envoy passes on up to 100 headers and adds its own.
const MAX_HEADERS: usize = 256;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A running agent. It and its socket are gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Echo {
    socket: PathBuf,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Serves it on a path where nothing is yet, from a thread of its own.
///
/// # Errors
/// If it cannot listen there.
pub(crate) fn serve(socket: &Path) -> io::Result<Echo> {
    let listener = std::os::unix::net::UnixListener::bind(socket)?;
    // From here on the socket is taken away again, whatever fails.
    let mut echo = Echo {
        socket: socket.to_owned(),
        end: None,
        thread: None,
    };
    fs::set_permissions(socket, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = {
        let _guard = runtime.enter();
        UnixListener::from_std(listener)?
    };
    let (end, ended) = oneshot::channel();
    let serve = move || {
        runtime.block_on(async {
            tokio::select! {
                () = accept(listener) => {}
                _ = ended => {}
            }
        });
    };
    echo.end = Some(end);
    echo.thread = Some(thread::Builder::new().name(NAME.to_owned()).spawn(serve)?);
    Ok(echo)
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // Fails only if it panicked; it is gone either way.
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.socket);
    }
}

async fn accept(listener: UnixListener) {
    let numbers = Arc::new(AtomicU64::new(0));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Keeps the set as small as the number of open connections.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let numbers = Arc::clone(&numbers);
                    let service = service_fn(move |request| {
                        let number = numbers.fetch_add(1, Ordering::Relaxed);
                        async move { Ok::<_, Infallible>(answer(request, number).await) }
                    });
                    let mut server = http1::Builder::new();
                    server.max_headers(MAX_HEADERS);
                    connections.spawn(server.serve_connection(TokioIo::new(stream), service));
                }
                // Out of file descriptors, or Envoy gave up before it was accepted: both pass.
                Err(_) => sleep(Duration::from_millis(20)).await,
            },
        }
    }
}

async fn answer(request: Request<Incoming>, number: u64) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let dialect = if parts.headers.contains_key("anthropic-version") {
        Dialect::Anthropic
    } else {
        Dialect::OpenAi
    };
    let path = parts.uri.path();
    let Some(endpoint) = Endpoint::of(parts.method.as_str(), path, dialect) else {
        return unknown(dialect, parts.method.as_str(), path);
    };
    let dialect = endpoint.dialect();
    let named = parts.headers.get("x-waykeeper-agent");
    let agent = named.and_then(|name| name.to_str().ok()).unwrap_or(NAME);
    let question = match Limited::new(body, MAX_QUESTION).collect().await {
        Ok(question) => question.to_bytes(),
        Err(_) => {
            let message = format!("a request may have up to {MAX_QUESTION} bytes");
            return refusal(dialect, StatusCode::PAYLOAD_TOO_LARGE, &message);
        }
    };
    let answered = match &endpoint {
        Endpoint::Plain(asked) => asked.answer(agent, NAME, &question).map(|it| json(&it)),
        Endpoint::Chat(shape) => Chat::read(agent, number, &question, None).map(|chat| {
            if chat.stream() {
                events(chat, *shape)
            } else {
                json(&shape.whole(&chat, &chat.text()))
            }
        }),
    };
    answered.unwrap_or_else(|error| refusal(dialect, StatusCode::BAD_REQUEST, &error))
}

/// Word by word.
fn events(chat: Chat, shape: Shape) -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
    tokio::spawn(async move {
        let start = Instant::now();
        for index in 0.. {
            let Some(event) = shape.event(&chat, index) else {
                return;
            };
            if let Position::Word(word) = shape.position(&chat, index) {
                let word = u32::try_from(word).unwrap_or(u32::MAX);
                sleep_until(start + PACE.saturating_mul(word)).await;
            }
            if sender.send_data(event.render().into()).await.is_err() {
                // Nobody reads any more.
                return;
            }
        }
    });
    let mut response = Response::new(body.boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn unknown(dialect: Dialect, method: &str, path: &str) -> Response<Body> {
    let message = format!(
        "the builtin agent has no {method} {path}; it answers POST /v1/chat/completions, /v1/responses, /v1/embeddings, \
         /v1/messages and /v1/messages/count_tokens, and GET /v1/models"
    );
    refusal(dialect, StatusCode::NOT_FOUND, &message)
}

fn refusal(dialect: Dialect, status: StatusCode, message: &str) -> Response<Body> {
    let kind = match (dialect, status) {
        (Dialect::Anthropic, StatusCode::NOT_FOUND) => "not_found_error",
        (Dialect::Anthropic, StatusCode::PAYLOAD_TOO_LARGE) => "request_too_large",
        _ => "invalid_request_error",
    };
    let mut response = json(&dialect.error(kind, message));
    *response.status_mut() = status;
    response
}

fn json(value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string()));
    let mut response = Response::new(body.boxed_unsync());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests;
