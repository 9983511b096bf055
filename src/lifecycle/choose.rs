//! The agent of a request whose route has rules: as much of the body is waited for as they ask, and the model is called as
//! the agent calls it.
//!
//! A body is read from its first piece on, whatever is waited for, and to its last, also behind the decision: what would have
//! decided must not come twice. Only then does the request's last byte go on.

use std::ops::Range;

use super::failure::Failure;
use super::hold::Waits;
use super::request::Request;
use super::stream::Facts;
use super::walk::Walk;
use crate::config::policy::{AgentId, Choice, Prefer, Route};
use crate::host::{Host, Sensitive, StreamIo};
use crate::reply::Refusal;
use crate::routing::{
    BadBody, BadMessage, Beside, Call, Content, Decision, Head, Known, Look, Messages, ModelInPath,
    Next, Rules, model_in_path, narrowed, sent_as, with_model,
};

/// So much of a piece is copied out of the host at a time.
pub(super) const MOST_AT_ONCE: usize = 64 << 10;

/// What the rules and the body come to.
#[derive(PartialEq)]
struct Decided<'r> {
    choices: &'r [Choice],
    fallback: Option<&'r [AgentId]>,
    roles: &'r [String],
    prefer: Prefer,
    /// The model that the request asks for, in the caller's words.
    model: Option<Vec<u8>>,
}

impl From<BadBody> for Refusal {
    fn from(bad: BadBody) -> Self {
        Self::BadBody(bad.to_string())
    }
}

impl<H: Host> Walk<H> {
    /// Chooses by the route's rules.
    pub(super) async fn choose_by(
        &self,
        request: &Request,
        route: &Route,
        rules: &Rules,
    ) -> Result<AgentId, Refusal> {
        let policy = &self.shared.compiled.policy;
        let client = self.common.facts.borrow().client.clone();
        let client = client.as_deref();
        let path = self.path_for_agent(request);
        let in_path = match rules.ask_model() {
            true => model_in_path(&path)?,
            false => None,
        };
        let head = Head {
            method: request.method(),
            authority: request.authority(),
            headers: request.headers(),
            path: request.path().unwrap_or_default(),
            plan: client.and_then(|client| client.plan),
            team: client.and_then(|client| client.team.as_deref()),
            roles: client.map_or(&[], |client| &client.roles),
            tool: None,
            model: in_path.as_ref().map(|model| model.name.as_slice()),
        };
        let due = self.shared.ticks.get().after(route.body_timeout);
        let called = self.common.facts.borrow().called.clone();
        let returns = self.returns_to(request, route)?;
        let decide = |facts: &Facts| {
            let content = facts.content.as_deref();
            let messages = called.as_deref().map_or(&[][..], |called| &called.messages);
            decided_for_all(messages, &head, |head| {
                decided(rules, route, policy, head, content, returns)
            })
            .transpose()
        };
        let decided = self.until(request, Waits::ForRules, due, decide).await;
        let decided = decided.ok_or(Refusal::RequestTimeout)??;
        let allowed = decided.roles.is_empty()
            || client.is_some_and(|client| client.has_one_of(decided.roles));
        if !allowed {
            return Err(Refusal::Forbidden);
        }
        let model = decided.model.as_deref();
        let stands_for = model.map(|model| crate::routing::stands_for(policy, model));
        let capabilities = request.headers().get_all("x-agent-capability");
        let only = returns.map(|agent| Choice { agent, weight: 1 });
        let able = |choices| narrowed(&policy.agents, choices, capabilities.clone(), stands_for);
        let choices = match decided.choices {
            [] => able(only.as_slice())?,
            choices => able(choices)?,
        };
        let returns = returns.filter(|_| able(only.as_slice()).is_ok());
        let agent = match decided.fallback {
            None => self.choose(request, &choices, decided.prefer, returns)?,
            Some(listed) => {
                let choices = &choices;
                let next = Next {
                    listed,
                    choices,
                    model,
                };
                self.first_of(request, &next, decided.prefer, returns)?
            }
        };
        let called = policy.agents.get(agent.0).zip(model);
        if let Some(name) = called.and_then(|(agent, model)| sent_as(policy, agent, model)) {
            match &in_path {
                Some(model) => {
                    let path = with_model(&path, &model.place, name);
                    self.common.facts.borrow_mut().rewritten_path = Some(Sensitive(path));
                }
                None => self.rename_model(rules, name)?,
            }
        }
        if let Some(model) = &in_path {
            self.settle(rules, model);
        }
        self.common.facts.borrow_mut().may_change = false;
        let free = |facts: &Facts| facts.body.may_go_on().then_some(());
        let came = self.until(request, Waits::ForRules, due, free).await;
        came.ok_or(Refusal::RequestTimeout)?;
        let mut facts = self.common.facts.borrow_mut();
        if !route.collect_body {
            facts.body.collect(false);
        }
        match facts.content.take_if(|content| !content.is_asked()) {
            Some(_) => Ok(agent),
            None => facts.content_is_fine().map(|()| agent),
        }
    }

