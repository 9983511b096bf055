//! What a way of installing the filter cannot carry, and what it demands.

use waykeeper::config::Policy;
use waykeeper::config::policy::{Route, Sticky};

/// A way of installing the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Target {
    /// Envoy's own configuration, or Istio's EnvoyFilter: carries everything.
    Envoy,
    /// Istio's WasmPlugin: cannot set what lets a filter look into a body before it chooses an agent.
    Wasmplugin,
}

/// Without it the routes of a WasmPlugin's VirtualService cannot tell the filter from a caller.
const NO_PROOF: &str = "proof is missing: once the plugin is gone, the VirtualService's routes would believe a caller's \
                        x-waykeeper-cluster; write a secret, and have each of them demand it in x-waykeeper-proof";

/// The routes of a VirtualService lead to one cluster each.
const NO_FALLBACK: &str = "needs routes of Envoy's own that choose a cluster for each attempt, which a VirtualService does not have";

/// Faults of a policy that this target cannot carry, as lines without a place in the file.
pub(crate) fn faults(target: Target, policy: &Policy) -> Vec<String> {
    match target {
        Target::Envoy => Vec::new(),
        Target::Wasmplugin => {
            let bodies = needs_held_body(policy)
                .into_iter()
                .map(|what| format!("{what} needs to see the body before the agent does, which a WasmPlugin cannot; use an EnvoyFilter"));
            let unproven = policy.proof.is_none().then(|| NO_PROOF.to_owned());
            let falls_back = |route: &&Route| route.all_fallbacks().next().is_some();
            let further = policy.routes.iter().filter(falls_back);
            let further = further
                .map(|route| format!("fallback of the route {:?} {NO_FALLBACK}", route.name));
            bodies.chain(further).chain(unproven).collect()
        }
    }
}

/// What in a policy needs to see a request's body before an agent does. Every other field below is decided by headers, or
/// (`max_body`) by counting what passes. The fields are named one by one, so that one which is added cannot be forgotten
/// here.
fn needs_held_body(policy: &Policy) -> Vec<String> {
    let Policy {
        clients: _,
        plans: _,
        sessions: _,
        fleet: _,
        in_flight: _,
        limits: _,
        agents,
        model_aliases: _,
        routes,
        tell: _,
        limits_endpoint: _,
        models_endpoint: _,
        agents_see: _,
        address: _,
        proof: _,
        tables: _,
    } = policy;
    let mut needs = Vec::new();
    for route in routes {
        let Route {
            name,
            prefix: _,
            methods: _,
            rules,
            agents: _,
            sticky,
            prefer: _,
            mcp,
            a2a,
            mirror: _,
            canary: _,
            max_scan: _,
            roles: _,
            auth_required: _,
            protocol: _,
            streams: _,
            timeout: _,
            first_byte_timeout: _,
            idle_timeout: _,
            retry: _,
            fallback: _,
            prefix_rewrite: _,
            edits,
            max_body: _,
            collect_body,
            body_timeout: _,
            encoded_slashes: _,
            limits: _,
        } = route;
        if edits.as_ref().is_some_and(|edits| !edits.body.is_empty()) {
            needs.push(format!("request.body of the route {name:?}"));
        } else if *collect_body {
            needs.push(format!("collect_body of the route {name:?}"));
        }
        if rules.iter().any(|rule| rule.conditions.ask_body()) {
            needs.push(format!("a rule of the route {name:?}"));
        }
        if mcp.is_some() {
            needs.push(format!("mcp of the route {name:?}"));
        }
        if a2a.is_some() {
            needs.push(format!("a2a of the route {name:?}"));
        }
        let served = || route.all_agents().filter_map(|id| agents.get(id.0));
        let asks = |sticky: &Option<Sticky>| sticky.as_ref().is_some_and(Sticky::asks_body);
        if asks(sticky) {
            needs.push(format!("sticky of the route {name:?}"));
        }
        if let Some(agent) = served().find(|agent| asks(&agent.sticky)) {
            let agent = &agent.name;
            needs.push(format!(
                "sticky of the agent {agent:?} of the route {name:?}"
            ));
        }
        if served().any(|agent| !agent.models.is_empty()) {
            needs.push(format!("the models of agents of the route {name:?}"));
        }
    }
    needs
}
