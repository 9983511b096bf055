//! Where requests go: the routes that lead to agents.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::agents::weight;
use super::clients::roles;
use super::limits::rate_limit;
use super::overlap::Earlier;
use super::policy::{
    Agent, AgentId, Choice, DEFAULT_TIMEOUT, EncodedSlashes, Protocol, Route, Sticky,
};
use super::reader::{Fields, Spot};
use super::retry::retry;
use super::{
    a2a, canary, edits, fallback, load, mcp, mirror, names, paths, pointers, rules, sticky,
};

const MOST_ROUTES: usize = 4096;
const MOST_AGENTS_OF_ROUTE: usize = 64;
const LARGEST_BODY: u64 = 1 << 40;
/// Envoy buffers a mebibyte by itself.
const SCANS: RangeInclusive<u64> = 1 << 10..=1 << 20;

const DEFAULT_BODY_TIMEOUT: Duration = Duration::from_secs(60);

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// What routes can tell apart. `CONNECT` has no path, and Envoy turns that of HTTP/2's WebSockets into `GET`.
pub(super) const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
];

pub(super) const CHOICE_FIELDS: &[&str] = &["agent", "weight"];
pub(super) const ROUTE_FIELDS: &[&str] = &[
    "name",
    "prefix",
    "methods",
    "agents",
    "rules",
    "sticky",
    "prefer",
    "mcp",
    "a2a",
    "mirror",
    "canary",
    "max_scan",
    "roles",
    "auth_required",
    "protocol",
    "streams",
    "timeout",
    "first_byte_timeout",
    "idle_timeout",
    "retry",
    "fallback",
    "prefix_rewrite",
    "request",
    "response",
    "max_body",
    "collect_body",
    "body_timeout",
    "encoded_slashes",
    "rate_limit",
];

/// The routes in the order of the document; `keys_known` says whether any key could be valid.
pub(super) fn routes(
    spot: Option<&Spot<'_>>,
    around: &rules::Around<'_>,
    keys_known: bool,
) -> Vec<Route> {
    let (mut earlier, mut told_of_keys) = (Earlier::default(), false);
    let mut routes: Vec<Route> = Vec::new();
    let Some(spot) = spot else { return routes };
    for item in spot.nonempty_list(MOST_ROUTES).into_iter().flatten() {
        let Some(fields) = item.fields(ROUTE_FIELDS) else {
            continue;
        };
        let Some(route) = route(&fields, around) else {
            continue;
        };
        if route.auth_required && !keys_known && !std::mem::replace(&mut told_of_keys, true) {
            item.fault(
                "needs a key, but no key can be valid: there are neither clients.keys nor a clients.validator \
                 (auth_required: false lets callers pass without one)",
            );
        }
        earlier.check(&item, &fields, &route);
        routes.push(route);
    }
    routes
}

