//! The filter's document as it stands in the manifests.

use waykeeper::config::Node;

use super::destinations::Destinations;
use crate::gateway::Checked;

/// The filter's document, in which clusters have Istio's names, and variables stand for keys.
pub(super) fn named(checked: &Checked, destinations: &Destinations) -> Node {
    let mut document = checked.document.0.clone();
    if let Some(Node::Map(agents)) = field(&mut document, "agents") {
        for (name, agent) in agents {
            let cluster = destinations.of_agents.get(name);
            if let (Some(cluster), Some(place)) = (cluster, field(agent, "cluster")) {
                *place = Node::Text(cluster.clone());
            }
            let made = checked.gateway.agents.iter();
            let mut made = made.filter(|agent| agent.upstream.is_some());
            if made.any(|agent| agent.name == *name)
                && let Node::Map(fields) = agent
            {
                fields.retain(|(name, _)| name != "websocket_cluster");
            }
        }
    }
    if let Some(Node::Map(fields)) = field(&mut document, "sessions") {
        let key =
            |variable: &String| Node::Map(vec![("env".to_owned(), Node::Text(variable.clone()))]);
        let keys = destinations.credentials.keys.iter().map(key).collect();
        *fields = vec![("keys".to_owned(), Node::List(keys))];
    }
    let validator = field(&mut document, "clients");
    let validator = validator.and_then(|clients| field(clients, "validator"));
    let place = validator.and_then(|validator| field(validator, "cluster"));
    if let (Some(cluster), Some(place)) = (&destinations.validator, place) {
        *place = Node::Text(cluster.clone());
    }
    document
}

fn field<'n>(node: &'n mut Node, name: &str) -> Option<&'n mut Node> {
    let Node::Map(fields) = node else {
        return None;
    };
    let mut fields = fields.iter_mut();
    fields
        .find(|(other, _)| other == name)
        .map(|(_, value)| value)
}
