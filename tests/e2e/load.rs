//! Which of several agents gets a request: the less busy one, the cheapest, or the one that begins to answer soonest.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request as Asked, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::harness::{Draft, World, eventually};
use crate::resting::stand_on_agents_side;

/// What an agent answers from now on.
#[derive(Debug, Clone, Default)]
struct Says {
    /// Headers beside the status.
    headers: Vec<(&'static str, String)>,
    /// How long it takes.
    takes: Duration,
    /// What its metrics are.
    metrics: String,
    /// Behind the body.
    trailers: Option<HeaderMap>,
}

/// An agent that says what a test has it say, and counts what it was asked.
struct Agent {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    asked: Arc<Mutex<Vec<hyper::HeaderMap>>>,
    polled: Arc<Mutex<usize>>,
    accepting: JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agent {
    async fn start(name: &'static str) -> Self {
        Self::start_in(name, false).await
    }

    /// `in_two`: it speaks HTTP/2, without being asked.
    async fn start_in(name: &'static str, in_two: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let says: Arc<Mutex<Says>> = Arc::default();
        let asked: Arc<Mutex<Vec<hyper::HeaderMap>>> = Arc::default();
        let polled: Arc<Mutex<usize>> = Arc::default();
        let (said, seen, polls) = (Arc::clone(&says), Arc::clone(&asked), Arc::clone(&polled));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (said, seen, polls) =
                    (Arc::clone(&said), Arc::clone(&seen), Arc::clone(&polls));
                let service = service_fn(move |request: Asked<hyper::body::Incoming>| {
                    let says = lock(&said).clone();
                    let is_poll = request.uri().path() == "/metrics";
                    if is_poll {
                        *lock(&polls) += 1;
                    } else {
                        lock(&seen).push(request.headers().clone());
                    }
                    async move {
                        let body = |text: Bytes, trailers: Option<HeaderMap>| {
                            let trailers = trailers.map(Ok::<_, Infallible>);
                            Full::new(text).with_trailers(std::future::ready(trailers))
                        };
                        if is_poll {
                            let metrics = Bytes::from(says.metrics);
                            return Ok::<_, Infallible>(Response::new(body(metrics, None)));
                        }
                        tokio::time::sleep(says.takes).await;
                        let mut response = Response::builder().header("x-demo-agent", name);
                        for (name, value) in says.headers {
                            response = response.header(name, value);
                        }
                        Ok(response
                            .body(body(Bytes::from_static(b"{}"), says.trailers))
                            .expect("a response"))
                    }
                });
                let stream = TokioIo::new(stream);
                tokio::spawn(async move {
                    // It ends when the other end hangs up.
                    let _ = if in_two {
                        let server = http2::Builder::new(TokioExecutor::new());
                        server.serve_connection(stream, service).await
                    } else {
                        http1::Builder::new()
                            .serve_connection(stream, service)
                            .await
                    };
                });
            }
        });
        Self {
            address,
            says,
            asked,
            polled,
            accepting,
        }
    }

    fn says(&self, change: impl FnOnce(&mut Says)) {
        change(&mut lock(&self.says));
    }

    fn reports(&self, header: &'static str, value: &str) {
        self.says(|says| says.headers = vec![(header, value.to_owned())]);
    }
}

/// Two agents, `one` and `two`, behind a gateway of two workers.
async fn world(of_agents: Value, route: Value) -> (World, Agent, Agent) {
    let (one, two) = (Agent::start("one").await, Agent::start("two").await);
    let world = World::with(|draft| of_two(draft, &of_agents, &route, [&one, &two])).await;
    (world, one, two)
}

fn of_two(draft: &mut Draft, of_agents: &Value, route: &Value, agents: [&Agent; 2]) {
    draft.workers(2);
    draft.configuration()["limits"] = json!([]);
    draft.configuration()["plans"] = json!({"standard": {}, "premium": {}});
    // The clusters of two that are there.
    for ((name, cluster), agent) in [("one", "rag"), ("two", "memory")].into_iter().zip(agents) {
        draft.connect(cluster, &[agent.address]);
        let cluster = draft.configuration()["agents"][cluster]["cluster"].clone();
        let mut of_agent = of_agents[name].clone();
        of_agent["cluster"] = cluster;
        draft.configuration()["agents"][name] = of_agent;
    }
    let mut all = json!({"prefix": "/ask", "name": "ask", "agents": ["one", "two"]});
    let more = route.as_object().expect("fields").clone();
    all.as_object_mut().expect("fields").extend(more);
    *draft.routes() = vec![all];
}

