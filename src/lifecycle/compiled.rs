//! A configuration made ready for the stages.

use super::canary::Tried;
use crate::config::Policy;
use crate::config::policy::{AgentId, MOST_ATTEMPTS, Route, RouteId};
use crate::host::Host;
use crate::identity::Identity;
use crate::limits::{Limits, routes_together};
use crate::routing::{RouteTable, Rules, Sessions, steering_further, steering_headers};
use crate::state::survey::Survey;
use crate::state::{Notice, OpenError, State};

/// A configuration made ready for the stages.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) policy: Policy,
    pub(super) table: RouteTable,
    pub(super) identity: Identity,
    pub(super) limits: Limits,
    pub(super) survey: Survey,
    pub(super) sessions: Sessions,
    pub(super) canaries: Tried,
    /// For each route, its rules, if there is more to decide than by name and weight.
    rules: Vec<Option<Rules>>,
    /// For each route, how it steers Envoy's router.
    pub(super) steering: Vec<Vec<(&'static str, String)>>,
    /// The same of requests that may be tried at two agents, or more: at so many, and whether they are repeatable.
    steering_further: Vec<Vec<(usize, bool, Vec<(&'static str, String)>)>>,
}

/// How a route steers Envoy's router for requests that may be tried at several agents, where it has such.
fn further(route: &Route) -> Vec<(usize, bool, Vec<(&'static str, String)>)> {
    if route.all_fallbacks().next().is_none() {
        return Vec::new();
    }
    let several = (2..=MOST_ATTEMPTS).flat_map(|agents| [(agents, false), (agents, true)]);
    let steered = several.map(|(agents, repeatable)| {
        let headers = steering_further(route, agents, repeatable);
        (agents as usize, repeatable, headers)
    });
    steered.collect()
}

impl Compiled {
    pub(super) fn new<H: Host>(
        host: &H,
        policy: Policy,
    ) -> Result<(Self, Option<Notice>), OpenError> {
        let (state, notice) = State::open(host, policy.tables, &routes_together(&policy))?;
        let compiled = Self {
            table: RouteTable::new(&policy.routes),
            identity: Identity::new(&policy, &state),
            limits: Limits::new(&policy, &state),
            survey: Survey::new(&state),
            canaries: Tried::new(&policy, &state),
            sessions: Sessions::new(&policy.sessions),
            rules: (policy.routes.iter())
                .map(|route| Rules::new(&policy, route))
                .collect(),
            steering: policy.routes.iter().map(steering_headers).collect(),
            steering_further: policy.routes.iter().map(further).collect(),
            policy,
        };
        Ok((compiled, notice))
    }

    pub(super) fn route(&self, id: RouteId) -> Option<&Route> {
        self.policy.routes.get(id.0)
    }

    /// The rules of a route, if it has any.
    pub(super) fn rules(&self, id: RouteId) -> Option<&Rules> {
        self.rules.get(id.0)?.as_ref()
    }

    /// How a request is steered that may be tried at so many agents.
    pub(super) fn steering_further(
        &self,
        route: RouteId,
        agents: usize,
        repeatable: bool,
    ) -> &[(&'static str, String)] {
        let all = self.steering_further.get(route.0);
        let mut all = all.into_iter().flatten();
        all.find(|(number, is, _)| (*number, *is) == (agents, repeatable))
            .map_or(&[], |(_, _, headers)| headers)
    }

    /// True if some route's rules ask bodies.
    pub(super) fn ask_bodies(&self) -> bool {
        let mut rules = self.rules.iter().flatten();
        rules.any(|rules| rules.wanted().is_some())
    }

    /// True if the agents of this route get whole bodies only.
    pub(super) fn collects(&self, id: RouteId) -> bool {
        self.route(id).is_some_and(|route| route.collect_body)
    }

    /// The names of a route and an agent, as far as they are known.
    pub(super) fn names(
        &self,
        route: Option<RouteId>,
        agent: Option<AgentId>,
    ) -> (Option<&str>, Option<&str>) {
        let route = route.and_then(|id| self.route(id));
        let agent = agent.and_then(|id| self.policy.agents.get(id.0));
        (
            route.map(|route| route.name.as_str()),
            agent.map(|agent| agent.name.as_str()),
        )
    }
}
