//! What keeps requests together that should not be, and what would have and does not.

use waykeeper::config::Policy;
use waykeeper::config::policy::{Choice, Route, Sticky};

use crate::yaml::Value;

/// The beginning of nearly all chats; what is shorter tells none of them apart.
const BEGINNING: &str = r#"[{"role":"user","content":""#;

/// Of the routes' own `sticky`, and of what it has to do with their agents'.
pub(super) fn of_route(
    policy: &Policy,
    route: &Route,
    item: &Value,
) -> Vec<(&'static str, String)> {
    let mut doubts = of_named_answers(policy, route, item);
    doubts.extend(short(route.sticky.as_ref()).map(|told| ("sticky", told)));
    doubts
}

/// The same of agents'.
pub(super) fn of_agents(policy: &Policy, written: &Value) -> Vec<(usize, String)> {
    let doubts = policy.agents.iter().filter_map(|agent| {
        let (name, told) = (&agent.name, short(agent.sticky.as_ref())?);
        let line = written.line_of(&["agents", name, "sticky"]);
        Some((line, format!("agents.{name}.sticky: {told}")))
    });
    doubts.collect()
}

/// So few bytes of prompts that nearly all of them are alike.
fn short(sticky: Option<&Sticky>) -> Option<String> {
    let few = sticky?.ways().iter().find_map(|way| match way {
        Sticky::Prompt(most) if *most <= BEGINNING.len() as u64 => Some(most),
        _ => None,
    })?;
    let beginning = BEGINNING.len();
    Some(format!(
        "the first {few} bytes of nearly all prompts are the same, {BEGINNING} has {beginning}: nearly all requests are kept together; \
         write as much as the operator's words have, such as 1KiB"
    ))
}

/// Where what names an earlier answer does not come to who has given it, though somebody is sticky by that.
fn of_named_answers(policy: &Policy, route: &Route, item: &Value) -> Vec<(&'static str, String)> {
    let mut doubts = Vec::new();
    let agent = |choice: &Choice| policy.agents.get(choice.agent.0);
    let lists = { route.rules.iter() }.map(|rule| &rule.agents);
    let lists = || lists.clone().chain([&route.agents]);
    for (way, named) in [(Sticky::Response, "response"), (Sticky::Task, "task")] {
        let follows =
            |sticky: &Option<Sticky>| sticky.as_ref().is_some_and(|it| it.ways().contains(&way));
        // Where something else keeps requests at their agent, what follows an answer comes there with them.
        let drawn = lists().filter(|list| {
            route.sticky.is_none() && list.iter().filter(|it| it.weight > 0).count() > 1
        });
        let of_drawn = drawn.flatten().filter_map(agent);
        if let Some(agent) = { of_drawn }.find(|agent| follows(&agent.sticky)) {
            doubts.push((
                "agents",
                format!(
                    "{} is sticky by `{named}`, and the route is not: each request is drawn anew, so one that names an earlier answer may \
                     come to another agent, which does not know it; write sticky: [{{{named}: true}}] here too",
                    agent.name
                ),
            ));
        }
        let is_followed = follows(&route.sticky)
            || lists()
                .flatten()
                .filter_map(agent)
                .any(|it| follows(&it.sticky));
        if is_followed && asks_for_compressed(item) {
            doubts.push((
                "request",
                format!(
                    "accept-encoding is changed after the gateway has asked for answers that it can read: of those that come compressed it \
                     learns nothing, so `{named}` keeps nothing together; leave accept-encoding out"
                ),
            ));
        }
    }
    doubts
}

/// Whether a route has its agents asked for answers that may be compressed.
fn asks_for_compressed(item: &Value) -> bool {
    let headers = item.get("request").and_then(|it| it.get("headers"));
    let edits = ["set", "add"].map(|name| headers.and_then(|it| it.get(name)));
    let mut edits = edits.into_iter().flatten().flat_map(Value::entries);
    edits.any(|entry| {
        entry.name.eq_ignore_ascii_case("accept-encoding") && entry.value.text() != Some("identity")
    })
}
