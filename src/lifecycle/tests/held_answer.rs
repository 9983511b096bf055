//! Answers that are changed before their caller sees them.

use super::*;
use crate::lifecycle::held_answer::HeldAnswer;
use crate::routing::visible_tools;

const MOST: usize = 200;
const CAME: &str = r#"{"id":1,"result":{"tools":[{"name":"look"},{"name":"secret"}]}}"#;
const SEEN: &str = r#"{"id":1,"result":{"tools":[{"name":"look"}]}}"#;
const JSON: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/json")];
const EVENTS: [(&str, &str); 2] = [
    (":status", "200"),
    ("content-type", "text/event-stream; charset=utf-8"),
];

impl World {
    /// A request has gone on whose answer is looked at, because that is what it asked for or because it passes by.
    fn looked_at(&mut self, id: StreamId, is_asked_for: bool) {
        assert_eq!(self.request(id, "GET", "/open", &[]), Flow::Continue);
        let look = |text: &[u8]| visible_tools(text, &|name| name != b"secret");
        let held = HeldAnswer::new(Box::new(look), MOST, is_asked_for);
        let stream = &self.gateway.streams[&id];
        stream.common.facts.borrow_mut().held_answer = Some(Box::new(held));
    }

    fn answer_headers(&mut self, id: StreamId, headers: &[(&str, &str)]) -> Flow {
        self.host.respond(id, headers);
        let io = self.host.io(id);
        self.gateway.on_response_headers(id, &io, false)
    }

    /// A piece of the answer comes: what goes on.
    fn answer_piece(&mut self, id: StreamId, piece: &str, end: bool) -> Option<String> {
        self.host.say(id, piece.as_bytes());
        let io = self.host.io(id);
        let flow = self.gateway.on_response_body(id, &io, piece.len(), end);
        let at_hand = String::from_utf8(self.stream(id).answer).unwrap();
        if flow != Flow::Continue {
            assert_eq!(at_hand, "", "what is held is taken out");
        }
        (flow == Flow::Continue).then_some(at_hand)
    }

    pub(super) fn of_response(&self, id: StreamId, name: &str) -> Option<String> {
        let response = self.stream(id).response;
        let found = response.iter().find(|(other, _)| other == name.as_bytes());
        found.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
    }

    pub(super) fn held_of_answers(&self) -> u64 {
        self.gateway.shared.holds.of_answers()
    }
}

#[test]
fn a_text_is_held_until_it_is_whole_and_goes_on_as_its_caller_may_see_it() {
    for size in [1, 7, CAME.len()] {
        let mut world = World::new();
        world.looked_at(STREAM, true);
        let told = [&JSON[..], &[("content-length", "9"), ("etag", "x")]].concat();
        assert_eq!(world.answer_headers(STREAM, &told), Flow::Hold);
        let mut gone = Vec::new();
        let pieces: Vec<_> = CAME.as_bytes().chunks(size).collect();
        for piece in &pieces {
            gone.push(world.answer_piece(STREAM, str::from_utf8(piece).unwrap(), false));
        }
        assert_eq!(gone.pop().unwrap().as_deref(), Some(SEEN));
        assert!(gone.iter().all(Option::is_none));
        let length = SEEN.len().to_string();
        assert_eq!(world.of_response(STREAM, "content-length"), Some(length));
        assert_eq!(world.of_response(STREAM, "etag"), None);
        // Blanks behind it are none of its length.
        assert_eq!(world.answer_piece(STREAM, "\n ", false), None);
        assert_eq!(world.held_of_answers(), 0);
        assert_eq!(world.answer_piece(STREAM, "\n", true).as_deref(), Some(""));
        assert_eq!(world.stream(STREAM).reply, None);
    }
}

