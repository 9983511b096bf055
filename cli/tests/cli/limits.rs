//! `waykeeper limits` against a gateway that answers as the filter does.

use std::io::Write;
use std::thread::JoinHandle;

use crate::server::server;
use crate::{Run, waykeeper, waykeeper_in};

const LEFT: &str = r#"{"client":"acme","plan":"standard","team":"blue","organisation":null,
"limits":[
{"name":"plan","per":"client","algorithm":"token_bucket","requests":50,"window_seconds":60,"burst":50,"used":2,"remaining":48,"one_more_seconds":2,"reset_seconds":3,"enforced":true},
{"name":"route","per":"client and route","route":"/search","algorithm":"token_bucket","requests":30,"window_seconds":60,"burst":30,"used":0,"remaining":30,"one_more_seconds":0,"reset_seconds":0,"enforced":false}],
"in_flight":[{"name":"at-once","per":"client","most":4,"taken":4,"waiting":1,"enforced":true}],
"more":false,"not_known":["address"]}"#;

const RESET: &str = r#"{"client":"acme","done_in":["process"],
"limits":[{"name":"plan","per":"client","was_used":true},{"name":"route","per":"client and route","route":"/search","was_used":false}],
"more":false,"not_known":["address"]}"#;

/// A gateway that answers one request, and the request.
fn gateway(status: &str, body: &'static str) -> (String, JoinHandle<String>) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
    let (port, thread) = server(move |mut stream| {
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
    });
    (format!("http://127.0.0.1:{port}"), thread)
}

fn ask(url: &str, more: &[&str]) -> Run {
    let mut arguments = vec!["limits", "acme", "--gateway", url];
    arguments.extend(more);
    waykeeper_in(&[("WAYKEEPER_KEY", "boss-key")], &arguments, b"")
}

#[test]
fn limits_are_shown_as_they_stand() {
    let (url, server) = gateway("200 OK", LEFT);
    let run = ask(&url, &[]);
    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    assert_eq!(
        run.output,
        "acme: plan standard, team blue\n\
         \x20 plan per client: 2 of 50 used, one more in 2s, all again in 3s\n\
         \x20 route per client and route on /search (only counts): 0 of 30 used\n\
         \x20 at-once per client: 4 of 4 in flight, 1 waiting\n\
         not known here: address\n"
    );
    let request = server.join().unwrap();
    let line = "GET /.well-known/waykeeper/limits?client=acme HTTP/1.1\r\n";
    assert!(request.starts_with(line), "{request}");
    assert!(request.contains("\r\nx-api-key: boss-key\r\n"), "{request}");
}

#[test]
fn a_reset_says_where_it_was_done() {
    let (url, server) = gateway("200 OK", RESET);
    let more = [
        "--reset", "--limit", "plan", "--limit", "route", "--team", "a@b",
    ];
    let run = ask(&url, &more);
    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    assert_eq!(
        run.output,
        "acme: reset in this process\n\
         \x20 plan per client: begins anew\n\
         \x20 route per client and route on /search: nothing was used\n\
         not known here: address\n"
    );
    let request = server.join().unwrap();
    let line = "POST /.well-known/waykeeper/limits/reset?client=acme&team=a%40b&limit=plan&limit=route HTTP/1.1\r\n";
    assert!(request.starts_with(line), "{request}");
}

#[test]
fn limits_of_the_fleet_stand_among_the_others_and_what_is_not_known_is_said() {
    const LEFT: &str = r#"{"client":"acme","limits":[
{"name":"month","per":"client","scope":"fleet","algorithm":"fixed_window","requests":1200,"window_seconds":2678400,"burst":1200,"used":8,"leased":3,"remaining":1192,"one_more_seconds":259200,"reset_seconds":259200,"enforced":true}],
"in_flight":[],"more":false,"in_fleet":[{"name":"day","why":"unavailable"},{"name":"week","why":"unsupported"}]}"#;
    let (url, _server) = gateway("200 OK", LEFT);
    assert_eq!(
        ask(&url, &[]).output,
        "acme\n\
         \x20 month per client in the fleet: 8 of 1200 used (3 of them fetched ahead), all again in 72h\n\
         \x20 day in the fleet: not told, the limiter does not answer\n\
         \x20 week in the fleet: not told, the limiter cannot do that\n"
    );
    const RESET: &str = r#"{"client":"acme","done_in":["process","fleet"],
"limits":[{"name":"month","per":"client","scope":"fleet","was_used":true}],
"more":false,"in_fleet":[{"name":"day","why":"unavailable"}]}"#;
    let (url, _server) = gateway("200 OK", RESET);
    assert_eq!(
        ask(&url, &["--reset"]).output,
        "acme: reset in this process and in the fleet\n\
         \x20 month per client in the fleet: begins anew\n\
         \x20 day in the fleet: not reset there, the limiter does not answer\n"
    );
}

#[test]
fn a_key_comes_from_standard_input_too_and_in_the_header_that_is_named() {
    let (url, server) = gateway("200 OK", LEFT);
    let moved = format!("{url}/left");
    let arguments = [
        "limits",
        "acme",
        "--gateway",
        &moved,
        "--key-header",
        "authorization",
        "--json",
    ];
    let run = waykeeper(&arguments, b"boss-key\n");
    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    let shown: serde_json::Value = serde_json::from_str(&run.output).unwrap();
    assert_eq!(shown["limits"][0]["used"], 2);
    let request = server.join().unwrap();
    assert!(request.starts_with("GET /left?client=acme "), "{request}");
    let header = "\r\nauthorization: Bearer boss-key\r\n";
    assert!(request.contains(header), "{request}");
}

#[test]
fn what_the_gateway_refuses_is_said_in_its_words() {
    let problem = r#"{"detail": "This client has none of the roles that are needed here."}"#;
    let (url, _) = gateway("403 Forbidden", problem);
    let run = ask(&url, &[]);
    assert_eq!((run.status, run.output.as_str()), (1, ""));
    assert_eq!(
        run.errors,
        format!("{url}: answered 403: This client has none of the roles that are needed here.\n")
    );
}

#[test]
fn without_a_key_nobody_is_asked() {
    let run = waykeeper(&["limits", "acme", "--gateway", "http://127.0.0.1:1"], b"");
    assert_eq!((run.status, run.output.as_str()), (2, ""));
    assert_eq!(
        run.errors,
        "expected the operator's key in WAYKEEPER_KEY or on standard input\n"
    );
}
