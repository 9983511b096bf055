//! Where: the route of a request, and the agent that answers it.

mod agent;
mod path;
mod steer;
mod table;

pub use agent::{Chosen, choose};
pub use path::{BadPath, Path};
pub use steer::steer;
pub use table::{NoMatch, RouteTable};
