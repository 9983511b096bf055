//! Which of several servers of MCP a request is for.

use serde::Serialize;
use waykeeper::config::Policy;
use waykeeper::config::policy::Route;
use waykeeper::host::LocalReply;

use super::walked::End;

/// What becomes of a request that all servers of a route are asked because of, where none can be.
const ASKED_OF_ALL: &str = "waykeeper_servers_unavailable";

/// One that gets the request, or is asked because of it.
#[derive(Debug, Serialize)]
pub(super) struct ServerFound {
    /// What callers call it.
    pub(super) name: String,
    pub(super) agent: String,
}

/// True if servers are asked, where this is said since nobody is asked here.
pub(super) fn asks_all(reply: &LocalReply) -> bool {
    reply.details == ASKED_OF_ALL
}

/// The servers of a route that get to know of a request: the one that it goes on to, or all.
pub(super) fn of(
    policy: &Policy,
    route: &Route,
    end: &End,
    drawn: Option<&str>,
) -> Vec<ServerFound> {
    let all = route.of_servers().map_or(&[][..], |mcp| &mcp.servers);
    let all = all.iter().filter_map(|server| {
        let agent = policy.agents.get(server.agent.0)?;
        Some(ServerFound {
            name: server.name.clone(),
            agent: agent.name.clone(),
        })
    });
    match end {
        End::Answered { reply, .. } if asks_all(reply) => all.collect(),
        End::Answered { .. } => Vec::new(),
        End::Forwarded | End::Waits => all.filter(|it| drawn == Some(it.agent.as_str())).collect(),
    }
}
