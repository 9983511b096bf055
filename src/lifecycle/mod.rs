//! One request from its first header to its last byte, and the work that requests share.
//!
//! The host's callbacks hand input to a [`Gateway`], the driver: it has each request walk through the stages (see `walk`),
//! gives a walk that waits its next turn when that has come, and ends each stream in one place. Nothing is paused unless
//! something is being waited for.
//!
//! | file | what it says |
//! |---|---|
//! | `walk.rs` | the stages in their order, and with which refusal each may end the walk |
//! | this one | what is done in each callback, and the end of a stream |
//! | `turns.rs` | how far a walk gets in each of its turns, and how it ends where the gateway answers by itself |
//! | `chores.rs` | what is due once a second |
//! | `identify.rs` | who calls |
//! | `admit.rs` | how a request is counted against limits |
//! | `choose.rs` | how the agent is chosen where a route has rules, and as much of the body read as they ask |
//! | `mcp.rs` | what a request of MCP calls, and whether its client may |
//! | `places.rs` | how a request takes its place among those in flight, or waits for one |
//! | `fleet.rs` | how limits are asked about that are counted for all gateways |
//! | `request.rs` | what is taken out of a request; when an upgrade is refused; the address in `x-forwarded-for` |
//! | `forward.rs` | headers for the agent, and notes for the access log of what it does not see |
//! | `limits_endpoint.rs` | what callers are told who ask how their limits stand; a fresh start for a client |
//! | `models_endpoint.rs` | which models callers are told that they may use |
//! | `limits_in_fleet.rs` | the same of limits that are counted for all gateways |
//! | `sticky.rs` | what keeps a request at one host of its agent, and the session that its answer names |
//! | `look.rs` | what requests have in common, and how much of a body is waited for to know it |
//! | `responses.rs` | which agent and host have given an answer, which later requests name |
//! | `fallback.rs` | at which agents a request is tried one after the other, and which of them has answered |
//! | `canary.rs` | which requests try a route's canary, and what its answers come to |
//! | `edits.rs` | what is changed of a request, and of the answer, as the route says |
//! | `load.rs` | which agent is drawn by how busy it is, what it costs or how soon it answers, and how that is learned |
//! | `rest.rs` | whose turn it is to answer where agents may rest |
//! | `judge.rs`, `health.rs` | what comes back from them, and what comes of that |
//! | `attempts.rs` | the same of each attempt, on the agent's side |
//! | `mirror.rs` | which requests another agent hears as well |
//! | `answer.rs` | who has answered, and whether by a stream; what is added to an answer: limits, a longer `Retry-After`, a subprotocol |
//! | `a2a.rs` | what a request of A2A asks for, and cards that name the gateway |
//! | `servers.rs`, `rounds.rs` | what becomes of a request where its route stands for several servers of MCP; what is asked of all at once |
//! | `tool_list.rs` | which answers of MCP are looked through for tools that their callers may not call |
//! | `held_answer.rs` | how an answer is changed before its caller sees it: all of it, or event by event |
//! | `stream.rs`, `clock.rs` | what is known of a request; for how long it may go on or be silent |
//! | `body.rs` | how much of a request's body has come, and when it is too large |
//! | `waiting.rs`, `hold.rs` | what a walk waits for, and how much callers have the gateway hold meanwhile |
//! | `shared.rs`, `compiled.rs` | what requests share: a configuration made ready, its host, questions and counts |
//! | `questions.rs` | who waits for which answer, and when a lost one is given up |
//! | `failure.rs` | what becomes of a request when a stage cannot do its work |
//! | `telemetry.rs` | every metric, and every line of the log that traffic can cause |

mod a2a;
mod admit;
mod answer;
mod attempts;
mod body;
mod canary;
mod choose;
mod chores;
mod clock;
mod compiled;
mod edits;
mod failure;
mod fallback;
mod fleet;
mod forward;
mod health;
mod held_answer;
mod hold;
mod identify;
mod judge;
mod limits_endpoint;
mod limits_in_fleet;
mod load;
mod look;
mod mcp;
mod mirror;
mod models_endpoint;
mod places;
mod questions;
mod request;
mod responses;
mod rest;
mod rounds;
mod servers;
mod shared;
mod sticky;
mod stream;
mod telemetry;
mod tool_list;
mod turns;
mod waiting;
mod walk;

use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::config::Policy;
use crate::host::{CalloutAnswer, CalloutId, Host, StreamId, StreamIo};
use crate::reply::Refusal;
use crate::state::{Notice, OpenError};

use compiled::Compiled;
use shared::Shared;
use stream::{Answered, Common, Phase, Stream};
use telemetry::Telemetry;
use walk::Walk;

pub use crate::identity::MAX_ANSWER_BYTES;
pub use attempts::Attempts;

