//! How a request is counted, at the gate and against all other limits, and what they are asked about it.

use super::failure::Failure;
use super::request::Request;
use super::walk::Walk;
use crate::config::policy::{AddressSource, RouteId};
use crate::host::{Host, StreamIo};
use crate::limits::{Admission, Amounts, Asked, Caller, Limits, host_of, network_of};
use crate::reply::Refusal;
use crate::state::StateError;

impl<H: Host> Walk<H> {
    /// Counts the request for its address.
    pub(super) fn gate(&self, request: &Request, route: Option<RouteId>) -> Result<(), Refusal> {
        let limits = &self.shared.compiled.limits;
        if !limits.has_gate() {
            return Ok(());
        }
        let address = self.address(request)?;
        let asked = Asked {
            address: Some(&address),
            route,
            method: request.method(),
            headers: Some(request.headers()),
            ..Asked::by(Caller::Address(&address))
        };
        self.counted(limits.gate(&*self.shared.host, asked))
    }

    /// Counts the request against all limits but the gate's.
    pub(super) fn admit(&self, request: &Request, route: RouteId) -> Result<(), Refusal> {
        let (host, amounts) = (&*self.shared.host, Amounts::ONE_REQUEST);
        let count = self.asked(request, route, |limits, asked| {
            limits.admit(host, asked, amounts)
        })?;
        self.counted(count)
    }

    /// Looks at the limits of a request that is refused before it is counted, so that the caller is told of a wait that
    /// is long enough for them too.
    pub(super) fn look(&self, request: &Request, route: RouteId) {
        let host = &*self.shared.host;
        let count = self.asked(request, route, |limits, asked| limits.look(host, asked));
        if let Ok(Ok(count)) = count {
            self.common.facts.borrow_mut().looked_at(count);
        }
    }

    /// Asks the limits about a request whose caller is known, as far as it has come.
    pub(super) fn asked<T>(
        &self,
        request: &Request,
        route: RouteId,
        ask: impl FnOnce(&Limits, Asked<'_>) -> T,
    ) -> Result<T, Refusal> {
        let limits = &self.shared.compiled.limits;
        let facts = self.common.facts.borrow();
        let client = facts.client.as_deref();
        let plan = client.and_then(|client| client.plan);
        let address = if limits.need_address(plan, route, facts.agent, client.is_none()) {
            Some(self.address(request)?)
        } else {
            None
        };
        let address = address.as_deref();
        let tools = facts.tools();
        let (tool, further) = match tools.split_first() {
            Some((tool, further)) => (*tool, further),
            None => (None, &[][..]),
        };
        let caller = match client {
            Some(client) => Caller::Client(&client.id),
            None => Caller::Address(address.unwrap_or_default()),
        };
        Ok(ask(
            limits,
            Asked {
                caller,
                key: client.map(|client| client.key.as_bytes()),
                plan,
                own: facts.own_limits(),
                team: client.and_then(|client| client.team.as_deref()),
                organisation: client.and_then(|client| client.organisation.as_deref()),
                address,
                route: Some(route),
                agent: facts.agent,
                method: request.method(),
                headers: Some(request.headers()),
                tool,
                further,
            },
        ))
    }

    /// Gives back what admit took: the request is refused, and nothing of it has gone to an agent.
    pub(super) fn release(&self) {
        let (host, limits) = (&*self.shared.host, &self.shared.compiled.limits);
        let mut facts = self.common.facts.borrow_mut();
        facts.released(host, limits);
        facts.leave(host, limits);
    }

    pub(super) fn counted(&self, count: Result<Admission, StateError>) -> Result<(), Refusal> {
        let count = count.map_err(|error| self.failed(Failure::Limits(error)))?;
        if count.has_remarks() {
            self.shared.telemetry.limits(&*self.shared.host, &count);
        }
        let mut facts = self.common.facts.borrow_mut();
        facts.counted(count, || self.shared.host.now())
    }

    /// The caller's address, as limits count by it: that of the header which the operator trusts, else Envoy's word.
    pub(super) fn address(&self, request: &Request) -> Result<Vec<u8>, Refusal> {
        if let AddressSource::ForwardedFor { trusted_hops } = self.shared.compiled.policy.address
            && let Some(address) = request.forwarded_address(trusted_hops)
        {
            return Ok(network_of(address));
        }
        let peer = self.with_stream(StreamIo::caller_address)?;
        let peer = peer.ok_or_else(|| self.failed(Failure::NoAddress))?;
        Ok(host_of(&peer))
    }
}
