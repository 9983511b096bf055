//! The samples of docs/clients.md, as they stand there, against the gateway: they wait as long as they are told, slow down before they
//! are refused, try so many times, and give up when the wait is long. All run side by side, each with a client of its own. What
//! they did is told by the gateway's access log and by the agent, not by them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;
use waykeeper_demo::auth::Client;

use crate::harness::{
    Draft, Exchange, PATIENCE, Puppet, World, eventually, free_address, needed, repository, visit,
};

/// What asks. `backoff.py` only helps.
const SAMPLES: [&str; 6] = [
    "plain.py",
    "ask_openai.py",
    "ask_anthropic.py",
    "ask_httpx.py",
    "ask.js",
    "ask.sh",
];

/// Those that read `RateLimit`.
const PACED: [&str; 4] = [
    "ask_openai.py",
    "ask_anthropic.py",
    "ask_httpx.py",
    "ask.js",
];

/// How often each sample tries in all.
const TRIES: usize = 4;

/// In milliseconds.
const DAY: u64 = 86_400_000;

#[tokio::test]
async fn each_sample_waits_as_long_as_a_full_limit_tells_it() {
    let world = World::with(|draft| {
        // One every fifteen seconds: a busy machine needs less from one request to the next.
        limit(draft, "4/minute", 1);
        draft.configuration()["tell"] = json!([]);
    })
    .await;

    for (name, ran) in run(&world, &SAMPLES).await {
        assert!(ran.succeeded, "{name}: {}", ran.said);
        assert_eq!(ran.statuses(&world, 3).await, [200, 429, 200], "{name}");
    }
}

#[tokio::test]
async fn each_sample_that_reads_what_is_left_slows_down_before_it_is_refused() {
    let world = World::with(|draft| limit(draft, "12/minute", 1)).await;

    for (name, ran) in run(&world, &PACED).await {
        assert!(ran.succeeded, "{name}: {}", ran.said);
        assert_eq!(ran.statuses(&world, 2).await, [200, 200], "{name}");
    }
}

#[tokio::test]
async fn no_sample_sleeps_through_a_long_wait() {
    // One every ninety seconds.
    let world = World::with(|draft| limit(draft, "40/hour", 1)).await;

    for (name, ran) in run(&world, &SAMPLES).await {
        assert!(!ran.succeeded, "{name}: {}", ran.said);
        assert!(ran.said.contains("429"), "{name}: {}", ran.said);
        assert_eq!(ran.statuses(&world, 2).await, [200, 429], "{name}");
    }
}

#[tokio::test]
async fn each_sample_tries_an_agent_that_is_down_so_many_times_and_waits_between() {
    let nobody = free_address();
    let world = World::with(|draft| {
        limit(draft, "1000/minute", 100);
        one_agent(draft, nobody);
    })
    .await;

    for (name, ran) in run(&world, &SAMPLES).await {
        assert!(!ran.succeeded, "{name}: {}", ran.said);
        assert!(ran.said.contains("503"), "{name}: {}", ran.said);
        assert_eq!(ran.statuses(&world, TRIES).await, [503; TRIES], "{name}");
        let begun = ran.begun(&world);
        for pair in begun.windows(2) {
            // Envoy's `Retry-After: 1`, and what the log rounds off. A day may end meanwhile.
            let waited = (pair[1] + DAY - pair[0]) % DAY;
            assert!(waited >= 998, "{name}: {begun:?}");
        }
    }
}

#[tokio::test]
async fn each_sample_comes_back_at_the_date_that_an_agent_tells_it() {
    let agent = Puppet::listen().await;
    let address = agent.address();
    let world = World::with(|draft| {
        limit(draft, "1000/minute", 100);
        one_agent(draft, address);
    })
    .await;
    let seen = Seen::default();
    let serving = tokio::spawn(busy_at_first(agent, Arc::clone(&seen)));

    let all = run(&world, &SAMPLES).await;
    serving.abort();

    for (name, ran) in all {
        assert!(ran.succeeded, "{name}: {}", ran.said);
        let seen = seen.lock().expect("what was seen");
        let (told, came) = seen[ran.client.as_str()];
        let came = came.expect("a second request");
        // Clocks of whole milliseconds.
        let early = told.duration_since(came).unwrap_or_default();
        assert!(early <= Duration::from_millis(2), "{name}: {early:?} early");
    }
}

/// Of each client: the date that it was told, and when it came back.
type Seen = Arc<Mutex<BTreeMap<String, (SystemTime, Option<SystemTime>)>>>;

