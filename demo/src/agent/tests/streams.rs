use std::io::Write;
use std::time::SystemTime;

use futures_util::StreamExt;
use serde_json::json;

use super::*;

const QUESTION: &str =
    r#"{"stream": true, "messages": [{"role": "user", "content": "one two three"}]}"#;

fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_millis()
        .try_into()
        .unwrap()
}

fn data(events: &[(Option<String>, String)]) -> Vec<Value> {
    events
        .iter()
        .filter(|(_, data)| data != "[DONE]")
        .map(|(_, data)| serde_json::from_str(data).unwrap())
        .collect()
}

fn names(events: &[(Option<String>, String)]) -> Vec<&str> {
    events
        .iter()
        .map(|(name, _)| name.as_deref().unwrap())
        .collect()
}

/// The streamed answer in a shape, to a question of three words and with four words.
async fn streamed(agent: &Agent, shape: &str) -> Vec<(Option<String>, String)> {
    let mut question: Value = serde_json::from_str(QUESTION).unwrap();
    question["stream_options"] = json!({"include_usage": true});
    let request = post(agent, "/v1/chat/completions")
        .header("x-demo-usage", shape)
        .header("x-demo-events", "4");
    events(request.header("x-demo-interval", "0s").json(&question)).await
}

#[tokio::test]
async fn a_streamed_chat_says_word_by_word_what_the_whole_one_says() {
    let agent = agent().await;
    let events = events(post(&agent, "/v1/chat/completions").body(QUESTION)).await;
    assert_eq!(events.last().unwrap().1, "[DONE]");
    let chunks = data(&events);
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk.get("usage").is_none()));
    assert!(
        chunks.iter().all(
            |chunk| chunk["system_fingerprint"] == "chat-gpu" && chunk["id"] == chunks[0]["id"]
        )
    );
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let said: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(said, "This is chat-gpu You said: one two three");
    // One for the role, one for the end, one for each word.
    assert_eq!(chunks.len(), 2 + 8);
    assert_eq!(
        chunks.last().unwrap()["choices"][0]["finish_reason"],
        "stop"
    );
}

#[tokio::test]
async fn the_stream_route_streams_unasked() {
    let agent = agent().await;
    for request in [
        post(&agent, "/api/v1/chat/stream"),
        get(&agent, "/api/v1/chat/stream"),
    ] {
        assert_eq!(events(request).await.last().unwrap().1, "[DONE]");
    }
}

#[tokio::test]
async fn streamed_usage_comes_last_and_only_if_asked_for() {
    let agent = agent().await;
    let events = streamed(&agent, "openai").await;
    let (done, chunks) = (&events.last().unwrap().1, data(&events));
    assert_eq!(done, "[DONE]");
    let (last, before) = chunks.split_last().unwrap();
    assert_eq!(
        last["usage"],
        json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7})
    );
    assert_eq!(last["choices"], json!([]));
    assert!(
        before
            .iter()
            .all(|chunk| chunk.get("usage") == Some(&Value::Null))
    );

    let events = streamed(&agent, "none").await;
    assert!(
        data(&events)
            .iter()
            .all(|chunk| chunk.get("usage").is_none())
    );
    assert_eq!(events.last().unwrap().1, "[DONE]");
}

#[tokio::test]
async fn responses_tell_their_usage_when_they_are_complete() {
    let agent = agent().await;
    let events = streamed(&agent, "responses").await;
    let names = names(&events);
    assert_eq!(
        (names[0], names.last()),
        ("response.created", Some(&"response.completed"))
    );
    assert_eq!(
        names
            .iter()
            .filter(|&&name| name == "response.output_text.delta")
            .count(),
        4
    );
    let events = data(&events);
    for (index, event) in events.iter().enumerate() {
        assert_eq!(
            (&event["type"], &event["sequence_number"]),
            (&json!(names[index]), &json!(index))
        );
    }
    let said: String = events
        .iter()
        .filter_map(|event| event["delta"].as_str())
        .collect();
    let last = &events.last().unwrap()["response"];
    assert_eq!(last["output"][0]["content"][0]["text"], said);
    assert_eq!(
        (
            &last["usage"]["input_tokens"],
            &last["usage"]["output_tokens"]
        ),
        (&json!(3), &json!(4))
    );
}

