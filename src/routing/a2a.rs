//! A2A (Agent2Agent), 1.0 and 0.3: what a request asks an agent to do, and in which version of the protocol.
//!
//! A method has one name in 0.3 and another in 1.0. Over JSON-RPC it stands in the body, over gRPC in the path, and over HTTP+JSON
//! the path and the method of HTTP are it. Whatever it is called, it is one operation.

mod beside;

pub use beside::{Beside, Method};

use super::path::Path;
use crate::host::HeaderBlock;
use crate::text::a2a::{
    CANCEL, CREATE_CONFIG, DELETE_CONFIG, EXTENDED_CARD, GET, GET_CONFIG, LIST, LIST_CONFIGS, SEND,
    STREAM, SUBSCRIBE, names_of, respelt,
};
use crate::text::escapes::form_decoded;
use crate::text::paths::{split_once, split_query};

/// The version of a request that names none.
const UNNAMED: &[u8] = b"0.3";

/// What a request asks for, as far as its headers tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The agent's card.
    Card,
    /// The same to some agents, while others could read the path as another.
    CardToSome,
    /// What a message of JSON-RPC in its body says.
    Message,
    /// Operations that the path names, by HTTP+JSON: their names in 1.0. Mostly it is one; of a path that agents could read in several
    /// ways, each that one of them may do.
    Operation(Vec<&'static str>),
    /// A method of gRPC, whatever the body is written in.
    Grpc(Box<str>),
    /// Nothing of A2A.
    Other,
}

impl Asked {
    /// What a request asks for that came on this path, or goes on on the `rewritten` one. An agent may stand anywhere on it, so what
    /// counts is how it ends; the route's prefix may hold a part of that.
    #[must_use]
    pub fn read(headers: &HeaderBlock, path: &Path<'_>, rewritten: Option<&[u8]>) -> Self {
        let method = headers.get(":method").unwrap_or_default();
        let for_agent = rewritten.and_then(|path| Path::read(path).ok());
        let mut readings = for_agent.as_ref().unwrap_or(path).readings();
        for parts in &mut readings {
            parts.pop_if(|last| last.is_empty());
        }
        let mut operations = Vec::new();
        for parts in &readings {
            operation(method, parts, &mut operations);
        }
        if !operations.is_empty() {
            return Self::Operation(operations);
        }
        if let Some(name) = readings.iter().find_map(|parts| method_of_grpc(parts)) {
            return Self::Grpc(respelt(name).unwrap_or(name).into());
        }
        let is_read = matches!(method, b"GET" | b"HEAD");
        let mut cards = readings.iter().map(|parts| is_read && is_card(parts));
        if cards.clone().all(|is_it| is_it) {
            Self::Card
        } else if cards.any(|is_it| is_it) {
            Self::CardToSome
        } else if method == b"POST" {
            Self::Message
        } else {
            Self::Other
        }
    }

    /// True if a refusal is told as HTTP+JSON tells errors.
    #[must_use]
    pub fn is_by_path(&self) -> bool {
        matches!(self, Self::Operation(_))
    }

    /// The methods that the path names.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        let (operations, of_grpc) = match self {
            Self::Operation(operations) => (operations.as_slice(), None),
            Self::Grpc(name) => (&[][..], Some(&**name)),
            _ => (&[][..], None),
        };
        operations.iter().copied().chain(of_grpc)
    }
}

/// Whether this method asks for the extended card.
#[must_use]
pub fn asks_card(method: &str) -> bool {
    names_of(method).is_some_and(|names| names.contains(&EXTENDED_CARD))
}

/// Whether some agent may take this for one of the protocol's, which it is not.
pub(super) fn is_respelt(method: &str) -> bool {
    respelt(method).is_some()
}

