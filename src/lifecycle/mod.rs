//! One request from its first header to its last byte, and the work that requests share.
//!
//! The host's callbacks hand input to a [`Gateway`], which walks each request through the stages (see `walk`) and
//! keeps what is known of it in a stream. Nothing is paused unless something is being waited for.

mod compiled;
mod forward;
mod idle;
mod inquiry;
mod request;
mod stream;
mod telemetry;
mod walk;

use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::config::Policy;
use crate::host::{CalloutAnswer, CalloutId, Host, StreamId};
use crate::identity::{Failure, Knowledge, Verdict};
use crate::reply::{Refusal, answer};
use crate::state::{Notice, OpenError};

use compiled::Compiled;
use idle::Ticks;
use inquiry::Inquiries;
use request::Request;
use stream::{Phase, Stream};
use telemetry::Telemetry;
use walk::Stop;

pub use crate::identity::MAX_ANSWER_BYTES;

/// The gateway under one configuration, in one worker.
#[derive(Debug)]
pub struct Gateway<H> {
    host: Rc<H>,
    policy: Rc<Compiled>,
    telemetry: Telemetry,
    inquiries: Inquiries,
    streams: FxHashMap<StreamId, Stream>,
    ticks: Ticks,
}

/// What the host is to do with the part of the request that it has handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Send it on.
    Continue,
    /// Keep it: the request waits, or was answered here.
    Hold,
}

impl<H: Host> Gateway<H> {
    /// A gateway under `policy`, and what is to be told of the tables.
    ///
    /// # Errors
    /// When the host has no place for the tables, or those that are there cannot be understood.
    pub fn new(host: Rc<H>, policy: Policy) -> Result<(Self, Option<Notice>), OpenError> {
        let (policy, notice) = Compiled::new(&*host, policy)?;
        let gateway = Self {
            telemetry: Telemetry::default(),
            policy: Rc::new(policy),
            host,
            inquiries: Inquiries::default(),
            streams: FxHashMap::default(),
            ticks: Ticks::default(),
        };
        Ok((gateway, notice))
    }

    /// True if [`Self::on_tick`] is to be called once a second.
    #[must_use]
    pub fn needs_ticks(&self) -> bool {
        let routes = &self.policy.policy.routes;
        routes.iter().any(|route| route.idle_timeout.is_some()) || self.policy.limits.have_chores()
    }

    /// The headers of a request have arrived.
    pub fn on_request_headers(&mut self, id: StreamId, end_of_stream: bool) -> Flow {
        let mut stream = Stream::default();
        let step = match Request::read(&*self.host, &self.policy, end_of_stream) {
            Ok(request) => self.begin(&mut stream, request),
            Err(error) => {
                self.telemetry.host_failed(&*self.host, error);
                Err(Stop::Refuse(Refusal::GatewayUnavailable))
            }
        };
        let flow = self.settle_step(id, &mut stream, step);
        self.streams.insert(id, stream);
        flow
    }

