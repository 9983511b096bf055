//! The whole gateway: any order of callbacks, answers, ticks, faults of the host, ends of streams and reloads. Every
//! request is decided once, nobody gets in who may not, nothing that is undecided goes on, and in the end nobody waits.
//!
//! An input is a list of steps: one byte says which, the next ones what it needs.

mod configurations;
mod promises;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;
use waykeeper::host::simulated::SentCallout;
use waykeeper::host::{CalloutAnswer, StreamId};
use waykeeper::lifecycle::Gateway;

use crate::host::{FuzzHost, OWN, Plan, Trouble};
use crate::input::Input;
use crate::worker::{Outcome, Worker, World, gateway, headers};
use configurations::{COLLECTING, POLICIES};

const MOST_STEPS: usize = 128;
const STREAMS: usize = 12;
/// The validator's timeout, a second more, and a tick that may come at once.
const TICKS_TO_GIVE_UP: usize = 3;

const PATHS: [&str; 10] = [
    "/chat/x",
    "/open",
    "/events",
    "/ws?key=one",
    "/ws",
    "/admin",
    "/nowhere",
    "/chat/../admin",
    "/open?key=one&a=1",
    COLLECTING,
];
/// The last is listed, the first are asked about.
const KEYS: [&str; 4] = ["one", "two", "three", "listed"];
const ANSWERS: [(u16, &str); 6] = [
    (
        200,
        r#"{"client_id":"acme","plan":"standard","roles":["admin"],"ttl":2}"#,
    ),
    (200, r#"{"client_id":"globex","team":"blue"}"#),
    (401, ""),
    (200, "nonsense"),
    (503, "no healthy upstream"),
    (200, r#"{"client_id":"acme","plan":"gold"}"#),
];
/// What agents answer, and what the host does in their place.
const RESPONSES: [&[(&str, &str)]; 6] = [
    &[(":status", "200")],
    &[(":status", "101")],
    &[(":status", "503")],
    &[(":status", "200"), ("content-type", "text/event-stream")],
    &[(":status", "302"), ("location", "/handle/x")],
    &[(":status", "504"), (OWN, "")],
];
/// What a caller writes where only the gateway may.
const SPOOFED: &[u8] = b"cluster-spoofed";
const TROUBLES: [Trouble; 8] = [
    Trouble::Unreadable,
    Trouble::Unchangeable,
    Trouble::Overtaken,
    Trouble::NoHeaders,
    Trouble::NoCallout,
    Trouble::NoAddress,
    Trouble::NoWake,
    Trouble::NoTrailers,
];

/// A stream that lasts.
#[derive(Debug)]
struct Stream {
    /// The configuration that it began under.
    under: usize,
    path: &'static str,
    key: Option<&'static str>,
    /// The headers' callback let it go on.
    continued: bool,
}

struct Run {
    world: World,
    worker: Worker,
    /// Configurations that were replaced, with the streams that began under them.
    replaced: Vec<Gateway<FuzzHost>>,
    streams: BTreeMap<StreamId, Stream>,
    /// Questions under way, and the configuration that each is asked under.
    callouts: Vec<(usize, SentCallout)>,
    /// Keys for which the validator has spoken up.
    valid: BTreeSet<String>,
    began: u32,
    story: String,
}

/// Runs one input.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let mut run = Run::new();
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        run.step(&mut input);
        run.check_all();
        run.bury();
    }
    run.conclude();
}

