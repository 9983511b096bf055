//! Runs [`waykeeper_fuzz::gateway`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waykeeper_fuzz::gateway::check(data));
