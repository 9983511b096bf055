//! The walk of a request through the stages, in their order:
//!
//! ```text
//! match ─► gate ─► identify ─► choose ─► admit ─► forward
//! ```
//!
//! Each stage goes on with what it found, or stops the walk: with a refusal, or because something must be
//! waited for. What one stage learns and another needs is handed over here; the stages know nothing of each other.

use std::rc::Rc;

use super::Gateway;
use super::forward::{forward, name_upgrade};
use super::request::Request;
use super::stream::Stream;
use crate::config::policy::{AgentId, PlanId, Route, RouteId};
use crate::host::{Host, Sensitive};
use crate::identity::{Client, Credential, Found, Knowledge, find};
use crate::limits::{Caller, Count, Limits, host_of};
use crate::reply::Refusal;
use crate::routing::{BadPath, Chosen, NoMatch, Path, choose};
use crate::state::StateError;

/// Why the walk stops.
#[derive(Debug)]
pub(super) enum Stop {
    /// The request is refused.
    Refuse(Refusal),
    /// The validator must be asked about the key.
    Ask(Box<Request>, Credential),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

impl From<BadPath> for Refusal {
    fn from(_: BadPath) -> Self {
        Self::BadPath
    }
}

impl<H: Host> Gateway<H> {
    /// From the first header to the client's identity.
    pub(super) fn begin(&self, stream: &mut Stream, request: Request) -> Result<(), Stop> {
        stream.request_id = request.id().map(|id| Sensitive(id.to_vec()));
        stream.grpc = request.is_grpc();
        let matched = self.match_route(stream, &request);
        let passed = self.gate(stream);
        let route = matched?;
        passed?;
        match self.identify(&request, route)? {
            Identified::Known(knowledge) => self.identified(stream, &request, knowledge),
            Identified::Anonymous => self.decided(stream, &request, None),
            Identified::Unknown(credential) => Err(Stop::Ask(Box::new(request), credential)),
        }
    }

    /// From the client's identity to the agent.
    pub(super) fn identified(
        &self,
        stream: &mut Stream,
        request: &Request,
        knowledge: Knowledge,
    ) -> Result<(), Stop> {
        let client = match knowledge {
            Knowledge::Client(client) => client,
            Knowledge::Invalid => return Err(Refusal::InvalidKey.into()),
            Knowledge::Expired => return Err(Refusal::ExpiredKey.into()),
            Knowledge::UnknownPlan(name) => {
                self.telemetry.unknown_plan(&*self.host, &name);
                return Err(Refusal::UnknownPlan.into());
            }
            Knowledge::Unknown => return Err(Refusal::ValidatorUnavailable.into()),
        };
        self.decided(stream, request, Some(client))
    }

    /// Who calls is known: may they, which agent, how much; then forward.
    fn decided(
        &self,
        stream: &mut Stream,
        request: &Request,
        client: Option<Rc<Client>>,
    ) -> Result<(), Stop> {
        let (id, route) = self.route(stream)?;
        stream.client = client;
        if let Some(client) = &stream.client
            && !client.has_one_of(&route.roles)
        {
            return Err(Refusal::Forbidden.into());
        }
        let agent = self.choose(request, route).inspect_err(|refusal| {
            if refusal.is_for_now() {
                self.look(stream, id);
            }
        })?;
        stream.agent = Some(agent);
        self.admit(stream, id)?;
        stream.bound_body(route.max_body, request.content_length())?;
        stream.bound_silence(route.idle_timeout);
        stream.protocol = request.protocol_for_caller(&self.policy);
        forward(&*self.host, &self.policy, stream);
        Ok(())
    }

