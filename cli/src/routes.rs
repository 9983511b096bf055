//! What Envoy's routes must leave to the filter, or do for it. Where they do something else, requests go elsewhere, or end at
//! other times, than the filter's configuration says.

use std::time::Duration;

use waykeeper::config::policy::DEFAULT_TIMEOUT;
use waykeeper::routing::{CLUSTER, KIND};

use crate::yaml::Value;

/// What is better looked at in a file's routes, with its line.
pub(crate) fn doubts(documents: &[Value]) -> Vec<(usize, String)> {
    let mut doubts = Vec::new();
    for document in documents {
        look_into(document, &mut doubts);
    }
    doubts.sort();
    doubts
}

fn look_into(value: &Value, doubts: &mut Vec<(usize, String)>) {
    // For this one the filter sends no header of its own.
    let timeout = format!("{}s", DEFAULT_TIMEOUT.as_secs());
    if text(value, "cluster_header") == Some(CLUSTER) && text(value, "timeout") != Some(&timeout) {
        let line = value.get("timeout").map_or(value.line, |time| time.line);
        let what = format!(
            "the timeout is not {timeout}: for that time the filter sends none, so routes of its configuration that name \
             none get this one"
        );
        doubts.push((line, what));
    }
    let exact = value.get("string_match").and_then(|it| text(it, "exact"));
    if text(value, "name") == Some(KIND) && exact == Some("http") {
        let what =
            format!("no request is of this kind: match those that have {CLUSTER} (present_match)");
        doubts.push((value.line, what));
    }
    let mut routes = value.items().iter();
    if routes.any(|route| matches(route, CLUSTER)) {
        for hidden in routes.filter(|route| matches(route, KIND)) {
            let what = format!("never reached: the route before it takes all that have {CLUSTER}");
            doubts.push((hidden.line, what));
        }
    }
    value.parts().for_each(|part| look_into(part, doubts));
}

/// A route for requests that the filter has not decided on yet.
pub(crate) struct Undecided {
    pub(crate) line: usize,
    /// What ends requests that wait when the filter has trapped meanwhile.
    pub(crate) idle_timeout: Option<Duration>,
    /// What Envoy holds of a body meanwhile, in bytes, and the line that says so.
    pub(crate) buffer: Option<(u64, usize)>,
}

/// The routes for requests that the filter has not decided on: those of that name, and those behind a route for decided
/// requests.
pub(crate) fn undecided(documents: &[Value]) -> Vec<Undecided> {
    let mut found = Vec::new();
    for document in documents {
        collect_undecided(document, false, &mut found);
    }
    found
}

fn collect_undecided(value: &Value, left_over: bool, found: &mut Vec<Undecided>) {
    let action = value.get("route");
    if let Some(action) = action.filter(|action| action.get("cluster").is_some())
        && (left_over || text(value, "name") == Some("not-decided"))
    {
        let idle_timeout = action.get("idle_timeout");
        let buffer = value.get("request_body_buffer_limit").and_then(|limit| {
            let bytes = limit.node().whole()?;
            Some((bytes, limit.line))
        });
        found.push(Undecided {
            buffer,
            line: idle_timeout.unwrap_or(value).line,
            idle_timeout: idle_timeout.and_then(Value::text).and_then(duration),
        });
    }
    let mut decided_before = false;
    for part in value.parts() {
        collect_undecided(part, decided_before, found);
        decided_before |= matches(part, CLUSTER);
    }
}

/// A duration as Envoy's files write it: `3s`, `0.5s`. Zero means none.
fn duration(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| !time.is_zero())
}

/// Whether a route is for requests that have this header.
fn matches(route: &Value, header: &str) -> bool {
    let headers = route.get("match").and_then(|it| it.get("headers"));
    let mut headers = headers.into_iter().flat_map(Value::items);
    headers.any(|matcher| text(matcher, "name") == Some(header))
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name)?.text()
}
