//! An agent's endpoints: every request is counted, its wishes are read, and then it fails as asked or is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use serde::Deserialize;
use waykeeper_shapes::Endpoint;

use super::answers::{Answer, arrived, chat, compressed, plain, question, too_large};
use super::bodies;
use super::echo::{self, ClientLeft};
use super::stats::{End, Ledger, Passing};
use super::websocket;
use super::wishes::{Fault, Reset, Wishes};
use crate::reply;
use crate::serving::{Stopping, hang_up};

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
    let mut response = match Answer::to(parts, wishes) {
        Answer::Asked { endpoint, stream } => {
            let question = question(body).await?;
            if let Some(failure) = fail(shared, fault, passing).await {
                return Ok(failure);
            }
            match (question, &endpoint) {
                (None, _) => too_large(endpoint.dialect()),
                (Some(question), Endpoint::Chat(shape)) => {
                    chat(shared, &question, *shape, stream, wishes)
                }
                (Some(question), Endpoint::Plain(asked)) => plain(shared, asked, &question),
            }
        }
        Answer::Echo => {
            let echo = echo::echo(&shared.name, parts, body).await?;
            if let Some(failure) = fail(shared, fault, passing).await {
                return Ok(failure);
            }
            arrived(shared, &echo, wishes)
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
