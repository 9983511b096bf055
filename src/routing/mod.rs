//! Where: the route of a request, and the agent that answers it.
//!
//! | file | what it says |
//! |---|---|
//! | `path.rs` | which paths are refused, and how the others are read and rewritten |
//! | `table.rs` | which route takes a path and a method |
//! | `rules.rs` | which of a route's rules takes a request; which of its agents serve the model that it asks for |
//! | `head.rs`, `content.rs`, `model.rs` | what is known of a request before its body; what its body says while it arrives; the model that its path names |
//! | `mcp.rs` | what messages of JSON-RPC call, and whether MCP's headers agree |
//! | `a2a.rs` | what requests of A2A ask for, by whichever name, and in which version |
//! | `card.rs` | where an agent's card tells callers that it is |
//! | `task.rs` | the tasks of A2A, in paths and in answers while they pass |
//! | `agent.rs` | which agent answers: the one named in `x-agent`, else one drawn by weight |
//! | `prefer.rs` | which of several is drawn: of two the less loaded, or first the cheapest or the fastest |
//! | `report.rs` | what an agent reports of its load |
//! | `rest.rs` | the same where some agents rest |
//! | `spread.rs` | which agent answers requests that have something in common: by weight too, and always the same |
//! | `canary.rs` | which requests try a route's canary |
//! | `catalogue.rs` | the models that a caller may ask for |
//! | `fallback.rs` | at which agents a request is tried when the one that was chosen does not answer |
//! | `location.rs` | where an agent's redirect leads, as the caller writes it |
//! | `sticky.rs` | what keeps requests at one host of the agent: the hash that Envoy goes by |
//! | `look.rs` | what requests have in common that stands in their bodies |
//! | `response.rs` | the names of answers of the Responses API, in paths and in answers while they pass |
//! | `session.rs` | sessions that agents name, and how they are sealed |
//! | `servers.rs` | several servers of MCP that are one to callers: names, sessions, answers made into one |
//! | `tool_list.rs` | which tools a caller sees in an answer to MCP's `tools/list`
//! | `steer.rs` | the headers by which Envoy's router retries, times out and tells kinds of streams apart |

mod a2a;
mod agent;
mod canary;
mod card;
mod catalogue;
mod content;
mod fallback;
mod head;
mod location;
mod look;
mod mcp;
mod model;
mod path;
mod prefer;
pub mod report;
mod response;
mod rest;
mod rules;
pub mod servers;
mod session;
mod spread;
mod steer;
mod sticky;
mod table;
mod task;
mod tool_list;

pub use a2a::{Asked, Beside, Method, asks_card, speaks};
pub use agent::{NoAgent, choose_agent, narrowed};
pub use canary::{Said, said, tries};
pub use card::{CardPlace, card_for_callers};
pub use catalogue::{Asker, Catalogue};
pub use content::{BadBody, Content, Known, Wanted, is_plain_json};
pub use fallback::{Comes, Next, in_order, listed};
pub use head::Head;
pub use location::{location_for_caller, location_without_host};
pub use look::{Look, Sought};
pub use mcp::{
    BadMessage, Call, Called, Disagreement, MessageMembers, Messages, Named, SESSION_ID,
    is_without_sessions,
};
pub use model::{ModelInPath, model_in_path, with_model};
pub use path::{BadPath, Path};
pub use prefer::{by_weight, cheapest, fastest, less_loaded, weighted};
pub use response::{Answer, Names, Seen, in_path};
pub use rest::{Turn, choose_rested};
pub use rules::{Decision, Judged, Rules, sent_as, stands_for};
pub use session::{NONCE_BYTES, Owner, Sessions, envelope, is_envelope};
pub use spread::is_within;
pub use steer::{
    CLUSTER, COMPOSITE, FURTHER, KIND, MIRROR, PROOF, steering_further, steering_headers,
};
pub use sticky::{HASH, HOST, SESSION, hash_of_value, sticky_value};
pub use table::{NoMatch, RouteTable};
pub use task::{Task, context_in_path, key_of_task, task_in_path};
pub use tool_list::{Unreadable, visible_tools};
