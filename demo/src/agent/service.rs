//! An agent's endpoints: every request is counted, its wishes are read, and then it fails as asked or is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Extension, Router};
use serde::Deserialize;
use serde_json::json;

use super::bodies;
use super::chat::{Chat, PADDING};
use super::echo::{self, ClientLeft};
use super::shapes::{Event, Place, Shape};
use super::stats::{End, Ledger, Passing};
use super::websocket;
use super::wishes::{Fault, Reset, Wishes};
use crate::reply;
use crate::serving::{HangUp, Stopping};

/// A chat request is held in memory to be read, so there is a limit to it.
const MAX_CHAT: usize = 16 << 20;

/// A stream whose pace the request does not tell has a word each so often.
const PACE: Duration = Duration::from_millis(20);

/// Every answer names its agent here.
const AGENT: HeaderName = HeaderName::from_static("x-demo-agent");

/// The answer to a request with `x-demo-id` says how many came with this id.
const ATTEMPT: HeaderName = HeaderName::from_static("x-demo-attempt");

/// What all requests share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) ledger: Arc<Ledger>,
    pub(super) healthy: AtomicBool,
    stopping: Stopping,
}

/// How a request is answered.
enum Answer {
    /// As a chat in this shape; streamed because of its path, or only if its body says so.
    Chat { shape: Shape, stream: bool },
    /// With what arrived.
    Echo,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Health {
    healthy: bool,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(name: &str, stopping: Stopping) -> Self {
        Self {
            name: name.to_owned(),
            ledger: Arc::default(),
            healthy: AtomicBool::new(true),
            stopping,
        }
    }
}

/// All endpoints.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/demo/health", put(set_health))
        .route("/demo/stats", get(stats).delete(reset_stats))
        .fallback(request)
        .with_state(shared)
}

async fn health(State(shared): State<Arc<Shared>>) -> (StatusCode, &'static str) {
    match shared.healthy.load(Ordering::Relaxed) {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "asked to be unhealthy\n"),
    }
}

async fn set_health(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(Health { healthy }) => {
            shared.healthy.store(healthy, Ordering::Relaxed);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(_) => {
            reply::bad_request("the body must be {\"healthy\": true} or {\"healthy\": false}")
        }
    }
}

async fn stats(State(shared): State<Arc<Shared>>) -> Response {
    reply::json(&shared.ledger.stats())
}

async fn reset_stats(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.ledger.reset();
    StatusCode::NO_CONTENT
}

async fn request(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut passing = shared.ledger.arrived(&parts);
    let wishes = match Wishes::of(&parts) {
        Ok(wishes) => wishes,
        Err(error) => {
            return finish(
                &shared,
                &parts.method,
                reply::bad_request(&error),
                None,
                passing,
            );
        }
    };
    let attempt = wishes.id.as_deref().map(|id| shared.ledger.attempt(id));
    let fault = wishes.fault_at(attempt.unwrap_or(1));

    let mut response = if parts.uri.path() == "/api/v1/chat/ws" {
        if let Some(refusal) = fail(&shared, &fault, &mut passing).await {
            finish(&shared, &parts.method, refusal, None, passing)
        } else {
            named(
                &shared,
                websocket::upgrade(&mut parts, &wishes, passing, shared.stopping.clone()).await,
            )
        }
    } else {
        match answer(&shared, &parts, body, &wishes, &fault, &mut passing).await {
            Ok(mut response) => {
                if wishes.gzip {
                    response = compressed(response);
                }
                finish(&shared, &parts.method, response, fault.reset, passing)
            }
            Err(ClientLeft) => hang_up(),
        }
    };
    if let Some(attempt) = attempt {
        response.headers_mut().insert(ATTEMPT, attempt.into());
    }
    response
}

/// Takes the request in, then fails or answers.
async fn answer(
    shared: &Shared,
    parts: &Parts,
    body: Body,
    wishes: &Wishes,
    fault: &Fault,
    passing: &mut Passing,
) -> Result<Response, ClientLeft> {
    let answer = Answer::to(parts, wishes);
    let mut response = match answer {
        Answer::Chat { shape, stream } => {
            let question = question(body).await?;
            if let Some(failure) = fail(shared, fault, passing).await {
                return Ok(failure);
            }
            match question {
                Some(question) => chat(shared, &question, shape, stream, wishes),
                None => too_large(),
            }
        }
        Answer::Echo => {
            let echo = echo::echo(&shared.name, parts, body).await?;
            if let Some(failure) = fail(shared, fault, passing).await {
                return Ok(failure);
            }
            let pause = wishes.interval.unwrap_or_default();
            match (wishes.events, wishes.size) {
                (Some(_), Some(_)) => {
                    reply::bad_request("x-demo-size: does not go with x-demo-events")
                }
                (Some(count), None) => events(shared, count, wishes.interval.unwrap_or(PACE)),
                (None, Some(size)) => {
                    sized("application/octet-stream", size, bodies::bytes(size, pause))
                }
                (None, None) => reply::json(&echo),
            }
        }
    };
    if let Some(status) = fault.status
        && response.status() == StatusCode::OK
    {
        *response.status_mut() = status;
        if matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
        ) {
            response = status.into_response();
        }
    }
    Ok(response)
}

