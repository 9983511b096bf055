//! Plain memory.
