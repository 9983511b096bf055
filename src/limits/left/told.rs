//! What is told of how limits stand, and of a fresh start.

use serde::Serialize;

/// How the limits of a client stand.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    /// How much in a time.
    pub limits: Vec<LimitLeft>,
    /// How many at once.
    pub in_flight: Vec<InFlightLeft>,
    /// There are more, which are not told.
    pub more: bool,
}

/// What tells a limit's records from each other, and which requests it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// The limit's name.
    pub name: String,
    /// What it is counted per, in words.
    pub per: String,
    /// On which route, where it is counted per route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// At which agent, where it is counted per agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// Which requests a limit counts, where these are not all.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(in crate::limits) struct Match {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) routes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) agents: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) methods: Vec<String>,
    /// Their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) headers: Vec<String>,
}

/// How one limit stands. Times are rounded up.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct LimitLeft {
    /// Which.
    #[serde(flatten)]
    pub counted: Counted,
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(in crate::limits) condition: Option<Match>,
    /// `fleet`: it is counted for all gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'static str>,
    /// As the configuration names it.
    pub algorithm: &'static str,
    /// So many in each window.
    pub requests: u64,
    /// The window; that of a month is told as 31 days.
    pub window_seconds: u64,
    /// So many at once.
    pub burst: u64,
    /// So many of `burst` are used.
    pub used: u64,
    /// So many of these the worker that answers has fetched ahead of need, where it does that, and nobody has used yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leased: Option<u32>,
    /// So many would be let through now.
    pub remaining: u64,
    /// The time until `remaining` grows; 0 when nothing is used.
    pub one_more_seconds: u64,
    /// The time until nothing is used, if no more requests come.
    pub reset_seconds: u64,
    /// False: it is counted only.
    pub enforced: bool,
}

/// How many requests are in flight under one bound.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct InFlightLeft {
    /// Which.
    #[serde(flatten)]
    pub counted: Counted,
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(super) condition: Option<Match>,
    /// So many may be.
    pub most: u32,
    /// So many are.
    pub taken: u64,
    /// So many wait for a place.
    pub waiting: u64,
    /// False: it is counted only.
    pub enforced: bool,
}

/// What a fresh start has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitReset {
    /// Which limit.
    #[serde(flatten)]
    pub counted: Counted,
    /// `fleet`: it is counted for all gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'static str>,
    /// Something was used of it.
    pub was_used: bool,
}

/// What a fresh start came to.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reset {
    /// What was reset.
    pub limits: Vec<LimitReset>,
    /// There are more, which were not.
    pub more: bool,
    /// A name that is that of no limit of the client's.
    #[serde(skip)]
    pub unknown: Option<String>,
}

impl Match {
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            routes,
            agents,
            methods,
            headers,
        } = self;
        let mut lists = [routes, agents, methods, headers].into_iter();
        lists.all(Vec::is_empty)
    }
}
