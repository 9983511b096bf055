//! A2A (Agent2Agent), 1.0 and 0.3: what a request asks an agent to do, and in which version of the protocol.
//!
//! A method has one name in 0.3 and another in 1.0. Over JSON-RPC it stands in the body, over gRPC in the path, and over HTTP+JSON
//! the path and the method of HTTP are it. Whatever it is called, it is one operation.

use super::path::Path;
use crate::host::HeaderBlock;
use crate::text::paths::{segments, split_once, split_query};

/// Each operation by its name in 1.0, and as 0.3 has it over JSON-RPC.
const OPERATIONS: [[&str; 2]; 11] = [
    [SEND, "message/send"],
    [STREAM, "message/stream"],
    [GET, "tasks/get"],
    [LIST, "tasks/list"],
    [CANCEL, "tasks/cancel"],
    [SUBSCRIBE, "tasks/resubscribe"],
    [CREATE_CONFIG, "tasks/pushNotificationConfig/set"],
    [GET_CONFIG, "tasks/pushNotificationConfig/get"],
    [LIST_CONFIGS, "tasks/pushNotificationConfig/list"],
    [DELETE_CONFIG, "tasks/pushNotificationConfig/delete"],
    [EXTENDED_CARD, "agent/getAuthenticatedExtendedCard"],
];

const SEND: &str = "SendMessage";
const STREAM: &str = "SendStreamingMessage";
const GET: &str = "GetTask";
const LIST: &str = "ListTasks";
const CANCEL: &str = "CancelTask";
const SUBSCRIBE: &str = "SubscribeToTask";
const CREATE_CONFIG: &str = "CreateTaskPushNotificationConfig";
const GET_CONFIG: &str = "GetTaskPushNotificationConfig";
const LIST_CONFIGS: &str = "ListTaskPushNotificationConfigs";
const DELETE_CONFIG: &str = "DeleteTaskPushNotificationConfig";
const EXTENDED_CARD: &str = "GetExtendedAgentCard";

/// What 0.3 calls some of them over gRPC.
const OVER_GRPC: [[&str; 2]; 6] = [
    [SUBSCRIBE, "TaskSubscription"],
    [CREATE_CONFIG, "CreateTaskPushNotification"],
    [GET_CONFIG, "GetTaskPushNotification"],
    [LIST_CONFIGS, "ListTaskPushNotification"],
    [LIST_CONFIGS, "ListTaskPushNotificationConfig"],
    [EXTENDED_CARD, "GetAgentCard"],
];

/// The version of a request that names none.
const UNNAMED: &[u8] = b"0.3";

/// What a request asks for, as far as its headers tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The agent's card.
    Card,
    /// What a message of JSON-RPC in its body says.
    Message,
    /// An operation that the path names, by HTTP+JSON: its name in 1.0.
    Operation(&'static str),
    /// A method of gRPC.
    Grpc(Box<str>),
    /// Nothing of A2A.
    Other,
}

impl Asked {
    /// What a request asks for that came on this path to a route with this prefix.
    #[must_use]
    pub fn read(headers: &HeaderBlock, path: &Path<'_>, prefix: &str) -> Self {
        let method = headers.get(":method").unwrap_or_default();
        let behind = path.parts().skip(segments(prefix.as_bytes()).count());
        let mut parts: Vec<&[u8]> = behind.map(|part| part.name).collect();
        parts.pop_if(|last| last.is_empty());
        let reads = matches!(method, b"GET" | b"HEAD");
        if reads && is_card(&parts) {
            return Self::Card;
        }
        let kind = headers.get("content-type").unwrap_or_default();
        let is_grpc = kind
            .get(..16)
            .is_some_and(|it| it.eq_ignore_ascii_case(b"application/grpc"));
        // Only there: some agents read JSON whatever the type says.
        if is_grpc && let Some(name) = method_of_grpc(path) {
            return Self::Grpc(name.into());
        }
        match operation(method, &parts) {
            Some(operation) => Self::Operation(operation),
            None if method == b"POST" => Self::Message,
            None => Self::Other,
        }
    }

    /// True if a refusal is told as HTTP+JSON tells errors.
    #[must_use]
    pub fn is_by_path(&self) -> bool {
        matches!(self, Self::Operation(_))
    }

