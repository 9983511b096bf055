//! The auth service's endpoints and what they share.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Router};
use serde::Deserialize;
use serde_json::json;

use super::faults::{Fault, FaultKind, Faults};
use super::keys::{Answer, Client, Keys};
use super::stats::{Call, Outcome, Stats};
use crate::headers::Headers;
use crate::reply;
use crate::serving::{Stopping, hang_up};
use crate::text;

/// Far beyond any question about a key, and little enough to hold.
const MAX_BODY: usize = 64 * 1024;

/// What all calls share.
#[derive(Debug)]
pub(super) struct Shared(Mutex<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) keys: Keys,
    pub(super) faults: Faults,
    pub(super) stats: Stats,
    revoked: HashSet<String>,
}

/// Counts a call as under way until it is dropped.
struct UnderWay(Arc<Shared>);

/// A body that names a key.
#[derive(Deserialize)]
struct Question {
    api_key: String,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(keys: Keys) -> Self {
        let (faults, stats, revoked) = Default::default();
        Self(Mutex::new(Inner {
            keys,
            faults,
            stats,
            revoked,
        }))
    }

    /// No code that holds the lock leaves the state half changed, so a panic elsewhere does not spoil it.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        self.lock().faults.set(fault, Instant::now());
    }
}

// === impl Inner ===

impl Inner {
    pub(super) fn revoke(&mut self, key: &str) -> bool {
        let known = self.keys.get(key).is_some();
        if known {
            self.revoked.insert(key.to_owned());
        }
        known
    }

    pub(super) fn restore(&mut self, key: &str) -> bool {
        self.revoked.remove(key);
        self.keys.get(key).is_some()
    }

    fn answer(&self, key: &str) -> Option<Answer> {
        if self.revoked.contains(key) {
            None
        } else {
            self.keys.get(key).cloned()
        }
    }
}

// === impl UnderWay ===

impl UnderWay {
    fn start(shared: &Arc<Shared>) -> Self {
        shared.lock().stats.in_flight += 1;
        Self(Arc::clone(shared))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().stats.in_flight -= 1;
    }
}

/// All endpoints.
pub(super) fn router(shared: Arc<Shared>, stopping: Stopping) -> Router {
    Router::new()
        .route("/validate", post(validate))
        .route("/demo/revoke", post(revoke))
        .route("/demo/restore", post(restore))
        .route("/demo/faults", put(set_fault).delete(clear_fault))
        .route("/demo/stats", get(stats).delete(reset_stats))
        .route("/healthz", get("ok\n"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(Extension(stopping))
        .with_state(shared)
}

async fn validate(
    State(shared): State<Arc<Shared>>,
    Extension(stopping): Extension<Stopping>,
    parts: Parts,
    body: Bytes,
) -> Response {
    let key = question(&body);
    let (fault, answer) = {
        let mut inner = shared.lock();
        inner.stats.arrived(call(&parts, key.as_deref().ok()));
        (
            inner.faults.take(Instant::now()),
            key.as_deref().map(|key| inner.answer(key)),
        )
    };
    let _under_way = UnderWay::start(&shared);
    let right = || match answer {
        Ok(answer) => answer_to(answer),
        Err(error) => (Outcome::BadRequest, reply::bad_request(error)),
    };
    let (outcome, response) = match fault {
        None => right(),
        Some(FaultKind::Slow { delay }) => {
            tokio::time::sleep(delay).await;
            (Outcome::Fault, right().1)
        }
        Some(FaultKind::Hang) => {
            stopping.wait().await;
            (Outcome::Fault, hang_up())
        }
        Some(FaultKind::HangUp) => (Outcome::Fault, hang_up()),
        Some(FaultKind::Status { status, body }) => (Outcome::Fault, word_for_word(status, body)),
        Some(FaultKind::Nonsense { body }) => (Outcome::Fault, word_for_word(200, body)),
        Some(FaultKind::TooBig { bytes }) => {
            // Only its length is wrong: the rest would let the caller in.
            let body = json!({"client_id": "too-big", "padding": "x".repeat(bytes)});
            (Outcome::Fault, reply::json(&body))
        }
        Some(FaultKind::BadName { field, name }) => {
            let mut client = Client::named("bad-name");
            field.set(&mut client, name);
            (Outcome::Fault, reply::json(&client))
        }
    };
    shared.lock().stats.went(outcome);
    response
}

async fn revoke(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match question(&body) {
        Ok(key) => done("revoked", shared.lock().revoke(&key)),
        Err(error) => reply::bad_request(error),
    }
}

async fn restore(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match question(&body) {
        Ok(key) => done("restored", shared.lock().restore(&key)),
        Err(error) => reply::bad_request(error),
    }
}

async fn set_fault(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match Fault::read(&body) {
        Ok(Some(fault)) => shared.set_fault(fault),
        Ok(None) => shared.lock().faults.clear(),
        Err(error) => return reply::bad_request(&error),
    }
    StatusCode::NO_CONTENT.into_response()
}

async fn clear_fault(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.lock().faults.clear();
    StatusCode::NO_CONTENT
}

async fn stats(State(shared): State<Arc<Shared>>) -> Response {
    let stats = shared.lock().stats.clone();
    reply::json(&stats)
}

async fn reset_stats(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.lock().stats.reset();
    StatusCode::NO_CONTENT
}

fn question(body: &[u8]) -> Result<String, &'static str> {
    let question: Result<Question, _> = serde_json::from_slice(body);
    question
        .map(|question| question.api_key)
        .map_err(|_| "the body must be {\"api_key\": \"…\"}")
}

fn call(parts: &Parts, key: Option<&str>) -> Call {
    let mut headers = Headers::of(parts);
    if let Some(key) = key {
        headers.hide(key, "[key]");
    }
    Call {
        method: parts.method.to_string(),
        path: parts
            .uri
            .path_and_query()
            .map_or_else(String::new, ToString::to_string),
        headers,
        key_sha256: key.map(|key| text::sha256(key.as_bytes())),
    }
}

fn answer_to(answer: Option<Answer>) -> (Outcome, Response) {
    match answer {
        Some(Answer::Client(client)) => (Outcome::Valid, reply::json(&client)),
        Some(Answer::Raw { status, body }) => (Outcome::Fault, word_for_word(status, body)),
        None => {
            let error = reply::error(
                StatusCode::UNAUTHORIZED,
                "authentication_error",
                "no such key, or revoked",
            );
            (Outcome::Invalid, error)
        }
    }
}

fn word_for_word(status: u16, body: String) -> Response {
    // Statuses were checked where they were read; one given by a program that cannot be sent becomes 500.
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        Body::from(body),
    )
        .into_response()
}

fn done(what: &str, known: bool) -> Response {
    if known {
        reply::json(&json!({ what: true }))
    } else {
        reply::error(StatusCode::NOT_FOUND, "not_found_error", "no such key")
    }
}
