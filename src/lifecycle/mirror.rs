//! Another agent hears a request as well.

use super::request::Request;
use super::sticky::Kept;
use super::walk::Walk;
use crate::config::policy::Route;
use crate::host::{Host, StreamIo};
use crate::reply::Refusal;
use crate::routing::{MIRROR, is_within};

/// Of longer bodies nobody else hears. A mirror that does not read what it is sent has Envoy hold it; of more than Envoy holds, a
/// mebibyte unless told otherwise, the caller would be made to wait.
const LONGEST_BODY: u64 = 512 << 10;

impl<H: Host> Walk<H> {
    /// Has the route's mirror hear the request, if it is drawn. Not one that it answers itself, nor one of another agent's
    /// session, which would mean nothing to it, nor one that may be too long.
    pub(super) fn mirror(&self, request: &Request, route: &Route) -> Result<(), Refusal> {
        let Some(mirror) = &route.mirror else {
            return Ok(());
        };
        let facts = self.common.facts.borrow();
        let length = match facts.body.has_ended() {
            true => Some(facts.body.arrived()),
            false => request.content_length(),
        };
        let agents = &self.shared.compiled.policy.agents;
        let other = facts.agent != Some(mirror.agent);
        let in_session = matches!(
            facts.kept,
            Some(Kept::InSession { .. } | Kept::AtHost { .. })
        );
        let short = length.is_some_and(|length| length <= LONGEST_BODY);
        let agent = agents.get(mirror.agent.0);
        let Some(agent) = agent.filter(|_| other && short && !in_session) else {
            return Ok(());
        };
        if !is_within(mirror.percent, || self.shared.host.random()) {
            return Ok(());
        }
        self.with_stream(|stream| stream.set_request_header(MIRROR, agent.cluster.as_bytes()))
    }
}