    /// What stands in the place of a method, where no message does.
    #[must_use]
    pub fn method(&self) -> &str {
        match self {
            Self::Operation(name) => name,
            Self::Grpc(name) => name,
            Self::Card | Self::Message | Self::Other => "",
        }
    }
}

/// Both names of a method, that of 1.0 first. One that the protocol does not have has its own twice.
#[must_use]
pub fn names_of(method: &str) -> [&str; 2] {
    let canonical = OVER_GRPC.iter().find(|[_, it]| *it == method);
    let method = canonical.map_or(method, |[canonical, _]| canonical);
    let known = OPERATIONS.iter().find(|names| names.contains(&method));
    known.copied().unwrap_or([method; 2])
}

/// Whether this method asks for the extended card.
#[must_use]
pub fn asks_card(method: &str) -> bool {
    names_of(method).contains(&EXTENDED_CARD)
}

/// Whether some agent may take this for one of the protocol's, which it is not.
pub(super) fn is_respelt(method: &str) -> bool {
    let mut all = OPERATIONS.iter().flatten();
    let trimmed = method.trim();
    all.any(|name| *name != method && name.eq_ignore_ascii_case(trimmed))
}

/// Whether a request speaks one of these versions only, as the specification compares them: by the first two numbers.
#[must_use]
pub fn speaks(versions: &[String], headers: &HeaderBlock) -> bool {
    let path = headers.get(":path").unwrap_or_default();
    let parameters = split_query(path).1.unwrap_or_default();
    let parameters = parameters.split(|byte| *byte == b'&');
    let in_query = parameters.filter_map(|parameter| {
        let (name, value) = split_once(parameter, b'=');
        name.eq_ignore_ascii_case(b"a2a-version")
            .then_some(value.unwrap_or_default())
    });
    let in_headers = headers.get_all("a2a-version");
    let in_headers = in_headers.flat_map(|line| line.split(|byte| *byte == b','));
    let mut said = in_headers.chain(in_query).peekable();
    let unnamed = said.peek().is_none().then_some(UNNAMED);
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

fn is_card(parts: &[&[u8]]) -> bool {
    matches!(
        parts,
        [.., b".well-known", b"agent-card.json" | b"agent.json"]
    )
}

fn method_of_grpc<'p>(path: &'p Path<'_>) -> Option<&'p str> {
    let mut parts = path.parts().map(|part| part.name);
    let service = parts.next()?;
    let method = parts.next().filter(|_| service.ends_with(b".A2AService"))?;
    str::from_utf8(method)
        .ok()
        .filter(|_| parts.next().is_none())
}

/// Which operation a method and a path of HTTP are. Some agents do not regard the case of letters in paths.
fn operation(method: &[u8], parts: &[&[u8]]) -> Option<&'static str> {
    let lower: Vec<Vec<u8>> = parts.iter().map(|part| part.to_ascii_lowercase()).collect();
    let parts: Vec<&[u8]> = lower.iter().map(Vec::as_slice).collect();
    let reads = matches!(method, b"GET" | b"HEAD");
    let posts = method == b"POST";
    match parts.as_slice() {
        [.., b"message:send"] if posts => Some(SEND),
        [.., b"message:stream"] if posts => Some(STREAM),
        [.., b"tasks", _, b"pushnotificationconfigs", _] if reads => Some(GET_CONFIG),
        [.., b"tasks", _, b"pushnotificationconfigs", _] if method == b"DELETE" => {
            Some(DELETE_CONFIG)
        }
        [.., b"tasks", _, b"pushnotificationconfigs"] if reads => Some(LIST_CONFIGS),
        [.., b"tasks", _, b"pushnotificationconfigs"] if posts => Some(CREATE_CONFIG),
        [.., b"tasks", id] if id.ends_with(b":cancel") && posts => Some(CANCEL),
        [.., b"tasks", id] if id.ends_with(b":subscribe") && (posts || reads) => Some(SUBSCRIBE),
        [.., b"tasks", _] if reads => Some(GET),
        [.., b"tasks"] if reads => Some(LIST),
        [.., b"extendedagentcard" | b"card"] if reads => Some(EXTENDED_CARD),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
