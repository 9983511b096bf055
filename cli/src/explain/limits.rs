//! Which limits count a request.

use serde::Serialize;
use waykeeper::config::policy::{
    AgentId, Algorithm, Each, InFlight, Limit, ListedClient, RouteId, Scope, Span, Subject,
};
use waykeeper::config::{Policy, show_duration, show_rate};
use waykeeper::host::HeaderBlock;
use waykeeper::limits::{Asked, Caller};

/// A limit that counts the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Counted {
    pub(super) name: String,
    /// What it is counted per, in words.
    pub(super) per: String,
    /// How much, in words.
    pub(super) amount: String,
    /// Where it is counted, in words.
    pub(super) counted: &'static str,
    /// Only if this agent is to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agent: Option<String>,
    /// For how many per cent of those that it is counted per it is in force.
    #[serde(skip_serializing_if = "is_whole")]
    pub(super) enforced_percent: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_whole(percent: &u8) -> bool {
    *percent >= 100
}

/// The request, as limits know it.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) policy: &'a Policy,
    pub(super) client: Option<&'a ListedClient>,
    pub(super) route: RouteId,
    pub(super) agent: Option<AgentId>,
    pub(super) method: &'a [u8],
    pub(super) headers: &'a HeaderBlock,
    /// The tool that it calls by MCP.
    pub(super) tool: Option<&'a str>,
}

impl Of<'_> {
    /// All limits that count it, in the order in which they are asked.
    pub(super) fn counted(&self) -> Vec<Counted> {
        let Self {
            policy,
            client,
            route,
            agent,
            ..
        } = *self;
        let route = policy.routes.get(route.0);
        let plan = client
            .and_then(|client| client.plan)
            .and_then(|id| policy.plans.get(id.0));
        let own = client.and_then(|client| client.limits.as_ref());
        let (of_caller, in_flight_of_caller) = match (own, plan) {
            (Some(own), _) => (&own.limits[..], &own.in_flight[..]),
            (None, Some(plan)) => (&plan.limits[..], &plan.in_flight[..]),
            (None, None) => (&[][..], &[][..]),
        };
        let of_route = route.map_or(&[][..], |route| &route.limits);
        let limits = of_caller.iter().chain(&policy.limits).chain(of_route);
        let limits: Vec<&Limit> = limits
            .filter(|it| self.meets(&it.scope) && self.has(&it.each))
            .collect();
        let agent = agent.and_then(|id| policy.agents.get(id.0));
        let of_agent = agent.and_then(|agent| agent.in_flight.as_ref());
        let in_flight = in_flight_of_caller
            .iter()
            .chain(&policy.in_flight)
            .chain(of_agent);
        let in_flight = in_flight.filter(|it| self.meets(&it.scope) && self.has(&it.each));
        let gate = limits.iter().filter(|limit| limit.is_of_gate());
        let process = limits
            .iter()
            .filter(|limit| !limit.is_of_gate() && limit.span == Span::Process);
        let fleet = limits.iter().filter(|limit| limit.span == Span::Fleet);
        let gate = gate.map(|limit| of_rate(limit, "at the gate, before the key is looked at"));
        let process = process.map(|limit| of_rate(limit, "once the agent is chosen"));
        let fleet = fleet.map(|limit| of_rate(limit, "for all gateways, last"));
        gate.chain(process)
            .chain(in_flight.map(at_once))
            .chain(fleet)
            .collect()
    }

    /// Whether the request is one of those that count.
    fn meets(&self, scope: &Scope) -> bool {
        let client = self.client;
        let caller = client.map_or(Caller::Address(b""), |client| Caller::Client(&client.id));
        let asked = Asked {
            plan: client.and_then(|client| client.plan),
            team: client.and_then(|client| client.team.as_deref()),
            agent: self.agent,
            method: self.method,
            headers: Some(self.headers),
            tool: self.tool.map(str::as_bytes),
            ..Asked::by(caller)
        };
        let route = self.policy.routes.get(self.route.0);
        asked.meets(scope, route.map(|route| route.name.as_str()))
    }

    /// Whether it has all that a limit is counted per.
    fn has(&self, each: &Each) -> bool {
        each.subjects().iter().all(|subject| match subject {
            Subject::Key => self.client.is_some(),
            Subject::Team => self.client.is_some_and(|client| client.team.is_some()),
            Subject::Organisation => self
                .client
                .is_some_and(|client| client.organisation.is_some()),
            Subject::Plan => self.client.is_some_and(|client| client.plan.is_some()),
            Subject::Agent => self.agent.is_some(),
            Subject::Tool => self.tool.is_some(),
            Subject::Client | Subject::Address | Subject::Route | Subject::Header(_) => true,
        })
    }
}

fn of_rate(limit: &Limit, counted: &'static str) -> Counted {
    let rate = limit.rate;
    let how = match limit.algorithm {
        Algorithm::TokenBucket if rate.burst == rate.quantity => String::new(),
        Algorithm::TokenBucket => format!(", {} at once", rate.burst),
        Algorithm::SlidingWindow => ", in a sliding window".to_owned(),
        Algorithm::FixedWindow { .. } => ", by the calendar".to_owned(),
    };
    Counted {
        name: limit.name.clone(),
        per: limit.each.to_string(),
        amount: format!("{}{how}", show_rate(rate.quantity, rate.period)),
        counted,
        agent: None,
        enforced_percent: limit.enforce,
    }
}

fn at_once(limit: &InFlight) -> Counted {
    let wait = match limit.queue {
        Some(queue) => format!(", others wait for up to {}", show_duration(queue.wait)),
        None => String::new(),
    };
    Counted {
        name: limit.name.clone(),
        per: limit.each.to_string(),
        amount: format!("{} in flight{wait}", limit.most),
        counted: "while it is under way",
        agent: None,
        enforced_percent: limit.enforce,
    }
}

/// The limits of several agents in one list: those that count whichever answers, and those of each.
pub(super) fn merged(of_agents: Vec<(String, Vec<Counted>)>) -> Vec<Counted> {
    let mut all: Vec<Counted> = Vec::new();
    for (agent, counted) in &of_agents {
        for limit in counted {
            let of_all = of_agents.iter().all(|(_, others)| others.contains(limit));
            let mut limit = limit.clone();
            limit.agent = (!of_all).then(|| agent.clone());
            if !all.contains(&limit) {
                all.push(limit);
            }
        }
    }
    all
}
