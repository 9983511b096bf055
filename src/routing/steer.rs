//! How a route steers Envoy's router: request headers that Envoy honours, and takes away before the agent.

use std::time::Duration;

use crate::config::policy::{Protocol, Route};

/// What never reached an agent may always be tried again.
const NEVER_ARRIVED: &str = "connect-failure,refused-stream,reset-before-request";

/// What Envoy calls a try that it gave up because its first byte was late. An agent that broke off before its first
/// byte is called the same.
const LATE: &str = "reset";

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
        let mut conditions = vec![NEVER_ARRIVED];
        // A bound on each try that ended the request with its first one would bound nothing but that.
        if route.first_byte_timeout.is_some() {
            conditions.push(LATE);
        }
        if !retry.retry_on.is_empty() {
            conditions.push("retriable-status-codes");
            let codes: Vec<_> = retry.retry_on.iter().map(u16::to_string).collect();
            headers.push(("x-envoy-retriable-status-codes", codes.join(",")));
        }
        headers.push(("x-envoy-retry-on", conditions.join(",")));
    }
    headers
}
