//! Handing a request over to Envoy's router, and telling the access log of it.

use super::compiled::Compiled;
use super::stream::Facts;
use crate::config::policy::{AgentId, AgentsSee, Inference, Protocol, Sharer};
use crate::host::StreamIo;
use crate::identity::Client;
use crate::reply::Refusal;
use crate::routing::{CLUSTER, PROOF};
use crate::text::paths::split_query;

const FAIRNESS_ID: [&str; 2] = [
    "x-gateway-inference-fairness-id",
    "x-llm-d-inference-fairness-id",
];
const OBJECTIVE: [&str; 2] = [
    "x-gateway-inference-objective",
    "x-llm-d-inference-objective",
];

/// Sets what the agent is told and what steers Envoy's router. The request came with this `path`.
pub(super) fn forward<S: StreamIo>(
    stream: &S,
    compiled: &Compiled,
    facts: &Facts,
    path: Option<&[u8]>,
) {
    let (Some(route), Some(agent)) = (facts.route, facts.agent) else {
        return;
    };
    let Some(agent) = compiled.policy.agents.get(agent.0) else {
        return;
    };
    if let (Some(from), Some(to)) = (path, &facts.rewritten_path) {
        stream.set_request_header(":path", to);
        stream.note(CALLER_PATH, split_query(from).0);
        stream.note(AGENT_PATH, split_query(to).0);
    }
    if let Some(order) = &facts.order {
        return order.forward(stream, compiled, facts);
    }
    let sees = agent.sees.unwrap_or(compiled.policy.agents_see);
    name_all(stream, compiled, facts, sees);
    let protocol = compiled.route(route).map(|route| route.protocol);
    let of_websockets = agent.websocket_cluster.as_ref();
    let cluster = of_websockets.filter(|_| protocol == Some(Protocol::Websocket));
    stream.set_request_header(CLUSTER, cluster.unwrap_or(&agent.cluster).as_bytes());
    if let Some(kept) = &facts.kept {
        kept.forward(stream);
    }
    if let (Some(inference), Some(client)) = (&agent.inference, &facts.client) {
        tell_inference_gateway(stream, inference, client);
    }
    if let Some(proof) = &compiled.policy.proof {
        stream.set_request_header(PROOF, proof.as_bytes());
    }
    for (name, value) in compiled.steering.get(route.0).into_iter().flatten() {
        stream.set_request_header(name, value.as_bytes());
    }
}

/// Says whose flow a request is of, and which objective its plan has: by the names of the Gateway API Inference Extension and by
/// those of llm-d.
#[inline(never)]
pub(super) fn tell_inference_gateway<S: StreamIo>(
    stream: &S,
    inference: &Inference,
    client: &Client,
) {
    let team = client.team.as_ref();
    let flow = team.filter(|_| inference.by == Sharer::Team);
    let flow = flow.unwrap_or(&client.id);
    let objectives = inference.objectives.iter();
    let mut objectives = objectives.filter(|(plan, _)| Some(*plan) == client.plan);
    for name in FAIRNESS_ID {
        stream.set_request_header(name, flow.as_bytes());
    }
    if let Some((_, objective)) = objectives.next() {
        for name in OBJECTIVE {
            stream.set_request_header(name, objective.as_bytes());
        }
    }
}

/// One of the names that a request goes by: what it is called in a header, which the agent gets and the access log reads, and
/// in the note, which the access log alone reads.
struct Name {
    header: &'static str,
    noted: &'static str,
}

const CLIENT: Name = Name::new("x-waykeeper-client", "client");
const PLAN: Name = Name::new("x-waykeeper-plan", "plan");
const TEAM: Name = Name::new("x-waykeeper-team", "team");
const ROLES: Name = Name::new("x-waykeeper-roles", "roles");
const AGENT: Name = Name::new("x-waykeeper-agent", "agent");
const ROUTE: Name = Name::new("x-waykeeper-route", "route");

/// The note that holds all names which the agent does not see: one costs as much as one header.
const NOTE: &str = "waykeeper";

/// The notes of the path as the caller wrote it and as the agent has got it, without query, where these are two.
const CALLER_PATH: &str = "waykeeper_path";
const AGENT_PATH: &str = "waykeeper_agent_path";

impl Name {
    const fn new(header: &'static str, noted: &'static str) -> Self {
        Self { header, noted }
    }
}

