//! What is legal but probably not meant.

use waykeeper::config;
use waykeeper::config::policy::{Route, Sticky};

use super::{Checked, agents, idle, providers};

/// What is legal but probably not meant, with the path of the field that it is about.
pub(crate) fn doubts(checked: &Checked) -> Vec<(&'static [&'static str], String)> {
    let mut doubts: Vec<(&'static [&'static str], String)> = Vec::new();
    for agent in &checked.gateway.agents {
        let Some(upstream) = &agent.upstream else {
            continue;
        };
        let asks = |provider: &&providers::Provider| provider.needs_credential;
        if let Some(provider) = upstream.provider.filter(asks)
            && upstream.credential.is_none()
        {
            doubts.push((
                &["agents"],
                format!(
                    "agents.{}: {} answers nobody without a credential, and none is written",
                    agent.name, provider.name
                ),
            ));
        }
    }
    doubts.extend(checked.gateway.agents.iter().filter_map(|agent| {
        let upstream = agent.upstream.as_ref()?;
        let weighted = upstream.endpoints.iter().any(|endpoint| endpoint.weight != 1);
        (upstream.balance == agents::Balance::Random && weighted).then(|| {
            let name = &agent.name;
            let what = "Envoy's random choice does not go by the endpoints' weights; all other ways of balancing do";
            (&["agents"][..], format!("agents.{name}.balance: {what}"))
        })
    }));
    doubts.extend(not_found_again(checked));
    let buffer = idle::buffer_of_undecided(&checked.policy);
    let clients = &checked.policy.clients;
    let collects = checked.policy.routes.iter().any(|route| route.collect_body);
    if clients.validator.is_some() && collects && clients.hold.request < buffer.saturating_mul(2) {
        let shown = config::show_size(clients.hold.request);
        doubts.push((
            &["clients", "hold", "request"],
            format!(
                "clients.hold.request: {shown} is less than twice the {} that Envoy holds of a body, since a route collects \
                 such: larger ones are refused with 413 while the validator is asked, in place of waiting",
                config::show_size(buffer),
            ),
        ));
    }
    doubts
}

/// Agents that are found again by what names an earlier answer, and whose endpoints are not.
fn not_found_again(checked: &Checked) -> Vec<(&'static [&'static str], String)> {
    let Checked {
        gateway, policy, ..
    } = checked;
    let mut doubts: Vec<(&'static [&'static str], String)> = Vec::new();
    for (way, named) in [(Sticky::Response, "response"), (Sticky::Task, "task")] {
        for agent in &gateway.agents {
            let endpoints = agent.upstream.as_ref().map_or(0, |it| it.endpoints.len());
            let leads = |route: &&Route| {
                let mut agents = route.all_agents().filter_map(|id| policy.agents.get(id.0));
                let follows = route
                    .sticky
                    .as_ref()
                    .is_some_and(|it| it.ways().contains(&way));
                follows && agents.any(|it| it.name == agent.name)
            };
            if endpoints > 1
                && agent.sticky.is_none()
                && let Some(route) = policy.routes.iter().find(leads)
            {
                let (name, route) = (&agent.name, &route.name);
                doubts.push((
                    &["agents"],
                    format!(
                        "agents.{name}.sticky: is missing: the route {route:?} finds the agent again by `{named}`, and not which of its \
                         {endpoints} endpoints has given the answer; write sticky: [{{{named}: true}}] here too"
                    ),
                ));
            }
        }
    }
    doubts
}
