//! The auth service.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;

use crate::serving::{ListenError, Server};

/// A running auth service; it ends when dropped.
#[derive(Debug)]
pub struct Auth {
    server: Server,
}

/// Starts an auth service on `address` (`host:port`).
pub async fn start(address: &str) -> Result<Auth, ListenError> {
    let server = Server::start(address, |_| Router::new().route("/healthz", get("ok\n"))).await?;
    Ok(Auth { server })
}

impl Auth {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Stops accepting, lets calls under way finish for up to five seconds, then ends.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}
