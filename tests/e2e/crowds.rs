//! Thousands that wait for the same thing: all of them get what they deserve at once, and the module survives it. Whatever
//! is done for one of them runs that stream's next callbacks, and these must never lie on top of each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use waykeeper_demo::stack::AUTH_CLUSTER;

use crate::harness::{Arrived, Crowd, Exchange, Puppet, World, allow_connections, eventually, now};

/// So many wait.
const MANY: usize = 5_000;

/// How long the validator may take, and how long those wait that it never answers. Long enough for a crowd to gather on a busy
/// machine.
const VALIDATOR_TIMEOUT: Duration = Duration::from_secs(20);

/// How long after what they waited for the last of them may be answered.
const AT_ONCE: Duration = Duration::from_secs(1);

const VALID: &str = r#"{"client_id":"known"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_that_wait_are_all_answered_with_what_each_deserves() {
    Place::new(1).await.all_crowds(true, None).await;
}

/// Also in time, which on a machine that runs other tests beside it would say nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes two minutes and the whole machine: `make soak` runs it"]
async fn soak_thousands_that_wait_are_answered_at_once_over_each_protocol_and_by_two_workers() {
    for workers in [1, 2] {
        let place = Place::new(workers).await;
        for http2 in [true, false] {
            place.all_crowds(http2, Some(AT_ONCE)).await;
        }
    }
}

/// A gateway with a validator that answers when it is told to.
struct Place {
    world: World,
    validator: Puppet,
    workers: u32,
}

