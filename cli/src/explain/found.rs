//! What becomes of a request, and why: found by the filter's own code.

use waykeeper::config::Policy;
use waykeeper::config::policy::{AgentId, Choice, Edits, Route, RouteId};
use waykeeper::routing::{
    Comes, ModelInPath, Next, NoMatch, Path, RouteTable, in_order, listed as listed_able,
    model_in_path,
};
use waykeeper::text::headers::is_reserved;

use super::agents::{self, AgentFound, Reached};
use super::caller::{Caller, How, looked_for};
use super::explanation::{CallerFound, Explanation, Outcome, RouteFound};
use super::kept::InCommon;
use super::limits;
use super::request::{Arrived, Request};
use super::routes;
use super::rules::{self, ModelFound};
use super::servers;
use super::walked::{Walked, walk};

/// What a request meets under a policy.
pub(super) struct Meeting<'a> {
    pub(super) policy: &'a Policy,
    pub(super) arrived: &'a Arrived,
    pub(super) caller: &'a Caller,
    /// Where agents are, as far as the file says it.
    pub(super) reached: &'a Reached<'a>,
}

/// The codes of refusals before a route's rules are asked.
const BEFORE_RULES: [&str; 15] = [
    "gateway_unavailable",
    "bad_path",
    "no_route",
    "method_not_allowed",
    "upgrade_not_allowed",
    "upgrade_required",
    "missing_key",
    "invalid_key",
    "expired_key",
    "unknown_plan",
    "bad_message",
    "header_mismatch",
    "version_not_supported",
    "tool_forbidden",
    "not_offered",
];

