//! Which request asks what.

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::chat::Chat;
use crate::embeddings::Embeddings;
use crate::models;
use crate::shape::Shape;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A chat, whole or streamed.
    Chat(Shape),
    /// Something that is answered in one piece.
    Plain(Plain),
}

/// What is always answered in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plain {
    /// OpenAI's embeddings.
    Embeddings,
    /// How many tokens Anthropic's messages have.
    CountTokens,
    /// The list of models, in one dialect or the other.
    Models(Dialect),
    /// One model by its name.
    Model(String, Dialect),
}

/// Whose clients are spoken to, where they differ in what surrounds an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's, and all that are like it.
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

// === impl Endpoint ===

impl Endpoint {
    /// What a request to this path (without its query) asks for, wherever the path begins; `dialect` is the caller's, which
    /// matters where both have the same path.
    pub fn of(method: &str, path: &str, dialect: Dialect) -> Option<Self> {
        let ends = |end: &str| path.ends_with(end);
        let endpoint = match method {
            "POST" if ends("/chat/completions") => Self::Chat(Shape::OpenAi),
            "POST" if ends("/responses") => Self::Chat(Shape::Responses),
            "POST" if ends("/messages") => Self::Chat(Shape::Anthropic),
            "POST" if ends("/messages/count_tokens") => Self::Plain(Plain::CountTokens),
            "POST" if ends("/embeddings") => Self::Plain(Plain::Embeddings),
            "GET" if ends("/models") => Self::Plain(Plain::Models(dialect)),
            "GET" => {
                let (_, name) = path.split_once("/models/")?;
                let name = percent_decode_str(name).decode_utf8().ok()?;
                if name.is_empty() {
                    return None;
                }
                Self::Plain(Plain::Model(name.into_owned(), dialect))
            }
            _ => return None,
        };
        Some(endpoint)
    }

    /// Whose shape its errors have.
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Chat(Shape::Anthropic) | Self::Plain(Plain::CountTokens) => Dialect::Anthropic,
            Self::Plain(Plain::Models(dialect) | Plain::Model(_, dialect)) => *dialect,
            Self::Chat(_) | Self::Plain(Plain::Embeddings) => Dialect::OpenAi,
        }
    }
}

// === impl Plain ===

impl Plain {
    /// The answer of `agent`, which has one model, `model`.
    ///
    /// # Errors
    /// What is wrong with the question, for its sender.
    pub fn answer(&self, agent: &str, model: &str, question: &[u8]) -> Result<Value, String> {
        match self {
            Self::Embeddings => Ok(Embeddings::read(agent, question)?.answer()),
            Self::CountTokens => {
                let chat = Chat::read(agent, 0, question, None)?;
                Ok(json!({"input_tokens": chat.prompt_tokens()}))
            }
            Self::Models(dialect) => Ok(models::list(model, *dialect)),
            Self::Model(name, dialect) => Ok(models::one(name, *dialect)),
        }
    }
}

// === impl Dialect ===

impl Dialect {
    /// An error as clients of this dialect read it.
    pub fn error(self, kind: &str, message: &str) -> Value {
        match self {
            Self::OpenAi => {
                json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
            }
            Self::Anthropic => {
                json!({"type": "error", "error": {"type": kind, "message": message}})
            }
        }
    }
}
