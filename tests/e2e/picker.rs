//! An endpoint picker of the Gateway API Inference Extension behind the filter: the filter chooses the agent, Envoy's `ext_proc` asks
//! the picker which of that agent's endpoints it is, and `override_host` goes there.
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
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::harness::{Puppet, World};

/// What pickers name the endpoint by.
const DESTINATION: &str = "x-gateway-destination-endpoint";

struct Picker {
    address: SocketAddr,
    /// Which endpoint it picks.
    picks: Arc<Mutex<String>>,
    /// The bodies that it was shown.
    bodies: Arc<Mutex<Vec<String>>>,
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
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let picks: Arc<Mutex<String>> = Arc::default();
        let bodies: Arc<Mutex<Vec<String>>> = Arc::default();
        let (pick, seen) = (Arc::clone(&picks), Arc::clone(&bodies));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (pick, seen) = (Arc::clone(&pick), Arc::clone(&seen));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answers, body) = Channel::<Bytes, std::convert::Infallible>::new(16);
                    tokio::spawn(answer(
                        request.into_body(),
                        answers,
                        Arc::clone(&pick),
                        Arc::clone(&seen),
                    ));
                    let response = Response::builder()
                        .header("content-type", "application/grpc")
                        .body(body)
                        .expect("a response");
                    async move { Ok::<_, std::convert::Infallible>(response) }
                });
                let serving = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
        Self {
            address,
            picks,
            bodies,
            accepting,
        }
    }
}

/// Answers the messages of one stream: nothing until the request is whole, then the endpoint, and the body as it came.
async fn answer(
    mut asked: Incoming,
    mut answers: http_body_util::channel::Sender<Bytes>,
    picks: Arc<Mutex<String>>,
    bodies: Arc<Mutex<Vec<String>>>,
) {
    let (mut came, mut body) = (BytesMut::new(), Vec::new());
    while let Some(Ok(frame)) = asked.frame().await {
        if let Some(data) = frame.data_ref() {
            came.extend_from_slice(data);
        }
        while came.len() >= 5 && came.len() >= 5 + (&came[1..5]).get_u32() as usize {
            let length = (&came[1..5]).get_u32() as usize;
            let message = came.split_to(5 + length).split_off(5).freeze();
            for (number, field) in fields(&message) {
                let inner: HashMap<u32, Bytes> = fields(&field).into_iter().collect();
                let ends = |number: u32| inner.get(&number).is_some_and(|it| it.as_ref() == [1]);
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

/// The filter that asks the picker, for requests to this cluster alone.
fn ext_proc(cluster: &str) -> Value {
    json!({
        "name": "picker",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher",
            "extension_config": {
                "name": "picker",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
                    "grpc_service": {"envoy_grpc": {"cluster_name": "picker"}, "timeout": "10s"},
                    "message_timeout": "5s",
                    "processing_mode": {
                        "request_header_mode": "SEND", "request_body_mode": "FULL_DUPLEX_STREAMED", "request_trailer_mode": "SEND",
                        "response_header_mode": "SKIP", "response_body_mode": "NONE", "response_trailer_mode": "SKIP",
                    },
                    "route_cache_action": "RETAIN",
                    "metadata_options": {"receiving_namespaces": {"untyped": ["envoy.lb"]}},
                },
            },
            "xds_matcher": {"matcher_list": {"matchers": [{
                "predicate": {"not_matcher": {"single_predicate": {
                    "input": {
                        "name": "request-headers",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
                            "header_name": "x-waykeeper-cluster",
                        },
                    },
                    "value_match": {"exact": cluster},
                }}},
                "on_match": {"action": {
                    "name": "skip",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter"},
                }},
            }]}},
        },
    })
}

/// The hosts of a cluster as the picker names them, by the metadata alone: a caller may send the header.
fn override_host() -> Value {
    json!({"policies": [{"typed_extension_config": {
        "name": "envoy.load_balancing_policies.override_host",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost",
            "override_host_sources": [{"metadata": {"key": "envoy.lb", "path": [{"key": DESTINATION}]}}],
            "fallback_policy": {"policies": [{"typed_extension_config": {
                "name": "envoy.load_balancing_policies.least_request",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest"},
            }}]},
        },
    }}]})
}

#[tokio::test]
async fn an_endpoint_picker_says_which_endpoint_of_its_agent_answers() {
    let picker = Picker::start().await;
    let (one, two) = (Puppet::listen().await, Puppet::listen().await);
    let world = World::with(|draft| {
        draft.connect("rag", &[one.address(), two.address()]);
        let cluster = draft.configuration()["agents"]["rag"]["cluster"].clone();
        let cluster = cluster.as_str().expect("a name").to_owned();
        draft.cluster("rag")["load_balancing_policy"] = override_host();
        draft.cluster("rag").as_object_mut().expect("fields").remove("lb_policy");
        draft.add_cluster("picker", &[picker.address]);
        let added = draft.cluster("picker");
        added["health_checks"] = json!([]);
        added["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            },
        });
        let filters = draft.connection_manager()["http_filters"].as_array_mut().expect("filters");
        filters.insert(filters.len() - 1, ext_proc(&cluster));
        *draft.routes() = vec![
            json!({"prefix": "/pool", "agents": ["rag"]}),
            json!({"prefix": "/else", "agents": ["memory"]}),
        ];
    })
    .await;

    for (index, agent) in [&two, &one, &two, &two, &one].into_iter().enumerate() {
        *lock(&picker.picks) = agent.address().to_string();
        let body = format!("{{\"model\":\"m\",\"number\":{index}}}");
        let request = world.post("/pool/x").key("demo-premium").body(body.clone());
        // What a caller says of it counts nothing.
        let request = request.header(DESTINATION, one.address().to_string());
        let caller = tokio::spawn(request.send());
        let mut exchange = agent.accept().await;
        let head = exchange.read_until("\r\n\r\n").await;
        assert!(
            head.to_ascii_lowercase()
                .contains(&format!("{DESTINATION}: {}", agent.address())),
            "{head}"
        );
        exchange.read_until(&body).await;
        exchange
            .write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
        assert_eq!(caller.await.expect("a caller").status, 200);
        assert_eq!(lock(&picker.bodies).last(), Some(&body));
    }
    // Requests to other agents are not the picker's.
    let other = world.get("/else/x").key("demo-premium").send().await;
    assert_eq!((other.status, lock(&picker.bodies).len()), (200, 5));
}