impl Meeting<'_> {
    /// The route that stands for several servers of MCP, if the request's does.
    pub(super) fn of_servers(&self) -> Option<&Route> {
        let block = &self.arrived.block;
        let path = Path::read(block.get(":path").unwrap_or_default()).ok()?;
        let method = block.get(":method").unwrap_or_default();
        let found = RouteTable::new(&self.policy.routes).find(&path, method);
        let route = self.policy.routes.get(found.ok()?.0)?;
        route.of_servers().is_some().then_some(route)
    }

    /// Explains the request.
    ///
    /// # Errors
    /// One line, where there is no filter with such a configuration.
    pub(super) fn explain(&self, request: &Request) -> Result<Explanation, String> {
        let Self {
            policy,
            arrived,
            caller,
            ..
        } = *self;
        let walked = walk(policy, arrived, None)?;
        let outcome = self.outcome(&walked);
        let code = match &outcome {
            Outcome::Refused { code, .. } => code.clone(),
            _ => String::new(),
        };
        let answered_here = matches!(outcome, Outcome::Answered { .. });
        let mut found = Explanation::new(request, arrived, policy, outcome);
        found.notes.extend(self.advice(&code));
        found.notes.extend(self.reached.listens(request));
        found.taken_out = taken_out(arrived, &walked, None);
        let raw = arrived.block.get(":path").unwrap_or_default();
        let method = arrived.block.get(":method").unwrap_or_default();
        let Ok(path) = Path::read(raw) else {
            return Ok(found);
        };
        if answered_here && self.of_servers().is_none() {
            found.caller = Some(self.caller());
            return Ok(found);
        }
        let matched = RouteTable::new(&policy.routes).find(&path, method);
        found.other_routes = routes::others(policy, &path, method, &matched);
        if matched == Err(NoMatch::Path) {
            found.notes.push(routes::prefixes(policy));
        }
        let Some((id, route)) = matched
            .ok()
            .and_then(|id| Some((id, policy.routes.get(id.0)?)))
        else {
            return Ok(found);
        };
        found.taken_out = taken_out(arrived, &walked, route.edits.as_deref());
        found.route = Some(RouteFound {
            name: route.name.clone(),
            prefix: route.prefix.clone(),
            place: id.0,
            key_needed: route.auth_required,
            roles: route.roles.clone(),
        });
        found.caller = Some(self.caller());
        found.calls = self.calls(route);
        found.servers = servers::of(policy, route, &walked.end, walked.agent.as_deref());
        if answered_here {
            found.limits = self.limits_of(id, None, None).counted();
            return Ok(found);
        }
        let roles = caller
            .client
            .as_ref()
            .map_or(&[][..], |client| &client.roles);
        let of_route = caller.client.is_none()
            || route.roles.is_empty()
            || route.roles.iter().any(|role| roles.contains(role));
        if BEFORE_RULES.contains(&code.as_str()) || !of_route {
            return Ok(found);
        }
        self.explain_choice(id, route, &path, &walked, &mut found)?;
        Ok(found)
    }

    /// Which rule takes it, which agents may answer, and what each would get.
    fn explain_choice(
        &self,
        id: RouteId,
        route: &Route,
        path: &Path<'_>,
        drawn: &Walked,
        found: &mut Explanation,
    ) -> Result<(), String> {
        let raw = self.arrived.block.get(":path").unwrap_or_default();
        let rewritten = path.rewritten(&route.prefix, route.prefix_rewrite.as_deref());
        let for_agent = rewritten.as_deref().unwrap_or(raw);
        let Ok(in_path) = model_in_path(for_agent) else {
            return Ok(());
        };
        let chosen = rules::chosen(self, route, in_path.as_ref());
        found.rules = chosen.rules;
        found.model = chosen
            .model
            .as_ref()
            .map(|model| ModelFound::of(self.policy, model, in_path.is_some()));
        let Some(choices) = chosen.choices else {
            return Ok(());
        };
        let is_drawn = |choice: &Choice| {
            let agent = self.policy.agents.get(choice.agent.0);
            agent.map(|agent| agent.name.as_str()) == drawn.agent.as_deref()
        };
        let choices = match (route.of_servers(), choices.iter().position(is_drawn)) {
            // The name that is called says which.
            (Some(_), Some(place)) => choices.get(place..=place).unwrap_or_default(),
            _ => choices,
        };
        let model = chosen.model.as_deref();
        let (able, mut left_out) = agents::narrowed(self, route, choices, model);
        let in_common = InCommon::new(self, route);
        let (left, note) = agents::preferred(
            self,
            route,
            choices,
            able.clone(),
            &mut left_out,
            &in_common,
        );
        found.notes.extend(note);
        found.left_out = left_out;
        let drawn = drawn.agent.as_deref();
        let may_answer = agents::with_shares(self, route, &left, drawn, &in_common);
        if !matches!(found.outcome, Outcome::Forwarded) {
            self.add_limits(id, &may_answer, found);
            return Ok(());
        }
        let names_agent = self.arrived.block.get("x-agent").is_some();
        found.sticky = (route.sticky.as_ref().filter(|_| !names_agent))
            .and_then(|sticky| in_common.kept(sticky).told("agent"));
        for (choice, share) in may_answer.clone() {
            let Some(agent) = self.policy.agents.get(choice.agent.0) else {
                continue;
            };
            let to = (left.len() > 1 && !names_agent).then_some(choice.agent);
            let walked = walk(self.policy, self.arrived, to)?;
            let mut of_agent = AgentFound::of(
                self,
                agent,
                share,
                &walked,
                route,
                in_path.as_ref().map(|_: &ModelInPath| ()),
                &in_common,
            );
            if let Some(listed) = chosen.next {
                let next = Next {
                    listed,
                    choices: &able,
                    model,
                };
                let capabilities = self.arrived.block.get_all("x-agent-capability");
                let listed = listed_able(self.policy, &next, capabilities.clone());
                let fit = &|_| Comes::InTurn;
                let all = in_order(self.policy, choice.agent, &next, listed, capabilities, fit);
                let named = all
                    .iter()
                    .skip(1)
                    .filter_map(|id| self.policy.agents.get(id.0));
                of_agent.then = named.map(|agent| agent.name.clone()).collect();
            }
            found.agents.push(of_agent);
        }
        self.add_limits(id, &may_answer, found);
        Ok(())
    }

    fn add_limits(&self, route: RouteId, may_answer: &[(Choice, f64)], found: &mut Explanation) {
        let Some(of_route) = self.policy.routes.get(route.0) else {
            return;
        };
        let called = self.called(of_route);
        let tool = called.first().and_then(|call| call.tool.as_deref());
        let of = |agent| self.limits_of(route, agent, tool);
        let of_agents = may_answer.iter().filter_map(|(choice, _)| {
            let agent = self.policy.agents.get(choice.agent.0)?;
            Some((agent.name.clone(), of(Some(choice.agent)).counted()))
        });
        found.limits = limits::merged(of_agents.collect());
    }

    fn limits_of<'t>(
        &'t self,
        route: RouteId,
        agent: Option<AgentId>,
        tool: Option<&'t str>,
    ) -> limits::Of<'t> {
        limits::Of {
            policy: self.policy,
            client: self.caller.client.as_ref(),
            route,
            agent,
            method: self.arrived.block.get(":method").unwrap_or_default(),
            headers: &self.arrived.block,
            tool,
        }
    }

    /// What whoever asks may want to say beside.
    fn advice(&self, code: &str) -> Option<String> {
        match (self.caller.how, code) {
            (How::Validator, _) => Some(
                "the validator is not asked, and the key is taken for good; say whom it would name with --client, --plan, --team and --role"
                    .to_owned(),
            ),
            (How::NoKey, "missing_key") => Some(format!(
                "keys are looked for in {}; what a client would meet is told with --client NAME",
                looked_for(&self.policy.clients.key_sources)
            )),
            (How::UnknownKey, "invalid_key") => {
                Some("what a client would meet is told with --client NAME".to_owned())
            }
            _ => None,
        }
    }

    fn caller(&self) -> CallerFound {
        let client = self.caller.client.as_ref();
        let plan = client
            .and_then(|client| client.plan)
            .and_then(|id| self.policy.plans.get(id.0));
        CallerFound {
            known: self.caller.how,
            key_in: self.caller.source.clone(),
            client: client
                .filter(|_| self.caller.how != How::Validator)
                .map(|client| client.id.clone()),
            plan: plan.map(|plan| plan.name.clone()),
            team: client.and_then(|client| client.team.clone()),
            organisation: client.and_then(|client| client.organisation.clone()),
            roles: client
                .map(|client| client.roles.clone())
                .unwrap_or_default(),
        }
    }
}

