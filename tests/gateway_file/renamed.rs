//! Agents that are changed under `waykeeper run` while requests are under way: none goes by former routes to a new place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::caller::Caller;
use crate::eventually;
use crate::gateway::free_address;
use crate::running::{Running, at, gateway};
use crate::stand_in::{Came, StandIn};

/// Asks on and on without a key; none is answered but with 200.
fn callers(caller: &Caller, path: &'static str, ends: &Arc<AtomicBool>) -> Vec<JoinHandle<usize>> {
    let caller = |_| {
        let (caller, ends) = (caller.clone(), Arc::clone(ends));
        tokio::spawn(async move {
            let mut served = 0;
            while !ends.load(Ordering::Relaxed) {
                let answer = caller.get(path, &[]).await;
                assert_eq!(answer.status, 200, "{path}: {answer:?}");
                served += 1;
            }
            served
        })
    };
    (0..3).map(caller).collect()
}

async fn served(calling: Vec<JoinHandle<usize>>) -> usize {
    let mut all = 0;
    for caller in calling {
        all += caller.await.expect("a request was lost");
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_swapped_lead_nobody_to_the_private_place_by_the_public_route() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key").display().to_string();
    std::fs::write(&key, "secret").expect("write");
    let answer = |_: &Came| Response::new(Full::new(Bytes::from("{}")));
    let public = StandIn::start(answer).await;
    let private = StandIn::start(answer).await;
    // It takes connections and answers nothing: what is asked whether it is well is waited for.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let silent_at = silent.local_addr().expect("an address");
    let listen = free_address();
    let open = at(public.address);
    let closed = format!(
        "{{url: 'http://{}', credential: {{file: '{key}'}}}}",
        private.address
    );
    let text = |swapped: bool, more: &str| {
        let (pub_agent, priv_agent) = if swapped {
            ("two", "one")
        } else {
            ("one", "two")
        };
        format!(
            "
listen: [{{address: '{listen}'}}]
clients: {{keys: [{{sha256: '{}', client_id: known, roles: [staff]}}]}}
agents:
  {pub_agent}: {open}
  {priv_agent}: {closed}
{more}routes:
  - {{prefix: /pub, agents: [{pub_agent}], auth_required: false}}
  - {{prefix: /priv, agents: [{priv_agent}], roles: [staff]}}
",
            "0".repeat(64)
        )
    };
    let more = format!(
        "  slow: {{url: 'http://{silent_at}', health: {{path: /, timeout: 60s, interval: 60s}}}}\n"
    );
    let mut running = Running::start(directory.path(), &text(false, ""), &[]).await;
    let caller = Caller::of(listen);
    assert_eq!(caller.get("/priv", &[]).await.status, 401);
    let ends = Arc::new(AtomicBool::new(false));
    let calling = callers(&caller, "/pub", &ends);
    for index in 1..=10 {
        running.change(&text(index % 2 == 1, "")).await;
    }
    // For as long as clusters warm, the former routes hold.
    let said = running.change(&text(true, &more)).await;
    assert!(
        said.contains("agents: added slow, changed one two"),
        "{said}"
    );
    running.change(&text(false, &more)).await;
    ends.store(true, Ordering::Relaxed);
    let asked = served(calling).await;
    assert!(asked > 200, "only {asked}");
    assert_eq!(private.came().len(), 0, "of {asked} without a key");
    assert!(
        public
            .came()
            .iter()
            .all(|it| it.header("authorization").is_none())
    );

    // Former clusters go, those that are live again excepted; metrics know no numbers.
    let clusters = async || {
        let dump = running
            .admin("/config_dump?resource=dynamic_active_clusters")
            .await;
        let dump: serde_json::Value = serde_json::from_str(&dump).expect("JSON");
        let names = dump["configs"].as_array().into_iter().flatten();
        let name = |it: &serde_json::Value| it["cluster"]["name"].as_str().map(str::to_owned);
        names.filter_map(name).collect::<Vec<_>>()
    };
    eventually("former clusters go", async || {
        let names = clusters().await;
        let of = |agent: &str| names.iter().filter(|it| it.starts_with(agent)).count();
        (of("one") == 1 && of("two") == 1).then_some(())
    })
    .await;
    let stats = running
        .admin("/stats?filter=^cluster\\.(one|two).*upstream_rq_total")
        .await;
    assert!(
        !stats.contains('~') && stats.contains("cluster.one."),
        "{stats}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_moves_loses_no_request_and_is_patched_and_told_of_by_its_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let answer = |_: &Came| Response::new(Full::new(Bytes::from("{}")));
    let places = [StandIn::start(answer).await, StandIn::start(answer).await];
    let listen = free_address();
    let text = |place: usize, connections: u32, more: &str| {
        let agents = [
            ("chat", at(places[place].address)),
            ("other", at(places[0].address)),
        ];
        let patch = format!(
            "envoy: {{patches: [{{in: clusters, name: chat, merge: {{per_connection_buffer_limit_bytes: {connections}}}}}]}}\n{more}"
        );
        gateway(listen, &agents, &patch)
    };
    let mut running = Running::start(directory.path(), &text(0, 40_000, ""), &[]).await;
    let ends = Arc::new(AtomicBool::new(false));
    let calling = callers(&Caller::of(listen), "/chat", &ends);
    for place in [1, 0, 1, 0, 1] {
        let said = running.change(&text(place, 40_000, "")).await;
        assert!(said.contains(": agents: changed chat; live in"), "{said}");
    }
    // What Envoy refuses leaves all as it is.
    running
        .refuse(&text(0, 40_000, "operations: {address: '203.0.113.1:1'}\n"))
        .await;
    let said = running.change(&text(1, 50_000, "")).await;
    assert!(said.contains(": envoy.patches: changed; live in"), "{said}");
    ends.store(true, Ordering::Relaxed);
    assert!(served(calling).await > 200);
    let dump = running
        .admin("/config_dump?resource=dynamic_active_clusters")
        .await;
    assert!(dump.contains("50000"), "{dump}");
    for place in &places {
        assert!(!place.came().is_empty());
    }
    // The place that it has now is the one that is asked.
    assert_eq!(Caller::of(listen).get("/chat", &[]).await.status, 200);
    assert_eq!(places[0].came().len(), 0);
    assert_eq!(places[1].came().len(), 1);
}
