//! Waykeeper: a proxy-wasm filter that makes Envoy an API gateway for AI agents.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::unreachable
    )
)]

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
