//! The floor: the least that a proxy-wasm module must do to do a gateway's work on a request. One hostcall for all
//! headers, parsed in place; the time; one shared-data read and one compare-and-swap, which count the client's
//! requests by GCRA; three headers set; one counter. No crate, no allocator, one stream callback exported.
//!
//! It is no gateway: a key is good if it begins with `key-`, clients share 1,024 counters, and nobody is told of limits.
//! It really counts and really refuses all the same, so that what is measured is work and not its omission.
//!
//! Built for wasm32 only; elsewhere the crate is empty.

#![cfg_attr(target_arch = "wasm32", no_std)]

#[cfg(target_arch = "wasm32")]
mod floor;
