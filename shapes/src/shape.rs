//! The shapes in which agents of the field answer a chat and tell its usage: OpenAI's chat completions and responses,
//! Anthropic's messages, Gemini's contents. Each is rendered whole or as server-sent events.

mod anthropic;
mod gemini;
mod openai;
mod responses;

use serde_json::Value;

use crate::chat::Chat;

/// A shape of answer and usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
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
pub enum Position {
    /// Before the first word.
    Lead(usize),
    /// A word.
    Word(usize),
    /// After the last word.
    Tail(usize),
}

/// One event before it is sent.
#[derive(Debug)]
pub struct Event {
    name: Option<&'static str>,
    /// Not at the end of OpenAI's chats, the only event that is no JSON.
    data: Option<Value>,
    line_end: &'static str,
}

// === impl Shape ===

impl Shape {
    /// The shape of this name.
    ///
    /// # Errors
    /// Which there are.
    pub fn named(name: &str) -> Result<Self, String> {
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
    pub fn whole(self, chat: &Chat, text: &str) -> Value {
        match self {
            Self::OpenAi => openai::whole(chat, text, true),
            Self::None => openai::whole(chat, text, false),
            Self::Responses => responses::whole(chat, text),
            Self::Anthropic => anthropic::whole(chat, text),
            Self::Gemini => gemini::whole(chat, text),
        }
    }

    /// The event with this index; `None` after the last. An answer without words has the events around them.
    pub fn event(self, chat: &Chat, index: usize) -> Option<Event> {
        let position = self.position(chat, index);
        match self {
            Self::OpenAi | Self::None => {
                let usage = chat.include_usage && self == Self::OpenAi;
                if position == Position::Tail(1 + usize::from(usage)) {
                    return Some(Event::done());
                }
                openai::event(chat, position, usage)
            }
            Self::Responses => responses::event(chat, position, index),
            Self::Anthropic => anthropic::event(chat, position),
            Self::Gemini => gemini::event(chat, position),
        }
    }

    /// Where the event with this index stands.
    pub fn position(self, chat: &Chat, index: usize) -> Position {
        let leads = match self {
            Self::OpenAi | Self::None => 1,
            Self::Responses => 4,
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
    pub fn unnamed(data: Value) -> Self {
        Self {
            name: None,
            data: Some(data),
            line_end: "\n",
        }
    }

    /// The end of OpenAI's chats.
    fn done() -> Self {
        Self {
            name: None,
            data: None,
            line_end: "\n",
        }
    }

    /// An event whose name stands in its data as `type` too.
    fn named(name: &'static str, mut data: Value) -> Self {
        data["type"] = name.into();
        Self {
            name: Some(name),
            ..Self::unnamed(data)
        }
    }

    /// With one field more, if it is JSON.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        if let Some(Value::Object(fields)) = &mut self.data {
            fields.insert(name.to_owned(), value);
        }
        self
    }

    /// Its text, as it is sent.
    pub fn render(&self) -> String {
        let end = self.line_end;
        let name = self
            .name
            .map_or_else(String::new, |name| format!("event: {name}{end}"));
        match &self.data {
            Some(data) => format!("{name}data: {data}{end}{end}"),
            None => format!("{name}data: [DONE]{end}{end}"),
        }
    }
}
