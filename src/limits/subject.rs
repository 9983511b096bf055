//! Whom a limit is counted for.

use std::net::{IpAddr, Ipv6Addr};

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
    match std::str::from_utf8(peer).ok().and_then(ip_of) {
        Some(IpAddr::V4(address)) => address.octets().to_vec(),
        Some(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(mapped) => mapped.octets().to_vec(),
            None => network_of(address),
        },
        None => peer.to_vec(),
    }
}

/// The address of `1.2.3.4:5`, `[::1]:5`, `1.2.3.4` or `::1`.
fn ip_of(peer: &str) -> Option<IpAddr> {
    if let Ok(address) = peer.parse::<std::net::SocketAddr>() {
        return Some(address.ip());
    }
    peer.parse().ok()
}

fn network_of(address: Ipv6Addr) -> Vec<u8> {
    address.octets().into_iter().take(8).collect()
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
