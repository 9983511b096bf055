//! A configuration made ready for the stages.

use std::rc::Rc;

use super::canary::Tried;
use super::judge::Rests;
use super::load::Loads;
use super::responses::Kept;
use crate::config::Policy;
use crate::config::policy::{AgentId, Edits, MOST_ATTEMPTS, Route, RouteId};
use crate::host::Host;
use crate::identity::Identity;
use crate::limits::{Limits, routes_together};
use crate::routing::{
    Catalogue, MessageMembers, Method, RouteTable, Rules, Sessions, Sought, steering_further,
    steering_headers,
};
use crate::state::survey::Survey;
use crate::state::{Notice, OpenError, SeededHash, State};
use crate::text::json::Edit;

/// How a request is steered that may be tried at so many agents, and may be repeated or not.
type Steering = (usize, bool, Vec<(&'static str, String)>);

/// A configuration made ready for the stages.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) policy: Policy,
    pub(super) table: RouteTable,
    pub(super) identity: Identity,
    pub(super) limits: Limits,
    pub(super) survey: Survey,
    pub(super) hash: SeededHash,
    pub(super) sessions: Sessions,
    /// What callers are told who ask for models. `None`: nobody may ask.
    pub(super) catalogue: Option<Catalogue>,
    pub(super) canaries: Tried,
    /// How busy agents are; `None` if nothing goes by that.
    pub(super) loads: Option<Box<Loads>>,
    /// The agents that may rest. `None`: none may.
    pub(super) rests: Option<Rests>,
    /// For each route, its rules, if there is more to decide than by name and weight.
    rules: Vec<Option<Rules>>,
    /// Who has given which answer, where something is sticky by that.
    pub(super) responses: Option<Kept>,
    /// For each route, what is looked for in bodies to keep requests together, if anything.
    sought: Vec<Option<Rc<Sought>>>,
    /// For each route, how it changes bodies, if it does.
    body_edits: Vec<Option<Edit>>,
    /// What is looked for in messages, where a route carries MCP.
    pub(super) members: Option<Rc<MessageMembers>>,
    /// The same, where one stands for several servers.
    pub(super) members_of_servers: Option<Rc<MessageMembers>>,
    /// The same, where one carries A2A.
    pub(super) members_of_a2a: Option<Rc<MessageMembers>>,
    /// What must not be in its bodies, where their paths say what is asked.
    pub(super) beside_path: Option<Method>,
    /// For each route, how it steers Envoy's router.
    pub(super) steering: Vec<Vec<(&'static str, String)>>,
    /// The same of requests that may be tried at two agents, or more: at so many, and whether they are repeatable.
    steering_further: Vec<Vec<Steering>>,
}

/// How a route steers Envoy's router for requests that may be tried at several agents, where it has such.
fn further(route: &Route) -> Vec<Steering> {
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
            hash: state.hash,
            canaries: Tried::new(&policy, &state),
            loads: Loads::new(&policy, &state),
            rests: Rests::new(&policy, &state),
            sessions: Sessions::new(&policy.sessions),
            responses: Kept::new(host, &policy, &state)?,
            sought: (policy.routes.iter())
                .map(|route| Sought::new(&policy, route))
                .collect(),
            catalogue: (policy.models_endpoint.as_ref())
                .map(|endpoint| Catalogue::new(&policy, &endpoint.more)),
            rules: (policy.routes.iter())
                .map(|route| match route.of_servers() {
                    Some(_) => None,
                    None => Rules::new(&policy, route),
                })
                .collect(),
            body_edits: policy.routes.iter().map(body_edit).collect(),
            members: (policy.routes.iter())
                .any(|route| route.mcp.is_some())
                .then(Rc::default),
            members_of_servers: (policy.routes.iter())
                .any(|route| route.of_servers().is_some())
                .then(|| Rc::new(MessageMembers::of_servers())),
            members_of_a2a: (policy.routes.iter())
                .any(|route| route.a2a.is_some())
                .then(|| Rc::new(MessageMembers::of_a2a())),
            beside_path: (policy.routes.iter())
                .any(|route| {
                    route
                        .a2a
                        .as_ref()
                        .is_some_and(|a2a| !a2a.methods.is_empty())
                })
                .then(Method::default),
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

    /// How a route changes bodies, if it does.
    pub(super) fn body_edit(&self, id: RouteId) -> Option<&Edit> {
        self.body_edits.get(id.0)?.as_ref()
    }

    /// What a route changes, if anything.
    pub(super) fn edits(&self, id: Option<RouteId>) -> Option<&Edits> {
        self.route(id?)?.edits.as_deref()
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

    /// True if bodies are read before some route chooses.
    pub(super) fn ask_bodies(&self) -> bool {
        let mut rules = self.rules.iter().flatten();
        self.members.is_some()
            || self.members_of_a2a.is_some()
            || rules.any(|rules| rules.wanted().is_some())
    }

    /// What is looked for in messages of a route that stands for several servers.
    pub(super) fn members_of(&self, route: &Route) -> Option<&Rc<MessageMembers>> {
        let of_servers = self.members_of_servers.as_ref();
        of_servers.filter(|_| route.of_servers().is_some())
    }

    /// What is looked for in the bodies of a route to keep its requests together, if anything.
    pub(super) fn sought(&self, id: RouteId) -> Option<&Rc<Sought>> {
        self.sought.get(id.0)?.as_ref()
    }

    /// True if some route's bodies are looked at for that.
    pub(super) fn look_at_bodies(&self) -> bool {
        self.sought.iter().any(Option::is_some)
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

fn body_edit(route: &Route) -> Option<Edit> {
    let edits = route
        .edits
        .as_ref()
        .filter(|edits| !edits.body.is_empty())?;
    // The configuration was read by the same.
    Edit::new(&mut edits.body.iter().map(|(pointer, _)| pointer.as_str())).ok()
}
