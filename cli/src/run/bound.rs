//! The addresses on which Envoy listens, so that no other process's are taken for free.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tokio::time::Instant;

use crate::gateway::{Gateway, overlap};

/// Envoy closes what has drained a moment after its time.
const MARGIN: Duration = Duration::from_secs(2);

pub(super) struct Bound {
    /// Until when those may be bound that are not live any more, or were refused.
    addresses: BTreeMap<SocketAddr, Option<Instant>>,
    drain: Duration,
}

// === impl Bound ===

impl Bound {
    pub(super) fn new(drain: Duration) -> Self {
        Self {
            addresses: BTreeMap::new(),
            drain,
        }
    }

    /// Makes sure that new addresses are free: where another process shares its own, Envoy would share it in silence, and each
    /// would get some of the connections.
    ///
    /// # Errors
    /// Where another process listens.
    pub(super) fn free(&self, addresses: &[SocketAddr], now: Instant) -> Result<(), String> {
        for address in addresses {
            let mut ours = self.addresses.iter();
            if ours.any(|(ours, until)| {
                overlap(*ours, *address) && until.is_none_or(|until| now < until)
            }) {
                continue;
            }
            match TcpListener::bind(address) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(format!(
                        "cannot listen on {address}: something else does; end that, or take another port in `listen` or `operations`"
                    ));
                }
                // Whatever else may be wrong with it Envoy tells.
                _ => {}
            }
        }
        Ok(())
    }

    /// These are live, and no others.
    pub(super) fn live(&mut self, addresses: &[SocketAddr], now: Instant) {
        self.addresses
            .retain(|_, until| until.is_none_or(|until| now < until));
        let until = now + self.drain + MARGIN;
        for (address, drains) in &mut self.addresses {
            if !addresses.contains(address) {
                drains.get_or_insert(until);
            }
        }
        let live = addresses.iter().map(|address| (*address, None));
        self.addresses.extend(live);
    }

    /// Envoy may have listened on these before it refused something.
    pub(super) fn refused(&mut self, addresses: &[SocketAddr], now: Instant) {
        let until = Some(now + self.drain + MARGIN);
        for address in addresses {
            let drains = self.addresses.entry(*address).or_insert(until);
            if drains.is_some() {
                *drains = until;
            }
        }
    }
}

/// All on which a gateway listens.
pub(super) fn addresses(gateway: &Gateway) -> Vec<SocketAddr> {
    let listeners = gateway.listeners.iter().map(|listener| listener.address);
    listeners.chain(gateway.operations).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(5);

    #[test]
    fn an_address_is_anothers_once_it_has_drained() {
        // Whoever it is that listens: Envoy, or later another.
        let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [one, two] = [&taken[0], &taken[1]].map(|it| it.local_addr().unwrap());
        let now = Instant::now();
        let later = now + DRAIN + MARGIN;
        let mut bound = Bound::new(DRAIN);
        assert!(bound.free(&[one], now).is_err());

        bound.live(&[one, two], now);
        assert!(bound.free(&[one, two], later).is_ok());
        // It goes, and comes back.
        bound.live(&[one], now);
        assert!(bound.free(&[two], now + DRAIN).is_ok());
        assert!(bound.free(&[two], later).is_err());
        bound.live(&[one, two], now);
        assert!(bound.free(&[two], later).is_ok());
    }

    #[test]
    fn another_address_is_anothers_though_its_port_is_ours() {
        let ours = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = ours.local_addr().unwrap();
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), one.port());
        let taken = TcpListener::bind(at("127.0.0.2")).unwrap();
        let now = Instant::now();
        let mut bound = Bound::new(DRAIN);
        bound.live(&[one], now);
        let said = bound.free(&[taken.local_addr().unwrap()], now).unwrap_err();
        assert!(said.contains("cannot listen on 127.0.0.2:"), "{said}");

        // One that holds ours too is ours.
        assert!(bound.free(&[at("0.0.0.0")], now).is_ok());
    }

    #[test]
    fn what_was_refused_is_not_ours_for_longer_than_it_drains() {
        let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [one, two] = [&taken[0], &taken[1]].map(|it| it.local_addr().unwrap());
        let now = Instant::now();
        let later = now + DRAIN + MARGIN;
        let mut bound = Bound::new(DRAIN);
        bound.live(&[one], now);

        bound.refused(&[one, two], now);

        assert!(bound.free(&[one, two], now).is_ok());
        assert!(bound.free(&[one], later).is_ok());
        let said = bound.free(&[two], later).unwrap_err();
        assert!(said.contains(&format!("cannot listen on {two}")), "{said}");
    }
}