fn route(fields: &Fields<'_>, around: &rules::Around<'_>) -> Option<Route> {
    let prefix = fields
        .need("prefix")
        .and_then(|prefix| prefix.checked(paths::prefix));
    let name = match fields.get("name") {
        Some(name) => name.checked(names::route),
        None => {
            if let (Some(prefix), Some(spot)) = (prefix, fields.get("prefix"))
                && names::route(prefix).is_err()
            {
                spot.fault("cannot serve as the route's name (too long, or one of ; = \" , in it); write a name");
            }
            prefix
        }
    };
    let protocol = fields.get("protocol").and_then(|protocol| {
        protocol.choice(&[
            ("http", Protocol::Http),
            ("sse", Protocol::Sse),
            ("websocket", Protocol::Websocket),
        ])
    });
    let protocol = protocol.unwrap_or(Protocol::Http);
    let methods = fields
        .get("methods")
        .and_then(|spot| methods(&spot, protocol));
    let prefer = load::prefer(fields).unwrap_or_default();
    let rules = fields.get("rules").map(|spot| {
        let with_body = protocol != Protocol::Websocket;
        let with_mcp = fields.get("mcp").is_some();
        rules::rules(&spot, around, prefer, with_body, with_mcp)
    });
    // Where there are rules, whatever none of them takes may be refused.
    let mut choices = match fields.get("agents") {
        None if rules.is_some() || mcp::has_servers(fields) => Some(Vec::new()),
        None => fields.need("agents").map(|_| Vec::new()),
        Some(spot) => Some(choices(&spot, around.agents, around.agents_by_name)),
    };
    let sticky = fields
        .get("sticky")
        .and_then(|spot| sticky::of_route(&spot, around.key_sources, protocol));
    if let Some(choices) = &choices {
        load::check(fields, prefer, choices, around.agents);
    }
    let mirror = fields
        .get("mirror")
        .and_then(|spot| mirror::mirror(&spot, around, protocol));
    let canary = fields.get("canary").and_then(|spot| {
        let of_rules = rules.as_deref().unwrap_or_default();
        canary::canary(&spot, around, of_rules, choices.as_mut())
    });
    let max_scan = fields.get("max_scan").and_then(|spot| spot.size(SCANS));
    let auth_required = fields
        .get("auth_required")
        .and_then(|flag| flag.flag())
        .unwrap_or(true);
    let roles = fields.get("roles").map(|spot| {
        if !auth_required {
            spot.fault("nobody without a key has a role: auth_required is false");
        }
        roles(&spot)
    });
    let streams = fields.get("streams").and_then(|spot| {
        let streams = spot.flag()?;
        if streams && protocol != Protocol::Http {
            spot.fault("is for routes of http: on this one all answers are streams");
        }
        Some(streams)
    });
    let mcp = fields
        .get("mcp")
        .and_then(|spot| mcp::mcp(&spot, around, protocol, auth_required));
    if mcp::has_servers(fields) {
        mcp::check_beside_servers(fields);
    }
    let servers = mcp.iter().flat_map(|mcp| &mcp.servers);
    let of_servers = servers.map(|server| Choice {
        agent: server.agent,
        weight: 1,
    });
    choices
        .iter_mut()
        .for_each(|it| it.extend(of_servers.clone()));
    let a2a = fields.get("a2a").and_then(|spot| {
        if fields.get("mcp").is_some() {
            spot.fault("stands beside mcp, and the messages of a route are of one protocol");
        }
        a2a::a2a(&spot, around, protocol, auth_required)
    });
    let speaks = mcp.is_some() || a2a.is_some();
    let streams = streams.unwrap_or(speaks && protocol == Protocol::Http);
    let times = times(fields, protocol, streams);
    let prefix_rewrite = fields
        .get("prefix_rewrite")
        .and_then(|prefix| prefix.checked(paths::beginning));
    let slashes = fields.get("encoded_slashes").and_then(|spot| {
        spot.choice(&[
            ("refuse", EncodedSlashes::Refuse),
            ("keep", EncodedSlashes::Keep),
            ("keep_anywhere", EncodedSlashes::KeepAnywhere),
        ])
    });
    let retry = fields
        .get("retry")
        .and_then(|spot| retry(&spot, times.first_byte.is_some()));
    let fallback = fields.get("fallback").map(|spot| {
        let attempts = retry.as_ref().and_then(|retry| retry.max_attempts);
        fallback::check(&spot, fields, protocol, attempts);
        fallback::fallback(&spot, around, choices.as_deref().unwrap_or_default())
    });
    let max_body = fields.get("max_body").and_then(|size| {
        if protocol == Protocol::Websocket {
            size.fault("has no meaning for a WebSocket, whose messages never end");
        }
        size.size(1..=LARGEST_BODY)
    });
    let collect_body = fields.get("collect_body").and_then(|spot| {
        let collects = spot.flag()?;
        if collects && protocol == Protocol::Websocket {
            spot.fault("has no meaning for a WebSocket, whose messages never end");
        } else if collects && fields.get("max_body").is_none() {
            spot.fault("needs max_body: all of the body is held");
        }
        Some(collects)
    });
    let edits = edits::edits(fields, protocol, max_body);
    let edits_body = (edits.as_ref()).is_some_and(|edits| !edits.body.is_empty());
    let serves_models = choices.iter().flatten().any(|choice| {
        let agent = around.agents.get(choice.agent.0);
        agent.is_some_and(|agent| !agent.models.is_empty())
    });
    // A task is known to the agent that has it, and to no other.
    let has_several =
        choices.as_ref().is_some_and(|it| it.len() > 1) || canary.is_some() || fallback.is_some();
    let sticky = match fields.get("sticky") {
        None if a2a.is_some() && (has_several || rules.is_some()) => Some(Sticky::Task),
        _ => sticky,
    };
    let asks_body = |sticky: &Option<Sticky>| sticky.as_ref().is_some_and(Sticky::asks_body);
    let keeps_by_body = asks_body(&sticky)
        || choices.iter().flatten().any(|choice| {
            let agent = around.agents.get(choice.agent.0);
            agent.is_some_and(|agent| asks_body(&agent.sticky))
        });
    let body_timeout = fields.get("body_timeout").and_then(|spot| {
        let reads_body = rules.is_some() || speaks || serves_models || keeps_by_body || edits_body;
        if collect_body != Some(true) && !reads_body {
            spot.fault(
                "has no meaning where no body is waited for: by collect_body: true, rules, mcp, a2a, an agent's models, request.body, \
                 or what is sticky by the body",
            );
        }
        whole_seconds(&spot, SECOND..=DAY)
    });
    let limit = fields.get("rate_limit").and_then(|spot| rate_limit(&spot));
    let route = Route {
        name: name?.to_owned(),
        prefix: prefix?.to_owned(),
        methods,
        rules: rules.unwrap_or_default(),
        agents: choices?,
        sticky,
        prefer,
        mcp,
        a2a,
        mirror,
        canary,
        max_scan: max_scan.unwrap_or(Route::MAX_SCAN),
        roles: roles.unwrap_or_default(),
        auth_required,
        protocol,
        timeout: times.timeout,
        streams,
        first_byte_timeout: times.first_byte,
        idle_timeout: times.idle,
        retry,
        fallback,
        prefix_rewrite: prefix_rewrite.map(str::to_owned),
        edits,
        max_body,
        collect_body: collect_body.unwrap_or(false) || edits_body,
        body_timeout: body_timeout.unwrap_or(DEFAULT_BODY_TIMEOUT),
        encoded_slashes: slashes.unwrap_or(EncodedSlashes::Refuse),
        limits: limit.into_iter().collect(),
    };
    pointers::check(fields, &route, around);
    if let (Some(mirror), Some(spot)) = (&route.mirror, fields.get("mirror")) {
        mirror::check(&spot, mirror, &route, around);
    }
    Some(route)
}

