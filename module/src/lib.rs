//! The filter as Envoy loads it: Envoy's callbacks, each of which is handed on to the gateway of its configuration, and in `envoy/` what
//! the gateway asks of Envoy.
//!
//! The entry points are our own, and so are the hostcalls. So every callout belongs to the gateway and not to the stream that happened to make it, an unknown
//! context is no panic, and a request that waits can be held with its body stopped at the sender.

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

#[cfg(target_arch = "wasm32")]
mod entry;
#[cfg(target_arch = "wasm32")]
mod envoy;
#[cfg(any(test, target_arch = "wasm32"))]
mod memory;
#[cfg(all(target_arch = "wasm32", feature = "probe"))]
mod probe;
#[cfg(target_arch = "wasm32")]
mod version;
#[cfg(target_arch = "wasm32")]
mod vm;
