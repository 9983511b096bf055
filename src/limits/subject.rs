//! Whom a limit is counted for.

use std::net::{IpAddr, SocketAddr};

use crate::config::policy::{AgentId, LimitSet, PlanId, RouteId, Scope};
use crate::host::HeaderBlock;

/// Whom a request's limits are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller<'a> {
    /// A client, by its id.
    Client(&'a str),
    /// Whoever calls from this address (as [`host_of`] gives it).
    Address(&'a [u8]),
}

impl<'a> Caller<'a> {
    /// What kind of caller it is, and its name among its kind.
    #[inline]
    pub(super) fn subject(self) -> (&'static [u8], &'a [u8]) {
        match self {
            Self::Client(id) => (b"client", id.as_bytes()),
            Self::Address(address) => (b"address", address),
        }
    }
}

/// Who asks for what, as far as it is known: all that limits are counted per.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Who it is counted for.
    pub caller: Caller<'a>,
    /// A hash of its key.
    pub key: Option<&'a [u8]>,
    /// Its plan.
    pub plan: Option<PlanId>,
    /// Its own limits, in place of its plan's.
    pub own: Option<&'a LimitSet>,
    /// Its team.
    pub team: Option<&'a str>,
    /// Its organisation.
    pub organisation: Option<&'a str>,
    /// Where it calls from, as [`host_of`] gives it; only where [`Limits::need_address`](super::Limits::need_address).
    pub address: Option<&'a [u8]>,
    /// Which route takes the request.
    pub route: Option<RouteId>,
    /// Which agent is to answer it.
    pub agent: Option<AgentId>,
    /// Its method.
    pub method: &'a [u8],
    /// Its headers.
    pub headers: Option<&'a HeaderBlock>,
    /// The tool that its message calls by MCP, the first one where it has several.
    pub tool: Option<&'a [u8]>,
    /// The same of its further messages: each counts as much as a request of its own.
    pub further: &'a [Option<&'a [u8]>],
}

impl<'a> Asked<'a> {
    /// A request of this caller, of which nothing else is known.
    #[must_use]
    #[inline]
    pub fn by(caller: Caller<'a>) -> Self {
        Self {
            caller,
            key: None,
            plan: None,
            own: None,
            team: None,
            organisation: None,
            address: None,
            route: None,
            agent: None,
            method: b"",
            headers: None,
            tool: None,
            further: &[],
        }
    }

    /// The same request with one of its messages alone: the first for 0.
    #[must_use]
    pub fn with_message(self, nth: usize) -> Self {
        let further = nth.checked_sub(1).and_then(|nth| self.further.get(nth));
        Self {
            tool: further.copied().unwrap_or(self.tool),
            further: &[],
            ..self
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers?.get(name)
    }

    /// True if it is one of those that this scope has; `route` is its route's name.
    #[must_use]
    pub fn meets(&self, scope: &Scope, route: Option<&str>) -> bool {
        let Scope {
            routes,
            agents,
            methods,
            plans,
            teams,
            tools,
            headers,
        } = scope;
        let of = |name: &[u8], values: &[String]| values.iter().any(|it| it.as_bytes() == name);
        (routes.is_empty() || route.is_some_and(|name| of(name.as_bytes(), routes)))
            && (agents.is_empty() || self.agent.is_some_and(|id| agents.contains(&id)))
            && (methods.is_empty() || of(self.method, methods))
            && (plans.is_empty() || self.plan.is_some_and(|id| plans.contains(&id)))
            && (teams.is_empty() || self.team.is_some_and(|team| of(team.as_bytes(), teams)))
            && (tools.is_empty()
                || (self.tool).is_some_and(|tool| tools.iter().any(|it| it.matches(tool))))
            && headers
                .iter()
                .all(|(name, values)| self.header(name).is_some_and(|value| of(value, values)))
    }
}

/// The part of a peer's address that is counted: IPv4 whole, IPv6 by its /64, since a single caller commonly holds that
/// many addresses; without the port. What is no address (a socket's path) counts as it stands.
#[must_use]
pub fn host_of(peer: &[u8]) -> Vec<u8> {
    ip_of(peer).map_or_else(|| peer.to_vec(), network_of)
}

/// The part of an address that is counted, as [`host_of`] gives it.
#[must_use]
pub fn network_of(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().into_iter().take(8).collect(),
    }
}

/// The address of `1.2.3.4:5`, `[::1]:5`, `1.2.3.4`, `[::1]` or `::1`.
#[must_use]
pub fn ip_of(peer: &[u8]) -> Option<IpAddr> {
    let peer = std::str::from_utf8(peer).ok()?;
    if let Ok(address) = peer.parse() {
        return Some(address);
    }
    if let Ok(address) = peer.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    let address = peer.strip_prefix('[')?.strip_suffix(']')?;
    address.parse().ok().map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_do_not_count() {
        assert_eq!(host_of(b"192.0.2.1:443"), host_of(b"192.0.2.1:9"));
        assert_eq!(host_of(b"192.0.2.1:443"), host_of(b"192.0.2.1"));
        assert_ne!(host_of(b"192.0.2.1:443"), host_of(b"192.0.2.2:443"));
    }

    #[test]
    fn ipv6_counts_by_its_64_bit_network() {
        assert_eq!(
            host_of(b"[2001:db8::1]:443"),
            host_of(b"[2001:db8::ffff:2]:80")
        );
        assert_eq!(host_of(b"[2001:db8::1]:443"), host_of(b"2001:db8::1"));
        assert_ne!(
            host_of(b"[2001:db8::1]:443"),
            host_of(b"[2001:db8:0:1::1]:443")
        );
    }

    #[test]
    fn an_ipv4_address_counts_the_same_in_ipv6_clothes() {
        assert_eq!(
            host_of(b"[::ffff:192.0.2.1]:443"),
            host_of(b"192.0.2.1:443")
        );
    }
}
