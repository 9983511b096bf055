//! Where: the route of a request, and the agent that answers it.
//!
//! | file | what it says |
//! |---|---|
//! | `path.rs` | which paths are refused, and how the others are read and rewritten |
//! | `table.rs` | which route takes a path and a method |
//! | `agent.rs` | which agent answers: the one named in `x-agent`, else one drawn by weight |
//! | `location.rs` | where an agent's redirect leads, as the caller writes it |
//! | `sticky.rs` | what keeps requests at one host of the agent: the hash that Envoy goes by |
//! | `session.rs` | sessions that agents name, and how they are sealed |
//! | `steer.rs` | the headers by which Envoy's router retries, times out and tells kinds of streams apart |

mod agent;
mod location;
mod path;
mod session;
mod steer;
mod sticky;
mod table;

pub use agent::{NoAgent, choose_agent};
pub use location::location_for_caller;
pub use path::{BadPath, Path};
pub use session::{NONCE_BYTES, Owner, Sessions, is_envelope};
pub use steer::{CLUSTER, KIND, PROOF, steering_headers};
pub use sticky::{HASH, SESSION, hash_of_value, sticky_hash};
pub use table::{NoMatch, RouteTable};
