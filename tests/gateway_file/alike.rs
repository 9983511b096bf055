//! Requests that are kept together by what their bodies say, and by the answers that they name: two agents with two endpoints
//! each, behind an Envoy with two workers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::answerer::Answerer;
use crate::caller::{Answer, Caller};
use crate::gateway::{Around, Gateway, free_address};
use crate::sticky::CLIENTS;
use crate::{eventually, needed};

const ACME: (&str, &str) = ("x-api-key", "key-of-acme");
const OTHER: (&str, &str) = ("x-api-key", "key-of-other");
const JSON: (&str, &str) = ("content-type", "application/json");

struct World {
    answerers: BTreeMap<&'static str, Answerer>,
    gateway: Gateway,
    caller: Caller,
    listen: SocketAddr,
    _directory: tempfile::TempDir,
}

/// Both agents are sticky by this, and so are the routes to them.
async fn world(sticky: &str, more: &str) -> World {
    let directory = tempfile::tempdir().expect("a directory");
    let mut answerers = BTreeMap::new();
    for name in ["left-1", "left-2", "right-1", "right-2"] {
        answerers.insert(name, Answerer::start(name).await);
    }
    let places = |side: &str| {
        let of_side = answerers.iter().filter(|(name, _)| name.starts_with(side));
        let places: Vec<_> = of_side
            .map(|(_, it)| format!("'http://{}'", it.address))
            .collect();
        places.join(", ")
    };
    let (listen, operations) = (free_address(), free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
{CLIENTS}
agents:
  left: {{endpoints: [{}], sticky: {sticky}}}
  right: {{endpoints: [{}], sticky: {sticky}}}
routes:
  - {{prefix: /v1, agents: [left, right], sticky: {sticky}, auth_required: false}}
{more}",
        places("left"),
        places("right"),
    );
    let around = Around {
        more_workers: 1,
        ..Around::default()
    };
    let gateway = Gateway::start_with(directory.path(), &text, &around, operations).await;
    World {
        answerers,
        gateway,
        caller: Caller::of(listen),
        listen,
        _directory: directory,
    }
}

impl World {
    /// Who answers this.
    async fn ask(&self, headers: &[(&str, &str)], body: &str) -> String {
        let answer = self.post("/v1/chat", headers, body).await;
        answer.agent()
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let headers = [headers, &[JSON]].concat();
        self.caller.post(path, &headers, body).await
    }

