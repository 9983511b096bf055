//! The walk of a request through the stages, in their order:
//!
//! ```text
//! match ─► gate ─► identify ─► hear ─► choose ─► keep ─► admit ─► enter ─► in fleet ─► collect ─► edit ─► forward
//!                │                            └─► what all servers of a route are asked, which is answered here
//!                └─► a question about limits or models, which is answered here
//! ```
//!
//! Each stage goes on with what it found, or ends the walk with a refusal. What must be waited for is awaited: the driver
//! polls the walk again when the stream's turn has come. What one stage learns and another needs is handed over here; the
//! stages know nothing of each other.

use std::rc::Rc;

use super::clock::Bounds;
use super::edits::edit_request;
use super::failure::{Failure, refusal};
use super::forward::forward;
use super::hold::Waits;
use super::limits_endpoint::{Matter, matter};
use super::look::Alike;
use super::models_endpoint::{Question, question};
use super::request::Request;
use super::responses::will_learn;
use super::servers::To;
use super::shared::Shared;
use super::sticky::{Kept, owner};
use super::stream::{Arrived, Common, Facts};
use crate::config::policy::{Agent, AgentId, Choice, Prefer, Protocol, Route, RouteId, Sticky};
use crate::host::{Host, Sensitive, StreamId, StreamIo};
use crate::reply::Refusal;
use crate::routing::{BadPath, NoAgent, NoMatch, Path, Turn, choose_agent, hash_of_value};
use crate::state::responses::Giver;

/// What a walk has at hand: it outlives the callback that began it.
pub(super) struct Walk<H: Host> {
    pub(super) id: StreamId,
    pub(super) shared: Rc<Shared<H>>,
    pub(super) common: Rc<Common<H::Stream>>,
}

/// What takes a request.
enum Matched<'a> {
    Route(RouteId, &'a Route),
    /// The gateway itself, which is asked about limits.
    Limits(Matter),
    /// The same, about models.
    Models(Question),
}

impl Matched<'_> {
    fn route(&self) -> Option<RouteId> {
        match self {
            Self::Route(id, _) => Some(*id),
            Self::Limits(_) | Self::Models(_) => None,
        }
    }
}

impl From<BadPath> for Refusal {
    fn from(_: BadPath) -> Self {
        Self::BadPath
    }
}

impl From<NoAgent> for Refusal {
    fn from(none: NoAgent) -> Self {
        match none {
            NoAgent::Unknown => Self::UnknownAgent,
            NoAgent::Unnamed => Self::NoAgent,
            NoAgent::Incapable => Self::UnknownCapability,
            NoAgent::NoModel => Self::ModelNotFound,
            NoAgent::Resting(seconds) => Self::AgentsResting(seconds),
        }
    }
}

impl<H: Host> Walk<H> {
    /// From a request's first header to the agent.
    pub(super) async fn go(self) -> Result<Arrived, Refusal> {
        let request = self.read()?;
        let matched = self.match_route(&request);
        // Every request is counted there, whatever becomes of it.
        let passed = self.gate(&request, matched.as_ref().ok().and_then(Matched::route));
        let matched = matched?;
        passed?;
        let (id, route) = match matched {
            Matched::Route(id, route) => (id, route),
            Matched::Limits(matter) => {
                let answer = Box::pin(self.answer_about_limits(&request, matter)).await?;
                return Ok(Arrived::Answered(Box::new(answer)));
            }
            Matched::Models(question) => {
                let answer = Box::pin(self.answer_about_models(&request, question)).await?;
                return Ok(Arrived::Answered(Box::new(answer)));
            }
        };
        let client = self.identify(&request, self.needs_key(route)).await?;
        self.authorize(client, route)?;
        if self.shared.compiled.sought(id).is_some() {
            Box::pin(self.look_at_body(&request, route)).await;
        }
        if let Some(mcp) = &route.mcp {
            Box::pin(self.hear(&request, route, mcp)).await?;
        }
        if let Some(a2a) = &route.a2a {
            Box::pin(self.hear_a2a(&request, route, a2a)).await?;
        }
        let mut errand = None;
        let agent = match (self.shared.compiled.rules(id), route.of_servers()) {
            (_, Some(mcp)) => match Box::pin(self.to_servers(&request, route, mcp)).await {
                Ok(To::Agent(agent)) => Ok(agent),
                Ok(To::All(all)) => {
                    errand = Some(all);
                    Err(Refusal::NoAgent)
                }
                Err(refusal) => Err(refusal),
            },
            (Some(rules), None) => Box::pin(self.choose_by(&request, route, rules)).await,
            (None, None) => self.choose_of(&request, route),
        };
        if errand.is_none() {
            self.chosen(&request, id, agent)?;
        }
        self.keep(&request)?;
        self.admit(&request, id)?;
        self.enter(&request, id)
            .await
            .inspect_err(|_| self.release())?;
        self.bound(&request, route)
            .inspect_err(|_| self.release())?;
        self.admit_in_fleet(&request, id)
            .await
            .inspect_err(|_| self.release())?;
        if let Some(errand) = errand {
            let answer = Box::pin(self.ask_servers(&request, id, route, errand)).await?;
            return Ok(Arrived::Answered(Box::new(answer)));
        }
        self.collect(&request, route).await?;
        self.edit_body(&request, id)
            .inspect_err(|_| self.release())?;
        self.forward(&request, route)
            .inspect_err(|_| self.release())?;
        Ok(Arrived::AtAgent)
    }

