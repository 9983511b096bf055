//! Short answers that both services give: JSON, and errors in the shape that the caller's client parses.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use waykeeper_shapes::Dialect;

/// JSON with status 200.
pub(crate) fn json<T: Serialize>(value: &T) -> Response {
    Json(value).into_response()
}

/// An error with a message for the caller.
pub(crate) fn error(status: StatusCode, kind: &str, message: &str) -> Response {
    error_in(Dialect::OpenAi, status, kind, message)
}

/// The same as a caller of this dialect reads it.
pub(crate) fn error_in(
    dialect: Dialect,
    status: StatusCode,
    kind: &str,
    message: &str,
) -> Response {
    (status, Json(dialect.error(kind, message))).into_response()
}

/// The caller asked for something that makes no sense; `message` says what and where.
pub(crate) fn bad_request(message: &str) -> Response {
    bad_question(Dialect::OpenAi, message)
}

/// The same as a caller of this dialect reads it.
pub(crate) fn bad_question(dialect: Dialect, message: &str) -> Response {
    error_in(
        dialect,
        StatusCode::BAD_REQUEST,
        "invalid_request_error",
        message,
    )
}
