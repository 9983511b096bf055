//! Waykeeper: a proxy-wasm filter that makes Envoy an API gateway for AI agents.

pub mod config;
#[cfg(target_arch = "wasm32")]
mod filter;
pub mod host;
pub mod identity;
pub mod lifecycle;
pub mod limits;
pub mod reply;
pub mod routing;
pub mod state;
