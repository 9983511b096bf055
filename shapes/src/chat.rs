//! A chat, whatever the shape it is told in: what was asked, which words answer it, and what they cost. A word counts
//! as one token, so that usage can be checked by counting.

use std::num::NonZeroUsize;

use serde::Deserialize;
use serde_json::Value;

/// So many words of the question come back in the answer.
const MAX_ECHOED: usize = 64;

/// Stands where a rendered answer can be made longer. It is taken out of everything that came with the request.
pub const PADDING: char = '\u{10fffd}';

/// A chat: the question as far as it matters, and the answer.
#[derive(Debug)]
pub struct Chat {
    /// Which agent answers.
    pub(crate) agent: String,
    /// Tells one answer from another.
    pub(crate) number: u64,
    /// When it was asked, in seconds since 1970.
    pub(crate) created: u64,
    /// The model asked for; the agent's name if none was.
    pub(crate) model: String,
    /// The answer comes as events.
    pub(crate) stream: bool,
    /// The caller asked for usage in the stream.
    pub(crate) include_usage: bool,
    /// The words of the question.
    pub(crate) prompt_tokens: usize,
    /// How many words the answer has.
    pub(crate) completion_tokens: usize,
    /// The answer was cut short by the caller's limit.
    pub(crate) cut_short: bool,
    words: Vec<String>,
}

/// What the shapes of request have in common. Fields that no answer depends on are not looked at.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Request {
    model: Option<String>,
    messages: Option<Vec<Value>>,
    input: Option<Value>,
    contents: Option<Vec<Value>>,
    system: Option<Value>,
    instructions: Option<Value>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<NonZeroUsize>,
    max_completion_tokens: Option<NonZeroUsize>,
    max_output_tokens: Option<NonZeroUsize>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamOptions {
    include_usage: Option<bool>,
}

// === impl Chat ===

impl Chat {
    /// Reads a request in the shape of OpenAI, Anthropic or Gemini and thinks of an answer; `words` is how many words it
    /// shall have. A body without bytes asks nothing and is answered all the same.
    ///
    /// # Errors
    /// What is wrong with the request, for its sender.
    pub fn read(
        agent: &str,
        number: u64,
        body: &[u8],
        words: Option<usize>,
    ) -> Result<Self, String> {
        let request: Request = if body.is_empty() {
            Request::default()
        } else if !body.trim_ascii_start().starts_with(b"{") {
            // serde would read a list as the fields in their order.
            return Err("the body is no chat request: it must be a JSON object".to_owned());
        } else {
            serde_json::from_slice(body)
                .map_err(|error| format!("the body is no chat request: {error}"))?
        };
        let mut texts = Vec::new();
        let lists = request.messages.iter().chain(&request.contents).flatten();
        for value in lists.chain(&request.system).chain(&request.instructions) {
            collect(value, &mut texts);
        }
        // The question itself comes last.
        let mut question = Vec::new();
        let last = request
            .messages
            .as_ref()
            .or(request.contents.as_ref())
            .and_then(|list| list.last());
        request
            .input
            .iter()
            .for_each(|input| collect(input, &mut texts));
        last.or(request.input.as_ref())
            .into_iter()
            .for_each(|value| collect(value, &mut question));

        let mut answer: Vec<String> = ["This", "is", agent].map(clean).into();
        let echoed: Vec<_> = question
            .iter()
            .flat_map(|text| text.split_whitespace())
            .take(MAX_ECHOED)
            .collect();
        if !echoed.is_empty() {
            answer.extend(["You", "said:"].map(str::to_owned));
            answer.extend(echoed.into_iter().map(clean));
        }
        answer.retain(|word| !word.is_empty());
        let full = words.unwrap_or(answer.len());
        let limits = [
            request.max_completion_tokens,
            request.max_output_tokens,
            request.max_tokens,
        ];
        let limit = limits
            .into_iter()
            .flatten()
            .map(NonZeroUsize::get)
            .min()
            .unwrap_or(usize::MAX);
        Ok(Self {
            agent: clean(agent),
            number,
            created: milliseconds() / 1000,
            model: request
                .model
                .map_or_else(|| clean(agent), |model| clean(&model)),
            stream: request.stream.unwrap_or(false),
            include_usage: request
                .stream_options
                .and_then(|options| options.include_usage)
                .unwrap_or(false),
            prompt_tokens: texts
                .iter()
                .map(|text| text.split_whitespace().count())
                .sum(),
            completion_tokens: full.min(limit),
            cut_short: limit < full,
            words: answer,
        })
    }

    /// A word of the answer with the space before it. Answers longer than what there is to say begin again.
    pub fn word(&self, index: usize) -> String {
        let word = self
            .words
            .get(index % self.words.len().max(1))
            .map_or("", String::as_str);
        if index == 0 {
            word.to_owned()
        } else {
            format!(" {word}")
        }
    }

    /// The whole answer.
    pub fn text(&self) -> String {
        (0..self.completion_tokens)
            .map(|index| self.word(index))
            .collect()
    }

    /// Whether the caller asks for events.
    pub fn stream(&self) -> bool {
        self.stream
    }

    /// The tokens of the question.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// The tokens of question and answer.
    pub fn total_tokens(&self) -> usize {
        self.prompt_tokens + self.completion_tokens
    }
}

/// The time now, in milliseconds since 1970.
pub fn milliseconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// The texts of a message, wherever its shape keeps them. serde_json bounds how deep they lie.
fn collect<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(values) => values.iter().for_each(|value| collect(value, texts)),
        Value::Object(fields) => {
            ["content", "parts", "text"]
                .iter()
                .filter_map(|&name| fields.get(name))
                .for_each(|value| {
                    collect(value, texts);
                });
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn clean(text: &str) -> String {
    text.chars()
        .filter(|&character| character != PADDING)
        .collect()
}