    /// The path as the agent will see it.
    fn path_for_agent(&self, request: &Request) -> Vec<u8> {
        let facts = self.common.facts.borrow();
        match &facts.rewritten_path {
            Some(path) => path.to_vec(),
            None => request.path().unwrap_or_default().to_vec(),
        }
    }

    /// The path has named the model: agents that look for it in the body must find no other there.
    fn settle(&self, rules: &Rules, model: &ModelInPath) {
        let mut facts = self.common.facts.borrow_mut();
        if let Some(content) = facts.content.as_deref_mut() {
            rules.settle(content, model);
        }
    }

    /// Has the body ask for the model by this name.
    fn rename_model(&self, rules: &Rules, name: &str) -> Result<(), Refusal> {
        let mut facts = self.common.facts.borrow_mut();
        let content = facts.content.as_deref();
        let found = content.and_then(|content| Some((content, rules.place_of_model(content)?)));
        let Some((content, place)) = found else {
            return Ok(());
        };
        let written = content.written(name);
        let by = self.with_stream(|stream| replace(stream, &place, &written))?;
        let by = by.map_err(|error| self.failed(Failure::Unread(error)))?;
        facts.body.change(by);
        Ok(())
    }
}

/// What the rules come to for every message that is called, once they do: all of a body goes to one agent.
fn decided_for_all<'r>(
    messages: &[Call],
    head: &Head<'_>,
    decide: impl Fn(&Head<'_>) -> Result<Option<Decided<'r>>, Refusal>,
) -> Result<Option<Decided<'r>>, Refusal> {
    let of = |call: &Call| {
        decide(&Head {
            tool: call.tool.as_deref(),
            ..*head
        })
    };
    let Some((first, further)) = messages.split_first() else {
        return decide(head);
    };
    let decided = of(first)?;
    for other in further {
        if of(other)? != decided {
            return Err((&BadMessage::Apart).into());
        }
    }
    Ok(decided)
}

/// What the rules come to, once they do. A request that `returns` to an agent needs none that takes it.
fn decided<'r>(
    rules: &Rules,
    route: &'r Route,
    policy: &crate::config::Policy,
    head: &Head<'_>,
    content: Option<&Content>,
    returns: Option<AgentId>,
) -> Result<Option<Decided<'r>>, Refusal> {
    let (choices, fallback, roles, prefer): (&[Choice], Option<&[AgentId]>, &[String], Prefer) =
        match rules.decide(&route.rules, policy, head, content)? {
            Decision::Wait => return Ok(None),
            Decision::Rule(rule) => (
                &rule.agents,
                route.fallback_of(rule),
                &rule.roles,
                rule.prefer.unwrap_or(route.prefer),
            ),
            Decision::NoRule => (&route.agents, route.fallback.as_deref(), &[], route.prefer),
        };
    let needed = rules.need_model(policy, choices, fallback)
        || rules.need_model(policy, &[], Some(returns.as_slice()));
    let wanted = choices.is_empty() || head.model.is_some() || rules.want_model(content);
    if needed {
        content.map_or(Ok(()), Content::ask)?;
    }
    let model = if needed || wanted {
        let spent = content.filter(|content| content.is_spent());
        match (rules.model(head, content)?, spent) {
            (Known::Found(model), _) => Some(model.to_vec()),
            (Known::Unknown, None) => return Ok(None),
            (Known::Unknown, Some(content)) if needed => return Err(content.too_late().into()),
            (Known::Unknown | Known::Absent, _) => None,
        }
    } else {
        None
    };
    match (choices.is_empty() && returns.is_none(), &model) {
        (true, Some(_)) => Err(Refusal::ModelNotFound),
        (true, None) => Err(Refusal::NoRule),
        _ => Ok(Some(Decided {
            choices,
            fallback,
            roles,
            prefer,
            model,
        })),
    }
}