#[tokio::test]
async fn messages_tell_input_first_and_output_last() {
    let agent = agent().await;
    let events = streamed(&agent, "anthropic").await;
    assert_eq!(
        names(&events),
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let events = data(&events);
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 3);
    assert_eq!(events[7]["usage"], json!({"output_tokens": 4}));
}

#[tokio::test]
async fn contents_tell_their_usage_in_every_event() {
    let agent = agent().await;
    let request =
        post(&agent, "/v1beta/models/g:streamGenerateContent").header("x-demo-usage", "gemini");
    let request = request
        .header("x-demo-events", "4")
        .json(&json!({"contents": [{"parts": [{"text": "a b c"}]}]}));
    let events = data(&events(request).await);
    for (index, event) in events.iter().enumerate() {
        let usage = json!({"promptTokenCount": 3, "candidatesTokenCount": index + 1, "totalTokenCount": index + 4});
        assert_eq!(event["usageMetadata"], usage);
    }
    assert_eq!(
        (events.len(), &events[3]["candidates"][0]["finishReason"]),
        (4, &json!("STOP"))
    );
}

#[tokio::test]
async fn other_paths_have_events_that_say_when_they_were_sent() {
    let agent = agent().await;
    let events = data(&events(get(&agent, "/events").header("x-demo-events", "3")).await);
    assert_eq!(events.len(), 3);
    for (index, event) in events.iter().enumerate() {
        assert_eq!(
            (&event["agent"], &event["demo"]["index"]),
            (&json!("chat-gpu"), &json!(index))
        );
    }
    let none = send(get(&agent, "/events").header("x-demo-events", "0")).await;
    assert_eq!(none.text().await.unwrap(), "");
}

/// Reads a stream of events 150 ms apart, piece by piece, and demands that each arrives before the next is sent.
async fn arrives_when_sent(request: RequestBuilder, mut decode: impl FnMut(&[u8]) -> String) {
    let response = send(
        request
            .header("x-demo-events", "5")
            .header("x-demo-interval", "150ms"),
    )
    .await;
    let mut body = response.bytes_stream();
    let (mut text, mut arrivals) = (String::new(), Vec::new());
    while let Some(piece) = body.next().await {
        text.push_str(&decode(&piece.unwrap()));
        while let Some((event, rest)) = text.split_once("\n\n") {
            let event: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
            arrivals.push((event["demo"]["sent_ms"].as_u64().unwrap(), now()));
            text = rest.to_owned();
        }
    }
    assert_eq!(arrivals.len(), 5);
    for pair in arrivals.windows(2) {
        let ((sent, arrived), (next, _)) = (pair[0], pair[1]);
        assert!(sent <= arrived && arrived < next, "{arrivals:?}");
        assert!(next >= sent + 100, "{arrivals:?}");
    }
}

#[tokio::test]
async fn each_event_arrives_when_it_is_sent() {
    let agent = agent().await;
    arrives_when_sent(get(&agent, "/events"), |bytes| {
        String::from_utf8(bytes.to_vec()).unwrap()
    })
    .await;
}

#[tokio::test]
async fn each_event_arrives_when_it_is_sent_though_compressed() {
    let agent = agent().await;
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    arrives_when_sent(
        get(&agent, "/events").header("x-demo-encoding", "gzip"),
        move |bytes| {
            decoder.write_all(bytes).unwrap();
            decoder.flush().unwrap();
            String::from_utf8(std::mem::take(decoder.get_mut())).unwrap()
        },
    )
    .await;
}

#[tokio::test]
async fn a_compressed_answer_is_the_same_answer() {
    let agent = agent().await;
    let ask = || get(&agent, "/x").header("x-demo-size", "1000000");
    let plain = send(ask()).await.bytes().await.unwrap();
    let response = send(ask().header("x-demo-encoding", "gzip")).await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert!(!response.headers().contains_key("content-length"));
    let compressed = response.bytes().await.unwrap();
    assert!(compressed.len() < plain.len() / 2);
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    decoder.write_all(&compressed).unwrap();
    assert!(decoder.finish().unwrap() == plain);
}
