//! Whom the clusters that are made of a file lead to, in people's words.

use std::fmt;

use super::{Gateway, Limiter, Upstream};

/// Whom a cluster leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whom {
    Agent(String),
    /// The same, where WebSockets have a cluster of their own.
    Websockets(String),
    /// The same, where an endpoint of it is asked for its metrics.
    Metrics(String),
    /// That of an agent.
    Picker(String),
    Validator,
    Limiter,
    /// Whoever is behind a cluster of this name, which a patch adds.
    Other(String),
}

impl Gateway {
    /// All who are asked in clusters that are made here, agents last: the cluster's name, whom it leads to, and how.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = (&String, Whom, &Upstream)> {
        let validator = self.validator.as_ref();
        let validator = validator.map(|it| (&it.cluster, Whom::Validator, &it.upstream));
        let limiter = self.limiter.as_ref();
        let limiter = limiter.and_then(|it| {
            Limiter::upstream(it).map(|upstream| (&it.cluster, Whom::Limiter, upstream))
        });
        let pickers = self.agents.iter().filter_map(|agent| {
            let picker = agent.picker.as_ref()?;
            let whom = Whom::Picker(agent.name.clone());
            Some((&picker.cluster, whom, &picker.upstream))
        });
        let agents = self.agents.iter().filter_map(|agent| {
            let whom = Whom::Agent(agent.name.clone());
            Some((&agent.cluster, whom, agent.upstream.as_ref()?))
        });
        let services = validator.into_iter().chain(limiter).chain(pickers);
        services.chain(agents)
    }

    /// Whom this cluster leads to.
    pub(crate) fn whom(&self, cluster: &str) -> Whom {
        let of_agent = self.agents.iter().find_map(|agent| match agent {
            _ if agent.cluster == cluster => Some(Whom::Agent(agent.name.clone())),
            _ if agent.websocket_cluster.as_deref() == Some(cluster) => {
                Some(Whom::Websockets(agent.name.clone()))
            }
            _ if agent.showers().any(|(name, _)| name == cluster) => {
                Some(Whom::Metrics(agent.name.clone()))
            }
            _ => None,
        });
        let mut all = self.upstreams();
        let whom = of_agent.or_else(|| Some(all.find(|(name, ..)| *name == cluster)?.1));
        whom.unwrap_or_else(|| Whom::Other(cluster.to_owned()))
    }
}

impl Whom {
    /// Where in the file it is written.
    pub(crate) fn path(&self) -> Vec<&str> {
        match self {
            Self::Agent(name) | Self::Websockets(name) => vec!["agents", name],
            Self::Metrics(name) => vec!["agents", name, "load"],
            Self::Picker(name) => vec!["agents", name, "picker"],
            Self::Validator => vec!["clients", "validator"],
            Self::Limiter => vec!["fleet", "limiter"],
            Self::Other(_) => vec!["envoy", "patches"],
        }
    }

    /// What comes of requests while nobody answers there.
    pub(crate) fn lost(&self) -> &'static str {
        match self {
            Self::Agent(_) | Self::Websockets(_) | Self::Other(_) => {
                "requests for it are answered 503 agent_unreachable"
            }
            Self::Metrics(_) => "how busy it is is not known",
            Self::Picker(_) => "what its on_failure says holds",
            Self::Validator => "keys that nobody knows here are answered 503 validator_unavailable",
            Self::Limiter => "what fleet.on_failure says holds",
        }
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(name) => write!(text, "agent {name}"),
            Self::Websockets(name) => write!(text, "agent {name} for WebSockets"),
            Self::Metrics(name) => write!(text, "agent {name}, asked for its metrics,"),
            Self::Picker(name) => write!(text, "the picker of {name}"),
            Self::Validator => text.write_str("the validator"),
            Self::Limiter => text.write_str("the limiter"),
            Self::Other(cluster) => write!(text, "the cluster {cluster}"),
        }
    }
}
