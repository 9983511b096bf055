//! What requests have in common.

use super::Policy;

/// Where prompts begin, in the interfaces of the field: what the operator of a chat says, if that stands apart.
pub const BEFORE_PROMPTS: [&str; 4] = [
    "/instructions",
    "/system",
    "/systemInstruction",
    "/system_instruction",
];

/// And where the rest of them stands: a text, or the messages of a chat.
pub const PROMPTS: [&str; 4] = ["/messages", "/input", "/contents", "/prompt"];

/// So many messages are looked at for the first that is not the operator's.
pub const FIRST_MESSAGES: usize = 4;

/// Where requests name an earlier answer, or the conversation that it is of.
pub const NAMING_ANSWERS: [&str; 3] =
    ["/previous_response_id", "/conversation", "/conversation/id"];

/// Where requests of A2A name an earlier task: as messages of JSON-RPC do, and as bodies of HTTP+JSON.
pub const TASKS: [&str; 5] = [
    "/params/message/taskId",
    "/params/taskId",
    "/params/id",
    "/message/taskId",
    "/taskId",
];
/// And the context that it is of.
pub const CONTEXTS: [&str; 3] = [
    "/params/message/contextId",
    "/params/contextId",
    "/message/contextId",
];

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

    /// What one of them looks for in bodies.
    pub fn pointers(&self) -> Vec<String> {
        let all = |pointers: &[&str]| pointers.iter().map(|it| (*it).to_owned()).collect();
        match self {
            Self::Body(pointer) => all(&[pointer]),
            Self::Response => all(&NAMING_ANSWERS),
            Self::Task => [&TASKS[..], &CONTEXTS]
                .concat()
                .iter()
                .map(|it| (*it).to_owned())
                .collect(),
            Self::Prompt(_) => {
                let messages = PROMPTS.iter().flat_map(|place| {
                    (0..FIRST_MESSAGES).map(move |message| format!("{place}/{message}/role"))
                });
                messages.chain(all(&BEFORE_PROMPTS)).collect()
            }
            _ => Vec::new(),
        }
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
