use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn a_status_is_answered_as_asked() {
    let agent = agent().await;
    for path in ["/x", "/v1/chat/completions", "/api/v1/chat/stream"] {
        let response = send(post(&agent, path).header("x-demo-status", "502")).await;
        assert_eq!(response.status(), 502);
        let error: Value = response.json().await.unwrap();
        assert_eq!(
            error["error"]["message"],
            "chat-gpu was asked to answer 502"
        );
    }
    let response = send(get(&agent, "/x").header("x-demo-status", "201")).await;
    assert_eq!(
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap()["path"].as_str()
        ),
        (201, Some("/x"))
    );
    let response = send(get(&agent, "/x").header("x-demo-status", "204")).await;
    assert_eq!(
        (
            response.status().as_u16(),
            response.text().await.unwrap().as_str()
        ),
        (204, "")
    );
}

#[tokio::test]
async fn a_delay_comes_before_the_answer() {
    let agent = agent().await;
    let start = Instant::now();
    let response = send(get(&agent, "/x").header("x-demo-delay", "200ms")).await;
    assert_eq!(response.status(), 200);
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn only_the_first_requests_with_an_id_fail() {
    let agent = agent().await;
    let mut seen = Vec::new();
    for id in ["a", "a", "b", "a", "b", "b"] {
        let response = send(
            get(&agent, "/x")
                .header("x-demo-fail-first", "2")
                .header("x-demo-id", id),
        )
        .await;
        let attempt = response.headers()["x-demo-attempt"]
            .to_str()
            .unwrap()
            .to_owned();
        seen.push((id, attempt, response.status().as_u16()));
    }
    let expected = [
        ("a", "1", 503),
        ("a", "2", 503),
        ("b", "1", 503),
        ("a", "3", 200),
        ("b", "2", 503),
        ("b", "3", 200),
    ];
    assert_eq!(
        seen,
        expected.map(|(id, attempt, status)| (id, attempt.to_owned(), status))
    );
    let stats = agent.stats();
    assert_eq!(
        (
            stats.attempts_of("a"),
            stats.attempts_of("b"),
            stats.attempts_of("c")
        ),
        (3, 3, 0)
    );
}

#[tokio::test]
async fn what_fails_first_fails_in_the_way_that_was_asked_for() {
    let agent = agent().await;
    let ask = || {
        get(&agent, "/x")
            .header("x-demo-fail-first", "1")
            .header("x-demo-id", "a")
    };
    assert!(ask().header("x-demo-reset", "0").send().await.is_err());
    assert_eq!(send(ask().header("x-demo-reset", "0")).await.status(), 200);
}

#[tokio::test]
async fn a_reset_breaks_the_answer_off_where_asked() {
    let agent = agent().await;
    let error = get(&agent, "/x")
        .header("x-demo-reset", "0")
        .send()
        .await
        .unwrap_err();
    assert!(error.is_request(), "{error:?}");
    for (reset, expected) in [("headers", 0), ("1", 1), ("100000", 100_000)] {
        let response = send(
            get(&agent, "/x")
                .header("x-demo-size", "1000000")
                .header("x-demo-reset", reset),
        )
        .await;
        assert_eq!(
            (response.status().as_u16(), response.content_length()),
            (200, Some(1_000_000))
        );
        assert_eq!(read_until_broken(response).await, (expected, true));
    }
    let response = send(post(&agent, "/api/v1/chat/stream").header("x-demo-reset", "300")).await;
    assert_eq!(read_until_broken(response).await, (300, true));
    let response = send(get(&agent, "/x").header("x-demo-reset", "1000000")).await;
    assert!(!read_until_broken(response).await.1);
    let stats = until(&agent, |stats| stats.in_flight == 0).await;
    assert_eq!(
        (stats.total, stats.cut, stats.aborted, stats.complete),
        (6, 5, 0, 1)
    );
}

#[tokio::test]
async fn a_reset_of_http_2_ends_the_stream_alone() {
    let agent = agent().await;
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let slow = client
        .get(url(&agent, "/x"))
        .header("x-demo-delay", "300ms")
        .send();
    let slow = tokio::spawn(slow);
    until(&agent, |stats| stats.in_flight == 1).await;
    assert!(
        client
            .get(url(&agent, "/x"))
            .header("x-demo-reset", "0")
            .send()
            .await
            .is_err()
    );
    let cut = client
        .get(url(&agent, "/x"))
        .header("x-demo-reset", "10")
        .send()
        .await
        .unwrap();
    assert_eq!(read_until_broken(cut).await, (10, true));
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
}

/// How many bytes of body arrived, and whether it broke off.
async fn read_until_broken(response: Response) -> (usize, bool) {
    let mut body = response.bytes_stream();
    let mut length = 0;
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => length += piece.len(),
            Err(_) => return (length, true),
        }
    }
    (length, false)
}

