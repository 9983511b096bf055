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
use crate::config::policy::{Agent, AgentId, AgentsSee, Choice, MOST_ATTEMPTS, Prefer, Route};
use crate::host::{Host, StreamIo};
use crate::reply::Refusal;
use crate::routing::{COMPOSITE, FURTHER, Next, PROOF, Turn, in_order, listed};

const MOST: usize = MOST_ATTEMPTS as usize;

/// The notes of the clusters of the second and the third attempt.
const CLUSTERS: [&str; MOST - 1] = ["waykeeper_cluster_2", "waykeeper_cluster_3"];

/// What an answer says of who has given it, where that is not the agent that was asked first.
const AGENT: &str = "x-waykeeper-agent";

/// The agents at which a request is tried.
#[derive(Debug)]
pub(super) struct Order {
    /// Two or three.
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

    /// One of the choices, or where all of these rest the first of those behind them that does not. Who comes next is found out too;
    /// nobody does where the caller has named an agent.
    #[inline(never)]
    pub(super) fn first_of(
        &self,
        request: &Request,
        next: &Next<'_>,
        prefer: Prefer,
        returns: Option<AgentId>,
    ) -> Result<AgentId, Refusal> {
        let first = self.choose(request, next.choices, prefer, returns);
        if request.wanted_agents().next().is_some() {
            return first;
        }
        let policy = &self.shared.compiled.policy;
        let capabilities = request.headers().get_all("x-agent-capability");
        let listed = listed(policy, next, capabilities.clone());
        let first = match first {
            Err(Refusal::AgentsResting(seconds)) => self.first_fit(request, &listed, seconds),
            first => first,
        }?;
        let comes = |agent| self.shared.comes(agent);
        let agents = in_order(policy, first, next, listed, capabilities, &comes);
        if agents.len() > 1 {
            let repeatable = matches!(request.method(), b"GET" | b"HEAD");
            let order = Order { agents, repeatable };
            self.common.facts.borrow_mut().order = Some(Box::new(order));
        }
        Ok(first)
    }

    /// The first of these that may be asked. All others rest, of which the first is to be asked again in so many seconds.
    fn first_fit(
        &self,
        request: &Request,
        listed: &[Choice],
        mut seconds: u64,
    ) -> Result<AgentId, Refusal> {
        for choice in listed {
            match self.turn(request, choice.agent) {
                Turn::Yes => return Ok(choice.agent),
                Turn::No(other) => seconds = seconds.min(other),
            }
        }
        Err(Refusal::AgentsResting(seconds))
    }
}

impl Order {
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
        let Some(order) = facts.order.take() else {
            return;
        };
        let Some(route) = facts.route else { return };
        let (compiled, cluster) = (&self.compiled, io.upstream_cluster().unwrap_or_default());
        let mut agents = order.agents(compiled);
        let last = match cluster.starts_with(COMPOSITE.as_bytes()) {
            true => io
                .attempts()
                .and_then(|it| usize::try_from(it).ok()?.checked_sub(1)),
            false => agents.position(|agent| agent.cluster.as_bytes() == cluster),
        };
        let Some(last) = last.filter(|last| *last < order.agents.len()) else {
            return;
        };
        let (passed, rest) = order.agents.split_at(last);
        let (false, Some(last)) = (passed.is_empty(), rest.first()) else {
            return;
        };
        self.ended_before_token(facts);
        facts.agent = Some(*last);
        for agent in passed {
            (self.telemetry).passed_over(&*self.host, compiled, route, *agent);
        }
        if facts.answering.is_some() {
            self.another_answers(facts, passed, *last);
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
