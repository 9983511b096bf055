//! What keeps requests at one agent of their route, and at one host of their agent, and the keys that agents' sessions are sealed with.

use std::ops::RangeInclusive;

use super::document::{Node, shown};
use super::names;
use super::policy::{KeySource, Protocol, Sticky};
use super::reader::Spot;
use crate::host::Sensitive;
use crate::text::hex;
use crate::text::json::Search;

/// As many as are in use while one takes the place of another, on gateways that are not all told at once, and some more.
const MOST_KEYS: usize = 8;

/// Sessions of MCP are named by the agent: the caller has nothing to say before it was answered.
const NAMED_BY_AGENTS: &str = "mcp-session-id";

/// So many ways a list may have.
const MOST_WAYS: usize = 16;

/// How much of a prompt may count.
const PROMPTS: RangeInclusive<u64> = 16..=64 << 10;

pub(super) const STICKY_FIELDS: &[&str] = &[
    "header", "named_by", "cookie", "query", "client", "body", "prompt", "response", "task",
];
pub(super) const SESSIONS_FIELDS: &[&str] = &["keys"];
pub(super) const KEY_FIELDS: &[&str] = &["env"];

/// What must be known to tell whether an agent's `sticky` can work.
pub(super) struct Around<'a> {
    pub(super) key_sources: &'a [KeySource],
    /// Whether `sessions.keys` are written, faulty or not.
    pub(super) seals: bool,
}

/// What requests to an agent are kept together by: one way, or a list of them of which the first counts that a request has.
#[inline(never)]
pub fn sticky(spot: &Spot<'_>) -> Option<Sticky> {
    if !matches!(spot.node(), Node::List(_)) {
        return way(spot);
    }
    let mut ways: Vec<Sticky> = Vec::new();
    for item in spot.nonempty_list(MOST_WAYS).into_iter().flatten() {
        let Some(way) = way(&item) else { continue };
        if matches!(way, Sticky::Session(_)) {
            item.fault("a session that the agent names stands alone, and not in a list");
        } else if ways.contains(&way) {
            item.fault("this is already in the list");
        } else if ways.contains(&Sticky::Client) {
            item.fault("can never count: client: true stands before it, and there always is one");
        }
        ways.push(way);
    }
    match ways.len() {
        0 | 1 => ways.pop(),
        _ => Some(Sticky::FirstOf(ways)),
    }
}

/// One way. Of its fields one says by what; each other one is a fault.
fn way(spot: &Spot<'_>) -> Option<Sticky> {
    let fields = spot.fields(STICKY_FIELDS)?;
    let named_by = fields.get("named_by").map(|spot| {
        if fields.get("header").is_none() {
            spot.fault("has no meaning without header");
        }
        spot.choice(&[("caller", false), ("agent", true)])
    });
    let by = fields.iter().filter(|(name, _)| *name != "named_by");
    let mut ways: Vec<_> = by.map(|(name, spot)| by_field(name, &spot)).collect();
    if ways.len() != 1 {
        fields.fault(
            "must have exactly one of header, cookie, query, client, body, prompt, response and task",
        );
        return None;
    }
    match ways.pop()?? {
        Sticky::Header(name) => Some(match named_by {
            Some(by_agent) if by_agent? => Sticky::Session(name),
            None if name == NAMED_BY_AGENTS => Sticky::Session(name),
            _ => Sticky::Header(name),
        }),
        way => Some(way),
    }
}

fn by_field(name: &str, spot: &Spot<'_>) -> Option<Sticky> {
    let always = |way: Sticky| {
        if spot.flag()? {
            return Some(way);
        }
        spot.fault("can only be true; leave it out, and requests are not kept together by it");
        None
    };
    match name {
        "header" => (spot.checked(names::sticky_header))
            .map(|name| Sticky::Header(name.to_ascii_lowercase())),
        "cookie" => (spot.checked(names::cookie)).map(|name| Sticky::Cookie(name.to_owned())),
        "query" => (spot.checked(names::parameter)).map(|name| Sticky::Query(name.to_owned())),
        "body" => (spot.checked(pointer)).map(|it| Sticky::Body(it.to_owned())),
        "prompt" => spot.size(PROMPTS).map(Sticky::Prompt),
        "response" => always(Sticky::Response),
        "task" => always(Sticky::Task),
        "client" => always(Sticky::Client),
        _ => None,
    }
}

fn pointer(text: &str) -> Result<(), String> {
    let read = Search::new().member(text).map(drop);
    read.map_err(|bad| {
        let text = shown(text);
        format!("{text} is no JSON pointer such as /conversation_id: {bad}")
    })
}

