//! Whom a limit is counted for.

use std::net::{IpAddr, SocketAddr};

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
    pub(super) fn subject(self) -> (&'static [u8], &'a [u8]) {
        match self {
            Self::Client(id) => (b"client", id.as_bytes()),
            Self::Address(address) => (b"address", address),
        }
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
