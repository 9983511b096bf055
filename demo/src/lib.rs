//! The services that stand behind Waykeeper in the demo and in its tests: an auth service that knows keys, and agents
//! that answer as agents in the field do. Each starts in-process on any address and misbehaves on request, so a test
//! can show what the gateway does about it.

pub mod agent;
pub mod auth;
pub mod gateway;
pub mod headers;
mod reply;
pub mod serving;
pub mod stack;
mod text;
pub mod up;
