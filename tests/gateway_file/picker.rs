//! `picker:` of an agent, an endpoint picker of the Gateway API Inference Extension behind the filter: the filter chooses the agent,
//! Envoy's `ext_proc` asks the picker which of that agent's endpoints it is, and `override_host` goes there.
//!
//! The picker here stands in for one: it speaks `envoy.service.ext_proc.v3` as those of the extension do, whole bodies streamed both
//! ways, and names the endpoint in the header and in the metadata of their protocol.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Channel};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::caller::{Answer, Caller};
use crate::eventually;
use crate::gateway::free_address;
use crate::running::Running;
use crate::stand_in::{Came, StandIn, json};

/// What pickers name the endpoint by.
const DESTINATION: &str = "x-gateway-destination-endpoint";

/// What it picks that ends its answer in order, without a word, once the request is whole.
const ENDS: &str = "ends";

/// Headers by name and value.
type Head = Vec<(String, String)>;

pub(crate) struct Picker {
    pub(crate) address: SocketAddr,
    /// Which endpoint it picks; it hears everything and says nothing where that is empty.
    picks: Arc<Mutex<String>>,
    /// The bodies that it was shown.
    bodies: Arc<Mutex<Vec<String>>>,
    /// The headers of the requests that it was shown.
    heads: Arc<Mutex<Vec<Head>>>,
    /// It says nothing while this is false.
    speaks: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Drop for Picker {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Picker {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        Self::on(listener)
    }

    fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("an address");
        let picks: Arc<Mutex<String>> = Arc::default();
        let bodies: Arc<Mutex<Vec<String>>> = Arc::default();
        let heads: Arc<Mutex<Vec<Head>>> = Arc::default();
        let (speaks, may_speak) = watch::channel(true);
        let (pick, seen, read) = (Arc::clone(&picks), Arc::clone(&bodies), Arc::clone(&heads));
        let accepting = tokio::spawn(async move {
            // They end with the accepting.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (pick, seen, read) = (Arc::clone(&pick), Arc::clone(&seen), Arc::clone(&read));
                let may_speak = may_speak.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answers, body) = Channel::<Bytes, std::convert::Infallible>::new(16);
                    tokio::spawn(answer(
                        request.into_body(),
                        answers,
                        Arc::clone(&pick),
                        Arc::clone(&seen),
                        Arc::clone(&read),
                        may_speak.clone(),
                    ));
                    let response = Response::builder()
                        .header("content-type", "application/grpc")
                        .body(body)
                        .expect("a response");
                    async move { Ok::<_, std::convert::Infallible>(response) }
                });
                let serving = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                connections.spawn(serving);
            }
        });
        Self {
            address,
            picks,
            bodies,
            heads,
            speaks,
            accepting,
        }
    }

    /// Picks this endpoint from now on.
    pub(crate) fn picks(&self, endpoint: &str) {
        endpoint.clone_into(&mut lock(&self.picks));
    }
}

