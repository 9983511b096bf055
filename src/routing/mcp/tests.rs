use super::*;
use crate::config::policy::{Asker, Mcp, Permission};
use crate::text::pattern::Pattern;

const MOST: u64 = 1000;
/// Pieces of these lengths must make no difference.
const LENGTHS: [usize; 5] = [1, 2, 3, 7, usize::MAX];

fn read(headers: &[(&str, &str)], body: &str, length: usize) -> Messages {
    let members = Rc::default();
    let headers = HeaderBlock::from_pairs(headers);
    let mut messages = Messages::new(&members, &headers, MOST, true);
    for piece in body.as_bytes().chunks(length) {
        messages.feed(piece);
    }
    messages.end();
    messages
}

/// What a body calls, or why it is not passed on: by its words.
fn heard(headers: &[(&str, &str)], body: &str) -> Result<Called, String> {
    let mut all: Vec<_> = LENGTHS
        .iter()
        .map(|length| {
            let messages = read(headers, body, *length);
            match messages.bad() {
                Some(bad) => Err(bad.to_string()),
                None => Ok((**messages.called().expect("it is whole")).clone()),
            }
        })
        .collect();
    all.dedup();
    assert_eq!(all.len(), 1, "{body}: {all:?}");
    all.remove(0)
}

fn calls(body: &str) -> Vec<(Option<String>, Option<String>)> {
    let called = heard(&[], body).expect(body);
    let own = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let calls = called.messages.iter();
    calls.map(|it| (own(&it.method), own(&it.tool))).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

const READ: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{"name":"other","method":"x"}}}"#;

#[test]
fn what_a_message_calls_is_found_in_whatever_order_it_says_so() {
    let call = vec![(some("tools/call"), some("read"))];
    for body in [
        READ,
        r#"{"method":"tools/call","params":{"name":"read"},"jsonrpc":"2.0","id":"a"}"#,
        r#" { "params" : { "arguments":{"x":[{"name":"y"}]} , "name":"read" }, "method":"tools/call" } "#,
        r#"{"params":{"na\u006de":"r\u0065ad"},"\u006dethod":"tools\/call","id":1}"#,
    ] {
        assert_eq!(calls(body), call, "{body}");
    }
    for (body, method) in [
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
            some("tools/list"),
        ),
        (
            r#"{"method":"notifications/initialized"}"#,
            some("notifications/initialized"),
        ),
        (
            r#"{"method":"prompts/get","params":{"name":"read"},"id":2}"#,
            some("prompts/get"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"result":{"method":"tools/call","params":{"name":"x"}}}"#,
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no"}}"#,
            None,
        ),
    ] {
        assert_eq!(calls(body), [(method, None)], "{body}");
    }
}