impl Answer {
    fn to(request: &Parts, wishes: &Wishes) -> Self {
        let path = request.uri.path();
        let stream_route = path == "/api/v1/chat/stream";
        let chat_route =
            stream_route || path == "/api/v1/chat" || path.ends_with("/chat/completions");
        // A browser's EventSource can only GET.
        let chat_method =
            request.method == Method::POST || (stream_route && request.method == Method::GET);
        match wishes.usage {
            Some(shape) => Self::Chat {
                shape,
                stream: stream_route || path.ends_with(":streamGenerateContent"),
            },
            None if chat_route && chat_method => Self::Chat {
                shape: Shape::default(),
                stream: stream_route,
            },
            None => Self::Echo,
        }
    }
}

/// The body of a chat request; `None` if it is too large.
async fn question(body: Body) -> Result<Option<Vec<u8>>, ClientLeft> {
    let mut question = Some(Vec::new());
    echo::read(body, |data| match &mut question {
        Some(held) if held.len() + data.len() <= MAX_CHAT => held.extend_from_slice(&data),
        _ => question = None,
    })
    .await?;
    Ok(question)
}

/// Waits as asked, and fails as asked.
async fn fail(shared: &Shared, fault: &Fault, passing: &mut Passing) -> Option<Response> {
    if let Some(delay) = fault.delay {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            // Who waits for an hour must not hold up the end.
            () = shared.stopping.clone().wait() => return Some(hang_up()),
        }
    }
    if fault.reset == Some(Reset::BeforeHeaders) {
        passing.end(End::Cut);
        return Some(hang_up());
    }
    let status = fault.status.filter(|status| status.as_u16() >= 400)?;
    let message = format!("{} was asked to answer {}", shared.name, status.as_u16());
    Some(reply::error(status, "api_error", &message))
}

fn chat(shared: &Shared, question: &[u8], shape: Shape, stream: bool, wishes: &Wishes) -> Response {
    let chat = match Chat::read(
        &shared.name,
        shared.ledger.answer_number(),
        question,
        wishes.events,
    ) {
        Ok(chat) => chat,
        Err(error) => return reply::bad_request(&error),
    };
    if !(stream || chat.stream) {
        return whole(&chat, shape, wishes);
    }
    if wishes.size.is_some() {
        return reply::bad_request("x-demo-size: does not go with a stream; use x-demo-events");
    }
    let interval = wishes.interval.unwrap_or(PACE);
    let chat = Arc::new(chat);
    let paced = Arc::clone(&chat);
    let due = move |index| match shape.place(&paced, index) {
        Place::Word(word) => times(interval, word),
        Place::Lead(_) | Place::Tail(_) => Duration::ZERO,
    };
    event_stream(bodies::events(due, move |index| shape.event(&chat, index)))
}

/// The answer in one piece; with `x-demo-size`, what is said is made longer until the body has that length.
fn whole(chat: &Chat, shape: Shape, wishes: &Wishes) -> Response {
    let Some(size) = wishes.size else {
        return reply::json(&shape.whole(chat, &chat.text()));
    };
    let json = shape
        .whole(chat, &format!("{}{PADDING}", chat.text()))
        .to_string();
    let (before, after) = json.split_once(PADDING).unwrap_or((&json, ""));
    let least = (before.len() + after.len()) as u64;
    let Some(padding) = size.checked_sub(least) else {
        return reply::bad_request(&format!(
            "x-demo-size: this answer has {least} bytes or more"
        ));
    };
    let pause = wishes.interval.unwrap_or_default();
    sized(
        "application/json",
        size,
        bodies::padded(before.to_owned(), padding, after.to_owned(), pause),
    )
}

/// `count` events that say nothing but who sent them, and when.
fn events(shared: &Shared, count: usize, interval: Duration) -> Response {
    let agent = shared.name.clone();
    let event =
        move |index| (index < count).then(|| Event::unnamed(json!({"agent": agent})).render(index));
    // The end is due with the last event.
    let due = move |index: usize| times(interval, index.min(count.saturating_sub(1)));
    event_stream(bodies::events(due, event))
}

fn event_stream(body: Body) -> Response {
    (
        [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-cache"),
        ],
        body,
    )
        .into_response()
}

fn sized(content_type: &'static str, size: u64, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CONTENT_LENGTH, HeaderValue::from(size)),
    ];
    (headers, body).into_response()
}

fn times(interval: Duration, count: usize) -> Duration {
    interval.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

fn too_large() -> Response {
    let message = format!("a chat request may have up to {MAX_CHAT} bytes");
    reply::error(
        StatusCode::PAYLOAD_TOO_LARGE,
        "invalid_request_error",
        &message,
    )
}

fn compressed(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts
        .headers
        .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(parts, bodies::gzip(body))
}

/// The last touch to every answer but a WebSocket's: its agent's name, its cut, and the watch over its end.
fn finish(
    shared: &Shared,
    method: &Method,
    response: Response,
    reset: Option<Reset>,
    mut passing: Passing,
) -> Response {
    let (mut parts, mut body) = response.into_parts();
    // Said here, as a body that is cut does not know its length any more.
    if let Some(length) = http_body::Body::size_hint(&body).exact()
        && length > 0
    {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let length = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if let Some(Reset::AfterBytes(bytes)) = reset {
        body = bodies::cut(body, bytes);
    }
    if *method == Method::HEAD {
        // Nobody asks for its body.
        passing.end(End::Complete);
    }
    named(
        shared,
        Response::from_parts(parts, bodies::watched(body, length, passing)),
    )
}

fn named(shared: &Shared, mut response: Response) -> Response {
    // A name that no header can hold is left out; the program's own argument is checked where it is read.
    if let Ok(name) = HeaderValue::from_str(&shared.name) {
        response.headers_mut().insert(AGENT, name);
    }
    response
}

fn hang_up() -> Response {
    (Extension(HangUp), StatusCode::SERVICE_UNAVAILABLE).into_response()
}
