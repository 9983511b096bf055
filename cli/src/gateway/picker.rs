//! Who says which endpoint of an agent answers: an endpoint picker of the Gateway API Inference Extension. Envoy asks it, once the
//! filter has chosen the agent.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value as Json, json};
use waykeeper::config::{Fault, Segment, Spot};

use super::agents::{NUMBER, OWN};
use super::limiter::grpc_url;
use super::{Agent, EnvoyVersion, Gateway, Http, Upstream};
use crate::yaml::Value;

pub(super) const FIELDS: &[&str] = &["url", "tls", "timeout", "on_failure"];

const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);
const USUAL: Duration = Duration::from_secs(10);

/// One of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picker {
    /// The name of its cluster.
    pub(crate) cluster: String,
    pub(crate) upstream: Upstream,
    /// How long it may take, the request's body included, which it reads.
    pub(crate) timeout: Duration,
    /// Whether a request goes to some endpoint if it does not say which.
    pub(crate) balances: bool,
}

/// The one that is written of an agent of this name.
pub(super) fn picker(agent: &str, spot: &Spot<'_>) -> Option<Picker> {
    let fields = spot.fields(FIELDS)?;
    let timeout = fields.get("timeout").map(|spot| spot.duration(TIMEOUT));
    let on_failure = fields.get("on_failure");
    let balances = on_failure.map(|spot| spot.choice(&[("deny", false), ("balance", true)]));
    let url = grpc_url(&fields.need("url")?)?;
    Some(Picker {
        cluster: format!("{OWN}picker/{agent}"),
        upstream: Upstream::at(&url, &fields, Http::Two),
        timeout: timeout.map_or(Some(USUAL), |timeout| timeout)?,
        balances: balances.map_or(Some(false), |it| it)?,
    })
}

impl Picker {
    /// What it is called.
    pub(crate) fn authority(&self) -> String {
        let place = self.upstream.endpoints.first();
        place.map_or_else(String::new, |it| it.url.authority())
    }
}

/// What the routes to an agent are told of its picker: by which clusters they know the agent, whatever number these have, and which
/// one they ask.
pub(super) fn way(agent: &Agent) -> Option<Json> {
    let picker = agent.picker.as_ref()?;
    let name = literally(&agent.name);
    let cluster = super::agents::without_number(&agent.cluster);
    let end = literally(cluster.strip_prefix(&agent.name).unwrap_or_default());
    Some(json!({
        "agents_clusters": format!("{name}({NUMBER}[0-9]+)?{end}"),
        "cluster": picker.cluster,
        "authority": picker.authority(),
        "balances": picker.balances,
    }))
}

/// As a regular expression that matches that alone.
fn literally(text: &str) -> String {
    let mut pattern = String::new();
    for letter in text.chars() {
        if !letter.is_ascii_alphanumeric() {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

/// Whether some agent has one.
pub(super) fn has_pickers(gateway: &Gateway) -> bool {
    gateway.agents.iter().any(|agent| agent.picker.is_some())
}

/// What is wrong with a gateway whose Envoy keeps on to a picker that has said all.
pub(super) fn unable(document: &Value, gateway: &Gateway, envoy: EnvoyVersion) -> Vec<Fault> {
    if envoy.closes_pickers() {
        return Vec::new();
    }
    let agents = gateway.agents.iter();
    let agents = agents.filter(|agent| agent.picker.is_some());
    let fault = |agent: &Agent| {
        let path = ["agents", &agent.name, "picker"];
        Fault {
            path: path.map(|name| Segment::Field(name.to_owned())).into(),
            positions: document.positions_of(&path),
            message: format!(
                "Envoy {envoy} goes on with its question until the agent has answered, and so cannot bound it; this needs 1.37 or newer"
            ),
        }
    };
    agents.map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::literally;

    #[test]
    fn a_name_is_matched_and_nothing_else() {
        assert_eq!(literally("gpt-4.1"), "gpt\\-4\\.1");
        assert_eq!(literally("/tls"), "\\/tls");
    }
}
