//! Runs [`waykeeper_fuzz::answers`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waykeeper_fuzz::answers::check(data));