impl Place {
    async fn new(workers: u32) -> Self {
        // A connection for each, on either side of the gateway.
        allow_connections(3 * MANY as u64);
        let validator = Puppet::listen().await;
        let agent = listen("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        let frozen = listen("");
        let silent = listen("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n\n\r\n");
        let world = World::with(|draft| {
            draft.workers(workers);
            for (cluster, endpoints) in [
                (AUTH_CLUSTER, &[validator.address()][..]),
                ("memory", &agent),
                ("tools", &frozen),
                ("rag", &[]),
                ("chat-gpu", &silent),
            ] {
                draft.connect(cluster, endpoints);
                let cluster = draft.cluster(cluster);
                cluster["connect_timeout"] = json!("20s");
                let many = json!({"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000});
                cluster["circuit_breakers"] = json!({"thresholds": [many]});
            }
            let route = draft.setup.bootstrap.route_mut("not-decided");
            let route = route.expect("the route");
            route["route"]["idle_timeout"] = json!("60s");
            let configuration = draft.configuration();
            configuration["clients"]["validator"]["timeout"] =
                json!(format!("{}s", VALIDATOR_TIMEOUT.as_secs()));
            configuration["clients"]["default_plan"] = json!("vast");
            configuration["limits"] = json!([]);
            configuration["plans"] = json!({"vast": {}, "poor": {"requests": "1/day"}});
            configuration["routes"] = json!([
                {"prefix": "/served", "agents": ["memory"]},
                {"prefix": "/frozen", "agents": ["tools"], "protocol": "sse", "idle_timeout": "1s"},
                {"prefix": "/nobody", "agents": ["rag"]},
                {"prefix": "/silent", "agents": ["chat-gpu"], "protocol": "sse", "idle_timeout": "1s"},
                {"prefix": "/other", "agents": ["chat-cpu"]},
            ]);
        })
        .await;
        Self {
            world,
            validator,
            workers,
        }
    }

    /// Every kind of waiting there is, one after the other. `at_once` bounds how long after what it waited for the last
    /// of a crowd is answered, where the answer is the gateway's own.
    async fn all_crowds(&self, http2: bool, at_once: Option<Duration>) {
        let crowd = |path, name: &str, body| Crowd {
            size: MANY,
            http2,
            path,
            key: format!("{name}-{http2}-{}", self.workers),
            body,
        };
        let denied = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

        // A key that proves nobody.
        let unknown = crowd("/served", "unknown", "");
        self.told(&unknown, denied, &[(MANY, 401)], at_once).await;
        // A client whose limit holds one of them.
        let poor = format!(r#"{{"client_id":"poor-{http2}","plan":"poor"}}"#);
        let full = crowd("/served", "full", "");
        let one_passes = [(1, 200), (MANY - 1, 429)];
        self.told(&full, &ok(&poor), &one_passes, at_once).await;
        // All go on, with bodies.
        let posts = crowd("/served", "posts", "{\"model\":\"demo\"}");
        self.told(&posts, &ok(VALID), &[(MANY, 200)], None).await;
        // All go on to an agent that is nowhere.
        let nobody = crowd("/nobody", "nobody", "");
        self.told(&nobody, &ok(VALID), &[(MANY, 503)], at_once)
            .await;
        // All go on to an agent that never begins to answer; a tick ends them.
        let frozen = crowd("/frozen", "frozen", "");
        self.told(&frozen, &ok(VALID), &[(MANY, 504)], None).await;
        // All go on to an agent that falls silent in its answer; a tick cuts them off.
        let silent = crowd("/silent", "silent", "");
        let begun = || {
            self.world
                .gateway()
                .access_log()
                .matches(r#""path":"/silent""#)
                .count()
        };
        let before = begun();
        self.told(&silent, &ok(VALID), &[], None).await;
        eventually("their lines", || async {
            (begun() == before + MANY).then_some(())
        })
        .await;
        // A validator that never answers.
        let hung = self.gather(&crowd("/served", "hung", "")).await;
        let asked = self.questions().await;
        self.check(hung, &[(MANY, 503)]).await;
        drop(asked);
    }

    /// A crowd that waits for the validator's word, and what it then comes to.
    async fn told(
        &self,
        crowd: &Crowd,
        word: &str,
        expected: &[(usize, u16)],
        within: Option<Duration>,
    ) {
        let waiting = self.gather(crowd).await;
        let mut asked = self.questions().await;
        let told = now();
        for question in &mut asked {
            question.write(word).await;
        }
        let last = self.check(waiting, expected).await;
        let took = last.saturating_sub(told);
        eprintln!(
            "{}, HTTP/2 {}: the last answer after {took:?}",
            crowd.key, crowd.http2
        );
        assert!(within.is_none_or(|within| took <= within), "{took:?}");
    }

    /// Lets a crowd come, until all of it waits.
    async fn gather(&self, crowd: &Crowd) -> Arrived {
        let waiting = crowd.send(self.world.address());
        eventually("the crowd", || async {
            let active = "http.gateway.downstream_rq_active";
            let active = self.world.gateway().admin().stat(active).await;
            (active.expect("a number") == MANY as u64).then_some(())
        })
        .await;
        waiting
    }

    /// The question of each worker.
    async fn questions(&self) -> Vec<Exchange> {
        let mut asked = Vec::new();
        for _ in 0..self.workers {
            let mut question = self.validator.accept().await;
            question.read_until("\"}").await;
            asked.push(question);
        }
        asked
    }

    /// Sees that all were answered so, and by a module that has not trapped. When the last one was.
    async fn check(&self, crowd: Arrived, expected: &[(usize, u16)]) -> Duration {
        let outcomes = crowd.outcomes().await;
        let mut statuses = BTreeMap::new();
        for status in outcomes.iter().filter_map(|outcome| outcome.status) {
            *statuses.entry(status).or_insert(0) += 1;
        }
        let expected = expected.iter().map(|&(number, status)| (status, number));
        assert_eq!(statuses, expected.collect::<BTreeMap<_, usize>>());
        let log = self.world.gateway().envoy_log();
        assert!(!log.contains("Uncaught"), "{log}");
        outcomes.iter().map(|it| it.ended).max().unwrap_or_else(now)
    }
}

/// 200 with a body, on a connection that ends with it.
fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// An agent that answers each request so, and leaves its connections open. It has several addresses, since the queue of one
/// is too short for all who come at once.
fn listen(answer: &'static str) -> [SocketAddr; 4] {
    [(); 4].map(|()| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("bind");
        let listener = socket.listen(4096).expect("listen");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer));
            }
        });
        address
    })
}

async fn serve(mut stream: TcpStream, answer: &str) {
    let mut read = Vec::new();
    while matches!(stream.read_buf(&mut read).await, Ok(1..)) {
        if whole(&read) {
            read.clear();
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// Whether a request has come to its end: these have no body, or an object.
fn whole(request: &[u8]) -> bool {
    request.ends_with(b"\r\n\r\n") && !request.starts_with(b"POST")
        || request.ends_with(b"}")
        || request.ends_with(b"}\r\n0\r\n\r\n")
}
