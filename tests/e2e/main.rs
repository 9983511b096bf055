//! The whole of it, end to end: each test has a world of its own, made of a real Envoy with the filter in it, the auth
//! service and the agents, all on free ports. One module per topic; `harness` is what they share.

mod harness;

/// What Istio makes of the manifests: the same tests run on that, where `harness::rendering` is told so.
macro_rules! of_istio {
    ($($name:ident $path:literal)*) => {$(
        #[allow(dead_code, reason = "made for the tests of istio/, of which these need a part")]
        #[path = $path]
        mod $name;
    )*};
}
of_istio! {
    clusters "../istio/clusters.rs"
    generated "../istio/generated.rs"
    manifests "../istio/manifests.rs"
    merge "../istio/merge.rs"
    patch "../istio/patch.rs"
    render "../istio/render.rs"
    resources "../istio/resources.rs"
}

mod a2a;
mod anthropic;
mod bodies;
mod browser;
mod canary;
mod clients;
mod configuration;
mod cors;
mod crowds;
mod edits;
mod fleet;
mod gateway;
mod grpc_callouts;
mod grpc_web;
mod holding;
mod identity;
mod in_flight;
mod inference;
mod keys;
mod limits;
mod limits_endpoint;
mod lists;
mod load;
mod log;
mod may_stream;
mod mcp;
mod memory;
mod metrics;
mod models;
mod openai;
mod outcomes;
mod paths;
mod probes;
mod protocols;
mod refusals;
mod reload;
mod resting;
mod retries;
mod routing;
mod rules;
mod spoofing;
mod spread;
mod statuses;
mod streaming;
mod switches;
mod tool_lists;
mod traps;
mod validator;
mod waiting;
mod websocket;
mod websocket_http2;