    /// A piece of the request's body has arrived.
    pub fn on_request_body(&mut self, id: StreamId, size: usize) -> Flow {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Flow::Hold;
        };
        if stream.phase != Phase::Forwarded {
            return Flow::Hold;
        }
        stream.active(self.ticks);
        match stream.count_body(size) {
            Ok(()) => Flow::Continue,
            Err(refusal) => {
                self.refuse(id, &refusal);
                Flow::Hold
            }
        }
    }

    /// The trailers of the request have arrived.
    #[must_use]
    pub fn on_request_trailers(&self, id: StreamId) -> Flow {
        let Some(stream) = self.streams.get(&id) else {
            return Flow::Hold;
        };
        if let Err(error) = request::cleanse_trailers(&*self.host, &self.policy) {
            self.telemetry.host_failed(&*self.host, error);
            self.host.reset();
            return Flow::Hold;
        }
        if stream.phase == Phase::Forwarded {
            Flow::Continue
        } else {
            Flow::Hold
        }
    }

    /// The headers of the response have arrived, whoever gave it.
    pub fn on_response_headers(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.phase == Phase::Forwarded {
            stream.active(self.ticks);
            stream.answered = true;
            forward::tell_caller(&*self.host, &self.telemetry, stream);
        }
    }

    /// A piece of the response's body passes.
    pub fn on_response_body(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.active(self.ticks);
        }
    }

    /// The stream is over.
    pub fn on_end(&mut self, id: StreamId) {
        self.streams.remove(&id);
    }

    /// A callout was answered, or failed.
    pub fn on_callout(&mut self, id: CalloutId, came: &CalloutAnswer) {
        let Some(inquiry) = self.inquiries.take(id) else {
            return;
        };
        let now = self.host.now();
        let policy = Rc::clone(&self.policy);
        let verdict = policy
            .validator()
            .map_or(Err(Failure::NoAnswer), |validator| {
                Verdict::read(validator, came)
            });
        self.telemetry
            .validator_answered(&*self.host, verdict.as_ref(), now.since(inquiry.asked));
        let knowledge = verdict.map_or(Knowledge::Unknown, |verdict| {
            let (knowledge, remembered) =
                policy
                    .identity
                    .learn(&*self.host, &inquiry.key, verdict, now);
            if let Err(error) = remembered {
                self.telemetry.not_remembered(&*self.host, error);
            }
            knowledge
        });
        for id in inquiry.waiting {
            let stream = self.streams.get_mut(&id);
            if stream.is_some_and(|stream| stream.inform(&knowledge)) {
                self.wake(id);
            }
        }
    }

    /// A second has passed.
    pub fn on_tick(&mut self) {
        self.ticks.advance();
        self.policy.limits.chores(&*self.host);
        let silent =
            |(id, stream): (&StreamId, &Stream)| stream.is_silent(self.ticks).then_some(*id);
        let silent: Vec<_> = self.streams.iter().filter_map(silent).collect();
        for id in silent {
            self.wake(id);
        }
    }

    /// Has a stream's turn come by an event of its own, see [`Host::wake`].
    fn wake(&mut self, id: StreamId) {
        if let Err(error) = self.host.wake(id) {
            self.telemetry.host_failed(&*self.host, error);
            self.on_wake(id);
        }
    }

    /// A stream's turn has come: it is answered, let go on or ended, and no other is.
    pub fn on_wake(&mut self, id: StreamId) {
        let Some(mut stream) = self.streams.remove(&id) else {
            return;
        };
        if !self.host.select(id) {
            return;
        }
        match std::mem::take(&mut stream.phase) {
            Phase::Informed(request, knowledge) => {
                let step = self.identified(&mut stream, &request, knowledge);
                if self.settle_step(id, &mut stream, step) == Flow::Continue {
                    self.host.resume();
                }
            }
            phase => {
                stream.phase = phase;
                // It may have given a sign of life since the tick.
                if stream.is_silent(self.ticks) {
                    self.end_silence(&mut stream);
                }
            }
        }
        self.streams.insert(id, stream);
    }

    /// Ends a stream whose agent was silent for too long.
    fn end_silence(&mut self, stream: &mut Stream) {
        if stream.answered {
            stream.phase = Phase::Answered;
            self.host.reset();
        } else {
            self.reply(stream, &Refusal::AgentTimeout);
        }
    }

    /// Does what a walk through the stages came to.
    fn settle_step(&mut self, id: StreamId, stream: &mut Stream, step: Result<(), Stop>) -> Flow {
        match step {
            Ok(()) => {
                stream.phase = Phase::Forwarded;
                stream.active(self.ticks);
                self.telemetry.allowed(&*self.host, &self.policy, stream);
                Flow::Continue
            }
            Err(Stop::Refuse(refusal)) => {
                self.reply(stream, &refusal);
                Flow::Hold
            }
            Err(Stop::Ask(request, key)) => {
                match self
                    .inquiries
                    .ask(&*self.host, self.policy.validator(), &key, id)
                {
                    Ok(()) => stream.phase = Phase::Waiting(request),
                    Err(error) => {
                        self.telemetry.validator_unreachable(&*self.host, error);
                        self.reply(stream, &Refusal::ValidatorUnavailable);
                    }
                }
                Flow::Hold
            }
        }
    }

    /// Refuses a request that was handed over already.
    fn refuse(&mut self, id: StreamId, refusal: &Refusal) {
        if let Some(mut stream) = self.streams.remove(&id) {
            self.reply(&mut stream, refusal);
            self.streams.insert(id, stream);
        }
    }

    fn reply(&mut self, stream: &mut Stream, refusal: &Refusal) {
        if stream.phase == Phase::Deciding {
            forward::identify(&*self.host, &self.policy, stream);
        }
        let headers = stream.rate_limit_headers();
        let asked = stream.asked(|| self.host.now());
        self.host.reply(&answer(refusal, asked, headers));
        self.telemetry
            .refused(&*self.host, &self.policy, stream, refusal);
        stream.phase = Phase::Answered;
    }
}

#[cfg(test)]
mod tests;
