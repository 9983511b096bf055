//! Whether headers and messages agree. Others on the way go by the headers `Mcp-Method`, `Mcp-Name` and `MCP-Protocol-Version`, so
//! the revision of 2026-07-28 demands them and has whoever reads the body compare them. Before it they may be missing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{BadMessage, Disagreement, METHODS, Message, MessageMembers};
use crate::host::HeaderBlock;
use crate::text::json::{Member, MemberId, Value};

/// The revisions whose requests need not have these headers. Any other demands them: later ones do.
const WITHOUT: [&[u8]; 4] = [b"2024-11-05", b"2025-03-26", b"2025-06-18", b"2025-11-25"];
/// Of these, the ones that have lists of messages. Their clients name no revision, as a rule.
const WITH_LISTS: [&[u8]; 2] = [b"2024-11-05", b"2025-03-26"];

/// The header in which a server names a session.
pub const SESSION_ID: &str = "mcp-session-id";

const METHOD: &str = "Mcp-Method";
const NAME: &str = "Mcp-Name";
const PROTOCOL_VERSION: &str = "MCP-Protocol-Version";

/// No value is longer that could agree: a name of 1 KiB, in base64.
const LONGEST: usize = 2048;

/// What stands around a value in base64.
const SENTINEL: (&[u8], &[u8]) = (b"=?base64?", b"?=");

/// What the headers say.
#[derive(Debug)]
pub(super) struct Told {
    method: Line,
    name: Line,
    version: Line,
}

#[derive(Debug)]
enum Line {
    Missing,
    Value(Box<[u8]>),
    Malformed,
}

impl Line {
    /// Some agents take `_` for `-`, so the one is looked for with the other.
    fn read(headers: &HeaderBlock, wanted: &str) -> Self {
        let alike = |one: &u8, other: u8| {
            let one = if *one == b'_' { b'-' } else { *one };
            one.eq_ignore_ascii_case(&other)
        };
        let is_it = |name: &[u8]| {
            name.len() == wanted.len() && name.iter().zip(wanted.bytes()).all(|(a, b)| alike(a, b))
        };
        let legal = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
        let mut line = Self::Missing;
        for (name, value) in headers.iter() {
            if is_it(name) {
                let is_one = matches!(line, Self::Missing) && !name.contains(&b'_');
                line = if is_one && value.len() <= LONGEST && value.iter().all(legal) {
                    Self::Value(value.trim_ascii().into())
                } else {
                    Self::Malformed
                };
            }
        }
        line
    }

    fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Value(value) => Some(value),
            _ => None,
        }
    }
}

/// Whether a request says that it is of a revision without sessions: one that demands these headers.
#[must_use]
pub fn is_without_sessions(headers: &HeaderBlock) -> bool {
    let version = Line::read(headers, PROTOCOL_VERSION);
    version.value().is_some_and(|it| !WITHOUT.contains(&it))
}

impl Told {
    pub(super) fn read(headers: &HeaderBlock) -> Self {
        Self {
            method: Line::read(headers, METHOD),
            name: Line::read(headers, NAME),
            version: Line::read(headers, PROTOCOL_VERSION),
        }
    }

    /// Whether there may be no message at all: then the headers name none.
    pub(super) fn are_silent(&self) -> Result<(), BadMessage> {
        check(METHOD, &self.method, false, |_| false)?;
        check(NAME, &self.name, false, |_| false)
    }

    /// Whether several messages may come at once.
    pub(super) fn takes_lists(&self) -> Result<(), BadMessage> {
        match self.version.value() {
            Some(version) if !WITH_LISTS.contains(&version) => Err(BadMessage::NoLists),
            _ => Ok(()),
        }
    }

    /// Whether a message says the same as far as it has come; `whole`: no more of it comes.
    pub(super) fn agrees(
        &self,
        message: Message<'_>,
        members: &MessageMembers,
        whole: bool,
    ) -> Result<(), BadMessage> {
        let of_body = message.text(members.version);
        let demands = |version: &[u8]| !WITHOUT.contains(&version);
        let strict = self.version.value().is_some_and(demands)
            || of_body.is_some_and(|version| demands(version.as_bytes()));
        // What has no id is no request, and is asked for nothing.
        let strict = strict && message.has(members.id);
        let method = message.text(members.method);
        let is_answer = whole && method.is_none();
        let named: &[MemberId] = match method {
            None => &[],
            Some("tools/call" | "prompts/get") => &[members.name],
            Some("resources/read" | "resources/subscribe" | "resources/unsubscribe") => {
                &[members.uri]
            }
            Some(method) if METHODS.contains(&method) => &[],
            // Of an extension's, one of these is the name.
            Some(_) => &[members.name, members.uri, members.task],
        };
        check(
            METHOD,
            &self.method,
            strict && method.is_some(),
            |told| match method {
                Some(method) => told == method.as_bytes(),
                None => !is_answer,
            },
        )?;
        let demanded = method.is_some_and(is_named)
            && named.iter().any(|place| message.text(*place).is_some());
        check(NAME, &self.name, strict && demanded, |told| {
            let told = decoded(told);
            let is_it = |place: &MemberId| {
                let name = message.text(*place).map(str::as_bytes);
                name.is_some() && name == told.as_deref()
            };
            let is_unknown = |place: &MemberId| *message.member(*place) == Member::Unknown;
            let may_come = method.is_none() && !is_answer || named.iter().any(is_unknown);
            may_come || named.iter().any(is_it)
        })?;
        check(
            PROTOCOL_VERSION,
            &self.version,
            strict,
            |told| match message.member(members.version) {
                Member::Unknown => true,
                Member::Absent => !(strict && whole),
                Member::Found(found) => match &found.value {
                    Value::Text(version) => told == version.as_bytes(),
                    _ => false,
                },
            },
        )
    }
}

/// Methods whose header `Mcp-Name` is demanded.
fn is_named(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read")
}

fn check(
    name: &'static str,
    line: &Line,
    needed: bool,
    agrees: impl FnOnce(&[u8]) -> bool,
) -> Result<(), BadMessage> {
    let disagreement = match line {
        Line::Missing if needed => Disagreement::Missing,
        Line::Malformed => Disagreement::Malformed,
        Line::Value(value) if !agrees(value) => Disagreement::Differs,
        _ => return Ok(()),
    };
    Err(BadMessage::Header(name, disagreement))
}

/// A value as it is meant, which stands in base64 where it could not stand in a header.
fn decoded(told: &[u8]) -> Option<std::borrow::Cow<'_, [u8]>> {
    let inner = told.strip_prefix(SENTINEL.0);
    match inner.and_then(|inner| inner.strip_suffix(SENTINEL.1)) {
        Some(encoded) => STANDARD.decode(encoded).ok().map(Into::into),
        None => Some(told.into()),
    }
}
