use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use crate::{Dialect, Endpoint, Plain, Shape};

fn embedded(question: &Value) -> Result<Value, String> {
    Plain::Embeddings.answer("a", "m", question.to_string().as_bytes())
}

fn vector(question: &Value) -> Vec<f64> {
    let answer = embedded(question).unwrap();
    let numbers = answer["data"][0]["embedding"].as_array().unwrap();
    numbers
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

fn nearness(left: &[f64], right: &[f64]) -> f64 {
    left.iter()
        .zip(right)
        .map(|(left, right)| left * right)
        .sum()
}

#[test]
fn a_path_is_a_question_wherever_it_begins() {
    let of = |method: &str, path: &str| Endpoint::of(method, path, Dialect::OpenAi);
    for base in ["", "/v1", "/openai/v1", "/openai/deployments/x"] {
        let at = |path: &str| format!("{base}{path}");
        assert_eq!(
            of("POST", &at("/chat/completions")),
            Some(Endpoint::Chat(Shape::OpenAi))
        );
        assert_eq!(
            of("POST", &at("/responses")),
            Some(Endpoint::Chat(Shape::Responses))
        );
        assert_eq!(
            of("POST", &at("/messages")),
            Some(Endpoint::Chat(Shape::Anthropic))
        );
        assert_eq!(
            of("POST", &at("/embeddings")),
            Some(Endpoint::Plain(Plain::Embeddings))
        );
        assert_eq!(
            of("POST", &at("/messages/count_tokens")),
            Some(Endpoint::Plain(Plain::CountTokens))
        );
        let model = |name: &str| {
            Some(Endpoint::Plain(Plain::Model(
                name.to_owned(),
                Dialect::OpenAi,
            )))
        };
        assert_eq!(of("GET", &at("/models/a%2Fb")), model("a/b"));
        assert_eq!(of("GET", &at("/models/a/b")), model("a/b"));
        assert_eq!(
            of("GET", &at("/models")),
            Some(Endpoint::Plain(Plain::Models(Dialect::OpenAi)))
        );
    }
    for (method, path) in [
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/models"),
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/%ff"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/"),
        ("GET", "/v1/responses/resp_1"),
    ] {
        assert_eq!(of(method, path), None, "{method} {path}");
    }
}

#[test]
fn texts_that_share_words_are_near_each_other() {
    let [one, same, near, far] = [
        "the cat sat",
        "The  cat sat",
        "the cat ran",
        "tax returns due",
    ]
    .map(|text| vector(&json!({"input": text, "dimensions": 1024})));
    assert!(nearness(&one, &one) > 0.999, "has length 1");
    assert_eq!(one, same);
    assert!(nearness(&one, &near) > 0.5);
    assert!(nearness(&one, &far).abs() < 0.3);
}

#[test]
fn a_vector_in_base64_holds_the_same_numbers() {
    let question = json!({"model": "e", "input": ["one two", "three"], "encoding_format": "base64", "dimensions": 8});
    let answer = embedded(&question).unwrap();
    assert_eq!(answer["model"], "e");
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": 3, "total_tokens": 3})
    );
    assert_eq!(answer["data"][1]["index"], 1);
    let bytes = BASE64_STANDARD
        .decode(answer["data"][0]["embedding"].as_str().unwrap())
        .unwrap();
    let numbers: Vec<f64> = bytes
        .chunks(4)
        .map(|four| f64::from(f32::from_le_bytes(four.try_into().unwrap())))
        .collect();
    assert_eq!(
        numbers,
        vector(&json!({"input": "one two", "dimensions": 8}))
    );
}

#[test]
fn every_form_of_input_is_embedded_and_no_other() {
    for (input, texts, tokens) in [
        (json!("a b"), 1, 2),
        (json!(["a b", "c"]), 2, 3),
        (json!([1, 2, 3]), 1, 3),
        (json!([[1, 2], [3]]), 2, 3),
        (json!(vec![1; 3000]), 1, 3000),
    ] {
        let answer = embedded(&json!({"input": input})).unwrap();
        assert_eq!(answer["data"].as_array().unwrap().len(), texts, "{input}");
        assert_eq!(answer["usage"]["prompt_tokens"], tokens, "{input}");
    }
    for (question, told) in [
        (json!({}), "input: is missing"),
        (json!({"input": null}), "input: is missing"),
        (json!({"input": ""}), "must not be empty"),
        (json!({"input": []}), "must not be empty"),
        (json!({"input": ["a", []]}), "must not be empty"),
        (json!({"input": {"a": 1}}), "must be a text"),
        (json!({"input": ["a", 1]}), "must be a text"),
        (json!({"input": [1.5]}), "must be a text"),
        (json!({"input": vec!["a"; 2049]}), "up to 2048"),
        (
            json!({"input": vec!["a"; 2048], "dimensions": 4096}),
            "ask in parts",
        ),
        (
            json!({"input": "a", "dimensions": 0}),
            "dimensions: must be",
        ),
        (
            json!({"input": "a", "dimensions": 4097}),
            "dimensions: must be",
        ),
        (
            json!({"input": "a", "encoding_format": "hex"}),
            "float or base64",
        ),
        (json!({"input": "a", "model": 1}), "model: must be a text"),
        (json!([]), "no JSON object"),
    ] {
        let error = embedded(&question).unwrap_err();
        assert!(error.contains(told), "{question}: {error}");
    }
}

#[test]
fn tokens_are_counted_as_the_answer_counts_them() {
    let question = json!({"model": "m", "system": "one", "messages": [{"role": "user", "content": "two three"}]});
    let counted = Plain::CountTokens.answer("a", "m", question.to_string().as_bytes());
    assert_eq!(counted, Ok(json!({"input_tokens": 3})));
}
