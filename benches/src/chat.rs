//! Chats as callers ask for them, of any size: what bodies are measured with.

use std::fmt::Write;

/// The model that they ask for.
pub const MODEL: &str = "gpt-4o";

/// A model that nobody serves, with a name as long.
pub const OTHER_MODEL: &str = "gpt-3o";

/// How many bytes the messages are long, in turn: a short question, an answer, something pasted.
const LENGTHS: [usize; 3] = [40, 160, 640];

/// So many bytes of a message make a line.
const LINE: usize = 80;

const WORDS: &str = "How many roads must be walked before the answer is known? ";

/// Where a body names its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before everything else.
    First,
    /// Behind everything else.
    Last,
}

/// A chat of `size` bytes, or of as few as one can have.
#[must_use]
pub fn chat(model: &str, place: Place, size: usize) -> String {
    let model = format!("\"model\":\"{model}\"");
    let (mut text, end) = match place {
        Place::First => (format!("{{{model},\"messages\":["), "]}".to_owned()),
        Place::Last => ("{\"messages\":[".to_owned(), format!("],{model}}}")),
    };
    let size = size.saturating_sub(end.len());
    for (number, length) in LENGTHS.into_iter().cycle().enumerate() {
        let begin = if number == 0 { "" } else { "," };
        let role = if number % 2 == 0 { "user" } else { "assistant" };
        // Writing to a string does not fail.
        let _ = write!(text, "{begin}{{\"role\":\"{role}\",\"content\":\"");
        let left = size.saturating_sub(text.len() + "\"}".len());
        // No message is so short that the next could not begin.
        let is_last = left < length + 2 * LENGTHS[0];
        say(&mut text, if is_last { left } else { length });
        text += "\"}";
        if is_last {
            break;
        }
    }
    text + &end
}

/// So many bytes of a message, in lines.
fn say(text: &mut String, length: usize) {
    let end = text.len() + length;
    let mut words = WORDS.chars().cycle();
    for column in 1.. {
        match end - text.len() {
            0 => return,
            left if left >= 2 && column % LINE == 0 => *text += "\\n",
            _ => text.extend(words.next()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_is_json_of_the_size_that_was_asked_for() {
        for size in [1_000, 10_000, 1_000_000] {
            for place in [Place::First, Place::Last] {
                let text = chat(MODEL, place, size);
                assert_eq!(text.len(), size);
                let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(read["model"], MODEL);
                let messages = read["messages"].as_array().expect("messages");
                assert!(messages.len() >= size / 400, "{}", messages.len());
                assert_eq!(text.find("\"model\"") == Some(1), place == Place::First);
            }
        }
    }
}
