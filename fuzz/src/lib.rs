//! What Waykeeper is fuzzed for: one module for each target, with the properties that no input may break. libFuzzer runs them
//! (`fuzz_targets/`), and so does a test with the corpus that is kept, without a fuzzer.

pub mod answers;
pub mod bodies;
pub mod configuration;
pub mod counters;
pub mod gateway;
pub mod headers;
pub mod in_flight;
pub mod keys;
pub mod paths;
pub mod servers;

mod host;
mod input;
mod journal;
mod json;
mod model;
mod receipts;
mod spelling;
mod windows;
mod worker;
