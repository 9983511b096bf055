//! What a request was found to call, and whether who asks may.

use super::LIST;
use crate::config::policy::{Asker, Mcp};

/// What a request was found to call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Called {
    /// Each of its messages, in their order. None: there is no body, and the answer, if any, is a stream that was begun before.
    pub messages: Vec<Call>,
    /// The answer may hold lists of tools.
    pub lists_tools: bool,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Call {
    /// `None`: it is an answer to a question of the agent's.
    pub method: Option<Box<str>>,
    /// The tool that it calls.
    pub tool: Option<Box<str>>,
}

/// The parts of a [`Call`].
pub(super) type Borrowed<'a> = (Option<&'a str>, Option<&'a str>);

impl From<Borrowed<'_>> for Call {
    fn from((method, tool): Borrowed<'_>) -> Self {
        Self {
            method: method.map(Box::from),
            tool: tool.map(Box::from),
        }
    }
}

impl Called {
    pub(super) fn by(messages: Vec<Call>) -> Self {
        let lists = |call: &Call| call.method.as_deref() == Some(LIST);
        Self {
            lists_tools: messages.iter().any(lists),
            messages,
        }
    }

    /// Of a request without a body. Who takes up a stream again may be sent what was asked for on it.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            messages: Vec::new(),
            lists_tools: true,
        }
    }

    /// Of each message, the tool that it calls.
    pub fn tool_of_each(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let tools = self.messages.iter().map(|call| call.tool.as_deref());
        tools.map(|tool| tool.map(str::as_bytes))
    }

    /// Why one who asks may not have that. `None`: it may.
    #[must_use]
    pub fn forbidden(&self, mcp: &Mcp, asker: Asker<'_>) -> Option<String> {
        let mut all = self.messages.iter();
        all.find_map(|Call { method, tool }| {
            let may_call = |tool: &&str| !mcp.may_call(asker, tool.as_bytes());
            let may_use = |method: &&str| !mcp.may_use(asker, method.as_bytes());
            if let Some(tool) = tool.as_deref().filter(may_call) {
                return Some(["This client may not call the tool ", tool, "."].concat());
            }
            let method = method.as_deref().filter(may_use)?;
            Some(["This client may not use the method ", method, "."].concat())
        })
    }
}
