//! What becomes of a request, by how its walk through the filter has ended.

use serde_json::Value;
use waykeeper::host::LocalReply;

use super::explanation::Outcome;
use super::found::Meeting;
use super::servers;
use super::walked::{End, Walked};

impl Meeting<'_> {
    /// What it has come to.
    pub(super) fn outcome(&self, walked: &Walked) -> Outcome {
        match &walked.end {
            End::Forwarded => Outcome::Forwarded,
            End::Waits => Outcome::Waits {
                until: "more of its body comes, or its route's body_timeout is over: 408 request_timeout".to_owned(),
            },
            // Nobody is asked here, so nobody answers.
            End::Answered { reply, .. } if servers::asks_all(reply) => Outcome::Answered {
                status: 200,
                by: "the gateway itself, with what all servers of the route say that it asks".to_owned(),
            },
            End::Answered { reply, .. } if self.of_servers().is_some() && in_rpc(reply).is_none() => {
                Outcome::Answered {
                    status: reply.status,
                    by: format!("the gateway itself, with {}, in place of all servers of the route", reply.status),
                }
            }
            End::Answered { reply, .. } if reply.status < 400 && in_rpc(reply).is_none() => {
                let path = self.arrived.block.get(":path").unwrap_or_default();
                let of_models = self.policy.models_endpoint.as_ref();
                let what = match of_models.is_some_and(|it| path.starts_with(it.path.as_bytes())) {
                    true => "which models they may use",
                    false => "how their limits stand",
                };
                Outcome::Answered {
                    status: reply.status,
                    by: format!("the gateway itself, as the place where callers ask {what}"),
                }
            }
            End::Answered { reply, late } => {
                let told = in_rpc(reply).unwrap_or_else(|| serde_json::from_slice(&reply.body).unwrap_or_default());
                let message = reply.headers.iter().find(|(name, _)| *name == "grpc-message");
                let detail = told.get("detail").and_then(Value::as_str);
                Outcome::Refused {
                    status: reply.status,
                    code: reply.details.strip_prefix("waykeeper_").unwrap_or(&reply.details).to_owned(),
                    detail: detail.map(str::to_owned).or(message.map(|(_, text)| text.clone())),
                    late: *late,
                }
            }
        }
    }
}

/// What a reply says in an error of JSON-RPC, if that is what it is.
fn in_rpc(reply: &LocalReply) -> Option<Value> {
    let told: Value = serde_json::from_slice(&reply.body).ok()?;
    let error = told.get(0).unwrap_or(&told).get("error")?;
    // As A2A has it, over JSON-RPC and by HTTP.
    let is_list = |name| error.get(name).is_some_and(Value::is_array);
    if is_list("data") || is_list("details") {
        return Some(serde_json::json!({"detail": error.get("message")}));
    }
    error.get("data").cloned()
}
