use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config;

fn sought(sticky: &serde_json::Value, max_scan: &str) -> Rc<Sought> {
    let document = json!({
        "agents": {"a": {"cluster": "a"}},
        "routes": [{"prefix": "/", "agents": ["a"], "auth_required": false, "sticky": sticky, "max_scan": max_scan}],
    });
    let policy = config::load(document.to_string().as_bytes()).unwrap();
    Sought::new(&policy, &policy.routes[0]).unwrap()
}

fn json_headers() -> HeaderBlock {
    HeaderBlock::from_pairs(&[("content-type", "application/json")])
}

/// A look at a body that has come in pieces that end at these places, to its end.
fn look_at(sought: &Rc<Sought>, body: &str, cuts: &[usize]) -> Look {
    let mut look = Look::new(sought, &json_headers());
    let mut start = 0;
    for cut in cuts {
        look.feed(&body.as_bytes()[start..*cut]);
        start = *cut;
    }
    look.feed(&body.as_bytes()[start..]);
    look.end();
    look
}

fn prompt_of(body: &str, most: u64) -> Option<String> {
    let look = look_at(
        &sought(&json!({"prompt": format!("{most}B")}), "64KiB"),
        body,
        &[],
    );
    match look.prompt(most) {
        Known::Found(prompt) => Some(String::from_utf8_lossy(&prompt).into_owned()),
        Known::Absent => None,
        Known::Unknown => panic!("all has come"),
    }
}

#[test]
fn each_turn_of_a_chat_begins_with_the_same_prompt() {
    let reply = r#"{"role":"assistant","content":"Hello! How can I help?"},{"role":"user","content":"Tell me more."}"#;
    for (first, later) in [
        (
            r#"{"model":"m","messages":[{"role":"system","content":"S"},{"role":"user","content":"Hi"}]}"#,
            format!(
                r#"{{"model":"m","messages":[{{"role":"system","content":"S"}},{{"role":"user","content":"Hi"}},{reply}]}}"#
            ),
        ),
        (
            r#"{"messages":[{"content":"Hi","role":"user"}]}"#,
            format!(r#"{{"messages":[{{"content":"Hi","role":"user"}},{reply}]}}"#),
        ),
        (
            r#"{"messages":[{"role":"user","content":"Hi"}],"system":"S"}"#,
            format!(r#"{{"messages":[{{"role":"user","content":"Hi"}},{reply}],"system":"S"}}"#),
        ),
        (
            r#"{"instructions":"S","input":[{"role":"developer","content":"D"},{"role":"user","content":[{"text":"Hi"}]}]}"#,
            format!(
                r#"{{"instructions":"S","input":[{{"role":"developer","content":"D"}},{{"role":"user","content":[{{"text":"Hi"}}]}},{reply}]}}"#
            ),
        ),
        (
            r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}"#,
            r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]},{"role":"model","parts":[]}]}"#
                .to_owned(),
        ),
    ] {
        let prompt = prompt_of(first, 1024);
        assert!(
            prompt.as_ref().is_some_and(|it| it.contains("Hi")),
            "{prompt:?}"
        );
        assert_eq!(prompt, prompt_of(&later, 1024), "{first}");
        let other = first.replace("Hi", "Hi!");
        assert_ne!(prompt, prompt_of(&other, 1024), "{first}");
    }
}

