use super::*;
use crate::routing::Path;

fn block(headers: &[(&str, &str)]) -> HeaderBlock {
    HeaderBlock::from_pairs(headers)
}

fn asked(method: &str, path: &str, kind: &str) -> Asked {
    asked_behind(method, path, kind, "/", None)
}

fn asked_behind(
    method: &str,
    path: &str,
    kind: &str,
    prefix: &str,
    rewrite: Option<&str>,
) -> Asked {
    let headers = block(&[(":method", method), (":path", path), ("content-type", kind)]);
    let path = Path::read(path.as_bytes()).unwrap();
    let rewritten = path.rewritten(prefix, rewrite);
    Asked::read(&headers, &path, rewritten.as_deref())
}

#[test]
fn paths_of_http_and_json_name_operations_whatever_stands_before_them() {
    for (method, path, operation) in [
        ("POST", "/message:send", SEND),
        ("POST", "/v1/message:stream?x=1", STREAM),
        ("POST", "/tenant/Message%3ASend", SEND),
        ("POST", "/message:send;/x", SEND),
        ("GET", "/tasks/1", GET),
        ("HEAD", "/tasks/1", GET),
        ("GET", "/v1/tasks?contextId=c", LIST),
        ("POST", "/tasks/1:cancel", CANCEL),
        ("POST", "/tasks/1:cancel/", CANCEL),
        ("POST", "/tasks/1:cancel;v=1", CANCEL),
        ("POST", "/tasks/1;x:cancel", CANCEL),
        ("POST", "/tasks/a%2Fb:cancel", CANCEL),
        ("POST", "/tasks/a%2Fb;x:cancel", CANCEL),
        ("POST", "/tasks/a/b:cancel", CANCEL),
        ("POST", "/tasks%2F1:cancel", CANCEL),
        ("POST", "/tasks/a:b:cancel", CANCEL),
        ("POST", "/TASKS/1:Cancel", CANCEL),
        ("POST", "/t%61sks/1%3acancel", CANCEL),
        ("GET", "/tasks/1:subscribe", SUBSCRIBE),
        ("POST", "/tasks/1:subscribe", SUBSCRIBE),
        ("POST", "/tasks/1/pushNotificationConfigs", CREATE_CONFIG),
        (
            "POST",
            "/tasks/a%2Fb/pushNotificationConfigs",
            CREATE_CONFIG,
        ),
        ("POST", "/tasks/1/pushNotificationConfigs/2", CREATE_CONFIG),
        ("GET", "/tasks/1/pushNotificationConfigs", LIST_CONFIGS),
        ("GET", "/tasks/1/pushNotificationConfigs/2", GET_CONFIG),
        (
            "DELETE",
            "/tasks/1/pushNotificationConfigs/2",
            DELETE_CONFIG,
        ),
        ("GET", "/extendedAgentCard", EXTENDED_CARD),
        ("GET", "/v1/card", EXTENDED_CARD),
    ] {
        for before in ["", "/a", "/a/v1"] {
            let path = format!("{before}{path}");
            let asked = asked(method, &path, "application/a2a+json");
            assert_eq!(asked, Asked::Operation(vec![operation]), "{method} {path}");
        }
    }
    for (method, path, expected) in [
        ("POST", "/a", Asked::Message),
        ("POST", "/a/", Asked::Message),
        ("POST", "/a/rpc", Asked::Message),
        ("POST", "/a/tasks", Asked::Message),
        ("POST", "/a/x:cancel", Asked::Message),
        ("POST", "/a/.well-known/agent-card.json", Asked::Message),
        ("GET", "/a", Asked::Other),
        ("GET", "/a/docs", Asked::Other),
        ("PUT", "/a/message:send", Asked::Other),
        ("DELETE", "/a/tasks/1", Asked::Other),
        ("GET", "/a/.well-known/agent-card.json", Asked::Card),
        ("GET", "/a/.Well-Known/Agent-Card.JSON", Asked::Card),
        ("GET", "/a/.well-known/agent%2Dcard.json", Asked::Card),
        ("GET", "/a/x/.well-known/agent.json", Asked::Card),
        ("GET", "/a/agent.json", Asked::Other),
        // Who cuts it off at the first parameter sees another path, which is not public.
        (
            "GET",
            "/a/docs;/.well-known/agent-card.json",
            Asked::CardToSome,
        ),
    ] {
        assert_eq!(
            asked(method, path, "application/json"),
            expected,
            "{method} {path}"
        );
    }
    // An agent may stand at either place.
    assert_eq!(
        asked("GET", "/tasks/card", ""),
        Asked::Operation(vec![GET, EXTENDED_CARD])
    );
}