    /// Reads the request, and takes out of it what must not travel on.
    fn read(&self) -> Result<Request, Refusal> {
        let shared = &self.shared;
        let request = self
            .with_stream(|stream| Request::read(stream, &shared.compiled))?
            .map_err(|error| self.failed(Failure::Unread(error)))?;
        let mut facts = self.common.facts.borrow_mut();
        facts.request_id = request.id().map(|id| Sensitive(id.to_vec()));
        facts.form = request.form();
        facts.header_bytes = request.size();
        Ok(request)
    }

    fn match_route(&self, request: &Request) -> Result<Matched<'_>, Refusal> {
        let path = request.routable_path().ok_or(Refusal::BadPath)?;
        let compiled = &self.shared.compiled;
        let as_it_came = request.path().unwrap_or_default();
        if let Some(matter) = matter(&compiled.policy, as_it_came) {
            request.check_upgrade(Protocol::Http)?;
            return Ok(Matched::Limits(matter));
        }
        if let Some(question) = question(&compiled.policy, request.method(), as_it_came) {
            request.check_upgrade(Protocol::Http)?;
            return Ok(Matched::Models(question));
        }
        match compiled.table.find(&path, request.method()) {
            Ok(id) => {
                let route = compiled.route(id).ok_or(Refusal::NoRoute)?;
                path.allow(Some(route.encoded_slashes))?;
                let mut facts = self.common.facts.borrow_mut();
                facts.route = Some(id);
                let rewrite = route.prefix_rewrite.as_deref();
                facts.rewritten_path = path.rewritten(&route.prefix, rewrite).map(Sensitive);
                request.check_upgrade(route.protocol)?;
                if let Some(rules) = compiled.rules(id) {
                    facts.will_ask(rules, request);
                }
                if let Some(sought) = compiled.sought(id) {
                    facts.will_look(sought, request);
                }
                if let Some(members) = compiled.members.as_ref().filter(|_| route.mcp.is_some()) {
                    facts.will_hear(
                        compiled.members_of(route).unwrap_or(members),
                        request,
                        route,
                    );
                }
                if route.a2a.is_some() {
                    self.will_ask_by_a2a(&mut facts, request, &path, route);
                }
                Ok(Matched::Route(id, route))
            }
            Err(NoMatch::Method(others)) => Err(self.other_method(&path, &others)),
            Err(NoMatch::Path) => {
                path.allow(None)?;
                Err(Refusal::NoRoute)
            }
            Err(NoMatch::Ambiguous) => Err(Refusal::BadPath),
        }
    }

    /// The method is none of those that these routes of one prefix take. The path must suit one of them all the same.
    fn other_method(&self, path: &Path<'_>, routes: &[RouteId]) -> Refusal {
        let routes = || {
            routes
                .iter()
                .filter_map(|id| self.shared.compiled.route(*id))
        };
        if !routes().any(|route| path.allow(Some(route.encoded_slashes)).is_ok()) {
            return Refusal::BadPath;
        }
        let methods = routes().flat_map(|route| route.methods.iter().flatten());
        Refusal::MethodNotAllowed(methods.cloned().collect())
    }

    /// One of these agents: by name, by what the request has in common with others, or as it is preferred. Of the route's others only
    /// the one to which it `returns`.
    pub(super) fn choose(
        &self,
        request: &Request,
        choices: &[Choice],
        prefer: Prefer,
        returns: Option<AgentId>,
    ) -> Result<AgentId, Refusal> {
        let compiled = &self.shared.compiled;
        let id = self.common.facts.borrow().route;
        let route = id.and_then(|id| Some((id, compiled.route(id)?)));
        let sticky = route.and_then(|(_, route)| route.sticky.as_ref());
        if let Some(agent) = returns
            && self.turn(request, agent) == Turn::Yes
        {
            return Ok(agent);
        }
        let value = match sticky {
            Some(sticky) => self.alike(request, sticky)?.value,
            None => None,
        };
        if let Some((id, route)) = route
            && let Some(canary) = &route.canary
            && let Some(agent) = self.canary(request, id, canary, choices, value.as_deref())
        {
            return Ok(agent);
        }
        if compiled.rests.is_some() {
            return self.choose_rested(request, choices, prefer, value.as_deref());
        }
        let (agents, wanted) = (&compiled.policy.agents, request.wanted_agents());
        let draw = || self.draw(choices, prefer);
        let chosen = choose_agent(agents, choices, wanted, value.as_deref(), draw);
        chosen.map_err(Refusal::from)
    }

    fn chosen(
        &self,
        request: &Request,
        route: RouteId,
        agent: Result<AgentId, Refusal>,
    ) -> Result<(), Refusal> {
        let agent = agent.inspect_err(|refusal| {
            if refusal.is_for_now() {
                self.look(request, route);
            }
        })?;
        self.common.facts.borrow_mut().agent = Some(agent);
        Ok(())
    }

    /// Finds what keeps the request at one of the agent's hosts, where something does.
    fn keep(&self, request: &Request) -> Result<(), Refusal> {
        let chosen = self.common.facts.borrow().agent;
        let agents = &self.shared.compiled.policy.agents;
        let agent = chosen.and_then(|id| agents.get(id.0));
        if let Some((agent, sticky)) = agent.and_then(|it| Some((it, it.sticky.as_ref()?))) {
            let kept = self.kept(request, agent, sticky)?;
            self.common.facts.borrow_mut().kept = kept;
        }
        self.common.facts.borrow_mut().look = None;
        Ok(())
    }

    #[inline(never)]
    fn kept(
        &self,
        request: &Request,
        agent: &Agent,
        sticky: &Sticky,
    ) -> Result<Option<Kept>, Refusal> {
        if let Sticky::Session(header) = sticky {
            let facts = self.common.facts.borrow();
            let (sessions, owner) = (&self.shared.compiled.sessions, owner(agent, &facts));
            let kept = self.with_stream(|stream| {
                Kept::in_session(stream, request, header, sessions, owner)
            })??;
            return Ok(Some(kept));
        }
        let Alike { giver, value } = self.alike(request, sticky)?;
        let hash = value.and_then(|value| hash_of_value(&value));
        let giver = giver.filter(|it| self.is_by(it, agent) && !it.address.is_empty());
        Ok(match giver {
            Some(Giver { address, .. }) => Some(Kept::AtHost { address, hash }),
            None => hash.map(Kept::ByHash),
        })
    }

    /// Bounds the body, by what the request says of its length at once.
    fn bound(&self, request: &Request, route: &Route) -> Result<(), Refusal> {
        let mut facts = self.common.facts.borrow_mut();
        facts.body.bound(route.max_body, request.content_length())
    }

    /// Has all of the request arrive before an agent hears of it, where the route says so.
    async fn collect(&self, request: &Request, route: &Route) -> Result<(), Refusal> {
        if !route.collect_body {
            return Ok(());
        }
        let due = self.shared.ticks.get().after(route.body_timeout);
        let ended = |facts: &Facts| facts.body.has_ended().then_some(());
        let came = self.until(request, Waits::Admitted, due, ended).await;
        came.ok_or(Refusal::RequestTimeout)
    }

    /// Hands the request over.
    fn forward(&self, request: &Request, route: &Route) -> Result<(), Refusal> {
        self.mirror(request, route)?;
        let compiled = &self.shared.compiled;
        if let Some(rests) = &compiled.rests {
            self.asks(rests, request)?;
        }
        if route.mcp.is_some() || route.a2a.is_some() {
            // What is held of its answer is held for its caller.
            self.caller(request);
        }
        let mut facts = self.common.facts.borrow_mut();
        // Of a body that was changed, or that came without its length and is here now.
        let length = match request.content_length() {
            Some(told) => facts.body.changed_length(told),
            None => facts.body.length().filter(|_| route.collect_body),
        };
        let now = self.shared.ticks.get();
        let answer = route.timeout.filter(|_| route.streams);
        facts.bounds = Bounds::new(route.idle_timeout, answer, now);
        if facts.body.has_ended() {
            facts.bounds.request_ended(now);
        }
        facts.protocol = request.protocol_for_caller(compiled);
        let redirected = request
            .authority()
            .filter(|_| route.prefix_rewrite.is_some());
        facts.authority = redirected.map(|authority| Sensitive(authority.to_vec()));
        facts.learns = will_learn(compiled, &facts, request.path());
        self.with_stream(|stream| {
            if route.a2a.is_some() {
                self.expect_card(stream, &mut facts, request, route);
            }
            if facts.learns.is_some() {
                // What is compressed cannot be read.
                stream.set_request_header("accept-encoding", b"identity");
            }
            if route.mcp.is_some() {
                self.expect_tools(stream, &mut facts, route);
            }
            if let Some(length) = length {
                stream.set_request_header("content-length", length.to_string().as_bytes());
            }
            if route.protocol == Protocol::Websocket
                && request.headers().get("connection").is_some()
            {
                // The caller would have a proxy in front of the agent take out whatever else it names.
                stream.set_request_header("connection", b"upgrade");
            }
            if let Some(edits) = &route.edits {
                edit_request(stream, compiled, &facts, edits, request.headers());
            }
            forward(stream, compiled, &facts, request.path());
            self.ask_for_report(stream, &mut facts);
        })
    }

    pub(super) fn with_stream<T>(&self, f: impl FnOnce(&H::Stream) -> T) -> Result<T, Refusal> {
        let done = self.common.with_stream(f);
        done.ok_or_else(|| self.failed(Failure::NotLent))
    }

    pub(super) fn failed(&self, failure: Failure) -> Refusal {
        refusal(&*self.shared.host, &self.shared.telemetry, failure)
    }
}
