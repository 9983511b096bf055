//! An agent becomes sticky under `waykeeper run`, and stops being so, beneath open streams.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;

use crate::caller::Caller;
use crate::gateway::{agent, free_address};
use crate::load::{goes_on, stream};
use crate::running::Running;
use crate::stand_in::{Came, StandIn};

/// Who answers for each of some values of a header.
async fn answers(caller: &Caller) -> BTreeMap<usize, BTreeSet<String>> {
    let mut answers: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for round in 0..3 {
        for value in 0..20 {
            let session = format!("session {value}");
            let answer = caller.get("/chat/x", &[("x-session", &session)]).await;
            assert_eq!(answer.status, 200, "{round} {value}: {answer:?}");
            answers.entry(value).or_default().insert(answer.agent());
        }
    }
    answers
}

/// Which host answers the requests of a session.
async fn hosts(caller: &Caller, session: &str) -> BTreeSet<String> {
    let mut hosts = BTreeSet::new();
    for _ in 0..12 {
        let answer = caller.get("/tools/x", &[("mcp-session-id", session)]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        hosts.insert(answer.text());
    }
    hosts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_becomes_sticky_and_stops_being_so_and_no_stream_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let (a, b) = (agent("a").await, agent("b").await);
    let names_sessions = |name: &'static str| {
        StandIn::start(move |_: &Came| {
            Response::builder()
                .header("mcp-session-id", format!("of-{name}"))
                .body(Full::new(Bytes::from(name)))
                .expect("an answer")
        })
    };
    let (c, d) = (names_sessions("c").await, names_sessions("d").await);
    let listen = free_address();
    let caller = Caller::of(listen);
    let key = "0123456789abcdef".repeat(4);
    let text = |chat: &str, tools: &str| {
        format!(
            "
listen: [{{address: '{listen}'}}]
sessions: {{keys: ['{key}']}}
agents:
  chat: {{endpoints: ['http://{}', 'http://{}']{chat}}}
  tools: {{endpoints: ['http://{}', 'http://{}'], balance: round_robin{tools}}}
routes:
  - {{prefix: /chat, agents: [chat], auth_required: false}}
  - {{prefix: /tools, agents: [tools], auth_required: false}}
  - {{prefix: /v1/chat, agents: [chat], auth_required: false, protocol: sse}}
",
            a.address(),
            b.address(),
            c.address,
            d.address,
        )
    };
    let (plain, sticky) = (
        text("", ""),
        text(
            ", sticky: {header: x-session}",
            ", sticky: {header: mcp-session-id}",
        ),
    );
    let mut running = Running::start(directory.path(), &plain, &[]).await;
    let mut streams = vec![stream(listen, "/v1/chat/stream").await];
    goes_on(&mut streams[0]).await;
    assert!(answers(&caller).await.values().any(|it| it.len() > 1));

    for _ in 0..2 {
        let said = running.change(&sticky).await;
        assert!(said.contains("agents: changed chat tools"), "{said}");
        let answers_now = answers(&caller).await;
        assert!(
            answers_now.values().all(|it| it.len() == 1),
            "{answers_now:?}"
        );
        let used: BTreeSet<_> = answers_now.values().flatten().collect();
        assert_eq!(used.len(), 2, "{answers_now:?}");
        let opened = caller.get("/tools/x", &[]).await;
        let session = opened.header("mcp-session-id").expect("a session");
        assert_eq!(
            hosts(&caller, session).await,
            BTreeSet::from([opened.text()])
        );
        streams.push(stream(listen, "/v1/chat/stream").await);

        let said = running.change(&plain).await;
        assert!(said.contains("agents: changed chat tools"), "{said}");
        // What was sealed for a session means nothing any more, and keeps nobody out.
        assert_eq!(hosts(&caller, session).await.len(), 2);
        assert!(answers(&caller).await.values().any(|it| it.len() > 1));
        for stream in &mut streams {
            goes_on(stream).await;
        }
    }
    assert_eq!(running.stat("listener_manager.listener_modified").await, 0);
}