    /// Begins a conversation, or goes on with one; the answer's name, and who has given it.
    async fn respond(&self, key: &[(&str, &str)], previous: Option<&str>) -> (String, String) {
        let mut body = json!({"model": "m", "input": "Hello"});
        if let Some(previous) = previous {
            body["previous_response_id"] = previous.into();
        }
        let answer = self.post("/v1/responses", key, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{previous:?} {answer:?}");
        // It says nothing of hosts to callers, nor the gateway's headers to agents.
        assert_eq!(answer.header("x-waykeeper-session"), None);
        let said = answer.json();
        let names = said["metadata"]["names"].as_str().expect("names");
        for hidden in [
            "x-waykeeper-host",
            "x-waykeeper-session",
            "x-waykeeper-hash",
        ] {
            assert!(!names.contains(hidden), "{names}");
        }
        assert_eq!(said["metadata"]["encoding"], "identity");
        (
            said["id"].as_str().expect("a name").to_owned(),
            answer.agent(),
        )
    }
}

/// Each value has its place, and all places have some.
async fn assert_spread(
    world: &World,
    headers: &[(&str, &str)],
    body: impl Fn(usize, bool) -> String,
) {
    let mut places = BTreeSet::new();
    for value in 0..40 {
        let first = world.ask(headers, &body(value, false)).await;
        for _ in 0..3 {
            assert_eq!(
                world.ask(headers, &body(value, true)).await,
                first,
                "{value}"
            );
        }
        places.insert(first);
    }
    assert_eq!(places.len(), 4, "{places:?}");
}

#[tokio::test]
async fn what_a_body_says_picks_agent_and_endpoint() {
    let world = world("{body: /metadata/thread}", "").await;
    assert_spread(&world, &[], |value, again| {
        // In the second piece of some.
        let filler = if again {
            "x".repeat(40_000)
        } else {
            String::new()
        };
        format!(r#"{{"input":"{filler}","metadata":{{"other":{again},"thread":"t{value}"}}}}"#)
    })
    .await;
    assert_spread(&world, &[], |value, _| {
        format!(r#"{{"metadata":{{"thread":{value}}}}}"#)
    })
    .await;
    // What says nothing goes anywhere, and is never refused.
    let beyond = format!(
        r#"{{"input":"{}","metadata":{{"thread":"t"}}}}"#,
        "x".repeat(70_000)
    );
    let mut places = BTreeMap::<&str, BTreeSet<String>>::new();
    for body in [
        "{}",
        r#"{"metadata":{"thread":null}}"#,
        r#"{"metadata":{"Thread":"t"}}"#,
        r#"{"metadata":{"thread":"#,
        "no JSON",
        "",
        &beyond,
    ] {
        for _ in 0..40 {
            let agent = world.ask(&[], body).await;
            places.entry(body).or_default().insert(agent);
        }
    }
    assert!(
        places.values().all(|places| places.len() == 4),
        "{places:?}"
    );
    // Of what comes twice the first counts; and nobody minds.
    let twice = r#"{"metadata":{"thread":"t1","thread":"t2"}}"#;
    let once = r#"{"metadata":{"thread":"t1"}}"#;
    assert_eq!(world.ask(&[], twice).await, world.ask(&[], once).await);
    // A form's field of a nested name there is none, and no body at all.
    assert_eq!(world.caller.get("/v1/chat", &[]).await.status, 200);
}

#[tokio::test]
async fn the_beginning_of_a_prompt_picks_agent_and_endpoint_in_each_turn() {
    let world = world("{prompt: 1KiB}", "").await;
    assert_spread(&world, &[], |value, again| {
        let mut messages = vec![
            json!({"role": "system", "content": "You are helpful."}),
            json!({"role": "user", "content": format!("Question {value}")}),
        ];
        if again {
            messages.push(json!({"role": "assistant", "content": "word ".repeat(20_000)}));
            messages.push(json!({"role": "user", "content": "And then?"}));
        }
        json!({"messages": messages}).to_string()
    })
    .await;
    // Beyond so many bytes nothing counts.
    let system = "You are helpful. ".repeat(70);
    let mut places = BTreeSet::new();
    for value in 0..12 {
        let body = format!(r#"{{"instructions":"{system}","input":"Question {value}"}}"#);
        places.insert(world.ask(&[], &body).await);
    }
    assert_eq!(places.len(), 1, "{places:?}");
}

#[tokio::test]
async fn of_several_the_first_that_is_there_counts() {
    let world = world("[{header: x-session}, {cookie: session}, {query: session}, {body: /conversation_id}, {body: /user}, {client: true}]", "").await;
    let (none, session) = ("{}", [("x-session", "s")]);
    for body in [none, r#"{"conversation_id":"c1"}"#, r#"{"user":"u1"}"#] {
        assert_eq!(
            world.ask(&session, body).await,
            world.ask(&session, none).await
        );
    }
    assert_spread(&world, &[("cookie", "other=1")], |value, again| {
        let user = if again { "a" } else { "b" };
        json!({"user": user, "conversation_id": format!("c{value}")}).to_string()
    })
    .await;
    assert_spread(&world, &[], |value, _| {
        json!({"user": format!("u{value}")}).to_string()
    })
    .await;
    let clients = [&[ACME][..], &[OTHER], &[]];
    for client in clients {
        let mut places = BTreeSet::new();
        for _ in 0..8 {
            places.insert(world.ask(client, none).await);
        }
        assert_eq!(places.len(), 1, "{client:?}: {places:?}");
    }
}

#[tokio::test]
async fn an_answer_leads_back_to_who_has_given_it_and_is_its_clients_alone() {
    let world = world("{response: true}", "").await;
    // Each turn has another name, and goes where the first went.
    let mut places = BTreeSet::new();
    let mut last = Vec::new();
    for _ in 0..24 {
        let (mut name, place) = world.respond(&[ACME], None).await;
        for _ in 0..4 {
            let (next, at) = world.respond(&[ACME], Some(&name)).await;
            assert_eq!(at, place);
            assert_ne!(next, name);
            name = next;
        }
        places.insert(place.clone());
        last.push((name, place));
    }
    assert_eq!(places.len(), 4, "{places:?}");
    // By its path.
    for (name, place) in &last {
        let path = format!("/v1/responses/{name}");
        assert_eq!(world.caller.get(&path, &[ACME]).await.agent(), *place);
        let cancelled = world.post(&format!("{path}/cancel?x=1"), &[ACME], "").await;
        assert_eq!(cancelled.agent(), *place);
    }
    // Nobody else's: each goes anywhere, and nobody knows it there but by chance.
    for key in [&[OTHER][..], &[]] {
        let mut found = 0;
        for (name, _) in &last {
            let path = format!("/v1/responses/{name}");
            found += usize::from(world.caller.get(&path, key).await.status == 200);
        }
        assert!(found < 18, "{found} of 24, where 6 are to be expected");
    }
    // What nobody has named is no reason to refuse.
    let answer = world
        .post(
            "/v1/responses",
            &[ACME],
            r#"{"previous_response_id":"resp_none"}"#,
        )
        .await;
    assert_eq!(
        answer.json()["error"]["code"],
        "previous_response_not_found"
    );

    // A reload that changes agents keeps what is known.
    world
        .gateway
        .change("left: {endpoints", "left: {weight: 3, endpoints");
    world
        .gateway
        .change("- {prefix: /v1,", "- {prefix: /v1, name: renamed,");
    eventually("the new configuration", || async {
        let answer = world.caller.get("/v1/chat", &[ACME]).await;
        let log = world.gateway.logged(&answer).await;
        (log["route"] == "renamed").then_some(())
    })
    .await;
    for (name, place) in &last {
        assert_eq!(world.respond(&[ACME], Some(name)).await.1, *place);
    }

    // What one answers is deleted there.
    let (name, place) = &last[0];
    let path = format!("/v1/responses/{name}");
    let deleted = world
        .caller
        .send("DELETE", &path, &[ACME])
        .await
        .expect("an answer");
    assert_eq!(
        (deleted.status, deleted.json()["deleted"].as_bool()),
        (200, Some(true)),
        "{place}"
    );
}

#[tokio::test]
async fn who_is_gone_is_followed_by_another_and_nobody_else_moves() {
    let mut world = world("[{response: true}, {body: /user}]", "").await;
    let body = |user: usize, previous: Option<&str>| {
        let mut body = json!({"user": format!("u{user}"), "input": "Hello"});
        if let Some(previous) = previous {
            body["previous_response_id"] = previous.into();
        }
        body.to_string()
    };
    let mut answers = Vec::new();
    for user in 0..60 {
        let answer = world
            .post("/v1/responses", &[ACME], &body(user, None))
            .await;
        let name = answer.json()["id"].as_str().expect("a name").to_owned();
        answers.push((user, name, answer.agent()));
    }
    // An endpoint dies: its own requests find another one of any agent's, by the user. That one does not know the answer.
    world.answerers.remove("left-1");
    for (user, name, place) in &answers {
        let answer = world
            .post("/v1/responses", &[ACME], &body(*user, Some(name)))
            .await;
        if place == "left-1" {
            assert_eq!(answer.status, 404, "{place}: {answer:?}");
            assert_eq!(
                answer.json()["error"]["code"],
                "previous_response_not_found"
            );
        } else {
            assert_eq!(answer.agent(), *place);
        }
        let by_user = world
            .post("/v1/chat", &[ACME], &body(*user, None))
            .await
            .agent();
        let expected = if place == "left-1" { "left-2" } else { place };
        assert_eq!(by_user, expected);
    }
    // An agent goes: its own go to the other, and nobody else moves.
    world
        .gateway
        .change("agents: [left, right]", "agents: [right]");
    eventually("the agent to be gone", || async {
        let left = answers.iter().find(|it| it.2 == "left-2").expect("one");
        let answer = world
            .post("/v1/responses", &[ACME], &body(left.0, Some(&left.1)))
            .await;
        (answer.status == 404).then_some(())
    })
    .await;
    let mut moved = BTreeSet::new();
    for (user, _, place) in &answers {
        let now = world
            .post("/v1/chat", &[ACME], &body(*user, None))
            .await
            .agent();
        if place.starts_with("right") {
            assert_eq!(now, *place);
        } else {
            moved.insert(now);
        }
    }
    assert_eq!(
        moved,
        BTreeSet::from(["right-1".to_owned(), "right-2".to_owned()])
    );
}

#[tokio::test]
async fn a_streamed_answer_is_known_before_its_end_and_is_not_held() {
    let world = world("{response: true}", "").await;
    let mut places = BTreeSet::new();
    for _ in 0..12 {
        let stream = TcpStream::connect(world.listen).await.expect("the gateway");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("http");
        tokio::spawn(connection);
        let asked = json!({"model": "m", "input": "Hello", "stream": true}).to_string();
        let request = hyper::Request::post("/v1/responses")
            .header("host", "gateway.example")
            .header("x-api-key", ACME.1)
            .header(JSON.0, JSON.1)
            .body(asked)
            .expect("a request");
        let mut answer = sender.send_request(request).await.expect("an answer");
        let mut said = String::new();
        while !said.ends_with("\n\n") {
            let frame = answer.frame().await.expect("more").expect("a frame");
            said.push_str(&String::from_utf8_lossy(&frame.into_data().expect("data")));
        }
        let created: Value =
            serde_json::from_str(said.split("data: ").nth(1).expect("data")).expect("JSON");
        let name = created["response"]["id"].as_str().expect("a name");
        // The answer ends only when whoever gives it is asked something else.
        let (_, place) = world.respond(&[ACME], Some(name)).await;
        assert_eq!(created["response"]["agent"], *place);
        let rest = answer.collect().await.expect("the rest").to_bytes();
        assert!(String::from_utf8_lossy(&rest).contains("response.completed"));
        places.insert(place);
    }
    assert!(places.len() > 1, "{places:?}");
}

#[tokio::test]
async fn a_full_table_forgets_the_oldest() {
    let world = world("{response: true}", "tables: {responses: 1024}\n").await;
    let mut oldest = Vec::new();
    for _ in 0..12 {
        oldest.push(world.respond(&[ACME], None).await.0);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let caller = world.caller.clone();
        tasks.spawn(async move {
            for _ in 0..400 {
                let answer = caller.post("/v1/responses", &[ACME, JSON], r#"{"input":"x"}"#);
                assert_eq!(answer.await.status, 200);
            }
        });
    }
    tasks.join_all().await;
    let (last, place) = world.respond(&[ACME], None).await;

    for _ in 0..20 {
        assert_eq!(world.respond(&[ACME], Some(&last)).await.1, place);
    }
    let read = async |name: &str| {
        let path = format!("/v1/responses/{name}");
        let answer = world.caller.get(&path, &[ACME]).await;
        assert!(matches!(answer.status, 200 | 404), "{answer:?}");
        answer.status == 200
    };
    // What is forgotten goes anywhere, and one place of four knows it. That all twelve get there happens once in 16 million times.
    let mut forgotten = None;
    for name in &oldest {
        if !read(name).await {
            forgotten = Some(name);
        }
    }
    let forgotten = forgotten.expect("one that does not get to its place");
    // Once it does it is known again.
    for _ in 0..200 {
        if read(forgotten).await {
            break;
        }
    }
    for _ in 0..20 {
        assert!(read(forgotten).await);
    }
}

#[tokio::test]
async fn openais_client_goes_on_with_its_conversations() {
    let world = world("{response: true}", "").await;
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/gateway_file/responses_client.py");
    let client = Command::new("python3")
        .arg(script)
        .args([&format!("http://{}/v1", world.listen), ACME.1])
        .env("PYTHONPATH", needed(".tools/openai", "make test-tools"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true)
        .output();
    let output = client.await.expect("python3");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let seen: Vec<Vec<String>> = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut places = BTreeSet::new();
    for turns in &seen {
        assert!(turns.iter().all(|place| *place == turns[0]), "{turns:?}");
        places.insert(turns[0].as_str());
    }
    assert!(places.len() > 1, "{seen:?}");
}
