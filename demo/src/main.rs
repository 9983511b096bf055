//! Sample services.
fn main() {}