impl Run {
    fn new() -> Self {
        let world = World::new();
        let worker = POLICIES.with(|policies| world.worker(&policies[0]));
        Self {
            world,
            worker,
            replaced: Vec::new(),
            streams: BTreeMap::new(),
            callouts: Vec::new(),
            valid: BTreeSet::new(),
            began: 0,
            story: String::new(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(13) {
            0 | 1 => self.begin(input),
            2 => self.on_stream(input, |run, id, input| {
                let (size, end) = (usize::from(input.byte()), input.below(4) == 0);
                let io = run.worker.host.io(id);
                let flow = run.of(id).on_request_body(id, &io, size, end);
                run.only_if_forwarded(id, flow, "a body");
            }),
            3 => self.on_stream(input, |run, id, _| {
                let trailers = headers(&[("x-waykeeper-client", "root"), ("a", "1")]);
                run.worker.host.trail(id, trailers);
                let io = run.worker.host.io(id);
                let flow = run.of(id).on_request_trailers(id, &io);
                run.only_if_forwarded(id, flow, "trailers");
            }),
            4 => self.on_stream(input, |run, id, input| {
                let response = *input.one_of(&RESPONSES);
                run.worker.host.respond(id, headers(response));
                let io = run.worker.host.io(id);
                run.of(id).on_response_headers(id, &io, input.below(8) == 7);
            }),
            5 => self.on_stream(input, |run, id, input| {
                let end = input.below(4) == 3;
                let io = run.worker.host.io(id);
                run.of(id).on_response_body(id, &io, 8, end);
            }),
            6 => self.on_stream(input, |run, id, _| {
                run.of(id).on_end(id);
                run.worker.host.end(id);
                run.streams.remove(&id);
            }),
            7 => self.answer(input),
            8 => self.tick(),
            9 => {
                let seconds = *input.one_of(&[1, 2, 11, 301]);
                self.tell(format_args!("{seconds} s pass"));
                self.world.pass(seconds * 1_000_000_000);
            }
            10 => {
                let plan = Plan {
                    trouble: *input.one_of(&TROUBLES),
                    after: input.below(6),
                    times: 1 + input.below(3),
                };
                self.tell(format_args!("{plan:?}"));
                self.worker.host.plan(plan);
            }
            11 => self.reload(input),
            _ => {
                self.give_turn();
            }
        }
    }

    // === steps ===

    fn begin(&mut self, input: &mut Input<'_>) {
        if self.streams.len() >= STREAMS {
            return;
        }
        let path = *input.one_of(&PATHS);
        let key = *input.one_of(&[
            None,
            Some(KEYS[0]),
            Some(KEYS[1]),
            Some(KEYS[2]),
            Some(KEYS[3]),
        ]);
        let bits = input.byte();
        self.began += 1;
        let id = StreamId(self.began);
        let method = if bits & 1 == 0 { "GET" } else { "POST" };
        let mut request = headers(&[(":method", method), (":path", path), ("x-request-id", "id")]);
        let chosen = [
            (2, "x-api-key", key),
            (4, "upgrade", Some("websocket")),
            (8, "content-length", Some("11")),
            (16, "x-waykeeper-cluster", str::from_utf8(SPOOFED).ok()),
            (32, "x-agent", Some("two")),
            (
                64,
                "sec-websocket-protocol",
                Some("chat, waykeeper.key.two"),
            ),
        ];
        for (bit, name, value) in chosen {
            // The key comes unless it is left out.
            if let Some(value) = value.filter(|_| (bits & bit == 0) == (bit == 2)) {
                request.extend(headers(&[(name, value)]));
            }
        }
        self.tell(format_args!(
            "{id:?} begins: {method} {path}, key {key:?}, {bits:08b}"
        ));
        let handshake = bits & 4 != 0;
        let key = key.filter(|_| bits & 2 == 0);
        let key = key
            .or((path.contains("key=one") && handshake).then_some("one"))
            .or((bits & 64 != 0 && handshake).then_some("two"));
        let outcome = self.worker.request(id, request, bits & 128 != 0);
        self.tell(format_args!("{outcome:?}"));
        let stream = Stream {
            under: self.replaced.len(),
            path,
            key,
            continued: outcome == Outcome::Forwarded,
        };
        self.streams.insert(id, stream);
        self.note_callouts();
    }

    fn on_stream(&mut self, input: &mut Input<'_>, what: fn(&mut Self, StreamId, &mut Input<'_>)) {
        let Some(id) = nth(self.streams.keys(), input).copied() else {
            return;
        };
        self.tell(format_args!("{id:?}: {:?}", input.clone().byte()));
        what(self, id, input);
        self.note_callouts();
    }

    fn answer(&mut self, input: &mut Input<'_>) {
        if self.callouts.is_empty() {
            return;
        }
        let (under, callout) = self.callouts.swap_remove(input.below(self.callouts.len()));
        let choice = input.below(ANSWERS.len() + 1);
        self.conclude_callout(under, &callout, ANSWERS.get(choice).copied());
    }

    /// `None`: no answer comes.
    fn conclude_callout(
        &mut self,
        under: usize,
        callout: &SentCallout,
        answer: Option<(u16, &str)>,
    ) {
        let asked: Value = serde_json::from_slice(callout.body()).expect("a question");
        let key = asked["api_key"].as_str().expect("a key");
        self.tell(format_args!("about {key}: {answer:?}"));
        if let Some((200, body)) = answer
            && body.starts_with('{')
        {
            self.valid.insert(key.to_owned());
        }
        let answer = answer.map_or(CalloutAnswer::Failed, |(status, body)| {
            CalloutAnswer::Response {
                status,
                body: body.as_bytes().to_vec(),
            }
        });
        self.under(under).on_callout(callout.id, &answer);
        // A second answer to the same question is nobody's.
        self.under(under).on_callout(callout.id, &answer);
        self.note_callouts();
    }

    fn tick(&mut self) {
        self.tell(format_args!("a tick"));
        for under in 0..=self.replaced.len() {
            self.under(under).on_tick();
        }
    }

    /// The next of the streams that were woken has its turn. False: none was.
    fn give_turn(&mut self) -> bool {
        let Some(id) = self.worker.host.next_woken() else {
            return false;
        };
        self.tell(format_args!("{id:?} has its turn"));
        // Who has left meanwhile has no configuration either.
        if self.streams.contains_key(&id) {
            let io = self.worker.host.io(id);
            self.of(id).on_wake(id, &io);
            self.note_callouts();
        }
        true
    }

    fn reload(&mut self, input: &mut Input<'_>) {
        if self.replaced.len() > 3 {
            return;
        }
        self.tell(format_args!("a reload"));
        // If it fails, the configuration in force stays.
        let next = POLICIES.with(|policies| gateway(&self.worker.host, input.one_of(policies)));
        if let Some(next) = next {
            let replaced = std::mem::replace(&mut self.worker.gateway, next);
            self.replaced.push(replaced);
        }
    }

    // === ends ===

    /// What was broken off is over at once.
    fn bury(&mut self) {
        let cut = |id: &StreamId| self.worker.host.seen(*id).reset > 0;
        let cut: Vec<_> = self.streams.keys().copied().filter(cut).collect();
        for id in cut {
            self.of(id).on_end(id);
            self.worker.host.end(id);
            self.streams.remove(&id);
        }
    }

    /// When every question has its answer or is too old to have one, nobody waits any more.
    fn conclude(&mut self) {
        self.worker.host.heal();
        while let Some((under, callout)) = self.callouts.pop() {
            // Every second answer gets lost.
            if self.callouts.len().is_multiple_of(2) {
                self.conclude_callout(under, &callout, Some(ANSWERS[1]));
            }
            self.check_all();
        }
        for _ in 0..TICKS_TO_GIVE_UP {
            self.tick();
        }
        while self.give_turn() {
            self.check_all();
        }
        self.bury();
        for (id, stream) in &self.streams {
            let seen = self.worker.host.seen(*id);
            let decided = stream.continued || seen.resumed > 0 || !seen.replies.is_empty();
            // The end of a body may never come.
            assert!(
                decided || stream.path == COLLECTING,
                "{id:?} waits for ever\n{}",
                self.story
            );
        }
        let ids: Vec<_> = self.streams.keys().copied().collect();
        for id in ids {
            self.of(id).on_end(id);
            self.worker.host.end(id);
        }
        self.tick();
    }

    // === configurations ===

    fn under(&mut self, under: usize) -> &mut Gateway<FuzzHost> {
        match self.replaced.get_mut(under) {
            Some(replaced) => replaced,
            None => &mut self.worker.gateway,
        }
    }

    fn of(&mut self, id: StreamId) -> &mut Gateway<FuzzHost> {
        self.under(self.streams[&id].under)
    }

    fn note_callouts(&mut self) {
        let under = self.replaced.len();
        let sent = self.worker.callouts();
        self.callouts
            .extend(sent.into_iter().map(|callout| (under, callout)));
    }

    fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        writeln!(self.story, "{what}").expect("a string takes any text");
    }
}

fn nth<'a, T>(items: impl ExactSizeIterator<Item = &'a T>, input: &mut Input<'_>) -> Option<&'a T> {
    let mut items = items;
    let length = items.len();
    (length > 0)
        .then(|| items.nth(input.below(length)))
        .flatten()
}
