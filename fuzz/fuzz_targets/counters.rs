//! Runs [`waykeeper_fuzz::counters`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waykeeper_fuzz::counters::check(data));