/// What the gateway adds to answers and refusals, each of which the page explains.
#[tokio::test]
async fn every_header_of_the_gateways_is_explained_to_callers() {
    let world = World::with(|draft| {
        limit(draft, "40/hour", 1);
        draft.configuration()["plans"]["premium"]["warn_at"] = json!("1%");
    })
    .await;
    let ask = || {
        world
            .post("/v1/chat/completions")
            .key("demo-premium")
            .send()
    };

    let answers = [ask().await, ask().await];

    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 429]);
    let page = page();
    let names = answers.iter().flat_map(|answer| answer.headers.keys());
    let names: BTreeSet<_> = names.map(|name| name.as_str()).collect();
    for expected in [
        "ratelimit",
        "retry-after",
        "x-should-retry",
        "x-waykeeper-limit-warning",
    ] {
        assert!(names.contains(expected), "{names:?}");
    }
    for name in names {
        // HTTP's own, and the agent's.
        let known = [
            "connection",
            "content-length",
            "content-type",
            "date",
            "server",
        ];
        let explained = page.to_lowercase().contains(&format!("`{name}"));
        assert!(
            explained || known.contains(&name) || name.starts_with("x-demo-"),
            "the page does not explain {name}"
        );
    }
}

/// Sees a client's first request off until a date, and answers all that follow.
async fn busy_at_first(agent: Puppet, seen: Seen) {
    loop {
        let mut exchange = agent.accept().await;
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let (head, now) = (request(&mut exchange).await, SystemTime::now());
            let client = header(&head, "x-waykeeper-client").to_owned();
            let first = {
                let mut seen = seen.lock().expect("what was seen");
                let first = !seen.contains_key(&client);
                let until = httpdate::fmt_http_date(now + Duration::from_secs(3));
                let until = httpdate::parse_http_date(&until).expect("a date");
                let (told, came) = seen.entry(client).or_insert((until, None));
                if !first {
                    came.get_or_insert(now);
                }
                first.then(|| httpdate::fmt_http_date(*told))
            };
            let answer = match first {
                Some(until) => {
                    format!("503 Busy\r\nretry-after: {until}\r\ncontent-length: 0\r\n\r\n")
                }
                None => {
                    let body = answer(&head);
                    format!(
                        "200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    )
                }
            };
            exchange
                .write(&format!(
                    "HTTP/1.1 {}",
                    answer.replacen("\r\n", "\r\nconnection: close\r\n", 1)
                ))
                .await;
        });
    }
}

/// The head of a request whose body has come.
async fn request(exchange: &mut Exchange) -> String {
    let head = exchange.read_until("\r\n\r\n").await;
    let length = header(&head, "content-length");
    exchange.read(length.parse().expect("a length")).await;
    head
}

fn header<'h>(head: &'h str, name: &str) -> &'h str {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let field = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
    field.unwrap_or_else(|| panic!("no {name}: {head}")).1
}

/// In the shape of OpenAI's interface or of Anthropic's.
fn answer(head: &str) -> String {
    let answer = if head.contains("/v1/messages ") {
        json!({
            "id": "1", "type": "message", "role": "assistant", "model": "demo", "stop_reason": "end_turn", "stop_sequence": null,
            "content": [{"type": "text", "text": "Hello"}], "usage": {"input_tokens": 1, "output_tokens": 1},
        })
    } else {
        json!({
            "id": "1", "object": "chat.completion", "created": 1, "model": "demo",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}],
        })
    };
    answer.to_string()
}

/// The limit of each sample's client.
fn limit(draft: &mut Draft, requests: &str, burst: u32) {
    draft.configuration()["plans"]["premium"] = json!({"requests": requests, "burst": burst});
}

/// Has all that samples ask for answered at one address.
fn one_agent(draft: &mut Draft, address: std::net::SocketAddr) {
    for prefix in ["/v1/chat/completions", "/v1/messages"] {
        draft.route(prefix)["agents"] = json!(["chat-gpu"]);
    }
    draft.connect("chat-gpu", &[address]);
    let cluster = draft.cluster("chat-gpu");
    // Envoy goes on trying it, however often it fails.
    cluster["outlier_detection"] = json!({
        "enforcing_consecutive_local_origin_failure": 0,
        "enforcing_consecutive_5xx": 0,
    });
}

// ------------------------------------------------------------------------------------------------------------- samples

/// What became of a sample.
struct Ran {
    client: String,
    succeeded: bool,
    said: String,
}

impl Ran {
    /// What its requests were answered with, in their order, once so many are in the access log.
    async fn statuses(&self, world: &World, number: usize) -> Vec<u64> {
        let lines = eventually("the access log", || async {
            let lines = self.lines(world);
            (lines.len() >= number).then_some(lines)
        });
        let lines = lines.await;
        lines
            .iter()
            .filter_map(|line| line["status"].as_u64())
            .collect()
    }