/// The gateway under one configuration, in one worker.
pub struct Gateway<H: Host> {
    shared: Rc<Shared<H>>,
    streams: FxHashMap<StreamId, Stream<H::Stream>>,
    /// Streams whose turn has come, and for which the host had no event.
    unwoken: Vec<StreamId>,
}

/// What the host is to do with the part of the request that it has handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Send it on.
    Continue,
    /// Keep it: the request waits, or was answered here. More of the body is handed over as it comes, and the sender is made
    /// to wait when the host's buffer is full.
    Hold,
    /// Keep it, and hand over the body as it comes, each time with all that was kept of it. The end is waited for, so a
    /// body beyond the host's buffer is to be refused.
    Collect,
}

impl<H: Host> Gateway<H> {
    /// A gateway under `policy`, and what is to be told of the tables.
    ///
    /// # Errors
    /// When the host has no place for the tables, or those that are there cannot be understood.
    pub fn new(host: Rc<H>, policy: Policy) -> Result<(Self, Option<Notice>), OpenError> {
        let (compiled, notice) = Compiled::new(&*host, policy)?;
        Telemetry::runs(&*host);
        let gateway = Self {
            shared: Rc::new(Shared::new(host, compiled)),
            streams: FxHashMap::default(),
            unwoken: Vec::new(),
        };
        gateway.shared.try_canaries();
        gateway.shared.learn_loads();
        gateway.shared.watch_agents();
        Ok((gateway, notice))
    }

    /// The headers of a request have arrived.
    pub fn on_request_headers(
        &mut self,
        id: StreamId,
        io: &H::Stream,
        end_of_stream: bool,
    ) -> Flow {
        let common = Rc::<Common<_>>::default();
        let walk = Walk {
            id,
            shared: Rc::clone(&self.shared),
            common: Rc::clone(&common),
        };
        if end_of_stream {
            common.facts.borrow_mut().body.ends_with_headers();
        }
        let mut stream = Stream::new(Box::pin(walk.go()), common);
        let flow = self.shared.go_on(&mut stream, io);
        self.streams.insert(id, stream);
        flow
    }

