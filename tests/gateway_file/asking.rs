//! Who has been asked about requests, the validator or the limiter, and is another when the answer comes.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::Signal;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::sleep;

use crate::caller::{Answer, Caller};
use crate::eventually;
use crate::fleet::Limiter;
use crate::gateway::{agent, free_address};
use crate::running::{Running, at, gateway, signal_to};
use crate::stand_in::{StandIn, json};

/// Knows every key, once it may speak.
async fn validator(speaks: &watch::Receiver<bool>) -> StandIn {
    let (handle, speaks) = (Handle::current(), speaks.clone());
    StandIn::start(move |_| {
        let mut speaks = speaks.clone();
        let may =
            block_in_place(|| handle.block_on(async { speaks.wait_for(|may| *may).await.is_ok() }));
        json(if may { 200 } else { 500 }, r#"{"client_id": "alice"}"#)
    })
    .await
}

fn asking(caller: &Caller, key: impl Display) -> JoinHandle<Answer> {
    let caller = caller.clone();
    let key = format!("key-{key}");
    tokio::spawn(async move { caller.get("/a/x", &[("x-api-key", &key)]).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_the_validators_answer_gets_it_also_when_another_is_asked_from_now_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let (speak, speaks) = watch::channel(false);
    let (_always, at_once) = watch::channel(true);
    let (former, other) = (validator(&speaks).await, validator(&at_once).await);
    let agent = agent("a").await;
    let listen = free_address();
    let text = |validator: &StandIn| {
        let more = format!(
            "clients: {{default_plan: any, validator: {{url: 'http://{}/v', timeout: 30s, host: keys}}}}\nplans: {{any: {{}}}}",
            validator.address
        );
        gateway(listen, &[("a", at(agent.address()))], &more).replace("auth_required: false, ", "")
    };
    let mut running = Running::start(directory.path(), &text(&former), &[]).await;
    let caller = Caller::of(listen);

    let mut under_way: Vec<_> = (0..10).map(|key| asking(&caller, key)).collect();
    let asked = AtomicUsize::new(0);
    eventually("their questions", async || {
        let came = former.came().len();
        (asked.fetch_add(came, Relaxed) + came == 10).then_some(())
    })
    .await;
    let said = running.change(&text(&other)).await;
    assert!(said.contains("validator: moved; live in"), "{said}");
    assert_eq!(asking(&caller, "new").await.expect("an answer").status, 200);
    assert_eq!((former.came().len(), other.came().len()), (0, 1));
    assert!(under_way.iter().all(|it| !it.is_finished()));

    speak.send_replace(true);
    for answer in under_way.drain(..) {
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // What the former has said of one host's keys holds, and nobody is asked again.
    for key in 0..10 {
        assert_eq!(asking(&caller, key).await.expect("an answer").status, 200);
    }
    assert_eq!((former.came().len(), other.came().len()), (0, 0));
    // The first again: it is as it was, and so is its cluster.
    running.change(&text(&former)).await;
    assert_eq!(
        asking(&caller, "newer").await.expect("an answer").status,
        200
    );
    assert_eq!((former.came().len(), other.came().len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_is_told_of_wherever_it_has_moved() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_always, at_once) = watch::channel(true);
    let [first, second] = [validator(&at_once).await, validator(&at_once).await];
    let agent = agent("a").await;
    let listen = free_address();
    let text = |validator: SocketAddr| {
        let more = format!(
            "clients: {{default_plan: any, validator: {{url: 'http://{validator}/v'}}}}\nplans: {{any: {{}}}}"
        );
        gateway(listen, &[("a", at(agent.address()))], &more).replace("auth_required: false, ", "")
    };
    let mut running = Running::start(directory.path(), &text(first.address), &[]).await;
    running.change(&text(second.address)).await;
    let nobody = free_address();
    running.change(&text(nobody)).await;

    let caller = Caller::of(listen);
    let asks = tokio::spawn(async move {
        for key in 0.. {
            asking(&caller, key).await.expect("an answer");
            sleep(Duration::from_millis(100)).await;
        }
    });
    let said = running.hears("the validator: connections to").await;
    assert!(said.contains(&nobody.to_string()), "{said}");
    running.change(&text(first.address)).await;
    running.hears("the validator: all is well again").await;
    asks.abort();
    let counted = running
        .stat("cluster.waykeeper/validator.upstream_rq_200")
        .await;
    assert!(counted > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_the_limiters_answer_gets_it_also_when_another_counts_from_now_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = agent("a").await;
    let (former, other) = (
        Limiter::start("127.0.0.1:0").await,
        Limiter::start("127.0.0.1:0").await,
    );
    let listen = free_address();
    let text = |limiter: &Limiter| {
        let more = format!(
            "fleet: {{gateways: 2, on_failure: deny, limiter: {{url: 'http://{}', timeout: 10s, health_check: false}}}}\n\
             limits: [{{name: monthly, each: [], requests: 5/month, scope: fleet}}]",
            limiter.address
        );
        gateway(listen, &[("a", at(agent.address()))], &more)
    };
    let mut running = Running::start(directory.path(), &text(&former), &[]).await;
    let caller = Caller::of(listen);
    assert_eq!(caller.get("/a/x", &[]).await.status, 200);

    let id = former.id();
    signal_to(id, Signal::STOP);
    let asked = caller.clone();
    let under_way = tokio::spawn(async move { asked.get("/a/x", &[]).await });
    eventually("the question", async || {
        let active = running
            .stat("cluster.waykeeper/limiter.upstream_rq_active")
            .await;
        (active == 1).then_some(())
    })
    .await;
    let said = running.change(&text(&other)).await;
    assert!(said.contains("limiter: moved; "), "{said}");
    assert!(!under_way.is_finished());
    signal_to(id, Signal::CONT);
    assert_eq!(under_way.await.expect("an answer").status, 200);

    for _ in 0..5 {
        assert_eq!(caller.get("/a/x", &[]).await.status, 200);
    }
    assert_eq!(caller.get("/a/x", &[]).await.status, 429);
    // It is counted under one name.
    let asked = running
        .stat("cluster.waykeeper/limiter.upstream_rq_200")
        .await;
    assert!(asked >= 6, "{asked}");
}
