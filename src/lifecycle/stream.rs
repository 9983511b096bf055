//! What is known of one request while it lasts.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use super::idle::Ticks;
use crate::config::policy::{AgentId, RouteId};
use crate::host::{Sensitive, Timestamp};
use crate::identity::Client;
use crate::limits::Count;
use crate::reply::{Refusal, ReplyTo};

/// One request and its response, as the driver keeps it.
pub(super) struct Stream<S> {
    pub(super) phase: Phase,
    pub(super) common: Rc<Common<S>>,
    /// The response's headers have arrived.
    pub(super) answered: bool,
}

/// How far the request has come.
pub(super) enum Phase {
    /// On its walk through the stages, where it may wait.
    Walking(Walking),
    /// Handed over to Envoy.
    Forwarded,
    /// Ended here; this is what became of it.
    Ended(&'static str),
}

/// What the driver and a stream's walk both reach.
pub(super) struct Common<S> {
    /// Never borrowed while something is awaited.
    pub(super) facts: RefCell<Facts>,
    /// The stream itself, while the walk has its turn.
    lent: RefCell<Option<S>>,
}

/// A walk that is under way. Whatever it holds it gives back when it is dropped.
pub(super) type Walking = Pin<Box<dyn Future<Output = Result<(), Refusal>>>>;

/// What the walk finds out, and the driver and those who count and tell must know as well.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) request_id: Option<Sensitive<Vec<u8>>>,
    pub(super) grpc: bool,
    pub(super) route: Option<RouteId>,
    /// The path as it goes on by the route, unless it goes on as it came.
    pub(super) rewritten_path: Option<Sensitive<Vec<u8>>>,
    pub(super) client: Option<Rc<Client>>,
    pub(super) agent: Option<AgentId>,
    /// The subprotocol to name in the handshake's answer if the agent names none.
    pub(super) protocol: Option<Sensitive<Vec<u8>>>,
    count: Count,
    body: Option<BodyBound>,
    silence: Option<SilenceBound>,
}

#[derive(Debug, Clone, Copy)]
struct BodyBound {
    most: u64,
    passed: u64,
}

#[derive(Debug, Clone, Copy)]
struct SilenceBound {
    seconds: u64,
    last: Ticks,
}

impl<S> std::fmt::Debug for Stream<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("outcome", &self.outcome())
            .field("facts", &self.common.facts)
            .finish_non_exhaustive()
    }
}

impl<S> Default for Common<S> {
    fn default() -> Self {
        Self {
            facts: RefCell::default(),
            lent: RefCell::new(None),
        }
    }
}

impl<S: Clone> Common<S> {
    /// Lends the stream to whatever `f` polls, and takes it back.
    pub(super) fn lend<T>(&self, stream: &S, f: impl FnOnce() -> T) -> T {
        self.lent.replace(Some(stream.clone()));
        let done = f();
        self.lent.replace(None);
        done
    }

    /// Does something with the stream. `None`: this is not its turn.
    pub(super) fn with_stream<T>(&self, f: impl FnOnce(&S) -> T) -> Option<T> {
        self.lent.borrow().as_ref().map(f)
    }
}

impl<S> Stream<S> {
    /// What is counted of it, if it ends now.
    pub(super) fn outcome(&self) -> &'static str {
        match self.phase {
            Phase::Walking(_) => "caller_left",
            Phase::Forwarded => "allowed",
            Phase::Ended(outcome) => outcome,
        }
    }

    pub(super) fn is_forwarded(&self) -> bool {
        matches!(self.phase, Phase::Forwarded)
    }

    /// The stream has given a sign of life.
    pub(super) fn active(&self, now: Ticks) {
        self.common.facts.borrow_mut().active(now);
    }

    /// True if the stream was handed over and has been silent for longer than it may.
    pub(super) fn is_silent(&self, now: Ticks) -> bool {
        self.is_forwarded() && self.common.facts.borrow().is_silent(now)
    }
}

impl Facts {
    /// Takes over what counting came to.
    pub(super) fn counted(
        &mut self,
        count: Count,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<(), Refusal> {
        let refused = count
            .is_refused()
            .then(|| count.full().map(str::to_owned).collect::<Vec<_>>());
        self.looked_at(count);
        match refused {
            Some(limits) => Err(Refusal::RateLimited(limits, self.wait(now).max(1))),
            None => Ok(()),
        }
    }

    /// Takes over how limits stand. Those of the gate are told behind those of the client.
    pub(super) fn looked_at(&mut self, count: Count) {
        self.count = count.and(std::mem::take(&mut self.count));
    }

    /// Whole seconds until every limit that was looked at lets one more request through; 0 if all do.
    pub(super) fn wait(&self, now: impl FnOnce() -> Timestamp) -> u64 {
        self.count.wait(now)
    }

    /// The fields that tell the caller of its limits.
    pub(super) fn rate_limit_headers(&self) -> Vec<(&'static str, String)> {
        self.count.fields()
    }

    pub(super) fn reply_to(&self, now: impl FnOnce() -> Timestamp) -> ReplyTo<'_> {
        ReplyTo {
            wait: self.wait(now),
            request_id: self.request_id.as_deref().map(Vec::as_slice),
            grpc: self.grpc,
        }
    }

    /// Bounds the body, by what the request says of its length at once.
    pub(super) fn bound_body(
        &mut self,
        most: Option<u64>,
        length: Option<u64>,
    ) -> Result<(), Refusal> {
        self.body = most.map(|most| BodyBound { most, passed: 0 });
        match (most, length) {
            (Some(most), Some(length)) if length > most => Err(Refusal::BodyTooLarge(most)),
            _ => Ok(()),
        }
    }

    /// Counts a piece of the body that is about to pass.
    pub(super) fn count_body(&mut self, size: usize) -> Result<(), Refusal> {
        let Some(bound) = &mut self.body else {
            return Ok(());
        };
        bound.passed = bound.passed.saturating_add(size as u64);
        if bound.passed > bound.most {
            return Err(Refusal::BodyTooLarge(bound.most));
        }
        Ok(())
    }

    /// Bounds the silence on the stream, from the next sign of life on.
    pub(super) fn bound_silence(&mut self, time: Option<Duration>) {
        self.silence = time.map(|time| SilenceBound {
            seconds: time.as_secs().max(1),
            last: Ticks::default(),
        });
    }

    fn active(&mut self, now: Ticks) {
        if let Some(bound) = &mut self.silence {
            bound.last = now;
        }
    }

    fn is_silent(&self, now: Ticks) -> bool {
        let too_long = |bound: SilenceBound| now.since(bound.last) > bound.seconds;
        self.silence.is_some_and(too_long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_at_hand_only_while_it_is_lent() {
        let common = Common::default();
        assert_eq!(common.with_stream(|it: &u8| *it), None);
        assert_eq!(common.lend(&7, || common.with_stream(|it| *it)), Some(7));
        assert_eq!(common.with_stream(|it| *it), None);
    }
}
