//! The fields of the whole document, each handed to the reader of its place.

use std::collections::HashSet;

use waykeeper::config::{self, Spot};

use super::agents::Known;
use super::listeners::Listener;
use super::{
    Gateway, agents, fallback, limiter, listeners, patches, render, routes, servers, sessions,
    validator,
};
use crate::yaml::Value;

/// The fields of the document beside the filter's.
pub(super) const OF_ENVOY: [&str; 3] = ["listen", "operations", "envoy"];

pub(super) fn gateway(document: &Value, spot: &Spot<'_>) -> Gateway {
    let known = [config::FIELDS, &OF_ENVOY].concat();
    let fields = spot.fields(&known);
    let field = |name: &str| fields.as_ref().and_then(|fields| fields.get(name));
    let listeners = match &fields {
        Some(fields) => fields.need("listen"),
        None => None,
    };
    let listeners = listeners.map_or_else(Vec::new, |spot| listeners::listeners(&spot));
    let operations = field("operations").and_then(|spot| listeners::operations(&spot, &listeners));
    if let Some(address) = field("address") {
        tell_of_hops(document, &address, &listeners);
    }
    let known = Known {
        by_websocket: by_websocket(document),
        key_headers: key_headers(document),
    };
    let agents = field("agents").map_or_else(Vec::new, |spot| agents::agents(&spot, &known));
    if let Some(routes) = field("routes") {
        routes::check_mirrors(&routes, &agents);
        fallback::check(&routes, &agents);
        servers::check(&routes, &agents);
        routes::check_hosts(&routes, &agents);
    }
    let known = [config::VALIDATOR_FIELDS, &validator::FIELDS].concat();
    // What is no mapping the filter's reader tells.
    let clients = field("clients").filter(Spot::is_map);
    let clients = clients.as_ref().and_then(|spot| spot.named(usize::MAX));
    let validator = clients
        .as_ref()
        .and_then(|fields| fields.get("validator"))
        .and_then(|spot| validator::validator(&spot, &known));
    let known = [config::LIMITER_FIELDS, &limiter::FIELDS].concat();
    let fleet = field("fleet").filter(Spot::is_map);
    let fleet = fleet.as_ref().and_then(|spot| spot.named(usize::MAX));
    let limiter = { fleet.as_ref() }
        .and_then(|fields| fields.get("limiter"))
        .and_then(|spot| limiter::limiter(&spot, &known));
    let envoy = field("envoy");
    let patches = envoy.map_or_else(Vec::new, |spot| {
        let only = (listeners.len() == 1).then_some(render::FIRST);
        patches::patches(&spot, document.get("envoy"), only)
    });
    Gateway {
        listeners,
        operations,
        validator,
        limiter,
        agents,
        session_keys: field("sessions").map_or_else(Vec::new, |spot| sessions::keys(&spot)),
        patches,
    }
}

/// One number of proxies holds for the filter, wherever a request came in.
fn tell_of_hops(document: &Value, spot: &Spot<'_>, listeners: &[Listener]) {
    let address = document.get("address");
    let field = |name| address.and_then(|address| address.get(name));
    if field("from").and_then(Value::text) != Some("x-forwarded-for") {
        return;
    }
    let written = field("trusted_hops").and_then(|value| value.node().whole());
    let first = listeners
        .first()
        .map(|listener| u64::from(listener.trusted_hops));
    let Some(hops) = written.or(first) else {
        return;
    };
    let other = |listener: &&Listener| u64::from(listener.trusted_hops) != hops;
    if let Some(listener) = listeners.iter().find(other) {
        spot.fault(format!(
            "with from: x-forwarded-for every listener has the same trusted_hops, and {} has {} in place of {hops}",
            listener.address, listener.trusted_hops
        ));
    }
}

/// The headers in which the gateway looks for its own key: they are taken out before anybody else can read them.
fn key_headers(document: &Value) -> Vec<&str> {
    let clients = document.get("clients");
    let written = clients.and_then(|clients| clients.get("key_sources"));
    match written {
        Some(sources) => {
            let headers = sources.items().iter().map(|it| it.get("header"));
            headers.flatten().filter_map(Value::text).collect()
        }
        None => config::USUAL_KEY_HEADERS.to_vec(),
    }
}

/// The agents that routes for WebSockets name, whatever else is wrong with these.
fn by_websocket(document: &Value) -> HashSet<&str> {
    let routes = document.get("routes").map_or(&[][..], Value::items);
    let of_websockets = routes.iter().filter(|route| {
        let protocol = route.get("protocol").and_then(Value::text);
        protocol == Some("websocket")
    });
    let named = of_websockets.flat_map(|route| route.get("agents").map_or(&[][..], Value::items));
    named
        .filter_map(|choice| choice.text().or_else(|| choice.get("agent")?.text()))
        .collect()
}
