//! What an agent answers: a chat, whole or streamed, or what arrived of the request.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use waykeeper_shapes::{
    Chat, Dialect, Endpoint, Event, MAX_QUESTION, PACE, PADDING, Plain, Position, Shape,
    milliseconds,
};

use super::bodies;
use super::echo::{self, ClientLeft, Echo};
use super::service::Shared;
use super::wishes::Wishes;
use crate::reply;

/// The model of all agents, so that either of two that share a route knows it.
const MODEL: &str = "demo";

/// Whose presence tells Anthropic's clients.
const ANTHROPIC_VERSION: &str = "anthropic-version";

/// How a request is answered.
pub(super) enum Answer {
    /// As agents of the field do; a chat is streamed because of its path, or only if its body says so.
    Asked { endpoint: Endpoint, stream: bool },
    /// With what arrived.
    Echo,
}

impl Answer {
    pub(super) fn to(request: &Parts, wishes: &Wishes) -> Self {
        let path = request.uri.path();
        let stream_route = path == "/api/v1/chat/stream";
        let chat_route = stream_route || path == "/api/v1/chat";
        // A browser's EventSource can only GET.
        let chat_method =
            request.method == Method::POST || (stream_route && request.method == Method::GET);
        let endpoint = match wishes.usage {
            Some(shape) => Some(Endpoint::Chat(shape)),
            None if chat_route && chat_method => Some(Endpoint::Chat(Shape::default())),
            None => Endpoint::of(request.method.as_str(), path, dialect(request)),
        };
        let stream = stream_route || path.ends_with(":streamGenerateContent");
        endpoint.map_or(Self::Echo, |endpoint| Self::Asked { endpoint, stream })
    }
}

fn dialect(request: &Parts) -> Dialect {
    if request.headers.contains_key(ANTHROPIC_VERSION) {
        Dialect::Anthropic
    } else {
        Dialect::OpenAi
    }
}

/// The body of a request that is read; `None` if it is too large.
pub(super) async fn question(body: Body) -> Result<Option<Vec<u8>>, ClientLeft> {
    let mut question = Some(Vec::new());
    echo::read(body, |data| match &mut question {
        Some(held) if held.len() + data.len() <= MAX_QUESTION => held.extend_from_slice(&data),
        _ => question = None,
    })
    .await?;
    Ok(question)
}

/// What is answered in one piece, however the request would have it.
pub(super) fn plain(shared: &Shared, plain: &Plain, question: &[u8]) -> Response {
    match plain.answer(&shared.name, MODEL, question) {
        Ok(answer) => reply::json(&answer),
        Err(error) => reply::bad_question(Endpoint::Plain(plain.clone()).dialect(), &error),
    }
}

pub(super) fn chat(
    shared: &Shared,
    question: &[u8],
    shape: Shape,
    stream: bool,
    wishes: &Wishes,
) -> Response {
    let chat = match Chat::read(
        &shared.name,
        shared.ledger.answer_number(),
        question,
        wishes.events,
    ) {
        Ok(chat) => chat,
        Err(error) => return reply::bad_question(Endpoint::Chat(shape).dialect(), &error),
    };
    if !(stream || chat.stream()) {
        return whole(&chat, shape, wishes);
    }
    if wishes.size.is_some() {
        return reply::bad_request("x-demo-size: does not go with a stream; use x-demo-events");
    }
    let interval = wishes.interval.unwrap_or(PACE);
    let chat = Arc::new(chat);
    let paced = Arc::clone(&chat);
    let due = move |index| match shape.position(&paced, index) {
        Position::Word(word) => times(interval, word),
        Position::Lead(_) | Position::Tail(_) => Duration::ZERO,
    };
    event_stream(bodies::events(due, move |index| {
        Some(stamped(shape.event(&chat, index)?, index))
    }))
}

/// What arrived; or, if the request asks for that, events or bytes in its place.
pub(super) fn arrived(shared: &Shared, echo: &Echo, wishes: &Wishes) -> Response {
    let pause = wishes.interval.unwrap_or_default();
    match (wishes.events, wishes.size) {
        (Some(_), Some(_)) => reply::bad_request("x-demo-size: does not go with x-demo-events"),
        (Some(count), None) => events(shared, count, wishes.interval.unwrap_or(PACE)),
        (None, Some(size)) => sized("application/octet-stream", size, bodies::bytes(size, pause)),
        (None, None) => reply::json(echo),
    }
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
    let event = move |index| {
        (index < count).then(|| stamped(Event::unnamed(json!({"agent": agent})), index))
    };
    // The end is due with the last event.
    let due = move |index: usize| times(interval, index.min(count.saturating_sub(1)));
    event_stream(bodies::events(due, event))
}

/// The text of an event that says which it is and when it was sent.
fn stamped(event: Event, index: usize) -> String {
    let stamp = json!({"index": index, "sent_ms": milliseconds()});
    event.with("demo", stamp).render()
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

pub(super) fn too_large(dialect: Dialect) -> Response {
    let message = format!("a request may have up to {MAX_QUESTION} bytes");
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    reply::error_in(dialect, status, "invalid_request_error", &message)
}

pub(super) fn compressed(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts
        .headers
        .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(parts, bodies::gzip(body))
}
