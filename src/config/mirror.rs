//! The agent that hears a part of a route's requests as well.

use super::document::shown;
use super::policy::{Agent, Mirror, Protocol, Route};
use super::reader::Spot;
use super::rules::Around;

pub(super) const MIRROR_FIELDS: &[&str] = &["agent", "percent"];

/// Which agent hears requests of a route as well, and how many of them.
#[inline(never)]
pub(super) fn mirror(spot: &Spot<'_>, around: &Around<'_>, protocol: Protocol) -> Option<Mirror> {
    if protocol == Protocol::Websocket {
        spot.fault("has no meaning for a WebSocket: nobody could answer for the other end");
    }
    let fields = spot.fields(MIRROR_FIELDS)?;
    let percent = match fields.get("percent") {
        Some(spot) => spot.whole_u32(0..=100),
        None => Some(100),
    };
    let agent = fields
        .need("agent")
        .and_then(|spot| spot.reference("agent", around.agents_by_name));
    Some(Mirror {
        agent: agent?,
        percent: percent?,
    })
}

/// Tells of a mirror that would hear what is not meant for it. Envoy copies the body as the route's agent gets it.
#[inline(never)]
pub(super) fn check(spot: &Spot<'_>, mirror: &Mirror, route: &Route, around: &Around<'_>) {
    let agents = || route.all_agents().filter_map(|id| around.agents.get(id.0));
    let Some(mirror) = around.agents.get(mirror.agent.0) else {
        return;
    };
    for agent in agents() {
        let named = agent.models.iter().chain(&mirror.models);
        let mut names = named.filter_map(|model| model.name.exact());
        let differs = |name: &&str| {
            let (one, other) = (called(agent, name), called(mirror, name));
            one.is_some() && other.is_some() && one != other
        };
        if let Some(name) = names.find(differs) {
            let (one, other) = (called(agent, name), called(mirror, name));
            spot.fault(format!(
                "hears the model {} as {} calls it, {}, and calls it {} itself; a mirror cannot be asked by a name of its own",
                shown(name),
                agent.name,
                shown(one.unwrap_or_default()),
                shown(other.unwrap_or_default()),
            ));
            return;
        }
    }
}

/// What an agent calls a model. `None`: it does not say that it serves it.
fn called<'a>(agent: &'a Agent, name: &'a str) -> Option<&'a str> {
    let mut models = agent.models.iter();
    let model = models.find(|model| model.name.matches(name.as_bytes()))?;
    Some(model.sent_as.as_deref().unwrap_or(name))
}
