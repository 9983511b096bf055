//! Should the module ever trap: nobody gets in meanwhile, the worker has a new one within a moment, and what the workers
//! share is still there. Proven with a build of the filter that traps when it is asked to (`make probe-filter`).

use std::time::Duration;

use serde_json::json;
use waykeeper_demo::auth::Fault;

use crate::harness::{Answer, Draft, Puppet, Request, World, eventually, repository};

const NOTES: &str = "/api/v1/memory/notes";

#[tokio::test]
async fn the_module_comes_back_with_all_it_had_counted_and_remembered() {
    let world = World::with(|draft| {
        trapping(draft);
        draft.configuration()["plans"]["standard"] = json!({"requests": "10/hour"});
    })
    .await;
    let notes = || world.get(NOTES).key("demo-standard").send();
    for _ in 0..4 {
        assert_eq!(notes().await.status, 200);
    }

    let mut served = 4;
    for _ in 0..2 {
        assert_unavailable(&world.get(NOTES).header("x-probe", "trap").send().await);
        // Every answer until the next one that is served is a refusal of the same kind.
        eventually("the module's return", || async {
            let answer = notes().await;
            (answer.status == 200).then_some(()).or_else(|| {
                assert_unavailable(&answer);
                None
            })
        })
        .await;
        served += 1;
    }

    for _ in served..10 {
        assert_eq!(notes().await.status, 200);
    }
    assert_eq!(notes().await.refused(), (429, "rate_limited".to_owned()));
    assert_eq!(world.auth().stats().total, 1);
    assert_eq!(world.agent("memory").stats().total, 10);
}

#[tokio::test]
async fn while_there_is_no_module_nobody_passes() {
    let world = World::with(|draft| {
        trapping(draft);
        // Long enough that some come within it.
        draft.setup.filter.document_mut()["resources"][0]["typed_config"]["config"]["reload_config"] =
            json!({"backoff": {"base_interval": "1s", "max_interval": "1s"}});
    })
    .await;
    let keys = [None, Some("unheard-of"), Some("demo-premium")];
    let ask = |key: Option<&'static str>| {
        let request = world.get(NOTES);
        match key {
            Some(key) => request.key(key).send(),
            None => request.send(),
        }
    };

    let (mut refused, mut served) = (0, 0);
    // A second trap after the first return finds a back-off that has begun anew.
    while served < 2 || (refused == 0 && served < 10) {
        let trapped = world.post(NOTES).header("x-probe", "trap").send().await;
        assert_unavailable(&trapped);
        let before = served;
        while served == before {
            for key in keys {
                let answer = ask(key).await;
                match (answer.status, key) {
                    (503, _) => {
                        assert_unavailable(&answer);
                        refused += 1;
                    }
                    (200, Some("demo-premium")) => served += 1,
                    (401, None | Some("unheard-of")) => {}
                    _ => panic!("{key:?}: {}", answer.text()),
                }
            }
        }
    }

    assert!(refused > 0, "nobody came in time");
    assert_eq!(world.agent("memory").stats().total, served);
}

#[tokio::test]
async fn a_request_that_waits_when_the_module_traps_is_ended_by_the_idle_timeout_of_the_undecided()
{
    let world = World::with(|draft| {
        trapping(draft);
        // Neither the callout nor the connection would end it before the test gives up.
        draft.configuration()["clients"]["validator"]["timeout"] = json!("60s");
        draft.connection_manager()["stream_idle_timeout"] = json!("60s");
    })
    .await;
    world
        .auth()
        .set_fault(Fault::slow(Duration::from_millis(500)));
    let waiting = tokio::spawn(world.get(NOTES).key("demo-premium").send());
    eventually("the callout", || async {
        (world.auth().stats().in_flight == 1).then_some(())
    })
    .await;

    assert_unavailable(&world.get(NOTES).header("x-probe", "trap").send().await);

    // The validator's word comes to nobody.
    let answer = waiting.await.expect("the caller");
    assert_unavailable(&answer);
    assert_eq!(world.agent("memory").stats().total, 0);
    world.auth().clear_fault();
    eventually("the module's return", || async {
        let answer = world.get(NOTES).key("demo-premium").send().await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_ends_undecided_requests_ends_no_slow_agent_and_no_slow_upload() {
    let world = World::start().await;
    let slow = |request: Request| request.key("demo-premium").header("x-demo-delay", "4s");

    let mut upload = world
        .request("POST", "/api/v1/chat")
        .key("demo-premium")
        .header("content-length", "2")
        .upload();
    assert!(upload.write("{").await);
    let (chat, stream) = tokio::join!(
        slow(world.post("/v1/chat/completions")).send(),
        slow(world.post("/api/v1/chat/stream")).send(),
    );
    assert!(upload.write("}").await);
    upload.end();

    assert_eq!((chat.status, stream.status), (200, 200));
    assert_ne!(upload.answer().await.status, 503);
}

#[tokio::test]
async fn a_stream_that_the_module_leaves_behind_is_cut_off_and_does_not_hang() {
    let agent = Puppet::listen().await;
    let world = World::with(|draft| {
        trapping(draft);
        draft.connect("chat-gpu", &[agent.address()]);
    })
    .await;
    let stream = world.post("/api/v1/chat/stream").key("demo-premium");
    let stream = tokio::spawn(stream.begin());
    let mut exchange = agent.accept().await;
    exchange.read_until("\r\n\r\n").await;
    exchange
        .write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let mut stream = stream.await.expect("the caller");

    assert_unavailable(&world.get(NOTES).header("x-probe", "trap").send().await);
    exchange.write("9\r\ndata: 1\n\n\r\n").await;

    let cut = stream.chunk().await;
    assert!(cut.is_err(), "{cut:?}");
}

#[tokio::test]
async fn limits_stay_exact_while_workers_trap_and_return() {
    let world = World::with(|draft| {
        trapping(draft);
        draft.workers(2);
        draft.configuration()["limits"] = json!([]);
        draft.configuration()["plans"]["standard"] = json!({"requests": "20/hour"});
    })
    .await;

    let mut statuses = Vec::new();
    for round in 0..80 {
        let mut request = world.get(NOTES).key("demo-standard");
        if round % 10 == 0 {
            request = request.header("x-probe", "trap");
        }
        statuses.push(request.send().await.status);
    }
    // Whoever was turned away meanwhile took nothing.
    while statuses.last() != Some(&429) {
        statuses.push(world.get(NOTES).key("demo-standard").send().await.status);
    }

    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!(count(200), 20, "{statuses:?}");
    assert_eq!(count(200) + count(429) + count(503), statuses.len());
}

#[tokio::test]
async fn the_module_that_is_installed_knows_no_such_header() {
    let world = World::start().await;

    let served = world
        .get(NOTES)
        .key("demo-premium")
        .header("x-probe", "trap")
        .send()
        .await;

    assert_eq!(served.echo().headers.get("x-probe"), Some("trap"));
    assert!(!world.gateway().envoy_log().contains("panicked"));
}

/// Puts the module that traps into the filter's place.
fn trapping(draft: &mut Draft) {
    let module = repository("target/waykeeper-probe.wasm");
    assert!(
        module.exists(),
        "{} is missing: run `make probe-filter`",
        module.display()
    );
    draft.setup.filter.set_module(&module).expect("the filter");
}

/// Refused by Envoy in the gateway's name, and worth another try.
fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.refused(), (503, "gateway_unavailable".to_owned()));
    assert_eq!(answer.header("retry-after"), Some("1"));
}
