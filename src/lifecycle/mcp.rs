//! The stage at which it is found what a request of MCP calls, and whether its client may.
//!
//! Its body is read from its first piece on, as that of a route with rules is, and to its last: see `choose.rs`. Here as much of it is
//! waited for as says what it calls.

use std::rc::Rc;

use super::hold::Waits;
use super::request::Request;
use super::stream::Facts;
use super::walk::Walk;
use crate::config::policy::{Asker, Mcp, Route};
use crate::host::Host;
use crate::identity::Client;
use crate::reply::{Refusal, RpcIds};
use crate::routing::{Asked, Beside, Called, MessageMembers, Messages};

impl<H: Host> Walk<H> {
    /// Waits until it is known what the request calls. Who may not is refused.
    pub(super) async fn hear(
        &self,
        request: &Request,
        route: &Route,
        mcp: &Mcp,
    ) -> Result<(), Refusal> {
        let due = self.shared.ticks.get().after(route.body_timeout);
        let heard = |facts: &Facts| facts.heard(mcp);
        let heard = self.until(request, Waits::ForRules, due, heard).await;
        let called = heard.ok_or(Refusal::RequestTimeout)??;
        self.common.facts.borrow_mut().called = Some(called);
        Ok(())
    }

    /// How many messages the request counts for.
    pub(super) fn messages(&self) -> usize {
        let facts = self.common.facts.borrow();
        let called = facts.called.as_ref();
        called.map_or(1, |called| called.messages.len().max(1))
    }
}

/// Who asks.
pub(super) fn asker(client: Option<&Client>) -> Asker<'_> {
    Asker {
        roles: client.map_or(&[], |client| &client.roles),
        plan: client.and_then(|client| client.plan),
    }
}

impl Facts {
    /// The request's route carries MCP: its body is read from now on, if it has one.
    pub(super) fn will_hear(
        &mut self,
        members: &Rc<MessageMembers>,
        request: &Request,
        route: &Route,
    ) {
        let needed = request.method() == b"POST";
        let mut messages = Messages::new(members, request.headers(), route.max_scan, needed);
        if self.body.has_ended() {
            messages.end();
        }
        self.messages = Some(Box::new(messages));
        // Names lose their servers on the way.
        self.may_change |= route.of_servers().is_some();
    }

    /// True if the body is read.
    pub(super) fn reads(&self) -> bool {
        self.content.is_some()
            || self.messages.is_some()
            || self.beside.is_some()
            || self.look.is_some()
    }

    /// What the request calls, or why it may not. `None`: that is not known yet.
    fn heard(&self, mcp: &Mcp) -> Option<Result<Rc<Called>, Refusal>> {
        let messages = self.messages.as_deref()?;
        if let Some(bad) = messages.bad() {
            return Some(Err(bad.into()));
        }
        let called = messages.called()?;
        match called.forbidden(mcp, asker(self.client.as_deref())) {
            None => Some(Ok(Rc::clone(called))),
            // Whoever waits for the answer knows it by its id.
            Some(_) if !messages.ids_are_known() => None,
            Some(why) => Some(Err(Refusal::ToolForbidden(why))),
        }
    }

    pub(super) fn messages_are_fine(&self) -> Result<(), Refusal> {
        let bad = self.messages.as_deref().and_then(Messages::bad);
        let bad = bad.or_else(|| self.beside.as_deref().and_then(Beside::bad));
        bad.map_or(Ok(()), |bad| Err(bad.into()))
    }

    /// Of each message, the tool that it calls. None: the request is not of MCP.
    pub(super) fn tools(&self) -> Vec<Option<&[u8]>> {
        match &self.called {
            Some(called) => called.tool_of_each().collect(),
            None => Vec::new(),
        }
    }

    /// To which messages a reply answers, where the request is of MCP.
    pub(super) fn ids(&self) -> Option<RpcIds> {
        if self.a2a.as_ref().is_some_and(Asked::is_by_path) {
            return Some(RpcIds::Status);
        }
        self.messages.as_ref()?.ids()
    }
}
