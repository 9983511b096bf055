//! Why messages are not passed on.

use std::fmt;

use crate::reply::{Refusal, RpcFault};
use crate::text::json::{Broken, Fault};

/// Why messages are not passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadMessage {
    /// They are compressed.
    Compressed,
    /// They are of a type that is not JSON.
    OtherType,
    /// They are broken JSON, or JSON that readers read in different ways.
    Json(Broken),
    /// There is none.
    Empty,
    /// One has neither a method nor an answer.
    NoMethod,
    /// One has both.
    MethodAndAnswer,
    /// A method has letters that no method has, or is one of the protocol's, in other letters.
    Respelt,
    /// A tool is called without its name.
    NoTool,
    /// An id is neither a text nor a number.
    BadId,
    /// What is called was not said in so many bytes.
    TooLate(u64),
    /// Several at once, in a revision without lists.
    NoLists,
    /// Messages of one list would go to different agents.
    Apart,
    /// A list has more of them than this limit ever lets through at once.
    TooMany(String),
    /// Several at once, where the route stands for several servers.
    OneByOne,
    /// It says what it asks, and so does its path.
    BesidePath,
    /// It names nothing, where the name says which server is called.
    Unnamed,
    /// A header says something else.
    Header(&'static str, Disagreement),
}

/// How a header differs from the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disagreement {
    /// It is not there.
    Missing,
    /// It is there twice, or too long, or holds what no header may.
    Malformed,
    /// It has another value.
    Differs,
}

impl From<Broken> for BadMessage {
    fn from(broken: Broken) -> Self {
        Self::Json(broken)
    }
}

impl BadMessage {
    fn kind(&self) -> RpcFault {
        match self {
            Self::Json(Broken {
                fault: Fault::NotJson | Fault::NotUtf8 | Fault::Truncated,
                ..
            }) => RpcFault::Parse,
            Self::NoTool | Self::Unnamed => RpcFault::Params,
            Self::Header(..) => RpcFault::Header,
            _ => RpcFault::Message,
        }
    }
}

impl From<&BadMessage> for Refusal {
    fn from(bad: &BadMessage) -> Self {
        Self::BadMessage(bad.kind(), bad.to_string())
    }
}

impl fmt::Display for BadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json(broken) => return write!(f, "This route takes messages of JSON-RPC, and {broken}."),
            Self::TooLate(most) => {
                return write!(
                    f,
                    "The first {most} bytes of the body do not say what it calls. Put id, method and the name in params before long members."
                );
            }
            Self::Header(name, disagreement) => {
                let how = match disagreement {
                    Disagreement::Missing => "is missing",
                    Disagreement::Malformed => "is malformed, or comes twice",
                    Disagreement::Differs => "does not say the same as the body",
                };
                return write!(f, "The header {name} {how}.");
            }
            Self::TooMany(limit) => {
                return write!(
                    f,
                    "This list has more messages than the limit {limit} lets through at once; send them one by one."
                );
            }
            Self::Compressed => "This route takes messages of JSON-RPC, and cannot read compressed ones; send them without content-encoding.",
            Self::OtherType => "This route takes messages of JSON-RPC; send JSON, with the content-type application/json.",
            Self::Empty => "The body holds no message.",
            Self::NoMethod => "A message of the body has neither a method nor an answer.",
            Self::MethodAndAnswer => "A message of the body has both a method and an answer.",
            Self::Respelt => "A method has letters that no method has, or is one of its protocol's in other letters.",
            Self::NoTool => "The body calls a tool without a name, or by one that is no text of at most 1024 bytes, or has a byte that is zero.",
            Self::BadId => "The id of a message is neither a text nor a number.",
            Self::NoLists => "The revision that MCP-Protocol-Version names has no lists of messages; send each by itself.",
            Self::OneByOne => "This route stands for several servers and takes no lists of messages; send each by itself.",
            Self::BesidePath => "The path says what is asked of the agent, and the body has a method of JSON-RPC; send it to a path that is no operation of HTTP+JSON or gRPC.",
            Self::Unnamed => "The body names nothing, or by what is no text of at most 1024 bytes: the name says which server is asked.",
            Self::Apart => "The messages of this list would go to different agents; send each by itself.",
        })
    }
}
