//! What becomes of a request, and why: found by the filter's own code.

use std::rc::Rc;

use waykeeper::config::Policy;
use waykeeper::config::policy::{Choice, Edits, Route, RouteId};
use waykeeper::host::LocalReply;
use waykeeper::routing::{
    Asked, Call, Comes, MessageMembers, Messages, ModelInPath, Next, NoMatch, Path, RouteTable,
    in_order, listed as listed_able, model_in_path,
};
use waykeeper::text::headers::is_reserved;

use super::agents::{self, AgentFound, Reached};
use super::caller::{Caller, How};
use super::explanation::{CallerFound, Explanation, OtherRoute, Outcome, RouteFound};
use super::limits;
use super::request::{Arrived, Request};
use super::rules::{self, ModelFound};
use super::walked::{End, Walked, walk};

/// What a request meets under a policy.
pub(super) struct Meeting<'a> {
    pub(super) policy: &'a Policy,
    pub(super) arrived: &'a Arrived,
    pub(super) caller: &'a Caller,
    /// Where agents are, as far as the file says it.
    pub(super) reached: &'a Reached<'a>,
}

/// The codes of refusals before a route's rules are asked.
const BEFORE_RULES: [&str; 14] = [
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
];

impl Meeting<'_> {
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
        found.taken_out = taken_out(arrived, &walked, None);
        let raw = arrived.block.get(":path").unwrap_or_default();
        let method = arrived.block.get(":method").unwrap_or_default();
        let Ok(path) = Path::read(raw) else {
            return Ok(found);
        };
        if answered_here {
            found.caller = Some(self.caller());
            return Ok(found);
        }
        let matched = RouteTable::new(&policy.routes).find(&path, method);
        found.other_routes = others(policy, &path, method, &matched);
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
        let model = chosen.model.as_deref();
        let (left, mut left_out) = agents::narrowed(self, route, choices, model);
        let (left, note) = agents::preferred(self, route, choices, left, &mut left_out);
        found.notes.extend(note);
        found.left_out = left_out;
        let may_answer = agents::with_shares(self, route, &left, drawn.agent.as_deref());
        if !matches!(found.outcome, Outcome::Forwarded) {
            self.add_limits(id, &may_answer, found);
            return Ok(());
        }
        for (choice, share) in may_answer.clone() {
            let Some(agent) = self.policy.agents.get(choice.agent.0) else {
                continue;
            };
            let named = (left.len() > 1).then_some(agent.name.as_str());
            let named = named.filter(|_| self.arrived.block.get("x-agent").is_none());
            let walked = walk(self.policy, self.arrived, named)?;
            let mut of_agent = AgentFound::of(
                self,
                agent,
                share,
                &walked,
                route,
                in_path.as_ref().map(|_: &ModelInPath| ()),
            );
            if let Some(listed) = chosen.next {
                let next = Next {
                    listed,
                    choices: &left,
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
        let route_of = self.policy.routes.get(route.0);
        let called = route_of.map(|route| self.called(route)).unwrap_or_default();
        let of = |agent| limits::Of {
            policy: self.policy,
            client: self.caller.client.as_ref(),
            route,
            agent,
            method: self.arrived.block.get(":method").unwrap_or_default(),
            headers: &self.arrived.block,
            tool: called.first().and_then(|call| call.tool.as_deref()),
        };
        let of_agents = may_answer.iter().filter_map(|(choice, _)| {
            let agent = self.policy.agents.get(choice.agent.0)?;
            Some((agent.name.clone(), of(Some(choice.agent)).counted()))
        });
        found.limits = limits::merged(of_agents.collect());
    }

    fn outcome(&self, walked: &Walked) -> Outcome {
        match &walked.end {
            End::Forwarded => Outcome::Forwarded,
            End::Waits => Outcome::Waits {
                until: "more of its body comes, or its route's body_timeout is over: 408 request_timeout".to_owned(),
            },
            End::Answered { reply, .. } if reply.status < 400 && in_rpc(reply).is_none() => {
                let path = self.arrived.block.get(":path").unwrap_or_default();
                let of_models = self.policy.models_endpoint.as_ref();
                let what = match of_models.is_some_and(|it| path.starts_with(it.path.as_bytes())) {
                    true => "which models they may use",
                    false => "how their limits stand",
                };
                Outcome::Answered {
                    status: reply.status,
                    by: format!("the gateway itself, as the place where callers ask {what}"),
                }
            }
            End::Answered { reply, late } => {
                let told = in_rpc(reply).unwrap_or_else(|| serde_json::from_slice(&reply.body).unwrap_or_default());
                let message = reply.headers.iter().find(|(name, _)| *name == "grpc-message");
                let detail = told.get("detail").and_then(serde_json::Value::as_str);
                Outcome::Refused {
                    status: reply.status,
                    code: reply.details.strip_prefix("waykeeper_").unwrap_or(&reply.details).to_owned(),
                    detail: detail.map(str::to_owned).or(message.map(|(_, text)| text.clone())),
                    late: *late,
                }
            }
        }
    }

    /// What it calls, where its route carries MCP or A2A.
    pub(super) fn called(&self, route: &Route) -> Vec<Call> {
        let block = &self.arrived.block;
        let needed = block.get(":method") == Some(b"POST");
        let members = if route.mcp.is_some() {
            Rc::default()
        } else if route.a2a.is_some() {
            let path = block.get(":path").unwrap_or_default();
            let asked = Path::read(path).map(|path| Asked::read(block, &path, &route.prefix));
            match asked {
                Ok(Asked::Message) => Rc::new(MessageMembers::of_a2a()),
                Ok(Asked::Card | Asked::Other) | Err(_) => return Vec::new(),
                Ok(by_path) => {
                    let method = Some(by_path.method().into());
                    return vec![Call { method, tool: None }];
                }
            }
        } else {
            return Vec::new();
        };
        let mut messages = Messages::new(&members, block, route.max_scan, needed);
        messages.feed(self.arrived.body.as_deref().unwrap_or_default());
        messages.end();
        let called = messages.called();
        called.map_or_else(Vec::new, |called| called.messages.clone())
    }

    /// The same in words.
    fn calls(&self, route: &Route) -> Vec<String> {
        let called = self.called(route);
        let words = called.iter().map(|call| match (&call.method, &call.tool) {
            (_, Some(tool)) => format!("the tool {tool}"),
            (Some(method), None) => format!("the method {method}"),
            (None, None) => "nothing: it is an answer".to_owned(),
        });
        words.collect()
    }

    /// What whoever asks may want to say beside.
    fn advice(&self, code: &str) -> Option<String> {
        match (self.caller.how, code) {
            (How::Validator, _) => Some(
                "the validator is not asked, and the key is taken for good; say whom it would name with --client, --plan, --team and --role"
                    .to_owned(),
            ),
            (How::NoKey | How::UnknownKey, "missing_key" | "invalid_key") => {
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

/// What a reply says in an error of JSON-RPC, if that is what it is.
fn in_rpc(reply: &LocalReply) -> Option<serde_json::Value> {
    let told: serde_json::Value = serde_json::from_slice(&reply.body).ok()?;
    let error = told.get(0).unwrap_or(&told).get("error")?;
    // As A2A has it, over JSON-RPC and by HTTP.
    let is_list = |name| error.get(name).is_some_and(serde_json::Value::is_array);
    if is_list("data") || is_list("details") {
        return Some(serde_json::json!({"detail": error.get("message")}));
    }
    error.get("data").cloned()
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

/// Routes that take the same path but for their method, or a part of it.
fn others(
    policy: &Policy,
    path: &Path<'_>,
    method: &[u8],
    matched: &Result<RouteId, NoMatch>,
) -> Vec<OtherRoute> {
    let mut others = Vec::new();
    for (place, route) in policy.routes.iter().enumerate() {
        if *matched == Ok(RouteId(place)) {
            continue;
        }
        let of_methods = || {
            format!(
                "for {} only",
                route
                    .methods
                    .as_ref()
                    .map(|all| all.join(", "))
                    .unwrap_or_default()
            )
        };
        let alone = RouteTable::new(std::slice::from_ref(route)).find(path, method);
        let why = match (alone, matched) {
            (Ok(_), Ok(_)) => "its prefix is shorter".to_owned(),
            (Ok(_), Err(NoMatch::Method(_))) => {
                "its prefix is shorter than that of the routes for other methods".to_owned()
            }
            (Ok(_), Err(NoMatch::Ambiguous)) => {
                "the path can be read as another route's too".to_owned()
            }
            (Err(NoMatch::Method(_)), _) => of_methods(),
            _ => continue,
        };
        others.push(OtherRoute {
            name: route.name.clone(),
            why,
        });
    }
    others
}