#[test]
fn every_message_of_a_list_is_heard() {
    let body = r#"[{"id":1,"method":"tools/call","params":{"name":"a"}},
        {"method":"notifications/progress"}, {"params":{"name":"b"},"method":"tools/call","id":"two"},{"id":9,"result":{}}]"#;
    assert_eq!(
        calls(body),
        [
            (some("tools/call"), some("a")),
            (some("notifications/progress"), None),
            (some("tools/call"), some("b")),
            (None, None),
        ]
    );
    let ids = read(&[], body, 5).ids();
    let known = ["1", "\"two\"", "9"].map(str::to_owned).to_vec();
    assert_eq!(ids, Some(RpcIds::Each(known)));
    assert!(!heard(&[], body).unwrap().lists_tools);
    let lists = r#"[{"id":1,"method":"ping"},{"id":2,"method":"tools/list"}]"#;
    assert!(heard(&[], lists).unwrap().lists_tools);
    // Clients of the revision that has lists name no revision, as a rule.
    heard(&[("mcp-protocol-version", "2025-03-26")], body).unwrap();
    let later = heard(&[("mcp-protocol-version", "2025-06-18")], body);
    assert_eq!(later, Err(BadMessage::NoLists.to_string()));
    let many = |count: usize| format!("[{}]", vec![r#"{"method":"a"}"#; count].join(","));
    assert_eq!(heard(&[], &many(64)).unwrap().messages.len(), 64);
    assert!(
        heard(&[], &many(65))
            .unwrap_err()
            .contains("too many objects")
    );
}

#[test]
fn what_readers_may_read_in_another_way_is_not_passed_on() {
    for (body, why) in [
        ("", "holds no message"),
        ("[]", "holds no message"),
        ("{}", "neither a method nor an answer"),
        (r#"{"id":1}"#, "neither a method nor an answer"),
        (r#"[{"method":"a"},{}]"#, "neither a method nor an answer"),
        (r#"{"method":1}"#, "neither a method nor an answer"),
        (
            r#"{"method":null,"id":1}"#,
            "neither a method nor an answer",
        ),
        (
            r#"{"method":"a","result":{}}"#,
            "both a method and an answer",
        ),
        (
            r#"{"result":{},"method":"a"}"#,
            "both a method and an answer",
        ),
        (r#"{"method":"tools/call","params":{}}"#, "without a name"),
        (r#"{"method":"tools/call"}"#, "without a name"),
        (
            r#"{"method":"tools/call","params":{"name":null}}"#,
            "without a name",
        ),
        (
            r#"{"method":"tools/call","params":{"name":["a"]}}"#,
            "without a name",
        ),
        (
            r#"{"method":"tools/call","params":["a"]}"#,
            "an array at /params",
        ),
        (
            r#"{"method":"Tools/Call","params":{"name":"a"}}"#,
            "in other letters",
        ),
        (r#"{"method":"TOOLS/LIST"}"#, "in other letters"),
        (
            r#"[{"method":"ping"},{"method":"Notifications/initialized"}]"#,
            "in other letters",
        ),
        (
            r#"{"method":"tools/call","params":{"name":"a\u0000"}}"#,
            "a byte that is zero",
        ),
        (
            r#"{"method":"tools/call\u0000","params":{"name":"a"}}"#,
            "in other letters",
        ),
        (
            r#"{"method":" tools/call","params":{"name":"a"}}"#,
            "in other letters",
        ),
        (
            r#"{"method":"tools/call\n","params":{"name":"a"}}"#,
            "in other letters",
        ),
        (r#"{"method":"a","id":null}"#, "neither a text nor a number"),
        (
            r#"{"method":"a","id":{"x":1}}"#,
            "neither a text nor a number",
        ),
        (r#"{"method":"a","id":true}"#, "neither a text nor a number"),
        (
            r#"[{"method":"a","id":null}]"#,
            "neither a text nor a number",
        ),
        (r#"{"method":"a","id":1,"method":"a"}"#, "/method twice"),
        (
            r#"{"method":"a","id":1,"m\u0065thod":"a"}"#,
            "/method twice",
        ),
        (r#"{"method":"a","id":1,"id":2}"#, "/id twice"),
        (
            r#"{"method":"a","id":1,"Method":"a"}"#,
            "some readers take for /method",
        ),
        (
            r#"{"method":"tools/call","params":{"name":"a"},"params":{"name":"b"}}"#,
            "/params twice",
        ),
        (
            r#"{"method":"tools/call","params":{"name":"a","name":"b"}}"#,
            "/params/name twice",
        ),
        (
            r#"{"method":"tools/call","params":{"name":"a","Name":"b"}}"#,
            "some readers take for /params/name",
        ),
        (
            r#"[{"method":"tools/call","params":{"name":"a","name":"b"}}]"#,
            "/params/name twice",
        ),
        (r#"[{"method":"a"},[{"method":"a"}]]"#, "not an object"),
        (r#"[[{"method":"a"}]]"#, "not an object"),
        (r#"["method"]"#, "not an object"),
        (r#"[{"method":"a"},1]"#, "not an object"),
        (r#""method""#, "not an object"),
        (r#"{"method":"a"}{"method":"b"}"#, "malformed"),
        ("{\"method\":\"a\"}\n{\"method\":\"b\"}", "malformed"),
        (r#"[{"method":"a"}"#, "ends too early"),
        (r#"{"method":"a""#, "ends too early"),
        (r#"[{"method":"a"}],"#, "malformed"),
        ("method=a", "malformed"),
    ] {
        let told = heard(&[], body).expect_err(body);
        assert!(told.contains(why), "{body}: {told}");
    }
    for (headers, why) in [
        (&[("content-encoding", "gzip")][..], "compressed"),
        (&[("content-type", "text/plain")], "content-type"),
        (
            &[
                ("content-type", "application/json"),
                ("content-type", "application/json"),
            ],
            "content-type",
        ),
        (
            &[("content-type", "application/json; charset=utf-16")],
            "content-type",
        ),
    ] {
        assert!(heard(headers, READ).expect_err(why).contains(why));
    }
    heard(&[("content-type", "application/json; charset=utf-8")], READ).unwrap();
}

#[test]
fn what_is_called_must_be_said_early_and_what_comes_later_must_not_gainsay_it() {
    let long = "x".repeat(2000);
    let late =
        format!(r#"{{"id":1,"method":"tools/call","params":{{"arguments":"{long}","name":"a"}}}}"#);
    assert_eq!(
        heard(&[], &late),
        Err(BadMessage::TooLate(MOST).to_string())
    );
    let early =
        format!(r#"{{"method":"tools/call","params":{{"name":"a","arguments":"{long}"}},"id":1}}"#);
    assert_eq!(calls(&early), [(some("tools/call"), some("a"))]);
    let twice = format!(
        r#"{{"method":"tools/call","params":{{"name":"a","arguments":"{long}","name":"b"}}}}"#
    );
    assert!(
        heard(&[], &twice)
            .unwrap_err()
            .contains("/params/name twice")
    );
    // An answer of an agent's question is one from its first letter on.
    let answer = format!(r#"{{"id":1,"result":{{"x":"{long}"}}}}"#);
    assert_eq!(calls(&answer), [(None, None)]);
    let both = format!(
        r#"{{"id":1,"result":{{"x":"{long}"}},"method":"tools/call","params":{{"name":"a"}}}}"#
    );
    assert_eq!(
        heard(&[], &both),
        Err(BadMessage::MethodAndAnswer.to_string())
    );
    let listed = format!(r#"[{{"id":1,"method":"a","params":{{"x":"{long}"}}}}]"#);
    assert_eq!(
        heard(&[], &listed),
        Err(BadMessage::TooLate(MOST).to_string())
    );
}

/// A call of this revision, which says so itself.
fn modern(method: &str, params: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}}}}"#
    )
}

#[test]
fn headers_and_messages_agree() {
    let read = modern("tools/call", r#""name":"read","#);
    let version = ("mcp-protocol-version", "2026-07-28");
    let method = ("mcp-method", "tools/call");
    let name = ("mcp-name", "read");
    let missing = |name: &str| format!("The header {name} is missing.");
    let differs = |name: &str| format!("The header {name} does not say the same as the body.");
    let malformed = |name: &str| format!("The header {name} is malformed, or comes twice.");
    heard(&[version, method, name], &read).unwrap();
    for (headers, why) in [
        (&[method, name][..], missing("MCP-Protocol-Version")),
        (&[version, name], missing("Mcp-Method")),
        (&[version, method], missing("Mcp-Name")),
        (
            &[version, method, ("mcp-name", "write")],
            differs("Mcp-Name"),
        ),
        (
            &[version, method, ("mcp-name", "Read")],
            differs("Mcp-Name"),
        ),
        (&[version, method, ("mcp-name", "")], differs("Mcp-Name")),
        (
            &[version, ("mcp-method", "tools/list"), name],
            differs("Mcp-Method"),
        ),
        (
            &[version, ("mcp-method", "Tools/Call"), name],
            differs("Mcp-Method"),
        ),
        (
            &[("mcp-protocol-version", "2025-11-25"), method, name],
            differs("MCP-Protocol-Version"),
        ),
        (
            &[("mcp-protocol-version", "2027-01-01"), method, name],
            differs("MCP-Protocol-Version"),
        ),
        (
            &[version, method, name, ("mcp-name", "read")],
            malformed("Mcp-Name"),
        ),
        (
            &[version, method, name, ("mcp_name", "write")],
            malformed("Mcp-Name"),
        ),
        (
            &[version, method, ("mcp_name", "read")],
            malformed("Mcp-Name"),
        ),
        (
            &[version, method, name, ("mcp_method", "ping")],
            malformed("Mcp-Method"),
        ),
        (
            &[version, version, method, name],
            malformed("MCP-Protocol-Version"),
        ),
        (
            &[version, method, ("mcp-name", "r\u{e9}ad")],
            malformed("Mcp-Name"),
        ),
    ] {
        assert_eq!(heard(headers, &read), Err(why), "{headers:?}");
    }
    // Nothing but these revisions is free of them, and none lets them lie.
    for old in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let version = ("mcp-protocol-version", old);
        heard(&[version], READ).unwrap();
        heard(&[version, method, name], READ).unwrap();
        assert_eq!(
            heard(&[version, ("mcp-name", "x")], READ),
            Err(differs("Mcp-Name"))
        );
    }
    assert_eq!(heard(&[("mcp-name", "x")], READ), Err(differs("Mcp-Name")));
    assert_eq!(
        heard(&[("mcp-method", "x")], READ),
        Err(differs("Mcp-Method"))
    );
    for new in ["2026-07-28", "2027-01-01", "draft", ""] {
        let told = heard(&[("mcp-protocol-version", new)], READ);
        assert_eq!(told, Err(missing("Mcp-Method")), "{new}");
    }
    let unnamed = heard(&[version, method, name], READ);
    assert_eq!(unnamed, Err(differs("MCP-Protocol-Version")));
    // Whatever has no id waits for no answer: what is demanded of it is not said.
    heard(&[version], r#"{"method":"notifications/cancelled"}"#).unwrap();
    let told = heard(
        &[version, method],
        r#"{"method":"notifications/cancelled"}"#,
    );
    assert_eq!(told, Err(differs("Mcp-Method")));
    let told = heard(&[method], r#"{"id":1,"result":{}}"#);
    assert_eq!(told, Err(differs("Mcp-Method")));
    let told = heard(&[method], r#"[{"id":1,"method":"tools/list"}]"#);
    assert_eq!(told, Err(differs("Mcp-Method")));
}

#[test]
fn a_name_in_a_header_is_that_of_the_message_and_of_nothing_else() {
    let name = ("mcp-name", "read");
    let differs = || Err("The header Mcp-Name does not say the same as the body.".to_owned());
    for nameless in [
        r#"{"id":1,"method":"tools/list","params":{"name":"read"}}"#,
        r#"{"id":1,"method":"ping"}"#,
        r#"{"method":"notifications/initialized"}"#,
        r#"{"id":1,"result":{"name":"read"}}"#,
        r#"[{"id":1,"method":"ping"}]"#,
        r#"{"id":1,"method":"tasks/get","params":{"taskId":"write"}}"#,
        r#"{"id":1,"method":"vendor/do","params":{"id":"read"}}"#,
        r#"{"id":1,"method":"vendor/do"}"#,
    ] {
        assert_eq!(heard(&[name], nameless), differs(), "{nameless}");
    }
    for named in [
        r#"{"id":1,"method":"tasks/get","params":{"taskId":"read"}}"#,
        r#"{"id":1,"method":"vendor/do","params":{"name":"write","uri":"read"}}"#,
        r#"[{"id":1,"method":"prompts/get","params":{"name":"read"}}]"#,
    ] {
        heard(&[name], named).expect(named);
    }
}

#[test]
fn without_a_message_the_headers_name_none() {
    let bad = |headers: &[(&str, &str)]| {
        let (members, headers) = (Rc::default(), HeaderBlock::from_pairs(headers));
        let mut messages = Messages::new(&members, &headers, MOST, false);
        messages.end();
        messages.bad().map(ToString::to_string)
    };
    assert_eq!(bad(&[("mcp-protocol-version", "2025-11-25")]), None);
    for name in ["Mcp-Method", "Mcp-Name"] {
        let why = format!("The header {name} does not say the same as the body.");
        assert_eq!(bad(&[(name, "tools/call")]), Some(why));
    }
}

#[test]
fn resources_and_prompts_are_named_too_and_names_may_stand_in_base64() {
    let version = ("mcp-protocol-version", "2026-07-28");
    let resource = modern("resources/read", r#""uri":"file:///a","name":"b","#);
    let of = |name| {
        heard(
            &[
                version,
                ("mcp-method", "resources/read"),
                ("mcp-name", name),
            ],
            &resource,
        )
    };
    of("file:///a").unwrap();
    of("b").unwrap_err();
    let prompt = modern("prompts/get", r#""uri":"a","name":"Grüße","#);
    let of = |name| {
        heard(
            &[version, ("mcp-method", "prompts/get"), ("mcp-name", name)],
            &prompt,
        )
    };
    of("=?base64?R3LDvMOfZQ==?=").unwrap();
    for wrong in [
        "=?base64?R3LDvMOfZQ?=",
        "=?base64?R3LDvMOfZR==?=",
        "=?base64?!?=",
        "=?BASE64?R3LDvMOfZQ==?=",
        "R3LDvMOfZQ==",
    ] {
        of(wrong).unwrap_err();
    }
    let sentinel = modern("tools/call", r#""name":"=?base64?YQ==?=","#);
    let of = |name| {
        heard(
            &[version, ("mcp-method", "tools/call"), ("mcp-name", name)],
            &sentinel,
        )
    };
    of("=?base64?YQ==?=").unwrap_err();
    of("=?base64?PT9iYXNlNjQ/WVE9PT89?=").unwrap();
    // Other methods have no name that is asked for.
    let list = modern("tools/list", "");
    heard(&[version, ("mcp-method", "tools/list")], &list).unwrap();
}

#[test]
fn ids_are_kept_to_the_letter() {
    for (id, kept) in [
        ("1", Some("1")),
        ("-1.50e3", Some("-1.50e3")),
        (
            "123456789012345678901234567890",
            Some("123456789012345678901234567890"),
        ),
        (r#""a\u0022\u00e9""#, Some("\"a\\\"\u{e9}\"")),
    ] {
        let body = format!(r#"{{"method":"a","id":{id}}}"#);
        let ids = read(&[], &body, 3).ids();
        assert_eq!(ids, Some(RpcIds::One(kept.map(str::to_owned))));
    }
    assert_eq!(
        read(&[], r#"{"method":"a"}"#, 3).ids(),
        Some(RpcIds::One(None))
    );
}

#[test]
fn the_first_that_is_forbidden_is_told() {
    let permission = |name: &str, role: &[&str]| Permission {
        names: vec![Pattern::read(name).unwrap()],
        roles: role.iter().map(|it| (*it).to_owned()).collect(),
        plans: Vec::new(),
    };
    let mcp = Mcp {
        tools: vec![permission("files.*", &["admin"]), permission("*", &[])],
        servers: Vec::new(),
        methods: vec![permission("logging/*", &["admin"]), permission("*", &[])],
        max_list: 1,
    };
    let admin = ["admin".to_owned()];
    let told = |roles: &[String], body: &str| {
        let called = heard(&[], body).expect(body);
        called.forbidden(&mcp, Asker { roles, plan: None })
    };
    let write = r#"[{"method":"tools/call","params":{"name":"x"}},{"method":"tools/call","params":{"name":"files.a"}}]"#;
    let why = some("This client may not call the tool files.a.");
    assert_eq!(told(&[], write), why);
    assert_eq!(told(&admin, write), None);
    let logging = r#"{"method":"logging/setLevel","params":{"level":"debug"}}"#;
    let why = some("This client may not use the method logging/setLevel.");
    assert_eq!(told(&[], logging), why);
    assert_eq!(told(&admin, logging), None);
    assert_eq!(told(&[], READ), None);
    assert_eq!(told(&[], r#"{"id":1,"result":{}}"#), None);
}
