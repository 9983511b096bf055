//! How a route steers Envoy's router: request headers that Envoy honours, and takes away before the agent.

use std::time::Duration;

use crate::config::policy::{Protocol, Route};

/// What never reached an agent may always be tried again.
const NEVER_ARRIVED: &str = "connect-failure,refused-stream,reset-before-request";

/// The kind of stream, as Envoy's routes match it.
#[must_use]
pub fn kind(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Sse => "sse",
        Protocol::Websocket => "websocket",
    }
}

/// The headers that a route's timeouts and retries become.
#[must_use]
pub fn steer(route: &Route) -> Vec<(&'static str, String)> {
    let milliseconds = |time: Duration| time.as_millis().max(1).to_string();
    let mut headers = vec![(
        "x-envoy-upstream-rq-timeout-ms",
        route.timeout.map_or_else(|| "0".to_owned(), milliseconds),
    )];
    if let Some(time) = route.first_byte_timeout {
        headers.push(("x-envoy-upstream-rq-per-try-timeout-ms", milliseconds(time)));
    }
    if let Some(retry) = &route.retry {
        headers.push((
            "x-envoy-max-retries",
            retry.max_attempts.saturating_sub(1).to_string(),
        ));
        if retry.retry_on.is_empty() {
            headers.push(("x-envoy-retry-on", NEVER_ARRIVED.to_owned()));
        } else {
            let codes: Vec<_> = retry.retry_on.iter().map(u16::to_string).collect();
            headers.push((
                "x-envoy-retry-on",
                format!("{NEVER_ARRIVED},retriable-status-codes"),
            ));
            headers.push(("x-envoy-retriable-status-codes", codes.join(",")));
        }
    }
    headers
}
