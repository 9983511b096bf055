//! The templates of `cli/templates/`, and how they are filled in: what is put into YAML is written as JSON writes it, quoted.

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};

macro_rules! templates {
    ($($name:literal,)*) => {
        [$(($name, include_str!(concat!("../../templates/", $name)))),*]
    };
}

const TEMPLATES: &[(&str, &str)] = &templates![
    "agent.lua",
    "agent.yaml",
    "attempts.yaml",
    "builtin.yaml",
    "callers.yaml",
    "composite.yaml",
    "composite_clusters.yaml",
    "composite_route.yaml",
    "cors.yaml",
    "credential.yaml",
    "endpoints.yaml",
    "envoy.yaml",
    "further.lua",
    "further_clusters.yaml",
    "further_route.yaml",
    "health.yaml",
    "health_check.yaml",
    "http.yaml",
    "istio/bootstrap.yaml",
    "istio/envoy-filter.yaml",
    "istio/gateway/credentials.yaml",
    "istio/gateway/deployment.yaml",
    "istio/gateway/destinations.yaml",
    "istio/gateway/gateway.yaml",
    "istio/gateway/horizontal-pod-autoscaler.yaml",
    "istio/gateway/kustomization.yaml",
    "istio/gateway/namespace.yaml",
    "istio/gateway/parameters.yaml",
    "istio/gateway/pod-disruption-budget.yaml",
    "istio/gateway/service.yaml",
    "istio/http-route.yaml",
    "istio/kustomization.yaml",
    "istio/patches.yaml",
    "istio/pod.yaml",
    "istio/policy.yaml",
    "istio/route.yaml",
    "istio/selector.yaml",
    "istio/virtual-service.yaml",
    "istio/waykeeper.yaml",
    "limiter.yaml",
    "listener.yaml",
    "local_replies.yaml",
    "manager.yaml",
    "mirror_route.yaml",
    "name.yaml",
    "operations.yaml",
    "picker.yaml",
    "picker_filter.yaml",
    "picker_route.yaml",
    "place.yaml",
    "retry.yaml",
    "shower.yaml",
    "tls.yaml",
    "tls_context.yaml",
    "upstream_filters.yaml",
    "validator.yaml",
    "waykeeper.yaml",
];

/// All of them.
pub(super) fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|name| match name.ends_with(".lua") {
        // What goes into it needs no escapes.
        true => AutoEscape::None,
        false => AutoEscape::Json,
    });
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.keep_trailing_newline(true).build()?);
    for (name, text) in TEMPLATES {
        environment.add_template(name, text)?;
    }
    Ok(environment)
}
