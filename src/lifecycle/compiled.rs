//! A configuration made ready for the stages.

use super::TablesKept;
use crate::config::Policy;
use crate::config::policy::{AgentId, Route, RouteId, Validator};
use crate::host::{Host, HostError};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::routing::{RouteTable, steer};
use crate::state::State;

/// A configuration made ready for the stages.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) policy: Policy,
    pub(super) table: RouteTable,
    pub(super) identity: Identity,
    pub(super) limits: Limits,
    /// For each route, how it steers Envoy's router.
    pub(super) steering: Vec<Vec<(&'static str, String)>>,
}

impl Compiled {
    pub(super) fn new<H: Host>(
        host: &H,
        policy: Policy,
    ) -> Result<(Self, Option<TablesKept>), HostError> {
        let (state, differ) = State::open(host, policy.tables)?;
        let compiled = Self {
            table: RouteTable::new(&policy.routes),
            identity: Identity::new(&policy, &state),
            limits: Limits::new(&policy, &state),
            steering: policy.routes.iter().map(steer).collect(),
            policy,
        };
        Ok((compiled, differ.map(|differ| TablesKept(differ.in_force))))
    }

    pub(super) fn route(&self, id: RouteId) -> Option<&Route> {
        self.policy.routes.get(id.0)
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

    pub(super) fn validator(&self) -> Option<&Validator> {
        self.policy.clients.validator.as_ref()
    }
}
