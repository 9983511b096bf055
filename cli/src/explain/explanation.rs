//! What is told of a request: its fields are those of `--json`.

use serde::Serialize;
use waykeeper::config::Policy;
use waykeeper::config::policy::KeySource;
use waykeeper::text::escapes::decoded;

use super::agents::{AgentFound, LeftOut};
use super::caller::How;
use super::limits::Counted;
use super::request::{Arrived, Request};
use super::rules::{ModelFound, RuleFound};
use super::servers::ServerFound;

/// Why a request goes where it goes.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    pub(super) request: Asked,
    /// What is to be known beside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<String>,
    pub(super) outcome: Outcome,
    pub(super) route: Option<RouteFound>,
    /// Routes that might be thought to take it, and do not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) other_routes: Vec<OtherRoute>,
    pub(super) caller: Option<CallerFound>,
    /// What it calls by MCP.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) calls: Vec<String>,
    /// Of several servers of MCP those that get it, or are asked because of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) servers: Vec<ServerFound>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rules: Vec<RuleFound>,
    pub(super) model: Option<ModelFound>,
    /// What keeps it at one of the agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sticky: Option<String>,
    /// Those that may answer it.
    pub(super) agents: Vec<AgentFound>,
    /// Those that might be thought to, and may not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) left_out: Vec<LeftOut>,
    pub(super) limits: Vec<Counted>,
    /// Headers that are taken out of it.
    pub(super) taken_out: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) body_bytes: Option<usize>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub(super) enum Outcome {
    /// An agent gets it.
    Forwarded,
    Refused {
        status: u16,
        code: String,
        detail: Option<String>,
        /// The agent has got a part of it by then.
        late: bool,
    },
    /// The filter answers it, and no agent.
    Answered { status: u16, by: String },
    /// It waits for what does not come.
    Waits { until: String },
}

#[derive(Debug, Serialize)]
pub(super) struct RouteFound {
    pub(super) name: String,
    pub(super) prefix: String,
    pub(super) place: usize,
    pub(super) key_needed: bool,
    pub(super) roles: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct OtherRoute {
    pub(super) name: String,
    pub(super) why: String,
}

#[derive(Debug, Serialize)]
pub(super) struct CallerFound {
    pub(super) known: How,
    /// Where the key is.
    pub(super) key_in: Option<String>,
    pub(super) client: Option<String>,
    pub(super) plan: Option<String>,
    pub(super) team: Option<String>,
    pub(super) organisation: Option<String>,
    pub(super) roles: Vec<String>,
}

impl Explanation {
    /// Of a request that the filter never sees.
    pub(super) fn of_envoy(
        request: &Request,
        arrived: &Arrived,
        policy: &Policy,
        (status, by): (u16, &str),
    ) -> Self {
        let outcome = Outcome::Answered {
            status,
            by: by.to_owned(),
        };
        Self::new(request, arrived, policy, outcome)
    }

    pub(super) fn new(
        request: &Request,
        arrived: &Arrived,
        policy: &Policy,
        outcome: Outcome,
    ) -> Self {
        Self {
            request: Asked {
                method: request.method.clone(),
                host: request
                    .header("host")
                    .unwrap_or(&request.authority)
                    .to_owned(),
                path: without_keys(&request.path, &policy.clients.key_sources),
                body_bytes: request.body.as_ref().map(Vec::len),
            },
            notes: request
                .notes
                .iter()
                .chain(&arrived.notes)
                .cloned()
                .collect(),
            outcome,
            route: None,
            other_routes: Vec::new(),
            caller: None,
            calls: Vec::new(),
            servers: Vec::new(),
            rules: Vec::new(),
            model: None,
            sticky: None,
            agents: Vec::new(),
            left_out: Vec::new(),
            limits: Vec::new(),
            taken_out: Vec::new(),
        }
    }
}

/// A path without the keys that may stand in its query.
fn without_keys(path: &str, sources: &[KeySource]) -> String {
    let Some((before, query)) = path.split_once('?') else {
        return path.to_owned();
    };
    let holds_key = |name: &str| {
        let name = decoded(name.as_bytes(), |_| true);
        sources.iter().any(|source| matches!(source, KeySource::Query { name: other, .. } if other.as_bytes() == name))
    };
    let parts = query.split('&').map(|part| match part.split_once('=') {
        Some((name, _)) if holds_key(name) => format!("{name}=…"),
        _ => part.to_owned(),
    });
    format!("{before}?{}", parts.collect::<Vec<_>>().join("&"))
}
