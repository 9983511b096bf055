//! Where the gateway listens, and what it makes of those who connect there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use waykeeper::config::{Spot, check_host};

use super::tls::{self, ServerTls};

/// Envoy's admin interface, which can stop it: for this machine only.
pub(crate) const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

const MOST_LISTENERS: usize = 16;
const MOST_ORIGINS: usize = 256;
const MOST_HOPS: u32 = 32;

/// In place of an origin: pages that this machine itself serves, on any port.
pub(crate) const LOCALHOST: &str = "localhost";

pub(super) const FIELDS: &[&str] = &["address", "tls", "trusted_hops", "cors", "proxy_protocol"];
pub(super) const CORS_FIELDS: &[&str] = &["origins"];

/// One address, and how it is spoken there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<ServerTls>,
    /// How many proxies in front write `x-forwarded-for`.
    pub(crate) trusted_hops: u32,
    /// Whose pages may call: origins, or [`LOCALHOST`].
    pub(crate) origins: Vec<String>,
    /// Whether connections begin with the PROXY protocol.
    pub(crate) proxy_protocol: bool,
}

/// All listeners; `operations` must not be where one of them is.
pub(super) fn listeners(spot: &Spot<'_>) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for item in spot.nonempty_list(MOST_LISTENERS).into_iter().flatten() {
        let Some(fields) = item.fields(FIELDS) else {
            continue;
        };
        let address = fields.need("address").and_then(|spot| {
            let address = address(&spot)?;
            let earlier = listeners.iter().map(|listener| listener.address);
            tell_taken(&spot, address, earlier);
            Some(address)
        });
        let listener = Listener {
            address: address.unwrap_or(ADMIN),
            tls: fields.get("tls").and_then(|spot| tls::server(&spot)),
            trusted_hops: fields
                .get("trusted_hops")
                .and_then(|spot| spot.whole_u32(0..=MOST_HOPS))
                .unwrap_or(0),
            origins: fields
                .get("cors")
                .map(|spot| origins(&spot))
                .unwrap_or_default(),
            proxy_protocol: fields
                .get("proxy_protocol")
                .and_then(|spot| spot.flag())
                .unwrap_or(false),
        };
        if address.is_some() {
            listeners.push(listener);
        }
    }
    listeners
}

/// Where metrics and readiness are served.
pub(super) fn operations(spot: &Spot<'_>, listeners: &[Listener]) -> Option<SocketAddr> {
    let address = address(spot)?;
    tell_taken(
        spot,
        address,
        listeners.iter().map(|listener| listener.address),
    );
    Some(address)
}

fn address(spot: &Spot<'_>) -> Option<SocketAddr> {
    const EXPECTED: &str =
        "an IP address with a port, such as \"0.0.0.0:8080\", \"127.0.0.1:8080\" or \"[::]:8080\"";
    let text = spot.text_such_as(EXPECTED)?;
    let address = text.parse().ok();
    let address = address.filter(|address: &SocketAddr| address.port() > 0);
    if address.is_none() {
        spot.fault(format!("expected {EXPECTED}, found {text:?}"));
    }
    address
}

/// Whether one who listens at `one` gets connections to `other`, or the other way round.
pub(crate) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (ours, theirs) = (one.ip(), other.ip());
    one.port() == other.port()
        && ours.is_ipv4() == theirs.is_ipv4()
        && (ours == theirs || ours.is_unspecified() || theirs.is_unspecified())
}

/// Two that listen in one place would share the connections at random.
fn tell_taken(spot: &Spot<'_>, address: SocketAddr, earlier: impl Iterator<Item = SocketAddr>) {
    let overlaps = |other: &SocketAddr| overlap(address, *other);
    if overlaps(&ADMIN) {
        spot.fault(format!(
            "Envoy's admin interface is at {ADMIN}; take another port"
        ));
    } else if let Some(other) = { earlier }.find(overlaps) {
        spot.fault(format!("takes connections to {other}, which is listed too"));
    }
}

fn origins(spot: &Spot<'_>) -> Vec<String> {
    let mut origins: Vec<String> = Vec::new();
    let Some(fields) = spot.fields(CORS_FIELDS) else {
        return origins;
    };
    let Some(list) = fields.need("origins") else {
        return origins;
    };
    for item in list.nonempty_list(MOST_ORIGINS).into_iter().flatten() {
        let Some(origin) = item.checked(origin) else {
            continue;
        };
        if origins.iter().any(|earlier| earlier == origin) {
            item.fault("this origin is already in the list");
        }
        origins.push(origin.to_owned());
    }
    origins
}

/// An origin as browsers send it; they leave out the usual port.
fn origin(text: &str) -> Result<(), String> {
    if text == LOCALHOST {
        return Ok(());
    }
    let refused = || {
        format!(
            "{text:?} is no origin as browsers send it: a scheme and a host in lower case, with a port if it is not the \
             usual one, such as \"https://app.example.com\"; or \"{LOCALHOST}\" for pages from this machine"
        )
    };
    let (scheme, host) = text.split_once("://").ok_or_else(refused)?;
    let in_scheme = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.')
    };
    let usual = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => ":",
    };
    if scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(in_scheme)
        && !host.bytes().any(|byte| byte.is_ascii_uppercase())
        && !host.ends_with(usual)
        && check_host(host).is_ok()
    {
        Ok(())
    } else {
        Err(refused())
    }
}
