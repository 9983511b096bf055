//! What is legal in the filter's document, but probably not meant; `doubts/models.rs` has what is doubtful of models' names,
//! `doubts/sticky.rs` of what keeps requests together.

mod models;
mod sticky;

use waykeeper::config::Policy;
use waykeeper::config::did_you_mean;
use waykeeper::config::policy::{
    A2a, Agent, AgentId, Choice, ListedClient, ListedKey, PlanId, Prefer, Route, Rule,
};
use waykeeper::routing::sent_as;
use waykeeper::text::a2a::{all_names, names_of};

use crate::shares::Shares;
use crate::yaml::Value;

const NO_ROLE: &str = "no listed key has such a role, and there is no validator";

/// All of them, each with its line of the document that the policy was read from.
pub(crate) fn doubts(policy: &Policy, written: &Value) -> Vec<(usize, String)> {
    let mut doubts = of_agents(policy, written);
    doubts.extend(of_plans(policy, written));
    doubts.extend(models::of_aliases(policy, written));
    doubts.extend(models::of_agents(policy, written));
    doubts.extend(sticky::of_agents(policy, written));
    let items = written.get("routes").map_or(&[][..], Value::items);
    // The policy has the routes in their order.
    for (index, (route, item)) in policy.routes.iter().zip(items).enumerate() {
        let mut doubt = |field: &str, message: String| {
            let line = item.get(field).map_or(item.line, |value| value.line);
            doubts.push((line, format!("routes[{index}].{field}: {message}")));
        };
        if route.prefix.contains('*') {
            doubt(
                "prefix",
                "* has no special meaning; a prefix is matched literally".to_owned(),
            );
        }
        if nobody_has_one_of(policy, &route.roles, roles) {
            doubt("roles", NO_ROLE.to_owned());
        }
        for message in of_choices(policy, &route.agents, route.prefer, item) {
            doubt("agents", message);
        }
        if let Some(listed) = &route.fallback {
            for message in of_fallback(policy, route, &route.agents, listed) {
                doubt("fallback", message);
            }
        }
        for (field, message) in sticky::of_route(policy, route, item) {
            doubt(field, message);
        }
        for message in route.a2a.iter().flat_map(of_methods) {
            doubt("a2a", message);
        }
        if let Some(mirror) = &route.mirror
            && route.all_agents().all(|agent| agent == mirror.agent)
        {
            doubt(
                "mirror",
                "is the only agent of this route, and what it answers it does not hear a second time"
                    .to_owned(),
            );
        }
        if idle_in_vain(route, item) {
            doubt(
                "idle_timeout",
                "never reached: timeout is not longer, and ends requests before".to_owned(),
            );
        }
        let written = item.get("rules").map_or(&[][..], Value::items);
        for (place, (rule, item)) in route.rules.iter().zip(written).enumerate() {
            let line = item.get("agents").map_or(item.line, |value| value.line);
            let prefer = rule.prefer.unwrap_or(route.prefer);
            let told = of_choices(policy, &rule.agents, prefer, item).into_iter();
            let at = format!("routes[{index}].rules[{place}].agents");
            doubts.extend(told.map(|message| (line, format!("{at}: {message}"))));
            let listed = route.fallback_of(rule).unwrap_or_default();
            let told = of_fallback(policy, route, &rule.agents, listed).into_iter();
            let line = item.get("fallback").map_or(item.line, |value| value.line);
            let at = format!("routes[{index}].rules[{place}].fallback");
            doubts.extend(told.map(|message| (line, format!("{at}: {message}"))));
            for (field, message) in of_clients(policy, rule) {
                doubts.push((
                    item.line,
                    format!("routes[{index}].rules[{place}].{field}: {message}"),
                ));
            }
            let told = models::of_rule(policy, rule).into_iter();
            let line = item.get("match").and_then(|it| it.get("model"));
            let line = line.map_or(item.line, |value| value.line);
            let at = format!("routes[{index}].rules[{place}].match.model");
            doubts.extend(told.map(|message| (line, format!("{at}: {message}"))));
        }
    }
    doubts.sort();
    doubts
}

