//! Requests that are tried at one agent after the other: each as its own, and none twice that should not be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::caller::{Answer, Caller};
use crate::certificates::Authority;
use crate::eventually;
use crate::front::Front;
use crate::gateway::{Around, Gateway, free_address};
use crate::stand_in::{Came, StandIn};

/// The gateway, and what stands in for its agents.
struct Agents {
    gateway: Gateway,
    caller: Caller,
    operations: Caller,
    /// In clear, with a credential and a base; told nothing.
    first: StandIn,
    /// Over TLS, with others; told the client, its own name and the route.
    second: StandIn,
    /// In clear, without any.
    plain: StandIn,
    own_host: String,
    _directory: tempfile::TempDir,
}

/// It answers as its caller wishes: `x-status: NAME=429,NAME=500`.
pub(crate) async fn stand_in(name: &'static str) -> StandIn {
    StandIn::start(move |came: &Came| {
        let wishes = came.header("x-status").unwrap_or_default();
        let mut wishes = wishes.split(',').filter_map(|it| it.split_once('='));
        let status = wishes.find(|(agent, _)| *agent == name);
        let status = status.map_or("200", |(_, status)| status);
        // What is the gateway's to say it says too.
        let mut answer = Response::builder()
            .status(status)
            .header("x-waykeeper-agent", "forged")
            .header("x-envoy-degraded", "true");
        if status == "429" {
            answer = answer.header("retry-after", if name == "first" { "7" } else { "9" });
        }
        answer
            .body(Full::from(Bytes::from(name)))
            .expect("an answer")
    })
    .await
}

/// What takes connections and says nothing.
async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut all = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            all.push(stream);
        }
    });
    address
}

/// What says to a request on each connection whatever `answer` makes of its head, hangs up then, and counts the connections.
async fn curt(
    answer: impl Fn(&str) -> String + Send + 'static,
    lingers: Duration,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address");
    let came = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&came);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let mut piece = [0; 4096];
            let size = stream.read(&mut piece).await.unwrap_or_default();
            let answer = answer(&String::from_utf8_lossy(&piece[..size]));
            let _ = stream.write_all(answer.as_bytes()).await;
            tokio::time::sleep(lingers).await;
        }
    });
    (address, came)
}

/// What begins an answer, and breaks it off.
async fn breaking() -> (SocketAddr, Arc<AtomicUsize>) {
    let begins = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 100\r\n\r\ndata: 1\n\n";
    curt(|_| begins.to_owned(), Duration::from_millis(50)).await
}

