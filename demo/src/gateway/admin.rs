//! Envoy's admin interface, over TCP or a Unix socket: is it ready, where does it listen, what do its counters say.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response};
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

use super::exchange::exchange;

/// The statistics that tell whether a changed configuration was taken. (`config_reload` counts refused ones as well.)
const TAKEN: &str = "extension_config_discovery.http_filter.waykeeper.update_success";
const REFUSED: &str = "extension_config_discovery.http_filter.waykeeper.update_rejected";

/// Where an admin interface listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// On an address and port.
    Tcp(SocketAddr),
    /// On a Unix socket.
    Socket(PathBuf),
}

/// A client of one admin interface; each call is a connection of its own.
#[derive(Clone, Debug)]
pub struct Admin {
    address: AdminAddress,
}

/// How often Envoy was given a configuration of the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloads {
    /// Taken, the first one included.
    pub taken: u64,
    /// Refused: the one before it goes on serving.
    pub refused: u64,
}

/// The admin interface did not answer as expected.
#[derive(Debug)]
pub struct AdminError {
    path: String,
    reason: String,
}

/// Whatever kept a request from being answered.
type SendError = Box<dyn std::error::Error + Send + Sync>;

// === impl Admin ===

impl Admin {
    /// The interface at `address`.
    pub fn at(address: AdminAddress) -> Self {
        Self { address }
    }

    /// The answer's body.
    ///
    /// # Errors
    /// If there is no answer, or one that is not 200.
    pub async fn get(&self, path: &str) -> Result<String, AdminError> {
        self.call(Method::GET, path).await
    }

    /// The answer's body, from a path that changes something.
    ///
    /// # Errors
    /// If there is no answer, or one that is not 200.
    pub async fn post(&self, path: &str) -> Result<String, AdminError> {
        self.call(Method::POST, path).await
    }

    /// Succeeds once Envoy has all its configuration and its workers run.
    ///
    /// # Errors
    /// Until then.
    pub async fn ready(&self) -> Result<(), AdminError> {
        self.get("/ready").await.map(|_| ())
    }

    /// The address that a listener is bound to.
    ///
    /// # Errors
    /// If there is no such listener (yet).
    pub async fn listener(&self, name: &str) -> Result<SocketAddr, AdminError> {
        let path = "/listeners?format=json";
        let body = self.get(path).await?;
        let listeners: Value =
            serde_json::from_str(&body).map_err(|error| AdminError::new(path, error))?;
        listeners["listener_statuses"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|listener| listener["name"] == name)
            .and_then(|listener| {
                let address = &listener["local_address"]["socket_address"];
                let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
                Some(SocketAddr::new(
                    address["address"].as_str()?.parse().ok()?,
                    port,
                ))
            })
            .ok_or_else(|| AdminError::new(path, format!("no listener named \"{name}\"")))
    }

    /// A counter or a gauge by its full name; 0 if Envoy has not made it yet.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn stat(&self, name: &str) -> Result<u64, AdminError> {
        let path = format!("/stats?filter=^{}$", name.replace('.', "\\."));
        let body = self.get(&path).await?;
        Ok(body
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok())
            .unwrap_or(0))
    }

    /// How many configurations of the filter were taken and refused so far.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn reloads(&self) -> Result<Reloads, AdminError> {
        Ok(Reloads {
            taken: self.stat(TAKEN).await?,
            refused: self.stat(REFUSED).await?,
        })
    }

    async fn call(&self, method: Method, path: &str) -> Result<String, AdminError> {
        let response = self
            .send(method, path)
            .await
            .map_err(|error| AdminError::new(path, error))?;
        let body = String::from_utf8_lossy(response.body()).into_owned();
        let status = response.status();
        if status.is_success() {
            Ok(body)
        } else {
            let reason = format!("{status}: {}", body.trim());
            Err(AdminError::new(path, reason))
        }
    }

    async fn send(&self, method: Method, path: &str) -> Result<Response<Bytes>, SendError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "admin")
            .body(Full::default())?;
        Ok(match &self.address {
            AdminAddress::Tcp(address) => {
                exchange(TcpStream::connect(address).await?, request).await?
            }
            AdminAddress::Socket(socket) => {
                exchange(UnixStream::connect(socket).await?, request).await?
            }
        })
    }
}

// === impl AdminError ===

impl AdminError {
    fn new(path: &str, reason: impl std::fmt::Display) -> Self {
        Self {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

impl std::fmt::Display for AdminError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "envoy's admin interface, {}: {}",
            self.path, self.reason
        )
    }
}

impl std::error::Error for AdminError {}
