//! What a checked configuration means: the policies that the stages work by.
//! Everything here is resolved (names are indices, rates are nanoseconds), complete (defaults are filled in) and
//! known to be possible, so no stage has to check it again.

mod a2a;
mod clients;
mod edits;
mod fleet;
mod in_flight;
mod limits;
mod load;
mod mcp;
mod rest;
mod routes;
mod rules;
mod sticky;

use crate::host::Sensitive;

pub use a2a::A2a;
pub use clients::{
    Clients, Hold, KeySource, ListedClient, ListedKey, Remember, UnknownPlan, Validator,
};
pub use edits::{BodyEdit, Edits, HeaderEdits, Part, Template, Variable};
pub use fleet::{Fleet, Manner, OnFailure};
pub use in_flight::{InFlight, Inference, Queue, Share, Sharer};
pub use limits::{Algorithm, Each, Limit, LimitSet, Plan, Rate, Scope, Span, Subject};
pub use load::{Load, LoadSource, Prefer, Price, Shower};
pub use mcp::{Asker, Mcp, Permission, Server};
pub use rest::Rest;
pub use routes::{
    Canary, Choice, DEFAULT_TIMEOUT, EncodedSlashes, MOST_ATTEMPTS, Mirror, Protocol, Retry, Route,
};
pub use rules::{Conditions, Expected, MODEL, Model, Otherwise, Rule, STREAM, Size, TOOLS};
pub use sticky::{
    BEFORE_PROMPTS, CONTEXTS, FIRST_MESSAGES, NAMING_ANSWERS, PROMPTS, Sticky, TASKS,
};

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Who calls.
    pub clients: Clients,
    /// The plans, in the order of their names. [`PlanId`] points into it.
    pub plans: Vec<Plan>,
    /// Limits that stand on their own, in the order of the document.
    pub limits: Vec<Limit>,
    /// How many requests may be in flight, of what stands on its own.
    pub in_flight: Vec<InFlight>,
    /// Who counts for all gateways. There is one where a limit is of [`Span::Fleet`].
    pub fleet: Option<Fleet>,
    /// What agents' sessions are sealed with: the first seals, all open. Not empty if an agent names sessions.
    pub sessions: Vec<Sensitive<[u8; 32]>>,
    /// The agents, in the order of their names. [`AgentId`] points into it.
    pub agents: Vec<Agent>,
    /// What some names of models stand for, in the order of the names.
    pub model_aliases: Vec<(String, String)>,
    /// The routes, in the order of the document. [`RouteId`] points into it.
    pub routes: Vec<Route>,
    /// Which of its limits a caller is told.
    pub tell: Tell,
    /// Where callers ask how their limits stand. `None`: nowhere.
    pub limits_endpoint: Option<LimitsEndpoint>,
    /// Where callers ask which models they may use. `None`: nowhere.
    pub models_endpoint: Option<ModelsEndpoint>,
    /// Which of the names that a request goes by its agent is told.
    pub agents_see: AgentsSee,
    /// Where the caller's address is read.
    pub address: AddressSource,
    /// What proves to Envoy's routes that this filter has decided. `None`: nothing is sent.
    pub proof: Option<Sensitive<String>>,
    /// How much state is kept.
    pub tables: Tables,
}

/// The place of a plan in [`Policy::plans`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlanId(pub usize);

/// The place of an agent in [`Policy::agents`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(pub usize);

/// The place of a route in [`Policy::routes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub usize);

/// What answers: an Envoy cluster with properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// As the client names it in `x-agent`.
    pub name: String,
    /// Envoy's cluster.
    pub cluster: String,
    /// The one for WebSockets, where that is another.
    pub websocket_cluster: Option<String>,
    /// What it is called in the gateway's own questions. `None`: what callers call the gateway.
    pub host: Option<String>,
    /// Its share where a route does not say otherwise.
    pub weight: u32,
    /// The models that it serves. None: it is asked for any.
    pub models: Vec<Model>,
    /// What it can do, by words of the operator's.
    pub capabilities: Vec<String>,
    /// What keeps requests at one of its hosts. `None`: nothing does.
    pub sticky: Option<Sticky>,
    /// How many requests may be in flight to it; named `agent`.
    pub in_flight: Option<InFlight>,
    /// How it is learned how busy it is. `None`: it is not.
    pub load: Option<Load>,
    /// What it costs.
    pub price: Option<Price>,
    /// Who an inference gateway in its place is told of. `None`: nobody.
    pub inference: Option<Inference>,
    /// Which names it is told. `None`: those that all agents are.
    pub sees: Option<AgentsSee>,
    /// Envoy's cluster takes the others out itself, so that a request may bear them for another agent that it is tried at.
    pub cluster_hides: bool,
    /// When it rests. `None`: never.
    pub rest: Option<Rest>,
}

/// The fields of a response that tell the caller of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tell {
    /// `RateLimit-Policy` and `RateLimit`.
    pub ratelimit: bool,
    /// The three `x-ratelimit-*-requests` that OpenAI's clients know.
    pub openai: bool,
}

impl Tell {
    /// All of them.
    pub const ALL: Self = Self {
        ratelimit: true,
        openai: true,
    };
}

/// Where callers ask how their limits stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsEndpoint {
    /// Of these very requests, and behind it `/reset`. Begins with `/`.
    pub path: String,
    /// Whoever has this role may ask about every client, and give it a fresh start. `None`: nobody may.
    pub operator_role: Option<String>,
}

impl LimitsEndpoint {
    /// Unless another is written.
    pub const PATH: &str = "/.well-known/waykeeper/limits";
}

/// Where callers ask which models they may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelsEndpoint {
    /// Of these very requests, and behind it a model's name. Begins with `/`.
    pub path: String,
    /// Names of models that no agent names in full.
    pub more: Vec<String>,
}

impl ModelsEndpoint {
    /// Unless another is written.
    pub const PATH: &str = "/v1/models";
}

/// Which `x-waykeeper-*` headers agents are sent. The others are noted for the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each stands for a name of its own"
)]
pub struct AgentsSee {
    /// `x-waykeeper-client`.
    pub client: bool,
    /// `x-waykeeper-plan`.
    pub plan: bool,
    /// `x-waykeeper-team`.
    pub team: bool,
    /// `x-waykeeper-roles`.
    pub roles: bool,
    /// `x-waykeeper-agent`.
    pub agent: bool,
    /// `x-waykeeper-route`.
    pub route: bool,
}

impl AgentsSee {
    /// None of them.
    pub const NOTHING: Self = Self {
        client: false,
        plan: false,
        team: false,
        roles: false,
        agent: false,
        route: false,
    };
}

/// Where the address of a caller is read, for limits that count by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressSource {
    /// The host says it.
    Host,
    /// `x-forwarded-for`, of which the last entry and `trusted_hops` more are believed.
    ForwardedFor {
        /// How many proxies stand before the host.
        trusted_hops: usize,
    },
}

/// How much state is kept, in records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// Remembered keys.
    pub keys: u32,
    /// Counters of limits.
    pub counters: u32,
    /// Counters of limits whose caller is known only by its address.
    pub address_counters: u32,
    /// Answers, by their names, of which is known who has given them. Made only if something is sticky by them.
    pub responses: u32,
}

impl Tables {
    /// The least and the most that any of them is made for.
    pub const LEAST: u32 = 1024;
    /// See [`Self::LEAST`].
    pub const MOST: u32 = 16_777_216;
}