/// What says an interim answer at once, and then answers 503 or breaks off, as its caller wishes.
async fn early() -> (SocketAddr, Arc<AtomicUsize>) {
    let answer = |head: &str| {
        let mut answer = match head.contains("x-interim: 103") {
            true => "HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n".to_owned(),
            false => String::new(),
        };
        if head.contains("x-then: 503") {
            answer += "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        }
        answer
    };
    curt(answer, Duration::ZERO).await
}

async fn start(silent: SocketAddr, breaking: SocketAddr, early: SocketAddr) -> Agents {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path(), "authority");
    let (first, second) = (stand_in("first").await, stand_in("second").await);
    let plain = stand_in("plain").await;
    let front = authority.sign("localhost").server(&["http/1.1"]);
    let front = Front::of(second.address, front).await;
    let [listen, operations, nobody, no_one] = [(); 4].map(|()| free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
clients:
  keys: [{{sha256: 'c018c41c1afaf2c0b66c64f97d0ee135657b699ad260f299234cd40a5d625e0e', client_id: me}}]
agents:
  first: {{url: 'http://{first}/deep/v1', sees: [], credential: {{env: OF_FIRST}}}}
  second:
    url: 'https://localhost:{port}/other/v1'
    tls: {{ca: {ca}}}
    credential: {{env: OF_SECOND, header: x-second-key}}
    sees: [client, agent, route]
  plain: {{url: 'http://{plain}', capabilities: [vision]}}
  seeing: {{url: 'http://{nobody}', capabilities: [vision]}}
  dead: {{url: 'http://{nobody}'}}
  gone: {{url: 'http://{no_one}'}}
  silent: {{url: 'http://{silent}'}}
  breaking: {{url: 'http://{breaking}'}}
  early: {{url: 'http://{early}'}}
routes:
  - {{prefix: /busy, prefix_rewrite: /v1, agents: [first], fallback: [second, plain]}}
  - {{prefix: /stream, prefix_rewrite: /v1, agents: [first], fallback: [second], streams: true}}
  - {{prefix: /failing, prefix_rewrite: /v1, agents: [first], fallback: [plain], retry: {{retry_on: [5xx]}}}}
  - {{prefix: /dead, prefix_rewrite: /v1, agents: [dead], fallback: [gone, first]}}
  - {{prefix: /nobody, agents: [dead], fallback: [gone], auth_required: false}}
  - {{prefix: /silent, agents: [silent], fallback: [plain], first_byte_timeout: 1500ms}}
  - {{prefix: /slow, agents: [silent], fallback: [plain], first_byte_timeout: 1500ms, retry: {{retry_on: [slow_first_token]}}}}
  - {{prefix: /breaking, agents: [breaking], fallback: [plain], streams: true, retry: {{retry_on: [5xx]}}}}
  - {{prefix: /early, agents: [early], fallback: [plain]}}
  - {{prefix: /seeing, agents: [seeing, {{agent: plain, weight: 0}}], fallback: []}}
  - {{prefix: /seen, agents: [{{agent: seeing, weight: 1000}}, {{agent: plain, weight: 1}}], fallback: []}}
",
        first = first.address,
        port = front.port(),
        ca = authority.file.display(),
        plain = plain.address,
    );
    let around = Around {
        environment: &[
            ("OF_FIRST", "secret-of-the-first"),
            ("OF_SECOND", "secret-of-the-second"),
        ],
        more_workers: 1,
        ..Around::default()
    };
    let gateway = Gateway::start_with(directory.path(), &text, &around, operations).await;
    Agents {
        gateway,
        caller: Caller::of(listen),
        operations: Caller::of(operations),
        first,
        second,
        plain,
        own_host: format!("localhost:{}", front.port()),
        _directory: directory,
    }
}

const KEY: (&str, &str) = ("x-api-key", "example-key");

impl Agents {
    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: usize,
    ) -> (Answer, [Vec<Came>; 3]) {
        let caller = self.caller.clone().with_body(vec![b'a'; body]);
        let answer = caller.send(method, path, &[&[KEY], headers].concat()).await;
        let came = [&self.first, &self.second, &self.plain].map(StandIn::came);
        (answer.expect("an answer"), came)
    }

    /// Who has answered, and how often each was asked.
    async fn told(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, String, [usize; 3]) {
        let body = if method == "GET" { 0 } else { 1000 };
        let (answer, came) = self.ask(method, path, headers, body).await;
        (answer.status, answer.text(), came.map(|it| it.len()))
    }

    async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let metrics = self.operations.get("/stats/prometheus", &[]).await.text();
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        let has = |line: &&str| line.starts_with(name) && labels.iter().all(|it| line.contains(it));
        let values = metrics
            .lines()
            .filter(has)
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum()
    }
}

#[tokio::test]
async fn a_request_is_tried_at_one_agent_after_the_other() {
    let silent = silent().await;
    let (breaking, broken) = breaking().await;
    let (early, hinted) = early().await;
    let agents = start(silent, breaking, early).await;
    goes_on_when_busy(&agents).await;
    repeats_only_what_may_be(&agents).await;
    goes_on_when_nobody_is_there(&agents).await;
    goes_on_when_the_first_token_is_slow(&agents).await;
    who_can_do_it_comes_next(&agents).await;

    goes_on_only_before_an_interim_answer(&agents, &hinted).await;

    // Its headers came in time: what comes after them is the agent's.
    let answer = agents.caller.send("POST", "/breaking/x", &[KEY]).await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(
        (broken.load(Ordering::Relaxed), agents.plain.came().len()),
        (1, 0)
    );
}

