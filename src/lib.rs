//! Waykeeper: a proxy-wasm filter that makes Envoy an API gateway for AI agents.
//!
//! Uses run one way: the crate `waykeeper-module` → [`lifecycle`] → the stages ([`identity`], [`limits`], [`routing`]) → [`config`],
//! [`state`], [`reply`] → [`host`], [`text`]. No stage names another. Only that crate, which is
//! built for Wasm alone, knows that there is a Wasm host; everything here builds, tests and is measured natively.
//!
//! To read it, begin with `lifecycle/walk.rs`: it is the walk of one request through the stages. To find one rule, look
//! here for its module; the head of that module names the file.
//!
//! | module | what it answers |
//! |---|---|
//! | [`lifecycle`] | what happens to a request, and in what order; by which address it is counted; when an upgrade, a body or a silent stream is refused; what waits, until when, and how much may; what an agent or the access log is told, and what is added to the answer; metrics and the log |
//! | [`identity`] | what a key is; where it is looked for, and how it is taken out; which WebSocket subprotocol the caller is told; what the validator is asked, and what its answers mean |
//! | [`limits`] | which limits a request counts against; when one is full; what is given back of what was taken; what the caller is told of them |
//! | [`routing`] | which paths are refused; which route takes a request; which agent is chosen; what keeps requests at one of its hosts, and how sessions are sealed; which headers make Envoy's router retry or give up |
//! | [`reply`] | status, code and text of each refusal; headers of the answer; how a `Retry-After` is read |
//! | [`config`] | each field of the configuration: what it means, its default and its bounds; how long keys are remembered; how faults are told |
//! | [`state`] | how records lie in shared memory, how it is changed by many workers, and what goes when it is full |
//! | [`host`] | what is asked of Envoy; callouts by HTTP and gRPC; time; headers as bytes; how often one line is logged |
//! | [`calendar`] | when a month begins |
//! | `sort` | how short lists are sorted |
//! | [`text`] | what names, tokens, escapes and reserved headers are, wherever they stand |

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

/// The version of all that is here.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The custom section of the finished module that holds its [`VERSION`].
pub const VERSION_SECTION: &str = "waykeeper.version";

pub mod calendar;
pub mod config;
pub mod host;
pub mod identity;
pub mod lifecycle;
pub mod limits;
pub mod reply;
pub mod routing;
mod sort;
pub mod state;
pub mod text;
