//! The shapes in which agents of the field answer a chat and tell its usage: OpenAI's chat completions and responses,
//! Anthropic's messages, Gemini's contents. Each is rendered whole or as server-sent events; events carry `demo` with
//! their index and the time they were sent.

mod anthropic;
mod gemini;
mod openai;
mod responses;

use serde_json::{Value, json};

use super::chat::{Chat, milliseconds};

/// A shape of answer and usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shape {
    /// OpenAI's chat completions: streamed usage only if asked for.
    #[default]
    OpenAi,
    /// OpenAI's responses: streamed usage in `response.completed`.
    Responses,
    /// Anthropic's messages: streamed usage in `message_start` and `message_delta`.
    Anthropic,
    /// Gemini's contents: streamed usage in every event, cumulative.
    Gemini,
    /// OpenAI's chat completions without usage, even if asked for.
    None,
}

/// A position in a stream of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Before the first word.
    Lead(usize),
    /// A word.
    Word(usize),
    /// After the last word.
    Tail(usize),
}

/// One event before it is sent.
pub(super) struct Event {
    name: Option<&'static str>,
    data: Value,
    line_end: &'static str,
}

// === impl Shape ===

impl Shape {
    /// The shape of this name.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        match name {
            "openai" => Ok(Self::OpenAi),
            "responses" => Ok(Self::Responses),
            "anthropic" => Ok(Self::Anthropic),
            "gemini" => Ok(Self::Gemini),
            "none" => Ok(Self::None),
            _ => Err(format!(
                "`{name}` is no shape; there are openai, responses, anthropic, gemini, none"
            )),
        }
    }

    /// The answer in one piece, with `text` as what is said.
    pub(super) fn whole(self, chat: &Chat, text: &str) -> Value {
        match self {
            Self::OpenAi => openai::whole(chat, text, true),
            Self::None => openai::whole(chat, text, false),
            Self::Responses => responses::whole(chat, text),
            Self::Anthropic => anthropic::whole(chat, text),
            Self::Gemini => gemini::whole(chat, text),
        }
    }

    /// The text of the event with this index, with how many words were sent before it; `None` after the last. An
    /// answer without words has the events around them.
    pub(super) fn event(self, chat: &Chat, index: usize) -> Option<String> {
        let position = self.position(chat, index);
        let event = match self {
            Self::OpenAi | Self::None => {
                let usage = chat.include_usage && self == Self::OpenAi;
                if position == Position::Tail(1 + usize::from(usage)) {
                    // The only event that is no JSON.
                    return Some("data: [DONE]\n\n".to_owned());
                }
                openai::event(chat, position, usage)
            }
            Self::Responses => responses::event(chat, position, index),
            Self::Anthropic => anthropic::event(chat, position),
            Self::Gemini => gemini::event(chat, position),
        }?;
        Some(event.render(index))
    }

    /// Where the event with this index stands.
    pub(super) fn position(self, chat: &Chat, index: usize) -> Position {
        let leads = match self {
            Self::OpenAi | Self::None => 1,
            Self::Responses => 3,
            Self::Anthropic => 2,
            Self::Gemini => 0,
        };
        match index.checked_sub(leads) {
            None => Position::Lead(index),
            Some(index) if index < chat.completion_tokens => Position::Word(index),
            Some(index) => Position::Tail(index - chat.completion_tokens),
        }
    }
}

// === impl Event ===

impl Event {
    /// An event without a name.
    pub(super) fn unnamed(data: Value) -> Self {
        Self {
            name: None,
            data,
            line_end: "\n",
        }
    }

    /// An event whose name stands in its data as `type` too.
    fn named(name: &'static str, mut data: Value) -> Self {
        data["type"] = name.into();
        Self {
            name: Some(name),
            data,
            line_end: "\n",
        }
    }

    /// The event's text, sent now.
    pub(super) fn render(mut self, index: usize) -> String {
        let end = self.line_end;
        self.data["demo"] = json!({"index": index, "sent_ms": milliseconds()});
        let name = self
            .name
            .map_or_else(String::new, |name| format!("event: {name}{end}"));
        format!("{name}data: {}{end}{end}", self.data)
    }
}
