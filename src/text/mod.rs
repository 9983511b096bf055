//! Rules of spelling that more than one module goes by, each written once.
//!
//! | file | what it says |
//! |---|---|
//! | `escapes.rs` | what `%41` stands for, which escapes no path may hold, and when two spellings of a path are the same |
//! | `hex.rs` | bytes as hex digits |
//! | `paths.rs` | where a path's query begins, its segments, and a segment without its parameters |

pub mod escapes;
pub mod hex;
pub mod paths;
