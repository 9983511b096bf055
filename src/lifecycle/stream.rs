//! What is known of one request while it lasts.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;

use super::body::Body;
use super::canary::Trial;
use super::clock::{Bounds, Ticks};
use super::compiled::Compiled;
use super::fallback::Order;
use super::held_answer::HeldAnswer;
use super::hold::{Held, Waits};
use super::judge::Answering;
use super::load::Timing;
use super::responses::Learns;
use super::sticky::Kept;
use crate::config::policy::{AgentId, LimitSet, Protocol, RouteId, Tell};
use crate::host::{Host, LocalReply, Sensitive, Timestamp};
use crate::identity::Client;
use crate::limits::fleet::Told;
use crate::limits::{Admission, Full, Limits, Tickets};
use crate::reply::{Form, FullLimit, Refusal, ReplyTo, RpcIds};
use crate::routing::{Asked, BadMessage, Beside, Called, Content, Look, Messages};

/// One request and its response, as the driver keeps it.
pub(super) struct Stream<S> {
    pub(super) phase: Phase,
    pub(super) common: Rc<Common<S>>,
    /// What it has the gateway hold while it waits.
    pub(super) held: Option<Held>,
    pub(super) answered: Answered,
}

/// Who has given the answer whose headers have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// They have not.
    Not,
    /// The agent.
    ByAgent,
    /// The host in its place; under this code.
    ByHost(&'static str),
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
pub(super) type Walking = Pin<Box<dyn Future<Output = Result<Arrived, Refusal>>>>;

/// Where a walk ends that is not refused.
pub(super) enum Arrived {
    /// The request goes on to its agent.
    AtAgent,
    /// The gateway has answered it itself.
    Answered(Box<LocalReply>),
}

/// What the walk finds out, and the driver and those who count and tell must know as well.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) request_id: Option<Sensitive<Vec<u8>>>,
    pub(super) form: Form,
    pub(super) route: Option<RouteId>,
    /// The path as it goes on by the route, unless it goes on as it came.
    pub(super) rewritten_path: Option<Sensitive<Vec<u8>>>,
    /// The host that the caller has asked, where redirects to it are rewritten.
    pub(super) authority: Option<Sensitive<Vec<u8>>>,
    pub(super) client: Option<Rc<Client>>,
    pub(super) agent: Option<AgentId>,
    /// At which agents it is tried, where that is not the one alone.
    pub(super) order: Option<Box<Order>>,
    /// It tries its route's canary.
    pub(super) canary: Option<Trial>,
    /// For how long it waits for its first token, where that is measured.
    pub(super) timing: Option<Timing>,
    /// The agent that answers it, where that may rest.
    pub(super) answering: Option<Box<Answering>>,
    /// What keeps it at one of the agent's hosts.
    pub(super) kept: Option<Kept>,
    /// The subprotocol to name in the handshake's answer if the agent names none.
    pub(super) protocol: Option<Sensitive<Vec<u8>>>,
    /// The size of the request's headers.
    pub(super) header_bytes: u64,
    /// What it waits for, if it has to.
    pub(super) waits: Waits,
    /// A number for who asks, once that was needed; until then 0.
    pub(super) caller: Cell<u64>,
    /// The walk is to have its turn by then, whatever it waits for.
    pub(super) due: Option<Ticks>,
    pub(super) body: Body,
    /// What the body says of what the route's rules ask.
    pub(super) content: Option<Box<Content>>,
    /// What the body says of what the request has in common with others.
    pub(super) look: Option<Box<Look>>,
    /// Its answer's name is to be remembered.
    pub(super) learns: Option<Box<Learns>>,
    /// The messages in the body, where its route carries MCP.
    pub(super) messages: Option<Box<Messages>>,
    /// The body itself, where its route carries A2A and the path says what is asked.
    pub(super) beside: Option<Box<Beside>>,
    /// What it asks for, where its route carries A2A.
    pub(super) a2a: Option<Asked>,
    /// What these were found to call, which its client may.
    pub(super) called: Option<Rc<Called>>,
    /// The body may have to be changed: until then all that has come of it is to be at hand.
    pub(super) may_change: bool,
    /// What is to be made of its answer before the caller sees it; `None`: the answer passes as it comes.
    pub(super) held_answer: Option<Box<HeldAnswer>>,
    /// For how long it may go on once it was handed over.
    pub(super) bounds: Bounds,
    admission: Admission,
    /// Its places among the requests in flight, where these are bounded.
    in_flight: Option<Box<Tickets>>,
    /// How the limits stand that are counted for all gateways.
    fleet: Vec<Told>,
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
    /// A request whose walk begins.
    pub(super) fn new(walk: Walking, common: Rc<Common<S>>) -> Self {
        Self {
            phase: Phase::Walking(walk),
            common,
            held: None,
            answered: Answered::Not,
        }
    }

    /// What is counted of it, if it ends now.
    pub(super) fn outcome(&self) -> &'static str {
        if let Phase::Ended(outcome) = self.phase {
            return outcome;
        }
        match self.answered {
            Answered::ByHost(code) => code,
            Answered::ByAgent => "allowed",
            Answered::Not => "caller_left",
        }
    }

    pub(super) fn is_forwarded(&self) -> bool {
        matches!(self.phase, Phase::Forwarded)
    }

    pub(super) fn changes_answer(&self) -> bool {
        self.common.facts.borrow().held_answer.is_some()
    }

    /// Why it may no longer go on: its caller does not say all of what it asks, or its agent does not answer.
    pub(super) fn lateness(&self, compiled: &Compiled) -> Refusal {
        let facts = self.common.facts.borrow();
        let route = facts.route.and_then(|id| compiled.route(id));
        // The request of a WebSocket never ends.
        let ends = route.is_some_and(|route| route.protocol != Protocol::Websocket);
        if ends && self.answered == Answered::Not && !facts.body.has_ended() {
            Refusal::RequestTimeout
        } else {
            Refusal::AgentTimeout
        }
    }

    /// True if it waits, or goes on, and may no longer.
    pub(super) fn is_due(&self, now: Ticks) -> bool {
        let facts = self.common.facts.borrow();
        match self.phase {
            Phase::Walking(_) => facts.due.is_some_and(|due| due <= now),
            Phase::Forwarded => facts.bounds.are_over(now),
            Phase::Ended(_) => false,
        }
    }
}

