//! The addresses on which Envoy listens, so that no other process's are taken for free.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tokio::time::Instant;
use waykeeper::config::Segment;

use crate::check;
use crate::gateway::{Gateway, Parts, overlap};
use crate::yaml::Value;

/// Envoy closes what has drained a moment after its time.
const MARGIN: Duration = Duration::from_secs(2);
/// What Envoy begins with when it tells of listeners; their names and what is wrong with them follow.
const REFUSED: &str = "Error adding/updating listener(s) ";
/// Fields of a listener by which Envoy listens in another way than others do.
const OTHERWISE: [&str; 3] = ["freebind", "transparent", "bind_to_port"];
/// In place of an address, that of a listener in a gateway's parts.
const OPERATIONS: &str = "operations";

pub(super) struct Bound {
    /// Until when those may be bound that are not live any more, or were refused.
    addresses: BTreeMap<SocketAddr, Option<Instant>>,
    drain: Duration,
}

/// An address on which a gateway listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listen {
    address: SocketAddr,
    /// Where it stands: the file, the line, and the field.
    place: String,
    /// Whether the address need not be this machine's.
    anywhere: bool,
}

/// Why nobody can listen somewhere.
#[derive(Debug, Clone, Copy)]
enum Why {
    Taken,
    NotHere,
    Forbidden,
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
    /// would get some of the connections. And that they are there, since one that is not may come. Whether it is allowed to listen
    /// only Envoy knows, which may have rights of its own.
    ///
    /// # Errors
    /// Where it cannot listen, each with its place.
    pub(super) fn free(&self, listens: &[Listen], now: Instant) -> Result<(), Vec<String>> {
        let wrong = listens.iter().filter_map(|listen| {
            let mut ours = self.addresses.iter();
            if ours.any(|(ours, until)| {
                overlap(*ours, listen.address) && until.is_none_or(|until| now < until)
            }) {
                return None;
            }
            match TcpListener::bind(listen.address).err()?.kind() {
                ErrorKind::AddrInUse => Some(listen.cannot(Why::Taken)),
                ErrorKind::AddrNotAvailable if !listen.anywhere => {
                    Some(listen.cannot(Why::NotHere))
                }
                // Whatever else may be wrong with it Envoy tells.
                _ => None,
            }
        });
        let wrong: Vec<String> = wrong.collect();
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(wrong),
        }
    }

    /// These are live, and no others.
    pub(super) fn live(&mut self, listens: &[Listen], now: Instant) {
        self.addresses
            .retain(|_, until| until.is_none_or(|until| now < until));
        let until = now + self.drain + MARGIN;
        for (address, drains) in &mut self.addresses {
            if !listens.iter().any(|listen| listen.address == *address) {
                drains.get_or_insert(until);
            }
        }
        let live = listens.iter().map(|listen| (listen.address, None));
        self.addresses.extend(live);
    }

    /// Envoy may have listened on these before it refused something.
    pub(super) fn refused(&mut self, listens: &[Listen], now: Instant) {
        let until = Some(now + self.drain + MARGIN);
        for listen in listens {
            let drains = self.addresses.entry(listen.address).or_insert(until);
            if drains.is_some() {
                *drains = until;
            }
        }
    }
}

// === impl Listen ===

impl Listen {
    /// All on which a gateway listens. `file` is what its file is called, and `document` what stands in it.
    pub(super) fn all(file: &str, document: &Value, gateway: &Gateway, parts: &Parts) -> Vec<Self> {
        let field = |name: &str| Segment::Field(name.to_owned());
        let of_callers = gateway.listeners.iter().enumerate().map(|(index, it)| {
            let path = vec![field("listen"), Segment::Item(index), field("address")];
            (it.address, it.address.to_string(), path)
        });
        let operations = gateway
            .operations
            .map(|address| (address, OPERATIONS.to_owned(), vec![field(OPERATIONS)]));
        let all = of_callers.chain(operations);
        all.map(|(address, name, path)| {
            let listener = parts.listeners.get(&name);
            let written = |field: &&str| listener.is_some_and(|it| it.get(*field).is_some());
            Self {
                address,
                place: check::place(file, document, path),
                anywhere: OTHERWISE.iter().any(written),
            }
        })
        .collect()
    }

    fn cannot(&self, why: Why) -> String {
        let Self { address, place, .. } = self;
        let port = address.port();
        let everywhere = match address {
            SocketAddr::V4(_) => format!("0.0.0.0:{port}"),
            SocketAddr::V6(_) => format!("[::]:{port}"),
        };
        let why = match why {
            Why::Taken => "another process listens there (see `ss -ltnp`); end that, or take another port".to_owned(),
            Why::NotHere => format!(
                "this machine has no such address; take one of those that `ip address` shows, or {everywhere} for all of them"
            ),
            Why::Forbidden => "Envoy may not; take a port from 1024 on, or start this command with the right to lower ones \
                               (CAP_NET_BIND_SERVICE, in a unit of systemd AmbientCapabilities=CAP_NET_BIND_SERVICE)"
                .to_owned(),
        };
        format!("{place}: cannot listen on {address}: {why}")
    }
}

