//! What the templates are told of the clusters that istiod makes.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::destination::{Destination, Outside, Place};
use crate::gateway::agents::Balance;
use crate::gateway::{Http, clusters};

/// A ServiceEntry for each host that is no Service of the cluster's, with all ports that agents are at.
pub(super) fn entries(destinations: &[Destination]) -> Vec<Json> {
    let outside = |destination: &&Destination| destination.outside.is_some();
    let by_host = by_host(destinations.iter().filter(outside));
    by_host
        .iter()
        .filter_map(|of_host| entry(of_host))
        .collect()
}

fn entry(of_host: &[&Destination]) -> Option<Json> {
    let first = of_host.first()?;
    let Outside { by_name, endpoints } = first.outside.as_ref()?;
    let several = of_host.len() > 1;
    let port = |destination: &&Destination| {
        let protocol = if destination.way.http == Http::Two {
            "http2"
        } else {
            "http"
        };
        let port = destination.port;
        json!({
            "number": port,
            "name": if several { format!("{protocol}-{port}") } else { protocol.to_owned() },
            "protocol": protocol.to_uppercase(),
        })
    };
    let ports: Vec<Json> = of_host.iter().map(port).collect();
    let weighted = endpoints.len() > 1;
    let endpoint = |place: &Place| {
        json!({
            "address": place.address,
            "port": place.port,
            "weight": weighted.then_some(place.weight),
        })
    };
    Some(json!({
        "name": first.name,
        "host": first.host,
        "ports": ports,
        "resolution": if *by_name { "DNS" } else { "STATIC" },
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    }))
}

/// Those of each host, the hosts in their order.
fn by_host<'d>(destinations: impl Iterator<Item = &'d Destination>) -> Vec<Vec<&'d Destination>> {
    let mut by_host: Vec<Vec<&Destination>> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for destination in destinations {
        let place = *places.entry(&destination.host).or_insert(by_host.len());
        match by_host.get_mut(place) {
            Some(of_host) => of_host.push(destination),
            None => by_host.push(vec![destination]),
        }
    }
    by_host
}

/// A DestinationRule for each host: of one that has several ports, with a policy for each if they differ.
pub(super) fn rules(destinations: &[Destination]) -> Vec<Json> {
    let rule = |of_host: &Vec<&Destination>| {
        let (first, rest) = of_host.split_first()?;
        let alike = rest.iter().all(|other| policy(other) == policy(first));
        let each = |destination: &&Destination| json!({"port": destination.port, "policy": policy(destination)});
        Some(json!({
            "name": first.name,
            "host": first.host,
            "policy": alike.then(|| policy(first)),
            "ports": of_host.iter().map(each).collect::<Vec<_>>(),
        }))
    };
    by_host(destinations.iter())
        .iter()
        .filter_map(rule)
        .collect()
}

fn policy(destination: &Destination) -> Json {
    let way = &destination.way;
    let tls = way.tls.as_ref();
    json!({
        "balance": match way.balance {
            Balance::LeastRequest => "LEAST_REQUEST",
            Balance::RoundRobin => "ROUND_ROBIN",
            Balance::Random => "RANDOM",
            Balance::RingHash => "ring_hash",
            Balance::Maglev => "maglev",
        },
        "for_validator": way.for_validator,
        "upgrade": way.http == Http::Two && destination.outside.is_none(),
        "tls": tls.map(|tls| json!({
            "sni": tls.sni,
            "verified": tls.verified,
            "ca": tls.ca,
            "certificate": tls.identity.as_ref().map(|identity| &identity.certificate),
            "key": tls.identity.as_ref().map(|identity| &identity.key),
        })),
    })
}

/// What a DestinationRule cannot say of a cluster.
pub(super) fn changed_cluster(destination: &Destination) -> Option<Json> {
    let way = &destination.way;
    // An entry of this map replaces the one that Istio has written, so it says all.
    let options = way.http == Http::Offered || !way.filters.is_null();
    if way.health.is_none() && !options {
        return None;
    }
    Some(json!({
        "cluster": {
            "name": destination.cluster(),
            "health": way.health.as_ref().map(clusters::health),
            "http": clusters::http(way.http),
            "filters": way.filters,
            "further": false,
            "told_name": null,
            "attempts": null,
            "tls": way.tls.is_some(),
        },
        "authority": destination.authority,
        "options": options,
    }))
}