/// Tells who calls, and where to.
struct Names<'s, S> {
    stream: &'s S,
    /// What is noted so far, as a JSON object without its end.
    note: String,
}

/// Notes all names of a request whose headers are not to be changed any more, or do not tell who answers.
pub(super) fn note_all<S: StreamIo>(stream: &S, compiled: &Compiled, facts: &Facts) {
    name_all(stream, compiled, facts, AgentsSee::NOTHING);
}

/// Tells all names of a request, as far as they are known, where it goes on to an agent and where it is refused: in headers those
/// that agents see. The access log has them all.
pub(super) fn name_all<S: StreamIo>(
    stream: &S,
    compiled: &Compiled,
    facts: &Facts,
    sees: AgentsSee,
) {
    let mut names = Names {
        stream,
        note: String::new(),
    };
    each_name(
        compiled,
        facts,
        facts.agent,
        sees,
        &mut |name, sees_it, value| {
            names.tell(name, sees_it, value);
        },
    );
    names.finish();
}

/// The headers with names that an agent sees in a question of the gateway's own.
#[inline(never)]
pub(super) fn names_for(
    compiled: &Compiled,
    facts: &Facts,
    agent: AgentId,
) -> Vec<(&'static str, String)> {
    let of_agent = compiled.policy.agents.get(agent.0);
    let sees = of_agent.and_then(|agent| agent.sees);
    let sees = sees.unwrap_or(compiled.policy.agents_see);
    let mut names = Vec::new();
    each_name(
        compiled,
        facts,
        Some(agent),
        sees,
        &mut |name, sees_it, value| {
            if let Some(value) = value.filter(|_| sees_it) {
                names.push((name.header, value.to_owned()));
            }
        },
    );
    names
}

/// Tells each name that a request has, and whether an agent sees it.
fn each_name(
    compiled: &Compiled,
    facts: &Facts,
    agent: Option<AgentId>,
    sees: AgentsSee,
    tell: &mut dyn FnMut(&Name, bool, Option<&str>),
) {
    let (route, agent) = compiled.names(facts.route, agent);
    if let Some(client) = &facts.client {
        let plan = client
            .plan
            .and_then(|plan| compiled.policy.plans.get(plan.0));
        tell(&CLIENT, sees.client, Some(&client.id));
        tell(&PLAN, sees.plan, plan.map(|plan| plan.name.as_str()));
        tell(&TEAM, sees.team, client.team.as_deref());
        if !client.roles.is_empty() {
            tell(&ROLES, sees.roles, Some(&client.roles.join(",")));
        }
    }
    tell(&AGENT, sees.agent, agent);
    tell(&ROUTE, sees.route, route);
}

impl<S: StreamIo> Names<'_, S> {
    fn tell(&mut self, name: &Name, agents_see_it: bool, value: Option<&str>) {
        match value {
            Some(value) if agents_see_it => {
                self.stream
                    .set_request_header(name.header, value.as_bytes());
            }
            Some(value) => {
                let before = if self.note.is_empty() { "{\"" } else { ",\"" };
                // None of these names holds what JSON would have escaped.
                self.note.extend([before, name.noted, "\":\"", value, "\""]);
            }
            None => {}
        }
    }

    /// Leaves the note, if there is something to note.
    fn finish(mut self) {
        if !self.note.is_empty() {
            self.note.push('}');
            self.stream.note(NOTE, self.note.as_bytes());
        }
    }
}

/// Tells the access log of a request that is answered here: in headers or in the note, as of one that goes on.
pub(super) fn name_for_log<S: StreamIo>(stream: &S, compiled: &Compiled, facts: &Facts) {
    name_all(stream, compiled, facts, compiled.policy.agents_see);
}

/// Tells the access log of a request that is refused. And it lets a
/// refusal's `upgrade` through to the caller, which Envoy takes out of answers to requests that ask for none.
pub(super) fn refuse<S: StreamIo>(
    stream: &S,
    compiled: &Compiled,
    facts: &Facts,
    refusal: &Refusal,
) {
    name_for_log(stream, compiled, facts);
    if *refusal == Refusal::UpgradeRequired {
        stream.set_request_header("connection", b"upgrade");
        stream.set_request_header("upgrade", b"websocket");
    }
}
