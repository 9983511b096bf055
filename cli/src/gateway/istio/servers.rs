//! Listeners as servers of a Gateway.

use std::net::IpAddr;

use serde_json::{Value as Json, json};
use waykeeper::config::Segment;

use super::Told;
use crate::gateway::Listener;
use crate::gateway::tls::ServerTls;

/// Taken by Istio in each pod: its agent's and Envoy's own.
const OF_ISTIO: std::ops::RangeInclusive<u16> = 15000..=15099;

/// What callers expect at a Service.
const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// One for each listener. The first of either kind is offered at the usual port, unless another one listens there.
pub(super) fn servers(listeners: &[Listener], secrets: &[String], told: &mut Told) -> Vec<Json> {
    let taken = |port: u16| listeners.iter().any(|other| other.address.port() == port);
    let mut certificates: Vec<&ServerTls> = Vec::new();
    let mut servers: Vec<Json> = Vec::new();
    let (mut first_http, mut first_https) = (!taken(HTTP), !taken(HTTPS));
    for (index, listener) in listeners.iter().enumerate() {
        let Listener {
            address,
            tls,
            trusted_hops,
            origins,
            proxy_protocol,
        } = listener;
        let field = |name: &str| [of(index), vec![Segment::Field(name.to_owned())]].concat();
        let port = address.port();
        check_address(address.ip(), port, &field("address"), told);
        let earlier = listeners.iter().take(index);
        if { earlier }.any(|other| other.address.port() == port) {
            told.fault(
                &field("address"),
                format!("an Istio gateway takes all connections to port {port}, and an earlier listener has it"),
            );
        }
        if let Some(first) = listeners.first() {
            for (name, same) in [
                ("trusted_hops", first.trusted_hops == *trusted_hops),
                ("cors", first.origins == *origins),
                ("proxy_protocol", first.proxy_protocol == *proxy_protocol),
            ] {
                if !same {
                    told.fault(
                        &field(name),
                        "an Istio gateway has one for all listeners; write the same for each, or two gateways",
                    );
                }
            }
        }
        let secret = tls.as_ref().map(|tls| {
            let place = certificates.iter().position(|earlier| *earlier == tls);
            let place = place.unwrap_or(certificates.len());
            if place == certificates.len() {
                certificates.push(tls);
            }
            secrets.get(place)
        });
        if secret == Some(None) {
            told.fault(
                &field("tls"),
                "an Istio gateway reads certificates from Secrets; make one of these files, in the gateway's namespace, and \
                 name it by --tls-secret",
            );
        }
        let first = if tls.is_some() {
            &mut first_https
        } else {
            &mut first_http
        };
        let usual = if tls.is_some() { HTTPS } else { HTTP };
        let offered = if std::mem::take(first) { usual } else { port };
        let protocol = if tls.is_some() { "https" } else { "http" };
        servers.push(json!({
            "name": if offered == usual { protocol.to_owned() } else { format!("{protocol}-{port}") },
            "protocol": protocol.to_uppercase(),
            "app_protocol": protocol,
            "port": offered,
            "target": port,
            "secret": secret.flatten(),
            "asks_callers": tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()),
        }));
    }
    if secrets.len() > certificates.len() {
        told.fault(
            &[Segment::Field("listen".to_owned())],
            format!(
                "has {} certificates, and --tls-secret names {}",
                certificates.len(),
                secrets.len()
            ),
        );
    }
    servers
}

fn of(index: usize) -> Vec<Segment> {
    vec![Segment::Field("listen".to_owned()), Segment::Item(index)]
}

fn check_address(address: IpAddr, port: u16, place: &[Segment], told: &mut Told) {
    if !address.is_unspecified() {
        told.fault(
            place,
            format!("an Istio gateway listens on all addresses of its pods; write 0.0.0.0:{port}"),
        );
    }
    if OF_ISTIO.contains(&port) {
        told.fault(
            place,
            format!("port {port} is one of Istio's own; take another"),
        );
    }
}
