use proptest::prelude::*;

use super::*;

const EVENTS: &str = "event: response.created\r\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"object\":\"response\"}}\r\n\r\n";

fn seen(content_type: &str, pieces: &[&[u8]]) -> Option<String> {
    let names = Names::new().unwrap();
    let mut answer = Answer::new(&names, content_type.as_bytes())?;
    for piece in pieces {
        match answer.feed(piece) {
            Seen::Name(name) => return Some(name.to_owned()),
            Seen::NoName | Seen::Task(_) => return None,
            Seen::Nothing => {}
        }
    }
    None
}

#[test]
fn an_answers_name_is_found_in_json_and_in_events() {
    for (content_type, answer, expected) in [
        (
            "application/json",
            r#"{"id":"resp_1","object":"response"}"#,
            Some("resp_1"),
        ),
        (
            "application/json",
            r#"{"object":"response","output":[{"id":"msg_1"}],"id":"resp_1"}"#,
            Some("resp_1"),
        ),
        (
            "application/json; charset=utf-8",
            r#"{"id":"conv_1","object":"conversation"}"#,
            Some("conv_1"),
        ),
        (
            "application/json",
            r#"{"id":"chatcmpl-1","object":"chat.completion"}"#,
            None,
        ),
        (
            "application/json",
            r#"{"id":"resp_1","object":"response.deleted"}"#,
            None,
        ),
        ("application/json", r#"{"id":7,"object":"response"}"#, None),
        (
            "application/json",
            r#"{"id":"a","id":"b","object":"response"}"#,
            None,
        ),
        ("application/json", r#"["id"]"#, None),
        ("text/event-stream", EVENTS, Some("resp_1")),
        (
            "Text/Event-Stream;charset=utf-8",
            ": ping\n\ndata:{\"type\":\"x\"}\n\ndata: {\"response\":{\"id\":\"resp_1\"}}\n\n",
            Some("resp_1"),
        ),
        (
            "text/event-stream",
            "data: [DONE]\n\ndata: {\"response\":{\"id\":\"resp_1\"}}\n\n",
            Some("resp_1"),
        ),
        (
            "text/event-stream",
            "data: {\"delta\":\"{\\\"response\\\"\"}\n\nid: 1\n\n",
            None,
        ),
        (
            "text/event-stream",
            "dat: {\"response\":{\"id\":\"resp_1\"}}\n\n",
            None,
        ),
        ("text/html", r#"{"id":"resp_1","object":"response"}"#, None),
    ] {
        let found = seen(content_type, &[answer.as_bytes()]);
        assert_eq!(found.as_deref(), expected, "{content_type} {answer}");
    }
}

#[test]
fn an_answer_is_not_looked_at_for_ever() {
    let names = Names::new().unwrap();
    for kind in ["application/json", "text/event-stream"] {
        let mut answer = Answer::new(&names, kind.as_bytes()).unwrap();
        let blanks = vec![b' '; MOST];
        assert_eq!(answer.feed(&blanks), Seen::Nothing);
        assert_eq!(answer.feed(b" "), Seen::NoName);
    }
}

#[test]
fn a_path_names_an_answer_behind_the_word_for_them() {
    for (path, expected) in [
        ("/v1/responses", Some(None)),
        ("/v1/responses?stream=true", Some(None)),
        ("/v1/responses/", Some(None)),
        ("/v1/responses/resp_1", Some(Some("resp_1"))),
        ("/v1/responses/resp_1?a=b", Some(Some("resp_1"))),
        ("/openai/v1/responses/resp_1/cancel", Some(Some("resp_1"))),
        ("/v1/conversations/conv_1/items", Some(Some("conv_1"))),
        ("/v1/chat/completions", None),
        ("/v1/responses2/x", None),
        ("/?/responses/x", None),
    ] {
        let expected = expected.map(|name| name.map(str::as_bytes));
        assert_eq!(in_path(path.as_bytes()), expected, "{path}");
    }
}

proptest! {
    #[test]
    fn however_an_answer_is_split_it_has_the_same_name(
        cuts in prop::collection::vec(0..EVENTS.len(), 0..8),
        before in prop::collection::vec("(: [a-z]*|data: [0-9]{1,3}|event: x|)(\n|\r\n|\r)", 0..4),
    ) {
        // They are of an event of their own, if of any.
        let text = before.concat() + "\n\n" + EVENTS;
        let mut cuts = cuts;
        cuts.push(0);
        cuts.push(text.len());
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
        let name = seen("text/event-stream", &pieces);
        prop_assert_eq!(name.as_deref(), Some("resp_1"), "{:?}", text);
    }

    #[test]
    fn any_answer_may_come(bytes in prop::collection::vec(any::<u8>(), 0..200), events: bool) {
        let kind = if events { "text/event-stream" } else { "application/json" };
        seen(kind, &[&bytes, b"\ndata:", &bytes]);
    }
}