#[test]
fn what_cannot_be_read_or_is_too_large_is_refused_before_its_headers_go() {
    let long = format!(r#"{{"result":{{"x":"{}"}}}}"#, "x".repeat(MOST));
    let with = |name, value| [&JSON[..], &[(name, value)]].concat();
    let html = vec![(":status", "200"), ("content-type", "text/html")];
    let bare = vec![(":status", "200")];
    for (headers, body, code) in [
        (JSON.to_vec(), long.as_str(), "answer_too_large"),
        (with("content-length", "201"), "", "answer_too_large"),
        (with("content-encoding", "gzip"), CAME, "unreadable_answer"),
        (with("content-encoding", "br"), "{}", "unreadable_answer"),
        (JSON.to_vec(), &CAME[..40], "unreadable_answer"),
        (JSON.to_vec(), "{\"result\":NaN}", "unreadable_answer"),
        (JSON.to_vec(), "not found: {", "unreadable_answer"),
        (html, "<a>{}</a>", "unreadable_answer"),
        (bare, CAME, ""),
    ] {
        for size in [1, 64, 4096] {
            let mut world = World::new();
            world.looked_at(STREAM, true);
            let mut flow = world.answer_headers(STREAM, &headers);
            assert_eq!(flow, Flow::Hold);
            let chunks = body
                .as_bytes()
                .chunks(size)
                .map(|it| str::from_utf8(it).unwrap());
            let mut gone = String::new();
            for chunk in chunks {
                gone += &world.answer_piece(STREAM, chunk, false).unwrap_or_default();
            }
            gone += &world.answer_piece(STREAM, "", true).unwrap_or_default();
            let refused = world.refusal(STREAM).unwrap_or_default();
            assert_eq!(refused, code, "{body} by {size}");
            if !code.is_empty() {
                assert_eq!(gone, "");
                assert_eq!(world.stream(STREAM).reply.unwrap().status, 502);
            }
            assert_eq!(world.held_of_answers(), 0);
            flow = world
                .gateway
                .on_response_trailers(STREAM, &world.host.io(STREAM));
            assert_eq!(flow == Flow::Hold, !code.is_empty());
        }
    }
}

#[test]
fn answers_that_hold_no_list_pass() {
    let error = |kind| vec![(":status", "404"), ("content-type", kind)];
    // What an agent says of a fault, in words.
    for (headers, is_asked_for) in [
        (error("text/html"), true),
        (vec![(":status", "503")], true),
        (
            vec![(":status", "200"), ("content-type", "image/png")],
            false,
        ),
    ] {
        let mut world = World::new();
        world.looked_at(STREAM, is_asked_for);
        assert_eq!(world.answer_headers(STREAM, &headers), Flow::Continue);
        assert_eq!(
            world.answer_piece(STREAM, "<p>", false).as_deref(),
            Some("<p>")
        );
        assert_eq!(world.answer_piece(STREAM, "", true).as_deref(), Some(""));
    }
    for (headers, body) in [
        (error("application/problem+json"), r#"{"title":"no"}"#),
        (vec![(":status", "202")], ""),
        (JSON.to_vec(), r#"{"error":{"code":-32601},"id":1}"#),
        (JSON.to_vec(), "null"),
    ] {
        let mut world = World::new();
        world.looked_at(STREAM, true);
        assert_eq!(world.answer_headers(STREAM, &headers), Flow::Hold);
        assert_eq!(
            world.answer_piece(STREAM, body, true).as_deref(),
            Some(body)
        );
        let length = Some(body.len().to_string());
        assert_eq!(world.of_response(STREAM, "content-length"), length);
        assert_eq!(world.refusal(STREAM), None);
    }
}

#[test]
fn answers_without_a_body_and_those_of_the_host_pass() {
    let mut world = World::new();
    world.looked_at(STREAM, true);
    world.host.respond(STREAM, &JSON);
    let io = world.host.io(STREAM);
    assert_eq!(
        world.gateway.on_response_headers(STREAM, &io, true),
        Flow::Continue
    );

    let mut world = World::new();
    world.looked_at(STREAM, true);
    let answer = OwnAnswer {
        status: 503,
        unreached: true,
        asks_credential: false,
        fault: None,
    };
    world.host.respond_itself(STREAM, answer);
    let io = world.host.io(STREAM);
    io.set_response_header("content-type", b"application/json");
    assert_eq!(
        world.gateway.on_response_headers(STREAM, &io, false),
        Flow::Continue
    );
    assert_eq!(
        world.answer_piece(STREAM, CAME, true).as_deref(),
        Some(CAME)
    );
}

#[test]
fn of_a_stream_each_event_goes_on_when_it_is_whole() {
    let list = format!("event: message\r\nid: 7\r\ndata: {CAME}\r\n\r\n");
    let seen = format!("event: message\r\nid: 7\r\ndata: {SEEN}\n\r\n");
    let progress = "data: {\"method\":\"notifications/progress\",\"params\":{}}\n\n";
    for is_asked_for in [true, false] {
        let mut world = World::new();
        world.looked_at(STREAM, is_asked_for);
        let told = [&EVENTS[..], &[("content-length", "999")]].concat();
        // Where the list is asked for, there may be a better answer than to break off until the first event.
        let flow = world.answer_headers(STREAM, &told);
        assert_eq!(flow == Flow::Hold, is_asked_for);
        assert_eq!(world.of_response(STREAM, "content-length"), None);
        assert_eq!(
            world.answer_piece(STREAM, progress, false).as_deref(),
            Some(progress)
        );
        assert_eq!(
            world.answer_piece(STREAM, "event: endpoint\ndata: /messages\n", false),
            None
        );
        assert_eq!(
            world.answer_piece(STREAM, "\n: ping\n", false).as_deref(),
            Some("event: endpoint\ndata: /messages\n\n")
        );
        assert_eq!(world.held_of_answers(), 7);
        assert_eq!(
            world.answer_piece(STREAM, "\n", false).as_deref(),
            Some(": ping\n\n")
        );
        let mut gone = String::new();
        for byte in list.chars() {
            gone += &world
                .answer_piece(STREAM, &byte.to_string(), false)
                .unwrap_or_default();
        }
        assert_eq!(gone, seen);
        assert_eq!(world.answer_piece(STREAM, "", true).as_deref(), Some(""));
        assert_eq!(world.held_of_answers(), 0);
        assert_eq!(world.refusal(STREAM), None);
    }
}

#[test]
fn an_event_that_cannot_be_read_or_is_too_long_ends_its_stream() {
    let long = format!("data: {{\"a\":\"{}\"}}\n\n", "x".repeat(MOST));
    for (event, code) in [
        (long.as_str(), "answer_too_large"),
        (
            "data: {\"result\":{\"tools\":[{\"name\":\"secret\"},]}}\n\n",
            "unreadable_answer",
        ),
        ("data: \u{feff}{}\n\n", "unreadable_answer"),
    ] {
        for before in ["", "data: 1\n\n"] {
            let mut world = World::new();
            world.looked_at(STREAM, true);
            world.answer_headers(STREAM, &EVENTS);
            if !before.is_empty() {
                assert!(world.answer_piece(STREAM, before, false).is_some());
            }
            assert_eq!(world.answer_piece(STREAM, event, false), None);
            assert_eq!(world.refusal(STREAM).as_deref(), Some(code));
            assert_eq!(world.answer_piece(STREAM, SEEN, false), None);
        }
    }
    // One that its agent has broken off is seen by nobody.
    let mut world = World::new();
    world.looked_at(STREAM, false);
    world.answer_headers(STREAM, &EVENTS);
    assert_eq!(
        world.answer_piece(STREAM, &format!("data: {}", &CAME[..50]), false),
        None
    );
    let io = world.host.io(STREAM);
    assert_eq!(
        world.gateway.on_response_trailers(STREAM, &io),
        Flow::Continue
    );
    assert_eq!(world.answer_piece(STREAM, "", true), None);
    assert_eq!(world.refusal(STREAM).as_deref(), Some("unreadable_answer"));
}

#[test]
fn answers_of_all_callers_are_held_within_a_bound_and_no_request_is_shut_out_by_them() {
    let mut world = World::with(|document| {
        document["clients"]["hold"] = serde_json::json!({"collected": "1MiB"});
    });
    let most = (1 << 20) / 199;
    let part = format!("[\"{}", "x".repeat(197));
    for id in 1..=most {
        world.looked_at(StreamId(id), true);
        world.answer_headers(StreamId(id), &JSON);
        assert_eq!(world.answer_piece(StreamId(id), &part, false), None);
        assert_eq!(world.refusal(StreamId(id)), None, "{id}");
    }
    let one_more = StreamId(most + 1);
    world.looked_at(one_more, true);
    world.answer_headers(one_more, &JSON);
    world.answer_piece(one_more, &part, false);
    assert_eq!(
        world.refusal(one_more).as_deref(),
        Some("gateway_unavailable")
    );
    // A caller that leaves makes room.
    world.gateway.on_end(STREAM);
    let another = StreamId(most + 2);
    world.looked_at(another, true);
    world.answer_headers(another, &JSON);
    world.answer_piece(another, &part, false);
    assert_eq!(world.refusal(another), None);
}

#[test]
fn streams_of_one_caller_leave_room_for_those_of_others() {
    let mut world = World::with(|document| {
        document["clients"]["hold"] = serde_json::json!({"collected": "1MiB"});
        let tools = serde_json::json!([{"match": "secret", "roles": ["admin"]}, {"match": "*"}]);
        let route =
            serde_json::json!({"prefix": "/mcp", "agents": ["one"], "mcp": {"tools": tools}});
        document["routes"].as_array_mut().unwrap().push(route);
    });
    // Its key is known from now on.
    world.validated(StreamId(9), "POST", "/chat", &[]);
    let part = format!("data: [\"{}", "x".repeat(400_000));
    for (id, refusal) in [(STREAM, None), (StreamId(2), Some("gateway_unavailable"))] {
        let headers = [
            (":method", "GET"),
            (":path", "/mcp"),
            ("x-api-key", "secret"),
        ];
        world.host.begin(id, &headers);
        let flow = (world.gateway).on_request_headers(id, &world.host.io(id), true);
        assert_eq!(flow, Flow::Continue);
        world.answer_headers(id, &EVENTS);
        assert_eq!(world.answer_piece(id, &part, false), None);
        assert_eq!(world.refusal(id).as_deref(), refusal);
    }
}
