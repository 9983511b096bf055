//! Runs [`waykeeper_fuzz::paths`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waykeeper_fuzz::paths::check(data));
