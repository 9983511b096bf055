//! What Envoy's routes must leave to the filter, or do for it. Where they do something else, requests go elsewhere, or end at
//! other times, than the filter's configuration says.

use std::time::Duration;

use waykeeper::config::policy::DEFAULT_TIMEOUT;
use waykeeper::routing::{CLUSTER, KIND};

use crate::yaml::Value;

/// What requests have in place of a cluster that may go on to another agent: the cluster of the last attempt, as a cluster specifier
/// plugin reads it.
const FURTHER: &str = "x-waykeeper-further";

/// That plugin.
const PLUGIN: &str = "waykeeper.further";

/// With what the kinds of such requests end.
const FURTHER_KINDS: &str = "-further";

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
    let time = value.field("timeout");
    if leads_where_told(value) && time.and_then(Value::duration) != Some(DEFAULT_TIMEOUT) {
        let line = time.map_or(value.line, |time| time.line);
        let what = format!(
            "the timeout is not {timeout}: for that time the filter sends none, so routes of its configuration that name \
             none get this one"
        );
        doubts.push((line, what));
    }
    if is_about(value, KIND) && exact(value) == Some("http") {
        let what =
            format!("no request is of this kind: match those that have {CLUSTER} (present_match)");
        doubts.push((value.line, what));
    }
    for header in [CLUSTER, FURTHER] {
        let mut routes = value.items().iter();
        if routes.any(|route| takes_all_with(route, header)) {
            for hidden in routes.filter(|route| header_of_kind(route) == Some(header)) {
                let what =
                    format!("never reached: the route before it takes all that have {header}");
                doubts.push((hidden.line, what));
            }
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
    let action = value.field("route");
    if let Some(action) = action.filter(|action| action.field("cluster").is_some())
        && (left_over || value.text_of("name") == Some("not-decided"))
    {
        let idle_timeout = action.field("idle_timeout");
        let buffer = value.field("request_body_buffer_limit").and_then(|limit| {
            let bytes = limit.whole()?;
            Some((bytes, limit.line))
        });
        // Zero means none.
        let idle = idle_timeout.and_then(Value::duration);
        found.push(Undecided {
            buffer,
            line: idle_timeout.unwrap_or(value).line,
            idle_timeout: idle.filter(|time| !time.is_zero()),
        });
    }
    let mut decided_before = false;
    for part in value.parts() {
        collect_undecided(part, decided_before, found);
        decided_before |= matches(part, CLUSTER);
    }
}

/// Whether a route is for every request with this header, whatever its kind and cluster.
fn takes_all_with(route: &Value, header: &str) -> bool {
    let all =
        |matcher: &Value| is_about(matcher, header) && matcher.field("string_match").is_none();
    matches(route, header) && matchers(route).iter().all(all)
}

/// The header that names the clusters of requests of the kind that a route is for; `None` where it is for no kind.
fn header_of_kind(route: &Value) -> Option<&'static str> {
    let kind = matchers(route).iter().find(|it| is_about(it, KIND))?;
    let goes_on = exact(kind).is_some_and(|kind| kind.ends_with(FURTHER_KINDS));
    Some(if goes_on { FURTHER } else { CLUSTER })
}

/// Whether a route is for requests that have this header.
fn matches(route: &Value, header: &str) -> bool {
    matchers(route).iter().any(|it| is_about(it, header))
}

/// What a route demands of headers.
pub(crate) fn matchers(route: &Value) -> &[Value] {
    route
        .field("match")
        .map_or(&[], |it| it.items_of("headers"))
}

/// Whether a matcher looks at this header. Envoy makes names lower case.
pub(crate) fn is_about(matcher: &Value, header: &str) -> bool {
    let name = matcher.text_of("name");
    name.is_some_and(|name| name.eq_ignore_ascii_case(header))
}

/// What a header must be, where a matcher names it.
pub(crate) fn exact(matcher: &Value) -> Option<&str> {
    matcher.field("string_match")?.text_of("exact")
}

/// Whether what a route does with requests is to send them to the clusters that the filter has chosen.
pub(crate) fn leads_where_told(action: &Value) -> bool {
    let header = action.text_of("cluster_header");
    header.is_some_and(|header| header.eq_ignore_ascii_case(CLUSTER))
        || action.text_of("cluster_specifier_plugin") == Some(PLUGIN)
}