/// Whether a request speaks one of these versions only, as the specification compares them: by the first two numbers.
#[must_use]
pub fn speaks(versions: &[String], headers: &HeaderBlock) -> bool {
    let path = headers.get(":path").unwrap_or_default();
    let parameters = split_query(path).1.unwrap_or_default();
    let parameters = parameters.split(|byte| *byte == b'&');
    let in_query = parameters.filter_map(|parameter| {
        let (name, value) = split_once(parameter, b'=');
        form_decoded(name)
            .eq_ignore_ascii_case(b"a2a-version")
            .then(|| form_decoded(value.unwrap_or_default()))
    });
    let in_headers = headers.get_all("a2a-version");
    let in_headers = in_headers.flat_map(|line| line.split(|byte| *byte == b','));
    let mut said = in_headers.map(<[u8]>::to_vec).chain(in_query).peekable();
    let unnamed = said.peek().is_none().then(|| UNNAMED.to_vec());
    said.chain(unnamed).all(|version| {
        let version = match version.trim_ascii() {
            b"" => UNNAMED,
            version => version,
        };
        let mut numbers = version.split(|byte| *byte == b'.');
        let two = [numbers.next(), numbers.next()].map(Option::unwrap_or_default);
        let is_it = |known: &String| two.join(&b'.') == known.as_bytes();
        versions.iter().any(is_it)
    })
}

/// Some agents do not regard the case of letters in paths.
fn is(part: &[u8], name: &str) -> bool {
    part.eq_ignore_ascii_case(name.as_bytes())
}

fn ends(part: &[u8], end: &str) -> bool {
    let length = part.len().saturating_sub(end.len());
    is(part.get(length..).unwrap_or_default(), end)
}

fn is_card(parts: &[&[u8]]) -> bool {
    match parts {
        [.., place, name] => {
            is(place, ".well-known") && (is(name, "agent-card.json") || is(name, "agent.json"))
        }
        _ => false,
    }
}

fn method_of_grpc<'p>(parts: &[&'p [u8]]) -> Option<&'p str> {
    match parts {
        [.., service, method] if ends(service, "A2AService") => str::from_utf8(method).ok(),
        _ => None,
    }
}

/// Which operations a method and a path of HTTP may be. Names of tasks may hold what others take for borders.
fn operation(method: &[u8], parts: &[&[u8]], found: &mut Vec<&'static str>) {
    let Some((last, before)) = parts.split_last() else {
        return;
    };
    let (reads, posts) = (matches!(method, b"GET" | b"HEAD"), method == b"POST");
    let has_tasks = |parts: &[&[u8]]| parts.iter().any(|part| is(part, "tasks"));
    // With the name of one behind it.
    let is_of_task = |parts: &[&[u8]]| parts.split_last().is_some_and(|(_, it)| has_tasks(it));
    let in_tasks = before.last().is_some_and(|part| is(part, "tasks"));
    let configs = "pushNotificationConfigs";
    let of_config = before.split_last();
    let is_config = of_config.is_some_and(|(it, of)| is(it, configs) && is_of_task(of));
    let is_configs = is(last, configs) && is_of_task(before);
    let cancels = ends(last, ":cancel") && has_tasks(before);
    let subscribes = ends(last, ":subscribe") && has_tasks(before);
    let is_card = is(last, "extendedAgentCard") || is(last, "card");
    for (operation, is_it) in [
        (SEND, posts && is(last, "message:send")),
        (STREAM, posts && is(last, "message:stream")),
        (CREATE_CONFIG, posts && (is_configs || is_config)),
        (GET_CONFIG, reads && is_config),
        (LIST_CONFIGS, reads && is_configs),
        (DELETE_CONFIG, method == b"DELETE" && is_config),
        (CANCEL, posts && cancels),
        (SUBSCRIBE, (posts || reads) && subscribes),
        (GET, reads && in_tasks && !subscribes),
        (LIST, reads && is(last, "tasks")),
        (EXTENDED_CARD, reads && is_card),
    ] {
        if is_it && !found.contains(&operation) {
            found.push(operation);
        }
    }
}

#[cfg(test)]
mod tests;
