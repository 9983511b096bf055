//! A configuration made ready for the stages.

use std::rc::Rc;

use super::canary::Tried;
use crate::config::Policy;
use crate::config::policy::{AgentId, Route, RouteId};
use crate::host::Host;
use crate::identity::Identity;
use crate::limits::{Limits, routes_together};
use crate::routing::{MessageMembers, RouteTable, Rules, Sessions, steering_headers};
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
    /// What is looked for in messages, where a route carries MCP.
    pub(super) members: Option<Rc<MessageMembers>>,
    /// For each route, how it steers Envoy's router.
    pub(super) steering: Vec<Vec<(&'static str, String)>>,
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
            members: (policy.routes.iter())
                .any(|route| route.mcp.is_some())
                .then(Rc::default),
            steering: policy.routes.iter().map(steering_headers).collect(),
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

    /// True if bodies are read before some route chooses.
    pub(super) fn ask_bodies(&self) -> bool {
        let mut rules = self.rules.iter().flatten();
        self.members.is_some() || rules.any(|rules| rules.wanted().is_some())
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
