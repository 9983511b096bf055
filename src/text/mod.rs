//! Rules of spelling that more than one module goes by, each written once.
//!
//! | file | what it says |
//! |---|---|
//! | `a2a.rs` | what the methods of A2A are called |
//! | `case.rs` | which names are the same to readers who ignore case |
//! | `escapes.rs` | what `%41` stands for, which escapes no path may hold, and when two spellings of a path are the same |
//! | `events.rs` | an event stream on its way, event by event
//! | `headers.rs` | which headers belong to the gateway, when two names of headers are the same, and what a token is |
//! | `hex.rs` | bytes as hex digits |
//! | `json/` | how members of a JSON text are found while it arrives |
//! | `multipart/` | how fields of a form (`multipart/form-data`) are found while it arrives |
//! | `names.rs` | what may name a client, plan, team, role, agent or limit |
//! | `paths.rs` | where a path's query begins, its segments, and a segment without its parameters |
//! | `pattern.rs` | which words `gpt-4*` stands for |

pub mod a2a;
pub(crate) mod case;
pub mod escapes;
pub mod events;
pub mod headers;
pub mod hex;
pub mod json;
pub mod multipart;
pub mod names;
pub mod paths;
pub mod pattern;
