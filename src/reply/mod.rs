//! Local responses: why a request is refused, and the answer that says so in the shapes that clients parse.

mod problem;
mod refusal;
pub mod retry_after;

pub use problem::{Asked, answer};
pub use refusal::Refusal;
