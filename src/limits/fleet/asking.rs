//! What the service is asked, and what its answers mean.

use std::rc::Rc;
use std::time::Duration;

use prost::Message;

use super::abilities::Abilities;
use super::counted::Counted;
use super::lease::Lease;
use super::protocol::{
    Code, METHOD, RateLimitDescriptor, RateLimitRequest, RateLimitResponse, SERVICE,
};
use super::{Change, Fleet, lasts};
use crate::host::{Callout, CalloutAnswer, CalloutRequest, Timestamp};
use crate::state::Hashed;

/// gRPC's statuses for a question that cannot be answered, by a service that answers others: one that is not as it should be,
/// has no room for a further counter, or is too large.
const NOT_THIS_ONE: [u8; 3] = [3, 8, 11];
/// Those for a service that cannot be reached, or does not answer in time.
const AWAY: [u8; 2] = [14, 4];

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Whether this one request passes.
    Request(u64),
    /// A share of a limit.
    Share {
        /// Which limit, and whose.
        key: Hashed,
        /// So much was asked for.
        amount: u32,
        /// How long its windows are.
        window: Duration,
    },
    /// What the service can do.
    Abilities,
    /// How limits stand. Who asks the same shares the answer.
    Look(Hashed),
    /// A fresh start.
    Reset(u64),
}

/// A question for the service.
#[derive(Debug)]
pub struct Question {
    /// What it is about.
    pub topic: Topic,
    pub(super) message: Vec<u8>,
}

/// What the service has said.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Nothing, or nothing that can be understood.
    Failed,
    /// About a share: it is written down.
    Noted,
    /// It does not take the question.
    Unable,
    /// About a request.
    Said(Rc<RateLimitResponse>),
}

impl Fleet {
    /// How many questions may be under way, and how long each may take.
    #[must_use]
    pub fn bounds(&self) -> (usize, Duration) {
        (self.policy.max_pending, self.policy.timeout)
    }

    /// The callout that asks it.
    #[must_use]
    pub fn callout<'q>(&'q self, question: &'q Question) -> Callout<'q> {
        Callout {
            cluster: &self.policy.cluster,
            request: CalloutRequest::Grpc {
                authority: &self.policy.host,
                service: SERVICE,
                method: METHOD,
                metadata: &[],
                message: &question.message,
            },
            timeout: self.policy.timeout,
        }
    }

    /// What an answer means; it was sent at `sent`. `chance` is a random number.
    pub fn hear(
        &self,
        topic: Topic,
        came: &CalloutAnswer,
        (sent, now): (Timestamp, Timestamp),
        chance: u64,
    ) -> (Verdict, Change) {
        let beyond = matches!(topic, Topic::Abilities | Topic::Look(_) | Topic::Reset(_));
        let status = match came {
            CalloutAnswer::Status { status, .. } => Some(*status),
            _ => None,
        };
        // The service is there, and does not take this one: else whoever finds such a question could have it let alone.
        if status.is_some_and(|it| NOT_THIS_ONE.contains(&it) || beyond && !AWAY.contains(&it)) {
            let verdict = self.not_taken(topic, now);
            return (verdict, self.circuit.borrow_mut().answered());
        }
        let said = match came {
            CalloutAnswer::Message(bytes) => RateLimitResponse::decode(bytes.as_slice()).ok(),
            _ => None,
        };
        let known = |it: &RateLimitResponse| it.overall_code() != Code::Unknown;
        let Some(said) = said.filter(known) else {
            if beyond && matches!(came, CalloutAnswer::Message(_)) {
                let verdict = self.not_taken(topic, now);
                return (verdict, self.circuit.borrow_mut().answered());
            }
            return (Verdict::Failed, self.failed(sent, now, chance));
        };
        if topic == Topic::Abilities {
            self.abilities.set(Some((Abilities::shown_by(&said), now)));
        }
        if let Topic::Share {
            key,
            amount,
            window,
        } = topic
        {
            self.note(&said, (key, amount, window), (sent, now));
            return (Verdict::Noted, self.circuit.borrow_mut().answered());
        }
        let change = self.circuit.borrow_mut().answered();
        (Verdict::Said(Rc::new(said)), change)
    }

    fn not_taken(&self, topic: Topic, now: Timestamp) -> Verdict {
        match topic {
            Topic::Request(_) | Topic::Share { .. } => Verdict::Failed,
            Topic::Look(_) | Topic::Reset(_) => Verdict::Unable,
            Topic::Abilities => {
                self.abilities.set(Some((Abilities::default(), now)));
                Verdict::Unable
            }
        }
    }

    /// There is no answer.
    pub fn failed(&self, sent: Timestamp, now: Timestamp, chance: u64) -> Change {
        // Who answers next may be another one.
        self.abilities.set(None);
        self.circuit.borrow_mut().failed(sent, now, chance)
    }

    fn note(
        &self,
        said: &RateLimitResponse,
        (key, amount, window): (Hashed, u32, Duration),
        (sent, now): (Timestamp, Timestamp),
    ) {
        let [status] = said.statuses.as_slice() else {
            self.no_windows.set(true);
            return;
        };
        let Some(lasts) = lasts(status) else {
            self.no_windows.set(true);
            return;
        };
        // Some services tell whole seconds, rounded up.
        let rounded = if lasts.subsec_nanos() == 0 {
            Duration::from_secs(1)
        } else {
            Duration::ZERO
        };
        let lasts = lasts.saturating_sub(rounded);
        // Whatever is said, it is asked again.
        let lasts = lasts.min(window);
        let granted = said.overall_code() == Code::Ok;
        let lease = Lease {
            left: if granted { amount } else { 0 },
            beside: status.limit_remaining,
            since: sent,
            until: sent.after(lasts),
            era: 0,
        };
        // So much later its window may end.
        let took = now.since(sent).saturating_add(rounded);
        self.leases.borrow_mut().grant(key, lease, took, window);
    }

    pub(super) fn number(&self) -> u64 {
        let next = self.questions.get().wrapping_add(1);
        self.questions.set(next);
        next
    }

    pub(super) fn question(&self, topic: Topic, descriptors: Vec<RateLimitDescriptor>) -> Question {
        let hits_addend = match topic {
            Topic::Share { amount, .. } => amount,
            _ => 1,
        };
        let request = RateLimitRequest {
            domain: self.policy.domain.clone(),
            descriptors,
            hits_addend,
        };
        Question {
            topic,
            message: request.encode_to_vec(),
        }
    }

    /// Asks for a share: no more than is left, as far as that is known.
    pub(super) fn share(
        &self,
        (counted, key): (&Counted, Hashed),
        beside: Option<u32>,
        descriptor: RateLimitDescriptor,
    ) -> Question {
        let amount = counted.share.min(beside.unwrap_or(u32::MAX)).max(1);
        let topic = Topic::Share {
            key,
            amount,
            window: counted.window,
        };
        self.question(topic, vec![descriptor])
    }

    /// False: it has failed, and is let alone for now.
    pub fn may_ask(&self, now: Timestamp) -> bool {
        let patience = self.policy.timeout;
        self.circuit.borrow_mut().may_ask(now, patience)
    }
}
