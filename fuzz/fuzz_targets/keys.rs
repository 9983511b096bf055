//! Runs [`waykeeper_fuzz::keys`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waykeeper_fuzz::keys::check(data));