/// Puts other bytes in this place of the body, of which all that has come is at hand. By how many it is longer now.
pub(super) fn replace<S: StreamIo>(
    stream: &S,
    place: &Range<u64>,
    bytes: &[u8],
) -> Result<i64, crate::host::HostError> {
    let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    let (start, end) = (bound(place.start), bound(place.end));
    let mut changed = stream.request_body(0, start)?;
    changed.extend_from_slice(bytes);
    stream.replace_request_body(end, &changed)?;
    let length = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    Ok(length(changed.len()) - length(end))
}

impl Facts {
    /// The request's route has these rules: its body is read from now on, if it has one and they ask it.
    pub(super) fn will_ask(&mut self, rules: &Rules, request: &Request) {
        let Some(wanted) = rules.wanted().filter(|_| !self.body.has_ended()) else {
            return;
        };
        let content = Content::new(wanted, request.headers(), request.content_length());
        self.content = Some(Box::new(content));
        self.may_change = rules.rename();
    }

    /// Reads these bytes of the body, which are new; `end`: they are the last.
    ///
    /// # Errors
    /// When they say twice, or in two ways, what has decided already.
    #[inline(never)]
    pub(super) fn read<S: StreamIo>(
        &mut self,
        io: &S,
        new: Range<usize>,
        end: bool,
    ) -> Result<(), Refusal> {
        let (mut content, mut look) = (self.content.as_deref_mut(), self.look.as_deref_mut());
        let (mut messages, mut beside) = (self.messages.as_deref_mut(), self.beside.as_deref_mut());
        let mut start = new.start;
        while start < new.end
            && (content.as_ref().is_some_and(|it| it.bad().is_none())
                || messages.as_ref().is_some_and(|it| it.bad().is_none())
                || beside.as_ref().is_some_and(|it| it.bad().is_none())
                || look.as_ref().is_some_and(|it| !it.is_over()))
        {
            let most = MOST_AT_ONCE.min(new.end - start);
            let piece = io.request_body(start, most);
            let piece = piece.map_err(|_| Refusal::GatewayUnavailable)?;
            if piece.is_empty() {
                return Err(Refusal::GatewayUnavailable);
            }
            if let Some(look) = &mut look {
                look.feed(&piece);
            }
            if let Some(content) = &mut content {
                content.feed(&piece);
            }
            if let Some(messages) = &mut messages {
                messages.feed(&piece);
            }
            if let Some(beside) = &mut beside {
                beside.feed(&piece);
            }
            start += piece.len();
        }
        if let Some(content) = &mut content {
            content.pass(new.end - start);
        }
        if end {
            content.into_iter().for_each(Content::end);
            look.into_iter().for_each(Look::end);
            messages.into_iter().for_each(Messages::end);
            beside.into_iter().for_each(Beside::end);
        }
        if self.called.is_some() {
            self.messages_are_fine()?;
        }
        // Until the agent is chosen, nobody knows whether this body is asked, and who calls comes first.
        if self.agent.is_some() {
            self.content_is_fine()
        } else {
            Ok(())
        }
    }

    fn content_is_fine(&self) -> Result<(), Refusal> {
        let bad = self.content.as_deref().and_then(Content::bad);
        bad.map_or(Ok(()), |bad| Err(bad.clone().into()))
    }
}
