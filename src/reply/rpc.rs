//! Refusals as answers of JSON-RPC (2.0), which whoever speaks MCP reads.

use super::Refusal;

/// To which messages a reply answers, by their ids as they are written in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RpcIds {
    /// To one. `None`: its id is not known, or it has none.
    One(Option<String>),
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
const HEADER_MISMATCH: &str = "-32020";
const NOT_PERMITTED: &str = "-32003";
const NOT_FOUND: &str = "-32004";
const LIMIT_REACHED: &str = "-32005";

impl RpcIds {
    /// True if somebody waits for this very answer.
    pub(super) fn are_known(&self) -> bool {
        match self {
            Self::One(id) => id.is_some(),
            Self::Each(ids) => !ids.is_empty(),
        }
    }
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
    let message = serde_json::Value::from(detail).to_string();
    let code = code(refusal, status);
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
        RpcIds::One(Some(id)) => one(id),
        RpcIds::One(None) | RpcIds::Each(_) => one("null"),
    };
    text.into_bytes()
}
