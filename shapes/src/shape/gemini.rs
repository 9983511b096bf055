//! Gemini's contents. Its events end their lines with CR LF, which a reader of event streams must take as well.

use serde_json::{Value, json};

use super::{Event, Position};
use crate::chat::Chat;

/// `GenerateContentResponse`.
pub(super) fn whole(chat: &Chat, text: &str) -> Value {
    response(
        chat,
        text,
        Some(finish_reason(chat)),
        chat.completion_tokens,
    )
}

/// One response for each word, its usage that of all words so far. An answer without words is one response.
pub(super) fn event(chat: &Chat, position: Position) -> Option<Event> {
    let data = match position {
        Position::Word(index) => {
            let sent = index + 1;
            let finish = (sent == chat.completion_tokens).then(|| finish_reason(chat));
            response(chat, &chat.word(index), finish, sent)
        }
        Position::Tail(0) if chat.completion_tokens == 0 => whole(chat, ""),
        Position::Lead(_) | Position::Tail(_) => return None,
    };
    Some(Event {
        line_end: "\r\n",
        ..Event::unnamed(data)
    })
}

fn response(chat: &Chat, text: &str, finish_reason: Option<&str>, sent: usize) -> Value {
    let mut candidate =
        json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": 0});
    if let Some(reason) = finish_reason {
        candidate["finishReason"] = reason.into();
    }
    json!({
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": chat.prompt_tokens,
            "candidatesTokenCount": sent,
            "totalTokenCount": chat.prompt_tokens + sent,
        },
        "modelVersion": chat.model,
        "responseId": format!("{}-{}", chat.agent, chat.number),
    })
}

fn finish_reason(chat: &Chat) -> &'static str {
    if chat.cut_short { "MAX_TOKENS" } else { "STOP" }
}
