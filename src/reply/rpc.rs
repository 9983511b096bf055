//! Refusals as answers of JSON-RPC (2.0), which whoever speaks MCP reads.

use super::Refusal;
use crate::text::json::quoted;

/// To which messages a reply answers, by their ids as they are written in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RpcIds {
    /// To one. `None`: its id is not known, or it has none.
    One(Option<String>),
    /// The same, in A2A.
    A2a(Option<String>),
    /// To none: it is answered as HTTP+JSON of A2A has it, by google.rpc.Status.
    Status,
    /// To each of a list that has one.
    Each(Vec<String>),
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RpcFault {
    /// It is no JSON.
    Parse,
    /// It is no message.
    Message,
    /// What it calls cannot be told from its parameters.
    Params,
    /// The request's headers say something else.
    Header,
}

/// The codes that JSON-RPC defines, and that which MCP does for headers. Those from -32000 to -32019 are for everybody's own use.
const PARSE_ERROR: &str = "-32700";
const INVALID_REQUEST: &str = "-32600";
const INVALID_PARAMS: &str = "-32602";
const INTERNAL_ERROR: &str = "-32603";
const VERSION_NOT_SUPPORTED: &str = "-32009";
const HEADER_MISMATCH: &str = "-32020";
const NOT_PERMITTED: &str = "-32003";
const NOT_FOUND: &str = "-32004";
const LIMIT_REACHED: &str = "-32005";

impl RpcIds {
    /// True if somebody waits for this very answer.
    pub(super) fn are_known(&self) -> bool {
        match self {
            Self::One(id) | Self::A2a(id) => id.is_some(),
            Self::Status => false,
            Self::Each(ids) => !ids.is_empty(),
        }
    }
}

/// A2A has meanings of its own for the numbers from -32001 on, and this for a version that is not spoken.
fn code_of_a2a(refusal: &Refusal, status: u16) -> &'static str {
    match (refusal, status) {
        (Refusal::BadMessage(RpcFault::Parse, _), _) => PARSE_ERROR,
        (Refusal::VersionNotSupported(_), _) => VERSION_NOT_SUPPORTED,
        (_, 400..500) => INVALID_REQUEST,
        _ => INTERNAL_ERROR,
    }
}

/// The name of gRPC's status, as it stands in google.rpc.Status.
fn name_of_status(grpc: u8) -> &'static str {
    match grpc {
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        9 => "FAILED_PRECONDITION",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        16 => "UNAUTHENTICATED",
        _ => "UNKNOWN",
    }
}

/// Why, as A2A 1.0 has details of errors.
fn info(refusal: &Refusal, code: &str) -> String {
    // What the protocol itself has a reason for is told by that.
    let domain = match refusal {
        Refusal::VersionNotSupported(_) => "a2a-protocol.org",
        _ => "waykeeper",
    };
    [
        r#"[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":""#,
        &code.to_ascii_uppercase(),
        r#"","domain":""#,
        domain,
        r#""}]"#,
    ]
    .concat()
}

/// The code of JSON-RPC for a refusal, which has this status of HTTP.
fn code(refusal: &Refusal, status: u16) -> &'static str {
    match (refusal, status) {
        (Refusal::BadMessage(RpcFault::Parse, _), _) => PARSE_ERROR,
        (Refusal::BadMessage(RpcFault::Params, _), _) => INVALID_PARAMS,
        (Refusal::BadMessage(RpcFault::Header, _), _) => HEADER_MISMATCH,
        (_, 401 | 403) => NOT_PERMITTED,
        (_, 404) => NOT_FOUND,
        (_, 429) => LIMIT_REACHED,
        (_, 400..500) => INVALID_REQUEST,
        _ => INTERNAL_ERROR,
    }
}

/// The body of a reply: an error for each that waits for one. `data` is the problem, in JSON.
pub(super) fn body(
    refusal: &Refusal,
    status: u16,
    ids: &RpcIds,
    detail: &str,
    data: &str,
) -> Vec<u8> {
    let message = quoted(detail);
    let terms = refusal.terms();
    if *ids == RpcIds::Status {
        return [
            r#"{"error":{"code":"#,
            &status.to_string(),
            r#","status":""#,
            name_of_status(terms.grpc),
            r#"","message":"#,
            &message,
            r#","details":"#,
            &info(refusal, terms.code),
            "}}",
        ]
        .concat()
        .into_bytes();
    }
    let of_a2a = matches!(ids, RpcIds::A2a(_)).then(|| info(refusal, terms.code));
    let (code, data) = match &of_a2a {
        Some(info) => (code_of_a2a(refusal, status), info.as_str()),
        None => (code(refusal, status), data),
    };
    let one = |id: &str| {
        [
            r#"{"jsonrpc":"2.0","id":"#,
            id,
            r#","error":{"code":"#,
            code,
            r#","message":"#,
            &message,
            r#","data":"#,
            data,
            "}}",
        ]
        .concat()
    };
    let text = match ids {
        RpcIds::Each(ids) if !ids.is_empty() => {
            let all: Vec<String> = ids.iter().map(|id| one(id)).collect();
            ["[", &all.join(","), "]"].concat()
        }
        RpcIds::One(Some(id)) | RpcIds::A2a(Some(id)) => one(id),
        _ => one("null"),
    };
    text.into_bytes()
}
