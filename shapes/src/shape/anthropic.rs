//! Anthropic's messages.

use serde_json::{Value, json};

use super::{Event, Position};
use crate::chat::Chat;

/// `message`.
pub(super) fn whole(chat: &Chat, text: &str) -> Value {
    message(
        chat,
        &json!([{"type": "text", "text": text}]),
        stop_reason(chat).into(),
        chat.completion_tokens,
    )
}

/// The events around one block of text. What `message_start` says of the output is only the beginning;
/// `message_delta` has the sum.
pub(super) fn event(chat: &Chat, position: Position) -> Option<Event> {
    let (name, data) = match position {
        Position::Lead(0) => {
            let message = message(chat, &json!([]), Value::Null, 1.min(chat.completion_tokens));
            ("message_start", json!({"message": message}))
        }
        Position::Lead(_) => (
            "content_block_start",
            json!({"index": 0, "content_block": {"type": "text", "text": ""}}),
        ),
        Position::Word(index) => (
            "content_block_delta",
            json!({"index": 0, "delta": {"type": "text_delta", "text": chat.word(index)}}),
        ),
        Position::Tail(0) => ("content_block_stop", json!({"index": 0})),
        Position::Tail(1) => {
            let delta = json!({"stop_reason": stop_reason(chat), "stop_sequence": null});
            (
                "message_delta",
                json!({"delta": delta, "usage": {"output_tokens": chat.completion_tokens}}),
            )
        }
        Position::Tail(2) => ("message_stop", json!({})),
        Position::Tail(_) => return None,
    };
    Some(Event::named(name, data))
}

fn message(chat: &Chat, content: &Value, stop_reason: Value, output_tokens: usize) -> Value {
    json!({
        "id": format!("msg_{}_{}", chat.agent, chat.number),
        "type": "message",
        "role": "assistant",
        "model": chat.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": {
            "input_tokens": chat.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": output_tokens,
        },
    })
}

fn stop_reason(chat: &Chat) -> &'static str {
    if chat.cut_short {
        "max_tokens"
    } else {
        "end_turn"
    }
}
