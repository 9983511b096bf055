//! Short answers that both services give: JSON, and errors in the shape that OpenAI's clients parse.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

/// JSON with status 200.
pub(crate) fn json<T: Serialize>(value: &T) -> Response {
    Json(value).into_response()
}

/// An error with a message for the caller.
pub(crate) fn error(status: StatusCode, kind: &str, message: &str) -> Response {
    (
        status,
        Json(json!({"error": {"message": message, "type": kind, "param": null, "code": null}})),
    )
        .into_response()
}

/// The caller asked for something that makes no sense; `message` says what and where.
pub(crate) fn bad_request(message: &str) -> Response {
    error(StatusCode::BAD_REQUEST, "invalid_request_error", message)
}