#[tokio::test]
async fn a_client_that_leaves_is_counted() {
    let agent = agent().await;
    // In the middle of a stream,
    let response = send(
        get(&agent, "/x")
            .header("x-demo-events", "1000")
            .header("x-demo-interval", "10ms"),
    )
    .await;
    assert_eq!(agent.stats().in_flight, 1);
    drop(response);
    until(&agent, |stats| stats.aborted == 1).await;
    // before the answer,
    let request = tokio::spawn(get(&agent, "/x").header("x-demo-delay", "1h").send());
    until(&agent, |stats| stats.in_flight == 1).await;
    request.abort();
    until(&agent, |stats| stats.aborted == 2).await;
    // and before the end of its own request.
    let mut stream = TcpStream::connect(agent.address()).await.unwrap();
    stream
        .write_all(b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf")
        .await
        .unwrap();
    until(&agent, |stats| stats.in_flight == 1).await;
    drop(stream);
    let stats = until(&agent, |stats| stats.aborted == 3).await;
    assert_eq!((stats.total, stats.in_flight, stats.complete), (3, 0, 0));
}

#[tokio::test]
async fn wishes_work_in_the_query_too() {
    let agent = agent().await;
    assert_eq!(
        send(get(&agent, "/x?a=b&x-demo-status=418")).await.status(),
        418
    );
}

#[tokio::test]
async fn a_wish_that_makes_no_sense_is_400_and_says_why() {
    let agent = agent().await;
    let wishes = [
        (
            "x-demo-status",
            "abc",
            "x-demo-status: `abc` is no status from 200 to 599",
        ),
        (
            "x-demo-status",
            "101",
            "x-demo-status: `101` is no status from 200 to 599",
        ),
        (
            "x-demo-delay",
            "200",
            "x-demo-delay: `200` is no duration; write it as `200ms` or `2s`",
        ),
        (
            "x-demo-interval",
            "-1s",
            "x-demo-interval: `-1s` is no duration; write it as `200ms` or `2s`",
        ),
        (
            "x-demo-events",
            "many",
            "x-demo-events: `many` is no whole number from 0 to 1000000",
        ),
        (
            "x-demo-size",
            "1e6",
            "x-demo-size: `1e6` is no whole number from 0 to 18446744073709551615",
        ),
        (
            "x-demo-reset",
            "body",
            "x-demo-reset: `body` is no number of bytes; `0` sends nothing at all, `headers` the headers and no body",
        ),
        (
            "x-demo-fail-first",
            "1",
            "x-demo-fail-first: needs x-demo-id, which tells whose attempts are counted",
        ),
        ("x-demo-id", "", "x-demo-id: must have 1 to 128 characters"),
        (
            "x-demo-usage",
            "cohere",
            "x-demo-usage: `cohere` is no shape; there are openai, responses, anthropic, gemini, none",
        ),
        (
            "x-demo-encoding",
            "br",
            "x-demo-encoding: `br` is not known; there is `gzip`",
        ),
        (
            "x-demo-protocol",
            "a b",
            "x-demo-protocol: `a b` is no subprotocol; it must be a token",
        ),
        (
            "x-demo-close",
            "1006",
            "x-demo-close: `1006` is no close code that may be sent, such as 1000 or 4001",
        ),
        (
            "x-demo-dleay",
            "1s",
            "x-demo-dleay: no such wish; there are status, delay, interval, events, size, reset, fail-first, id, usage, encoding, protocol, close",
        ),
    ];
    for (name, value, expected) in wishes {
        let response = send(get(&agent, "/x").header(name, value)).await;
        assert_eq!(response.status(), 400, "{name}: {value}");
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["message"], expected);
    }
    let twice = send(get(&agent, "/x?x-demo-status=500").header("x-demo-status", "500")).await;
    assert_eq!(twice.status(), 400);
    let both = send(
        get(&agent, "/x")
            .header("x-demo-size", "1")
            .header("x-demo-events", "1"),
    )
    .await;
    assert_eq!(both.status(), 400);
}

#[tokio::test]
async fn a_stopped_agent_finishes_what_is_under_way_and_refuses_what_is_new() {
    let agent = agent().await;
    let address = agent.address();
    let request = tokio::spawn(
        get(&agent, "/x")
            .header("x-demo-events", "10")
            .header("x-demo-interval", "50ms")
            .send(),
    );
    until(&agent, |stats| stats.in_flight == 1).await;
    agent.stop().await;
    let text = request.await.unwrap().unwrap().text().await.unwrap();
    assert_eq!(text.matches("data: ").count(), 10);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_dropped_agent_ends_every_connection_at_once() {
    let agent = agent().await;
    let mut stream = TcpStream::connect(agent.address()).await.unwrap();
    stream
        .write_all(b"GET /x?x-demo-events=1000 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).await.unwrap();
    drop(agent);
    let mut rest = Vec::new();
    // Closed or reset: either way the connection is over long before a thousand events.
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok());
    assert!(!String::from_utf8_lossy(&rest).contains("\"index\":999"));
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let agent = agent().await;
    let _silent = TcpStream::connect(agent.address()).await.unwrap();
    let client = reqwest::Client::new();
    client
        .get(url(&agent, "/x"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let start = Instant::now();
    agent.stop().await;
    assert!(start.elapsed() < Duration::from_secs(3));
}
