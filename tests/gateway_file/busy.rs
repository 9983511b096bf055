//! How busy an agent of several endpoints is, by the metrics that each of them shows: the mean counts, also when endpoints come
//! and go while the gateway runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;

use crate::caller::Caller;
use crate::eventually;
use crate::gateway::free_address;
use crate::running::Running;
use crate::stand_in::{Came, StandIn, json};

/// Where engines of several are, below their servers' roots, at which their metrics are.
const BASE: &str = "/deep/v1";

/// An engine, and how many requests it says that it has waiting; from a thousand on its metrics are broken.
struct Engine {
    server: StandIn,
    waiting: Arc<AtomicUsize>,
}

impl Engine {
    async fn start(name: &'static str, waiting: usize) -> Self {
        let waiting = Arc::new(AtomicUsize::new(waiting));
        let says = Arc::clone(&waiting);
        let answer = move |came: &Came| match (came.path.as_str(), says.load(Relaxed)) {
            ("/metrics", 1000..) => json(500, "broken"),
            ("/metrics", waiting) => {
                let text = format!("vllm:num_requests_waiting{{engine=\"0\"}} {waiting}.0\n");
                Response::new(Full::from(Bytes::from(text)))
            }
            _ => json(200, name),
        };
        Self {
            server: StandIn::start(answer).await,
            waiting,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("'http://{}{path}'", self.server.address)
    }

    /// How often its metrics were asked for since this was asked last; each time as itself.
    fn looked_at(&self) -> usize {
        let came = self.server.came();
        let polls = came.iter().filter(|it| it.path == "/metrics");
        polls
            .inspect(|it| assert_eq!(it.host, self.server.address.to_string()))
            .count()
    }
}

/// The load of an agent in per cent, if it is known.
async fn percent(operations: SocketAddr, agent: &str) -> Option<u64> {
    let metrics = Caller::of(operations).get("/stats/prometheus", &[]).await;
    let text = metrics.text();
    let name = "waykeeper_agent_load_percent{";
    let label = format!("agent=\"{agent}\"");
    let mut lines = text.lines();
    let line = lines.find(|line| line.starts_with(name) && line.contains(&label))?;
    line.rsplit(' ').next()?.parse().ok()
}

async fn answerers(caller: &Caller) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..20 {
        let answer = caller.get("/v1/x", &[]).await;
        assert_eq!(answer.status, 200);
        all.push(answer.text());
    }
    all
}

#[tokio::test]
async fn an_agent_is_as_busy_as_its_endpoints_are_on_average_and_they_may_come_and_go() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, two) = (
        Engine::start("pool", 8).await,
        Engine::start("pool", 0).await,
    );
    let three = Engine::start("pool", 0).await;
    let alone = Engine::start("alone", 5).await;
    let [listen, operations] = [(); 2].map(|()| free_address());
    let text = |endpoints: &[&Engine]| {
        let endpoints: Vec<String> = endpoints.iter().map(|it| it.url(BASE)).collect();
        format!(
            "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
agents:
  pool: {{endpoints: [{}], load: {{from: metrics, stale_after: 3s}}}}
  alone: {{url: {}, load: {{from: metrics}}}}
routes: [{{prefix: /v1, agents: [pool, alone], auth_required: false}}]
",
            endpoints.join(", "),
            alone.url(""),
        )
    };
    let mut running = Running::start(
        directory.path(),
        &text(&[&one, &two]),
        &["--concurrency", "2"],
    )
    .await;
    let caller = Caller::of(listen);
    // Of the other one too, so that both are compared.
    let shows = |wanted: u64| {
        eventually("the mean", move || async move {
            let of_pool = percent(operations, "pool").await == Some(wanted);
            (of_pool && percent(operations, "alone").await == Some(50)).then_some(())
        })
    };
    // 8 of the ten that make an engine full, and none.
    shows(40).await;
    assert!(answerers(&caller).await.iter().all(|it| it == "pool"));
    // Both are looked at, and no caller's request has come to where that is done.
    for engine in [&one, &two] {
        assert!(engine.looked_at() > 0);
    }

    // One that shows nothing is left out, once what it has shown is too old.
    two.waiting.store(1000, Relaxed);
    shows(80).await;
    assert!(answerers(&caller).await.iter().all(|it| it == "alone"));
    // Nothing is known where nobody shows anything: then both have their shares.
    one.waiting.store(1000, Relaxed);
    eventually("shares", || async {
        let all = answerers(&caller).await;
        let of_pool = all.iter().filter(|it| *it == "pool").count();
        (1..20).contains(&of_pool).then_some(())
    })
    .await;
    two.waiting.store(0, Relaxed);
    shows(0).await;

    // The first endpoint goes, another comes.
    three.waiting.store(9, Relaxed);
    running.change(&text(&[&three, &two])).await;
    shows(45).await;
    eventually("the one that is gone is left alone", || async {
        // What is on its way when that is asked may still come; a whole second later nothing does.
        one.looked_at();
        tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
        (one.looked_at() == 0).then_some(())
    })
    .await;
    // One is left, and is asked at its server's root too.
    running.change(&text(&[&three])).await;
    shows(90).await;
}
