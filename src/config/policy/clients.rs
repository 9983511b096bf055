//! Who calls: where keys stand, who knows them, and how much is held while that is found out.

use std::fmt;
use std::time::Duration;

use super::{LimitSet, PlanId};

/// Where keys are found and who knows them.
#[derive(Debug, Clone, PartialEq)]
pub struct Clients {
    /// Where a request may carry its key; the first one present counts.
    pub key_sources: Vec<KeySource>,
    /// Keys known without asking anyone.
    pub keys: Vec<ListedKey>,
    /// The plan of a client for which none is named. Without it such a client has no plan's limits.
    pub default_plan: Option<PlanId>,
    /// What to do with a plan that the configuration does not know.
    pub unknown_plan: UnknownPlan,
    /// How much is held of requests that wait.
    pub hold: Hold,
    /// Who to ask about any other key. Without it, such keys are invalid.
    pub validator: Option<Validator>,
}

/// A place in a request where the key may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A header, with the scheme its value must begin with, if one is asked for.
    Header {
        /// In lower case.
        name: String,
        /// `Bearer`, compared without regard to case.
        scheme: Option<String>,
    },
    /// A parameter of the query.
    Query {
        /// As it stands in the query.
        name: String,
        /// False: only on WebSocket handshakes.
        any_request: bool,
    },
    /// An offered WebSocket subprotocol that begins so: `waykeeper.key.` (`waykeeper.key64.` is derived from it).
    WebsocketProtocol {
        /// With its final dot.
        prefix: String,
    },
}

/// A key of the configuration, by its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// SHA-256 of the key.
    pub sha256: [u8; 32],
    /// The client that it proves.
    pub client: ListedClient,
    /// From when on it is refused as expired, in seconds since 1970.
    pub expires: Option<u64>,
}

/// The client that a listed key proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedClient {
    /// `client_id`.
    pub id: String,
    /// Its plan; [`Clients::default_plan`] is already put in where none is written.
    pub plan: Option<PlanId>,
    /// Its team.
    pub team: Option<String>,
    /// Its organisation.
    pub organisation: Option<String>,
    /// Its roles.
    pub roles: Vec<String>,
    /// Its own limits, in place of its plan's. `None`: it has its plan's.
    pub limits: Option<LimitSet>,
}

/// What to do with a plan that the configuration does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownPlan {
    /// 503 `unknown_plan`.
    Refuse,
    /// The default plan.
    UseDefault,
}

/// How much is held of requests that wait, headers and body, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Of one request that waits for the validator.
    pub request: u64,
    /// Of all such requests in one worker. Not below `request`.
    pub worker: u64,
    /// Of all requests in one worker that wait for the rest of their body.
    pub collected: u64,
}

/// The service that knows keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Validator {
    /// Envoy's cluster.
    pub cluster: String,
    /// What it is called in questions: a host, with its port where there is one.
    pub host: String,
    /// Begins with `/`.
    pub path: String,
    /// At least a millisecond.
    pub timeout: Duration,
    /// How many keys may be asked about at a time. At least one.
    pub max_pending: usize,
    /// Sent with each callout; names in lower case.
    pub headers: Vec<(String, String)>,
    /// How long its answers are remembered.
    pub remember: Remember,
}

/// How long the validator's answers are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remember {
    /// One that a key is valid, if it has no `ttl`.
    pub valid: Duration,
    /// One that a key is invalid.
    pub invalid: Duration,
    /// What was remembered under another number is not believed under this one. At least one.
    pub generation: u64,
}

impl Remember {
    /// Unless something else is written.
    pub const DEFAULT: Self = Self {
        valid: Duration::from_secs(300),
        invalid: Duration::from_secs(10),
        generation: 1,
    };

    /// Nothing is remembered for longer, whatever is written and whatever a `ttl` says.
    pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

    /// How long an answer that a key is valid is remembered. `ttl` is its own word, in seconds.
    #[must_use]
    pub fn valid_for(&self, ttl: Option<u64>) -> Duration {
        let wanted = ttl.map_or(self.valid, Duration::from_secs);
        wanted.min(Self::LONGEST)
    }
}

/// What the validator demands may be a secret, and so may its path be.
impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validator")
            .field("cluster", &self.cluster)
            .field("host", &self.host)
            .field("timeout", &self.timeout)
            .field("max_pending", &self.max_pending)
            .field("remember", &self.remember)
            .finish_non_exhaustive()
    }
}