async fn goes_on_when_busy(agents: &Agents) {
    for path in ["/busy", "/stream"] {
        let asks = [("x-status", "first=429"), ("x-envoy-attempt-count", "1")];
        let (answer, [first, second, plain]) = agents
            .ask("POST", &format!("{path}/chat?a=b"), &asks, 300_000)
            .await;
        assert_eq!((answer.status, &*answer.text()), (200, "second"));
        assert_eq!([first.len(), second.len(), plain.len()], [1, 1, 0]);
        let (first, second) = (&first[0], &second[0]);
        assert_eq!(
            [&*first.path, &*second.path],
            ["/deep/v1/chat?a=b", "/other/v1/chat?a=b"]
        );
        assert_eq!(
            (&*second.host, first.host != second.host),
            (&*agents.own_host, true)
        );
        assert_eq!([first.body.len(), second.body.len()], [300_000; 2]);
        let shown =
            [first, second].map(|came| [came.header("authorization"), came.header("x-second-key")]);
        assert_eq!(
            shown,
            [
                [Some("Bearer secret-of-the-first"), None],
                [None, Some("secret-of-the-second")]
            ]
        );
        let told = |came: &Came| {
            ["client", "agent", "route"].map(|name| {
                came.header(&format!("x-waykeeper-{name}"))
                    .map(str::to_owned)
            })
        };
        assert_eq!(told(first), [None, None, None]);
        let route = Some(path.to_owned());
        assert_eq!(
            told(second),
            [Some("me".to_owned()), Some("second".to_owned()), route]
        );
        // Who has answered is known to the caller, to the log and in the metrics.
        let told: Vec<_> = { answer.headers.get_all("x-waykeeper-agent").iter() }.collect();
        assert_eq!(told, ["second"]);
        assert_eq!(answer.header("x-envoy-degraded"), None);
        let logged = agents.gateway.logged(&answer).await;
        assert_eq!(
            (&logged["agent"], &logged["attempts"]),
            (&"second".into(), &2.into())
        );
        assert!(
            logged["noted"]
                .as_str()
                .is_some_and(|noted| noted.contains("\"agent\":\"second\"")),
            "{logged}"
        );
        let labels = [("route", path), ("agent", "second"), ("outcome", "allowed")];
        assert_eq!(agents.metric("waykeeper_requests_total", &labels).await, 1);
        let passed = [("route", path), ("agent", "first")];
        assert_eq!(agents.metric("waykeeper_fallbacks_total", &passed).await, 1);
    }
    // One that is not told a name is not told the one before it either.
    let busy = ("x-status", "first=429,second=429");
    let (answer, [first, second, plain]) = agents.ask("POST", "/busy/chat", &[busy], 10).await;
    assert_eq!((answer.status, &*answer.text()), (200, "plain"));
    assert_eq!([first.len(), second.len(), plain.len()], [1, 1, 1]);
    assert_eq!(plain[0].header("x-waykeeper-agent"), Some("plain"));
    assert_eq!(agents.gateway.logged(&answer).await["attempts"], 3);
    // The last one's word is passed on.
    let all = ("x-status", "first=429,second=429");
    let (answer, [first, second, _]) = agents.ask("POST", "/stream/chat", &[all], 10).await;
    assert_eq!((answer.status, &*answer.text()), (429, "second"));
    assert_eq!(answer.header("retry-after"), Some("9"));
    assert_eq!([first.len(), second.len()], [1, 1]);
    // Who names an agent gets that one.
    let named = [("x-status", "first=429"), ("x-agent", "first")];
    assert_eq!(
        agents.told("POST", "/busy/chat", &named).await,
        (429, "first".to_owned(), [1, 0, 0])
    );
    // Who answers at once is the only one that is asked, and nothing is said of it.
    let (answer, [first, second, _]) = agents.ask("POST", "/busy/chat", &[], 10).await;
    assert_eq!(
        (answer.status, answer.header("x-waykeeper-agent")),
        (200, None)
    );
    assert_eq!(answer.header("x-envoy-degraded"), None);
    assert_eq!([first.len(), second.len()], [1, 0]);
    // Of what is larger than Envoy holds nothing is left to be sent again.
    let (answer, [first, second, _]) = agents
        .ask("POST", "/busy/chat", &[("x-status", "first=429")], 3 << 20)
        .await;
    assert_eq!((answer.status, first.len(), second.len()), (429, 1, 0));
}

