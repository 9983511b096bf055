//! What docs/envoy-limiters.md shows, in the real Envoy: its own rate limit filters count by the names that the gateway hands on.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::caller::{Answer, Caller};
use crate::gateway::{agent, free_address};
use crate::running::Running;
use crate::{eventually, needed};

const PAGE: &str = "docs/envoy-limiters.md";

/// The keys whose hashes the page has.
const SMALL: (&str, &str) = ("x-api-key", "test");
const ACME: (&str, &str) = ("x-api-key", "test2");

/// What the caller would like to be.
const FORGED: [(&str, &str); 2] = [
    ("x-waykeeper-client", "acme"),
    ("x-waykeeper-plan", "premium"),
];

/// Ten days: no token comes back while a test runs.
const FOR_LONG: &str = "fill_interval: 864000s";

/// The block of the page that holds all of this.
fn block(marks: &[&str]) -> String {
    let page = needed(PAGE, "git checkout");
    let page = std::fs::read_to_string(page).expect("the page");
    let mut blocks = page.split("```yaml\n").skip(1);
    let block = blocks.find_map(|rest| {
        let block = rest.split("\n```").next()?;
        marks
            .iter()
            .all(|mark| block.contains(mark))
            .then_some(block)
    });
    format!("{}\n", block.unwrap_or_else(|| panic!("no {marks:?}")))
}

/// A text in which something else stands, once or more.
fn put(text: &str, shown: &str, here: &str) -> String {
    assert!(text.contains(shown), "no {shown}: {text}");
    text.replace(shown, here)
}

/// An example in the places of the test, with windows that do not end while it runs.
fn local(listen: SocketAddr, agent: SocketAddr) -> String {
    let text = block(&["listen:", "filters.http.local_ratelimit"]);
    let text = put(&text, "fill_interval: 60s", FOR_LONG);
    placed(&text, listen, agent)
}

fn placed(text: &str, listen: SocketAddr, agent: SocketAddr) -> String {
    let text = put(text, "0.0.0.0:8080", &listen.to_string());
    put(&text, "10.0.0.5:8000", &agent.to_string())
}

