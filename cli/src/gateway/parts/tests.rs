use std::path::Path;

use serde_json::Value as Json;

use super::{Parts, Places, SecretKind, whole};
use crate::gateway::tests::around;
use crate::gateway::{Admin, read, render, render::Rendered};
use crate::yaml;

const GATEWAY: &str = "
listen:
  - {address: '127.0.0.1:8080', cors: {origins: ['https://a.example']}}
  - {address: '[::1]:8443', tls: {certificate: /tls/c.pem, key: /tls/k.pem, client_ca: /tls/ca.pem}}
operations: 127.0.0.1:9902
agents:
  plain: {url: 'http://a.example:8000'}
  secure: {url: 'https://b.example', tls: {ca: /tls/b.pem, certificate: /tls/own.pem, key: /tls/own.key}}
routes:
  - {prefix: /plain, agents: [plain], auth_required: false}
  - {prefix: /secure, agents: [secure], auth_required: false, idle_timeout: 2h}
";

fn rendered(text: &str) -> Rendered {
    let document = yaml::parse(text).unwrap().remove(0);
    let checked = read(&document).unwrap();
    render(&checked, around(Admin::Socket("/d/admin.sock"))).unwrap()
}

fn parts(text: &str) -> Parts {
    let places = Places(Path::new("/d").to_owned());
    Parts::of(&rendered(text), &places).unwrap()
}

/// All texts that are values.
fn texts(tree: &Json) -> Vec<&str> {
    match tree {
        Json::String(text) => vec![text],
        Json::Array(items) => items.iter().flat_map(texts).collect(),
        Json::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn each_part_is_named_and_none_holds_another() {
    let parts = parts(GATEWAY);

    let names: Vec<_> = parts.listeners.keys().map(String::as_str).collect();
    assert_eq!(names, ["127.0.0.1:8080", "[::1]:8443", "operations"]);
    assert!(parts.routes.keys().eq(parts.listeners.keys()));
    let clusters: Vec<_> = parts.clusters.keys().map(String::as_str).collect();
    let own = ["plain", "secure/tls", "waykeeper/admin", "waykeeper/nobody"];
    assert_eq!(clusters, own);
    assert!(parts.bootstrap.get("static_resources").is_none());
    for (name, listener) in &parts.listeners {
        assert!(!listener.to_string().contains("route_config\":"), "{name}");
    }
    let address = parts.bootstrap.pointer("/admin/address/pipe/path").unwrap();
    assert_eq!(address, "/d/admin.sock");
}

#[test]
fn no_agent_replaces_a_listener() {
    let before = parts(GATEWAY);
    for agent in [
        "{url: 'http://c.example/base'}",
        "{provider: openai, credential: {file: /key}}",
        "{provider: bedrock, region: eu-west-1}",
        "{url: 'http://c.example', sticky: {header: mcp-session-id}}",
        "{endpoints: ['http://c.example', 'http://d.example'], sticky: {client: true}}",
        "{url: 'https://c.example'}",
        "{builtin: echo}",
    ] {
        let text = GATEWAY.replace("routes:", &format!("  new: {agent}\nroutes:"));
        let keys = format!("sessions: {{keys: ['{}']}}\n", "ab".repeat(32));
        let after = parts(&format!("{text}{keys}"));
        assert_eq!(after.listeners, before.listeners, "{agent}");
    }
    // But one whose callers bring a header that is to be taken out of all requests.
    let text = GATEWAY.replace(
        "routes:",
        "  new: {url: 'http://c.example', credential: {caller: x-own}}\nroutes:",
    );
    assert_ne!(parts(&text).listeners, before.listeners);
}

#[test]
fn files_of_certificates_are_named_by_secrets_alone() {
    let parts = parts(GATEWAY);

    let identities = parts.secrets.values();
    let identities = identities
        .filter(|it| it.kind == SecretKind::Identity)
        .count();
    assert_eq!((identities, parts.secrets.len()), (2, 4));
    for tree in parts.clusters.values().chain(parts.listeners.values()) {
        let named = texts(tree)
            .into_iter()
            .find(|text| text.starts_with("/tls/"));
        assert_eq!(named, None, "{tree}");
    }
    // Whose certificate it must be stays.
    let secure = parts.clusters.get("secure/tls").unwrap().to_string();
    assert!(secure.contains("match_typed_subject_alt_names"), "{secure}");
}

#[test]
fn routes_agents_and_origins_leave_listeners_as_they_are() {
    let before = parts(GATEWAY);

    for (from, to) in [
        ("idle_timeout: 2h", "idle_timeout: 5h"),
        ("https://a.example", "https://b.example"),
        ("cors: {origins: ['https://a.example']}", "trusted_hops: 0"),
        (
            "  plain: {url: 'http://a.example:8000'}",
            "  plain: {url: 'https://a.example'}",
        ),
        ("prefix: /plain", "methods: [GET], prefix: /other"),
    ] {
        let text = GATEWAY.replace(from, to);
        assert_ne!(text, GATEWAY);
        let after = parts(&text);
        assert_ne!(after, before, "{to}");
        assert_eq!(after.listeners, before.listeners, "{to}");
        assert_eq!(after.bootstrap, before.bootstrap, "{to}");
    }
}

#[test]
fn a_listener_that_goes_leaves_the_others_as_they_are() {
    let before = parts(GATEWAY);
    let first = "  - {address: '127.0.0.1:8080', cors: {origins: ['https://a.example']}}\n";

    let after = parts(&GATEWAY.replace(first, ""));

    let kept = "[::1]:8443";
    assert_eq!(after.listeners.len(), before.listeners.len() - 1);
    assert_eq!(after.listeners.get(kept), before.listeners.get(kept));
    assert_eq!(after.routes.get(kept), before.routes.get(kept));
}

#[test]
fn the_whole_needs_nothing_but_the_filter() {
    let whole = whole(&rendered(GATEWAY)).unwrap();

    let listeners = whole.pointer("/static_resources/listeners").unwrap();
    assert_eq!(listeners.as_array().map(Vec::len), Some(3));
    assert!(!whole.to_string().contains("config_discovery"), "{whole}");
}

#[test]
fn nothing_that_is_printed_for_debugging_shows_a_key() {
    let key = "0123456789abcdefABCDEF9876543210".repeat(2);
    let text = GATEWAY.replace(
        "\nagents:",
        &format!("\nsessions: {{keys: ['{key}']}}\nagents:"),
    );
    let document = yaml::parse(&text).unwrap().remove(0);
    let checked = read(&document).unwrap();
    let (rendered, parts) = (rendered(&text), parts(&text));
    assert!(rendered.filter.contains(&key) && parts.filter.to_string().contains(&key));
    let shown = format!("{checked:?} {rendered:?} {parts:?}");
    assert!(!shown.contains(&key), "{shown}");
}
