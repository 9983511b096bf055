//! OpenAI's own Python client, unchanged but for its base URL: it gets its answers, whole and streamed, and sees our
//! refusals as the errors that it knows.

use serde_json::{Value, json};

use crate::harness::{World, python};

#[tokio::test]
async fn the_client_gets_its_answers_whole_and_streamed() {
    let world = World::start().await;

    let seen = run(&world, "answers").await;

    let agent = seen["agent"].as_str().expect("a fingerprint");
    assert!(["chat-gpu", "chat-cpu"].contains(&agent), "{seen}");
    assert_eq!(
        seen["whole"],
        format!("This is {agent} You said: Hello there")
    );
    assert_eq!(seen["finish_reason"], "stop");
    // Two words asked, seven answered.
    assert_eq!(seen["usage"], 9);
    assert_eq!(seen["streamed_usage"], 9);
    let streamed = seen["streamed"].as_str().expect("a text");
    assert!(streamed.ends_with("You said: Hello there"), "{seen}");
    assert!(seen["streamed_pieces"].as_u64() > Some(7), "{seen}");
    // What it offers to programs that pace themselves.
    let header = |name: &str| seen["headers"][name].as_str();
    assert_eq!(header("x-ratelimit-limit-requests"), Some("500"));
    let remaining = header("x-ratelimit-remaining-requests").and_then(|text| text.parse().ok());
    assert!((97..100).contains(&remaining.unwrap_or(0)), "{seen}");
    assert!(header("x-ratelimit-reset-requests").is_some(), "{seen}");
    assert!(header("x-request-id").is_some(), "{seen}");
}

#[tokio::test]
async fn the_client_gets_models_embeddings_and_responses() {
    let world = World::start().await;

    let seen = run(&world, "first_tries").await;

    assert_eq!(seen["models"], json!([["demo", "model"]]));
    assert_eq!(seen["model"], "demo");
    assert_eq!(seen["dimensions"], json!([64, 64, 64]));
    assert_eq!(seen["same"], true, "{seen}");
    assert_eq!(seen["embedding_usage"], 8);
    assert_eq!(seen["numbers"].as_array().map(Vec::len), Some(8));
    for text in ["whole", "streamed", "final"] {
        let text = seen[text].as_str().expect("a text");
        assert!(text.starts_with("This is chat-"), "{seen}");
        assert!(text.ends_with("You said: Hello there"), "{seen}");
    }
    assert_eq!(seen["whole_status"], "completed");
    assert_eq!(seen["whole_usage"], json!([4, 7, 11]));
    assert_eq!(seen["streamed_usage"], 9);
    assert_eq!(
        seen["kinds"],
        json!([
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ])
    );
    assert_eq!(seen["bad"]["class"], "BadRequestError", "{seen}");
}

#[tokio::test]
async fn the_client_sees_a_bad_key_as_its_own_error() {
    let world = World::start().await;

    let error = run(&world, "bad_key").await;

    assert_eq!(error["class"], "AuthenticationError", "{error}");
    assert_eq!(error["status"], 401);
    assert_eq!(error["code"], "invalid_key");
    assert_eq!(error["type"], "authentication_error");
    assert!(error["request_id"].is_string(), "{error}");
}

#[tokio::test]
async fn the_client_sees_a_full_limit_as_its_own_error() {
    let world = World::with(|draft| {
        draft.configuration()["plans"]["standard"] = json!({"requests": "1/hour"});
    })
    .await;

    let error = run(&world, "limit").await;

    assert_eq!(error["class"], "RateLimitError", "{error}");
    assert_eq!(error["status"], 429);
    assert_eq!(error["code"], "rate_limited");
    assert_eq!(error["type"], "rate_limit_error");
    let retry_after = error["retry_after"]
        .as_str()
        .and_then(|text| text.parse::<u64>().ok());
    assert!(
        retry_after.is_some_and(|seconds| (3500..=3600).contains(&seconds)),
        "{error}"
    );
}

#[tokio::test]
async fn the_client_waits_as_long_as_it_is_told() {
    let world = World::with(|draft| {
        draft.configuration()["plans"]["premium"] = json!({"requests": "30/minute", "burst": 1});
    })
    .await;

    let seen = run(&world, "patience").await;

    // One request every two seconds. Its only retry would have been refused too, had it waited its usual time.
    assert_eq!(seen, json!(["stop", "stop"]));
    let metrics = world.metrics().await;
    let outcomes = ["allowed", "rate_limited"]
        .map(|outcome| metrics.sum("waykeeper_requests_total", &[("outcome", outcome)]));
    assert_eq!(outcomes, [2.0, 1.0]);
}

/// The longest wait that the client would sleep through by itself is two minutes.
#[tokio::test]
async fn the_client_does_not_sleep_through_a_wait_of_more_than_a_minute() {
    let world = World::with(|draft| {
        draft.configuration()["plans"]["standard"] = json!({"requests": "40/hour", "burst": 1});
    })
    .await;

    let error = run(&world, "long_wait").await;

    assert_eq!(error["class"], "RateLimitError", "{error}");
    let message = error["message"].as_str().expect("a message");
    let mut told = (61..=90).map(|seconds| format!("Try again in {seconds} seconds."));
    assert!(told.any(|told| message.contains(&told)), "{error}");
    let metrics = world.metrics().await;
    let refused = [("outcome", "rate_limited")];
    assert_eq!(metrics.sum("waykeeper_requests_total", &refused), 1.0);
}

/// Has the client do a case of `openai_client.py`, and takes what it saw.
async fn run(world: &World, case: &str) -> Value {
    python("openai", &format!("http://{}/v1", world.address()), case).await
}
