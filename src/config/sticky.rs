//! What keeps requests at one agent of their route, and at one host of their agent, and the keys that agents' sessions are sealed with.

use super::document::Node;
use super::names;
use super::policy::{KeySource, Sticky};
use super::reader::Spot;
use crate::host::Sensitive;
use crate::text::hex;

/// As many as are in use while one takes the place of another, on gateways that are not all told at once, and some more.
const MOST_KEYS: usize = 8;

/// Sessions of MCP are named by the agent: the caller has nothing to say before it was answered.
const NAMED_BY_AGENTS: &str = "mcp-session-id";

pub(super) const STICKY_FIELDS: &[&str] = &["header", "named_by", "cookie", "query", "client"];
pub(super) const SESSIONS_FIELDS: &[&str] = &["keys"];
pub(super) const KEY_FIELDS: &[&str] = &["env"];

/// What must be known to tell whether an agent's `sticky` can work.
pub(super) struct Around<'a> {
    pub(super) key_sources: &'a [KeySource],
    /// Whether `sessions.keys` are written, faulty or not.
    pub(super) seals: bool,
}

type Check = fn(&str) -> Result<(), String>;

/// A field that says by what, and how its name is checked; `client` has none.
const WAYS: [(&str, Check); 3] = [
    ("header", names::sticky_header),
    ("cookie", names::cookie),
    ("query", names::parameter),
];

/// What requests to an agent are kept together by.
#[inline(never)]
pub fn sticky(spot: &Spot<'_>) -> Option<Sticky> {
    let fields = spot.fields(STICKY_FIELDS)?;
    let [header, cookie, query] =
        WAYS.map(|(way, check)| fields.get(way).map(|spot| spot.checked(check)));
    let client = fields.get("client").map(|spot| spot.flag());
    let named_by = fields.get("named_by");
    let by_agent = named_by.and_then(|spot| {
        if header.is_none() {
            spot.fault("has no meaning without header");
        }
        spot.choice(&[("caller", false), ("agent", true)])
    });
    match (header, cookie, query, client) {
        (Some(header), None, None, None) => {
            let name = header?.to_ascii_lowercase();
            Some(if by_agent.unwrap_or(name == NAMED_BY_AGENTS) {
                Sticky::Session(name)
            } else {
                Sticky::Header(name)
            })
        }
        (None, Some(cookie), None, None) => cookie.map(|name| Sticky::Cookie(name.to_owned())),
        (None, None, Some(query), None) => query.map(|name| Sticky::Query(name.to_owned())),
        (None, None, None, Some(client)) => {
            if client == Some(false) {
                fields.fault(
                    "client can only be true; without sticky requests are not kept together",
                );
            }
            Some(Sticky::Client)
        }
        _ => {
            fields.fault("must have exactly one of header, cookie, query and client");
            None
        }
    }
}

/// What requests to a route are kept together by, at one of its agents.
#[inline(never)]
pub(super) fn of_route(spot: &Spot<'_>, key_sources: &[KeySource]) -> Option<Sticky> {
    let sticky = sticky(spot)?;
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
    let holds_keys = around
        .key_sources
        .iter()
        .any(|source| match (source, sticky) {
            (KeySource::Header { name, .. }, Sticky::Header(other) | Sticky::Session(other))
            | (KeySource::Query { name, .. }, Sticky::Query(other)) => name == other,
            _ => false,
        });
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
