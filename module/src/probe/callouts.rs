//! Callouts that a test asks for.

use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::reply;
use crate::envoy::{Envoy, EnvoyStream};
use waykeeper::host::{
    Callout, CalloutAnswer, CalloutId, CalloutRequest, Host, HostError, StreamId, Timestamp,
};

/// The callouts of one root context.
pub(super) struct Callouts {
    host: Result<Envoy, HostError>,
    under_way: FxHashMap<CalloutId, (StreamId, usize)>,
    waiting: FxHashMap<StreamId, Waiting>,
    /// Answers to callouts of which nobody knows.
    unasked: u64,
}

/// A stream whose callouts are under way.
struct Waiting {
    since: Timestamp,
    /// What came of each, in the order in which they were sent.
    came: Vec<Option<Value>>,
}

/// A callout as a test writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    cluster: String,
    /// Of gRPC: service and method. Without: an HTTP callout.
    grpc: Option<(String, String)>,
    #[serde(default)]
    authority: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    /// In hexadecimal digits.
    #[serde(default)]
    message: String,
    timeout_milliseconds: u64,
}

impl Callouts {
    pub(super) fn new(host: &Envoy) -> Self {
        Self {
            host: host.for_root(),
            under_way: FxHashMap::default(),
            waiting: FxHashMap::default(),
            unasked: 0,
        }
    }

    /// Sends what is asked for. The stream is answered when all that was sent has been.
    pub(super) fn send(&mut self, stream: StreamId, io: &EnvoyStream, asked: &str) {
        let asked: Vec<Asked> = match serde_json::from_str(asked) {
            Ok(asked) => asked,
            Err(error) => return reply(io, 400, error.to_string().into_bytes()),
        };
        let host = match &self.host {
            Ok(host) => host,
            Err(error) => return reply(io, 500, error.to_string().into_bytes()),
        };
        let mut waiting = Waiting {
            since: host.now(),
            came: Vec::new(),
        };
        for (place, asked) in asked.iter().enumerate() {
            waiting.came.push(match asked.send(host) {
                Ok(id) => {
                    self.under_way.insert(id, (stream, place));
                    None
                }
                Err(error) => Some(json!({"refused": error.to_string()})),
            });
        }
        self.waiting.insert(stream, waiting);
        self.answer(stream, io);
    }

    pub(super) fn hear(&mut self, id: CalloutId, answer: &CalloutAnswer) -> bool {
        let Some((stream, place)) = self.under_way.remove(&id) else {
            self.unasked += 1;
            return false;
        };
        let Some(waiting) = self.waiting.get_mut(&stream) else {
            return true;
        };
        let Ok(host) = &self.host else { return true };
        let mut told = tell(answer);
        let took = host.now().since(waiting.since);
        if let Some(told) = told.as_object_mut() {
            told.insert("milliseconds".to_owned(), json!(took.as_millis() as u64));
        }
        if let Some(came) = waiting.came.get_mut(place) {
            *came = Some(told);
        }
        if waiting.is_complete()
            && let Err(error) = host.wake(stream)
        {
            log::error!("{error}");
        }
        true
    }

    /// Answers a stream, if all is there that it waits for. True if it waits.
    pub(super) fn answer(&mut self, stream: StreamId, io: &EnvoyStream) -> bool {
        let Some(waiting) = self.waiting.get(&stream) else {
            return false;
        };
        if waiting.is_complete() {
            let told = json!({"came": waiting.came, "unasked": self.unasked});
            self.waiting.remove(&stream);
            reply(io, 200, told.to_string().into_bytes());
        }
        true
    }

    pub(super) fn forget(&mut self, stream: StreamId) {
        self.waiting.remove(&stream);
    }
}

impl Waiting {
    fn is_complete(&self) -> bool {
        self.came.iter().all(Option::is_some)
    }
}

impl Asked {
    fn send(&self, host: &Envoy) -> Result<CalloutId, HostError> {
        let message = bytes(&self.message);
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        host.call(&Callout {
            cluster: &self.cluster,
            request: match &self.grpc {
                Some((service, method)) => CalloutRequest::Grpc {
                    authority: &self.authority,
                    service,
                    method,
                    metadata: &headers,
                    message: &message,
                },
                None => CalloutRequest::Http {
                    headers: &headers,
                    body: &message,
                },
            },
            timeout: std::time::Duration::from_millis(self.timeout_milliseconds),
        })
    }
}

fn tell(answer: &CalloutAnswer) -> Value {
    match answer {
        CalloutAnswer::Response { status, body } => {
            json!({"response": status, "body": digits(body)})
        }
        CalloutAnswer::Message(message) => json!({"message": digits(message)}),
        CalloutAnswer::Status { status, text } => json!({"status": status, "text": text}),
        CalloutAnswer::Failed => json!({"failed": true}),
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
