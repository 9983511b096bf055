//! Envoy's routes for requests that the filter has decided on: after how much silence they end a stream, and whether they take the
//! proof away.

use std::time::Duration;

use waykeeper::config::policy::{Protocol, Route};
use waykeeper::routing::{CLUSTER, KIND, PROOF};

use crate::routes::{exact, is_about, leads_where_told, matchers};
use crate::yaml::Value;

/// What Envoy takes where no idle timeout is written.
const DEFAULT_IDLE: Duration = Duration::from_secs(300);

/// A route, and what kind of requests takes it.
pub(crate) struct Decided {
    pub(crate) kind: &'static str,
    pub(crate) line: usize,
    /// After so much silence it ends streams.
    pub(crate) idle_timeout: Option<Duration>,
    /// Where that is written, or the route begins.
    pub(crate) line_of_idle: usize,
    /// Whether agents are shown the proof.
    pub(crate) shows_proof: bool,
}

/// What a route has from what it stands in.
#[derive(Clone, Copy)]
struct Around<'v> {
    /// Whether the proof is taken away there.
    removed: bool,
    idle: Option<Idle<'v>>,
}

#[derive(Clone, Copy)]
enum Idle<'v> {
    Default,
    Written(&'v Value),
}

/// The kind of requests that a route of the filter's configuration takes.
pub(crate) fn kind(route: &Route) -> &'static str {
    match route.protocol {
        Protocol::Websocket => "websocket",
        Protocol::Sse => "sse",
        Protocol::Http if route.streams => "sse",
        Protocol::Http => "http",
    }
}

/// All of them in a file.
pub(crate) fn decided(documents: &[Value]) -> Vec<Decided> {
    let mut found = Vec::new();
    let nothing = Around {
        removed: false,
        idle: None,
    };
    for document in documents {
        collect(document, nothing, &mut found);
    }
    found
}

fn collect<'v>(value: &'v Value, mut around: Around<'v>, found: &mut Vec<Decided>) {
    around.removed |= removes(value);
    if let Some(written) = value.field("stream_idle_timeout") {
        around.idle = Some(Idle::Written(written));
    } else if value.field("http_filters").is_some() {
        around.idle = Some(Idle::Default);
    }
    // Patches of Istio's EnvoyFilter each hold one route, or what is around all of them.
    let patches = value.items().iter().map(patched);
    around.removed |= patches.clone().flatten().any(removes);
    let routes = value.items().iter().zip(patches);
    let routes = routes.map(|(item, patch)| patch.unwrap_or(item));
    let routes: Vec<_> = routes.filter(|route| leads(route)).collect();
    for kind in ["sse", "websocket", "http"] {
        let of_kind = |route: &&&Value| kind_of(route) == Some(kind);
        let rest = |route: &&&Value| kind_of(route).is_none();
        let taking = routes.iter().find(of_kind);
        if let Some(route) = taking.or_else(|| routes.iter().find(rest)) {
            found.push(Decided::read(route, kind, around));
        }
    }
    for part in value.parts() {
        collect(part, around, found);
    }
}

/// What a patch of an EnvoyFilter puts in.
fn patched(item: &Value) -> Option<&Value> {
    item.get("patch")?.get("value")
}

/// Whether a route sends requests to the cluster that the filter has chosen.
fn leads(route: &Value) -> bool {
    let about = |header: &str| matchers(route).iter().any(|it| is_about(it, header));
    let ours = about(CLUSTER) || about(KIND) || about(PROOF);
    ours && route.field("route").is_some_and(leads_where_told)
}

/// The kind of requests that a route is for; `None` where it is for all of them.
fn kind_of(route: &Value) -> Option<&str> {
    let matcher = matchers(route).iter().find(|it| is_about(it, KIND));
    matcher.map(|it| exact(it).unwrap_or_default())
}

/// Whether the proof is taken away here.
fn removes(value: &Value) -> bool {
    let names = value.items_of("request_headers_to_remove");
    names
        .iter()
        .filter_map(Value::text)
        .any(|name| name.eq_ignore_ascii_case(PROOF))
}

// === impl Decided ===

impl Decided {
    fn read(route: &Value, kind: &'static str, around: Around<'_>) -> Self {
        let own = route.field("route").and_then(|it| it.field("idle_timeout"));
        let idle = own.map(Idle::Written).or(around.idle);
        let (idle_timeout, line_of_idle) = match idle {
            Some(Idle::Written(written)) => (written.duration(), written.line),
            Some(Idle::Default) => (Some(DEFAULT_IDLE), route.line),
            None => (None, route.line),
        };
        Self {
            kind,
            line: route.line,
            // Zero means none.
            idle_timeout: idle_timeout.filter(|time| !time.is_zero()),
            line_of_idle,
            shows_proof: !around.removed && !removes(route),
        }
    }
}
