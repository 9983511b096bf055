//! Runs [`waykeeper_fuzz::bodies`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waykeeper_fuzz::bodies::check(data));
