//! The builtin agent on its socket.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use waykeeper_shapes::MAX_QUESTION;

use super::serve;

async fn asked(
    socket: &Path,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Response<Bytes> {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .header("host", "a")
        .body(Full::new(Bytes::from(body)));
    let (parts, body) = sender
        .send_request(request.unwrap())
        .await
        .unwrap()
        .into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

async fn posted(socket: &Path, path: &str, question: &Value) -> Response<Bytes> {
    let named = [("x-waykeeper-agent", "mine")];
    asked(
        socket,
        "POST",
        path,
        &named,
        question.to_string().into_bytes(),
    )
    .await
}

fn json_of(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

#[tokio::test]
async fn it_answers_in_the_shape_that_it_is_asked_in() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("echo.sock");
    let _echo = serve(&socket).unwrap();
    let question = json!({"model": "m", "messages": [{"role": "user", "content": "Hello there"}]});

    let chat = posted(&socket, "/v1/chat/completions", &question).await;
    let said = "This is mine You said: Hello there";
    assert_eq!(json_of(&chat)["choices"][0]["message"]["content"], said);
    let message = posted(&socket, "/v1/messages", &question).await;
    assert_eq!(json_of(&message)["content"][0]["text"], said);
    let input = json!({"input": "Hello there"});
    let response = posted(&socket, "/v1/responses", &input).await;
    assert_eq!(json_of(&response)["output"][0]["content"][0]["text"], said);
    let counted = posted(&socket, "/v1/messages/count_tokens", &question).await;
    assert_eq!(json_of(&counted)["input_tokens"], 2);
    let embedded = posted(&socket, "/v1/embeddings", &input).await;
    assert_eq!(json_of(&embedded)["usage"]["total_tokens"], 2);

    let models = asked(&socket, "GET", "/v1/models", &[], vec![]).await;
    assert_eq!(json_of(&models)["data"][0]["object"], "model");
    let version = [("anthropic-version", "2023-06-01")];
    let models = asked(&socket, "GET", "/v1/models", &version, vec![]).await;
    assert_eq!(json_of(&models)["data"][0]["type"], "model");
}

#[tokio::test]
async fn a_stream_says_word_by_word_what_the_whole_answer_says() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("echo.sock");
    let _echo = serve(&socket).unwrap();
    let question =
        json!({"stream": true, "messages": [{"role": "user", "content": "Hello there"}]});

    let events = posted(&socket, "/v1/chat/completions", &question).await;

    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let text = String::from_utf8(events.body().to_vec()).unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let said: String = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned()))
        .collect();
    assert_eq!(said, "This is mine You said: Hello there");
}

#[tokio::test]
async fn what_it_does_not_answer_it_refuses_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("echo.sock");
    let _echo = serve(&socket).unwrap();
    let version = [("anthropic-version", "2023-06-01")];
    for (method, path, headers, body, status, told) in [
        (
            "GET",
            "/",
            &[][..],
            vec![],
            404,
            "has no GET /; it answers POST",
        ),
        (
            "GET",
            "/v1/chat/completions",
            &[],
            vec![],
            404,
            "has no GET",
        ),
        (
            "POST",
            "/v1/chat/completions",
            &[],
            b"[]".to_vec(),
            400,
            "JSON object",
        ),
        (
            "POST",
            "/v1/embeddings",
            &[],
            b"{}".to_vec(),
            400,
            "input: is missing",
        ),
        (
            "POST",
            "/v1/responses",
            &[],
            vec![b' '; MAX_QUESTION + 1],
            413,
            "up to",
        ),
        ("GET", "/x", &version, vec![], 404, "not_found_error"),
        (
            "POST",
            "/v1/messages",
            &[],
            b"{\"messages\":1}".to_vec(),
            400,
            "\"type\":\"error\"",
        ),
    ] {
        let answer = asked(&socket, method, path, headers, body).await;
        assert_eq!(answer.status(), status, "{method} {path}");
        let text = String::from_utf8_lossy(answer.body());
        assert!(text.contains(told), "{method} {path}: {text}");
    }
}

#[tokio::test]
async fn its_socket_is_for_its_owner_and_goes_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("echo.sock");
    let echo = serve(&socket).unwrap();
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let taken = serve(&socket).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    assert!(socket.exists(), "the first one's");

    // A connection ends with it too.
    let stream = UnixStream::connect(&socket).await.unwrap();
    drop(echo);
    assert!(!socket.exists());
    stream.readable().await.unwrap();
    let read = stream.try_read(&mut [0]);
    let reset = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
    assert!(
        matches!(read, Ok(0)) || read.as_ref().is_err_and(reset),
        "{read:?}"
    );
}
