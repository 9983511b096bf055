//! The first request: the stack is up once one has come through to an agent.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::POLL;
use crate::gateway::exchange;

/// The key that the first request is made with: an allowance that people have not been told to try out.
pub(super) const PROBE_KEY: &str = "demo-admin";

/// And where to.
pub(super) const PROBE_PATH: &str = "/v1/chat/completions";

/// How long a real request may take to come through once Envoy serves.
const PROBE_DEADLINE: Duration = Duration::from_secs(10);

/// Sends a request through to an agent until it is answered, and says by which agent; or what the last one met.
pub(super) async fn probe(gateway: SocketAddr) -> Result<String, String> {
    let deadline = Instant::now() + PROBE_DEADLINE;
    loop {
        let mut refused = false;
        let last = match ask(gateway).await {
            Ok(response) if response.status().is_success() => {
                let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
                let agent = body.get("system_fingerprint").and_then(Value::as_str);
                return Ok(agent.unwrap_or("an agent").to_owned());
            }
            Ok(response) => {
                // Asking again would not change it.
                refused = response.status().is_client_error();
                let body = String::from_utf8_lossy(response.body()).into_owned();
                format!("{}: {body}", response.status())
            }
            Err(error) => error.to_string(),
        };
        if refused || Instant::now() >= deadline {
            return Err(last);
        }
        sleep(POLL).await;
    }
}

async fn ask(
    gateway: SocketAddr,
) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    let body = r#"{"model":"demo","messages":[{"role":"user","content":"Are you there?"}]}"#;
    let request = Request::builder()
        .method(Method::POST)
        .uri(PROBE_PATH)
        .header("host", gateway.to_string())
        .header("content-type", "application/json")
        .header("x-api-key", PROBE_KEY)
        .body(Full::from(body))?;
    Ok(exchange(TcpStream::connect(gateway).await?, request).await?)
}
