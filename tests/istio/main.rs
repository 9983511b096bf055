//! The manifests of `istio/`: are they valid, do they say what the reference configuration says, and does a real Envoy
//! that gets what Istio would make of them do what Waykeeper promises.

mod agreement;
mod generated;
mod manifests;
mod merge;
mod patch;
mod schema;
