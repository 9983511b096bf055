//! How agents of the field are asked and answer: which path is which question, what stands in a question, and what an answer
//! looks like, whole and as events. The words of an answer are an echo of its question. Nothing here knows of HTTP beyond
//! methods and paths: the demo's agents and the tool's builtin one serve this, each in its own way.

mod chat;
mod embeddings;
mod endpoint;
mod models;
mod shape;
#[cfg(test)]
mod tests;

pub use chat::{Chat, PADDING, milliseconds};
pub use endpoint::{Dialect, Endpoint, Plain};
pub use shape::{Event, Position, Shape};

/// The largest question that is worth holding in memory.
pub const MAX_QUESTION: usize = 16 << 20;

/// A stream whose pace nobody tells has a word each so often.
pub const PACE: std::time::Duration = std::time::Duration::from_millis(20);
