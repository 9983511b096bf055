//! What a checked configuration means: the policies that the stages work by.
//! Everything here is resolved (names are indices, rates are nanoseconds), complete (defaults are filled in) and
//! known to be possible, so no stage has to check it again.

mod a2a;
mod edits;
mod fleet;
mod in_flight;
mod limits;
mod load;
mod mcp;
mod rest;
mod rules;
mod sticky;

use std::fmt;
use std::time::Duration;

use crate::host::Sensitive;

pub use a2a::A2a;
pub use edits::{BodyEdit, Edits, HeaderEdits, Part, Template, Variable};
pub use fleet::{Fleet, Manner, OnFailure};
pub use in_flight::{InFlight, Inference, Queue, Share, Sharer};
pub use limits::{Algorithm, Each, Limit, LimitSet, Plan, Rate, Scope, Span, Subject};
pub use load::{Load, LoadSource, Prefer, Price};
pub use mcp::{Asker, Mcp, Permission};
pub use rest::Rest;
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

/// What answers: an Envoy cluster with properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// As the client names it in `x-agent`.
    pub name: String,
    /// Envoy's cluster.
    pub cluster: String,
    /// The one for WebSockets, where that is another.
    pub websocket_cluster: Option<String>,
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

/// The `timeout` of an `http` route and the `idle_timeout` of the others, unless written. Envoy's routes have the same
/// `timeout`.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// Which requests go to which agents, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// By default the prefix. Holds no `;` or `=`. Limits are counted by it, so routes of one prefix that share it are one
    /// route to them.
    pub name: String,
    /// Begins with `/`, and does not end with one unless it is `/`. Matches whole path segments.
    pub prefix: String,
    /// `None`: every method. In upper case, with `HEAD` wherever `GET` is.
    pub methods: Option<Vec<String>>,
    /// Which of its requests go to which agents; the first that takes a request counts.
    pub rules: Vec<Rule>,
    /// Of the requests that no rule takes. None: such a request is refused. There are some where there are no rules.
    pub agents: Vec<Choice>,
    /// What requests have in common that one agent is to answer; never a [`Sticky::Session`]. `None`: it is drawn for each.
    pub sticky: Option<Sticky>,
    /// Which of several agents gets a request that nothing else keeps at one.
    pub prefer: Prefer,
    /// Its requests are MCP's, and this is what their callers may. `None`: they are whatever they are.
    pub mcp: Option<Mcp>,
    /// Its requests are A2A's, and this is what their callers may. `None`: they are whatever they are. Never with `mcp`.
    pub a2a: Option<A2a>,
    /// Who hears a part of its requests as well. `None`: nobody.
    pub mirror: Option<Mirror>,
    /// Which agent is tried with a part of its requests. It is one of those of the route.
    pub canary: Option<Canary>,
    /// How many bytes of a body are read at most for its rules, its agents' models, and to find what MCP calls.
    pub max_scan: u64,
    /// One of them is enough; empty: none is needed.
    pub roles: Vec<String>,
    /// False: requests without a key pass as anonymous.
    pub auth_required: bool,
    /// Which kind of stream it carries.
    pub protocol: Protocol,
    /// Bounds the whole answer, over all tries. `None`: no bound.
    pub timeout: Option<Duration>,
    /// Answers may be streams, which `idle_timeout` bounds in place of `timeout`. Only of `http` routes.
    pub streams: bool,
    /// Bounds each try up to the response headers.
    pub first_byte_timeout: Option<Duration>,
    /// Bounds the silence on a stream, to the second. `None` on `http` routes that do not name one and have no `streams`.
    pub idle_timeout: Option<Duration>,
    /// When to try again.
    pub retry: Option<Retry>,
    /// Where it is tried when the agent that was chosen does not answer, in this order. `None`: nowhere. An empty list: only
    /// at those that have the capabilities which a request asks for.
    pub fallback: Option<Vec<AgentId>>,
    /// Put in place of the matched prefix. Begins with `/`.
    pub prefix_rewrite: Option<String>,
    /// What is changed of its requests and of the answers to them. `None`: nothing.
    pub edits: Option<Box<Edits>>,
    /// Larger requests are refused, in bytes.
    pub max_body: Option<u64>,
    /// Agents get whole bodies only. Where it is set, so is `max_body`.
    pub collect_body: bool,
    /// For how long at most it is collected, in whole seconds.
    pub body_timeout: Duration,
    /// Where `%2f` may stand in the path.
    pub encoded_slashes: EncodedSlashes,
    /// The route's own limits (`rate_limit`), per client and route; named `route`.
    pub limits: Vec<Limit>,
}

