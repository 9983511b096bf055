//! Local replies: why a request is refused, and the reply that says so in the shapes that clients parse.
//!
//! | file | what it says |
//! |---|---|
//! | `refusal.rs` | every reason to refuse, with its code, statuses and words |
//! | `form.rs` | whether a caller reads HTTP, gRPC or gRPC-Web |
//! | `problem.rs` | the body and the headers of a reply, `Retry-After` included |
//! | `rpc.rs` | the same body as JSON-RPC has it, for callers that speak MCP |
//! | `hosts.rs` | the codes of what the host answers itself |
//! | `retry_after.rs` | how an agent's `Retry-After` is read, and which waits are too long to be slept through |

mod form;
mod hosts;
mod problem;
mod refusal;
pub mod retry_after;
mod rpc;

pub use form::Form;
pub use hosts::code_of;
pub use problem::{ReplyTo, local_reply};
pub use refusal::{FullLimit, Refusal};
pub use rpc::{RpcFault, RpcIds, problem_as_answer};
