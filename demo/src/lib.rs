//! Sample services.
