//! Which requests go to which agents, and how.

use std::time::Duration;

use super::{A2a, AgentId, Edits, Limit, Mcp, PlanId, Prefer, Rule, Sticky};

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

    /// The agents that a caller's requests may come to, whatever they ask: those of the rules that may take its requests, and the
    /// route's own unless one takes all of these.
    #[must_use]
    pub fn agents_for(
        &self,
        plan: Option<PlanId>,
        team: Option<&str>,
        roles: &[String],
    ) -> Vec<AgentId> {
        let mut agents = Vec::new();
        let mut add = |choices: &[Choice], next: Option<&[AgentId]>| {
            agents.extend(choices.iter().map(|choice| choice.agent));
            agents.extend(next.unwrap_or_default());
        };
        for rule in &self.rules {
            let Some(is_asked_more) = rule.conditions.of_caller(plan, team, roles) else {
                continue;
            };
            if rule.roles.is_empty() || rule.roles.iter().any(|role| roles.contains(role)) {
                add(&rule.agents, self.fallback_of(rule));
            }
            if !is_asked_more {
                return agents;
            }
        }
        add(&self.agents, self.fallback.as_deref());
        agents
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

    /// What it lets callers do where it stands for several servers of MCP, which are its agents then.
    #[must_use]
    pub fn of_servers(&self) -> Option<&Mcp> {
        self.mcp.as_ref().filter(|mcp| !mcp.servers.is_empty())
    }

    /// How long each of several servers of MCP may take to answer what all are asked.
    #[must_use]
    pub fn patience(&self) -> Duration {
        /// Unless the route says it.
        const PATIENCE: Duration = Duration::from_secs(10);
        let timeout = self.timeout.map_or(PATIENCE, |it| it.min(PATIENCE));
        self.first_byte_timeout.unwrap_or(timeout)
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
