//! Waykeeper: a proxy-wasm filter that makes Envoy an API gateway for AI agents.
//!
//! Uses run one way: `filter` → [`lifecycle`] → the stages ([`identity`], [`limits`], [`routing`]) → [`config`],
//! [`state`], [`reply`] → [`host`], [`text`]. No stage names another. Only `filter` and `host::envoy`, which are built for Wasm
//! alone, know that there is a Wasm host; everything else builds, tests and is measured natively.
//!
//! To read it, begin with `lifecycle/walk.rs`: it is the walk of one request through the stages.

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
pub mod text;
