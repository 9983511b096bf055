//! The agents at which a request is tried, one after the other, until one answers; and which of them that was.
//!
//! Envoy tries them, by routes that are there for this. The filter says which agents these are, and steers what counts as no
//! answer.

use super::compiled::Compiled;
use super::forward::{name_all, note_all, tell_inference_gateway};
use super::request::Request;
use super::shared::Shared;
use super::stream::{Answered, Facts};
use super::walk::Walk;
use crate::config::policy::{Agent, AgentId, AgentsSee, MOST_ATTEMPTS, Prefer, Route};
use crate::host::{Host, StreamIo};
use crate::reply::Refusal;
use crate::routing::{FURTHER, Next, PROOF, Turn, in_order, listed};

const MOST: usize = MOST_ATTEMPTS as usize;

/// The notes of the clusters of the second and the third attempt.
const CLUSTERS: [&str; MOST - 1] = ["waykeeper_cluster_2", "waykeeper_cluster_3"];

/// What an answer says of who has given it, where that is not the agent that was asked first.
const AGENT: &str = "x-waykeeper-agent";

/// The agents of a request's attempts.
#[derive(Debug)]
pub(super) struct Attempts {
    /// In their order; two or three.
    agents: Vec<AgentId>,
    /// The request does no harm when an agent has seen it already.
    repeatable: bool,
}

impl<H: Host> Walk<H> {
    /// One of the route's agents, where nothing else narrows the choice.
    pub(super) fn choose_of(&self, request: &Request, route: &Route) -> Result<AgentId, Refusal> {
        let returns = self.returns_to(request, route)?;
        let Some(behind) = &route.fallback else {
            return self.choose(request, &route.agents, route.prefer, returns);
        };
        let next = Next {
            listed: behind,
            choices: &route.agents,
            model: None,
        };
        self.first_of(request, &next, route.prefer, returns)
    }

    /// One of the choices, or where all of these rest the first of those behind them that does not. Who comes next is found out too.
    #[inline(never)]
    pub(super) fn first_of(
        &self,
        request: &Request,
        next: &Next<'_>,
        prefer: Prefer,
        returns: Option<AgentId>,
    ) -> Result<AgentId, Refusal> {
        let mut first = self.choose(request, next.choices, prefer, returns);
        if matches!(first, Err(Refusal::AgentsResting(_)))
            && request.wanted_agents().next().is_none()
        {
            let policy = &self.shared.compiled.policy;
            let capabilities = request.headers().get_all("x-agent-capability");
            let able = listed(policy, next, capabilities);
            let mut able = able.iter().map(|choice| choice.agent);
            if let Some(agent) = able.find(|id| self.turn(request, *id) == Turn::Yes) {
                first = Ok(agent);
            }
        }
        let first = first?;
        self.fall_back(request, first, next);
        Ok(first)
    }

    /// Finds out who comes next if the agent that was chosen first does not answer. Nobody does where the caller has named it.
    #[inline(never)]
    fn fall_back(&self, request: &Request, first: AgentId, next: &Next<'_>) {
        if request.wanted_agents().next().is_some() {
            return;
        }
        let policy = &self.shared.compiled.policy;
        let capabilities = request.headers().get_all("x-agent-capability");
        let rests = |agent| self.shared.rests(agent);
        let agents = in_order(policy, first, next, capabilities, &rests);
        if agents.len() > 1 {
            let repeatable = matches!(request.method(), b"GET" | b"HEAD");
            let attempts = Attempts { agents, repeatable };
            self.common.facts.borrow_mut().attempts = Some(Box::new(attempts));
        }
    }
}

impl Attempts {
    /// All of them.
    pub(super) fn all(&self) -> &[AgentId] {
        &self.agents
    }

    fn agents<'a>(&self, compiled: &'a Compiled) -> impl Iterator<Item = &'a Agent> {
        let all = &compiled.policy.agents;
        self.agents.iter().filter_map(|id| all.get(id.0))
    }

    /// Hands the request over, so that it is tried at one after the other.
    #[inline(never)]
    pub(super) fn forward<S: StreamIo>(&self, stream: &S, compiled: &Compiled, facts: &Facts) {
        let mut agents = self.agents(compiled);
        let (Some(route), Some(first)) = (facts.route, agents.next()) else {
            return;
        };
        name_all(stream, compiled, facts, self.seen(compiled));
        // What an agent is not to see its cluster takes out: the access log is told apart from that.
        note_all(stream, compiled, facts);
        stream.set_request_header(FURTHER, first.cluster.as_bytes());
        let same = |agent: &Agent| agent.inference == first.inference;
        if let (Some(inference), Some(client), true) = (
            &first.inference,
            &facts.client,
            self.agents(compiled).all(same),
        ) {
            tell_inference_gateway(stream, inference, client);
        }
        for (note, agent) in CLUSTERS.iter().zip(agents) {
            stream.note(note, agent.cluster.as_bytes());
        }
        if let Some(kept) = &facts.kept {
            kept.forward(stream);
        }
        if let Some(proof) = &compiled.policy.proof {
            stream.set_request_header(PROOF, proof.as_bytes());
        }
        for (name, value) in compiled.steering_further(route, self.agents.len(), self.repeatable) {
            stream.set_request_header(name, value.as_bytes());
        }
    }

    /// Which names the request bears: what one of them may see, if from all others it is kept.
    fn seen(&self, compiled: &Compiled) -> AgentsSee {
        let of_all = compiled.policy.agents_see;
        let sees = |agent: &Agent| agent.sees.unwrap_or(of_all);
        let is_seen = |name: fn(AgentsSee) -> bool| {
            let seen = |agent: &Agent| name(sees(agent));
            self.agents(compiled).any(seen)
                && self.agents(compiled).all(|it| it.cluster_hides || seen(it))
        };
        AgentsSee {
            client: is_seen(|it| it.client),
            plan: is_seen(|it| it.plan),
            team: is_seen(|it| it.team),
            roles: is_seen(|it| it.roles),
            agent: is_seen(|it| it.agent),
            route: is_seen(|it| it.route),
        }
    }
}

impl<H: Host> Shared<H> {
    /// A request is answered, or over, that was tried at several agents: from now on it is the last one's.
    #[inline(never)]
    pub(super) fn tried(&self, io: &H::Stream, facts: &mut Facts, answered: Answered) {
        let Some(attempts) = facts.attempts.take() else {
            return;
        };
        let Some(route) = facts.route else { return };
        let (compiled, cluster) = (&self.compiled, io.upstream_cluster().unwrap_or_default());
        let mut agents = attempts.agents(compiled);
        let Some(last) = agents.position(|agent| agent.cluster.as_bytes() == cluster) else {
            return;
        };
        let (passed, rest) = attempts.agents.split_at(last);
        facts.agent = rest.first().copied().or(facts.agent);
        for agent in passed {
            (self.telemetry).passed_over(&*self.host, compiled, route, *agent);
        }
        if passed.is_empty() {
            return;
        }
        // Another had to answer for it.
        facts.broke_off();
        note_all(io, compiled, facts);
        if answered == Answered::ByAgent
            && let (_, Some(name)) = compiled.names(None, facts.agent)
        {
            io.set_response_header(AGENT, name.as_bytes());
        }
    }
}
