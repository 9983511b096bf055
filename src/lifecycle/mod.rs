//! One request from its first header to its last byte, and the work that requests share.
//!
//! The host's callbacks hand input to a [`Gateway`], the driver: it has each request walk through the stages (see `walk`),
//! gives a walk that waits its next turn when that has come, and ends each stream in one place. Nothing is paused unless
//! something is being waited for.
//!
//! | file | what it says |
//! |---|---|
//! | `walk.rs` | the stages in their order, and with which refusal each may end the walk |
//! | this one | what is done in each callback: bodies, trailers, answers, ticks, the end of a stream |
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
//! | `judge.rs`, `health.rs` | whose turn it is to answer where agents may rest, and what comes back from them |
//! | `attempts.rs` | the same of each attempt, on the agent's side |
//! | `mirror.rs` | which requests another agent hears as well |
//! | `answer.rs` | who has answered, and whether by a stream; what is added to an answer: limits, a longer `Retry-After`, a subprotocol |
//! | `a2a.rs` | what a request of A2A asks for, and cards that name the gateway |
//! | `tool_list.rs` | which answers of MCP are looked through for tools that their callers may not call |
//! | `held_answer.rs` | how an answer is changed before its caller sees it: all of it, or event by event |
//! | `stream.rs`, `clock.rs` | what is known of a request; for how long it may go on or be silent |
//! | `body.rs` | how much of a request's body has come, and when it is too large |
//! | `hold.rs` | how much callers have the gateway hold before anybody knows who they are |
//! | `shared.rs`, `compiled.rs` | what requests share: a configuration made ready, its host, questions and counts |
//! | `questions.rs` | who waits for which answer, and when a lost one is given up |
//! | `failure.rs` | what becomes of a request when a stage cannot do its work |
//! | `telemetry.rs` | every metric, and every line of the log that traffic can cause |

mod a2a;
mod answer;
mod attempts;
mod body;
mod canary;
mod choose;
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
mod shared;
mod sticky;
mod stream;
mod telemetry;
mod tool_list;
mod walk;

use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustc_hash::FxHashMap;

use crate::config::Policy;
use crate::host::{CalloutAnswer, CalloutId, Host, LocalReply, StreamId, StreamIo};
use crate::identity::Knowledge;
use crate::limits::fleet::Verdict;
use crate::reply::{Refusal, local_reply};
use crate::state::{Notice, OpenError};

