//! Runs [`waykeeper_fuzz::in_flight`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waykeeper_fuzz::in_flight::check(data));
