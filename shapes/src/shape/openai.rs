//! OpenAI's chat completions.

use serde_json::{Value, json};

use super::{Event, Position};
use crate::chat::Chat;

/// `chat.completion`.
pub(super) fn whole(chat: &Chat, text: &str, with_usage: bool) -> Value {
    let mut answer = frame(chat, "chat.completion");
    answer["choices"] = json!([{
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": null},
        "logprobs": null,
        "finish_reason": finish_reason(chat),
    }]);
    if with_usage {
        answer["usage"] = usage(chat);
    }
    answer
}

/// `chat.completion.chunk`. With `with_usage`, every chunk has `usage`, null in all but the last.
pub(super) fn event(chat: &Chat, position: Position, with_usage: bool) -> Option<Event> {
    let choice = |delta: Value, finish_reason: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
    let (choices, usage) = match position {
        Position::Lead(_) => (
            choice(json!({"role": "assistant", "content": ""}), Value::Null),
            Value::Null,
        ),
        Position::Word(index) => (
            choice(json!({"content": chat.word(index)}), Value::Null),
            Value::Null,
        ),
        Position::Tail(0) => (choice(json!({}), finish_reason(chat).into()), Value::Null),
        Position::Tail(1) if with_usage => (json!([]), usage(chat)),
        Position::Tail(_) => return None,
    };
    let mut chunk = frame(chat, "chat.completion.chunk");
    chunk["choices"] = choices;
    if with_usage {
        chunk["usage"] = usage;
    }
    Some(Event::unnamed(chunk))
}

fn frame(chat: &Chat, object: &str) -> Value {
    json!({
        "id": format!("chatcmpl-{}-{}", chat.agent, chat.number),
        "object": object,
        "created": chat.created,
        "model": chat.model,
        "system_fingerprint": chat.agent,
    })
}

fn finish_reason(chat: &Chat) -> &'static str {
    if chat.cut_short { "length" } else { "stop" }
}

fn usage(chat: &Chat) -> Value {
    json!({
        "prompt_tokens": chat.prompt_tokens,
        "completion_tokens": chat.completion_tokens,
        "total_tokens": chat.total_tokens(),
    })
}
