//! What comes in between while a body is waited for that chooses the agent.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::{CHAT, MANY, NAMED, post, received, routes, sha256};
use crate::harness::{Draft, World, eventually, repository};

/// A new configuration, with other rules, leaves a request with those that it began under.
#[tokio::test]
async fn a_reload_in_the_middle_of_a_body_changes_nothing_for_it() {
    let mut world = World::with(routes).await;
    // Once, so that the key is known.
    assert_eq!(post(&world, MANY).send().await.status, 200);
    let mut before = post(&world, NAMED).upload();
    assert!(before.write(r#"{"messages": ["#).await);
    let arrived = received(&world).await;
    assert!(before.write("1, ").await);
    eventually("the beginning", || async {
        (received(&world).await > arrived).then_some(())
    })
    .await;
    world
        .reconfigure(|now| {
            let routes = now["routes"].as_array_mut().expect("routes");
            routes.retain(|route| route["prefix"] != NAMED);
            now["model_aliases"] = json!({});
        })
        .await;
    let gone = post(&world, NAMED).body("{}").send().await;
    assert_eq!(gone.refused(), (404, "no_route".to_owned()));

    assert!(before.write(r#"2], "model": "smart"}"#).await);
    before.end();
    let echo = before.answer().await.echo();
    let sent = r#"{"messages": [1, 2], "model": "our-deployment/\"4o\""}"#;
    assert_eq!(
        (echo.agent.as_str(), echo.body_sha256),
        ("chat-gpu", sha256(sent.as_bytes()))
    );
}

/// A module that traps loses the requests that wait; they are answered, and nothing of them goes on.
#[tokio::test]
async fn a_trap_in_the_middle_of_a_body_ends_it() {
    let world = World::with(|draft: &mut Draft| {
        routes(draft);
        let module = repository("target/waykeeper-probe.wasm");
        assert!(module.exists(), "run `make probe-filter`");
        draft.setup.filter.set_module(&module).expect("the filter");
        draft.workers(1);
    })
    .await;
    assert_eq!(post(&world, MANY).send().await.status, 200);
    let agents = ["chat-gpu", "chat-cpu", "memory"].map(|name| world.agent(name).stats().total);
    let mut upload = post(&world, CHAT).upload();
    assert!(upload.write(r#"{"messages": ["#).await);
    let arrived = received(&world).await;
    assert!(upload.write("1, ").await);
    eventually("the beginning", || async {
        (received(&world).await > arrived).then_some(())
    })
    .await;
    let trap = post(&world, MANY).header("x-probe", "trap").send().await;
    assert_eq!(trap.status, 503);
    // Whatever comes of it now, it is no way round the rules.
    upload.write(r#"2], "model": "gpt-4o"}"#).await;
    upload.end();
    let answer = timeout(Duration::from_secs(20), upload.answer()).await;
    let answer = answer.expect("an answer");
    assert!(
        matches!(answer.status, 408 | 503 | 504),
        "{}",
        answer.status
    );
    let after = ["chat-gpu", "chat-cpu", "memory"].map(|name| world.agent(name).stats().total);
    assert_eq!(after, agents);
    // And the next one is as any other.
    let next = eventually("the module anew", || async {
        let answer = post(&world, CHAT)
            .body(r#"{"model": "gpt-4o"}"#)
            .send()
            .await;
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(next.await.echo().agent, "chat-gpu");
}

/// Many who have said half of it wait side by side, and each goes where it says in the end.
#[tokio::test]
async fn a_crowd_of_half_bodies_is_told_apart() {
    const CALLERS: usize = 400;
    let world = World::with(|draft| {
        routes(draft);
        draft.workers(2);
        let undecided = draft.setup.bootstrap.route_mut("not-decided");
        undecided.expect("the route")["route"]["idle_timeout"] = json!("60s");
    })
    .await;
    assert_eq!(post(&world, MANY).send().await.status, 200);
    let mut uploads = Vec::new();
    for number in 0..CALLERS {
        let mut upload = post(&world, NAMED).http2().upload();
        assert!(upload.write(format!(r#"{{"user": "{number}", "mod"#)).await);
        uploads.push(upload);
    }
    let models = [
        ("smart", "chat-gpu", r#"our-deployment/\"4o\""#),
        ("fast", "chat-cpu", "llama-3-8b"),
    ];
    // The last come first.
    for (number, mut upload) in uploads.into_iter().enumerate().rev() {
        let (model, agent, sent) = models[number % 2];
        assert!(upload.write(format!(r#"el": "{model}"}}"#)).await);
        upload.end();
        let echo = upload.answer().await.echo();
        let sent = format!(r#"{{"user": "{number}", "model": "{sent}"}}"#);
        assert_eq!(
            (echo.agent.as_str(), echo.body_sha256),
            (agent, sha256(sent.as_bytes())),
            "{number}"
        );
    }
}

/// A byte at a time, with what decides at the very end.
#[tokio::test]
async fn a_body_may_come_a_byte_at_a_time() {
    let world = World::with(routes).await;
    assert_eq!(post(&world, MANY).send().await.status, 200);
    let body = format!(
        r#"{{"padding": "{}", "model": "smart"}}"#,
        "é".repeat(1_000)
    );
    let mut upload = post(&world, NAMED).upload();
    for byte in body.bytes() {
        assert!(upload.write(vec![byte]).await);
    }
    upload.end();
    let echo = upload.answer().await.echo();
    let sent = body.replace("smart", r#"our-deployment/\"4o\""#);
    assert_eq!(
        (echo.agent.as_str(), echo.body_sha256),
        ("chat-gpu", sha256(sent.as_bytes()))
    );
}

/// However long what stands between is, a second one is seen.
#[tokio::test]
async fn a_second_model_is_seen_behind_megabytes() {
    let world = World::with(routes).await;
    assert_eq!(post(&world, MANY).send().await.status, 200);
    let agent = world.agent("chat-gpu");
    let before = agent.stats().complete;
    for path in [CHAT, NAMED] {
        for http2 in [false, true] {
            let between = "x".repeat(5_000_000);
            let twice = format!(r#"{{"model": "gpt-4o", "user": "{between}", "model": "fast"}}"#);
            let request = post(&world, path);
            let request = if http2 { request.http2() } else { request };
            let mut upload = request.upload();
            upload.write(twice).await;
            upload.end();
            let refused = upload.answer().await;
            assert_eq!(refused.refused(), (400, "bad_body".to_owned()), "{path}");
        }
    }
    assert_eq!(agent.stats().complete, before);
}
