//! A worker with a gateway, driven as Envoy drives it. Whatever of the filter's own interface the targets need stands
//! here and in `host`, so that they speak of requests only.

use std::cell::Cell;
use std::rc::Rc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use waykeeper::config::{self, Policy};
use waykeeper::host::simulated::{Process, SentCallout};
use waykeeper::host::{CalloutAnswer, CalloutId, StreamId};
use waykeeper::lifecycle::{Flow, Gateway};

use crate::host::{FuzzHost, Headers, Seen};

/// November 2023.
const START: u64 = 1_700_000_000_000_000_000;

/// Memory and a clock that workers share.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) process: Process,
    pub(crate) clock: Rc<Cell<u64>>,
}

/// One worker with a gateway.
pub(crate) struct Worker {
    pub(crate) host: Rc<FuzzHost>,
    pub(crate) gateway: Gateway<FuzzHost>,
}

/// What came of a request that waits no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It goes on to an agent.
    Forwarded,
    /// It was refused, with this code.
    Refused(String),
    /// It waits.
    Waits,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            process: Process::default(),
            clock: Rc::new(Cell::new(START)),
        }
    }

    /// A worker under this policy.
    pub(crate) fn worker(&self, policy: &Policy) -> Worker {
        let host = Rc::new(FuzzHost::new(&self.process, &self.clock));
        let gateway = gateway(&host, policy).expect("the host has room for the tables");
        Worker { host, gateway }
    }

    pub(crate) fn pass(&self, nanoseconds: u64) {
        self.clock.set(self.clock.get().saturating_add(nanoseconds));
    }
}

/// A gateway under this policy. `None`: the host does not show what tables there are.
pub(crate) fn gateway(host: &Rc<FuzzHost>, policy: &Policy) -> Option<Gateway<FuzzHost>> {
    let (gateway, _) = Gateway::new(Rc::clone(host), policy.clone()).ok()?;
    Some(gateway)
}

/// What a target's own configuration means.
pub(crate) fn policy(document: &Value) -> Policy {
    config::read(document).unwrap_or_else(|faults| panic!("{faults}"))
}

impl Worker {
    /// The headers of a request arrive.
    pub(crate) fn request(
        &mut self,
        id: StreamId,
        headers: Headers,
        end_of_stream: bool,
    ) -> Outcome {
        self.host.begin(id, headers);
        let flow = self
            .gateway
            .on_request_headers(id, &self.host.io(id), end_of_stream);
        let outcome = self.outcome(id, flow);
        assert_eq!(
            flow == Flow::Continue,
            outcome == Outcome::Forwarded,
            "what was not decided would go on"
        );
        outcome
    }

    fn outcome(&self, id: StreamId, flow: Flow) -> Outcome {
        let seen = self.host.seen(id);
        match (
            seen.replies.as_slice(),
            flow == Flow::Continue || seen.resumed > 0,
        ) {
            ([reply], false) => Outcome::Refused(code(&reply.details)),
            ([], true) => Outcome::Forwarded,
            ([], false) => Outcome::Waits,
            (replies, forwarded) => panic!("forwarded: {forwarded}, and answered by {replies:?}"),
        }
    }

    /// What came of a request that waited, as far as it has come.
    pub(crate) fn waited(&self, id: StreamId) -> Outcome {
        self.outcome(id, Flow::Hold)
    }

    pub(crate) fn callouts(&self) -> Vec<SentCallout> {
        self.host.sent_callouts()
    }

    /// A callout is answered, and whoever was woken by that has its turn.
    pub(crate) fn answer(&mut self, callout: CalloutId, answer: &CalloutAnswer) {
        self.gateway.on_callout(callout, answer);
        self.give_turns();
    }

    /// A second has passed, and whoever was woken by that has its turn.
    pub(crate) fn tick(&mut self) {
        self.gateway.on_tick();
        self.give_turns();
    }

    /// Whoever was woken has its turn.
    pub(crate) fn give_turns(&mut self) {
        while let Some(id) = self.host.next_woken() {
            self.gateway.on_wake(id, &self.host.io(id));
        }
    }

    /// The stream is over.
    pub(crate) fn end(&mut self, id: StreamId) {
        self.gateway.on_end(id);
        self.host.end(id);
    }

    /// A request of one header line after the other, from its first header to its end, on an open route.
    pub(crate) fn exchange(&mut self, id: StreamId, headers: Headers) -> (Outcome, Seen) {
        let outcome = self.request(id, headers, true);
        let seen = self.host.seen(id);
        self.end(id);
        (outcome, seen)
    }
}

fn code(details: &str) -> String {
    details
        .strip_prefix("waykeeper_")
        .unwrap_or_else(|| panic!("a reply without its reason: {details}"))
        .to_owned()
}

/// The value of a header that stands at most once.
pub(crate) fn header<'h>(headers: &'h Headers, name: &str) -> Option<&'h [u8]> {
    let mut values = headers.iter().filter(|(other, _)| other == name.as_bytes());
    let value = values.next();
    assert!(values.next().is_none(), "{name} stands twice");
    value.map(|(_, value)| value.as_slice())
}

/// Headers of text.
pub(crate) fn headers(pairs: &[(&str, &str)]) -> Headers {
    let owned = |text: &str| text.as_bytes().to_vec();
    pairs
        .iter()
        .map(|(name, value)| (owned(name), owned(value)))
        .collect()
}

/// A client's key.
pub(crate) fn key(client: usize) -> String {
    format!("key-{client}")
}

/// The keys of so many clients, as a configuration lists them, all of the plan `plan`.
pub(crate) fn keys(clients: usize) -> Vec<Value> {
    let listed = |client| {
        let hash = Sha256::digest(key(client));
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({ "sha256": hash, "client_id": format!("client-{client}"), "plan": "plan" })
    };
    (0..clients).map(listed).collect()
}