impl Route {
    /// Every choice of agents that its requests may meet: those of each rule, and its own.
    pub fn all_choices(&self) -> impl Iterator<Item = &[Choice]> {
        let of_rules = self.rules.iter().map(|rule| rule.agents.as_slice());
        of_rules.chain((!self.agents.is_empty()).then_some(self.agents.as_slice()))
    }

    /// All agents that its requests may go to, some more than once.
    pub fn all_agents(&self) -> impl Iterator<Item = AgentId> {
        let chosen = self.all_choices().flatten().map(|choice| choice.agent);
        let next = self.all_fallbacks().flat_map(|(_, listed)| listed).copied();
        chosen.chain(next)
    }

    /// Which agents are asked at first and which come next: of each rule, and of the route itself.
    pub fn all_fallbacks(&self) -> impl Iterator<Item = (&[Choice], &[AgentId])> {
        let of_rules = self
            .rules
            .iter()
            .map(|rule| (&rule.agents, self.fallback_of(rule)));
        let own = (&self.agents, self.fallback.as_deref());
        of_rules
            .chain([own])
            .filter_map(|(choices, listed)| Some((choices.as_slice(), listed?)))
    }

    /// Which agents come next for requests that this rule takes.
    pub fn fallback_of<'a>(&'a self, rule: &'a Rule) -> Option<&'a [AgentId]> {
        let listed = rule.fallback.as_ref().or(self.fallback.as_ref());
        listed.map(Vec::as_slice)
    }

    /// True if it prefers this for some of its requests.
    #[must_use]
    pub fn prefers(&self, what: Prefer) -> bool {
        let of_rule = |rule: &Rule| rule.prefer.unwrap_or(self.prefer);
        self.prefer == what || self.rules.iter().any(|rule| of_rule(rule) == what)
    }

    /// How many bytes of a body are read for its rules, unless written.
    pub const MAX_SCAN: u64 = 64 << 10;
}

/// An agent of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Which one.
    pub agent: AgentId,
    /// Its share; 0: only reached by name.
    pub weight: u32,
}

/// An agent that hears a part of a route's requests as well, and whose answers nobody gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirror {
    /// Which one.
    pub agent: AgentId,
    /// How many of a hundred requests, 100 at most.
    pub percent: u32,
}

/// An agent that is tried with a part of a route's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// Which one.
    pub agent: AgentId,
    /// How many of a hundred requests, 100 at most.
    pub percent: u32,
    /// By which header callers say whether it is to answer, in lower case.
    pub header: Option<String>,
    /// It gets nothing any more when more than so many of a hundred requests have failed. `None`: never.
    pub abort_at: Option<u8>,
}

/// Which kind of stream a route carries. Envoy's routes match on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Request and answer.
    Http,
    /// Server-sent events.
    Sse,
    /// WebSocket.
    Websocket,
}

/// When to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// In all, the first one included; at least one. `None`: two, or one at each of several agents.
    pub max_attempts: Option<u32>,
    /// Statuses that are tried again, beside what never reached an agent.
    pub retry_on: Vec<u16>,
    /// So is every agent that answers 500 to 599, or breaks off before it has answered.
    pub on_5xx: bool,
}

/// At how many agents a request is tried at most, the first one included. Envoy's routes know of no more.
pub const MOST_ATTEMPTS: u32 = 3;

/// Where `%2f` may stand in a path; never beside dots, and never where routes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodedSlashes {
    /// Nowhere.
    Refuse,
    /// In the last part.
    Keep,
    /// In any part behind the prefix.
    KeepAnywhere,
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
