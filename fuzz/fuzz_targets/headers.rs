//! Runs [`waykeeper_fuzz::headers`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waykeeper_fuzz::headers::check(data));
