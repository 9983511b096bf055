use super::*;
use crate::routing::Path;

fn block(headers: &[(&str, &str)]) -> HeaderBlock {
    HeaderBlock::from_pairs(headers)
}

fn asked(method: &str, path: &str, kind: &str) -> Asked {
    let headers = block(&[(":method", method), (":path", path), ("content-type", kind)]);
    let path = Path::read(path.as_bytes()).unwrap();
    Asked::read(&headers, &path, "/a/tasks")
}

#[test]
fn paths_of_http_and_json_name_operations_whatever_stands_before_them() {
    for (method, path, operation) in [
        ("POST", "/message:send", SEND),
        ("POST", "/v1/message:stream?x=1", STREAM),
        ("POST", "/tenant/Message%3ASend", SEND),
        ("GET", "/tasks/1", GET),
        ("HEAD", "/tasks/1", GET),
        ("GET", "/v1/tasks?contextId=c", LIST),
        ("POST", "/tasks/1:cancel", CANCEL),
        ("POST", "/tasks/1:cancel/", CANCEL),
        ("POST", "/tasks/1:cancel;v=1", CANCEL),
        ("POST", "/TASKS/1:Cancel", CANCEL),
        ("POST", "/t%61sks/1%3acancel", CANCEL),
        ("GET", "/tasks/1:subscribe", SUBSCRIBE),
        ("POST", "/tasks/1:subscribe", SUBSCRIBE),
        ("POST", "/tasks/1/pushNotificationConfigs", CREATE_CONFIG),
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
        let asked = asked(method, &format!("/a/tasks{path}"), "application/a2a+json");
        assert_eq!(asked, Asked::Operation(operation), "{method} {path}");
    }
    for (method, path, expected) in [
        ("POST", "", Asked::Message),
        ("POST", "/", Asked::Message),
        ("POST", "/rpc", Asked::Message),
        ("POST", "/tasks", Asked::Message),
        ("POST", "/.well-known/agent-card.json", Asked::Message),
        ("GET", "", Asked::Other),
        ("GET", "/docs", Asked::Other),
        ("PUT", "/message:send", Asked::Other),
        ("DELETE", "/tasks/1", Asked::Other),
        ("GET", "/.well-known/agent-card.json", Asked::Card),
        ("GET", "/x/.well-known/agent.json", Asked::Card),
        ("GET", "/agent.json", Asked::Other),
    ] {
        let path = format!("/a/tasks{path}");
        assert_eq!(
            asked(method, &path, "application/json"),
            expected,
            "{method} {path}"
        );
    }
}

#[test]
fn a_type_of_grpc_counts_where_its_services_are_and_nowhere_else() {
    let grpc = |path: &str| asked("POST", path, "Application/gRPC+proto");
    assert_eq!(
        grpc("/lf.a2a.v1.A2AService/CancelTask"),
        Asked::Grpc("CancelTask".into())
    );
    for path in ["/a/tasks", "/a/tasks/rpc", "/a/tasks/A2AService/x"] {
        assert_eq!(grpc(path), Asked::Message, "{path}");
    }
    assert_eq!(
        names_of("TaskSubscription"),
        [SUBSCRIBE, "tasks/resubscribe"]
    );
}

#[test]
fn both_names_of_a_method_are_one_and_no_other_spelling_is() {
    assert_eq!(names_of("tasks/cancel"), [CANCEL, "tasks/cancel"]);
    assert_eq!(names_of(CANCEL), [CANCEL, "tasks/cancel"]);
    assert_eq!(names_of("unheard/of"), ["unheard/of"; 2]);
    for respelt in [
        "Tasks/Cancel",
        "cancelTask",
        " CancelTask",
        "message/send\n",
    ] {
        assert!(is_respelt(respelt), "{respelt}");
    }
    for plain in ["tasks/cancel", CANCEL, "unheard/of", ""] {
        assert!(!is_respelt(plain), "{plain}");
    }
    assert!(asks_card("agent/getAuthenticatedExtendedCard") && !asks_card(GET));
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
