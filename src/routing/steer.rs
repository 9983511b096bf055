//! How a route steers Envoy's router: request headers that Envoy honours, and takes away before the agent.

use std::time::Duration;

use crate::config::policy::{DEFAULT_TIMEOUT, Protocol, Route};

/// The cluster of the chosen agent, as Envoy's routes read it (`cluster_header`). Requests without it match no route but the
/// last, which leads nowhere.
pub const CLUSTER: &str = "x-waykeeper-cluster";

/// The kind of a stream, as Envoy's routes match it. Requests without it take the route for request and answer.
pub const KIND: &str = "x-waykeeper-kind";

/// The cluster of the agent that hears the request as well: the routes are told by it that mirror. The virtual host takes it away.
pub const MIRROR: &str = "x-waykeeper-mirror";

/// The secret that tells Envoy's routes that these headers are the filter's, where there is one. They take it away.
pub const PROOF: &str = "x-waykeeper-proof";

/// What never reached an agent may always be tried again.
const NEVER_ARRIVED: &str = "connect-failure,refused-stream,reset-before-request";

/// What Envoy calls a try that it gave up because its first byte was late. An agent that broke off before its first
/// byte is called the same.
const LATE: &str = "reset";

/// The headers that a route's kind, timeouts and retries become. Each costs a third of reading all headers, so what
/// Envoy's routes do by themselves is not said again.
#[must_use]
pub fn steering_headers(route: &Route) -> Vec<(&'static str, String)> {
    let milliseconds = |time: Duration| time.as_millis().max(1).to_string();
    let mut headers = Vec::new();
    match route.protocol {
        Protocol::Http if !route.streams => {}
        Protocol::Http | Protocol::Sse => headers.push((KIND, "sse".to_owned())),
        Protocol::Websocket => headers.push((KIND, "websocket".to_owned())),
    }
    // Envoy's bound on the whole answer would cut off a stream as well. Where an answer may be one, the filter keeps that bound, and
    // Envoy the one on each try, which ends with the answer's headers.
    let (whole, per_try) = match route.streams {
        true => (None, route.first_byte_timeout.or(route.timeout)),
        false => (route.timeout, route.first_byte_timeout),
    };
    if whole != Some(DEFAULT_TIMEOUT) {
        let time = whole.map_or_else(|| "0".to_owned(), milliseconds);
        headers.push(("x-envoy-upstream-rq-timeout-ms", time));
    }
    if let Some(time) = per_try {
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