#[test]
fn prompts_that_begin_alike_are_alike_and_no_more_of_them_counts() {
    let of = |user: &str| {
        let system = "You are a helpful assistant. ".repeat(4);
        format!(
            r#"{{"messages":[{{"role":"system","content":"{system}"}},{{"role":"user","content":"{user}"}}]}}"#
        )
    };
    assert_eq!(prompt_of(&of("a"), 64), prompt_of(&of("b"), 64));
    assert_ne!(prompt_of(&of("a"), 512), prompt_of(&of("b"), 512));
    assert_eq!(prompt_of(&of("a"), 64).map(|it| it.len()), Some(64));
    for (body, expected) in [
        (r#"{"system":"S","prompt":"P","more":1}"#, Some(r#""S""P""#)),
        (r#"{"prompt":["a","b"]}"#, Some(r#"["a","b"]"#)),
        (r#"{"prompt":[1,2,3]}"#, Some("[1,2,3]")),
        (r#"{"input":null,"messages":[]}"#, Some("[]")),
        (r#"{"instructions":"only"}"#, Some(r#""only""#)),
        (r#"{"model":"m"}"#, None),
        (r#"{"nested":{"messages":[1]}}"#, None),
        ("[]", None),
        ("", None),
    ] {
        assert_eq!(prompt_of(body, 64).as_deref(), expected, "{body}");
    }
}

#[test]
fn it_is_known_as_soon_as_it_can_be() {
    let sought = sought(&json!([{"body": "/user"}, {"prompt": "64B"}]), "1KiB");
    let mut look = Look::new(&sought, &json_headers());
    look.feed(br#"{"messages":[{"role":"system","content":"S"},{"role":"user""#);
    assert_eq!(look.prompt(64), Known::Unknown);
    assert_eq!(look.prompt(16), Known::Found(br#"[{"role":"system"#.into()));
    look.feed(br#","content":"Hi"}"#);
    let whole: &[u8] = br#"[{"role":"system","content":"S"},{"role":"user","content":"Hi"}"#;
    assert_eq!(look.prompt(64), Known::Found(whole.into()));
    assert_eq!(look.member("/user"), Known::Unknown);
    look.feed(br#"],"user":"joe""#);
    assert_eq!(look.member("/user"), Known::Found(b"joe".into()));
    assert!(!look.is_over());
    // What is not said by `max_scan` is not waited for.
    let mut look = Look::new(&sought, &json_headers());
    look.feed(&[b' '; 1000]);
    assert_eq!(look.member("/user"), Known::Unknown);
    look.feed(&[b' '; 100]);
    assert_eq!(look.member("/user"), Known::Absent);
}

#[test]
fn what_cannot_be_read_says_nothing() {
    let sought = sought(&json!({"body": "/a/b"}), "64KiB");
    for (body, expected) in [
        (r#"{"a":{"b":"x"}}"#, Some(&b"x"[..])),
        (r#"{"a":{"b":7.50}}"#, Some(b"7.50")),
        (r#"{"a":{"b":"x","b":"y"}}"#, Some(b"x")),
        (r#"{"a":{"B":"x","b":"y"}}"#, None),
        (r#"{"a":{"b":""}}"#, None),
        (r#"{"a":{"b":true}}"#, None),
        (r#"{"a":{"b":["x"]}}"#, None),
        (r#"{"a":["b"]}"#, None),
        (r#"{"a":{"#, None),
        ("no JSON", None),
    ] {
        let look = look_at(&sought, body, &[]);
        let expected = expected.map_or(Known::Absent, |it| Known::Found(it.into()));
        assert_eq!(look.member("/a/b"), expected, "{body}");
    }
    for headers in [
        &[("content-type", "text/plain")][..],
        &[
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
        ],
    ] {
        let look = Look::new(&sought, &HeaderBlock::from_pairs(headers));
        assert_eq!((look.is_over(), look.member("/a/b")), (true, Known::Absent));
    }
}

#[test]
fn a_form_has_fields() {
    let sought = sought(&json!({"body": "/user"}), "64KiB");
    let form = HeaderBlock::from_pairs(&[("content-type", "multipart/form-data; boundary=b")]);
    let mut look = Look::new(&sought, &form);
    look.feed(b"--b\r\ncontent-disposition: form-data; name=\"user\"\r\n\r\njoe\r\n--b");
    look.feed(b"--\r\n");
    assert_eq!(look.member("/user"), Known::Found(b"joe".into()));
}

#[test]
fn an_earlier_answer_is_named_by_itself_or_by_its_conversation() {
    let sought = sought(&json!({"response": true}), "64KiB");
    for (body, expected) in [
        (r#"{"previous_response_id":"resp_1"}"#, Some("resp_1")),
        (r#"{"conversation":"conv_1"}"#, Some("conv_1")),
        (r#"{"conversation":{"id":"conv_1"}}"#, Some("conv_1")),
        (
            r#"{"previous_response_id":null,"conversation":"conv_1"}"#,
            Some("conv_1"),
        ),
        (r#"{"previous_response_id":null}"#, None),
        (r#"{"conversation":[1]}"#, None),
        (r#"{"input":"previous_response_id"}"#, None),
    ] {
        let look = look_at(&sought, body, &[]);
        let expected = expected.map_or(Known::Absent, |it| Known::Found(it.as_bytes().into()));
        assert_eq!(look.named(), expected, "{body}");
    }
}

/// A text of JSON, with what splits badly.
fn text() -> impl Strategy<Value = String> {
    "[a-zé\"\\\\\u{1f600} ]{0,30}"
}

proptest! {
    #[test]
    fn however_a_body_is_split_it_says_the_same(
        system in prop::option::of(text()),
        behind: bool,
        texts in prop::collection::vec(text(), 0..5),
        as_text: bool,
        most in 16_u64..200,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let roles = ["system", "user", "assistant", "developer", "user"];
        let messages = texts.iter().zip(roles);
        let messages: Vec<_> = messages.map(|(text, role)| json!({"content": text, "role": role})).collect();
        let prompt = if as_text { json!({"x": 1, "input": texts.concat()}) } else { json!({"messages": messages, "z": [1.5]}) };
        let prompt = prompt.to_string();
        let body = match (&system, behind) {
            (None, _) => prompt,
            (Some(system), true) => format!("{},\"system\":{}}}", &prompt[..prompt.len() - 1], json!(system)),
            (Some(system), false) => format!("{{\"system\":{},{}", json!(system), &prompt[1..]),
        };
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
        cuts.sort_unstable();
        let sought = sought(&json!([{"prompt": format!("{most}B")}, {"body": "/x"}]), "64KiB");
        let (whole, split) = (look_at(&sought, &body, &[]), look_at(&sought, &body, &cuts));
        prop_assert_eq!(whole.prompt(most), split.prompt(most), "{} {:?}", body, cuts);
        prop_assert_eq!(whole.member("/x"), split.member("/x"));
        prop_assert!(split.prompt.len() as u64 <= most);
    }

    #[test]
    fn any_body_may_come(body in prop::collection::vec(any::<u8>(), 0..300), cut: prop::sample::Index) {
        let sought = sought(&json!([{"prompt": "64B"}, {"body": "/x"}, {"response": true}]), "1KiB");
        let mut look = Look::new(&sought, &json_headers());
        let (first, rest) = body.split_at(cut.index(body.len() + 1));
        look.feed(first);
        look.feed(rest);
        look.end();
        prop_assert_ne!(look.prompt(64), Known::Unknown);
        prop_assert_ne!(look.member("/x"), Known::Unknown);
        prop_assert_ne!(look.named(), Known::Unknown);
    }
}