impl Facts {
    /// How many bytes of the request are here, while all that has come of it is.
    pub(super) fn bytes(&self) -> u64 {
        self.header_bytes.saturating_add(self.body.arrived())
    }

    /// Takes over what counting came to.
    pub(super) fn counted(
        &mut self,
        count: Admission,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<(), Refusal> {
        let refused = count.is_refused().then(|| {
            let limits = count.full().map(full_limit).collect::<Vec<_>>();
            (count.too_small().next().map(too_many), limits)
        });
        self.looked_at(count);
        match refused {
            Some((Some(too_many), _)) => Err(too_many),
            Some((None, limits)) => Err(Refusal::RateLimited(limits, self.wait(now).max(1))),
            None => Ok(()),
        }
    }

    /// Takes over how limits stand. Those of the gate are told behind those of the client.
    pub(super) fn looked_at(&mut self, count: Admission) {
        self.admission = count.and(std::mem::take(&mut self.admission));
    }

    /// Gives back what the request has taken at admit.
    pub(super) fn released<H: Host>(&mut self, host: &H, limits: &Limits) {
        self.admission = limits.release(host, std::mem::take(&mut self.admission));
    }

    /// Takes over how the limits stand that are counted for all gateways.
    pub(super) fn counted_in_fleet(&mut self, told: Vec<Told>) {
        self.fleet = told;
    }

    /// Some of these are full, for so many seconds.
    pub(super) fn full_in_fleet(&self, wait: u64) -> Refusal {
        let full = self.fleet.iter().filter_map(Told::full);
        Refusal::RateLimited(full.map(full_limit).collect(), wait)
    }

    /// Its client's own limits.
    pub(super) fn own_limits(&self) -> Option<&LimitSet> {
        self.client.as_ref()?.limits.as_ref()
    }

    /// Its places among the requests in flight.
    pub(super) fn tickets(&mut self) -> &mut Tickets {
        self.in_flight.get_or_insert_default()
    }

    /// The same, if it has any.
    pub(super) fn tickets_if_any(&mut self) -> Option<&mut Tickets> {
        self.in_flight.as_deref_mut()
    }

    /// Gives all places free that it has or waits for.
    pub(super) fn leave<H: Host>(&mut self, host: &H, limits: &Limits) {
        if let Some(tickets) = self.in_flight.take() {
            limits.leave(host, *tickets);
        }
    }

    /// Whole seconds until every limit that was looked at lets one more request through; 0 if all do.
    pub(super) fn wait(&self, now: impl FnOnce() -> Timestamp) -> u64 {
        self.admission.wait(now)
    }

    /// The fields of `tell` that tell the caller of its limits.
    pub(super) fn rate_limit_headers(&self, tell: Tell) -> Vec<(&'static str, String)> {
        let mut fields = Vec::new();
        self.each_rate_limit_header(tell, |name, value| fields.push((name, value.to_owned())));
        fields
    }

    /// Tells each of [`Self::rate_limit_headers`] on its own.
    pub(super) fn each_rate_limit_header(&self, tell: Tell, told: impl FnMut(&'static str, &str)) {
        let tickets = self.in_flight.as_deref();
        self.admission.each_field(tell, tickets, &self.fleet, told);
    }

    pub(super) fn reply_to<'a>(
        &'a self,
        rpc: Option<&'a RpcIds>,
        now: impl FnOnce() -> Timestamp,
    ) -> ReplyTo<'a> {
        ReplyTo {
            rpc,
            wait: self.wait(now),
            request_id: self.request_id.as_deref().map(Vec::as_slice),
            form: self.form,
        }
    }
}

/// A request with more messages than this limit ever lets through.
#[cold]
pub(super) fn too_many(limit: Full<'_>) -> Refusal {
    (&BadMessage::TooMany(full_limit(limit).to_string())).into()
}

pub(super) fn full_limit(full: Full<'_>) -> FullLimit {
    FullLimit {
        name: full.name.to_owned(),
        per: full.per.to_owned(),
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
