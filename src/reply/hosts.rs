//! The codes of what the host answers itself: those that its configuration writes into these answers (`local_reply_config`).

use crate::host::OwnAnswer;

/// The code of an answer of the host's own.
#[must_use]
pub fn code_of(answer: &OwnAnswer) -> &'static str {
    match answer.status {
        504 => "agent_timeout",
        503 if answer.unreached => "agent_unreachable",
        503 => "gateway_unavailable",
        502 => "bad_answer",
        408 => "request_timeout",
        413 => "body_too_large",
        401 if answer.asks_credential => "missing_credential",
        429 => "rate_limited",
        431 => "headers_too_large",
        400..=499 => "bad_request",
        _ => "gateway_error",
    }
}
