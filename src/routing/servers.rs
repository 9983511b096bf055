//! Several servers of MCP that are one to their callers: how what they have is named, what callers are told of their sessions, and
//! how their answers are made into one.
//!
//! | file | what it says |
//! |---|---|
//! | `names.rs` | how tools, prompts and resources are named, and how a name leads to its server |
//! | `sessions.rs` | the servers' own sessions, in the one that the caller knows |
//! | `lists.rs` | the items of a list, by their names for callers; which part of a list comes next |
//! | `about.rs` | what the servers say of themselves |
//! | `message.rs` | the one message of an answer, however it comes |

mod about;
mod lists;
mod message;
mod names;
mod sessions;

pub use about::About;
pub use lists::{Cursors, List, Page};
pub use message::{Failed, message_of};
pub use names::{Kind, apart, in_header, joined};
pub use sessions::{OfServer, read_session, write_session};
