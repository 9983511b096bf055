//! What somebody should know of the manifests who reads nothing else.

use waykeeper::config::policy::{Limit, Span};

use super::destinations::Destinations;
use crate::gateway::Checked;

pub(super) fn notes(checked: &Checked, destinations: &Destinations) -> Vec<String> {
    let mut notes = Vec::new();
    if checked.gateway.operations.is_some() {
        notes.push(
            "operations: under Istio each pod serves its metrics on port 15020 and its readiness on 15021".to_owned(),
        );
    }
    if limits(checked).any(|limit| limit.span == Span::Process) {
        notes.push(
            "limits: each pod counts for itself, and there are 2 to 20 of them; with `scope: fleet` all have one count".to_owned(),
        );
    }
    for destination in &destinations.all {
        let what = match &destination.outside {
            None => "a Service of the cluster's",
            Some(outside) if outside.endpoints.is_empty() => "outside, by a ServiceEntry",
            Some(_) => "endpoints of its own, by a ServiceEntry: without Istio's mutual TLS",
        };
        notes.push(format!("{}: {what}", destination.cluster()));
    }
    notes
}

fn limits(checked: &Checked) -> impl Iterator<Item = &Limit> {
    let policy = &checked.policy;
    let plans = policy.plans.iter().flat_map(|plan| &plan.limits);
    let routes = policy.routes.iter().flat_map(|route| &route.limits);
    let own = policy.clients.keys.iter();
    let own = own.filter_map(|key| key.client.limits.as_ref());
    let own = own.flat_map(|own| &own.limits);
    policy.limits.iter().chain(plans).chain(routes).chain(own)
}
