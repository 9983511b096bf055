//! The services behind the gateway, all of them at once: the auth service and the five agents that the reference
//! configuration names, in-process, on free ports of 127.0.0.1.

use std::net::SocketAddr;

use crate::agent::{self, Agent};
use crate::auth::{self, Auth, Keys};
use crate::gateway::{Bootstrap, ReferenceError};
use crate::serving::ListenError;

/// The auth service's name among the containers.
pub const AUTH_SERVICE: &str = "auth-service";

/// Its cluster in the reference configuration.
pub const AUTH_CLUSTER: &str = "waykeeper/validator";

/// The reference configuration's agents, whose clusters are called as they are; beside each the name of its service among
/// the containers.
pub const AGENTS: [(&str, &str); 5] = [
    ("chat-gpu", "chat-gpu"),
    ("chat-cpu", "chat-cpu"),
    ("tools", "tool-execution"),
    ("rag", "rag-retrieval"),
    ("memory", "memory-store"),
];

const ANY_PORT: &str = "127.0.0.1:0";

/// The running services; they end when dropped.
#[derive(Debug)]
pub struct Services {
    auth: Auth,
    /// In the order of [`AGENTS`].
    agents: Vec<Agent>,
}

impl Services {
    /// Starts all of them; the auth service knows `keys`.
    ///
    /// # Errors
    /// If one finds no free port.
    pub async fn start(keys: Keys) -> Result<Self, ListenError> {
        let auth = auth::start(ANY_PORT, keys).await?;
        let mut agents = Vec::with_capacity(AGENTS.len());
        for (name, _) in AGENTS {
            agents.push(agent::start(name, ANY_PORT).await?);
        }
        Ok(Self { auth, agents })
    }

    /// The auth service.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// The agents, in the order of [`AGENTS`].
    pub fn agents(&self) -> &[Agent] {
        &self.agents
    }

    /// The agent of this name.
    pub fn agent(&self, name: &str) -> Option<&Agent> {
        self.agents.iter().find(|agent| agent.name() == name)
    }

    /// Puts their addresses into Envoy's clusters.
    ///
    /// # Errors
    /// If the bootstrap lacks one of the clusters.
    pub fn connect(&self, bootstrap: &mut Bootstrap) -> Result<(), ReferenceError> {
        bootstrap.set_endpoints(AUTH_CLUSTER, &[self.auth.address()])?;
        for (name, _) in AGENTS {
            let addresses: Vec<SocketAddr> =
                self.agent(name).map(Agent::address).into_iter().collect();
            bootstrap.set_endpoints(name, &addresses)?;
        }
        Ok(())
    }

    /// Lets what is under way finish for a few seconds, then ends them all.
    pub async fn stop(self) {
        for agent in self.agents {
            agent.stop().await;
        }
        self.auth.stop().await;
    }
}
