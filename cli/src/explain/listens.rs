//! Whether anybody listens where a request is sent.

use std::net::{IpAddr, SocketAddr};

use super::request::Request;
use crate::gateway::{Gateway, Listener};

/// What is to be known of the place that a request's url names. `None`: a listener is there, or something in front may be.
pub(super) fn note(request: &Request, gateway: &Gateway) -> Option<String> {
    if !request.has_url {
        return None;
    }
    let (host, port) = taken_apart(&request.authority);
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_local = host.eq_ignore_ascii_case("localhost");
    // What stands in front of a gateway has a name, and mostly the usual port.
    if port.is_none() && address.is_none() && !is_local {
        return None;
    }
    let port = port.unwrap_or(if request.secure { 443 } else { 80 });
    let takes = |at: SocketAddr| {
        let takes_address = match address {
            Some(address) if at.ip().is_unspecified() => address.is_ipv4() == at.is_ipv4(),
            Some(address) => address == at.ip(),
            None => !is_local || at.ip().is_unspecified() || at.ip().is_loopback(),
        };
        at.port() == port && takes_address
    };
    let listeners = gateway.listeners.iter();
    match listeners.clone().find(|listener| takes(listener.address)) {
        Some(Listener { tls: Some(_), .. }) if !request.secure => {
            Some("this listener speaks TLS; write https:// to reach it".to_owned())
        }
        Some(Listener { tls: None, .. }) if request.secure => {
            Some("this listener speaks no TLS; write http:// to reach it".to_owned())
        }
        Some(_) => None,
        None if gateway.operations.is_some_and(takes) => Some(
            "no listener is there, but operations, where GET /stats/prometheus and GET /ready are answered, and nothing else; this is what a listener would do"
                .to_owned(),
        ),
        None => {
            let all: Vec<String> = listeners.map(|it| it.address.to_string()).collect();
            Some(format!(
                "no listener is there, but at {}; this holds if something in front leads from there to one",
                all.join(", ")
            ))
        }
    }
}

/// Host and port of what a url names.
fn taken_apart(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}