/// As often as there is room, and then no more; and what the last two answers were.
async fn spend(caller: &Caller, key: (&str, &str), room: u64) -> (Answer, Answer) {
    let mut last = None;
    for _ in 0..room {
        let answer = caller.get("/v1/x", &[key, FORGED[0], FORGED[1]]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        last = Some(answer);
    }
    let refused = caller.get("/v1/x", &[key, FORGED[0], FORGED[1]]).await;
    (last.expect("an answer"), refused)
}

fn number(answer: &Answer, name: &str) -> u64 {
    let value = answer.header(name);
    let value = value.unwrap_or_else(|| panic!("no {name}: {answer:?}"));
    value.parse().expect("a number")
}

/// It is refused by a limiter of Envoy's, in the gateway's words.
fn assert_refused(answer: &Answer) {
    assert_eq!(answer.status, 429, "{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let said = answer.json();
    assert_eq!(said["error"]["code"], "rate_limited");
    assert_eq!(said["error"]["type"], "rate_limit_error");
    assert_eq!(number(answer, "x-ratelimit-remaining"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoys_local_limiter_counts_by_client_beside_the_gateways_own_limits() {
    let directory = tempfile::tempdir().expect("a directory");
    let (chat, listen) = (agent("chat").await, free_address());
    let text = local(listen, chat.address());
    // Two workers, one bucket.
    let arguments = ["--concurrency", "2"];
    let running = Running::start(directory.path(), &text, &arguments).await;
    let caller = Caller::of(listen);

    let (last, refused) = spend(&caller, SMALL, 5).await;
    assert_eq!(last.arrived("x-waykeeper-client"), "small");
    assert_refused(&refused);
    // The fields of both, and what Envoy refuses has been counted here.
    assert_eq!(number(&last, "x-ratelimit-limit"), 5);
    assert_eq!(number(&last, "x-ratelimit-remaining"), 0);
    let left = |answer: &Answer| number(answer, "x-ratelimit-remaining-requests");
    assert_eq!((left(&last), left(&refused)), (495, 494));
    // Envoy's wait is the longer one.
    assert!(number(&refused, "retry-after") > 3600, "{refused:?}");
    eventually("the metric", async || {
        let metrics = running
            .admin("/stats?filter=waykeeper_requests_total")
            .await;
        let mut lines = metrics.lines();
        lines
            .find(|line| line.ends_with(";outcome=rate_limited;: 1"))
            .map(drop)
    })
    .await;

    // A plan has its own number, one that is refused before takes nothing.
    let stranger = ("x-api-key", "nobody's");
    assert_eq!(
        caller.get("/v1/x", &[stranger, FORGED[0]]).await.status,
        401
    );
    let (_, refused) = spend(&caller, ACME, 30).await;
    assert_refused(&refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoys_local_limiter_counts_by_filter_state_where_agents_see_no_client() {
    let directory = tempfile::tempdir().expect("a directory");
    let (chat, listen) = (agent("chat").await, free_address());
    let text = local(listen, chat.address());
    let (rest, _) = text
        .split_once("          rate_limits:\n")
        .expect("the end");
    let by_state = block(&["filter_state['wasm.waykeeper']"]);
    let by_state = put(&by_state, "fill_interval: 60s", FOR_LONG);
    let by_state: String = by_state
        .lines()
        .map(|line| format!("          {line}\n"))
        .collect();
    let text = format!("agents_see: [agent, route]\n{rest}{by_state}");
    let _running = Running::start(directory.path(), &text, &[]).await;
    let caller = Caller::of(listen);

    for key in [SMALL, ACME] {
        let (last, refused) = spend(&caller, key, 5).await;
        let arrived = last.json();
        assert!(arrived["headers"]["x-waykeeper-client"].is_null());
        assert_refused(&refused);
    }
}

/// `waykeeper limiter`; it ends when dropped.
async fn limiter() -> (Child, SocketAddr) {
    let address = free_address();
    let limiter = Command::new(env!("CARGO_BIN_EXE_waykeeper"))
        .args(["limiter", "--listen", &address.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the limiter");
    eventually("the limiter", async || {
        TcpStream::connect(address).await.ok()
    })
    .await;
    (limiter, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoys_ratelimit_counts_each_client_once_for_two_gateways() {
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let chat = agent("chat").await;
    let (mut limiter, counting) = limiter().await;
    let text = block(&["listen:", "filters.http.ratelimit"]);
    let text = put(&text, "unit: MINUTE", "unit: YEAR");
    let place = |at: SocketAddr| format!("address: {}, port_value: {}", at.ip(), at.port());
    let text = put(
        &text,
        "address: 10.0.0.9, port_value: 8081",
        &place(counting),
    );
    let [first, second] = [(); 2].map(|()| free_address());
    let text_of = |listen| placed(&text, listen, chat.address());
    let _one = Running::start(one.path(), &text_of(first), &[]).await;
    let _two = Running::start(two.path(), &text_of(second), &[]).await;
    let [first, second] = [first, second].map(Caller::of);

    for caller in [&first, &second, &first, &second] {
        let answer = caller.get("/v1/x", &[SMALL, FORGED[0]]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let (last, refused) = spend(&second, SMALL, 1).await;
    assert_eq!(number(&last, "x-ratelimit-remaining"), 0);
    assert_refused(&refused);
    assert_eq!(refused.header("retry-after"), None);
    assert_refused(&first.get("/v1/x", &[SMALL]).await);
    // Nobody else's.
    let (_, refused) = spend(&first, ACME, 5).await;
    assert_refused(&refused);

    limiter.kill().await.expect("the limiter");
    let answer = first.get("/v1/x", &[ACME]).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["error"]["code"], "gateway_unavailable");
}
