//! One count for many gateways: three Envoys of two workers each, the real `waykeeper limiter`, and the real Redis behind it.
//! Limits are per month, so that no window ends in the midst of a test.

mod left;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::harness::{Draft, World, eventually, free_address, needed, signal_to};

mod attacked;
mod cut_off;
mod own;

const NOTES: &str = "/api/v1/memory/notes";
const LIMITER: &str = "limiter";
const GATEWAYS: usize = 3;

/// A process that listens somewhere. It is killed when dropped.
struct Server(Child);

/// The gateways.
struct Fleet(Vec<Arc<World>>);

// ------------------------------------------------------------------------------------------------------------- exactly

#[tokio::test]
async fn three_gateways_admit_together_exactly_what_the_limit_says() {
    let redis = Redis::start().await;
    let at = free_address();
    let _limiter = limiter(at, &["--redis", &redis.url(), "--redis-timeout", "30s"]).await;
    let fleet = Fleet::new(at, "40/month", &json!({})).await;

    let crowd = fleet.crowd(180);
    let (admitted, refused) = crowd.await;

    assert_eq!((admitted, refused), (40, 140));
    let answer = fleet.0[0].get(NOTES).key("demo-standard").send().await;
    assert_eq!(answer.refused(), (429, "rate_limited".to_owned()));
    let wait = answer.header("retry-after").expect("a time");
    assert!(wait.parse::<u64>().is_ok_and(|wait| wait > 0), "{wait}");
    let told = answer.header("ratelimit").expect("how it stands");
    assert!(told.starts_with(r#""plan";r=0;t="#), "{told}");
}

#[tokio::test]
async fn what_remains_goes_down_whichever_gateway_is_asked() {
    let at = free_address();
    let _limiter = limiter(at, &[]).await;
    let fleet = Fleet::new(at, "40/month", &json!({})).await;

    for number in 0..9 {
        let world = &fleet.0[number % GATEWAYS];
        let answer = world.get(NOTES).key("demo-standard").send().await;
        let remaining = answer.header("x-ratelimit-remaining-requests");
        let left = 39 - number;
        assert_eq!(remaining, Some(left.to_string().as_str()));
    }
}

#[tokio::test]
async fn an_address_has_one_count_whoever_calls_from_there() {
    let at = free_address();
    let _limiter = limiter(at, &[]).await;
    let world = World::with(|draft| {
        with_limiter(draft, at);
        of_fleet(draft, &json!({}), &json!({}));
        draft.configuration()["limits"] =
            json!([{"name": "near", "each": "address", "requests": "4/month", "scope": "fleet"}]);
    })
    .await;

    let mut statuses = Vec::new();
    for key in ["demo-standard", "demo-premium", "demo-admin"] {
        for _ in 0..2 {
            statuses.push(world.get(NOTES).key(key).send().await.status);
        }
    }

    assert_eq!(statuses, [200, 200, 200, 200, 429, 429]);
}

#[tokio::test]
async fn a_list_of_more_calls_than_a_limit_ever_lets_through_is_not_told_to_wait() {
    let at = free_address();
    let _limiter = limiter(at, &[]).await;
    let world = World::with(|draft| {
        with_limiter(draft, at);
        of_fleet(draft, &json!({}), &json!({}));
        let tools =
            json!([{"name": "tools", "each": "tool", "requests": "3/month", "scope": "fleet"}]);
        draft.configuration()["limits"] = tools;
        draft.route("/api/v1/memory")["mcp"] = json!({});
    })
    .await;
    let list = async |tools: &[&str]| {
        let call = |tool| json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}});
        let calls: Vec<Value> = tools.iter().map(call).collect();
        let request = world.request("POST", NOTES).key("demo-standard");
        let request = request.header("content-type", "application/json");
        request.body(Value::from(calls).to_string()).send().await
    };

    let refused = list(&["a", "a", "b", "a", "a"]).await;

    assert_eq!((refused.status, refused.header("retry-after")), (400, None));
    let error = &refused.json()[0]["error"];
    let message = error["message"].as_str().expect("a message");
    assert!(
        message.contains(r#"more messages than the limit "tools" (per tool)"#),
        "{error}"
    );
    // It has taken nothing; and of more than are left the rest is to be waited for.
    assert_eq!(list(&["a", "a", "b", "b", "b"]).await.status, 200);
    let full = list(&["a", "a"]).await;
    assert_eq!(full.status, 429);
    assert!(full.header("retry-after").is_some());
}

