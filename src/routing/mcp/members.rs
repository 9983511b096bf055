//! What is looked for in messages, by whose they are.

use std::rc::Rc;

use super::MOST_MESSAGES;
use crate::text::json::{MemberId, Search};

/// The version of the protocol that a message itself is of.
const VERSION: &str = "/params/_meta/io.modelcontextprotocol~1protocolVersion";

/// What is looked for in messages, made once.
#[derive(Debug)]
pub struct MessageMembers {
    pub(super) search: Rc<Search>,
    pub(super) protocol: Protocol,
    pub(super) id: MemberId,
    pub(super) method: MemberId,
    pub(super) result: MemberId,
    pub(super) error: MemberId,
    pub(super) name: MemberId,
    pub(super) uri: MemberId,
    /// The task, of which an extension's methods are.
    pub(super) task: MemberId,
    pub(super) version: MemberId,
    /// What a completion is of, where routes stand for several servers.
    pub(super) of_completion: Option<[MemberId; 2]>,
}

/// Whose messages they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Mcp,
    A2a,
}

impl Default for MessageMembers {
    fn default() -> Self {
        Self::of_mcp(false)
    }
}

impl MessageMembers {
    /// What is looked for where a route stands for several servers: also which of them is named.
    #[must_use]
    pub fn of_servers() -> Self {
        Self::of_mcp(true)
    }

    #[inline(never)]
    fn of_mcp(of_servers: bool) -> Self {
        let mut search = Search::new();
        search.may_list(MOST_MESSAGES);
        // These are pointers; were one of them none, it would stand for the whole text, and every message would be bad.
        let mut member = |pointer| search.member(pointer).unwrap_or_default();
        Self {
            id: member("/id"),
            method: member("/method"),
            result: member("/result"),
            error: member("/error"),
            name: member("/params/name"),
            uri: member("/params/uri"),
            task: member("/params/taskId"),
            version: member(VERSION),
            of_completion: of_servers.then(|| ["/params/ref/name", "/params/ref/uri"].map(member)),
            protocol: Protocol::Mcp,
            search: Rc::new(search),
        }
    }

    /// What is looked for in messages of A2A: nothing in their parameters.
    #[must_use]
    pub fn of_a2a() -> Self {
        let mut search = Search::new();
        let mut member = |pointer| search.member(pointer).unwrap_or_default();
        let [id, method, result, error] = ["/id", "/method", "/result", "/error"].map(&mut member);
        Self {
            search: Rc::new(search),
            protocol: Protocol::A2a,
            id,
            method,
            result,
            error,
            // The method stands in the place of all that is not looked for.
            name: method,
            uri: method,
            task: method,
            version: method,
            of_completion: None,
        }
    }
}