    /// A piece of the request's body has arrived: `size` bytes are at hand. It may be the last one, and may be empty then.
    pub fn on_request_body(
        &mut self,
        id: StreamId,
        io: &H::Stream,
        size: usize,
        end_of_stream: bool,
    ) -> Flow {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Flow::Hold;
        };
        let mut facts = stream.common.facts.borrow_mut();
        facts.bounds.active(self.shared.ticks.get());
        let new = facts.body.new_of(size);
        let mut arrived = facts.body.arrive(size, end_of_stream);
        if facts.reads() {
            arrived = arrived.and(facts.read(io, new, end_of_stream));
        }
        drop(facts);
        self.shared.part_arrived(stream, io, arrived)
    }

    /// The trailers of the request have arrived.
    pub fn on_request_trailers(&mut self, id: StreamId, io: &H::Stream) -> Flow {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Flow::Hold;
        };
        let Shared { host, compiled, .. } = &*self.shared;
        if let Err(error) = request::cleanse_trailers(io, compiled) {
            self.shared.telemetry.host_failed(&**host, error);
            stream.phase = Phase::Ended(Refusal::GatewayUnavailable.code());
            io.reset();
        }
        let mut facts = stream.common.facts.borrow_mut();
        if let Some(edits) = compiled.edits(facts.route) {
            edits::edit_trailers(io, edits);
        }
        facts.body.ends_with_trailers();
        let whole = facts.read(io, 0..0, true);
        drop(facts);
        self.shared.part_arrived(stream, io, whole)
    }

    /// The headers of the response have arrived, whoever gave it.
    pub fn on_response_headers(
        &mut self,
        id: StreamId,
        io: &H::Stream,
        end_of_stream: bool,
    ) -> Flow {
        let mut flow = Flow::Continue;
        if let Some(stream) = self.streams.get_mut(&id) {
            self.shared.answered(stream, io);
            if stream.changes_answer() {
                flow = self.shared.hold_answer(stream, io, end_of_stream);
            }
            if end_of_stream {
                self.shared.piece_came(stream, io, 0, true);
            }
        }
        flow
    }

    /// A piece of the response's body has arrived: `size` bytes are at hand. Of an answer that is changed on its way it is taken out.
    pub fn on_response_body(
        &mut self,
        id: StreamId,
        io: &H::Stream,
        size: usize,
        end_of_stream: bool,
    ) -> Flow {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Flow::Continue;
        };
        self.shared.piece_came(stream, io, size, end_of_stream);
        if stream.changes_answer() {
            self.shared.change_answer(stream, io, size, end_of_stream)
        } else {
            Flow::Continue
        }
    }

    /// The response's trailers have arrived: it is whole.
    pub fn on_response_trailers(&mut self, id: StreamId, io: &H::Stream) -> Flow {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Flow::Continue;
        };
        self.shared.trailers_came(stream, io);
        if stream.changes_answer() {
            self.shared.end_answer(stream, io)
        } else {
            Flow::Continue
        }
    }

    /// The most bytes that are read of the answer to this callout.
    #[must_use]
    pub fn most_bytes(&self, id: CalloutId) -> usize {
        let loads = self.shared.compiled.loads.as_ref();
        (loads.and_then(|loads| loads.most_bytes(id)))
            .or_else(|| self.shared.rounds.most_bytes(id))
            .unwrap_or(MAX_ANSWER_BYTES)
    }

    /// A callout was answered, or failed.
    pub fn on_callout(&mut self, id: CalloutId, came: &CalloutAnswer) {
        let Shared {
            host,
            compiled,
            telemetry,
            keys,
            ..
        } = &*self.shared;
        if self.shared.metrics_came(id, came) {
            return;
        }
        if let Some(whole) = self.shared.server_came(id, came) {
            return whole.into_iter().for_each(|id| self.wake(id));
        }
        let Some(question) = keys.as_ref().and_then(|keys| keys.take(id)) else {
            return self.on_answer_of_fleet(id, came);
        };
        let now = host.now();
        let heard = compiled.identity.hear(&**host, &question.topic, came, now);
        telemetry.validator_answered(&**host, &heard, now.since(question.at));
        for id in question.answer(heard.knowledge) {
            self.wake(id);
        }
    }

    /// The service that counts for all gateways has answered, or failed.
    #[inline(never)]
    fn on_answer_of_fleet(&mut self, id: CalloutId, came: &CalloutAnswer) {
        let Shared {
            host,
            compiled,
            telemetry,
            fleet,
            ..
        } = &*self.shared;
        let (Some(questions), Some(fleet)) = (fleet, compiled.limits.fleet()) else {
            return;
        };
        let Some(question) = questions.take(id) else {
            return;
        };
        let times = (question.at, host.now());
        let (verdict, change) = fleet.hear(question.topic, came, times, host.random());
        telemetry.fleet_answered(&**host, &verdict, change);
        for id in question.answer(verdict) {
            self.wake(id);
        }
    }

    /// A stream's turn has come: it is answered, let go on or ended, and no other is.
    pub fn on_wake(&mut self, id: StreamId, io: &H::Stream) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let shared = &self.shared;
        if matches!(stream.phase, Phase::Walking(_)) {
            if shared.go_on(stream, io) == Flow::Continue {
                io.resume();
            }
        } else if stream.is_due(shared.ticks.get()) {
            // It might have given a sign of life since the tick. Once the answer has begun, a reply cuts it off.
            shared.reply(stream, io, &stream.lateness(&shared.compiled));
        }
    }

    /// The access log is about to be written: of a request that ends while it waits the names are noted for it. Then it is over.
    pub fn on_log(&mut self, id: StreamId, io: &H::Stream) {
        if let Some(stream) = self.streams.get(&id)
            && matches!(stream.phase, Phase::Walking(_))
        {
            let facts = stream.common.facts.borrow();
            forward::note_all(io, &self.shared.compiled, &facts);
        }
        if let Some(stream) = self.streams.get(&id)
            && stream.common.facts.borrow().order.is_some()
        {
            let mut facts = stream.common.facts.borrow_mut();
            self.shared.tried(io, &mut facts, Answered::Not);
        }
        if let Some(stream) = self.streams.get(&id)
            && stream.answered == Answered::ByAgent
            && stream.common.facts.borrow().is_judged_at_end()
            && io.has_broken_off()
        {
            stream.common.facts.borrow_mut().broke_off_answer();
        }
        self.on_end(id);
    }

    /// The stream is over. Every stream leaves here and nowhere else: it is counted by what became of it, and whatever its
    /// walk still holds or waits for is dropped with it. What the access log tells of it is settled then. The host may say
    /// so again.
    pub fn on_end(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.remove(&id) {
            let Shared {
                host,
                compiled,
                telemetry,
                ..
            } = &*self.shared;
            let mut facts = stream.common.facts.borrow_mut();
            facts.leave(&**host, &compiled.limits);
            telemetry.ended(&**host, compiled, &facts, stream.outcome());
            if facts.timing.is_some() {
                self.shared.ended_before_token(&mut facts);
            }
            if facts.canary.is_some() {
                let forwarded = stream.is_forwarded();
                (self.shared).canary_ended(&facts, stream.outcome(), forwarded);
            }
            if facts.answering.is_some() {
                self.shared.agent_ended(&stream, &mut facts);
            }
        }
    }
}

/// Of what waits it shows nothing: a walk holds a request, and may hold a key.
impl<H: Host> std::fmt::Debug for Gateway<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("policy", &self.shared.compiled.policy)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
