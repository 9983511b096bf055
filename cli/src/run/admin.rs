//! Envoy's admin interface, on its Unix socket.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request};
use serde_json::Value as Json;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::http;

/// Envoy answers nothing while it compiles the module, or looks into a large configuration.
const PATIENCE: Duration = Duration::from_secs(20);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A client of it; each call is a connection of its own.
#[derive(Debug, Clone)]
pub(super) struct Admin {
    socket: PathBuf,
}

impl Admin {
    pub(super) fn at(socket: &Path) -> Self {
        let socket = socket.to_owned();
        Self { socket }
    }

    pub(super) async fn get(&self, path: &str) -> Result<String, Failure> {
        timeout(PATIENCE, self.call(Method::GET, path)).await?
    }

    /// For what changes something.
    pub(super) async fn post(&self, path: &str) -> Result<String, Failure> {
        timeout(PATIENCE, self.call(Method::POST, path)).await?
    }

    pub(super) async fn json(&self, path: &str) -> Result<Json, Failure> {
        Ok(serde_json::from_str(&self.get(path).await?)?)
    }

    /// The statistics whose names match a regular expression that stands in a query as it is.
    pub(super) async fn stats(&self, pattern: &str) -> Result<BTreeMap<String, String>, Failure> {
        let body = self.get(&format!("/stats?filter={pattern}")).await?;
        let lines = body.lines().filter_map(|line| line.split_once(": "));
        Ok(lines
            .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
            .collect())
    }

    /// The sum of those that are numbers.
    pub(super) async fn sum(&self, pattern: &str) -> Result<u64, Failure> {
        let stats = self.stats(pattern).await?;
        let numbers = stats.values().filter_map(|value| value.parse::<u64>().ok());
        Ok(numbers.fold(0, u64::saturating_add))
    }

    async fn call(&self, method: Method, path: &str) -> Result<String, Failure> {
        let stream = UnixStream::connect(&self.socket).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "admin")
            .body(Empty::<Bytes>::new())?;
        let (head, body) = http::ask(stream, request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        if head.status.is_success() {
            Ok(body)
        } else {
            Err(format!("{path}: {}: {}", head.status, body.trim()).into())
        }
    }
}
