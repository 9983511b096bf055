//! Keys: one that is put into a request where a source knows it, in any way in which that source knows it, is found there, and
//! survives nowhere: not in what goes on, nor in an answer, a log line or a debug print.
//!
//! An input is a list of choices: which sources there are, which key, what kind of request; then for each place where
//! the key stands its source, its spelling and what stands beside it. What stands beside it may be any bytes, but
//! does not hold the key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use waykeeper::host::{CalloutAnswer, LocalReply, StreamId};

use crate::host::Headers;
use crate::input::Input;
use crate::journal;
use crate::spelling::{contains, holds};
use crate::worker::{Outcome, Worker, World, header, headers, policy};

const STREAM: StreamId = StreamId(1);
const MOST_PLACES: usize = 6;

/// The second is no token, so it stands in no subprotocol but in base64url.
const KEYS: [&str; 2] = ["mK7.q~Z-marker_9", "sk-A/b+c=d:mark!9"];

/// What may stand beside a key and is none.
const NEIGHBOURS: [&str; 5] = [
    "Basic Zm9vOmJhcg==",
    "Digest username=\"a, b\", realm=\"c\"",
    "Negotiate YWJj==",
    "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;x, Signature=0f",
    "Basic =",
];

/// A place where keys may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Header(&'static str),
    Scheme(&'static str, &'static str),
    Query(&'static str, bool),
    Protocol(&'static str),
}

const SOURCES: [&[Source]; 6] = [
    &[
        Source::Header("x-api-key"),
        Source::Scheme("authorization", "Bearer"),
        Source::Query("api_key", false),
        Source::Protocol("waykeeper.key."),
    ],
    &[Source::Scheme("authorization", "Bearer")],
    &[
        Source::Scheme("authorization", "Token"),
        Source::Scheme("authorization", "Bearer"),
    ],
    &[Source::Query("key", true), Source::Scheme("x-key", "Key")],
    &[Source::Header("authorization")],
    &[
        Source::Protocol("k."),
        Source::Protocol("other.key."),
        Source::Header("x-key"),
    ],
];

/// A request under way of being written.
#[derive(Debug)]
struct Draft {
    sources: &'static [Source],
    key: &'static str,
    handshake: bool,
    path: &'static str,
    lines: Vec<(&'static str, Vec<u8>)>,
    parameters: Vec<Vec<u8>>,
    protocols: Vec<Vec<u8>>,
    /// The key stands somewhere where this request may present it.
    presented: bool,
    /// Nothing beside the key could be taken for a part of it or for another key.
    harmless: bool,
    /// All that is not the key.
    noise: Vec<u8>,
}

/// Runs one input.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let draft = Draft::new(&mut Input::new(data));
    let key = draft.key.as_bytes();
    if holds(&draft.noise, key) {
        return;
    }
    journal::listen();
    let mut worker = World::new().worker(&policy(&document(draft.sources)));
    let outcome = worker.request(STREAM, draft.request(), true);
    let callouts = worker.callouts();
    let asked: Vec<_> = callouts.iter().map(|callout| callout.body()).collect();
    let question = json!({ "api_key": draft.key }).to_string();
    let check_all = |worker: &Worker, when: &str| {
        let seen = worker.host.seen(STREAM);
        for (name, value) in seen.request.iter().chain(&seen.trailers) {
            assert!(
                !holds(name, key) && !holds(value, key),
                "{when}, {} goes on with the key: {draft:#?}",
                String::from_utf8_lossy(name)
            );
        }
        assert_eq!(
            header(&seen.request, "x-other"),
            Some(&b"untouched"[..]),
            "{draft:#?}"
        );
        for reply in &seen.replies {
            assert!(
                !tells(reply, key),
                "{when}, the answer tells the key: {draft:#?}"
            );
        }
        assert!(
            !holds(journal::lines().as_bytes(), key),
            "{when}, the key is logged: {draft:#?}"
        );
        assert!(
            !shows(&format!("{:?}", worker.gateway), key),
            "{when}, a debug print shows the key: {draft:#?}"
        );
    };
    check_all(&worker, "before the validator answered");
    if draft.presented && draft.harmless && draft.path != "/nowhere" {
        assert_eq!(outcome, Outcome::Waits, "the key is not found: {draft:#?}");
        assert_eq!(
            asked,
            [question.as_bytes()],
            "another key is found: {draft:#?}"
        );
    }
    // What headers hold may come in trailers too, and agents merge both.
    worker.host.trail(STREAM, draft.trailers());
    let io = worker.host.io(STREAM);
    let _ = worker.gateway.on_request_trailers(STREAM, &io);
    check_all(&worker, "after the trailers came");
    for callout in callouts {
        for (name, value) in callout.headers() {
            assert!(
                !holds(value.as_bytes(), key),
                "the validator is told the key in {name}: {draft:#?}"
            );
        }
        let body = br#"{"client_id":"acme"}"#.to_vec();
        worker.answer(callout.id, &CalloutAnswer::Response { status: 200, body });
        check_all(&worker, "after the validator answered");
    }
}

fn document(sources: &[Source]) -> Value {
    let sources: Vec<_> = sources
        .iter()
        .map(|source| match source {
            Source::Header(name) => json!({ "header": name }),
            Source::Scheme(name, scheme) => json!({ "header": name, "scheme": scheme }),
            Source::Query(name, any_request) => {
                json!({ "query": name, "any_request": any_request })
            }
            Source::Protocol(prefix) => json!({ "websocket_protocol": prefix }),
        })
        .collect();
    json!({
        "clients": { "key_sources": sources, "validator": { "cluster": "auth", "path": "/validate" } },
        "agents": { "a": { "cluster": "a" } },
        "routes": [
            { "prefix": "/open", "agents": ["a"], "auth_required": false },
            { "prefix": "/closed", "agents": ["a"] },
            { "prefix": "/ws", "agents": ["a"], "protocol": "websocket" },
        ],
        "tables": { "keys": 1024, "counters": 1024 },
    })
}

fn tells(reply: &LocalReply, key: &[u8]) -> bool {
    holds(&reply.body, key)
        || holds(reply.details.as_bytes(), key)
        || reply
            .headers
            .iter()
            .any(|(_, value)| holds(value.as_bytes(), key))
}

/// Whether a debug print shows a key, as text or as the numbers of its bytes.
fn shows(print: &str, key: &[u8]) -> bool {
    let numbers = format!("{key:?}");
    let numbers = numbers.trim_matches(['[', ']']);
    contains(print.as_bytes(), key) || print.contains(numbers)
}

// === writing the request ===

impl Draft {
    fn new(input: &mut Input<'_>) -> Self {
        let sources = *input.one_of(&SOURCES);
        let key = *input.one_of(&KEYS);
        let handshake = input.flag();
        let path = match (handshake, input.below(4)) {
            (_, 3) => "/nowhere",
            (true, _) => "/ws",
            (false, 0) => "/open",
            (false, _) => "/closed",
        };
        let mut draft = Self {
            sources,
            key,
            handshake,
            path,
            lines: Vec::new(),
            parameters: Vec::new(),
            protocols: Vec::new(),
            presented: false,
            harmless: true,
            noise: Vec::new(),
        };
        for _ in 0..MOST_PLACES {
            if input.is_empty() {
                break;
            }
            draft.place(input);
        }
        draft
    }

    /// Puts the key somewhere, and something beside it.
    fn place(&mut self, input: &mut Input<'_>) {
        let key = self.key.as_bytes();
        match *input.one_of(self.sources) {
            Source::Header(name) => {
                // Equal parts between commas are one key.
                let value = [key, b", ", key, b",", key];
                let parts = *input.one_of(&[1, 1, 3, 5]);
                self.lines.push((name, value[..parts].concat()));
                self.presented = true;
            }
            Source::Scheme(name, scheme) => {
                let comma = *input.one_of(&[", ", ",", " , ", ",\t"]);
                let mut value = Vec::new();
                if let Some(neighbour) = self.neighbour(input) {
                    value.extend(neighbour);
                    value.extend(comma.as_bytes());
                }
                value.extend(cased(scheme, input.byte()));
                value.extend(input.one_of(&[" ", "  ", "\t", " \t"]).as_bytes());
                value.extend(key);
                if let Some(neighbour) = self.neighbour(input) {
                    value.extend(comma.as_bytes());
                    value.extend(neighbour);
                }
                self.lines.push((name, value));
                self.presented = true;
            }
            Source::Query(name, any_request) => {
                if let Some(neighbour) = self.parameter(input) {
                    self.parameters.push(neighbour);
                }
                let mut parameter = escaped(name.as_bytes(), input);
                parameter.push(b'=');
                parameter.extend(escaped(key, input));
                self.parameters.push(parameter);
                self.presented |= any_request || self.handshake;
            }
            Source::Protocol(prefix) => {
                if let Some(neighbour) = self.protocol(input) {
                    self.protocols.push(neighbour);
                }
                let plain = input.flag()
                    && key
                        .iter()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte));
                self.protocols.push(if plain {
                    [prefix.as_bytes(), key].concat()
                } else {
                    let stem = prefix.trim_end_matches('.');
                    format!("{stem}64.{}", URL_SAFE_NO_PAD.encode(key)).into_bytes()
                });
                self.presented |= self.handshake;
            }
        }
    }

    fn neighbour(&mut self, input: &mut Input<'_>) -> Option<Vec<u8>> {
        match input.below(8) {
            0..=2 => None,
            choice @ 3..=6 => Some(NEIGHBOURS[choice - 3].as_bytes().to_vec()),
            _ => self.noise(input, |byte| {
                byte == b'\t' || (b' '..=b'~').contains(&byte) || byte >= 0x80
            }),
        }
    }

    fn parameter(&mut self, input: &mut Input<'_>) -> Option<Vec<u8>> {
        match input.below(4) {
            0 | 1 => None,
            2 => Some(b"a=1".to_vec()),
            _ => self.noise(input, |byte| byte.is_ascii_graphic() && byte != b'#'),
        }
    }

    fn protocol(&mut self, input: &mut Input<'_>) -> Option<Vec<u8>> {
        match input.below(4) {
            0 | 1 => None,
            2 => Some(b"chat".to_vec()),
            _ => self.noise(input, |byte| (b' '..=b'~').contains(&byte)),
        }
    }

    /// Any bytes that may stand there.
    fn noise(&mut self, input: &mut Input<'_>, may_stand: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
        let noise: Vec<u8> = input
            .piece(24)
            .iter()
            .copied()
            .filter(|byte| may_stand(*byte))
            .collect();
        self.harmless = false;
        self.noise.extend(&noise);
        self.noise.push(b'\n');
        Some(noise)
    }

    fn trailers(&self) -> Headers {
        let owned = |(name, value): &(&str, Vec<u8>)| (name.as_bytes().to_vec(), value.clone());
        self.lines.iter().map(owned).collect()
    }

    /// The headers as Envoy hands them over: repeated lines of `authorization` are joined.
    fn request(&self) -> Headers {
        let path = match self.parameters.as_slice() {
            [] => self.path.as_bytes().to_vec(),
            parameters => [self.path.as_bytes(), &parameters.join(&b'&')].join(&b'?'),
        };
        let mut request = headers(&[
            (":method", "GET"),
            ("x-request-id", "id"),
            ("x-other", "untouched"),
        ]);
        request.push((b":path".to_vec(), path));
        if self.handshake {
            request.extend(headers(&[
                ("upgrade", "websocket"),
                ("connection", "upgrade"),
            ]));
        }
        for (name, value) in &self.lines {
            let joined = request
                .iter_mut()
                .find(|(other, _)| *name == "authorization" && other == name.as_bytes());
            match joined {
                Some((_, before)) => *before = [before, value.as_slice()].join(&b','),
                None => request.push((name.as_bytes().to_vec(), value.clone())),
            }
        }
        if !self.protocols.is_empty() {
            request.push((
                b"sec-websocket-protocol".to_vec(),
                self.protocols.join(&b", "[..]),
            ));
        }
        request
    }
}

/// The text with those letters in upper case that a bit is set for.
fn cased(text: &str, bits: u8) -> Vec<u8> {
    let letter = |(index, byte): (usize, u8)| match bits >> (index % 8) & 1 {
        1 => byte.to_ascii_uppercase(),
        _ => byte.to_ascii_lowercase(),
    };
    text.bytes().enumerate().map(letter).collect()
}

/// The text with those bytes escaped that a choice is made for.
fn escaped(text: &[u8], input: &mut Input<'_>) -> Vec<u8> {
    let mut escaped = Vec::new();
    let bits = u16::from_le_bytes([input.byte(), input.byte()]);
    let upper = input.flag();
    for (index, byte) in text.iter().enumerate() {
        match (bits >> (index % 16) & 1, upper) {
            (0, _) => escaped.push(*byte),
            (_, false) => escaped.extend(format!("%{byte:02x}").into_bytes()),
            (_, true) => escaped.extend(format!("%{byte:02X}").into_bytes()),
        }
    }
    escaped
}
