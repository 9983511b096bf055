//! Waykeeper: a proxy-wasm filter that makes Envoy an API gateway for AI agents.

pub mod config;
