//! Refusals as answers of JSON-RPC (2.0), which whoever speaks MCP reads; and problems that the host tells itself.

use std::iter;
use std::rc::Rc;

use serde_json::Value;

use super::Refusal;
use crate::text::json::{self, Edit, Found, Member, Scan, Search};

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
    /// Its method is none that is answered.
    Method,
}

/// The codes that JSON-RPC defines, and that which MCP does for headers. Those from -32000 to -32019 are for everybody's own use.
const PARSE_ERROR: &str = "-32700";
const INVALID_REQUEST: &str = "-32600";
const INVALID_PARAMS: &str = "-32602";
const METHOD_NOT_FOUND: &str = "-32601";
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
fn info(code: &str, domain: &str) -> String {
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
        (
            Refusal::BadMessage(RpcFault::Params, _) | Refusal::NotOffered(RpcFault::Params, _),
            _,
        ) => INVALID_PARAMS,
        (Refusal::NotOffered(..), _) => METHOD_NOT_FOUND,
        (Refusal::BadMessage(RpcFault::Header, _), _) => HEADER_MISMATCH,
        (_, 401 | 403) => NOT_PERMITTED,
        (_, 404) => NOT_FOUND,
        (_, 429) => LIMIT_REACHED,
        (_, 400..500) => INVALID_REQUEST,
        _ => INTERNAL_ERROR,
    }
}

/// What an error tells, in each of its forms.
struct Told<'a> {
    status: u16,
    /// gRPC's status.
    grpc: u8,
    /// The number that MCP has for it.
    number: &'a str,
    /// The one that A2A has.
    number_of_a2a: &'a str,
    code: &'a str,
    /// Whose code it is.
    domain: &'a str,
    detail: &'a str,
    /// The problem, in JSON.
    data: &'a str,
}

/// The body of a reply: an error for each that waits for one. `data` is the problem, in JSON.
pub(super) fn body(
    refusal: &Refusal,
    status: u16,
    ids: &RpcIds,
    detail: &str,
    data: &str,
) -> Vec<u8> {
    let terms = refusal.terms();
    written(
        ids,
        &Told {
            status,
            grpc: terms.grpc,
            number: code(refusal, status),
            number_of_a2a: code_of_a2a(refusal, status),
            code: terms.code,
            // What the protocol itself has a reason for is told by that.
            domain: match refusal {
                Refusal::VersionNotSupported(_) => "a2a-protocol.org",
                _ => "waykeeper",
            },
            detail,
            data,
        },
    )
}

/// A problem that the host tells itself, as these messages are answered. `None`: it is none.
#[must_use]
pub fn problem_as_answer(problem: &[u8], ids: &RpcIds) -> Option<Vec<u8>> {
    let mut search = Search::new();
    let mut member = |pointer| search.member(pointer).ok();
    let [status, kind, detail] = [member("/status")?, member("/type")?, member("/detail")?];
    let mut scan = Scan::new(Rc::new(search));
    scan.feed(problem).and_then(|()| scan.end()).ok()?;
    let said = |id| match scan.member(id) {
        Member::Found(Found {
            value: json::Value::Text(said) | json::Value::Number(said),
            ..
        }) => Some(&**said),
        _ => None,
    };
    let status: u16 = said(status)?.parse().ok()?;
    let code = said(kind)?.rsplit([':', '#']).next()?;
    // The same again, for those who read OpenAI's and Anthropic's errors.
    let without = Edit::new(&mut iter::once("/error")).ok()?;
    let problem = without.apply(problem, &[None]).ok()?;
    let (number, grpc) = match status {
        401 => (NOT_PERMITTED, 16),
        408 | 504 => (INTERNAL_ERROR, 4),
        429 => (LIMIT_REACHED, 8),
        400..500 => (INVALID_REQUEST, 3),
        502 | 503 => (INTERNAL_ERROR, 14),
        _ => (INTERNAL_ERROR, 13),
    };
    let is_callers = (400..500).contains(&status);
    Some(written(
        ids,
        &Told {
            status,
            grpc,
            number,
            number_of_a2a: if is_callers {
                INVALID_REQUEST
            } else {
                INTERNAL_ERROR
            },
            code: &code.replace('-', "_"),
            domain: "waykeeper",
            detail: said(detail)?,
            data: str::from_utf8(&problem).ok()?,
        },
    ))
}

fn written(ids: &RpcIds, told: &Told<'_>) -> Vec<u8> {
    let message = Value::from(told.detail).to_string();
    if *ids == RpcIds::Status {
        return [
            r#"{"error":{"code":"#,
            &told.status.to_string(),
            r#","status":""#,
            name_of_status(told.grpc),
            r#"","message":"#,
            &message,
            r#","details":"#,
            &info(told.code, told.domain),
            "}}",
        ]
        .concat()
        .into_bytes();
    }
    let of_a2a = matches!(ids, RpcIds::A2a(_)).then(|| info(told.code, told.domain));
    let (code, data) = match &of_a2a {
        Some(info) => (told.number_of_a2a, info.as_str()),
        None => (told.number, told.data),
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
