//! OpenAI's responses.

use serde_json::{Value, json};

use super::{Event, Position};
use crate::chat::Chat;

/// `response`, as it is when it is complete.
pub(super) fn whole(chat: &Chat, text: &str) -> Value {
    let status = if chat.cut_short {
        "incomplete"
    } else {
        "completed"
    };
    let mut answer = frame(chat, status);
    if chat.cut_short {
        answer["incomplete_details"] = json!({"reason": "max_output_tokens"});
    }
    answer["output"] = json!([item(chat, status, &json!([part(text)]))]);
    answer["usage"] = json!({
        "input_tokens": chat.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": chat.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": chat.total_tokens(),
    });
    answer
}

/// The events around one message of one part.
pub(super) fn event(chat: &Chat, position: Position, index: usize) -> Option<Event> {
    let within = |field: &str, value: Value| json!({"item_id": item_id(chat), "output_index": 0, "content_index": 0, field: value});
    let (name, mut data) = match position {
        Position::Lead(0) => (
            "response.created",
            json!({"response": frame(chat, "in_progress")}),
        ),
        Position::Lead(1) => (
            "response.in_progress",
            json!({"response": frame(chat, "in_progress")}),
        ),
        Position::Lead(2) => {
            let item = item(chat, "in_progress", &json!([]));
            (
                "response.output_item.added",
                json!({"output_index": 0, "item": item}),
            )
        }
        Position::Lead(_) => ("response.content_part.added", within("part", part(""))),
        Position::Word(index) => {
            let mut data = within("delta", chat.word(index).into());
            data["logprobs"] = json!([]);
            ("response.output_text.delta", data)
        }
        Position::Tail(0) => {
            let mut data = within("text", chat.text().into());
            data["logprobs"] = json!([]);
            ("response.output_text.done", data)
        }
        Position::Tail(1) => (
            "response.content_part.done",
            within("part", part(&chat.text())),
        ),
        Position::Tail(2) => {
            let item = item(chat, "completed", &json!([part(&chat.text())]));
            (
                "response.output_item.done",
                json!({"output_index": 0, "item": item}),
            )
        }
        Position::Tail(3) => {
            let name = if chat.cut_short {
                "response.incomplete"
            } else {
                "response.completed"
            };
            (name, json!({"response": whole(chat, &chat.text())}))
        }
        Position::Tail(_) => return None,
    };
    data["sequence_number"] = index.into();
    Some(Event::named(name, data))
}

fn frame(chat: &Chat, status: &str) -> Value {
    json!({
        "id": format!("resp_{}_{}", chat.agent, chat.number),
        "object": "response",
        "created_at": chat.created,
        "status": status,
        "error": null,
        "incomplete_details": null,
        "model": chat.model,
        "output": [],
        "parallel_tool_calls": true,
        "tool_choice": "auto",
        "tools": [],
        "usage": null,
    })
}

fn item(chat: &Chat, status: &str, content: &Value) -> Value {
    json!({"id": item_id(chat), "type": "message", "status": status, "role": "assistant", "content": content})
}

fn item_id(chat: &Chat) -> String {
    format!("msg_{}_{}", chat.agent, chat.number)
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}
