//! The one request that finds out whether an agent is fit again: no client keeps it from all others.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Draft, Request, World, eventually};

const KEYS: [&str; 3] = ["demo-standard", "demo-premium", "demo-admin"];

/// An agent that may rest is alone on its route.
fn alone(draft: &mut Draft) {
    draft.workers(2);
    draft.configuration()["limits"] = json!([]);
    draft.configuration()["plans"] = json!({"standard": {}, "premium": {}});
    let rest = json!({"failures": 3, "first": "300ms", "longest": "300ms"});
    draft.configuration()["agents"]["rag"]["rest"] = rest;
    *draft.routes() = vec![json!({"prefix": "/only", "name": "only", "agents": ["rag"]})];
    let cluster = draft.cluster("rag").as_object_mut().expect("a cluster");
    cluster.remove("outlier_detection");
}

fn ask(world: &World, caller: usize) -> Request {
    world.get("/only/x").key(KEYS[caller])
}

/// The clients' requests fail until it rests.
async fn rests(world: &World) {
    let mut callers = (0..KEYS.len()).cycle();
    eventually("its rest", || {
        let caller = callers.next().expect("one of them");
        let failing = ask(world, caller).header("x-demo-status", "500");
        async move { (failing.send().await.status == 503).then_some(()) }
    })
    .await;
}

/// How many requests are at the agent.
async fn at_agent(world: &World) -> u64 {
    let active = world
        .gateway()
        .admin()
        .stat("cluster.rag.upstream_rq_active");
    active.await.expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_says_all_of_a_probe_or_leaves_it_keeps_it_from_no_other() {
    for leaves in [false, true] {
        let world = World::with(alone).await;
        rests(&world).await;
        let unsaid = || {
            let request = world.post("/only/x").key(KEYS[0]);
            request.header("content-length", "100").upload()
        };
        // It asks as soon as the rest may be over, and goes on asking.
        let mut uploads = Vec::new();
        eventually("as its request is the probe", || {
            uploads.push(unsaid());
            async { (at_agent(&world).await > 0).then_some(()) }
        })
        .await;
        let (mut waited, began) = (0, Instant::now());
        if leaves {
            uploads.clear();
        }
        while ask(&world, 1).send().await.status != 200 {
            waited += 1;
            uploads.push(unsaid());
            if leaves && waited % 2 == 0 {
                uploads.clear();
            }
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "{leaves}: kept from {waited} requests"
            );
        }
        println!("{leaves}: {waited} requests in {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_probe_whose_body_comes_keeps_others_away_for_as_long_as_it_takes_to_answer() {
    let world = World::with(alone).await;
    rests(&world).await;
    // Only the last can be there: those before it have been refused.
    let mut probe = eventually("as its request is the probe", || {
        let request = world.post("/only/x").key(KEYS[0]);
        let request = request.header("x-demo-delay", "4s");
        let mut upload = request.header("content-length", "4").upload();
        let world = &world;
        async move {
            let there = eventually("it there", || async {
                (at_agent(world).await > 0).then_some(())
            });
            tokio::select! {
                refused = upload.response() => { assert_eq!(refused.status, 503); None }
                () = there => Some(upload),
            }
        }
    })
    .await;
    assert!(probe.write("body").await);
    probe.end();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        assert_eq!(ask(&world, 1).send().await.status, 503);
    }
    assert_eq!(probe.answer().await.status, 200);
    assert_eq!(ask(&world, 1).send().await.status, 200);
}
