use serde_json::json;

use super::*;

fn question() -> Value {
    json!({"model": "gpt-demo", "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "How do you do?"}]},
    ]})
}

fn words(value: &Value) -> usize {
    value.as_str().unwrap().split_whitespace().count()
}

#[tokio::test]
async fn a_chat_is_answered_as_openai_does() {
    let agent = agent().await;
    for path in [
        "/v1/chat/completions",
        "/openai/deployments/x/chat/completions",
        "/api/v1/chat",
    ] {
        let answer = json(post(&agent, path).json(&question())).await;
        assert_eq!(answer["object"], "chat.completion");
        assert_eq!(
            (&answer["model"], &answer["system_fingerprint"]),
            (&json!("gpt-demo"), &json!("chat-gpu"))
        );
        let choice = &answer["choices"][0];
        assert_eq!(
            choice["message"]["content"],
            "This is chat-gpu You said: How do you do?"
        );
        assert_eq!(
            (&choice["message"]["role"], &choice["finish_reason"]),
            (&json!("assistant"), &json!("stop"))
        );
        assert_eq!(
            answer["usage"],
            json!({"prompt_tokens": 6, "completion_tokens": 9, "total_tokens": 15})
        );
    }
}

#[tokio::test]
async fn an_answer_ends_at_the_limit_of_the_caller() {
    let agent = agent().await;
    for limit in ["max_tokens", "max_completion_tokens"] {
        let mut question = question();
        question[limit] = json!(3);
        let answer = json(post(&agent, "/v1/chat/completions").json(&question)).await;
        assert_eq!(
            answer["choices"][0]["message"]["content"],
            "This is chat-gpu"
        );
        assert_eq!(
            (
                &answer["choices"][0]["finish_reason"],
                &answer["usage"]["completion_tokens"]
            ),
            (&json!("length"), &json!(3))
        );
    }
}

#[tokio::test]
async fn usage_has_the_shape_that_was_asked_for_and_counts_the_words() {
    let agent = agent().await;
    let ask = |shape: &'static str| {
        json(
            post(&agent, "/v1/anything")
                .header("x-demo-usage", shape)
                .header("x-demo-events", "5")
                .json(&question()),
        )
    };
    let answer = ask("openai").await;
    assert_eq!(words(&answer["choices"][0]["message"]["content"]), 5);
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": 6, "completion_tokens": 5, "total_tokens": 11})
    );

    let answer = ask("responses").await;
    assert_eq!(words(&answer["output"][0]["content"][0]["text"]), 5);
    let usage = &answer["usage"];
    assert_eq!(
        (
            &usage["input_tokens"],
            &usage["output_tokens"],
            &usage["total_tokens"]
        ),
        (&json!(6), &json!(5), &json!(11))
    );

    let answer = ask("anthropic").await;
    assert_eq!(words(&answer["content"][0]["text"]), 5);
    assert_eq!(
        (
            &answer["usage"]["input_tokens"],
            &answer["usage"]["output_tokens"]
        ),
        (&json!(6), &json!(5))
    );
    assert_eq!(answer["usage"]["cache_read_input_tokens"], 0);

    let answer = ask("gemini").await;
    assert_eq!(
        words(&answer["candidates"][0]["content"]["parts"][0]["text"]),
        5
    );
    assert_eq!(
        answer["usageMetadata"],
        json!({"promptTokenCount": 6, "candidatesTokenCount": 5, "totalTokenCount": 11})
    );

    let answer = ask("none").await;
    assert_eq!(words(&answer["choices"][0]["message"]["content"]), 5);
    assert!(answer.get("usage").is_none());
}

#[tokio::test]
async fn questions_of_every_shape_are_counted() {
    let agent = agent().await;
    let questions = [
        json!({"input": "one two three"}),
        json!({"instructions": "one", "input": [{"role": "user", "content": [{"type": "input_text", "text": "two three"}]}]}),
        json!({"system": "one", "messages": [{"role": "user", "content": "two three"}]}),
        json!({"contents": [{"role": "user", "parts": [{"text": "one two"}, {"text": "three"}]}]}),
    ];
    for question in questions {
        let answer = json(post(&agent, "/v1/chat/completions").json(&question)).await;
        assert_eq!(answer["usage"]["prompt_tokens"], 3, "{question}");
        assert!(
            answer["choices"][0]["message"]["content"]
                .as_str()
                .unwrap()
                .ends_with("three"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_chat_can_be_made_any_length_to_the_byte() {
    let agent = agent().await;
    for shape in ["openai", "responses", "anthropic", "gemini", "none"] {
        let request = post(&agent, "/v1/chat/completions")
            .header("x-demo-usage", shape)
            .json(&question());
        let response = send(request.header("x-demo-size", "300000")).await;
        assert_eq!(response.headers()["content-length"], "300000");
        let text = response.text().await.unwrap();
        assert_eq!(text.len(), 300_000);
        serde_json::from_str::<Value>(&text).unwrap();
    }
    let response = send(
        post(&agent, "/api/v1/chat")
            .header("x-demo-size", "10")
            .json(&question()),
    )
    .await;
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn what_is_no_chat_request_is_400() {
    let agent = agent().await;
    for body in [
        "no json",
        "[]",
        r#"{"messages": "hello"}"#,
        r#"{"stream": "yes"}"#,
        r#"{"max_tokens": 0}"#,
    ] {
        let response = send(post(&agent, "/v1/chat/completions").body(body)).await;
        assert_eq!(response.status(), 400, "{body}");
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["type"], "invalid_request_error");
    }
    assert_eq!(
        send(post(&agent, "/v1/chat/completions")).await.status(),
        200
    );
}

#[tokio::test]
async fn a_question_too_large_to_hold_is_413() {
    let agent = agent().await;
    let response =
        send(post(&agent, "/v1/chat/completions").body(vec![b' '; (16 << 20) + 1])).await;
    assert_eq!(response.status(), 413);
}