/// What Envoy has said of addresses on which it cannot listen, in words of ours; nothing where it has said anything else.
pub(super) fn cannot_listen(listens: &[Listen], said: &str) -> Option<Vec<String>> {
    let mut rest = said.strip_prefix(REFUSED)?.to_owned();
    let mut told = Vec::new();
    for listen in listens {
        for (why, reason) in [
            (Why::Taken, "Address already in use"),
            (Why::NotHere, "Cannot assign requested address"),
            (Why::Forbidden, "Permission denied"),
        ] {
            let address = listen.address;
            for name in [address.to_string().as_str(), OPERATIONS] {
                let complaint = format!("{name}: cannot bind '{address}': {reason}");
                if rest.contains(&complaint) {
                    rest = rest.replace(&complaint, "");
                    told.push(listen.cannot(why));
                }
            }
        }
    }
    rest.trim().is_empty().then_some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(5);

    fn listen(address: SocketAddr) -> Listen {
        Listen {
            address,
            place: "gateway.yaml:2: listen[0].address".to_owned(),
            anywhere: false,
        }
    }

    #[test]
    fn an_address_is_anothers_once_it_has_drained() {
        // Whoever it is that listens: Envoy, or later another.
        let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let both = [&taken[0], &taken[1]].map(|it| listen(it.local_addr().unwrap()));
        let [one, two] = [&both[..1], &both[1..]];
        let now = Instant::now();
        let later = now + DRAIN + MARGIN;
        let mut bound = Bound::new(DRAIN);
        assert!(bound.free(one, now).is_err());

        bound.live(&both, now);
        assert!(bound.free(&both, later).is_ok());
        // It goes, and comes back.
        bound.live(one, now);
        assert!(bound.free(two, now + DRAIN).is_ok());
        assert!(bound.free(two, later).is_err());
        bound.live(&both, now);
        assert!(bound.free(two, later).is_ok());
    }

    #[test]
    fn another_address_is_anothers_though_its_port_is_ours() {
        let ours = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = [listen(ours.local_addr().unwrap())];
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), one[0].address.port());
        let taken = TcpListener::bind(at("127.0.0.2")).unwrap();
        let now = Instant::now();
        let mut bound = Bound::new(DRAIN);
        bound.live(&one, now);
        let said = bound
            .free(&[listen(taken.local_addr().unwrap())], now)
            .unwrap_err();
        assert!(said[0].contains("cannot listen on 127.0.0.2:"), "{said:?}");

        // One that holds ours too is ours.
        assert!(bound.free(&[listen(at("0.0.0.0"))], now).is_ok());
    }

    #[test]
    fn what_was_refused_is_not_ours_for_longer_than_it_drains() {
        let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let both = [&taken[0], &taken[1]].map(|it| listen(it.local_addr().unwrap()));
        let [one, two] = [&both[..1], &both[1..]];
        let now = Instant::now();
        let later = now + DRAIN + MARGIN;
        let mut bound = Bound::new(DRAIN);
        bound.live(one, now);

        bound.refused(&both, now);

        assert!(bound.free(&both, now).is_ok());
        assert!(bound.free(one, later).is_ok());
        let said = bound.free(two, later).unwrap_err();
        let told = format!(
            "gateway.yaml:2: listen[0].address: cannot listen on {}: another process listens there (see `ss -ltnp`); end that, or take another port",
            two[0].address
        );
        assert_eq!(said, [told]);
    }

    #[test]
    fn what_envoy_says_of_addresses_is_told_with_their_places() {
        let [one, operations] =
            ["192.0.2.1:8080", "[::1]:80"].map(|it| listen(it.parse().unwrap()));
        let listens = [one, operations];
        let begin = "Error adding/updating listener(s) ";
        let here = "192.0.2.1:8080: cannot bind '192.0.2.1:8080': Cannot assign requested address";
        let may = "operations: cannot bind '[::1]:80': Permission denied";
        let told = cannot_listen(&listens, &format!("{begin}{here} {may}")).unwrap();
        let begins = [
            "gateway.yaml:2: listen[0].address: cannot listen on 192.0.2.1:8080: this machine has no such address; ",
            "gateway.yaml:2: listen[0].address: cannot listen on [::1]:80: Envoy may not; take a port from 1024 on",
        ];
        assert_eq!(told.len(), begins.len());
        for (told, begins) in told.iter().zip(begins) {
            assert!(told.starts_with(begins), "{told}");
        }

        // Nothing of what it says is left out.
        let other = "127.0.0.1:1: unable to set socket options";
        assert_eq!(
            cannot_listen(&listens, &format!("{begin}{here} {other}")),
            None
        );
        assert_eq!(cannot_listen(&listens, "no such file"), None);
    }
}
