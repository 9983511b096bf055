//! Anthropic's own Python client, unchanged but for its base URL: it gets its answers, whole and streamed, and sees our
//! refusals as the errors that it knows.

use serde_json::{Value, json};

use crate::harness::{Draft, World, python};

#[tokio::test]
async fn the_client_gets_its_answers_and_sees_a_bad_key_as_its_own_error() {
    let world = World::with(only_gpu).await;

    let seen = run(&world, "answers").await;
    let refused = run(&world, "bad_question").await;
    let error = run(&world, "bad_key").await;

    let text = "This is chat-gpu You said: Hello there";
    // Two words asked, seven answered.
    assert_eq!(
        seen,
        json!({
            "whole": text,
            "stop_reason": "end_turn",
            "usage": [2, 7],
            "streamed": text,
            "streamed_usage": [2, 7],
            "events": ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"],
            "counted": 2,
            "models": [["demo", "model", "demo"]],
            "model": "demo",
        })
    );
    assert_eq!(refused["class"], "BadRequestError", "{refused}");
    assert_eq!(error["class"], "AuthenticationError", "{error}");
    assert_eq!(error["status"], 401);
    assert!(error["request_id"].is_string(), "{error}");
    assert_eq!(error["request_id"], error["x_request_id"]);
}

/// By itself the client sleeps for as long as it is told, each time that it tries again, and says nothing.
#[tokio::test]
async fn the_client_does_not_sleep_through_a_wait_of_more_than_a_minute() {
    let world = World::with(|draft| {
        draft.configuration()["plans"]["standard"] = json!({"requests": "40/hour", "burst": 1});
    })
    .await;

    let error = run(&world, "long_wait").await;

    assert_eq!(error["class"], "RateLimitError", "{error}");
    let wait = error["retry_after"].as_str().expect("a time");
    let seconds = wait.parse().expect("seconds");
    assert!((61..=90).contains(&seconds), "{error}");
    let told =
        format!("The limit \\\"plan\\\" (per client) is reached. Try again in {wait} seconds.");
    assert!(error["message"].to_string().contains(&told), "{error}");
    let metrics = world.metrics().await;
    let refused = [("outcome", "rate_limited")];
    assert_eq!(metrics.sum("waykeeper_requests_total", &refused), 1.0);
}

/// One agent for all, so that its name is known.
fn only_gpu(draft: &mut Draft) {
    for route in draft.routes() {
        route["agents"] = json!(["chat-gpu"]);
    }
}

/// Has the client do a case of `anthropic_client.py`, and takes what it saw.
async fn run(world: &World, case: &str) -> Value {
    python("anthropic", &format!("http://{}", world.address()), case).await
}
