use futures_util::stream;
use http_body_util::BodyExt;
use reqwest::{Method, header::HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::agent::Echo;
use crate::agent::byte_at;
use crate::text;

const PIECE: usize = 1 << 20;

async fn echo(request: RequestBuilder) -> Echo {
    send(request).await.json().await.unwrap()
}

#[tokio::test]
async fn a_request_comes_back_as_it_arrived() {
    let agent = agent().await;
    let body = "x".repeat(300);
    let echo = echo(post(&agent, "/api/v1/tools/a%2Fb?x=1&y=%20").body(body.clone())).await;
    assert_eq!(
        (echo.agent.as_str(), echo.method.as_str()),
        ("chat-gpu", "POST")
    );
    assert_eq!(
        (echo.path.as_str(), echo.query.as_deref()),
        ("/api/v1/tools/a%2Fb", Some("x=1&y=%20"))
    );
    assert_eq!(
        (echo.body_bytes, echo.body_sha256),
        (300, text::sha256(body.as_bytes()))
    );
    assert_eq!(echo.body_start, "x".repeat(256));
}

#[tokio::test]
async fn headers_keep_their_order_their_repeats_and_their_bytes() {
    let agent = agent().await;
    let mut stream = TcpStream::connect(agent.address()).await.unwrap();
    let request = b"GET /x HTTP/1.1\r\nX-Zebra: 1\r\nHost: a\r\nX-Alpha: \xff\xc3\xa9\r\nx-zebra: 2\r\nX-Empty:\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let expected = r#""headers":{"x-zebra":["1","2"],"host":["a"],"x-alpha":["ÿÃ©"],"x-empty":[""],"connection":["close"]}"#;
    assert!(body.contains(expected), "{body}");
    assert!(
        body.starts_with(
            r#"{"agent":"chat-gpu","method":"GET","path":"/x","query":null,"headers":"#
        ),
        "{body}"
    );
}

#[tokio::test]
async fn cleartext_http_2_is_served_on_the_same_port() {
    let agent = agent().await;
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let response = client
        .get(url(&agent, "/x"))
        .header("x-long", "l".repeat(50_000))
        .send()
        .await
        .unwrap();
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    assert_eq!(response.headers()["x-demo-agent"], "chat-gpu");
    let echo: Echo = response.json().await.unwrap();
    assert_eq!(
        echo.headers.get("host"),
        Some(agent.address().to_string().as_str())
    );
    assert_eq!(echo.headers.get("x-long").unwrap().len(), 50_000);
    assert_eq!(agent.stats().last[0].version, "HTTP/2.0");
    get(&agent, "/x").send().await.unwrap();
    assert_eq!(agent.stats().last[1].version, "HTTP/1.1");
}

#[tokio::test]
async fn as_many_headers_as_a_proxy_passes_on_are_accepted() {
    let agent = agent().await;
    let request = (0..150).fold(get(&agent, "/x"), |request, index| {
        request.header(format!("x-{index}"), "v")
    });
    assert_eq!(echo(request).await.headers.get("x-149"), Some("v"));
}

#[tokio::test]
async fn an_upload_of_any_size_is_hashed() {
    let agent = agent().await;
    let pieces = stream::iter((0..50).map(|_| Ok::<_, std::io::Error>(vec![b'u'; PIECE])));
    let echo = echo(post(&agent, "/upload").body(reqwest::Body::wrap_stream(pieces))).await;
    assert_eq!(echo.body_bytes, 50 << 20);
    assert_eq!(echo.body_sha256, text::sha256(&vec![b'u'; 50 << 20]));
}

#[tokio::test]
async fn a_download_has_the_size_that_was_asked_for() {
    let agent = agent().await;
    for size in [0, 1, 64_256, 64_257, 5_000_000] {
        let response = send(get(&agent, "/download").header("x-demo-size", size.to_string())).await;
        assert_eq!(
            response.headers()["content-length"],
            size.to_string().as_str()
        );
        let body = response.bytes().await.unwrap();
        assert_eq!(body.len() as u64, size);
        assert!(
            body.iter()
                .enumerate()
                .all(|(position, &byte)| byte == byte_at(position as u64))
        );
    }
    let stats = until(&agent, |stats| stats.in_flight == 0).await;
    assert_eq!((stats.total, stats.complete, stats.aborted), (5, 5, 0));
}

#[tokio::test]
async fn a_head_request_has_the_headers_of_its_answer() {
    let agent = agent().await;
    let response = send(reqwest::Client::new().head(url(&agent, "/x"))).await;
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key("content-length"));
    assert_eq!(agent.stats().complete, 1);
}

#[tokio::test]
async fn any_method_and_query_is_echoed() {
    let agent = agent().await;
    for (path, query) in [
        ("/", None),
        ("/a?", Some("")),
        ("/v1/chat/completions", None),
        ("//a/./b", None),
    ] {
        let method = Method::from_bytes(b"PROPFIND").unwrap();
        // Spelt out, as the client's URL type would tidy the path.
        let stream = TcpStream::connect(agent.address()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let request = axum::http::Request::builder()
            .method(method)
            .uri(path)
            .body(axum::body::Body::empty())
            .unwrap();
        let body = sender
            .send_request(request)
            .await
            .unwrap()
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes();
        let echo: Echo = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (echo.method.as_str(), echo.query.as_deref()),
            ("PROPFIND", query)
        );
        assert_eq!(echo.path, path.trim_end_matches('?'));
    }
}

#[tokio::test]
async fn the_stats_show_the_last_requests_but_no_health_checks() {
    let agent = agent().await;
    get(&agent, "/healthz").send().await.unwrap();
    get(&agent, "/one?two")
        .header("x-three", HeaderValue::from_static("four"))
        .send()
        .await
        .unwrap();
    let text = get(&agent, "/demo/stats")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let stats: Stats = serde_json::from_str(&text).unwrap();
    assert_eq!(stats.total, 1);
    assert_eq!(
        (
            stats.last[0].path.as_str(),
            stats.last[0].headers.get("x-three")
        ),
        ("/one?two", Some("four"))
    );
    until(&agent, |stats| stats.complete == 1).await;
    reqwest::Client::new()
        .delete(url(&agent, "/demo/stats"))
        .send()
        .await
        .unwrap();
    assert_eq!(agent.stats(), Stats::default());
}

#[tokio::test]
async fn health_is_what_it_was_told_to_be() {
    let agent = agent().await;
    assert_eq!(send(get(&agent, "/healthz")).await.status(), 200);
    let put = |body: &'static str| {
        reqwest::Client::new()
            .put(url(&agent, "/demo/health"))
            .body(body)
    };
    assert_eq!(send(put(r#"{"healthy": false}"#)).await.status(), 204);
    assert_eq!(send(get(&agent, "/healthz")).await.status(), 503);
    assert_eq!(send(put("false")).await.status(), 400);
    agent.set_healthy(true);
    assert_eq!(send(get(&agent, "/healthz")).await.status(), 200);
}
