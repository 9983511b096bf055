//! Rules: which of a route's requests go to which of its agents, by what the request is and who calls.

use super::{AgentId, Choice, PlanId, Prefer};
use crate::text::pattern::Pattern;

/// Where bodies name the model that they ask for.
pub const MODEL: &str = "/model";
/// Where they say that a stream is to be the answer.
pub const STREAM: &str = "/stream";
/// Where they offer tools, in the interfaces of the field.
pub const TOOLS: [&str; 3] = ["/tools", "/functions", "/toolConfig"];

/// Which agents answer those of a route's requests that meet the conditions.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// As it is told of: its own name, or its place in the route, `rules[0]`.
    pub name: String,
    /// Which requests it takes: those that meet all of them.
    pub conditions: Conditions,
    /// At least one.
    pub agents: Vec<Choice>,
    /// Which of several gets a request. `None`: as the route says.
    pub prefer: Option<Prefer>,
    /// In place of the route's own. `None`: that holds.
    pub fallback: Option<Vec<AgentId>>,
    /// One of them is enough; empty: none is needed.
    pub roles: Vec<String>,
    /// What becomes of a request whose body has not said enough within [`Route::max_scan`](super::Route::max_scan).
    pub otherwise: Otherwise,
}

/// What a request must be for a rule to take it. Of what is empty or `None`, any is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conditions {
    /// Its method is one of these.
    pub methods: Vec<String>,
    /// The host that it asks, without its port and in lower case, is one of these.
    pub hosts: Vec<Pattern>,
    /// Each of these headers, in lower case, has one of these values.
    pub headers: Vec<(String, Vec<Pattern>)>,
    /// Each of these parameters of the query has one of these values.
    pub query: Vec<(String, Vec<Pattern>)>,
    /// It comes under one of these plans.
    pub plans: Vec<PlanId>,
    /// Its client is of one of these teams.
    pub teams: Vec<String>,
    /// Its client has one of these roles.
    pub roles: Vec<String>,
    /// It calls one of these tools by MCP.
    pub called: Vec<Pattern>,
    /// It asks for one of these models.
    pub models: Vec<Pattern>,
    /// Each of these members of its body, by their JSON pointers, has one of these values.
    pub members: Vec<(String, Vec<Expected>)>,
    /// Whether its body offers tools.
    pub tools: Option<bool>,
    /// Whether its body holds images, or links to some.
    pub images: Option<bool>,
    /// Whether its body asks for a stream.
    pub stream: Option<bool>,
    /// How large its body is.
    pub size: Option<Size>,
}

/// A value that a body may have somewhere.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// A text.
    Text(Pattern),
    /// A number, however it is written.
    Number(f64),
    /// `true` or `false`.
    Bool(bool),
}

/// Sizes in bytes: at least `from`, and less than `below`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// 0: any.
    pub from: u64,
    /// [`u64::MAX`]: any.
    pub below: u64,
}

/// What becomes of a request that a rule cannot judge, since its body has not said enough in as many bytes as are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// It is refused.
    Refuse,
    /// The rule does not take it.
    Skip,
    /// The rule takes it.
    Take,
}

/// A model that an agent serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// As callers ask for it.
    pub name: Pattern,
    /// As the agent is asked for it, where that is another name. Only of exact ones.
    pub sent_as: Option<String>,
}

impl Conditions {
    /// Whether they ask more than who calls. `None`: this caller does not meet them.
    #[must_use]
    pub fn of_caller(
        &self,
        plan: Option<PlanId>,
        team: Option<&str>,
        roles: &[String],
    ) -> Option<bool> {
        let is_met = (self.plans.is_empty() || plan.is_some_and(|it| self.plans.contains(&it)))
            && (self.teams.is_empty() || team.is_some_and(|it| self.teams.iter().any(|t| t == it)))
            && (self.roles.is_empty() || self.roles.iter().any(|role| roles.contains(role)));
        let of_request = !self.methods.is_empty()
            || !self.hosts.is_empty()
            || !self.headers.is_empty()
            || !self.query.is_empty()
            || !self.called.is_empty();
        is_met.then(|| of_request || self.ask_body())
    }

    /// True if a body may have to tell whether they are met.
    #[must_use]
    pub fn ask_body(&self) -> bool {
        !self.models.is_empty() || self.size.is_some() || self.ask_members()
    }

    /// True if they ask what the body says, beside its model, which may stand in the path.
    #[must_use]
    pub fn ask_members(&self) -> bool {
        !self.members.is_empty()
            || self.tools.is_some()
            || self.images.is_some()
            || self.stream.is_some()
    }
}

impl Size {
    /// Whether a size that lies between these two, inclusively, is so. `None`: it may be.
    #[must_use]
    pub fn holds(&self, least: u64, most: u64) -> Option<bool> {
        if most < self.from || least >= self.below {
            Some(false)
        } else if least >= self.from && (most < self.below || self.below == u64::MAX) {
            Some(true)
        } else {
            None
        }
    }
}
