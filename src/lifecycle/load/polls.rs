//! The metrics that agents show, asked for once in a while, by one worker.

use std::time::Duration;

use super::reports::average;
use super::{Loads, OfAgent};
use crate::config::policy::{AgentId, LoadSource, Shower};
use crate::host::{Callout, CalloutAnswer, CalloutId, CalloutRequest, Host, Timestamp};
use crate::lifecycle::shared::Shared;
use crate::routing::report::in_metrics;
use crate::state::measures::{Key, Measures};

/// So long an agent may take to show its metrics.
const PATIENCE: Duration = Duration::from_millis(900);

/// Metrics that are larger are none.
const MOST_METRICS: usize = 1 << 20;

/// A question for an agent's metrics that is under way.
#[derive(Debug)]
pub(super) struct Poll {
    id: CalloutId,
    agent: AgentId,
    /// Where what is asked stands among those that show the agent's metrics.
    place: usize,
    at: Timestamp,
}

impl Loads {
    /// The most bytes that the answer to this callout may have, if it asks for metrics.
    pub(in crate::lifecycle) fn most_bytes(&self, id: CalloutId) -> Option<usize> {
        let polls = self.polls.borrow();
        let asks = polls.iter().any(|poll| poll.id == id);
        asks.then_some(MOST_METRICS)
    }
}

impl<H: Host> Shared<H> {
    /// Asks an agent for its metrics, if it shows some and no worker has done so for long enough.
    pub(super) fn poll(&self, loads: &Loads, id: AgentId, of_agent: &OfAgent, now: Timestamp) {
        let host = &*self.host;
        let LoadSource::Metrics {
            path,
            shown_by,
            every,
        } = &of_agent.load.from
        else {
            return;
        };
        // Ticks come a little early or late.
        let every = every.saturating_sub(Duration::from_millis(200));
        let key = of_agent.own.key;
        let claimed = self
            .measured(&of_agent.own)
            .unwrap_or_default()
            .is_claimed(now, every);
        if claimed {
            return;
        }
        match Measures::claim(host, key, every) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return self.telemetry.loads_unknown(host, error),
        }
        let mut reached = false;
        for (
            place,
            Shower {
                cluster,
                host: name,
            },
        ) in shown_by.iter().enumerate()
        {
            let headers = [
                (":method", "GET"),
                (":path", path.as_str()),
                (":authority", name.as_str()),
                ("accept", "text/plain"),
            ];
            let sent = host.call(&Callout {
                cluster,
                request: CalloutRequest::Http {
                    headers: &headers,
                    body: b"",
                },
                timeout: PATIENCE,
            });
            match sent {
                Ok(callout) => {
                    reached = true;
                    loads.polls.borrow_mut().push(Poll {
                        id: callout,
                        agent: id,
                        place,
                        at: now,
                    });
                }
                Err(_) => self.unread(id, of_agent),
            }
        }
        if !reached {
            // Another worker may reach them.
            self.noted(Measures::unclaim(host, key));
        }
    }

    /// Answers that got lost are waited for no more.
    pub(super) fn give_up_polls(&self, loads: &Loads, now: Timestamp) {
        let mut polls = loads.polls.borrow_mut();
        polls.retain(|poll| now.since(poll.at) < 4 * PATIENCE);
    }

    /// A callout was answered, or failed. True: it asked for metrics.
    pub(in crate::lifecycle) fn metrics_came(&self, id: CalloutId, came: &CalloutAnswer) -> bool {
        let Some(loads) = &self.compiled.loads else {
            return false;
        };
        let mut polls = loads.polls.borrow_mut();
        let Some(index) = polls.iter().position(|poll| poll.id == id) else {
            return false;
        };
        let Poll { agent, place, .. } = polls.swap_remove(index);
        drop(polls);
        if let Some(of_agent) = loads.of_agent(agent) {
            let load = match came {
                CalloutAnswer::Response { status: 200, body } => in_metrics(&of_agent.load, body),
                _ => None,
            };
            match of_agent.parts.get(place) {
                Some(part) => self.report_part(agent, of_agent, *part, load),
                None => self.report(agent, of_agent, load),
            }
        }
        true
    }

    /// One of an agent's endpoints has shown its load: Envoy balances among them, so the agent is as busy as they are on average.
    #[inline(never)]
    fn report_part(&self, id: AgentId, agent: &OfAgent, part: Key, load: Option<u64>) {
        let Some(load) = load else {
            self.unread(id, agent);
            return;
        };
        let (whole, average) = (agent.own.key, average(&agent.load));
        let noted = Measures::note_part(&*self.host, whole, &agent.parts, part, load, average);
        self.noted(noted);
    }
}
