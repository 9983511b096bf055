//! Local responses: why a request is refused, and the answer that says so in the shapes that clients parse.

mod problem;
mod refusal;
pub mod retry_after;

pub use problem::{ReplyTo, local_reply};
pub use refusal::Refusal;
