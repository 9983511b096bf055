//! Requests that wait for the validator: those for one key share one question, those that leave disturb nobody, and how
//! long its answer stands is the validator's to say.

use std::time::Duration;

use serde_json::json;
use waykeeper_demo::auth::{Client, Fault};

use crate::harness::{Answer, Draft, World, eventually};

const NOTES: &str = "/api/v1/memory/notes";

/// Long enough for many requests to arrive, and for a test to see that they have, while the validator thinks.
const THOUGHT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn requests_that_wait_for_one_key_share_one_question() {
    let world = patient().await;
    world.auth().set_fault(Fault::slow(THOUGHT));

    let (premium, standard, unknown) = tokio::join!(
        many(&world, "demo-premium"),
        many(&world, "demo-standard"),
        many(&world, "unheard-of"),
    );

    for (answers, client) in [(premium, "globex"), (standard, "acme")] {
        for answer in answers {
            let headers = answer.echo().headers;
            assert_eq!(headers.get("x-waykeeper-client"), Some(client));
        }
    }
    for answer in unknown {
        assert_eq!(answer.refused(), (401, "invalid_key".to_owned()));
    }
    let stats = world.auth().stats();
    for key in ["demo-premium", "demo-standard", "unheard-of"] {
        assert_eq!(stats.calls_about(key), 1, "{key}");
    }
}

#[tokio::test]
async fn each_worker_asks_for_itself_at_most() {
    let world = World::with(|draft| {
        draft.workers(2);
        patience(draft);
    })
    .await;
    world.auth().set_fault(Fault::slow(THOUGHT));

    for answer in many(&world, "demo-premium").await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    let calls = world.auth().stats().total;
    assert!((1..=2).contains(&calls), "{calls}");
}

#[tokio::test]
async fn a_question_without_an_answer_ends_for_all_who_wait_and_is_asked_again() {
    let world = World::with(|draft| {
        draft.configuration()["clients"]["validator"]["timeout"] = json!("2s");
    })
    .await;
    world.auth().set_fault(Fault::hang());

    for answer in many(&world, "demo-premium").await {
        assert_eq!(answer.refused(), (503, "validator_unavailable".to_owned()));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }

    assert_eq!(world.auth().stats().total, 1);
    // The log tells what did not come from what the validator said itself.
    world.auth().set_fault(Fault::status(503));
    let refused = world.get(NOTES).key("demo-standard").send().await;
    assert_eq!(refused.status, 503);
    let log = world.gateway().envoy_log();
    assert!(
        log.contains("the validator fails: no answer in time"),
        "{log}"
    );
    assert!(log.contains("the validator fails: status 503"), "{log}");
    assert!(!log.contains("status 504"), "{log}");
    world.auth().clear_fault();
    let served = eventually("an answer", || async {
        let answer = world.get(NOTES).key("demo-premium").send().await;
        (answer.status != 503).then_some(answer)
    })
    .await;
    assert_eq!(served.status, 200);
    assert!(world.auth().stats().total > 1);
}

