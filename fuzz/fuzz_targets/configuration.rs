//! Runs [`waykeeper_fuzz::configuration`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waykeeper_fuzz::configuration::check(data));
