//! The filter's document as it stands in the manifests.

use waykeeper::config::Node;

use super::destinations::Destinations;
use crate::gateway::Checked;

/// The filter's document, in which clusters have Istio's names, and variables stand for keys.
pub(super) fn named(checked: &Checked, destinations: &Destinations) -> Node {
    let mut document = checked.document.0.clone();
    if let Some(Node::Map(agents)) = document.get_mut("agents") {
        for (name, agent) in agents {
            let cluster = destinations.of_agents.get(name);
            if let (Some(cluster), Some(place)) = (cluster, agent.get_mut("cluster")) {
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
    if let Some(Node::Map(fields)) = document.get_mut("sessions") {
        let key =
            |variable: &String| Node::Map(vec![("env".to_owned(), Node::Text(variable.clone()))]);
        let keys = destinations.credentials.keys.iter().map(key).collect();
        *fields = vec![("keys".to_owned(), Node::List(keys))];
    }
    let validator = document.get_mut("clients");
    let validator = validator.and_then(|clients| clients.get_mut("validator"));
    let place = validator.and_then(|validator| validator.get_mut("cluster"));
    if let (Some(cluster), Some(place)) = (&destinations.validator, place) {
        *place = Node::Text(cluster.clone());
    }
    document
}
