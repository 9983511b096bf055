//! The manifests of `istio/`: are they valid, do they say what the reference configuration says, and does a real Envoy
//! that gets what Istio would make of them do what Waykeeper promises.

#[allow(
    dead_code,
    unused_imports,
    reason = "made for the end-to-end tests, of which these need a part"
)]
#[path = "../e2e/harness/mod.rs"]
mod harness;

mod agreement;
mod behind_gateway;
mod clusters;
mod gateway;
mod generated;
mod injection;
mod kustomize;
mod manifests;
mod merge;
mod patch;
mod render;
mod resources;
mod schema;
mod sidecar;
mod valid;
mod wasm_plugin;
