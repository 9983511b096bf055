//! How busy agents say they are, in their answers.

use std::time::Duration;

use super::{Loads, OfAgent};
use crate::config::policy::{AgentId, Load, LoadSource};
use crate::host::{Host, StreamIo};
use crate::lifecycle::shared::Shared;
use crate::lifecycle::stream::{Answered, Facts};
use crate::routing::report::{ORCA, ORCA_BINARY, QUEUE_DEPTH, in_header};
use crate::state::StateError;
use crate::state::measures::{Average, Measures};

/// Reports of one moment differ by whatever each request met; those of the last seconds say how busy an agent is.
const HALF_OF_LOAD: Duration = Duration::from_secs(1);

impl<H: Host> Shared<H> {
    /// An answer has arrived: its report is taken out of it, and its time goes on if the agent has not failed.
    #[inline(never)]
    pub(in crate::lifecycle) fn heard(
        &self,
        loads: &Loads,
        io: &H::Stream,
        facts: &mut Facts,
        answered: Answered,
    ) {
        let Some(agent) = facts.agent.filter(|_| answered == Answered::ByAgent) else {
            return;
        };
        if let Some(timing) = &mut facts.timing {
            let status = io.response_header(":status");
            timing.answered = status.is_some_and(|status| status.first() == Some(&b'2'));
            if !timing.answered {
                self.ended_before_token(facts);
            }
        }
        let Some(of_agent) = loads.of_agent(agent) else {
            return;
        };
        for name in headers_of(&of_agent.load) {
            if let Some(value) = io.response_header(name) {
                io.remove_response_header(name);
                self.report(agent, of_agent, in_header(&of_agent.load, name, &value));
            }
        }
    }

    /// The same of its trailers, where gRPC has reports.
    pub(in crate::lifecycle) fn heard_at_end(&self, loads: &Loads, io: &H::Stream, facts: &Facts) {
        let Some(agent) = facts.agent else { return };
        let Some(of_agent) = loads.of_agent(agent) else {
            return;
        };
        for name in headers_of(&of_agent.load) {
            if let Some(value) = io.response_trailer(name) {
                io.remove_response_trailer(name);
                self.report(agent, of_agent, in_header(&of_agent.load, name, &value));
            }
        }
    }

    /// An agent has reported its load. `None`: in words that mean nothing.
    pub(super) fn report(&self, id: AgentId, agent: &OfAgent, load: Option<u64>) {
        let host = &*self.host;
        let Some(load) = load else {
            self.unread(id, agent);
            return;
        };
        if agent.own.may_write(host.now()) {
            let average = average(&agent.load);
            self.noted(Measures::note(host, agent.own.key, load, average));
        }
    }

    #[cold]
    pub(super) fn unread(&self, id: AgentId, agent: &OfAgent) {
        let (_, name) = self.compiled.names(None, Some(id));
        let from = agent.load.from.name();
        (self.telemetry).report_unread(&*self.host, from, name.unwrap_or_default());
    }

    pub(super) fn noted(&self, noted: Result<(), StateError>) {
        if let Err(error) = noted {
            self.telemetry.loads_unknown(&*self.host, error);
        }
    }
}

/// The headers in which reports stand.
fn headers_of(load: &Load) -> &'static [&'static str] {
    match load.from {
        LoadSource::Orca { .. } => &[ORCA, ORCA_BINARY],
        LoadSource::QueueDepth => &[QUEUE_DEPTH],
        LoadSource::Metrics { .. } | LoadSource::InFlight => &[],
    }
}

/// How what an agent reports is averaged.
pub(super) fn average(load: &Load) -> Average {
    Average {
        half: HALF_OF_LOAD,
        lasts: load.lasts,
    }
}
