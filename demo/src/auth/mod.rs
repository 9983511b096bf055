//! The auth service: the validator that a gateway asks whose key a key is. It can revoke keys, count its calls and fail
//! in every way a validator can, so that a test can show that nobody gets in because of it.
//!
//! | request | |
//! |---|---|
//! | `POST /validate` `{"api_key"}` | 200 with `client_id` and more, or 401 |
//! | `POST /demo/revoke`, `/demo/restore` `{"api_key"}` | from now on 401 for this key, or no longer; 404 for an unknown key |
//! | `PUT /demo/faults`, `DELETE /demo/faults` | fails from now on, or no longer: see [`Fault`] |
//! | `GET /demo/stats`, `DELETE /demo/stats` | what was asked: see [`Stats`]; from zero on |
//! | `GET /healthz` | 200 |
//!
//! A fault is ordered as `{"kind", "calls" or "for"}` (neither: until cleared), by kind: `slow` with `delay`, `status`
//! with `status` and `body`, `nonsense` with `body`, `too-big` with `bytes`, `bad-name` with `field` and `name`, `hang`,
//! `hang-up`, `none`. Everything but `delay` and `status` has a default.

mod faults;
mod keys;
mod service;
mod stats;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

pub use faults::{Fault, FaultKind, Field};
pub use keys::{Answer, Client, Keys, KeysError};
pub use stats::{Call, Outcomes, Stats};

use self::service::Shared;
use crate::serving::{ListenError, Listening, Server};

/// A running auth service; it ends when dropped.
#[derive(Debug)]
pub struct Auth {
    server: Server,
    shared: Arc<Shared>,
}

/// Starts an auth service on `address` (`host:port`, port 0 for any free one).
pub async fn start(address: &str, keys: Keys) -> Result<Auth, ListenError> {
    let listening = Listening::on(address).await?;
    let shared = Arc::new(Shared::new(keys));
    let router = service::router(Arc::clone(&shared), listening.stopping());
    let server = listening.serve(router);
    Ok(Auth { server, shared })
}

impl Auth {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What was asked so far.
    pub fn stats(&self) -> Stats {
        self.shared.lock().stats.clone()
    }

    /// Counts from zero on.
    pub fn reset_stats(&self) {
        self.shared.lock().stats.reset();
    }

    /// Fails so from now on, in place of any earlier fault.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.set_fault(fault);
    }

    /// Fails no longer. Calls that hang already go on hanging.
    pub fn clear_fault(&self) {
        self.shared.lock().faults.clear();
    }

    /// Adds a key or replaces what is said about it.
    pub fn insert_key(&self, key: &str, answer: impl Into<Answer>) {
        self.shared.lock().keys.insert(key, answer);
    }

    /// From now on the key is invalid. False if there is no such key.
    pub fn revoke(&self, key: &str) -> bool {
        self.shared.lock().revoke(key)
    }

    /// A revoked key is valid again. False if there is no such key.
    pub fn restore(&self, key: &str) -> bool {
        self.shared.lock().restore(key)
    }

    /// Accepts no more calls, lets those under way finish for up to five seconds, then ends.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}
