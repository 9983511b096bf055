//! Where: the route of a request, and the agent that answers it.
//!
//! | file | what it says |
//! |---|---|
//! | `path.rs` | which paths are refused, and how the others are read and rewritten |
//! | `table.rs` | which route takes a path and a method |
//! | `rules.rs` | which of a route's rules takes a request; which of its agents serve the model that it asks for |
//! | `head.rs`, `content.rs`, `model.rs` | what is known of a request before its body; what its body says while it arrives; the model that its path names |
//! | `agent.rs` | which agent answers: the one named in `x-agent`, else one drawn by weight |
//! | `spread.rs` | which agent answers requests that have something in common: by weight too, and always the same |
//! | `canary.rs` | which requests try a route's canary |
//! | `fallback.rs` | at which agents a request is tried when the one that was chosen does not answer |
//! | `location.rs` | where an agent's redirect leads, as the caller writes it |
//! | `sticky.rs` | what keeps requests at one host of the agent: the hash that Envoy goes by |
//! | `session.rs` | sessions that agents name, and how they are sealed |
//! | `steer.rs` | the headers by which Envoy's router retries, times out and tells kinds of streams apart |

mod agent;
mod canary;
mod content;
mod fallback;
mod head;
mod location;
mod model;
mod path;
mod rules;
mod session;
mod spread;
mod steer;
mod sticky;
mod table;

pub use agent::{NoAgent, choose_agent, narrowed};
pub use canary::{Said, said, tries};
pub use content::{BadBody, Content, Known, Wanted};
pub use fallback::{Next, in_order};
pub use head::Head;
pub use location::location_for_caller;
pub use model::{ModelInPath, model_in_path, with_model};
pub use path::{BadPath, Path};
pub use rules::{Decision, Judged, Rules, sent_as, stands_for};
pub use session::{NONCE_BYTES, Owner, Sessions, is_envelope};
pub use spread::is_within;
pub use steer::{CLUSTER, FURTHER, KIND, MIRROR, PROOF, steering_further, steering_headers};
pub use sticky::{HASH, SESSION, hash_of_value, sticky_value};
pub use table::{NoMatch, RouteTable};
