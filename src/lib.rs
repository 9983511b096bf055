//! Waykeeper.
