//! A stream's turns: how far its walk gets in each, and how it ends where the gateway answers by itself.

use std::task::{Context, Poll, Waker};

use super::hold::TooMuch;
use super::shared::Shared;
use super::stream::{Arrived, Phase, Stream};
use super::{Flow, failure, forward, limits_endpoint};
use crate::host::{Host, LocalReply, StreamIo};
use crate::reply::{Refusal, local_reply};

impl<H: Host> Shared<H> {
    /// Lets a stream's walk go on as far as it comes. A walk that waits is held, if there is room.
    pub(super) fn go_on(&self, stream: &mut Stream<H::Stream>, io: &H::Stream) -> Flow {
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
    pub(super) fn part_arrived(
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
                    facts.timed_from_now(&*self.host);
                    self.keeps_probe(&facts);
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
        let caller = facts.caller.get();
        self.holds.hold(&mut stream.held, bytes, waits, caller)?;
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

    /// Answers a request here.
    #[inline(never)]
    pub(super) fn reply(&self, stream: &mut Stream<H::Stream>, io: &H::Stream, refusal: &Refusal) {
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