/// What a route, or one of its rules, says of its agents.
fn of_choices(policy: &Policy, choices: &[Choice], prefer: Prefer, item: &Value) -> Vec<String> {
    let mut doubts = Vec::new();
    if !choices.is_empty() && choices.iter().all(|choice| choice.weight == 0) {
        doubts.push(
            "all weights are 0: who names none of these agents in x-agent is answered 503 no_agent"
                .to_owned(),
        );
    }
    if prefer == Prefer::Weighted && mixes_weights(policy, choices, item) {
        let shares = Shares {
            policy,
            choices,
            prefer,
        };
        doubts.push(format!(
            "some weights stand here, others at their agents, so of the requests get {shares}; write all of a route's \
             weights in one of the places"
        ));
    }
    doubts
}

/// What a route, or one of its rules, says of the agents that come next.
fn of_fallback(
    policy: &Policy,
    route: &Route,
    choices: &[Choice],
    listed: &[AgentId],
) -> Vec<String> {
    let mut doubts = Vec::new();
    let agents = listed
        .iter()
        .filter_map(|id| Some((id, policy.agents.get(id.0)?)));
    // Who is named by a caller answers, or nobody.
    let drawn = choices.iter().filter(|choice| choice.weight > 0);
    let drawn: Vec<AgentId> = drawn.map(|choice| choice.agent).collect();
    for (id, next) in agents {
        let name = &next.name;
        let canary = route.canary.as_ref().map(|canary| canary.agent);
        let mut all_first = drawn.iter().copied().chain(canary);
        if !drawn.is_empty() && all_first.all(|first| first == *id) {
            doubts.push(format!(
                "{name} never comes next: it is the one that is tried first, and no other is"
            ));
            continue;
        }
        if next.in_flight.is_some() {
            doubts.push(format!(
                "{name} has max_in_flight, which does not count requests that come to it from another agent"
            ));
        }
        // It does not come behind itself.
        let others = choices.iter().map(|choice| choice.agent).chain(canary);
        let mut first = others
            .filter(|first| first != id)
            .filter_map(|first| policy.agents.get(first.0));
        if !choices.is_empty() && !first.any(|first| may_follow(policy, first, next)) {
            doubts.push(format!(
                "{name} never comes next: it has no model that an agent before it is asked for by the same name"
            ));
        }
    }
    doubts
}

/// Whether there may be a model for which a request that was written for the one means the same to the other.
fn may_follow(policy: &Policy, first: &Agent, next: &Agent) -> bool {
    let any = |agent: &Agent| {
        let mut models = agent.models.iter();
        agent.models.is_empty() || models.any(|model| model.name.exact().is_none())
    };
    let serves = |name: &str| { first.models.iter() }.any(|it| it.name.matches(name.as_bytes()));
    let called = |agent, name: &str| sent_as(policy, agent, name.as_bytes()).map(str::to_owned);
    let names = next.models.iter().filter_map(|model| model.name.exact());
    let same = |name: &str| serves(name) && called(first, name) == called(next, name);
    any(first) || any(next) || names.into_iter().any(same)
}

fn of_agents(policy: &Policy, written: &Value) -> Vec<(usize, String)> {
    let mut doubts = Vec::new();
    for (index, agent) in policy.agents.iter().enumerate() {
        let mirrors = policy.routes.iter().filter_map(|route| route.mirror);
        let mut reached = { policy.routes.iter() }
            .flat_map(Route::all_agents)
            .chain(mirrors.map(|mirror| mirror.agent));
        if !reached.any(|agent| agent.0 == index) {
            let line = written.line_of(&["agents", &agent.name]);
            let name = &agent.name;
            doubts.push((line, format!("agents.{name}: no route leads to this agent")));
        }
    }
    doubts
}