/// Sends so many requests, some at a time; who has answered how many.
async fn ask(world: &World, number: usize) -> HashMap<String, usize> {
    let mut callers = JoinSet::new();
    for part in 0..8 {
        let requests: Vec<_> = (part..number)
            .step_by(8)
            .map(|_| world.get("/ask/x").key("demo-premium"))
            .collect();
        callers.spawn(async move {
            let mut agents = Vec::new();
            for request in requests {
                let answer = request.send().await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!(answer.header("x-agent-queue-depth"), None);
                assert_eq!(answer.header("endpoint-load-metrics"), None);
                assert_eq!(answer.header("endpoint-load-metrics-bin"), None);
                agents.push(answer.header("x-demo-agent").expect("an agent").to_owned());
            }
            agents
        });
    }
    let mut answers = HashMap::new();
    for agent in callers.join_all().await.into_iter().flatten() {
        *answers.entry(agent).or_default() += 1;
    }
    answers
}

fn of(answers: &HashMap<String, usize>, agent: &str) -> usize {
    answers.get(agent).copied().unwrap_or_default()
}

/// Of two hundred fair draws, 5.5 standard deviations.
fn is_half(number: usize) -> bool {
    (61..=139).contains(&number)
}

#[tokio::test]
async fn the_agent_that_reports_to_be_less_busy_gets_the_requests_of_both_workers() {
    let load = json!({"load": {"from": "queue_depth", "stale_after": "1m"}, "weight": 1});
    let (world, one, two) = world(json!({"one": load, "two": load}), json!({})).await;
    let unknown = ask(&world, 200).await;
    assert!(
        is_half(of(&unknown, "one")),
        "nothing is reported: {unknown:?}"
    );

    one.reports("x-agent-queue-depth", "9");
    two.reports("x-agent-queue-depth", "1");
    // Both are heard of by the first of these.
    ask(&world, 40).await;
    let known = ask(&world, 200).await;
    assert_eq!(of(&known, "one"), 0, "{known:?}");

    // Now it is the other that is busy.
    one.reports("x-agent-queue-depth", "0");
    two.reports("x-agent-queue-depth", "50");
    eventually("a turn", || async {
        let answers = ask(&world, 40).await;
        (of(&answers, "two") == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_agent_whose_report_is_too_old_has_its_share_again() {
    let load = json!({"load": {"from": "queue_depth", "stale_after": "1s"}, "weight": 1});
    let (world, one, two) = world(json!({"one": load, "two": load}), json!({})).await;
    two.reports("x-agent-queue-depth", "1");
    let reports = || async {
        one.reports("x-agent-queue-depth", "9");
        let answers = ask(&world, 16).await;
        (of(&answers, "one") == 0).then_some(())
    };
    eventually("the busy one to get nothing", reports).await;
    // It says nothing more, and the other goes on saying that it is idle.
    one.says(|says| says.headers.clear());
    let share = || async {
        let answers = ask(&world, 16).await;
        (of(&answers, "one") > 2).then_some(())
    };
    eventually("a share again", share).await;
}

#[tokio::test]
async fn agents_are_asked_for_orcas_reports_and_those_are_read() {
    let load = json!({"load": {"from": "orca"}, "weight": 1});
    let (world, one, two) = world(json!({"one": load, "two": load}), json!({})).await;
    one.reports(
        "endpoint-load-metrics",
        "TEXT named_metrics.kv_cache_usage_perc=0.2, named_metrics.num_requests_waiting=0.0",
    );
    two.reports(
        "endpoint-load-metrics",
        "JSON {\"named_metrics\": {\"kv_cache_usage_perc\": 0.9, \"num_requests_waiting\": 4.0}}",
    );
    ask(&world, 40).await;
    let known = ask(&world, 200).await;
    assert_eq!(of(&known, "two"), 0, "{known:?}");
    let asked = lock(&one.asked).clone();
    let format = asked.iter().map(|it| {
        it.get("endpoint-load-metrics-format")
            .and_then(|it| it.to_str().ok())
    });
    assert!(format.into_iter().all(|it| it == Some("TEXT")));

    eventually("the metric", || async {
        let metrics = world.metrics().await;
        let percent =
            |agent| metrics.sum("waykeeper_agent_load_percent", &[("agent", agent)]) as u64;
        (percent("one") == 20 && percent("two") == 130).then_some(())
    })
    .await;
}

/// A report of ORCA as its message: `application_utilization`, and before it a map that is not looked for.
fn message(utilization: f64) -> Vec<u8> {
    let mut message = vec![0x22, 0x05, 0x0a, 0x01, b'x', 0x10, 0x01];
    message.push(9 << 3 | 1);
    message.extend(utilization.to_le_bytes());
    message
}

#[tokio::test]
async fn reports_that_are_messages_are_read_with_padding_and_without() {
    let load = json!({"load": {"from": "orca"}, "weight": 1});
    let (world, one, two) = world(json!({"one": load, "two": load}), json!({})).await;
    one.reports("endpoint-load-metrics-bin", &STANDARD.encode(message(0.9)));
    two.reports(
        "endpoint-load-metrics-bin",
        &STANDARD_NO_PAD.encode(message(0.25)),
    );
    ask(&world, 40).await;
    let known = ask(&world, 200).await;
    assert_eq!(of(&known, "one"), 0, "{known:?}");
    shows(&world, [("one", 90), ("two", 25)]).await;
}

#[tokio::test]
async fn reports_in_trailers_are_read_and_go_no_further() {
    let load = json!({"load": {"from": "orca"}, "weight": 1});
    let [one, two] = [
        Agent::start_in("one", true).await,
        Agent::start_in("two", true).await,
    ];
    let world = World::with(|draft| {
        of_two(draft, &json!({"one": load, "two": load}), &json!({}), [&one, &two]);
        // Over HTTP/1.1 Envoy passes none on.
        for cluster in ["rag", "memory"] {
            let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
            draft.cluster(cluster)["typed_extension_protocol_options"][options]["explicit_http_config"] =
                json!({"http2_protocol_options": {}});
        }
    })
    .await;
    let trailers = |name: &'static str, value: String| {
        let mut trailers = HeaderMap::new();
        trailers.insert(name, value.parse().expect("a value"));
        trailers.insert("x-checksum", "abc".parse().expect("a value"));
        Some(trailers)
    };
    one.says(|says| {
        says.trailers = trailers(
            "endpoint-load-metrics-bin",
            STANDARD_NO_PAD.encode(message(0.75)),
        );
    });
    two.says(|says| {
        let text = "TEXT cpu_utilization=0.9, application_utilization=0.5";
        says.trailers = trailers("endpoint-load-metrics", text.to_owned());
    });
    ask(&world, 40).await;
    let known = ask(&world, 200).await;
    assert_eq!(of(&known, "one"), 0, "{known:?}");
    shows(&world, [("one", 75), ("two", 50)]).await;
    for agent in ["one", "two"] {
        let request = world
            .get("/ask/x")
            .key("demo-premium")
            .header("x-agent", agent);
        let answer = request.http2().send().await;
        assert_eq!(answer.header("x-demo-agent"), Some(agent));
        let names: Vec<&str> = answer.trailers.keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["x-checksum"]);
    }
}

const QUEUE_DEPTH: &str = "x-agent-queue-depth";
const ORCA: &str = "endpoint-load-metrics";
const ORCA_BINARY: &str = "endpoint-load-metrics-bin";

/// How many wait, in words that say nothing.
const NO_DEPTHS: [&str; 18] = [
    "", "-1", "-0.5", "-1e300", "-inf", "NaN", "inf", "+", ".", "e3", "1e-", "1e+-5", "0x0",
    "none", "0;1", "0 0", "0, 0", "0,0",
];

/// A report in text that says nothing.
const NO_TEXTS: [&str; 14] = [
    "",
    "TEXT",
    "JSON {}",
    "JSON {",
    "TEXT cpu_utilization",
    "TEXT cpu_utilization=",
    "TEXT cpu_utilization=1e",
    "TEXT application_utilization=-0.1",
    "TEXT cpu_utilization=NaN, application_utilization=-inf",
    "TEXT cpu_utilization=inf",
    "TEXT rps_fractional=0.0",
    "JSON {\"cpu_utilization\":null}",
    "JSON {\"cpu_utilization\":\"0.0\"}",
    "BIN SQAAAAAAAAAA",
];

/// The same as a message.
fn no_messages() -> Vec<String> {
    let zero = 0.0_f64.to_le_bytes();
    let numbers = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.25, -1e300];
    let numbers = numbers.iter().map(|it| message(*it));
    let broken = [
        // Broken off in a number, behind a tag, in a tag.
        [&[9 << 3 | 1], &zero[..7]].concat(),
        vec![9 << 3 | 1],
        vec![0xff; 3],
        // A tag without an end.
        vec![0xff; 30],
        // Of another type: a varint, bytes, four bytes, a group and its end, one that there is not.
        vec![9 << 3, 0],
        [&[9 << 3 | 2, 8], &zero[..]].concat(),
        vec![9 << 3 | 5, 0, 0, 0, 0],
        [&[9 << 3 | 3, 9 << 3 | 1], &zero[..]].concat(),
        vec![9 << 3 | 4],
        vec![9 << 3 | 7, 0],
        // Longer than all that there is.
        [&[0x42], &[0xff; 9][..], &[1]].concat(),
        vec![0x42, 0xff, 0xff, 0xff, 0xff, 0x0f],
        // A varint of more than 64 bits before it.
        [&[0x18], &[0xff; 10][..], &[1, 9 << 3 | 1], &zero[..]].concat(),
    ];
    let encoded = numbers.chain(broken).map(|it| STANDARD.encode(it));
    let two_lines = [
        STANDARD.encode(message(0.25)),
        STANDARD.encode(message(0.25)),
    ]
    .join(",");
    let no_base64 = ["", "!", "SQAAAAAAAAAAA", "SQ AA"].map(str::to_owned);
    encoded.chain(no_base64).chain([two_lines]).collect()
}

/// One that is busy would be less so by what it says here, and one that is idle more so.
#[tokio::test]
async fn what_means_nothing_changes_no_choice_and_of_what_means_too_much_nothing_stays() {
    let load = |from: &str| json!({"load": {"from": from, "stale_after": "1h"}, "weight": 1});
    let agents = json!({"one": load("orca"), "two": load("queue_depth")});
    let (mut world, one, two) = world(agents, json!({})).await;
    let asked = async |world: &World, agent: &str| {
        let request = world.get("/ask/x").key("demo-premium");
        let answer = request.header("x-agent", agent).send().await;
        assert_eq!(answer.header("x-demo-agent"), Some(agent));
        for name in [QUEUE_DEPTH, ORCA, ORCA_BINARY] {
            assert!(answer.headers.get(name).is_none(), "{name}");
        }
    };
    let unread = async |world: &World, agent, number: usize| {
        eventually("reports that mean nothing", || async {
            let metrics = world.metrics().await;
            let counted = metrics.sum("waykeeper_load_reports_unread_total", &[("agent", agent)]);
            (counted == number as f64).then_some(())
        })
        .await;
    };
    one.reports(ORCA, "TEXT application_utilization=0.5");
    two.reports(QUEUE_DEPTH, "9");
    asked(&world, "one").await;
    asked(&world, "two").await;
    shows(&world, [("one", 50), ("two", 90)]).await;

    for depth in NO_DEPTHS {
        two.reports(QUEUE_DEPTH, depth);
        asked(&world, "two").await;
    }
    let known = ask(&world, 60).await;
    assert_eq!(of(&known, "two"), 0, "{known:?}");
    unread(&world, "two", NO_DEPTHS.len()).await;

    for text in NO_TEXTS {
        one.reports(ORCA, text);
        asked(&world, "one").await;
    }
    for message in no_messages() {
        one.reports(ORCA_BINARY, &message);
        asked(&world, "one").await;
    }
    one.says(|says| says.headers.clear());
    let known = ask(&world, 60).await;
    assert_eq!(of(&known, "two"), 0, "{known:?}");
    unread(&world, "one", NO_TEXTS.len() + no_messages().len()).await;
    shows(&world, [("one", 50), ("two", 90)]).await;

    // What is too much to be believed counts as much, and only until something else is known, or nothing.
    let huge = [
        "TEXT application_utilization=1e9999",
        "JSON {\"cpu_utilization\": 1e300}",
    ];
    for text in huge {
        one.reports(ORCA, text);
        asked(&world, "one").await;
    }
    one.reports(ORCA_BINARY, &STANDARD.encode(message(f64::MAX)));
    asked(&world, "one").await;
    let known = ask(&world, 60).await;
    assert_eq!(of(&known, "one"), 0, "{known:?}");
    world
        .reconfigure(|configuration| {
            for agent in ["one", "two"] {
                configuration["agents"][agent]["load"]["stale_after"] = json!("1s");
            }
        })
        .await;
    // Meanwhile it says in each answer what means nothing, which is nothing new of it.
    one.reports(ORCA, "TEXT application_utilization=NaN");
    two.reports(QUEUE_DEPTH, "9");
    eventually("a share again", || async {
        asked(&world, "one").await;
        let answers = ask(&world, 16).await;
        (of(&answers, "one") > 2).then_some(())
    })
    .await;
}

/// Waits until these agents are known to be so busy, in per cent.
async fn shows(world: &World, all: [(&'static str, u64); 2]) {
    eventually("the metric", || async {
        let metrics = world.metrics().await;
        let percent =
            |agent| metrics.sum("waykeeper_agent_load_percent", &[("agent", agent)]) as u64;
        all.iter()
            .all(|(agent, load)| percent(agent) == *load)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn metrics_that_agents_show_are_looked_at_once_a_second_by_all_workers_together() {
    let load = json!({"load": {"from": "metrics", "host": "gpu:8000"}, "weight": 1});
    let (world, one, two) = world(json!({"one": load, "two": load}), json!({})).await;
    let shown = |waiting: u32| {
        // As long as an engine's metrics are.
        let filler =
            "# HELP vllm:a_histogram of something\nvllm:a_histogram_bucket{le=\"0.5\"} 12.0\n"
                .repeat(1_000);
        format!("{filler}vllm:num_requests_waiting{{engine=\"0\"}} {waiting}.0\n{filler}")
    };
    one.says(|says| says.metrics = shown(0));
    two.says(|says| says.metrics = shown(7));
    eventually("the less busy one", || async {
        let answers = ask(&world, 40).await;
        (of(&answers, "two") == 0).then_some(())
    })
    .await;
    let before = *lock(&one.polled);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let polled = *lock(&one.polled) - before;
    assert!((2..=6).contains(&polled), "{polled}");
    one.says(|says| says.metrics = shown(20));
    eventually("the other one", || async {
        let answers = ask(&world, 40).await;
        (of(&answers, "one") == 0).then_some(())
    })
    .await;
}

/// The question for them begins while the module that asks is at work, and comes by it once more.
#[tokio::test]
async fn metrics_are_shown_also_where_the_module_stands_on_the_agents_side() {
    let (one, two) = (Agent::start("one").await, Agent::start("two").await);
    let agent = json!({"load": {"from": "metrics"}, "rest": {}, "weight": 1});
    let agents = json!({"one": agent, "two": agent});
    let world = World::with(|draft| {
        of_two(draft, &agents, &json!({}), [&one, &two]);
        for agent in ["one", "two"] {
            stand_on_agents_side(draft, agent);
        }
    })
    .await;
    for (busy, idle, name) in [(&one, &two, "one"), (&two, &one, "two")] {
        busy.says(|says| says.metrics = "vllm:num_requests_waiting 9.0\n".to_owned());
        idle.says(|says| says.metrics = "vllm:num_requests_waiting 0.0\n".to_owned());
        eventually("the less busy one", || async {
            let answers = ask(&world, 40).await;
            (of(&answers, name) == 0).then_some(())
        })
        .await;
    }
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("waykeeper_agent_failures_total", &[]), 0.0);
    let unread = metrics.sum("waykeeper_load_reports_unread_total", &[]);
    assert_eq!(unread, 0.0);
}

#[tokio::test]
async fn the_cheapest_has_all_but_what_it_has_no_place_for() {
    let agents = json!({
        "one": {"price": {"input": 0.1, "output": 0.4}, "max_in_flight": 2, "weight": 1},
        "two": {"price": {"input": 3, "output": 15}, "weight": 1},
    });
    let (world, one, _two) = world(agents, json!({"prefer": "cheapest"})).await;
    for _ in 0..20 {
        let answer = world.get("/ask/x").key("demo-premium").send().await;
        assert_eq!(answer.header("x-demo-agent"), Some("one"));
    }
    one.says(|says| says.takes = Duration::from_millis(200));
    let answers = ask(&world, 80).await;
    assert!(
        of(&answers, "one") >= 2 && of(&answers, "two") >= 40,
        "{answers:?}"
    );
}

#[tokio::test]
async fn the_fastest_has_nearly_all_and_the_slow_one_is_tried_again() {
    let agents = json!({"one": {"weight": 1}, "two": {"weight": 1}});
    let (world, one, two) = world(agents, json!({"prefer": "fastest"})).await;
    // So slow that no moment of a busy machine makes the fast one look slower.
    one.says(|says| says.takes = Duration::from_millis(2));
    two.says(|says| says.takes = Duration::from_secs(2));
    ask(&world, 40).await;
    let answers = ask(&world, 400).await;
    assert!(of(&answers, "two") <= 4, "{answers:?}");
    // The fast one has become slow, and the slow one fast.
    one.says(|says| says.takes = Duration::from_secs(3));
    two.says(|says| says.takes = Duration::from_millis(1));
    eventually("the other one", || async {
        let answers = ask(&world, 40).await;
        (of(&answers, "one") <= 2).then_some(())
    })
    .await;
    eventually("the metric", || async {
        let metrics = world.metrics().await;
        let of_one = metrics.sum(
            "waykeeper_first_token_milliseconds",
            &[("route", "ask"), ("agent", "one")],
        );
        (of_one >= 100.0).then_some(())
    })
    .await;
}
