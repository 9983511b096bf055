//! What answers: the agents.

use std::collections::HashMap;

use super::limits::joined;
use super::policy::{Agent, AgentId, PlanId, Price};
use super::reader::{Fields, Spot};
use super::{hosts, in_flight, load, names, rest, served, sticky, switches};
use crate::sort::sort_by;

const MOST_AGENTS: usize = 1024;
/// All weights of a route still fit a u32.
const MOST_WEIGHT: u32 = 1_000_000;

/// Those of an agent's fields that have nothing to do with Envoy.
pub const AGENT_FIELDS_OF_FILTER: [&str; 12] = [
    "weight",
    "models",
    "capabilities",
    "sticky",
    "max_in_flight",
    "wait",
    "max_waiting",
    "share",
    "inference",
    load::OF_AGENT[0],
    load::OF_AGENT[1],
    "rest",
];
pub(super) const AGENT_FIELDS: &[&str] = &joined::<5, 12, 17>(
    [
        "cluster",
        "websocket_cluster",
        "host",
        "sees",
        "cluster_hides",
    ],
    AGENT_FIELDS_OF_FILTER,
);

/// The agents in the order of their names.
pub(super) fn agents(
    spot: Option<&Spot<'_>>,
    around: &sticky::Around<'_>,
    plans: &HashMap<&str, PlanId>,
) -> Vec<Agent> {
    let Some(spot) = spot else { return Vec::new() };
    let Some(named) = spot.named(MOST_AGENTS) else {
        return Vec::new();
    };
    let mut agents: Vec<Agent> = named
        .iter()
        .map(|(name, agent)| {
            if let Err(fault) = names::agent(name) {
                agent.fault(fault);
            }
            let fields = agent.fields(AGENT_FIELDS);
            let cluster = fields
                .as_ref()
                .and_then(|fields| fields.need("cluster")?.checked(names::cluster));
            let websocket_cluster = fields
                .as_ref()
                .and_then(|fields| fields.get("websocket_cluster")?.checked(names::cluster));
            let host = fields
                .as_ref()
                .and_then(|fields| fields.get("host")?.checked(hosts::host));
            let weight = fields.as_ref().and_then(weight).unwrap_or(1);
            let models = (fields.as_ref())
                .and_then(|fields| fields.get("models"))
                .map(|spot| served::models(&spot));
            let capabilities = (fields.as_ref())
                .and_then(|fields| fields.get("capabilities"))
                .map(|spot| served::capabilities(&spot));
            let sticky = fields.as_ref().and_then(|fields| {
                let spot = fields.get("sticky")?;
                let sticky = sticky::sticky(&spot)?;
                sticky::check(&spot, &sticky, around);
                Some(sticky)
            });
            let in_flight = fields
                .as_ref()
                .and_then(|fields| in_flight::of_agent(fields, plans));
            let inference = fields
                .as_ref()
                .and_then(|fields| in_flight::inference(&fields.get("inference")?, plans));
            let load = fields.as_ref().and_then(|fields| {
                let cluster = cluster.unwrap_or_default();
                load::load(&fields.get("load")?, cluster, in_flight.is_some())
            });
            let price = fields.as_ref().and_then(|fields| fields.get("price"));
            let sees = fields.as_ref().and_then(|fields| fields.get("sees"));
            let cluster_hides = (fields.as_ref())
                .and_then(|fields| fields.get("cluster_hides"))
                .and_then(|spot| spot.flag());
            let rest = (fields.as_ref())
                .and_then(|fields| fields.get("rest"))
                .and_then(|spot| rest::rest(&spot));
            // A faulty agent is kept, so that routes to it are not faulty too.
            Agent {
                name: name.to_owned(),
                cluster: cluster.unwrap_or_default().to_owned(),
                websocket_cluster: websocket_cluster.map(str::to_owned),
                host: host.map(str::to_owned),
                weight,
                models: models.unwrap_or_default(),
                capabilities: capabilities.unwrap_or_default(),
                sticky,
                in_flight,
                load,
                price: price.map(|spot| load::price(&spot).unwrap_or(Price::FREE)),
                inference,
                sees: sees.map(|spot| switches::agents_see(Some(&spot))),
                cluster_hides: cluster_hides.unwrap_or(false),
                rest,
            }
        })
        .collect();
    if agents.is_empty() {
        spot.fault("there must be at least one agent");
    }
    sort_by(&mut agents, |left, right| left.name.cmp(&right.name));
    agents
}

/// Its share of a route's requests.
pub(super) fn weight(fields: &Fields<'_>) -> Option<u32> {
    fields.get("weight")?.whole_u32(0..=MOST_WEIGHT)
}

/// Where each agent stands.
pub(super) fn by_name(agents: &[Agent]) -> HashMap<&str, AgentId> {
    let places = agents.iter().enumerate();
    places
        .map(|(index, agent)| (agent.name.as_str(), AgentId(index)))
        .collect()
}
