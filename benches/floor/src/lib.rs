//! The floor: the least that a proxy-wasm module must do to do a gateway's work on a request. No crate, no allocator. Two
//! forms of it:
//!
//! - The *floor* has one stream callback: one hostcall for all headers, parsed in place; the time; one shared-data read and
//!   one compare-and-swap, which count the client's requests by GCRA; three headers set; one counter.
//! - The *equal floor* (feature `equal`) does besides what Waykeeper's contract asks of each request: see `equal`.
//!
//! It is no gateway: a key is good if it begins with `key-`, clients share 1,024 counters, and there is one route. It really
//! counts and really refuses all the same, so that what is measured is work and not its omission.
//!
//! Built for wasm32 only; elsewhere the crate is empty.

#![cfg_attr(target_arch = "wasm32", no_std)]

#[cfg(all(target_arch = "wasm32", feature = "equal"))]
mod equal;
#[cfg(all(target_arch = "wasm32", not(feature = "equal")))]
mod floor;
#[cfg(target_arch = "wasm32")]
mod host;
#[cfg(all(target_arch = "wasm32", feature = "equal"))]
mod text;
#[cfg(target_arch = "wasm32")]
mod work;

#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