async fn repeats_only_what_may_be(agents: &Agents) {
    let broken = [("x-status", "first=500")];
    assert_eq!(
        agents.told("POST", "/busy/x", &broken).await,
        (500, "first".to_owned(), [1, 0, 0])
    );
    assert_eq!(
        agents.told("DELETE", "/busy/x", &broken).await,
        (500, "first".to_owned(), [1, 0, 0])
    );
    assert_eq!(
        agents.told("GET", "/busy/x", &broken).await,
        (200, "second".to_owned(), [1, 1, 0])
    );
    assert_eq!(
        agents.told("POST", "/failing/x", &broken).await,
        (200, "plain".to_owned(), [1, 0, 1])
    );
    let not_found = [("x-status", "first=404")];
    assert_eq!(
        agents.told("GET", "/busy/x", &not_found).await,
        (404, "first".to_owned(), [1, 0, 0])
    );
}

async fn goes_on_when_nobody_is_there(agents: &Agents) {
    let (answer, [first, ..]) = agents.ask("POST", "/dead/x", &[], 300_000).await;
    assert_eq!((answer.status, &*answer.text()), (200, "first"));
    assert_eq!(
        (
            first[0].body.len(),
            first[0].header("x-envoy-attempt-count")
        ),
        (300_000, Some("3"))
    );
    let begun = Instant::now();
    let answer = agents.caller.post("/nobody/x", &[], "a").await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].as_str()),
        (503, Some("agent_unreachable"))
    );
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "at once");
    let labels = [
        ("route", "/nobody"),
        ("agent", "gone"),
        ("outcome", "agent_unreachable"),
    ];
    assert_eq!(agents.metric("waykeeper_requests_total", &labels).await, 1);
}

async fn goes_on_when_the_first_token_is_slow(agents: &Agents) {
    let plain = (200, "plain".to_owned(), [0, 0, 1]);
    assert_eq!(agents.told("GET", "/silent/x", &[]).await, plain);
    let (status, _, came) = agents.told("POST", "/silent/x", &[]).await;
    assert_eq!((status, came), (504, [0, 0, 0]));
    assert_eq!(agents.told("POST", "/slow/x", &[]).await, plain);
}

async fn goes_on_only_before_an_interim_answer(agents: &Agents, hinted: &AtomicUsize) {
    for then in ["503", "broken"] {
        let asks = [("x-then", then)];
        let (status, text, came) = agents.told("GET", "/early/x", &asks).await;
        assert_eq!((status, &*text, came), (200, "plain", [0, 0, 1]), "{then}");
        let asks = [("x-then", then), ("x-interim", "103")];
        let (status, _, came) = agents.told("GET", "/early/x", &asks).await;
        assert_eq!((status, came), (503, [0, 0, 0]), "{then}");
    }
    assert_eq!(hinted.load(Ordering::Relaxed), 4);
}