    fn match_route(&self, stream: &mut Stream, request: &Request) -> Result<&Route, Refusal> {
        let path = request.routable_path().ok_or(Refusal::BadPath)?;
        match self.policy.table.find(&path, request.method()) {
            Ok(id) => {
                let route = self.policy.route(id).ok_or(Refusal::NoRoute)?;
                path.allow(Some(route.encoded_slashes))?;
                stream.route = Some(id);
                let rewrite = route.prefix_rewrite.as_deref();
                stream.rewritten_path = path.rewritten(&route.prefix, rewrite).map(Sensitive);
                request
                    .check_upgrade(route.protocol)
                    .inspect_err(|refusal| name_upgrade(&*self.host, refusal))?;
                Ok(route)
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
        let routes = || routes.iter().filter_map(|id| self.policy.route(*id));
        if !routes().any(|route| path.allow(Some(route.encoded_slashes)).is_ok()) {
            return Refusal::BadPath;
        }
        let methods = routes().flat_map(|route| route.methods.iter().flatten());
        Refusal::MethodNotAllowed(methods.cloned().collect())
    }

    /// Counts the request for its address, whatever becomes of it.
    fn gate(&self, stream: &mut Stream) -> Result<(), Refusal> {
        let limits = &self.policy.limits;
        if !limits.has_gate() {
            return Ok(());
        }
        let address = self.address()?;
        let count = limits.gate(&*self.host, &address);
        self.counted(stream, count)
    }

    fn identify(&self, request: &Request, route: &Route) -> Result<Identified, Refusal> {
        let credential = match find(&self.policy.policy.clients.key_sources, request.presented()) {
            Found::Key(credential) => credential,
            Found::Malformed => return Err(Refusal::InvalidKey),
            Found::Missing if route.auth_required => return Err(Refusal::MissingKey),
            Found::Missing => return Ok(Identified::Anonymous),
        };
        let now = self.host.now();
        let knowledge = self.policy.identity.known(&*self.host, &credential, now);
        self.telemetry
            .remembered(&*self.host, knowledge != Knowledge::Unknown);
        Ok(match knowledge {
            Knowledge::Unknown if self.policy.validator().is_some() => {
                Identified::Unknown(credential)
            }
            Knowledge::Unknown => Identified::Known(Knowledge::Invalid),
            known => Identified::Known(known),
        })
    }

    fn choose(&self, request: &Request, route: &Route) -> Result<AgentId, Refusal> {
        let agents = &self.policy.policy.agents;
        match choose(&*self.host, agents, &route.agents, request.wanted_agents()) {
            Chosen::Agent(agent) => Ok(agent),
            Chosen::Unknown => Err(Refusal::UnknownAgent),
            Chosen::None => Err(Refusal::NoAgent),
        }
    }

    /// Counts the request against all limits but the gate's.
    fn admit(&self, stream: &mut Stream, route: RouteId) -> Result<(), Refusal> {
        let count = self.with_caller(stream, route, |limits, caller, plan| {
            limits.admit(&*self.host, caller, plan, route)
        })?;
        self.counted(stream, count)
    }

    /// Looks at the limits of a request that is refused before it is counted, so that the caller is told of a wait that
    /// is long enough for them too.
    fn look(&self, stream: &mut Stream, route: RouteId) {
        let count = self.with_caller(stream, route, |limits, caller, plan| {
            limits.look(&*self.host, caller, plan, route)
        });
        if let Ok(Ok(count)) = count {
            stream.looked_at(count);
        }
    }

    /// Asks the limits with whom the request is counted for.
    fn with_caller<T>(
        &self,
        stream: &Stream,
        route: RouteId,
        ask: impl FnOnce(&Limits, Caller<'_>, Option<PlanId>) -> T,
    ) -> Result<T, Refusal> {
        let limits = &self.policy.limits;
        Ok(match &stream.client {
            Some(client) => ask(limits, Caller::Client(&client.id), client.plan),
            None => {
                let address = if limits.counts_anonymous(route) {
                    self.address()?
                } else {
                    Vec::new()
                };
                ask(limits, Caller::Address(&address), None)
            }
        })
    }

    fn counted(
        &self,
        stream: &mut Stream,
        count: Result<Count, StateError>,
    ) -> Result<(), Refusal> {
        let count = count.map_err(|error| {
            self.telemetry.limits_unavailable(&*self.host, error);
            Refusal::LimitsUnavailable
        })?;
        stream.counted(count, || self.host.now())
    }

    fn address(&self) -> Result<Vec<u8>, Refusal> {
        let peer = self
            .host
            .caller_address()
            .ok_or(Refusal::LimitsUnavailable)?;
        Ok(host_of(&peer))
    }

    fn route(&self, stream: &Stream) -> Result<(RouteId, &Route), Refusal> {
        let id = stream.route.ok_or(Refusal::NoRoute)?;
        Ok((id, self.policy.route(id).ok_or(Refusal::NoRoute)?))
    }
}

/// What the identify stage found.
enum Identified {
    /// What is known of the key.
    Known(Knowledge),
    /// No key, and none is needed.
    Anonymous,
    /// A key that the validator must be asked about.
    Unknown(Credential),
}