    /// When its requests came, in milliseconds of the day.
    fn begun(&self, world: &World) -> Vec<u64> {
        let lines = self.lines(world);
        let times = lines.iter().filter_map(|line| line["time"].as_str());
        let clocks = times.filter_map(|time| time.trim_end_matches('Z').split_once('T'));
        let parts = clocks.map(|(_, clock)| clock.split([':', '.']));
        let numbers = parts.map(|parts| parts.map(|part| part.parse::<u64>().expect("a number")));
        numbers
            .map(|numbers| numbers.zip([3_600_000, 60_000, 1_000, 1]))
            .map(|numbers| numbers.map(|(number, unit)| number * unit).sum())
            .collect()
    }

    fn lines(&self, world: &World) -> Vec<Value> {
        let log = world.gateway().access_log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let mut lines: Vec<Value> = lines
            .filter(|line: &Value| line["client"] == self.client.as_str())
            .collect();
        lines.sort_by_key(|line| line["time"].as_str().map(str::to_owned));
        lines
    }
}

/// Runs samples side by side.
async fn run<'n>(world: &World, names: &[&'n str]) -> Vec<(&'n str, Ran)> {
    let directory = tempfile::tempdir().expect("a directory");
    let samples = samples();
    for (name, text) in &samples {
        fs::write(directory.path().join(name), text).expect("write");
    }
    let all = names.iter().map(|name| {
        let (samples, directory) = (&samples, &directory);
        async move {
            let key = format!("key-{name}");
            let client = Client::named(&format!("client-{name}")).plan("premium");
            let client_id = client.client_id.clone();
            world.auth().insert_key(&key, client);
            let (succeeded, said) = match Path::new(name).extension().and_then(|it| it.to_str()) {
                Some("js") => in_a_page(world, &key, &samples[*name]).await,
                Some("sh") => {
                    // It asks once.
                    let first = command(world, &key, "bash", name, directory).await;
                    if first.0 {
                        command(world, &key, "bash", name, directory).await
                    } else {
                        first
                    }
                }
                _ => command(world, &key, "python3", name, directory).await,
            };
            let ran = Ran {
                client: client_id,
                succeeded,
                said,
            };
            (*name, ran)
        }
    });
    join_all(all).await
}

/// Has a program run a sample; whether it succeeded, and what it said.
async fn command(
    world: &World,
    key: &str,
    program: &str,
    name: &str,
    directory: &TempDir,
) -> (bool, String) {
    let package = match name {
        "ask_anthropic.py" => needed(".tools/anthropic", "make test-tools"),
        "ask_httpx.py" => needed(".tools/fastapi", "make bench-tools"),
        _ => needed(".tools/openai", "make test-tools"),
    };
    let gateway = format!("http://{}", world.address());
    let running = Command::new(program)
        .arg(name)
        .current_dir(directory.path())
        .env("PYTHONPATH", package)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("OPENAI_BASE_URL", format!("{gateway}/v1"))
        .env("OPENAI_API_KEY", key)
        .env("ANTHROPIC_BASE_URL", &gateway)
        .env("ANTHROPIC_API_KEY", key)
        .kill_on_drop(true)
        .output();
    let output = timeout(3 * PATIENCE, running).await;
    let output = output.unwrap_or_else(|_| panic!("{name} is not done"));
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.success(), said)
}

/// The same for JavaScript, in a browser.
async fn in_a_page(world: &World, key: &str, sample: &str) -> (bool, String) {
    let script = format!(
        "const key = {key:?}; const said = []; const console = {{ log: (text) => said.push(text) }};
        try {{ {sample} }} catch (error) {{ return {{ error: String(error) }}; }}
        return {{ said }};"
    );
    let seen = visit(world, &script).await;
    (seen.get("error").is_none(), seen.to_string())
}

fn page() -> String {
    fs::read_to_string(repository("docs/clients.md")).expect("the page")
}

/// The fenced blocks of the page that begin with a comment that names a file, by that name.
fn samples() -> BTreeMap<String, String> {
    let page = page();
    let mut fenced = page.split("\n```").skip(1).step_by(2);
    let mut samples = BTreeMap::new();
    for block in &mut fenced {
        let (language, text) = block.split_once('\n').expect("a block");
        // An answer, and no program.
        if language == "json" {
            continue;
        }
        let name = text.trim_start_matches(['#', '/', ' ']);
        let name = name.split([':', '\n']).next().expect("a line");
        let twice = samples.insert(name.to_owned(), format!("{text}\n"));
        assert!(twice.is_none(), "{name} stands there twice");
    }
    samples
}

/// Nothing that the page shows goes without a test.
#[test]
fn every_sample_of_the_page_is_run() {
    let samples = samples();
    let mut shown: Vec<_> = samples.keys().map(String::as_str).collect();
    shown.retain(|name| *name != "backoff.py");
    let mut run = SAMPLES.to_vec();
    run.sort_unstable();
    assert_eq!(shown, run);
}
