//! An agent.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;

use crate::serving::{ListenError, Server};

/// A running agent; it ends when dropped.
#[derive(Debug)]
pub struct Agent {
    name: String,
    server: Server,
}

/// Starts an agent called `name` on `address` (`host:port`).
pub async fn start(name: &str, address: &str) -> Result<Agent, ListenError> {
    let server = Server::start(address, |_| Router::new().route("/healthz", get("ok\n"))).await?;
    Ok(Agent {
        name: name.to_owned(),
        server,
    })
}

impl Agent {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Stops accepting, lets requests under way finish for up to five seconds, then ends.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}
