//! OpenAI's embeddings. What is embedded is the set of words: the same words have the same vector, texts that share words
//! are near each other, and others are not. So a search by such vectors finds something, which random ones would not.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Map, Value, json};

/// The numbers of a vector, unless the caller asks for another size.
const DIMENSIONS: usize = 64;
const MOST_DIMENSIONS: usize = 4096;
/// As OpenAI bounds them.
const MOST_INPUTS: usize = 2048;
/// Of all vectors of an answer together, which is held in memory.
const MOST_NUMBERS: usize = 1 << 20;
/// Each word stands in so many places of the vector.
const PLACES: usize = 4;

/// A question for vectors.
#[derive(Debug)]
pub(crate) struct Embeddings {
    model: String,
    /// The words of each text.
    inputs: Vec<Vec<String>>,
    dimensions: usize,
    /// In base64, as OpenAI's own clients ask for them, rather than as numbers.
    base64: bool,
}

impl Embeddings {
    /// Reads a request.
    pub(crate) fn read(agent: &str, question: &[u8]) -> Result<Self, String> {
        let request: Map<String, Value> = serde_json::from_slice(question)
            .map_err(|error| format!("the body is no JSON object: {error}"))?;
        let field = |name: &str| request.get(name).filter(|value| !value.is_null());
        let inputs = inputs(field("input").ok_or("input: is missing")?)?;
        let dimensions = match field("dimensions") {
            None => DIMENSIONS,
            Some(value) => value
                .as_u64()
                .and_then(|count| usize::try_from(count).ok())
                .filter(|count| (1..=MOST_DIMENSIONS).contains(count))
                .ok_or_else(|| {
                    format!("dimensions: must be a whole number from 1 to {MOST_DIMENSIONS}")
                })?,
        };
        if inputs.len() * dimensions > MOST_NUMBERS {
            return Err(format!(
                "input: {} vectors of {dimensions} numbers are more than the {MOST_NUMBERS} numbers of an answer; ask in parts",
                inputs.len()
            ));
        }
        let base64 = match field("encoding_format").map(Value::as_str) {
            None | Some(Some("float")) => false,
            Some(Some("base64")) => true,
            Some(_) => return Err("encoding_format: must be float or base64".to_owned()),
        };
        let model = match field("model") {
            None => agent.to_owned(),
            Some(Value::String(model)) => model.clone(),
            Some(_) => return Err("model: must be a text".to_owned()),
        };
        Ok(Self {
            model,
            inputs,
            dimensions,
            base64,
        })
    }

    pub(crate) fn answer(&self) -> Value {
        let data = self.inputs.iter().enumerate().map(|(index, words)| {
            let vector = vector(words, self.dimensions);
            let embedding = if self.base64 {
                let bytes: Vec<u8> = vector
                    .iter()
                    .flat_map(|number| number.to_le_bytes())
                    .collect();
                Value::from(BASE64_STANDARD.encode(bytes))
            } else {
                Value::from(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        });
        let tokens: usize = self.inputs.iter().map(Vec::len).sum();
        json!({
            "object": "list",
            "data": data.collect::<Vec<_>>(),
            "model": self.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        })
    }
}

/// A text, a list of texts, a text as tokens, or a list of such.
fn inputs(value: &Value) -> Result<Vec<Vec<String>>, String> {
    let wrong = || "input: must be a text, a list of texts, or tokens in their place".to_owned();
    let inputs = match value {
        Value::String(text) => vec![words(text)],
        Value::Array(items) if items.len() > MOST_INPUTS && !items.iter().all(Value::is_u64) => {
            return Err(format!("input: may be up to {MOST_INPUTS} texts"));
        }
        Value::Array(items) if items.iter().all(Value::is_u64) => vec![tokens(items)],
        Value::Array(items) => {
            let read = |item: &Value| match item {
                Value::String(text) => Some(words(text)),
                Value::Array(items) if items.iter().all(Value::is_u64) => Some(tokens(items)),
                _ => None,
            };
            items
                .iter()
                .map(read)
                .collect::<Option<_>>()
                .ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    if inputs.iter().any(Vec::is_empty) {
        return Err("input: must not be empty".to_owned());
    }
    Ok(inputs)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_lowercase).collect()
}

fn tokens(items: &[Value]) -> Vec<String> {
    items.iter().map(Value::to_string).collect()
}

/// A vector of length 1.
fn vector(words: &[String], dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0_f32; dimensions];
    for word in words {
        let mut state = hash(word.as_bytes());
        for _ in 0..PLACES {
            state = mixed(state);
            let sign = if state >> 63 == 0 { 1.0 } else { -1.0 };
            let place = state % dimensions as u64;
            if let Some(number) = usize::try_from(place)
                .ok()
                .and_then(|place| vector.get_mut(place))
            {
                *number += sign;
            }
        }
    }
    let length = vector
        .iter()
        .map(|number| number * number)
        .sum::<f32>()
        .sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|number| *number /= length);
    } else if let Some(first) = vector.first_mut() {
        // What cancels itself out has a direction all the same.
        *first = 1.0;
    }
    vector
}

/// FNV-1a: the same in every build, as vectors are kept.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |state, byte| {
        (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A step of SplitMix64.
fn mixed(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
