//! Refusals to callers of gRPC and gRPC-Web, by the filter and by Envoy: what an answer says it is, and what it is, agree,
//! and both draw the line between the protocols at the same content types.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use waykeeper_demo::auth::Fault;

use crate::harness::{Answer, Request, World};

const NOTES: &str = "/api/v1/memory/notes";

/// Much like gRPC's or gRPC-Web's, but neither.
const OTHERS: [&str; 8] = [
    "application/grpcx",
    "application/grpc;charset=utf-8",
    "application/GRPC",
    "application/grpc-webs",
    "application/grpc-web-text-x",
    "application/grpc-web+",
    "application/json, application/grpc",
    "application/grpc-web, application/grpc-web",
];

const WEB: [(&str, &str); 5] = [
    ("application/grpc-web", "application/grpc-web"),
    ("application/grpc-web+proto", "application/grpc-web+proto"),
    (
        "Application/gRPC-Web+JSON; charset=utf-8",
        "application/grpc-web+json",
    ),
    ("application/grpc-web-text", "application/grpc-web-text"),
    (
        "application/grpc-web-text+proto ;x",
        "application/grpc-web-text+proto",
    ),
];

#[tokio::test]
async fn the_filter_refuses_callers_of_grpc_web_in_frames_and_all_others_in_json() {
    let world = World::with(|draft| {
        draft.route("/api/v1/memory")["rate_limit"] = json!({"requests": "1/hour"});
    })
    .await;
    let call = |path: &str, content_type: &str| {
        let request = world.request("POST", path).body("x");
        request.header("content-type", content_type)
    };
    let notes = |content_type: &str| call(NOTES, content_type).key("demo-premium");
    assert_eq!(notes("application/grpc-web").send().await.status, 200);

    for (content_type, answered) in WEB {
        let full = notes(content_type).send().await;
        let nobody = call(NOTES, content_type).send().await;
        let tools = call("/api/v1/tools/list", content_type);
        let no_role = tools.key("demo-premium").http2().send().await;
        for (answer, status) in [(&full, 8), (&nobody, 16), (&no_role, 7)] {
            let what = format!("{content_type}: {answer:?}");
            assert_eq!(answer.status, 200, "{what}");
            assert_eq!(answer.header("content-type"), Some(answered), "{what}");
            assert_eq!(answer.header("grpc-status"), None, "{what}");
            let (grpc_status, message) = trailers(answer);
            assert_eq!(grpc_status, status, "{what}");
            assert!(message.ends_with('.'), "{message}");
        }
        assert!(full.headers.contains_key("retry-after"), "{full:?}");
        let line = world.access_log(&nobody).await;
        assert_eq!(line["details"], "waykeeper_missing_key");
    }
    for content_type in OTHERS {
        let refused = call(NOTES, content_type).send().await;
        let code = "missing_key".to_owned();
        assert_eq!(refused.refused(), (401, code), "{content_type}");
    }
    // Of two lines the caller's protocol cannot be told.
    let twice = call(NOTES, "application/grpc").header("content-type", "application/grpc-web");
    assert_eq!(twice.send().await.refused().0, 401);
    world.auth().set_fault(Fault::hang_up());
    let unknown = call(NOTES, "application/grpc-web").key("unheard-of");
    assert_eq!(trailers(&unknown.send().await).0, 14);
}

/// Envoy's own replies cannot have frames. Clients look at the status of HTTP as well.
#[tokio::test]
async fn envoy_refuses_callers_of_grpc_web_in_headers_and_all_others_in_json() {
    let world = World::with(|draft| {
        draft.route("/api/v1/memory")["timeout"] = json!("50ms");
        draft.cluster("rag")["circuit_breakers"] = json!({"thresholds": [{"max_requests": 0}]});
    })
    .await;
    let call = |method, path, content_type: &str| -> Request {
        let request = world.request(method, path).key("demo-premium");
        request.header("content-type", content_type)
    };
    let late = |content_type: &str| call("GET", NOTES, content_type).header("x-demo-delay", "1h");
    let message = Some("the gateway could not complete the call");

    for (content_type, _) in WEB {
        let overloaded = call("POST", "/api/v1/search", content_type);
        let no_path = call("GET", "/api/v1/memory/%00", content_type);
        for (request, status, grpc_status, retry_after) in [
            (late(content_type), 504, "14", None),
            (late(content_type).http2(), 504, "14", None),
            (overloaded, 503, "14", Some("1")),
            (no_path, 400, "13", None),
        ] {
            let answer = request.send().await;
            let what = format!("{content_type}: {answer:?}");
            assert_eq!(answer.status, status, "{what}");
            assert_eq!(answer.header("grpc-status"), Some(grpc_status), "{what}");
            assert_eq!(answer.header("grpc-message"), message, "{what}");
            assert_eq!(answer.header("retry-after"), retry_after, "{what}");
            assert!(answer.header("x-request-id").is_some(), "{what}");
            assert_eq!(answer.header("content-type"), None, "{what}");
            assert!(answer.body.is_empty(), "{what}");
        }
    }
    for content_type in OTHERS {
        let refused = late(content_type).send().await;
        let code = "agent_timeout".to_owned();
        assert_eq!(refused.refused(), (504, code), "{content_type}");
    }
    for content_type in ["application/grpc", "application/grpc+proto"] {
        let answer = late(content_type).send().await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/grpc"));
        assert_eq!(answer.header("grpc-status"), Some("14"));
        assert_eq!(answer.header("grpc-message"), message);
        assert!(answer.body.is_empty(), "{answer:?}");
    }
}

/// The status and its message, as a client of gRPC-Web reads them in the body's one frame.
fn trailers(answer: &Answer) -> (u8, String) {
    let text = answer.header("content-type");
    let text = text.is_some_and(|it| it.starts_with("application/grpc-web-text"));
    let body = if text {
        STANDARD.decode(&answer.body).expect("base64")
    } else {
        answer.body.to_vec()
    };
    let (head, trailers) = body.split_at_checked(5).expect("a frame");
    assert_eq!(head[0], 0x80, "{answer:?}");
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    assert_eq!(trailers.len(), length as usize, "{answer:?}");
    let trailers = std::str::from_utf8(trailers).expect("text");
    let field = |name: &str| {
        let mut lines = trailers.split("\r\n");
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {name}: {trailers}"))
    };
    let status = field("grpc-status").parse().expect("a number");
    (status, field("grpc-message").to_owned())
}
