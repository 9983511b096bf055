//! An answer on its way back: who has given it, whether it is a stream, and what the caller is told in its headers.

use super::clock::Bounds;
use super::edits;
use super::shared::Shared;
use super::sticky::seal_answer;
use super::stream::{Answered, Facts, Phase, Stream};
use crate::host::{AgentFault, HeaderBlock, Host, StreamIo, Timestamp};
use crate::reply::{code_of, retry_after};
use crate::routing::{location_for_caller, location_without_host};
use crate::text::paths::split_once;

/// Who has given the answer that is at hand. Where the request has not been `forwarded`, no agent has.
/// If the host has in its place, what was wrong with the agent, as far as that is known.
fn by_whom(stream: &impl StreamIo, forwarded: bool) -> (Answered, Option<AgentFault>) {
    match stream.own_answer() {
        Some(own) => (Answered::ByHost(code_of(&own)), own.fault),
        None if forwarded => (Answered::ByAgent, None),
        None => (Answered::Not, None),
    }
}

impl<H: Host> Shared<H> {
    /// The headers of an answer have arrived, whoever gave it, and go on to the caller.
    pub(super) fn answered(&self, stream: &mut Stream<H::Stream>, io: &H::Stream) {
        let forwarded = stream.is_forwarded();
        if matches!(stream.phase, Phase::Ended(_)) {
            return;
        }
        let (answered, fault) = by_whom(io, forwarded);
        stream.answered = answered;
        if forwarded {
            let mut facts = stream.common.facts.borrow_mut();
            facts.bounds.active(self.ticks.get());
            if matches!(answered, Answered::ByHost(_)) {
                facts.expect_problem();
            }
            if facts.canary.is_some() {
                self.canary_answered(io, &mut facts, answered, fault);
            }
            if facts.order.is_some() {
                self.tried(io, &mut facts, stream.answered);
            }
            if facts.learns.is_some() {
                self.learn_from(io, &mut facts, stream.answered);
            }
            if let Some(loads) = &self.compiled.loads {
                self.heard(loads, io, &mut facts, stream.answered);
            }
            if facts.answering.is_some() {
                self.agent_answered(io, &mut facts, answered, fault);
            }
            pass_on(self, io, &mut facts);
            if let Some(edits) = self.compiled.edits(facts.route)
                && stream.answered == Answered::ByAgent
            {
                edits::edit_answer(io, &self.compiled, &facts, edits);
            }
        }
    }

    /// A piece of the response's body, of so many bytes. Behind its last one only the caller takes time: the agent has answered.
    pub(super) fn piece_came(
        &self,
        stream: &Stream<H::Stream>,
        io: &H::Stream,
        size: usize,
        end: bool,
    ) {
        let mut facts = stream.common.facts.borrow_mut();
        if facts.learns.is_some() {
            self.learn(io, &mut facts, size);
        }
        if facts.timing.is_some() {
            self.first_token(&mut facts);
        }
        self.answer_passes(&mut facts, end);
    }

    pub(super) fn trailers_came(&self, stream: &Stream<H::Stream>, io: &H::Stream) {
        let mut facts = stream.common.facts.borrow_mut();
        if let Some(loads) = &self.compiled.loads
            && stream.answered == Answered::ByAgent
        {
            self.heard_at_end(loads, io, &facts);
        }
        self.answer_passes(&mut facts, true);
    }

    /// The agent gives a sign of life, or its last.
    fn answer_passes(&self, facts: &mut Facts, end: bool) {
        facts.bounds.active(self.ticks.get());
        if end {
            facts.bounds = Bounds::default();
            if facts.answering.is_some() {
                self.agent_has_answered(facts);
            }
        }
    }
}

/// Lets an answer go on to the caller: sets what the caller is told, and lifts the bound on its time if it is a stream.
fn pass_on<H: Host>(shared: &Shared<H>, stream: &H::Stream, facts: &mut Facts) {
    let Shared {
        host,
        compiled,
        telemetry,
        ..
    } = shared;
    facts.each_rate_limit_header(compiled.policy.tell, |name, value| {
        stream.set_response_header(name, value.as_bytes());
    });
    if let Some(route) = facts.route.and_then(|id| compiled.route(id)) {
        if route.streams && is_stream(stream) {
            facts.bounds.answer_is_stream();
        }
        if let Some(host) = route.edits.as_ref().and_then(|edits| edits.host.as_ref()) {
            name_no_host(stream, host);
        }
        if let (Some(authority), Some(rewrite)) = (&facts.authority, &route.prefix_rewrite) {
            rewrite_location(stream, authority, &route.prefix, rewrite);
        }
    }
    if facts.kept.is_some() {
        seal_answer(shared, stream, facts);
    }
    let wait = facts.wait(|| host.now());
    let protocol = facts.protocol.take();
    // To read what nearly no response needs would cost each of them.
    if wait == 0 && protocol.is_none() {
        return;
    }
    match stream.response_headers() {
        Ok(headers) => {
            tell_to_wait(stream, host.now(), &headers, wait);
            if let Some(protocol) = protocol {
                name_protocol(stream, &headers, &protocol);
            }
        }
        Err(error) => telemetry.host_failed(&**host, error),
    }
}

/// What an answer's `content-type` says if it comes piece by piece, for as long as the agent has something to say: events,
/// lines of JSON, or Amazon's frames.
const STREAMS: [&[u8]; 3] = [
    b"text/event-stream",
    b"application/x-ndjson",
    b"application/vnd.amazon.eventstream",
];

fn is_stream(stream: &impl StreamIo) -> bool {
    let Some(value) = stream.response_header("content-type") else {
        return false;
    };
    let (kind, _) = split_once(&value, b';');
    let kind = kind.trim_ascii();
    STREAMS.iter().any(|known| kind.eq_ignore_ascii_case(known))
}

/// An agent that redirects to where it was asked means where the caller has asked.
#[inline(never)]
fn name_no_host(stream: &impl StreamIo, host: &str) {
    let location = stream.response_header("location");
    if let Some(location) = location.and_then(|it| location_without_host(&it, host)) {
        stream.set_response_header("location", &location);
    }
}

/// An agent that redirects within the paths that it knows means those that the caller knows.
fn rewrite_location(stream: &impl StreamIo, authority: &[u8], prefix: &str, rewrite: &str) {
    let location = stream.response_header("location");
    let location =
        location.and_then(|location| location_for_caller(&location, authority, prefix, rewrite));
    if let Some(location) = location {
        stream.set_response_header("location", &location);
    }
}

/// An agent or Envoy has no place now: the caller must not come back before its limits let it through.
fn tell_to_wait(stream: &impl StreamIo, now: Timestamp, response: &HeaderBlock, wait: u64) {
    if wait == 0 || !matches!(response.get(":status"), Some(b"429" | b"503")) {
        return;
    }
    let theirs = response.get_all("retry-after");
    let theirs = theirs.filter_map(|value| retry_after::seconds(value, now));
    if theirs.max().is_none_or(|theirs| theirs < wait) {
        for (name, value) in retry_after::headers(wait) {
            stream.set_response_header(name, value.as_bytes());
        }
    }
}

/// Names a subprotocol in a handshake's answer that names none.
fn name_protocol(stream: &impl StreamIo, response: &HeaderBlock, protocol: &[u8]) {
    let switched = response.get(":status") == Some(b"101");
    if switched && response.get("sec-websocket-protocol").is_none() {
        stream.set_response_header("sec-websocket-protocol", protocol);
    }
}
