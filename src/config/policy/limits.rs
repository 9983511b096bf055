//! How much: what a checked configuration says of limits.

use std::fmt;
use std::time::Duration;

use super::{AgentId, InFlight, PlanId};
use crate::text::pattern::Pattern;

/// A named set of limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// As the validator names it.
    pub name: String,
    /// The plan's own, named `plan` and counted per client, if it has one, and those that it lists.
    pub limits: Vec<Limit>,
    /// How many requests of its clients may be in flight.
    pub in_flight: Vec<InFlight>,
}

/// Limits that stand together: how much in a time, and how much at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitSet {
    /// How much in a time.
    pub limits: Vec<Limit>,
    /// How many at once.
    pub in_flight: Vec<InFlight>,
}

/// A rate that may not be exceeded, counted per something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// As it is told to the caller.
    pub name: String,
    /// What it is counted per.
    pub each: Each,
    /// Which requests count.
    pub scope: Scope,
    /// How much.
    pub rate: Rate,
    /// How it is counted.
    pub algorithm: Algorithm,
    /// How far one count reaches.
    pub span: Span,
    /// From how many per cent on callers are warned.
    pub warn_at: Option<u8>,
    /// For how many per cent of those that it is counted per it is in force. The others it only counts.
    pub enforce: u8,
}

/// What a limit is counted per: one count for each combination of these. None: one count of all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Each(Vec<Subject>);

/// Something that limits are counted per.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The key.
    Key,
    /// The client; anonymous callers by address.
    Client,
    /// The client's team.
    Team,
    /// The client's organisation.
    Organisation,
    /// The address of the caller (IPv6 by /64).
    Address,
    /// The route.
    Route,
    /// The agent.
    Agent,
    /// The plan.
    Plan,
    /// The tool that is called by MCP; who calls none is not counted.
    Tool,
    /// The value of a header, in lower case. One that is not there counts as empty.
    Header(String),
}

impl Each {
    /// One count for each combination of these.
    #[must_use]
    pub fn new(subjects: impl IntoIterator<Item = Subject>) -> Self {
        let mut subjects: Vec<Subject> = subjects.into_iter().collect();
        crate::sort::sort_by(&mut subjects, Ord::cmp);
        subjects.dedup();
        Self(subjects)
    }

    /// What they are, each once and in a fixed order.
    #[must_use]
    pub fn subjects(&self) -> &[Subject] {
        &self.0
    }

    /// True if this is one of them.
    #[must_use]
    pub fn has(&self, subject: &Subject) -> bool {
        self.0.contains(subject)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Client => "client",
            Self::Team => "team",
            Self::Organisation => "organisation",
            Self::Address => "address",
            Self::Route => "route",
            Self::Agent => "agent",
            Self::Plan => "plan",
            Self::Tool => "tool",
            Self::Header(name) => name,
        })
    }
}

impl fmt::Display for Each {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, others @ ..] = self.0.as_slice() else {
            return f.write_str("all");
        };
        write!(f, "{first}")?;
        others
            .iter()
            .try_for_each(|other| write!(f, " and {other}"))
    }
}

/// Which requests a limit counts: those that meet every condition. Of what is empty, all do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// Their route has one of these names.
    pub routes: Vec<String>,
    /// One of these agents is to answer.
    pub agents: Vec<AgentId>,
    /// They have one of these methods.
    pub methods: Vec<String>,
    /// They come under one of these plans.
    pub plans: Vec<PlanId>,
    /// Their client is of one of these teams.
    pub teams: Vec<String>,
    /// They call one of these tools by MCP.
    pub tools: Vec<Pattern>,
    /// Each of these headers, in lower case, has one of these values.
    pub headers: Vec<(String, Vec<String>)>,
}

impl Limit {
    /// True if it counts at the gate, every request, whatever becomes of it: all that it needs to know is known there.
    #[must_use]
    pub fn is_of_gate(&self) -> bool {
        let known = |subject: &Subject| {
            matches!(
                subject,
                Subject::Address | Subject::Route | Subject::Header(_)
            )
        };
        let Scope {
            agents,
            plans,
            teams,
            tools,
            ..
        } = &self.scope;
        self.span == Span::Process
            && self.each.has(&Subject::Address)
            && self.each.subjects().iter().all(known)
            && agents.is_empty()
            && plans.is_empty()
            && teams.is_empty()
            && tools.is_empty()
    }
}

/// So much in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least one.
    pub quantity: u64,
    /// A second, a minute, an hour or a day. Of a month, which only [`Algorithm::FixedWindow`] counts, [`Rate::MONTH`].
    pub period: Duration,
    /// At least one; how many may come at once. Of a token bucket; in windows it is the quantity.
    pub burst: u64,
}

impl Rate {
    /// The longest of all months.
    pub const MONTH: Duration = Duration::from_secs(31 * 86_400);
}

/// How far one count reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// All workers of a process.
    Process,
    /// All gateways, by a service that counts for them, in windows of the calendar.
    Fleet,
}

/// How a limit is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// [`Rate::burst`] at once, refilled evenly.
    TokenBucket,
    /// The last period, as far as this window and the one before it tell.
    SlidingWindow,
    /// The minute, hour, day or month of the calendar.
    FixedWindow {
        /// Whose calendar: seconds east of Greenwich.
        utc_offset: i32,
    },
}