#[test]
fn the_path_counts_as_the_agent_gets_it() {
    let one = |operation| Asked::Operation(vec![operation]);
    for (method, path, prefix, rewrite, expected) in [
        ("POST", "/v1/tasks/1:cancel", "/v1/tasks", None, one(CANCEL)),
        ("GET", "/v1/tasks/1", "/v1/tasks", None, one(GET)),
        ("GET", "/v1/tasks", "/v1/tasks", None, one(LIST)),
        (
            "POST",
            "/v1/message:send",
            "/v1/message:send",
            None,
            one(SEND),
        ),
        ("GET", "/v1/card", "/v1/card", None, one(EXTENDED_CARD)),
        (
            "GET",
            "/.well-known/agent-card.json",
            "/.well-known",
            None,
            Asked::Card,
        ),
        ("POST", "/a/1:cancel", "/a", Some("/tasks"), one(CANCEL)),
        (
            "POST",
            "/a/pushNotificationConfigs",
            "/a",
            Some("/x/tasks/1"),
            one(CREATE_CONFIG),
        ),
        // An agent of such a name, which does not see it.
        ("POST", "/tasks/1", "/tasks", Some("/"), Asked::Message),
        ("GET", "/tasks/docs", "/tasks", Some("/"), Asked::Other),
        ("GET", "/tasks/tasks/1", "/tasks", Some("/"), one(GET)),
        (
            "POST",
            "/a/a2a.v1.A2AService/CancelTask",
            "/a",
            Some("/"),
            Asked::Grpc(CANCEL.into()),
        ),
    ] {
        let asked = asked_behind(method, path, "application/json", prefix, rewrite);
        assert_eq!(asked, expected, "{method} {path} {prefix} {rewrite:?}");
    }
}

#[test]
fn a_path_of_grpc_names_its_method_whatever_the_type_says() {
    for kind in [
        "Application/gRPC+proto",
        "application/json",
        "application/connect+json",
        "application/proto",
        "",
    ] {
        for (method, path, name) in [
            ("POST", "/lf.a2a.v1.A2AService/CancelTask", CANCEL),
            ("POST", "/a2a.v1.A2AService/cancelTask", CANCEL),
            ("POST", "/a2a.v1.a2aservice/%43ancelTask/", CANCEL),
            ("POST", "/A2AService/TaskSubscription", "TaskSubscription"),
            ("POST", "/api/lf.a2a.v1.A2AService/CancelTask", CANCEL),
            ("GET", "/lf.a2a.v1.A2AService/GetTask", GET),
            ("POST", "/lf.a2a.v1.A2AService/Own", "Own"),
        ] {
            let expected = Asked::Grpc(name.into());
            assert_eq!(asked(method, path, kind), expected, "{path} {kind}");
        }
        for path in [
            "/a/tasks",
            "/a/tasks/rpc",
            "/a/A2AServices/x",
            "/A2AService",
        ] {
            assert_eq!(asked("POST", path, kind), Asked::Message, "{path}");
        }
    }
}

#[test]
fn the_extended_card_is_asked_for_by_all_of_its_names() {
    for name in [
        EXTENDED_CARD,
        "agent/getAuthenticatedExtendedCard",
        "GetAgentCard",
    ] {
        assert!(asks_card(name), "{name}");
    }
    assert!(!asks_card(GET) && !asks_card("unheard/of"));
}

#[test]
fn the_version_is_what_header_and_query_say_and_0_3_where_they_say_none() {
    let old = ["0.3".to_owned()];
    let new = ["1.0".to_owned()];
    for (path, lines, is_old, is_new) in [
        ("/", &[][..], true, false),
        ("/", &[""], true, false),
        ("/", &["0.3"], true, false),
        ("/", &["0.3.0"], true, false),
        ("/", &[" 1.0 "], false, true),
        ("/", &["1"], false, false),
        ("/", &["1.0", "0.3"], false, false),
        ("/", &["1.0, 0.3"], false, false),
        ("/?A2A-Version=1.0", &[], false, true),
        ("/?a=b&a2a-version=1.0", &["1.0"], false, true),
        ("/?A2A-Version=1.0", &["0.3"], false, false),
        ("/?A2A-Version", &[], true, false),
        ("/?A2A%2DVersion=1.0", &[], false, true),
        ("/?A2A-Version=1%2E0", &[], false, true),
        ("/?%412a-version=2.0", &["1.0"], false, false),
        ("/", &["10.0"], false, false),
    ] {
        let mut headers = vec![(":path", path)];
        headers.extend(lines.iter().map(|line| ("a2a-version", *line)));
        let headers = block(&headers);
        let told = (speaks(&old, &headers), speaks(&new, &headers));
        assert_eq!(told, (is_old, is_new), "{path} {lines:?}");
    }
    let both = ["1.0".to_owned(), "0.3".to_owned()];
    assert!(speaks(
        &both,
        &block(&[("a2a-version", "1.0"), ("a2a-version", "0.3")])
    ));
}