#[tokio::test]
async fn only_so_many_keys_are_asked_about_at_a_time_and_any_number_waits_for_one() {
    let world = World::with(|draft| {
        patience(draft);
        draft.configuration()["clients"]["validator"]["max_pending"] = json!(2);
    })
    .await;
    world.auth().set_fault(Fault::slow(2 * THOUGHT));

    let other = tokio::spawn(world.get(NOTES).key("demo-standard").send());
    let waiting = tokio::spawn(world.get(NOTES).key("demo-premium").send());
    eventually("two questions", || async {
        (world.auth().stats().in_flight == 2).then_some(())
    })
    .await;
    let refused = world.get(NOTES).key("third").send().await;
    let still = world.auth().stats().in_flight;
    let joined = many(&world, "demo-premium").await;

    // At once: the others still wait.
    assert_eq!(still, 2);
    assert_eq!(refused.refused(), (503, "validator_unavailable".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    let line = world.access_log(&refused).await;
    assert_eq!(line["details"], "waykeeper_validator_unavailable");
    for answer in joined {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    for first in [other, waiting] {
        assert_eq!(first.await.expect("the client").status, 200);
    }
    assert_eq!(world.auth().stats().total, 2);
    // There is room again.
    assert_eq!(world.get(NOTES).key("third").send().await.status, 401);
}

#[tokio::test]
async fn callers_who_leave_while_they_wait_are_counted_as_that_and_leave_the_question() {
    let world = World::with(|draft| {
        patience(draft);
        draft.configuration()["clients"]["validator"]["max_pending"] = json!(1);
    })
    .await;
    world.auth().set_fault(Fault::slow(THOUGHT));
    let ask = || tokio::spawn(world.get(NOTES).key("demo-premium").try_send());

    let leaving: Vec<_> = (0..3).map(|_| ask()).collect();
    eventually("all three and a question", || async {
        let asked = world.auth().stats().in_flight == 1;
        let metrics = world.metrics().await;
        let misses = metrics.sum("waykeeper_remembered_keys_total", &[("outcome", "miss")]);
        (asked && misses == 3.0).then_some(())
    })
    .await;
    leaving.iter().for_each(tokio::task::JoinHandle::abort);

    let requests = |metrics: &crate::harness::Metrics, outcome| {
        let labels = [("route", "/api/v1/memory"), ("outcome", outcome)];
        metrics.sum("waykeeper_requests_total", &labels)
    };
    let metrics = eventually("three that left, and the answer", || async {
        let metrics = world.metrics().await;
        let answered = metrics.sum("waykeeper_validator_calls_total", &[("outcome", "valid")]);
        let left = requests(&metrics, "caller_left");
        (left == 3.0 && answered == 1.0).then_some(metrics)
    })
    .await;
    assert_eq!(metrics.sum("waykeeper_requests_total", &[]), 3.0);

    // The answer is remembered, and the question is over.
    assert_eq!(
        world.get(NOTES).key("demo-premium").send().await.status,
        200
    );
    assert_eq!(world.get(NOTES).key("unheard-of").send().await.status, 401);
    assert_eq!(world.auth().stats().total, 2);
    let metrics = world.metrics().await;
    assert_eq!(requests(&metrics, "allowed"), 1.0);
    assert_eq!(requests(&metrics, "caller_left"), 3.0);
}

#[tokio::test]
async fn a_client_that_leaves_takes_nobody_with_it() {
    let world = patient().await;
    world.auth().set_fault(Fault::slow(THOUGHT));
    let ask = || tokio::spawn(world.get(NOTES).key("demo-premium").try_send());

    let leaving = ask();
    eventually("the question", || async {
        (world.auth().stats().in_flight == 1).then_some(())
    })
    .await;
    let staying = ask();
    leaving.abort();

    let answer = staying.await.expect("the client").expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(world.auth().stats().total, 1);
    assert_eq!(world.agent("memory").stats().total, 1);
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_any_more_is_remembered() {
    let world = patient().await;
    world.auth().set_fault(Fault::slow(THOUGHT));

    let leaving = tokio::spawn(world.get(NOTES).key("demo-premium").try_send());
    eventually("the question", || async {
        (world.auth().stats().in_flight == 1).then_some(())
    })
    .await;
    leaving.abort();
    eventually("the answer", || async {
        let metrics = world.metrics().await;
        let calls = metrics.sum("waykeeper_validator_calls_total", &[("outcome", "valid")]);
        (calls == 1.0).then_some(())
    })
    .await;

    let answer = world.get(NOTES).key("demo-premium").send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(world.auth().stats().total, 1);
    assert_eq!(world.agent("memory").stats().total, 1);
}

#[tokio::test]
async fn the_validator_says_how_long_its_answer_stands() {
    let world = World::with(|draft| {
        draft.configuration()["clients"]["validator"]["remember"] =
            json!({"valid": "1s", "invalid": "1s"});
    })
    .await;
    let get = |key: &'static str| world.get(NOTES).key(key).send();
    for (key, client) in [
        ("usual", Client::named("usual")),
        ("long", Client::named("long").ttl(3600)),
        ("never", Client::named("never").ttl(0)),
    ] {
        world.auth().insert_key(key, client);
        assert_eq!(get(key).await.status, 200);
        world.auth().revoke(key);
    }

    // What may not be remembered is asked for at once, the usual answer after a second, the long one not for an hour.
    assert_eq!(get("never").await.status, 401);
    eventually("the revocation", || async {
        (get("usual").await.status == 401).then_some(())
    })
    .await;
    assert_eq!(get("long").await.status, 200);
    assert_eq!(world.auth().stats().calls_about("long"), 1);
}

#[tokio::test]
async fn no_key_is_in_the_logs_of_a_talkative_envoy() {
    let world = World::with(|draft| {
        for argument in &mut draft.setup.arguments {
            if argument == "warning" {
                "info".clone_into(argument);
            }
        }
    })
    .await;
    let secret = "s3cret-and-then-some";
    let all = |path: &str| {
        let path = format!("{path}?api_key={secret}");
        world
            .get(&path)
            .key(secret)
            .header("authorization", format!("Bearer {secret}"))
            .header("sec-websocket-protocol", format!("waykeeper.key.{secret}"))
    };

    // Refused for the path, the route, the key, the validator; and served.
    let mut answers = vec![
        all("/api/v1/memory/%2e%2e/x").send().await,
        all("/nowhere").send().await,
        all(NOTES).send().await,
    ];
    world.auth().set_fault(Fault::nonsense());
    let again = format!("{secret}-too");
    answers.push(world.get(NOTES).key(&again).send().await);
    world.auth().clear_fault();
    world.auth().insert_key(&again, Client::named("client"));
    answers.push(world.get(NOTES).key(&again).send().await);

    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [404, 404, 401, 503, 200]);
    for answer in &answers {
        world.access_log(answer).await;
        assert!(!answer.text().contains(secret), "{}", answer.text());
    }
    let log = world.gateway().envoy_log();
    assert!(log.contains("[info]"), "{log}");
    assert!(!log.contains(secret), "{log}");
    let log = world.gateway().access_log();
    assert!(!log.contains(secret), "{log}");
}

/// A world that gives the validator time on a busy machine.
async fn patient() -> World {
    World::with(patience).await
}

fn patience(draft: &mut Draft) {
    draft.configuration()["clients"]["validator"]["timeout"] = json!("10s");
    let undecided = draft.setup.bootstrap.route_mut("not-decided");
    undecided.expect("the route")["route"]["idle_timeout"] = json!("30s");
}

/// The answers to many requests that are sent at once.
async fn many(world: &World, key: &str) -> Vec<Answer> {
    let requests = (0..30).map(|_| tokio::spawn(world.get(NOTES).key(key).send()));
    let mut answers = Vec::new();
    for request in requests.collect::<Vec<_>>() {
        answers.push(request.await.expect("the client"));
    }
    answers
}
