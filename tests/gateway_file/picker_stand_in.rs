//! What stands in for an endpoint picker: it speaks `envoy.service.ext_proc.v3` as those of the Gateway API Inference Extension do,
//! whole bodies streamed both ways, and names the endpoint in the header and in the metadata of their protocol.

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

/// What pickers name the endpoint by.
pub(crate) const DESTINATION: &str = "x-gateway-destination-endpoint";

/// What it picks that ends its answer in order, without a word, once the request is whole.
pub(crate) const ENDS: &str = "ends";

/// Headers by name and value.
pub(crate) type Head = Vec<(String, String)>;

pub(crate) struct Picker {
    pub(crate) address: SocketAddr,
    /// Which endpoint it picks; it hears everything and says nothing where that is empty.
    picks: Arc<Mutex<String>>,
    /// The bodies that it was shown.
    pub(crate) bodies: Arc<Mutex<Vec<String>>>,
    /// The headers of the requests that it was shown.
    pub(crate) heads: Arc<Mutex<Vec<Head>>>,
    /// It says nothing while this is false.
    pub(crate) speaks: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Drop for Picker {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

pub(crate) fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Picker {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        Self::on(listener)
    }

    pub(crate) fn on(listener: TcpListener) -> Self {
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