async fn who_can_do_it_comes_next(agents: &Agents) {
    let asks = [("x-agent-capability", "vision")];
    for _ in 0..20 {
        let (status, text, _) = agents.told("POST", "/seen/x", &asks).await;
        assert_eq!((status, &*text), (200, "plain"));
    }
    // One that is reached by its name alone does not.
    assert_eq!(agents.told("POST", "/seeing/x", &asks).await.0, 503);
}

/// An agent that is killed at once, with all that is under way, and comes again at the same address.
pub(crate) struct Mortal {
    pub(crate) address: SocketAddr,
    pub(crate) alive: Option<JoinHandle<()>>,
}

impl Mortal {
    pub(crate) async fn live(&mut self) {
        let bound = || async { TcpListener::bind(self.address).await.ok() };
        let listener = eventually("the port", bound).await;
        self.address = listener.local_addr().expect("an address");
        self.alive = Some(tokio::spawn(async move {
            // Whoever drops this drops all connections.
            let mut all = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                all.spawn(async move {
                    let mut read = Vec::new();
                    let mut piece = [0; 4096];
                    while let Ok(size @ 1..) = stream.read(&mut piece).await {
                        read.extend_from_slice(&piece[..size]);
                        if read.ends_with(b"\r\n\r\n") {
                            read.clear();
                            tokio::time::sleep(Duration::from_millis(2)).await;
                            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nmortal";
                            if stream.write_all(answer).await.is_err() {
                                break;
                            }
                        }
                    }
                });
            }
        }));
    }

    pub(crate) async fn die(&mut self) {
        let alive = self.alive.take().expect("it lives");
        alive.abort();
        let _ = alive.await;
    }
}

#[tokio::test]
async fn no_request_that_may_be_repeated_is_lost_when_an_agent_is_killed_and_comes_again() {
    let mut mortal = Mortal {
        address: free_address(),
        alive: None,
    };
    mortal.live().await;
    let safe = stand_in("safe").await;
    let directory = tempfile::tempdir().expect("a directory");
    let [listen, operations] = [(); 2].map(|()| free_address());
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
operations: '{operations}'
agents:
  mortal: {{url: 'http://{}'}}
  safe: {{url: 'http://{}'}}
routes:
  - {{prefix: /, agents: [mortal], fallback: [safe], auth_required: false}}
",
        mortal.address, safe.address,
    );
    let around = Around {
        more_workers: 1,
        ..Around::default()
    };
    let _gateway = Gateway::start_with(directory.path(), &text, &around, operations).await;

    let goes_on = Arc::new(AtomicBool::new(true));
    let answers = Arc::new([const { AtomicUsize::new(0) }; 2]);
    let mut callers = JoinSet::new();
    for number in 0..48 {
        let (goes_on, answers, caller) = (
            Arc::clone(&goes_on),
            Arc::clone(&answers),
            Caller::of(listen),
        );
        callers.spawn(async move {
            let mut lost = Vec::new();
            while goes_on.load(Ordering::Relaxed) {
                let path = format!("/{number}");
                match caller.send("GET", &path, &[]).await {
                    Ok(answer) if answer.status == 200 => {
                        let of_safe = usize::from(answer.text() == "safe");
                        answers[of_safe].fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(answer) => lost.push(format!("{} {}", answer.status, answer.text())),
                    Err(error) => lost.push(error.to_string()),
                }
            }
            lost
        });
    }
    let count = |which: usize| answers[which].load(Ordering::Relaxed);
    for _ in 0..6 {
        for which in [0, 1] {
            let before = count(which);
            let more = || async { (count(which) > before + 150).then_some(()) };
            eventually("answers", more).await;
            match which {
                0 => mortal.die().await,
                _ => mortal.live().await,
            }
        }
    }
    goes_on.store(false, Ordering::Relaxed);
    let lost: Vec<String> = callers.join_all().await.into_iter().flatten().collect();
    assert_eq!(lost, [""; 0], "of {} and {}", count(0), count(1));
}
