//! The walk of a request through the filter, natively on the simulated host: what the filter itself computes, without
//! Envoy and without what hostcalls cost. A change of a hundred nanoseconds shows here that is lost in the noise of
//! `make bench`. Run by `make bench-walk`.

use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use waykeeper::config;
use waykeeper::host::simulated::{Process, SimulatedHost};
use waykeeper::host::{CalloutAnswer, StreamId};
use waykeeper::lifecycle::{Flow, Gateway};

const STREAM: StreamId = StreamId(1);
const PATH: &str = "/v1/route-137/chat";
const KEY: &str = "key-000000000000000000000000000000000007";

/// Counted for a moment longer than until the next request, and never refused.
const LASTING: &str = "100000000/day";
const BETWEEN_REQUESTS: Duration = Duration::from_micros(800);

const RESPONSE: [(&str, &str); 5] = [
    (":status", "200"),
    ("content-type", "application/json"),
    ("content-length", "11"),
    ("date", "Sat, 21 Nov 2026 12:00:00 GMT"),
    ("x-envoy-upstream-service-time", "12"),
];

/// One worker with a gateway, and requests that all are alike.
struct World {
    process: Process,
    host: Rc<SimulatedHost>,
    gateway: Gateway<SimulatedHost>,
    request: Vec<(&'static str, &'static str)>,
}

impl World {
    fn new(document: &Value, key: Option<&'static str>) -> Self {
        let policy = config::read(document).unwrap_or_else(|faults| panic!("{faults}"));
        let process = Process::default();
        let host = Rc::new(process.worker());
        let (gateway, _) = Gateway::new(Rc::clone(&host), policy).expect("tables");
        let mut world = Self {
            process,
            host,
            gateway,
            request: request(key),
        };
        // The first request asks the validator; what is measured comes after it.
        world.begin();
        if world.headers() == Flow::Hold
            && let [asked] = world.host.sent_callouts().as_slice()
        {
            let answer = CalloutAnswer::Response {
                status: if key == Some(KEY) { 200 } else { 401 },
                body: br#"{"client_id":"client-7","plan":"standard"}"#.to_vec(),
            };
            world.gateway.on_callout(asked.id, &answer);
        }
        world.end();
        world
    }

    /// The host has a request, and some time has passed.
    fn begin(&self) {
        self.process.pass(BETWEEN_REQUESTS);
        self.host.begin(STREAM, &self.request);
    }

    fn headers(&mut self) -> Flow {
        self.gateway
            .on_request_headers(STREAM, &self.host.io(STREAM), true)
    }

    fn end(&mut self) {
        self.gateway.on_end(STREAM);
        self.host.end(STREAM);
    }

    /// Measures from a request's headers to its end; `allowed` says what becomes of it.
    fn measure(mut self, name: &str, allowed: bool, criterion: &mut Criterion) {
        self.begin();
        let refused = {
            self.headers();
            self.host.stream(STREAM).reply.is_some()
        };
        assert_eq!(refused, !allowed, "{name}");
        self.end();

        let host = Rc::clone(&self.host);
        let (process, request) = (self.process.clone(), self.request.clone());
        let mut group = criterion.benchmark_group("walk");
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_batched(
                || {
                    process.pass(BETWEEN_REQUESTS);
                    host.begin(STREAM, &request);
                    host.respond(STREAM, &RESPONSE);
                    host.io(STREAM)
                },
                |io| {
                    black_box(self.gateway.on_request_headers(STREAM, &io, true));
                    self.gateway.on_response_headers(STREAM, &io, false);
                    self.gateway.on_end(STREAM);
                },
                BatchSize::PerIteration,
            );
        });
    }
}

/// The headers that Envoy hands over for an AI client's request.
fn request(key: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
    let mut headers = vec![
        (":authority", "gateway.example"),
        (":path", PATH),
        (":method", "POST"),
        (":scheme", "https"),
        ("user-agent", "OpenAI/Python 3.52.0"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate"),
        ("content-type", "application/json"),
        ("x-stainless-lang", "python"),
        ("x-stainless-os", "Linux"),
        ("x-stainless-package-version", "3.52.0"),
        ("x-stainless-retry-count", "0"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x-envoy-external-address", "192.0.2.1"),
        ("x-request-id", "3f0e8f1c-5a0c-4c64-9f5b-0a6d9b6f3c55"),
    ];
    headers.extend(key.map(|key| ("x-api-key", key)));
    headers
}

/// One limit and one route, as most have it.
fn small(plan: &str) -> Value {
    json!({
        "clients": {
            "key_sources": [{"header": "x-api-key"}, {"header": "authorization", "scheme": "Bearer"}],
            "default_plan": "standard",
            "validator": {
                "cluster": "auth",
                "path": "/validate",
                "timeout": "1s",
                "remember": {"valid": "24h", "invalid": "24h"},
            },
        },
        "plans": {"standard": {"requests": plan}},
        "agents": {"demo": {"cluster": "demo"}},
        "routes": [{"prefix": "/v1", "agents": ["demo"]}],
    })
}

/// Three limits and 200 routes.
fn large() -> Value {
    let mut document = small(LASTING);
    document["limits"] = json!([{"name": "per-address", "each": "address", "requests": LASTING}]);
    document["routes"] = (0..200)
        .map(|number| {
            json!({
                "prefix": format!("/v1/route-{number}"),
                "agents": ["demo"],
                "rate_limit": {"requests": LASTING},
            })
        })
        .collect();
    document
}

fn requests(criterion: &mut Criterion) {
    let world = |document: Value, key| World::new(&document, key);
    world(small(LASTING), Some(KEY)).measure("one limit, one route", true, criterion);
    world(large(), Some(KEY)).measure("three limits, 200 routes", true, criterion);
    world(small(LASTING), None).measure("refused: no key", false, criterion);
    let invalid = Some("bad-000000000000000000000000000000000007");
    world(small(LASTING), invalid).measure("refused: invalid key", false, criterion);
    world(small("1/day"), Some(KEY)).measure("refused: limit reached", false, criterion);
}

fn bodies(criterion: &mut Criterion) {
    let mut document = small(LASTING);
    document["routes"][0]["max_body"] = json!("1GiB");
    let mut world = World::new(&document, Some(KEY));
    world.begin();
    assert_eq!(
        world
            .gateway
            .on_request_headers(STREAM, &world.host.io(STREAM), false),
        Flow::Continue
    );
    let io = world.host.io(STREAM);
    let mut group = criterion.benchmark_group("chunk");
    group.bench_function("of a request", |bencher| {
        // Of no length, so that any number of them is within the limit.
        bencher.iter(|| {
            world
                .gateway
                .on_request_body(black_box(STREAM), &io, black_box(0), false)
        });
    });
    group.bench_function("of a response", |bencher| {
        let io = world.host.io(STREAM);
        bencher.iter(|| {
            world
                .gateway
                .on_response_body(black_box(STREAM), &io, black_box(8), false);
        });
    });
}

criterion_group!(walk, requests, bodies);
criterion_main!(walk);