/// Clients that no plan holds for, and plans that hold for no client.
fn of_plans(policy: &Policy, written: &Value) -> Vec<(usize, String)> {
    let clients = &policy.clients;
    let mut doubts = Vec::new();
    if policy.plans.is_empty() {
        return doubts;
    }
    let keys = written.get("clients").and_then(|it| it.get("keys"));
    let items = keys.map_or(&[][..], Value::items);
    for (index, (key, item)) in clients.keys.iter().zip(items).enumerate() {
        if key.client.plan.is_none() && key.client.limits.is_none() {
            doubts.push((
                item.line,
                format!(
                    "clients.keys[{index}]: has no plan, and there is no clients.default_plan: no plan limits this client"
                ),
            ));
        }
    }
    for (index, plan) in policy.plans.iter().enumerate() {
        let is_this = |key: &ListedKey| key.client.plan == Some(PlanId(index));
        if clients.validator.is_none() && !clients.keys.iter().any(is_this) {
            let name = &plan.name;
            doubts.push((
                written.line_of(&["plans", name]),
                format!("plans.{name}: no listed key has this plan, and there is no validator"),
            ));
        }
    }
    doubts
}

/// Whether only listed clients may be known, and of some names none of them has one.
fn nobody_has_one_of<'p>(
    policy: &'p Policy,
    names: &[String],
    of_client: impl Fn(&'p ListedClient) -> &'p [String],
) -> bool {
    let listed = || policy.clients.keys.iter().map(|key| &key.client);
    let is_had = |name| listed().any(|client| of_client(client).contains(name));
    policy.clients.validator.is_none() && !names.is_empty() && !names.iter().any(is_had)
}

fn roles(client: &ListedClient) -> &[String] {
    &client.roles
}

fn team(client: &ListedClient) -> &[String] {
    client.team.as_slice()
}

/// What a rule asks of clients that none has, by the field that asks it.
fn of_clients(policy: &Policy, rule: &Rule) -> Vec<(&'static str, &'static str)> {
    let met = &rule.conditions;
    let mut doubts = Vec::new();
    if nobody_has_one_of(policy, &met.teams, team) {
        doubts.push((
            "match.team",
            "no listed key has such a team, and there is no validator",
        ));
    }
    for (field, asked) in [("match.role", &met.roles), ("roles", &rule.roles)] {
        if nobody_has_one_of(policy, asked, roles) {
            doubts.push((field, NO_ROLE));
        }
    }
    doubts
}

/// Methods that may be used under a name which is nearly one of the protocol's. Extensions have methods of their own.
fn of_methods(a2a: &A2a) -> Vec<String> {
    let names = a2a.methods.iter().flat_map(|entry| &entry.names);
    let unknown = names.filter_map(|it| it.exact().filter(|name| names_of(name).is_none()));
    let told = unknown.map(|name| (name, did_you_mean(name, all_names())));
    let told = told.filter(|(_, near)| !near.is_empty());
    told.map(|(name, near)| format!("no method of A2A is called {name:?}{near}"))
        .collect()
}

/// Whether a route gives some agents weights of its own, beside others whose own weight is not the one that everything has
/// unless it is written.
fn mixes_weights(policy: &Policy, chosen: &[Choice], item: &Value) -> bool {
    let choices = item.get("agents").map_or(&[][..], Value::items);
    let has_own = |choice: &Value| choice.get("weight").is_some();
    let others = || {
        let both = choices.iter().zip(chosen);
        both.filter(|(written, _)| !has_own(written))
    };
    let weighs = |(_, choice): (&Value, &Choice)| {
        let agent = policy.agents.get(choice.agent.0);
        agent.is_some_and(|agent| agent.weight != 1)
    };
    choices.iter().any(has_own) && others().any(weighs)
}

/// Whether a bound of the silence is written that the bound of the whole answer makes needless.
fn idle_in_vain(route: &Route, item: &Value) -> bool {
    let reaches = |timeout| route.idle_timeout.is_some_and(|idle| idle >= timeout);
    item.get("idle_timeout").is_some() && !route.streams && route.timeout.is_some_and(reaches)
}