/// A time that is kept by ticks.
pub(super) fn whole_seconds(spot: &Spot<'_>, bounds: RangeInclusive<Duration>) -> Option<Duration> {
    spot.duration(bounds).inspect(|time| {
        if time.subsec_nanos() != 0 {
            spot.fault("is kept to the second; write whole seconds");
        }
    })
}

struct Times {
    timeout: Option<Duration>,
    first_byte: Option<Duration>,
    idle: Option<Duration>,
}

fn times(fields: &Fields<'_>, protocol: Protocol, streams: bool) -> Times {
    let http = protocol == Protocol::Http;
    let timeout = match fields.get("timeout") {
        Some(spot) => spot.duration(MILLISECOND..=DAY),
        None => http.then_some(DEFAULT_TIMEOUT),
    };
    let first_byte = fields.get("first_byte_timeout").and_then(|spot| {
        let first_byte = spot.duration(MILLISECOND..=DAY)?;
        if timeout.is_some_and(|timeout| first_byte > timeout) {
            spot.fault("can never be reached: timeout is shorter");
        }
        Some(first_byte)
    });
    let idle = match fields.get("idle_timeout") {
        Some(spot) => whole_seconds(&spot, SECOND..=DAY),
        None => (streams || !http).then_some(DEFAULT_TIMEOUT),
    };
    Times {
        timeout,
        first_byte,
        idle,
    }
}

fn methods(spot: &Spot<'_>, protocol: Protocol) -> Option<Vec<String>> {
    let words = METHODS.map(|method| (method, method));
    let mut methods: Vec<String> = Vec::new();
    for item in spot.nonempty_list(METHODS.len())? {
        let Some(method) = item.choice(&words) else {
            continue;
        };
        if methods.iter().any(|earlier| earlier == method) {
            item.fault(format!("{method} is already in the list"));
        }
        methods.push(method.to_owned());
    }
    let has = |wanted: &str| methods.iter().any(|method| method == wanted);
    if protocol == Protocol::Websocket && !methods.is_empty() && !has("GET") {
        spot.fault("a WebSocket begins with GET, which is not in the list");
    }
    if has("GET") && !has("HEAD") {
        methods.push("HEAD".to_owned());
    }
    Some(methods)
}

pub(super) fn choices(
    spot: &Spot<'_>,
    agents: &[Agent],
    by_name: &HashMap<&str, AgentId>,
) -> Vec<Choice> {
    let mut choices: Vec<Choice> = Vec::new();
    let Some(items) = spot.nonempty_list(MOST_AGENTS_OF_ROUTE) else {
        return choices;
    };
    for item in items {
        let Some((agent, own_weight)) = choice(&item, by_name) else {
            continue;
        };
        if choices.iter().any(|earlier| earlier.agent == agent) {
            item.fault("this agent is already in the list");
        }
        let weight = own_weight
            .or(agents.get(agent.0).map(|agent| agent.weight))
            .unwrap_or(1);
        choices.push(Choice { agent, weight });
    }
    choices
}

/// An agent by its name, or with a weight of its own.
fn choice(spot: &Spot<'_>, by_name: &HashMap<&str, AgentId>) -> Option<(AgentId, Option<u32>)> {
    if spot.is_text() {
        return Some((spot.reference("agent", by_name)?, None));
    }
    let fields = spot.fields_or_name(CHOICE_FIELDS, "agent")?;
    let weight = weight(&fields);
    Some((fields.need("agent")?.reference("agent", by_name)?, weight))
}