/// Headers and parameters that the filter takes out.
fn taken_out(arrived: &Arrived, walked: &Walked, edits: Option<&Edits>) -> Vec<String> {
    let is_set = |name: &String| {
        edits.is_some_and(|edits| edits.request.set.iter().any(|(other, _)| other == name))
    };
    let mut out: Vec<String> = Vec::new();
    for (name, value) in &arrived.headers {
        if super::caller::is_beside(name) || name.starts_with(':') {
            continue;
        }
        let left: Vec<&[u8]> = { walked.headers.iter() }
            .filter(|(other, _)| other == name)
            .map(|(_, value)| value.as_slice())
            .collect();
        let gone = left.is_empty() || is_reserved(name.as_bytes()) || is_set(name);
        let changed = !left.contains(&value.as_slice()) && name != "content-length";
        let told = match (gone, changed) {
            (true, _) => name.clone(),
            (false, true) => format!("a part of {name}"),
            (false, false) => continue,
        };
        if !out.contains(&told) {
            out.push(told);
        }
    }
    let query = |path: Option<&[u8]>| {
        path.unwrap_or_default()
            .splitn(2, |byte| *byte == b'?')
            .nth(1)
            .map(<[u8]>::len)
    };
    if query(arrived.block.get(":path")) != query(walked.header(":path")) {
        out.push("the key in the query".to_owned());
    }
    out
}