use clock::Bounds;
use compiled::Compiled;
use hold::TooMuch;
use shared::Shared;
use stream::{Answered, Arrived, Common, Facts, Phase, Stream};
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
        }
        if end_of_stream {
            self.on_response_body(id, io, 0, true);
        }
        flow
    }

    /// A piece of the response's body has arrived: `size` bytes are at hand. Of an answer that is changed on its way it is taken out.
    pub fn on_response_piece(
        &mut self,
        id: StreamId,
        io: &H::Stream,
        size: usize,
        end_of_stream: bool,
    ) -> Flow {
        self.on_response_body(id, io, size, end_of_stream);
        match self.streams.get_mut(&id) {
            Some(stream) if stream.changes_answer() => {
                self.shared.change_answer(stream, io, size, end_of_stream)
            }
            _ => Flow::Continue,
        }
    }

    /// The response's trailers have arrived.
    pub fn on_end_by_trailers(&mut self, id: StreamId, io: &H::Stream) -> Flow {
        self.on_response_trailers(id, io);
        match self.streams.get_mut(&id) {
            Some(stream) if stream.changes_answer() => self.shared.end_answer(stream, io),
            _ => Flow::Continue,
        }
    }

    /// A piece of the response's body passes, of so many bytes. Behind its last one only the caller takes time: the agent has
    /// answered.
    pub fn on_response_body(
        &mut self,
        id: StreamId,
        io: &H::Stream,
        size: usize,
        end_of_stream: bool,
    ) {
        if let Some(stream) = self.streams.get(&id) {
            let mut facts = stream.common.facts.borrow_mut();
            if facts.learns.is_some() {
                self.shared.learn(io, &mut facts, size);
            }
            if facts.timing.is_some() {
                self.shared.first_token(&mut facts);
            }
            self.shared.answer_passes(&mut facts, end_of_stream);
        }
    }

    /// The response's trailers pass: it is whole.
    pub fn on_response_trailers(&mut self, id: StreamId, io: &H::Stream) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let mut facts = stream.common.facts.borrow_mut();
        if let Some(loads) = &self.shared.compiled.loads
            && stream.answered == Answered::ByAgent
        {
            self.shared.heard_at_end(loads, io, &facts);
        }
        self.shared.answer_passes(&mut facts, true);
    }

    /// The most bytes that are read of the answer to this callout.
    #[must_use]
    pub fn most_bytes(&self, id: CalloutId) -> usize {
        let loads = self.shared.compiled.loads.as_ref();
        loads
            .and_then(|loads| loads.most_bytes(id))
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

    /// True if [`Self::on_tick`] is to be called once a second.
    #[must_use]
    pub fn needs_ticks(&self) -> bool {
        let Shared { compiled, keys, .. } = &*self.shared;
        let mut routes = compiled.policy.routes.iter();
        keys.is_some()
            || compiled.limits.have_chores()
            || compiled.limits.has_gate()
            || compiled.limits.bound_in_flight(None)
            || compiled.limits.fleet().is_some()
            || compiled.ask_bodies()
            || compiled.look_at_bodies()
            || compiled.learn_loads()
            || routes.any(|route| route.idle_timeout.is_some() || route.collect_body)
    }

    /// A second has passed.
    pub fn on_tick(&mut self) {
        let mut ticks = self.shared.ticks.get();
        ticks.advance();
        self.shared.ticks.set(ticks);
        self.chores();
    }

    /// What each stage has due on a tick. No stream is touched here: whose time has come is woken.
    fn chores(&mut self) {
        let mut due = std::mem::take(&mut self.unwoken);
        self.give_up_lost_questions(&mut due);
        self.give_up_on_fleet(&mut due);
        self.shared.compiled.limits.chores(&*self.shared.host);
        self.look_at_tables();
        self.keep_places(&mut due);
        if let Some(loads) = &self.shared.compiled.loads {
            self.shared.keep_loads(loads, self.streams.values());
        }
        self.find_due_streams(&mut due);
        for id in due {
            self.wake(id);
        }
    }

    /// Whoever waits for an answer that got lost is told what stands for it: that nothing is known.
    fn give_up_lost_questions(&self, due: &mut Vec<StreamId>) {
        let shared = &*self.shared;
        let Some(keys) = &shared.keys else {
            return;
        };
        for question in keys.take_lost(shared.ticks.get()) {
            shared.telemetry.validator_lost(&*shared.host);
            due.append(&mut question.answer(Knowledge::Unknown));
        }
    }

    /// Has an operator see how full the tables are. What cannot be seen now is on a later tick, and decides nothing.
    fn look_at_tables(&self) {
        let shared = &*self.shared;
        let seen = shared.compiled.survey.tick(&*shared.host);
        for fullness in seen.unwrap_or_default() {
            shared.telemetry.fullness(&*shared.host, &fullness);
        }
    }

    /// The same of the service that counts for all gateways.
    fn give_up_on_fleet(&self, due: &mut Vec<StreamId>) {
        let shared = &*self.shared;
        let (Some(questions), Some(fleet)) = (&shared.fleet, shared.compiled.limits.fleet()) else {
            return;
        };
        for question in questions.take_lost(shared.ticks.get()) {
            let (host, now) = (&*shared.host, shared.host.now());
            let change = fleet.failed(question.at, now, host.random());
            shared
                .telemetry
                .fleet_answered(host, &Verdict::Failed, change);
            due.append(&mut question.answer(Verdict::Failed));
        }
    }

    /// Says that the requests in flight here are still there, and finds those that wait for a place and have one.
    fn keep_places(&self, due: &mut Vec<StreamId>) {
        let shared = &*self.shared;
        let limits = &shared.compiled.limits;
        if !limits.count_in_flight() {
            return;
        }
        let mut all: Vec<_> = (self.streams.iter())
            .map(|(id, stream)| (*id, stream.common.facts.borrow_mut()))
            .collect();
        let tickets = all
            .iter_mut()
            .filter_map(|(id, facts)| Some((*id, facts.tickets_if_any()?)));
        match limits.keep_in_flight(&*shared.host, tickets) {
            Ok(mut turns) => due.append(&mut turns),
            Err(error) => shared.telemetry.limits_unavailable(&*shared.host, error),
        }
    }

    /// Those that have waited, gone on or been silent for as long as they may.
    fn find_due_streams(&self, due: &mut Vec<StreamId>) {
        let now = self.shared.ticks.get();
        let late = self.streams.iter().filter(|(_, stream)| stream.is_due(now));
        due.extend(late.map(|(id, _)| *id));
    }

    /// Has a stream's turn come by an event of its own, see [`Host::wake`]; if there is none to be had, after the next tick.
    #[inline(never)]
    fn wake(&mut self, id: StreamId) {
        if let Err(error) = self.shared.host.wake(id) {
            self.shared.telemetry.host_failed(&*self.shared.host, error);
            if !self.unwoken.contains(&id) {
                self.unwoken.push(id);
            }
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

impl<H: Host> Shared<H> {
    /// Lets a stream's walk go on as far as it comes. A walk that waits is held, if there is room.
    fn go_on(&self, stream: &mut Stream<H::Stream>, io: &H::Stream) -> Flow {
        let Phase::Walking(walk) = &mut stream.phase else {
            return Flow::Hold;
        };
        // Nobody is told by the waker: whoever has what is waited for has the stream woken.
        let poll = || walk.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let came = match stream.common.lend(io, poll) {
            Poll::Ready(came) => came,
            Poll::Pending => match self.hold(stream) {
                Ok(flow) => return flow,
                // Nothing is refused for what would only have kept it together with others.
                Err(_) if stream.looks_no_more() => return self.go_on(stream, io),
                Err(too_much) => Err(failure::refusal(
                    &*self.host,
                    &self.telemetry,
                    too_much.into(),
                )),
            },
        };
        stream.held = None;
        match came {
            Ok(Arrived::AtAgent) => {
                stream.phase = Phase::Forwarded;
                Flow::Continue
            }
            Ok(Arrived::Answered(reply)) => self.answer(stream, io, *reply),
            Err(refusal) => self.refuse(stream, io, &refusal),
        }
    }

    /// Another part of the request has arrived: it goes the way of those before it, unless it is too much.
    fn part_arrived(
        &self,
        stream: &mut Stream<H::Stream>,
        io: &H::Stream,
        arrived: Result<(), Refusal>,
    ) -> Flow {
        match (&stream.phase, arrived) {
            (Phase::Ended(_), _) => Flow::Hold,
            (_, Err(refusal)) => self.refuse(stream, io, &refusal),
            (Phase::Forwarded, Ok(())) => {
                let mut facts = stream.common.facts.borrow_mut();
                if facts.body.has_ended() {
                    facts.bounds.request_ended(self.ticks.get());
                    facts.is_sent(&*self.host);
                }
                Flow::Continue
            }
            (Phase::Walking(_), Ok(())) => self.go_on(stream, io),
        }
    }

    /// Keeps what has come of a request that waits, within bounds.
    fn hold(&self, stream: &mut Stream<H::Stream>) -> Result<Flow, TooMuch> {
        let mut facts = stream.common.facts.borrow_mut();
        let collects = facts.may_change
            || facts
                .route
                .is_some_and(|route| self.compiled.collects(route));
        let (bytes, waits) = (facts.bytes(), facts.waits);
        self.holds.hold(&mut stream.held, bytes, waits)?;
        facts.body.collect(collects);
        Ok(if collects { Flow::Collect } else { Flow::Hold })
    }

    /// Refuses a request. One that is still here is told of in the access log by what stands in its headers.
    fn refuse(&self, stream: &mut Stream<H::Stream>, io: &H::Stream, refusal: &Refusal) -> Flow {
        if matches!(stream.phase, Phase::Walking(_)) {
            forward::refuse(io, &self.compiled, &stream.common.facts.borrow(), refusal);
        }
        self.reply(stream, io, refusal);
        Flow::Hold
    }

    /// Gives a request the gateway's own answer.
    #[cold]
    fn answer(&self, stream: &mut Stream<H::Stream>, io: &H::Stream, reply: LocalReply) -> Flow {
        let (facts, mut reply) = (stream.common.facts.borrow(), reply);
        forward::name_for_log(io, &self.compiled, &facts);
        let told = facts.rate_limit_headers(self.compiled.policy.tell);
        reply.headers.extend(told);
        drop(facts);
        stream.phase = Phase::Ended(limits_endpoint::OUTCOME);
        io.reply(&reply);
        Flow::Hold
    }

    /// The headers of an answer have arrived, whoever gave it, and go on to the caller.
    fn answered(&self, stream: &mut Stream<H::Stream>, io: &H::Stream) {
        let forwarded = stream.is_forwarded();
        if matches!(stream.phase, Phase::Ended(_)) {
            return;
        }
        let (answered, fault) = answer::by_whom(io, forwarded);
        stream.answered = answered;
        if forwarded {
            let mut facts = stream.common.facts.borrow_mut();
            facts.bounds.active(self.ticks.get());
            if facts.canary.is_some() {
                self.canary_answered(io, &mut facts, stream.answered);
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
            answer::pass_on(self, io, &mut facts);
            if let Some(edits) = self.compiled.edits(facts.route)
                && stream.answered == Answered::ByAgent
            {
                edits::edit_answer(io, &self.compiled, &facts, edits);
            }
        }
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

    /// Answers a request here.
    #[inline(never)]
    fn reply(&self, stream: &mut Stream<H::Stream>, io: &H::Stream, refusal: &Refusal) {
        let facts = stream.common.facts.borrow();
        let ids = facts.ids();
        let to = facts.reply_to(ids.as_ref(), || self.host.now());
        let reply = local_reply(
            refusal,
            to,
            facts.rate_limit_headers(self.compiled.policy.tell),
        );
        drop(facts);
        stream.phase = Phase::Ended(refusal.code());
        io.reply(&reply);
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
