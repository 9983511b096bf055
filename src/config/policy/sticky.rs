//! What requests have in common.

use super::Policy;

/// What requests have in common that one agent of their route, or one host of their agent, is to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sticky {
    /// A header that callers send, in lower case.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A parameter of the query.
    Query(String),
    /// Who calls: the client, without one the address.
    Client,
    /// A text or a number in the body, by its JSON pointer.
    Body(String),
    /// So many bytes that the prompt begins with.
    Prompt(u64),
    /// An earlier answer that the request names, of OpenAI's Responses API: whoever has given it gets the request.
    Response,
    /// An earlier task or context that the request names, of A2A: whoever has it gets the request.
    Task,
    /// A session, which the agent names in this header of its answer, in lower case. Callers send it back.
    Session(String),
    /// The first of these that a request has. None is a session or such a list.
    FirstOf(Vec<Sticky>),
}

impl Sticky {
    /// All of them, in their order.
    #[must_use]
    pub fn ways(&self) -> &[Self] {
        match self {
            Self::FirstOf(ways) => ways,
            one => std::slice::from_ref(one),
        }
    }

    /// True if it stands in the body, or may.
    #[must_use]
    pub fn asks_body(&self) -> bool {
        let mut ways = self.ways().iter();
        ways.any(|way| {
            matches!(
                way,
                Self::Body(_) | Self::Prompt(_) | Self::Response | Self::Task
            )
        })
    }

    /// Those of a policy's routes and agents.
    pub fn all(policy: &Policy) -> impl Iterator<Item = &Self> {
        let routes = policy.routes.iter().map(|route| &route.sticky);
        let agents = policy.agents.iter().map(|agent| &agent.sticky);
        routes.chain(agents).flatten()
    }

    /// True if what agents answer is to be remembered for it.
    #[must_use]
    pub fn names_responses(&self) -> bool {
        let mut ways = self.ways().iter();
        ways.any(|way| matches!(way, Self::Response | Self::Task))
    }
}
