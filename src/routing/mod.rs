//! Where: the route of a request, and the agent that answers it.

mod agent;
mod path;
mod steer;
mod table;

pub use agent::{NoAgent, choose_agent};
pub use path::{BadPath, Path};
pub use steer::steering_headers;
pub use table::{NoMatch, RouteTable};