/// Answers the messages of one stream: nothing until the request is whole, then the endpoint, and the body as it came.
async fn answer(
    mut asked: Incoming,
    mut answers: http_body_util::channel::Sender<Bytes>,
    picks: Arc<Mutex<String>>,
    bodies: Arc<Mutex<Vec<String>>>,
    heads: Arc<Mutex<Vec<Head>>>,
    mut may_speak: watch::Receiver<bool>,
) {
    let (mut came, mut body) = (BytesMut::new(), Vec::new());
    'asked: while let Some(Ok(frame)) = asked.frame().await {
        if let Some(data) = frame.data_ref() {
            came.extend_from_slice(data);
        }
        while came.len() >= 5 && came.len() >= 5 + (&came[1..5]).get_u32() as usize {
            let length = (&came[1..5]).get_u32() as usize;
            let message = came.split_to(5 + length).split_off(5).freeze();
            for (number, field) in fields(&message) {
                let inner: HashMap<u32, Bytes> = fields(&field).into_iter().collect();
                let ends = |number: u32| inner.get(&number).is_some_and(|it| it.as_ref() == [1]);
                // HttpHeaders.headers: a HeaderMap.
                if number == 2
                    && let Some(map) = inner.get(&1)
                {
                    lock(&heads).push(headers(map));
                }
                if lock(&picks).is_empty() {
                    continue;
                }
                // Whoever keeps it silent may have gone.
                let _ = may_speak.wait_for(|it| *it).await;
                if *lock(&picks) == ENDS {
                    if (number == 2 && ends(3)) || (number == 4 && ends(2)) {
                        break 'asked;
                    }
                    continue;
                }
                match number {
                    // HttpHeaders; 3 is end_of_stream.
                    2 if ends(3) => {
                        let pick = lock(&picks).clone();
                        send(&mut answers, picked(&pick)).await;
                    }
                    // HttpBody: body, end_of_stream.
                    4 => {
                        body.extend_from_slice(inner.get(&1).map_or(&b""[..], |it| it));
                        if ends(2) {
                            lock(&bodies).push(String::from_utf8_lossy(&body).into_owned());
                            let pick = lock(&picks).clone();
                            send(&mut answers, picked(&pick)).await;
                            // ProcessingResponse.request_body, response, body_mutation, streamed_response.
                            let streamed = [length_of(1, &body), vec![0x10, 1]].concat();
                            let mutation = length_of(3, &streamed);
                            send(
                                &mut answers,
                                length_of(3, &length_of(1, &length_of(3, &mutation))),
                            )
                            .await;
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    let _ = answers.send_trailers(trailers).await;
}

async fn send(answers: &mut http_body_util::channel::Sender<Bytes>, message: Vec<u8>) {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("short"));
    frame.put_slice(&message);
    let _ = answers.send_data(frame.freeze()).await;
}

/// The answer to a request's headers: this endpoint, in the header and the metadata.
fn picked(endpoint: &str) -> Vec<u8> {
    let value = [
        length_of(1, DESTINATION.as_bytes()),
        length_of(3, endpoint.as_bytes()),
    ]
    .concat();
    // HeaderValueOption.header, in HeaderMutation.set_headers, in CommonResponse.header_mutation.
    let common = length_of(2, &length_of(1, &length_of(1, &value)));
    let headers = length_of(1, &length_of(1, &common));
    // A Struct: {"envoy.lb": {DESTINATION: endpoint}}.
    let entry = |name: &str, value: &[u8]| {
        length_of(
            1,
            &[length_of(1, name.as_bytes()), length_of(2, value)].concat(),
        )
    };
    let inner = entry(DESTINATION, &length_of(3, endpoint.as_bytes()));
    let metadata = entry("envoy.lb", &length_of(5, &inner));
    [headers, length_of(8, &metadata)].concat()
}

/// A field of a message that has a length.
fn length_of(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        field.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    field.push(u8::try_from(length).expect("seven bits"));
    [&field, bytes].concat()
}

/// What a HeaderMap holds: each header has its name first, and its value third, as bytes.
fn headers(map: &Bytes) -> Head {
    let text = |it: Option<&Bytes>| {
        it.map_or_else(String::new, |it| String::from_utf8_lossy(it).into_owned())
    };
    let all = fields(map).into_iter().map(|(_, header)| {
        let parts: HashMap<u32, Bytes> = fields(&header).into_iter().collect();
        (text(parts.get(&1)), text(parts.get(&3)))
    });
    all.collect()
}

/// The fields of a message, numbers as one byte.
fn fields(message: &Bytes) -> Vec<(u32, Bytes)> {
    let mut rest = message.clone();
    let mut all = Vec::new();
    let varint = |rest: &mut Bytes| {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = rest.get_u8();
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    };
    while rest.has_remaining() {
        let tag = varint(&mut rest);
        let number = u32::try_from(tag >> 3).expect("a number");
        let field = match tag & 7 {
            0 => Bytes::from(vec![varint(&mut rest) as u8]),
            1 => rest.split_to(8),
            5 => rest.split_to(4),
            _ => {
                let length = usize::try_from(varint(&mut rest)).expect("a length");
                rest.split_to(length)
            }
        };
        all.push((number, field));
    }
    all
}

/// An engine that says who it is, and which endpoint it was told that it is.
async fn engine(name: &'static str) -> StandIn {
    StandIn::start(move |came: &Came| {
        let told = came.header(DESTINATION).unwrap_or("-");
        json(
            200,
            &format!(
                "{name} {told} {}",
                came.header("x-prefiller-host-port").unwrap_or("-")
            ),
        )
    })
    .await
}

async fn ask(caller: &Caller, path: &str, body: &str) -> Answer {
    // What a caller says of it counts nothing, for the picker neither.
    let headers = [
        (DESTINATION, "127.0.0.1:1"),
        ("x-gateway-destination-endpoint-subset", "127.0.0.1:1"),
        ("x-prefiller-host-port", "127.0.0.1:1"),
    ];
    caller.post(path, &headers, body).await
}

/// How many listeners were replaced.
async fn replaced(running: &Running) -> u64 {
    running.stat("listener_manager\\.listener_modified").await
}

#[tokio::test]
async fn a_picker_says_which_endpoint_of_its_agent_answers_while_agents_change() {
    let directory = tempfile::tempdir().expect("a directory");
    let picker = Picker::start().await;
    let [one, two, three, shadow] = [
        engine("one").await,
        engine("two").await,
        engine("three").await,
        engine("shadow").await,
    ];
    let listen = free_address();
    let text = |pool: &str, more: &str| {
        format!(
            "
listen: [{{address: '{listen}'}}]
agents:
  pool.1: {{endpoints: ['http://{}', 'http://{}'{more}]{pool}}}
  other: {{url: 'http://{}'}}
  shadow: {{url: 'http://{}'}}
routes:
  - {{prefix: /pool, agents: [pool.1], auth_required: false}}
  - {{prefix: /stream, agents: [pool.1], streams: true, auth_required: false}}
  - {{prefix: /heard, agents: [pool.1], mirror: {{agent: shadow}}, auth_required: false}}
  - {{prefix: /else, agents: [other], auth_required: false}}
",
            one.address, two.address, three.address, shadow.address
        )
    };
    // It begins without one.
    let mut running = Running::start(directory.path(), &text("", ""), &[]).await;
    let caller = Caller::of(listen);
    assert_eq!(ask(&caller, "/pool/x", "{}").await.status, 200);
    let pool = format!(
        ", picker: {{url: 'http://{}', timeout: 2s}}",
        picker.address
    );
    running.change(&text(&pool, "")).await;
    assert_eq!(replaced(&running).await, 0, "the listener is as it was");

    for engine in [&one, &two] {
        engine.came();
    }
    let mut shown = 0;
    for path in ["/pool/x", "/stream/x", "/heard/x"] {
        for (name, engine) in [("two", &two), ("one", &one), ("two", &two), ("two", &two)] {
            let address = engine.address.to_string();
            picker.picks(&address);
            let body = format!("{{\"model\":\"m\",\"number\":{shown}}}");
            let answer = ask(&caller, path, &body).await;
            assert_eq!(
                (answer.status, answer.text()),
                (200, format!("{name} {address} -"))
            );
            shown += 1;
            assert_eq!(lock(&picker.bodies).last(), Some(&body));
            assert_eq!(lock(&picker.bodies).len(), shown);
            let engines = [&one, &two].map(StandIn::came).concat();
            assert_eq!(
                engines.iter().map(|it| &it.body[..]).collect::<Vec<_>>(),
                [body.as_bytes()]
            );
        }
    }
    let heads = lock(&picker.heads).clone();
    for (name, value) in heads.iter().flatten() {
        assert!(value != "127.0.0.1:1", "{name} is a caller's");
    }
    // Those of the mirrored route are heard of beside, whole.
    let heard = || async {
        let heard = shadow.came();
        (!heard.is_empty()).then_some(heard)
    };
    let heard = eventually("the mirror", heard).await;
    assert!(heard[0].body.starts_with(b"{\"model\""), "{heard:?}");
    // Requests without a body, and of other agents, which do not meet it.
    picker.picks(&one.address.to_string());
    let answer = caller.get("/pool/x", &[]).await;
    assert_eq!(answer.text(), format!("one {} -", one.address));
    assert!(
        ask(&caller, "/else/x", "{}")
            .await
            .text()
            .starts_with("three - ")
    );
    assert_eq!(lock(&picker.bodies).len(), shown);

    // The agent is another now, and its cluster has another name: it is still the picker who says.
    running
        .change(&text(&pool, &format!(", 'http://{}'", three.address)))
        .await;
    picker.picks(&three.address.to_string());
    for _ in 0..3 {
        let answer = ask(&caller, "/pool/x", "{}").await;
        assert_eq!(answer.text(), format!("three {} -", three.address));
    }
    // One that is none of the agent's is nobody's: the request is balanced, and goes nowhere else.
    picker.picks(&shadow.address.to_string());
    shadow.came();
    let answer = ask(&caller, "/pool/x", "{}").await;
    assert!(!answer.text().starts_with("shadow"), "{}", answer.text());
    assert_eq!(shadow.came().len(), 0);
    running.change(&text("", "")).await;
    let before = lock(&picker.bodies).len();
    assert_eq!(ask(&caller, "/pool/x", "{}").await.status, 200);
    assert_eq!(lock(&picker.bodies).len(), before, "it is asked no more");
    assert_eq!(replaced(&running).await, 0);
}

#[tokio::test]
async fn without_a_pick_requests_are_refused_or_balanced() {
    let directory = tempfile::tempdir().expect("a directory");
    let picker = Picker::start().await;
    let (one, two) = (engine("one").await, engine("two").await);
    let listen = free_address();
    let endpoints = format!(
        "endpoints: ['http://{}', 'http://{}']",
        one.address, two.address
    );
    let at = format!("url: 'http://{}', timeout: 500ms", picker.address);
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
agents:
  denies: {{{endpoints}, picker: {{{at}}}}}
  balances: {{{endpoints}, balance: round_robin, picker: {{{at}, on_failure: balance}}}}
routes:
  - {{prefix: /denies, agents: [denies], auth_required: false}}
  - {{prefix: /balances, agents: [balances], auth_required: false}}
"
    );
    let _running = Running::start(directory.path(), &text, &[]).await;
    let caller = Caller::of(listen);
    // It hears and says nothing. What has gone to it of a body is with it, and cannot go anywhere else.
    for (path, status) in [("/denies/x", 503), ("/balances/x", 503)] {
        let begun = std::time::Instant::now();
        let answer = ask(&caller, path, "{}").await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.header("retry-after").is_some());
        assert!(
            begun.elapsed() >= std::time::Duration::from_millis(400),
            "{path}"
        );
    }
    assert_eq!(caller.get("/denies/x", &[]).await.status, 503);
    assert_eq!(caller.get("/balances/x", &[]).await.status, 200);

    // It has nothing to say: to Envoy that is its consent, to whom it denies it is none.
    picker.picks(ENDS);
    for engine in [&one, &two] {
        engine.came();
    }
    for answer in [
        ask(&caller, "/denies/x", "{}").await,
        caller.get("/denies/x", &[]).await,
    ] {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!([&one, &two].map(|it| it.came().len()), [0, 0]);
    assert_eq!(caller.get("/balances/x", &[]).await.status, 200);

    // Once Envoy knows that it is gone, nothing is asked of it, and bodies are still whole.
    let address = picker.address;
    drop(picker);
    let balanced = || async {
        let answer = ask(&caller, "/balances/x", "{}").await;
        (answer.status == 200).then_some(answer)
    };
    eventually("requests are balanced", balanced).await;
    for engine in [&one, &two] {
        engine.came();
    }
    for _ in 0..4 {
        assert_eq!(ask(&caller, "/balances/x", "a body").await.status, 200);
    }
    for engine in [&one, &two] {
        let came = engine.came();
        assert_eq!(
            came.iter().map(|it| &it.body[..]).collect::<Vec<_>>(),
            [b"a body", b"a body"]
        );
    }
    assert_eq!(ask(&caller, "/denies/x", "{}").await.status, 503);

    // It is back.
    let listener = TcpListener::bind(address).await.expect("its address");
    let picker = Picker::on(listener);
    picker.picks(&two.address.to_string());
    let picked = || async {
        let answer = ask(&caller, "/denies/x", "{}").await;
        answer.text().starts_with("two ").then_some(())
    };
    eventually("it is asked again", picked).await;
}

/// An answer may take longer than the picker may.
#[tokio::test]
async fn an_answer_that_takes_long_is_not_cut_by_the_pickers_timeout() {
    let directory = tempfile::tempdir().expect("a directory");
    let picker = Picker::start().await;
    let slow = crate::gateway::agent("slow").await;
    let listen = free_address();
    let text = format!(
        "
listen: [{{address: '{listen}'}}]
agents: {{pool: {{url: 'http://{}', picker: {{url: 'http://{}', timeout: 2s}}}}}}
routes: [{{prefix: /, agents: [pool], auth_required: false}}]
",
        slow.address(),
        picker.address
    );
    let _running = Running::start(directory.path(), &text, &[]).await;
    picker.picks(&slow.address().to_string());
    let caller = Caller::of(listen);
    for delay in [("x-demo-delay", "4s"), ("x-demo-interval", "1s")] {
        let headers = [delay, ("x-demo-events", "5")];
        let answer = caller
            .post("/api/v1/chat/stream", &headers, "{\"messages\":[]}")
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("[DONE]"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_change_loses_no_request_that_a_picker_has_been_asked_about() {
    let directory = tempfile::tempdir().expect("a directory");
    let (former, other) = (Picker::start().await, Picker::start().await);
    let [one, two] = [engine("one").await, engine("two").await];
    let listen = free_address();
    let text = |picker: &Picker, engines: &[&StandIn]| {
        let endpoints = engines.iter().map(|it| format!("'http://{}'", it.address));
        let endpoints: Vec<String> = endpoints.collect();
        format!(
            "
listen: [{{address: '{listen}'}}]
agents: {{pool: {{endpoints: [{}], picker: {{url: 'http://{}', timeout: 1m}}}}}}
routes: [{{prefix: /, agents: [pool], auth_required: false}}]
",
            endpoints.join(", "),
            picker.address
        )
    };
    let both = [&one, &two];
    let mut running = Running::start(directory.path(), &text(&former, &both), &[]).await;
    let caller = Caller::of(listen);
    for picker in [&former, &other] {
        picker.picks(&one.address.to_string());
    }
    let goes_on = async |picker: &Picker, asking: JoinHandle<Answer>| {
        picker.speaks.send_replace(true);
        let answer = asking.await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().starts_with("one "), "{}", answer.text());
    };

    // Another picker is asked now; this one goes on with what it was asked.
    let asked = asking(&caller, &former).await;
    running.change(&text(&other, &both)).await;
    let seen = lock(&former.heads).len();
    assert_eq!(ask(&caller, "/x", "{}").await.status, 200);
    assert_eq!(
        (lock(&former.heads).len(), lock(&other.heads).len()),
        (seen, 1)
    );
    goes_on(&former, asked).await;

    // The agent is another, and for longer than anything waits that no picker is asked about.
    let asked = asking(&caller, &other).await;
    running.change(&text(&other, &[&one])).await;
    tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    goes_on(&other, asked).await;
}

/// A request about which the picker has been asked, and says nothing yet.
async fn asking(caller: &Caller, picker: &Picker) -> JoinHandle<Answer> {
    picker.speaks.send_replace(false);
    let before = lock(&picker.heads).len();
    let caller = caller.clone();
    let asking = tokio::spawn(async move { ask(&caller, "/x", "{}").await });
    eventually("the question", || async {
        (lock(&picker.heads).len() > before).then_some(())
    })
    .await;
    asking
}
