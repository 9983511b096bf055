//! What a request has in common with others, by which its agent and its host are chosen; and as much of its body waited for as
//! that asks. It is no rule of access: a body that does not say, or says it too late, is sent on as one without.

use std::borrow::Cow;
use std::time::Duration;

use super::hold::Waits;
use super::request::Request;
use super::stream::{Facts, Stream};
use super::walk::Walk;
use crate::config::policy::{AgentId, Route, Sticky};
use crate::host::Host;
use crate::reply::Refusal;
use crate::routing::{Known, Look, Sought, sticky_value};
use crate::state::responses::Giver;

/// For no longer than this is a body waited for. Envoy ends requests that wait and are silent, by a longer time.
const LONGEST: Duration = Duration::from_secs(10);

/// What a request has in common with others.
#[derive(Debug, Default)]
pub(super) struct Alike<'r> {
    /// Who has given the answer that it names, if that counts before the value.
    pub(super) giver: Option<Giver>,
    /// A value that others have too.
    pub(super) value: Option<Cow<'r, [u8]>>,
}

impl<H: Host> Walk<H> {
    /// Waits until the body has said what keeps the request together with others, at one agent or at one host of any that may be
    /// chosen.
    pub(super) async fn look_at_body(&self, request: &Request, route: &Route) {
        let compiled = &self.shared.compiled;
        let agents = route.all_agents();
        let agents = agents.filter_map(|id| compiled.policy.agents.get(id.0)?.sticky.as_ref());
        let all: Vec<&Sticky> = route.sticky.iter().chain(agents).collect();
        let now = self.shared.ticks.get();
        let due = now.after(route.body_timeout.min(LONGEST));
        let known = |facts: &Facts| {
            let look = facts.look.as_deref();
            let mut all = all.iter();
            let known = look
                .is_none_or(|look| all.all(|sticky| self.is_known(request, facts, sticky, look)));
            known.then_some(())
        };
        let came = self.until(request, Waits::ForLook, due, known).await;
        if came.is_none() {
            self.common.facts.borrow_mut().look = None;
        }
    }

    /// Whether it is known which of these ways is the first that the request has.
    fn is_known(&self, request: &Request, facts: &Facts, sticky: &Sticky, look: &Look) -> bool {
        for way in sticky.ways() {
            let said = match way {
                Sticky::Body(pointer) => look.member(pointer),
                Sticky::Prompt(most) => look.prompt(*most),
                Sticky::Response | Sticky::Task => match self.giver(request, facts, way) {
                    Some(_) => return true,
                    None => match (way, look.named(), look.task(), look.context()) {
                        (Sticky::Response, Known::Unknown, ..) => return false,
                        (Sticky::Task, _, Known::Unknown, _) => return false,
                        (Sticky::Task, _, _, Known::Unknown) => return false,
                        _ => continue,
                    },
                },
                Sticky::Client | Sticky::Session(_) => return true,
                _ => self.said(request, way).map_or(Known::Absent, Known::Found),
            };
            match said {
                Known::Unknown => return false,
                Known::Found(_) => return true,
                Known::Absent => {}
            }
        }
        true
    }

    /// What the headers say of one way.
    fn said<'r>(&self, request: &'r Request, way: &Sticky) -> Option<Cow<'r, [u8]>> {
        let path = request.path().unwrap_or_default();
        let value = sticky_value(way, request.headers(), path);
        value.filter(|value| !value.is_empty())
    }

    /// What the request has in common with others, by the first of these ways that it has.
    #[inline(never)]
    pub(super) fn alike<'r>(
        &self,
        request: &'r Request,
        sticky: &Sticky,
    ) -> Result<Alike<'r>, Refusal> {
        let mut alike = Alike::default();
        for way in sticky.ways() {
            let facts = self.common.facts.borrow();
            let look = facts.look.as_deref();
            let of_body = |said: Option<Known<Cow<'_, [u8]>>>| match said {
                Some(Known::Found(value)) => Some(value.into_owned().into()),
                _ => None,
            };
            alike.value = match way {
                Sticky::Response | Sticky::Task => {
                    alike.giver = alike
                        .giver
                        .take()
                        .or_else(|| self.giver(request, &facts, way));
                    None
                }
                Sticky::Body(pointer) => of_body(look.map(|look| look.member(pointer))),
                Sticky::Prompt(most) => of_body(look.map(|look| look.prompt(*most))),
                Sticky::Client => Some(match &facts.client {
                    Some(client) => client.id.as_bytes().to_vec().into(),
                    None => self.address(request)?.into(),
                }),
                _ => self.said(request, way),
            };
            if alike.value.is_some() {
                break;
            }
        }
        Ok(alike)
    }

    /// The agent that has given the answer which the request names, if its caller may use it. Any of the route's counts: a rule that
    /// does not take this request has sent the earlier one there, or an attempt at another agent.
    #[inline(never)]
    pub(super) fn giving_agent(&self, giver: &Giver) -> Option<AgentId> {
        let compiled = &self.shared.compiled;
        let facts = self.common.facts.borrow();
        let (id, client) = (facts.route?, facts.client.as_deref());
        let route = compiled.route(id)?;
        let plan = client.and_then(|client| client.plan);
        let team = client.and_then(|client| client.team.as_deref());
        let roles = client.map_or(&[][..], |client| &client.roles);
        let agents = route.agents_for(plan, team, roles);
        let agent = agents.into_iter().find(|id| {
            let agent = compiled.policy.agents.get(id.0);
            agent.is_some_and(|agent| self.is_by(giver, agent))
        })?;
        let is_canary = (route.canary.as_ref()).is_some_and(|canary| canary.agent == agent);
        (!is_canary || !self.is_aborted(id)).then_some(agent)
    }

    /// The same of a request whose choice is open yet. `None`: it goes where it is sent.
    #[inline(never)]
    pub(super) fn returns_to(
        &self,
        request: &Request,
        route: &Route,
    ) -> Result<Option<AgentId>, Refusal> {
        match &route.sticky {
            Some(sticky)
                if sticky.names_responses() && request.wanted_agents().next().is_none() =>
            {
                let giver = self.alike(request, sticky)?.giver;
                Ok(giver.and_then(|giver| self.giving_agent(&giver)))
            }
            _ => Ok(None),
        }
    }
}

impl<S> Stream<S> {
    /// Has it look no more for what keeps it together with others, if it waits for that. False: it does not.
    pub(super) fn looks_no_more(&self) -> bool {
        let mut facts = self.common.facts.borrow_mut();
        facts.waits == Waits::ForLook && facts.look.take().is_some()
    }
}

impl Facts {
    /// The request's route, or one of its agents, keeps requests together by what their bodies say.
    pub(super) fn will_look(&mut self, sought: &std::rc::Rc<Sought>, request: &Request) {
        if !self.body.has_ended() {
            self.look = Some(Box::new(Look::new(sought, request.headers())));
        }
    }
}
