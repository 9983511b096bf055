//! Answers of MCP in which there may be a list of tools, where not everybody may call all: their callers see those that they may call.

use std::rc::Rc;

use super::held_answer::HeldAnswer;
use super::mcp::asker;
use super::stream::Facts;
use super::walk::Walk;
use crate::config::policy::Route;
use crate::host::{Host, StreamIo};
use crate::routing::{Unreadable, visible_tools};

impl<H: Host> Walk<H> {
    /// Has the answer looked through, if it may hold a list of tools that is not for everybody.
    #[inline(never)]
    pub(super) fn expect_tools(&self, stream: &H::Stream, facts: &mut Facts, route: &Route) {
        let Some(mcp) = route.mcp.as_ref().filter(|mcp| mcp.restricts_tools()) else {
            return;
        };
        let called = facts.called.as_ref().filter(|called| called.lists_tools);
        let (Some(called), Some(id)) = (called, facts.route) else {
            return;
        };
        // Without a message of its own it takes up a stream, or asks for something else.
        let is_asked_for = !called.messages.is_empty();
        let most = usize::try_from(mcp.max_list).unwrap_or(usize::MAX);
        let (shared, client) = (Rc::clone(&self.shared), facts.client.clone());
        let look = move |text: &[u8]| {
            let route = shared.compiled.route(id);
            let mcp = route.and_then(|it| it.mcp.as_ref()).ok_or(Unreadable)?;
            let asker = asker(client.as_deref());
            visible_tools(text, &|tool| mcp.may_call(asker, tool))
        };
        facts.held_answer = Some(Box::new(HeldAnswer::new(
            Box::new(look),
            most,
            is_asked_for,
        )));
        // What cannot be read is not passed on.
        stream.set_request_header("accept-encoding", b"identity");
    }
}
