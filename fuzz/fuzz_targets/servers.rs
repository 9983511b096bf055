//! Runs [`waykeeper_fuzz::servers`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waykeeper_fuzz::servers::check(data));