#[tokio::test]
async fn leases_admit_no_more_and_leave_no_more_unused_than_is_documented() {
    let at = free_address();
    let _limiter = limiter(at, &[]).await;
    // Shares of 4, of which a worker holds six at most.
    let fleet = Fleet::new(at, "1200/month", &json!({"manner": "leased"})).await;

    let (admitted, refused) = fleet.crowd(1_800).await;

    let unused = 6 * 2 * GATEWAYS as u64;
    assert!(
        admitted <= 1_200 && admitted + unused >= 1_200,
        "{admitted}"
    );
    assert_eq!(admitted + refused, 1_800);
    let asked = fleet.sum("waykeeper_limiter_calls_total", &[]).await;
    println!("{asked} callouts for 1800 requests");
    assert!(asked < 700.0, "{asked} callouts");
}

#[tokio::test]
async fn whatever_a_caller_sends_the_limiter_takes_the_question() {
    let at = free_address();
    let _limiter = limiter(at, &[]).await;
    let limit = json!({"limits": [
        {"name": "app", "each": {"header": "x-app"}, "requests": "2/month", "scope": "fleet"},
    ]});
    let world = World::with(|draft| {
        with_limiter(draft, at);
        of_fleet(draft, &limit, &json!({"on_failure": "deny"}));
    })
    .await;

    // As many bytes as a request may have, and none of them text.
    for (byte, status) in [(0xff_u8, 200), (0xff, 200), (0xff, 429), (0xfe, 200)] {
        let asks = world.get(NOTES).key("demo-standard");
        let answer = asks.header("x-app", vec![byte; 50_000]).send().await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

// ----------------------------------------------------------------------------------------------- when something is away

#[tokio::test]
async fn without_the_limiter_each_gateway_has_its_share_until_it_is_there_again() {
    let at = free_address();
    let fleet = Fleet::new(at, "30/month", &json!({})).await;

    let (admitted, _) = fleet.crowd(120).await;
    assert_eq!(admitted, 30, "a third at each of the three");
    for world in &fleet.0 {
        let log = world.gateway().envoy_log();
        assert_eq!(
            log.matches("the limiter does not answer").count(),
            2,
            "{log}"
        );
    }

    let _limiter = limiter(at, &[]).await;
    for world in &fleet.0 {
        eventually("the limiter's word", || async {
            let answer = world.get(NOTES).key("demo-standard").send().await;
            (answer.status == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_limiter_that_hangs_or_dies_under_load_multiplies_nothing() {
    let at = free_address();
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("counts");
    let keep = ["--keep", file.to_str().expect("a path")];
    let server = limiter(at, &keep).await;
    let fleet = Fleet::new(at, "600/month", &json!({"on_failure": "deny"})).await;
    let load = Load::start(&fleet, 9);

    load.more(50).await;
    server.signal(Signal::STOP);
    load.refused(20).await;
    server.signal(Signal::CONT);
    load.more(50).await;
    drop(server);
    load.refused(20).await;
    let server = limiter(at, &keep).await;
    load.more(50).await;

    load.full(&fleet).await;
    let admitted = load.stop().await;
    drop(server);
    println!("{admitted} of 600");
    // What was counted and whose answer got lost, and a twentieth by which a file may run ahead.
    assert!(admitted <= 600 && admitted > 450, "{admitted}");
}

#[tokio::test]
async fn a_redis_that_is_killed_under_load_multiplies_nothing() {
    let mut redis = Redis::start().await;
    let at = free_address();
    let _limiter = limiter(at, &["--redis", &redis.url()]).await;
    let fleet = Fleet::new(at, "600/month", &json!({"on_failure": "deny"})).await;
    let load = Load::start(&fleet, 9);

    load.more(50).await;
    redis.kill().await;
    load.refused(20).await;
    redis.restart().await;
    load.more(50).await;

    load.full(&fleet).await;
    let admitted = load.stop().await;
    println!("{admitted} of 600");
    assert!(admitted <= 600 && admitted > 450, "{admitted}");
}

// ------------------------------------------------------------------------------------------------------------ measured

/// `make bench-fleet` runs it: what a request waits for, and how often the limiter is asked.
#[tokio::test]
#[ignore = "measures and asserts nothing: `make bench-fleet` runs it"]
async fn measure_what_strict_and_leased_limits_add() {
    let at = free_address();
    let _limiter = limiter(at, &[]).await;
    let manners = [
        ("none", json!({})),
        ("strict", json!({"manner": "strict"})),
        ("leased", json!({"manner": "leased"})),
    ];
    let mut worlds = Vec::new();
    for (manner, fleet) in &manners {
        let world = World::with(|draft| {
            with_limiter(draft, at);
            let limit = match *manner {
                "none" => json!({"requests": "1000000/minute"}),
                _ => json!({"requests": "1000000/month", "scope": "fleet"}),
            };
            of_fleet(draft, &limit, fleet);
        });
        worlds.push((world.await, Vec::new()));
    }
    // One after the other, so that what else the machine does meets all alike.
    for round in 0..1_000 {
        for (world, times) in &mut worlds {
            let begun = Instant::now();
            let answer = world.get(NOTES).key("demo-standard").send().await;
            assert_eq!(answer.status, 200);
            if round >= 100 {
                times.push(begun.elapsed());
            }
        }
    }
    let mut base = None;
    for ((manner, _), (world, times)) in manners.iter().zip(&mut worlds) {
        times.sort_unstable();
        let [median, late] = [50, 99].map(|percent| times[times.len() * percent / 100]);
        let base = *base.get_or_insert(median);
        let ratio = median.as_secs_f64() / base.as_secs_f64();
        let calls = world
            .metrics()
            .await
            .sum("waykeeper_limiter_calls_total", &[]);
        println!(
            "{manner}: median {median:?} ({ratio:.2} of that without), 99 % {late:?}, {:.4} callouts a request",
            calls.abs() / 1_000.0
        );
    }
}

// -------------------------------------------------------------------------------------------------------- what they share

impl Fleet {
    /// Gateways whose plan `standard` has this limit.
    async fn new(limiter: SocketAddr, rate: &str, more: &Value) -> Self {
        let limit = json!({"requests": rate, "scope": "fleet"});
        Self::of(GATEWAYS, limiter, &limit, more, |_| {}).await
    }

    /// So many of them, each changed in the same way.
    async fn of(
        number: usize,
        limiter: SocketAddr,
        limit: &Value,
        more: &Value,
        change: impl Fn(&mut Draft),
    ) -> Self {
        let worlds = (0..number).map(|_| {
            World::with(|draft| {
                draft.workers(2);
                with_limiter(draft, limiter);
                of_fleet(draft, limit, more);
                change(draft);
            })
        });
        Self(join_all(worlds).await.into_iter().map(Arc::new).collect())
    }

    async fn sum(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        let mut sum = 0.0;
        for world in &self.0 {
            sum += world.metrics().await.sum(metric, labels);
        }
        sum
    }

    /// So many requests at once, over all gateways: how many pass, and how many are refused.
    async fn crowd(&self, number: usize) -> (u64, u64) {
        let mut left = (0..number).collect::<Vec<_>>();
        let (mut admitted, mut refused) = (0, 0);
        while !left.is_empty() {
            let some = left.split_off(left.len().saturating_sub(180));
            let requests = some.into_iter().map(|number| {
                let world = &self.0[number % self.0.len()];
                world.get(NOTES).key("demo-standard").send()
            });
            for answer in requests.collect::<JoinSet<_>>().join_all().await {
                match answer.status {
                    200 => admitted += 1,
                    429 => refused += 1,
                    _ => panic!("{answer:?}"),
                }
            }
        }
        (admitted, refused)
    }
}

/// Callers that ask on and on.
struct Load {
    callers: JoinSet<()>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    admitted: AtomicU64,
    unavailable: AtomicU64,
    full: AtomicU64,
    /// In milliseconds.
    slowest: AtomicU64,
}

impl Load {
    fn start(fleet: &Fleet, number: usize) -> Self {
        let seen = Arc::<Seen>::default();
        let mut callers = JoinSet::new();
        for number in 0..number {
            let (world, seen) = (
                Arc::clone(&fleet.0[number % fleet.0.len()]),
                Arc::clone(&seen),
            );
            callers.spawn(async move {
                while !seen.stop.load(Ordering::SeqCst) {
                    let begun = Instant::now();
                    let answer = world.get(NOTES).key("demo-standard").send().await;
                    let took = u64::try_from(begun.elapsed().as_millis()).expect("a time");
                    seen.slowest.fetch_max(took, Ordering::SeqCst);
                    let count = match answer.status {
                        200 => &seen.admitted,
                        429 => &seen.full,
                        503 => &seen.unavailable,
                        _ => panic!("{answer:?}"),
                    };
                    count.fetch_add(1, Ordering::SeqCst);
                    sleep(Duration::from_millis(5)).await;
                }
            });
        }
        Self { callers, seen }
    }

    async fn until(&self, what: &str, count: impl Fn(&Seen) -> &AtomicU64, more: u64) {
        let wanted = count(&self.seen).load(Ordering::SeqCst) + more;
        eventually(what, || async {
            (count(&self.seen).load(Ordering::SeqCst) >= wanted).then_some(())
        })
        .await;
    }

    async fn more(&self, number: u64) {
        self.until("more that pass", |seen| &seen.admitted, number)
            .await;
    }

    async fn refused(&self, number: u64) {
        self.until("those that are refused", |seen| &seen.unavailable, number)
            .await;
    }

    async fn full(&self, fleet: &Fleet) {
        self.until("the limit", |seen| &seen.full, fleet.0.len() as u64 * 20)
            .await;
    }

    async fn stop(mut self) -> u64 {
        self.seen.stop.store(true, Ordering::SeqCst);
        while let Some(caller) = self.callers.join_next().await {
            caller.expect("a caller");
        }
        self.seen.admitted.load(Ordering::SeqCst)
    }
}

fn with_limiter(draft: &mut Draft, at: SocketAddr) {
    draft.add_cluster(LIMITER, &[at]);
    let cluster = draft.cluster(LIMITER);
    cluster["health_checks"] = json!([]);
    cluster["circuit_breakers"] =
        json!({"thresholds": [{"max_requests": 4096, "max_pending_requests": 4096}]});
    cluster["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {
                "http2_protocol_options": {"connection_keepalive": {"interval": "1s", "timeout": "1s"}},
            },
        },
    });
}

fn of_fleet(draft: &mut Draft, limit: &Value, more: &Value) {
    // However slow this machine is, the limiter is away only if it has ended, hangs or says so.
    let timeout = if more["on_failure"] == "deny" {
        "500ms"
    } else {
        "10s"
    };
    let mut fleet =
        json!({"limiter": {"cluster": LIMITER, "timeout": timeout}, "gateways": GATEWAYS});
    let more = more.as_object().expect("fields").clone();
    fleet.as_object_mut().expect("fields").extend(more);
    draft.configuration()["fleet"] = fleet;
    draft.configuration()["limits"] = json!([]);
    draft.configuration()["plans"]["standard"] = limit.clone();
}

async fn limiter(at: SocketAddr, arguments: &[&str]) -> Server {
    let tool = needed("target/debug/waykeeper", "cargo build -p waykeeper-cli");
    let at = at.to_string();
    let mut command = Command::new(tool);
    command.args(["limiter", "--listen", &at]).args(arguments);
    Server::start(&mut command, &at).await
}

impl Server {
    /// Starts it, and waits until it listens at `at`.
    async fn start(command: &mut Command, at: &str) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self(command.kill_on_drop(true).spawn().expect("a server"));
        eventually("the server", || async { TcpStream::connect(at).await.ok() }).await;
        server
    }

    fn signal(&self, signal: Signal) {
        let process = self.0.id().expect("it runs");
        signal_to(process.cast_signed(), signal);
    }
}

/// Debian's Redis. What it has answered is on the disk.
struct Redis {
    address: SocketAddr,
    directory: TempDir,
    server: Option<Server>,
}

impl Redis {
    async fn start() -> Self {
        let mut redis = Self {
            address: free_address(),
            directory: TempDir::new().expect("a directory"),
            server: None,
        };
        redis.restart().await;
        redis
    }

    async fn restart(&mut self) {
        let server = redis_server(self.address, self.directory.path());
        self.server = Some(server.await);
    }

    async fn kill(&mut self) {
        let server = self.server.as_mut().expect("it runs");
        server.0.kill().await.expect("an end");
    }

    fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

async fn redis_server(address: SocketAddr, directory: &Path) -> Server {
    let mut command = Command::new("redis-server");
    let port = address.port().to_string();
    command
        .current_dir(directory)
        .args(["--port", &port, "--bind", "127.0.0.1"]);
    command.args([
        "--save",
        "",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ]);
    Server::start(&mut command, &address.to_string()).await
}