/// What requests to a route are kept together by, at one of its agents.
#[inline(never)]
pub(super) fn of_route(
    spot: &Spot<'_>,
    key_sources: &[KeySource],
    protocol: Protocol,
) -> Option<Sticky> {
    let sticky = sticky(spot)?;
    if protocol == Protocol::Websocket && sticky.asks_body() {
        spot.fault("asks the body, which a WebSocket's request does not have");
    }
    if matches!(sticky, Sticky::Session(_)) {
        spot.fault(
            "a session that an agent names is known to that agent alone, so it cannot say which agent; write a header, cookie or \
             parameter that callers choose, or client: true",
        );
        return None;
    }
    let around = Around {
        key_sources,
        seals: true,
    };
    check(spot, &sticky, &around);
    Some(sticky)
}

/// Tells of what cannot work with the rest of the document.
#[inline(never)]
pub(super) fn check(spot: &Spot<'_>, sticky: &Sticky, around: &Around<'_>) {
    if matches!(sticky, Sticky::Session(_)) && !around.seals {
        spot.fault(
            "the agent names this session, so the gateway seals it, and needs a key for that: sessions: {keys: [\"…\"]}; \
             `openssl rand -hex 32` makes one",
        );
    }
    let is_source = |way: &Sticky| {
        let mut sources = around.key_sources.iter();
        sources.any(|source| match (source, way) {
            (KeySource::Header { name, .. }, Sticky::Header(other) | Sticky::Session(other))
            | (KeySource::Query { name, .. }, Sticky::Query(other)) => name == other,
            _ => false,
        })
    };
    let holds_keys = sticky.ways().iter().any(is_source);
    if holds_keys {
        spot.fault("that is where keys stand, and they are taken out; client: true keeps each client's requests together");
    }
}

/// Puts keys that stand in the environment where the document names them.
///
/// # Errors
/// One line that says which is missing.
pub(super) fn look_up(
    document: &mut Node,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let sessions = named(document, "sessions");
    let lists = sessions.flat_map(|sessions| named(sessions, "keys"));
    let items = lists.filter_map(|keys| match keys {
        Node::List(items) => Some(items),
        _ => None,
    });
    for item in items.flatten() {
        // What else stands there is a fault.
        let name = match item {
            Node::Map(fields) => match fields.as_slice() {
                [(field, Node::Text(name))] if field == "env" => Some(name),
                _ => None,
            },
            _ => None,
        };
        if let Some(name) = name {
            names::variable(name).map_err(|why| format!("sessions.keys: env {why}"))?;
            let Some(key) = environment(name) else {
                return Err(format!(
                    "sessions.keys: the filter's environment has no variable {name}; Envoy's own has to hold it, and \
                     vm_config.environment_variables.host_env_keys to name it"
                ));
            };
            *item = Node::Text(key.trim_ascii().to_owned());
        }
    }
    Ok(())
}

/// What stands under a name, as often as it does.
fn named<'n>(node: &'n mut Node, name: &str) -> impl Iterator<Item = &'n mut Node> {
    let fields = match node {
        Node::Map(fields) => &mut **fields,
        _ => &mut [],
    };
    let of_name = move |(other, _): &&mut (String, Node)| *other == name;
    fields.iter_mut().filter(of_name).map(|(_, value)| value)
}

/// The keys that sessions are sealed with. Whatever stands there, a fault shows nothing of it.
#[inline(never)]
pub(super) fn session_keys(spot: Option<&Spot<'_>>) -> Vec<Sensitive<[u8; 32]>> {
    let mut keys: Vec<Sensitive<[u8; 32]>> = Vec::new();
    let Some(fields) = spot.and_then(|spot| spot.fields(SESSIONS_FIELDS)) else {
        return keys;
    };
    let list = fields.need("keys");
    let list = list.as_ref().and_then(|spot| spot.nonempty_list(MOST_KEYS));
    for (index, item) in list.into_iter().flatten().enumerate() {
        if item.is_map() {
            let fields = item.fields(KEY_FIELDS);
            let variable =
                fields.and_then(|fields| fields.need("env")?.checked(names::variable).map(drop));
            // What it is nobody knows who does not run the filter: `look_up` puts it here.
            keys.extend(
                variable.map(|()| Sensitive([u8::try_from(index).unwrap_or_default(); 32])),
            );
            continue;
        }
        let text = item.is_text().then(|| item.text()).flatten();
        let Some(key) = text.and_then(hex::decoded).map(Sensitive) else {
            item.fault(
                "expected a key as 64 hex digits, in quotes; `openssl rand -hex 32` makes one",
            );
            continue;
        };
        if keys.contains(&key) {
            item.fault("this key is already in the list");
        }
        keys.push(key);
    }
    keys
}
