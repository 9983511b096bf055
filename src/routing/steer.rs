//! How a route steers Envoy's router: request headers that Envoy honours, and takes away before the agent.

use std::time::Duration;

use crate::config::policy::{DEFAULT_TIMEOUT, MOST_ATTEMPTS, Protocol, Retry, Route};

/// The cluster of the chosen agent, as Envoy's routes read it (`cluster_header`). Requests without it match no route but the
/// last, which leads nowhere.
pub const CLUSTER: &str = "x-waykeeper-cluster";

/// The same of a request that may go on to other agents, in place of that header: other routes are for those.
pub const FURTHER: &str = "x-waykeeper-further";

/// With what the names of clusters begin that are several agents', and send each attempt to the next of them: so older Envoys try
/// requests.
pub const COMPOSITE: &str = "waykeeper/further/";

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
const LATE: &str = ",reset";

/// What a route's retries have beside these where several agents are tried.
const ANOTHER: &str =
    "connect-failure,refused-stream,reset-before-request,envoy-ratelimited,retriable-status-codes";

/// The headers that a route's kind, timeouts and retries become. Each costs a third of reading all headers, so what
/// Envoy's routes do by themselves is not said again.
#[must_use]
pub fn steering_headers(route: &Route) -> Vec<(&'static str, String)> {
    let mut headers = kind_and_times(route, "sse");
    if let Some(retry) = &route.retry {
        let attempts = retry.max_attempts.unwrap_or(2);
        headers.push((
            "x-envoy-max-retries",
            attempts.saturating_sub(1).to_string(),
        ));
        let statuses = match retry.retry_on.is_empty() {
            true => "",
            false => ",retriable-status-codes",
        };
        let mut conditions = NEVER_ARRIVED.to_owned() + statuses;
        push_retry(&mut conditions, route, retry);
        push_codes(&mut headers, &retry.retry_on);
        headers.push(("x-envoy-retry-on", conditions));
    }
    headers
}

/// The same of a request that may be tried at so many agents, two at least. A `repeatable` one may have reached an agent before
/// that failed.
#[must_use]
pub fn steering_further(
    route: &Route,
    agents: u32,
    repeatable: bool,
) -> Vec<(&'static str, String)> {
    let mut headers = kind_and_times(route, "sse-further");
    let retry = route.retry.as_ref();
    let attempts = retry.and_then(|retry| retry.max_attempts).unwrap_or(agents);
    let attempts = attempts.min(MOST_ATTEMPTS);
    headers.push((
        "x-envoy-max-retries",
        attempts.saturating_sub(1).to_string(),
    ));
    let mut conditions = ANOTHER.to_owned();
    let mut codes = vec![429];
    if let Some(retry) = retry {
        push_retry(&mut conditions, route, retry);
        codes.extend(retry.retry_on.iter().filter(|code| **code != 429));
    }
    if repeatable {
        conditions.push_str(",5xx");
    }
    push_codes(&mut headers, &codes);
    headers.push(("x-envoy-retry-on", conditions));
    headers
}

/// What a route says by words of what is tried again.
fn push_retry(conditions: &mut String, route: &Route, retry: &Retry) {
    // A bound on each try that ended the request with its first one would bound nothing but that.
    if route.first_byte_timeout.is_some() {
        conditions.push_str(LATE);
    }
    if retry.on_5xx {
        conditions.push_str(",5xx");
    }
}

fn push_codes(headers: &mut Vec<(&'static str, String)>, codes: &[u16]) {
    if !codes.is_empty() {
        let codes: Vec<_> = codes.iter().map(u16::to_string).collect();
        headers.push(("x-envoy-retriable-status-codes", codes.join(",")));
    }
}

/// `streams`: the kind of what may be a stream.
fn kind_and_times(route: &Route, streams: &str) -> Vec<(&'static str, String)> {
    let milliseconds = |time: Duration| time.as_millis().max(1).to_string();
    let mut headers = Vec::new();
    match route.protocol {
        Protocol::Http if !route.streams => {}
        Protocol::Http | Protocol::Sse => headers.push((KIND, streams.to_owned())),
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
    headers
}
