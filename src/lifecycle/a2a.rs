//! A2A: whether a request's client may do what it asks of the agent, and cards that tell callers where the gateway is.
//!
//! What a message of JSON-RPC asks stands in its body, which is read as that of MCP's is (`mcp.rs`). What HTTP+JSON and gRPC ask the
//! path says; where not everybody may everything, their bodies are read as well, and must hold no message of JSON-RPC.

use std::rc::Rc;

use super::held_answer::HeldAnswer;
use super::hold::Waits;
use super::mcp::asker;
use super::request::Request;
use super::stream::Facts;
use super::walk::Walk;
use crate::config::policy::{A2a, Route};
use crate::host::{Host, StreamIo};
use crate::reply::Refusal;
use crate::routing::{
    Asked, Beside, Called, CardPlace, Messages, Path, asks_card, card_for_callers, speaks,
};
use crate::text::a2a::names_of;

impl<H: Host> Walk<H> {
    /// Finds what a request asks for, and has its body read if that says so.
    #[inline(never)]
    pub(super) fn will_ask_by_a2a(
        &self,
        facts: &mut Facts,
        request: &Request,
        path: &Path<'_>,
        route: &Route,
    ) {
        let rewritten = facts.rewritten_path.as_deref().map(Vec::as_slice);
        let asked = Asked::read(request.headers(), path, rewritten);
        let compiled = &self.shared.compiled;
        let has_methods = route.a2a.as_ref().is_some_and(|it| !it.methods.is_empty());
        let headers = request.headers();
        match (&asked, &compiled.members_of_a2a, &compiled.beside_path) {
            (Asked::Message, Some(members), _) => {
                let mut messages = Messages::new(members, headers, route.max_scan, true);
                if facts.body.has_ended() {
                    messages.end();
                }
                facts.messages = Some(Box::new(messages));
            }
            // Some agents read a message wherever it is sent to.
            (Asked::Operation(_) | Asked::Grpc(_), _, Some(method))
                if has_methods && !facts.body.has_ended() =>
            {
                facts.beside = Some(Box::new(Beside::new(method, headers, &asked)));
            }
            _ => {}
        }
        facts.a2a = Some(asked);
    }

    /// Whether a client must show its key.
    pub(super) fn needs_key(&self, route: &Route) -> bool {
        let Some(a2a) = &route.a2a else {
            return route.auth_required;
        };
        let is_card = self.common.facts.borrow().a2a == Some(Asked::Card);
        route.auth_required && !(a2a.public_card && is_card)
    }

    /// Waits until it is known what the request asks for. Who may not is refused.
    pub(super) async fn hear_a2a(
        &self,
        request: &Request,
        route: &Route,
        a2a: &A2a,
    ) -> Result<(), Refusal> {
        let asked = self.common.facts.borrow().a2a.clone();
        let asked = asked.unwrap_or(Asked::Other);
        if asked == Asked::Card {
            return Ok(());
        }
        let versions = &a2a.versions;
        let unspoken = !versions.is_empty() && !speaks(versions, request.headers());
        let unspoken = unspoken.then(|| Refusal::VersionNotSupported(versions.join(", ")));
        if asked != Asked::Message {
            let is_none = matches!(asked, Asked::Other | Asked::CardToSome);
            if let (Some(refusal), false) = (unspoken, is_none) {
                return Err(refusal);
            }
            let facts = self.common.facts.borrow();
            if is_none && !a2a.methods.is_empty() {
                let why = "This is no operation of A2A, and this route takes no other.";
                return Err(Refusal::ToolForbidden(why.to_owned()));
            }
            let refused = asked
                .methods()
                .find_map(|method| facts.may_not(a2a, method));
            drop(facts);
            refused.map_or(Ok(()), Err)?;
            let mut facts = self.common.facts.borrow_mut();
            // From now on what is wrong with the body counts.
            facts.called = Some(Rc::default());
            return facts.messages_are_fine();
        }
        let due = self.shared.ticks.get().after(route.body_timeout);
        let heard = |facts: &Facts| facts.heard_of_a2a(a2a, unspoken.as_ref());
        let heard = self.until(request, Waits::ForRules, due, heard).await;
        let called = heard.ok_or(Refusal::RequestTimeout)??;
        self.common.facts.borrow_mut().called = Some(called);
        Ok(())
    }

    /// Has the answer's card tell where the gateway is, if it is one.
    #[inline(never)]
    pub(super) fn expect_card(
        &self,
        stream: &H::Stream,
        facts: &mut Facts,
        request: &Request,
        route: &Route,
    ) {
        let Some(a2a) = route.a2a.as_ref().filter(|a2a| a2a.rewrite_card) else {
            return;
        };
        let called = facts.called.as_deref().map_or(&[][..], |it| &it.messages);
        let calls_for_card = called
            .iter()
            .any(|call| call.method.as_deref().is_some_and(asks_card));
        let is_card = match &facts.a2a {
            Some(Asked::Card | Asked::CardToSome) => true,
            Some(asked @ Asked::Operation(_)) => asked.methods().any(asks_card),
            _ => calls_for_card,
        };
        if !is_card {
            return;
        }
        let origin = a2a.public_url.clone().or_else(|| request.origin());
        let Some(origin) = origin else {
            return;
        };
        let place = CardPlace {
            origin,
            prefix: route.prefix.clone(),
            rewrite: route.prefix_rewrite.clone(),
            encoded_slashes: route.encoded_slashes,
        };
        let look = move |text: &[u8]| card_for_callers(text, &place, calls_for_card);
        let most = usize::try_from(a2a.max_card).unwrap_or(usize::MAX);
        facts.held_answer = Some(Box::new(HeldAnswer::new(Box::new(look), most, true)));
        // What cannot be read is not passed on.
        stream.set_request_header("accept-encoding", b"identity");
    }
}

impl Facts {
    /// Why the client may not use a method.
    fn may_not(&self, a2a: &A2a, method: &str) -> Option<Refusal> {
        let asker = asker(self.client.as_deref());
        let may = match names_of(method) {
            Some(names) => a2a.may_use(asker, names),
            None => a2a.may_use(asker, &[method]),
        };
        let why = || ["This client may not use the method ", method, "."].concat();
        (!may).then(|| Refusal::ToolForbidden(why()))
    }

    /// What the request calls, or why it may not. `None`: that is not known yet.
    fn heard_of_a2a(
        &self,
        a2a: &A2a,
        unspoken: Option<&Refusal>,
    ) -> Option<Result<Rc<Called>, Refusal>> {
        let messages = self.messages.as_deref()?;
        if let Some(bad) = messages.bad() {
            return Some(Err(bad.into()));
        }
        let called = messages.called()?;
        let methods = called.messages.iter().filter_map(|it| it.method.as_deref());
        let refused = unspoken.cloned().or_else(|| {
            let mut refused = methods.filter_map(|method| self.may_not(a2a, method));
            refused.next()
        });
        match refused {
            None => Some(Ok(Rc::clone(called))),
            // Whoever waits for the answer knows it by its id.
            Some(_) if !messages.ids_are_known() => None,
            Some(refusal) => Some(Err(refusal)),
        }
    }
}
