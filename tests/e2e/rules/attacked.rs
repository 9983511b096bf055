//! Callers who would have a model or an agent that the rules do not give them, and callers who are slow.

use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{JSON, keyed, sha256};
use crate::harness::{Draft, Shape, World, eventually};

/// Large models are for admins.
const GUARDED: &str = "/guarded";
/// Its agent takes one request at a time, and calls the model by another name.
const NARROW: &str = "/narrow";
/// The same, of which the whole body is collected.
const WHOLE: &str = "/whole";
/// Tries again.
const AGAIN: &str = "/again";

const LARGE: &str = r#"{"model": "large-1"}"#;
const SMART: &str = r#"{"model": "smart"}"#;
const SMALL: &str = r#"{"model": "small"}"#;

#[tokio::test]
async fn no_spelling_of_a_model_gets_past_its_rule() {
    let world = World::with(routes).await;
    let of = |path: &str| keyed(&world, &format!("{GUARDED}{path}"), "demo-premium");
    let typed = |kind: &str| of("").header("content-type", kind);
    let in_utf_7 = r#"{"model": "small", "+AG0-odel": "large-1"}"#;
    let of_two_types = r#"{"model": "small", "a": "&model=large-1&"}"#;
    for (what, request, body) in [
        ("plainly", typed(JSON.1), LARGE),
        (
            "a charset behind blanks",
            typed("application/json; charset = utf-7"),
            in_utf_7,
        ),
        (
            "two types by a blank",
            typed("application/x-www-form-urlencoded a/b+json"),
            of_two_types,
        ),
        (
            "two types by a comma",
            typed("application/x-www-form-urlencoded,a+json"),
            of_two_types,
        ),
        (
            "another in the path",
            of("/openai/deployments/small/chat/completions").header(JSON.0, JSON.1),
            LARGE,
        ),
        (
            "another in the path, untyped",
            of("/v1/models/small:generate").header("content-type", "text/plain"),
            LARGE,
        ),
        (
            "another in the path, as a list",
            of("/v1/models/small:generate"),
            r#"{"model": ["large-1"]}"#,
        ),
        (
            "behind an old word in the path",
            of("/v1/engines/large-1/completions").header(JSON.0, JSON.1),
            SMALL,
        ),
        (
            "behind two slashes",
            of("/openai/deployments//large-1/chat").header(JSON.0, JSON.1),
            SMALL,
        ),
        (
            "in the query",
            of("/v1/chat/completions?x=1&m%6Fdel=large%2D1").header(JSON.0, JSON.1),
            SMALL,
        ),
        ("in the query alone", of("/v1/realtime?model=large-1"), ""),
    ] {
        for http2 in [false, true] {
            let request = request.clone();
            let request = if http2 { request.http2() } else { request };
            let answer = request.body(body).send().await;
            assert!(
                [400, 403].contains(&answer.status),
                "{what}: {}",
                answer.text()
            );
        }
    }
    some_readers_find_another_value(&world).await;
    // Of what the path lets pass no agent had the end.
    assert_eq!(world.agent("memory").stats().complete, 0);
    assert_eq!(world.agent("chat-gpu").stats().total, 0);

    // As the SDK for Azure sends it: in both, the same.
    let both = of("/openai/deployments/small/chat/completions").header(JSON.0, JSON.1);
    assert_eq!(
        both.body(SMALL).send().await.header("x-demo-agent"),
        Some("memory")
    );
    // As Google's does: in the path alone.
    let path = of("/v1beta/models/small:generateContent").header(JSON.0, JSON.1);
    let answer = path.body(r#"{"contents": []}"#).send().await;
    assert_eq!(answer.header("x-demo-agent"), Some("memory"));
    // And in both, where the body may name Google's resource as well as the model.
    for named in ["small", "models/small", "v1beta/models/small"] {
        let path = of("/v1beta/models/small:generateContent").header(JSON.0, JSON.1);
        let answer = path.body(json!({"model": named}).to_string()).send().await;
        assert_eq!(answer.header("x-demo-agent"), Some("memory"), "{named}");
    }
}

/// Readers differ on where a name or a value ends, and on how much of it they compare.
async fn some_readers_find_another_value(world: &World) {
    let long = json!({"metadata": {"tier": format!("{}-lead", "x".repeat(2_000))}}).to_string();
    for (what, body) in [
        (
            "a name behind which a NUL stands",
            r#"{"model": "small", "model\u0000": "large-1"}"#,
        ),
        (
            "a name in other letters",
            r#"{"model": "small", "MODEL": "large-1"}"#,
        ),
        ("a NUL in a value", r#"{"model": "\u0000large-1"}"#),
        ("a line's end in a value", r#"{"model": "\nlarge-1"}"#),
        (
            "a member within one that is named twice",
            r#"{"metadata": {"tier": "lead"}, "Metadata": {"tier": "gold"}}"#,
        ),
        (
            "a NUL behind a name within a member",
            r#"{"metadata": {"tier": "lead", "tier\u0000": "gold"}}"#,
        ),
        ("a tab in a member", r#"{"metadata": {"tier": "\tgold"}}"#),
        ("a member too long to be compared", &long),
    ] {
        for shape in [Shape::WithLength, Shape::Chunked, Shape::Trailers] {
            let request = keyed(world, GUARDED, "demo-premium").header(JSON.0, JSON.1);
            let refused = shape.send(request, body.to_owned().into()).await;
            assert_eq!(
                refused.refused(),
                (400, "bad_body".to_owned()),
                "{what}, {shape:?}"
            );
        }
    }
    for named in [
        "models/large-1",
        "v1/models/small",
        "/small",
        "xmodels/small",
    ] {
        let path = format!("{GUARDED}/v1beta/models/small:generateContent");
        let request = keyed(world, &path, "demo-premium").header(JSON.0, JSON.1);
        let body = json!({"model": named}).to_string();
        let refused = request.body(body).send().await;
        assert_eq!(refused.refused(), (400, "bad_body".to_owned()), "{named}");
    }
}

/// A part of a form is the model only where nobody could read anything else in it: text as it stands there.
#[tokio::test]
async fn only_a_field_of_plain_text_names_the_model() {
    let world = World::with(routes).await;
    let form = |parts: &[(&str, &str)]| {
        let part = |(headers, value): &(&str, &str)| {
            format!("--b\r\ncontent-disposition: form-data; {headers}\r\n\r\n{value}\r\n")
        };
        let parts: String = parts.iter().map(part).collect();
        Bytes::from(format!("{parts}--b--\r\n"))
    };
    let send = async |shape: Shape, form: Bytes| {
        let request = keyed(&world, GUARDED, "demo-premium");
        let request = request.header("content-type", "multipart/form-data; boundary=b");
        shape.send(request, form).await
    };
    let shapes = || {
        let all = Shape::ALL.into_iter();
        all.filter(|it| *it != Shape::HeadersOnly)
    };
    for of_another_type in [
        r#"name="model"; filename="m.txt""#,
        r#"name="model"; filename*=utf-8''m"#,
        r#"filename=""; name=model"#,
        "name=\"model\"; filename=\"m\"\r\ncontent-type: text/plain",
        "name=\"model\"\r\ncontent-type: application/json",
        "name=\"model\"\r\ncontent-type: audio/mpeg",
        "name=\"model\"\r\ncontent-type: text/html",
        "name=\"model\"\r\ncontent-type: text/plain; charset=utf-7",
        "name=\"model\"\r\ncontent-type: text/plain, application/json",
        "name=\"model\"\r\ncontent-type: text/plain\r\ncontent-type: application/json",
        "name=\"model\"\r\ncontent-transfer-encoding: base64",
    ] {
        // Alone, and behind one that is plain.
        for parts in [
            &[(of_another_type, "small")][..],
            &[(r#"name="model""#, "small"), (of_another_type, "large-1")],
        ] {
            for shape in shapes() {
                let what = format!("{of_another_type:?} {} {shape:?}", parts.len());
                let refused = send(shape, form(parts)).await;
                assert_eq!(refused.refused(), (400, "bad_body".to_owned()), "{what}");
            }
        }
    }
    // A file may hold what it likes, also a part that names a model.
    let inner = "--c\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nlarge-1";
    assert_eq!(world.agent("memory").stats().complete, 0);
    assert_eq!(world.agent("chat-gpu").stats().total, 0);
    let file = "name=\"file\"; filename=\"model\"\r\ncontent-type: text/plain";
    for plain in [
        r#"name="model""#,
        "name=\"model\"\r\ncontent-type: text/plain",
        "name=\"model\"\r\ncontent-type: Text/Plain; charset=UTF-8\r\ncontent-transfer-encoding: 8bit",
    ] {
        for shape in shapes() {
            let small = send(shape, form(&[(file, inner), (plain, "small")])).await;
            assert_eq!(small.header("x-demo-agent"), Some("memory"), "{plain:?}");
            let large = send(shape, form(&[(file, inner), (plain, "large-1")])).await;
            assert_eq!(large.status, 403, "{plain:?} {}", large.text());
        }
    }
}

#[tokio::test]
async fn another_model_than_the_path_has_named_never_comes_whole_to_the_agent() {
    let world = World::with(routes).await;
    let agent = world.agent("memory");
    for http2 in [false, true] {
        let before = agent.stats();
        let path = format!("{GUARDED}/openai/deployments/small/chat/completions");
        let request = keyed(&world, &path, "demo-premium").header(JSON.0, JSON.1);
        let request = if http2 { request.http2() } else { request };
        let mut upload = request.upload();
        assert!(upload.write(r#"{"messages": ["#).await);
        upload.write(r#"], "model": "large-1"}"#).await;
        upload.end();
        let refused = upload.answer().await;
        assert_eq!(refused.refused(), (400, "bad_body".to_owned()));
        assert!(refused.text().contains("another model than the path"));
        eventually("its end at the agent", || async {
            let now = agent.stats();
            let begun = now.total - before.total;
            (now.aborted - before.aborted == begun).then_some(())
        })
        .await;
        assert_eq!(agent.stats().complete, before.complete);
    }
}

/// HTTP has many ways to send nothing, and they say the same.
#[tokio::test]
async fn an_empty_body_is_none() {
    let world = World::with(routes).await;
    for method in ["POST", "GET", "DELETE"] {
        for (http2, with_trailers) in [(false, false), (true, false), (true, true)] {
            let request = world.request(method, GUARDED).key("demo-premium");
            let request = if http2 { request.http2() } else { request };
            let mut upload = request.upload();
            if with_trailers {
                upload.end_with(HeaderMap::new()).await;
            } else {
                upload.end();
            }
            let answer = upload.answer().await;
            assert_eq!(answer.status, 200, "{method} {http2}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_changed_body_that_waits_for_a_place_is_whole_whatever_comes_meanwhile() {
    let world = World::with(routes).await;
    let mut waits = 0.0;
    for path in [NARROW, WHOLE] {
        for (shape, kind) in [(false, "chunks"), (false, "length"), (true, "HTTP/2")] {
            let what = format!("{path} {kind}");
            let pieces = [
                r#"{"messages": ["#.to_owned(),
                format!(r#""{}"], "model": "smart", "more": ""#, "x".repeat(20_000)),
                "y".repeat(30_000),
                "z".repeat(70_000),
                "\"}".to_owned(),
            ];
            let sent: String = pieces.concat();
            let expected = sent.replace("\"smart\"", "\"our-deployment/4o\"");
            let slow = keyed(&world, NARROW, "demo-premium").header(JSON.0, JSON.1);
            let slow = slow.body(SMART).header("x-demo-delay", "60s");
            let holds = tokio::spawn(slow.send());
            eventually("one who has the place", || async {
                (world.agent("chat-gpu").stats().in_flight == 1).then_some(())
            })
            .await;
            let request = keyed(&world, path, "demo-premium").header(JSON.0, JSON.1);
            let request = if kind == "length" {
                request.header("content-length", sent.len().to_string())
            } else {
                request
            };
            let request = if shape { request.http2() } else { request };
            let mut upload = request.upload();
            let [first, second, rest @ ..] = pieces;
            assert!(upload.write(first).await, "{what}");
            assert!(upload.write(second).await, "{what}");
            waits += 1.0;
            have_waited(&world, waits).await;
            for piece in rest {
                assert!(upload.write(piece).await, "{what}");
            }
            upload.end();
            holds.abort();
            let echo = timeout(Duration::from_secs(20), upload.answer()).await;
            let echo = echo.unwrap_or_else(|_| panic!("{what}: no answer")).echo();
            assert_eq!(echo.body_bytes, expected.len() as u64, "{what}");
            assert_eq!(echo.body_sha256, sha256(expected.as_bytes()), "{what}");
            if kind == "length" {
                let length = expected.len().to_string();
                assert_eq!(echo.headers.get("content-length"), Some(&*length), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_changed_body_is_changed_at_each_attempt() {
    let world = World::with(routes).await;
    for shape in Shape::ALL
        .into_iter()
        .filter(|it| *it != Shape::HeadersOnly)
    {
        let body = |model: &str| format!(r#"{{"a": "{}", "model": "{model}"}}"#, "x".repeat(9_000));
        let id = format!("{shape:?}");
        let request = keyed(&world, AGAIN, "demo-premium").header(JSON.0, JSON.1);
        let request = request.header("x-demo-id", &id);
        let request = request
            .header("x-demo-fail-first", "1")
            .header("x-demo-status", "503");
        let echo = shape.send(request, body("smart").into()).await.echo();
        let expected = body("our-deployment/4o");
        assert_eq!(echo.body_sha256, sha256(expected.as_bytes()), "{shape:?}");
        assert_eq!(world.agent("chat-gpu").stats().attempts_of(&id), 2);
    }
}

/// Envoy's buffers are larger in the reference, and smaller elsewhere.
#[tokio::test]
async fn nobody_waits_in_vain_for_what_does_not_fit_the_buffer() {
    for aliases in [true, false] {
        let world = World::with(|draft| {
            routes(draft);
            if !aliases {
                let configuration = draft.configuration();
                let configuration = configuration.as_object_mut().expect("an object");
                configuration.remove("model_aliases");
                for agent in ["narrow", "again"] {
                    configuration["agents"][agent]["models"] = json!(["gpt-4o"]);
                }
            }
            draft.route(GUARDED)["body_timeout"] = json!("2s");
            draft.route(GUARDED)["max_scan"] = json!("1MiB");
            let undecided = draft.setup.bootstrap.route_mut("not-decided");
            undecided.expect("the route")["request_body_buffer_limit"] = json!(32_768);
            let listener = draft.setup.bootstrap.listener_mut("gateway");
            listener.expect("the listener")["per_connection_buffer_limit_bytes"] = json!(32_768);
        })
        .await;
        for http2 in [false, true] {
            for pieces in [5, 12, 60] {
                let what = format!("{aliases} {http2} {pieces}");
                let request = keyed(&world, GUARDED, "demo-premium").header(JSON.0, JSON.1);
                let request = if http2 { request.http2() } else { request };
                let mut upload = request.upload();
                upload.write(r#"{"a": ""#).await;
                for _ in 0..pieces {
                    upload.write("x".repeat(5_000)).await;
                }
                upload.write(r#"", "model": "small"}"#).await;
                upload.end();
                let answer = upload.answer().await;
                // 408: Envoy has the sender wait, and there is no more to be read.
                assert!([200, 408, 413].contains(&answer.status), "{what}");
            }
        }
    }
}

/// Who drips the beginning of a body keeps no stranger from being asked about, and no other client's body from being read.
#[tokio::test]
async fn slow_bodies_leave_room_for_new_keys_and_for_others_bodies() {
    let world = World::with(|draft| {
        routes(draft);
        draft.configuration()["clients"]["hold"] =
            json!({"request": "512KiB", "worker": "1MiB", "collected": "1MiB"});
    })
    .await;
    let mut slow = Vec::new();
    for size in [50_000; 40].into_iter().chain([500; 100]).chain([1; 20]) {
        let request = keyed(&world, GUARDED, "demo-premium").header(JSON.0, JSON.1);
        let mut upload = request.upload();
        upload
            .write(format!(r#"{{"a": "{}"#, "x".repeat(size)))
            .await;
        slow.push(upload);
    }
    // Those for whom there is no room are told so.
    let refused = eventually("one too many", || async {
        let metrics = world.metrics().await;
        let labels = [("outcome", "gateway_unavailable")];
        (metrics.sum("waykeeper_requests_total", &labels) > 0.5).then_some(())
    });
    refused.await;
    let new = keyed(&world, GUARDED, "demo-standard").header("x-more", "x".repeat(2_000));
    let new = new.send().await;
    assert_eq!(new.status, 200, "{}", new.text());
    // On either worker.
    for _ in 0..8 {
        let other = keyed(&world, GUARDED, "demo-standard").header(JSON.0, JSON.1);
        let mut other = other.upload();
        let beginning = format!(r#"{{"a": "{}"#, "x".repeat(50_000));
        assert!(other.write(beginning).await);
        other.write(r#"", "model": "small"}"#).await;
        other.end();
        let answer = other.answer().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

async fn have_waited(world: &World, number: f64) {
    eventually("those who wait", || async {
        let metrics = world.metrics().await;
        (metrics.sum("waykeeper_limit_waits_total", &[]) > number - 0.5).then_some(())
    })
    .await;
}

fn routes(draft: &mut Draft) {
    let configuration = draft.configuration();
    configuration["limits"] = json!([]);
    for plan in ["standard", "premium"] {
        configuration["plans"][plan] = json!({});
    }
    configuration["model_aliases"] = json!({"smart": "gpt-4o"});
    let cluster = configuration["agents"]["chat-gpu"]["cluster"].clone();
    let models = json!([{"model": "gpt-4o", "as": "our-deployment/4o"}]);
    configuration["agents"]["narrow"] =
        json!({"cluster": cluster, "models": models, "max_in_flight": 1, "wait": "60s"});
    configuration["agents"]["again"] = json!({"cluster": cluster, "models": models});
    let guarded: Value = json!([
        {"match": {"model": "large-*"}, "agents": ["chat-gpu"], "roles": ["admin"]},
        {"match": {"body": {"/metadata/tier": ["gold*", "*-lead"]}}, "agents": ["chat-gpu"], "roles": ["admin"]},
    ]);
    draft.routes().extend([
        json!({"prefix": GUARDED, "agents": ["memory"], "rules": guarded}),
        json!({"prefix": NARROW, "agents": ["narrow"]}),
        json!({"prefix": WHOLE, "agents": ["narrow"], "collect_body": true, "max_body": "1MiB"}),
        json!({"prefix": AGAIN, "agents": ["again"], "retry": {"max_attempts": 2, "retry_on": [503]}}),
    ]);
}
