//! What is told of agents: canaries, loads, sessions, and servers of MCP.

use log::Level;

use super::{Telemetry, labels};
use crate::config::NONE;
use crate::config::policy::{AgentId, RouteId, Server};
use crate::host::Host;
use crate::lifecycle::compiled::Compiled;
use crate::state::StateError;

impl Telemetry {
    /// A request has ended that tried its route's canary.
    pub(in crate::lifecycle) fn canary_ended<H: Host>(
        &self,
        host: &H,
        compiled: &Compiled,
        route: RouteId,
        failed: bool,
    ) {
        let mut metrics = self.canaries.borrow_mut();
        let metric = metrics.get(&(route, failed)).copied().or_else(|| {
            let [route_label, agent] = labels_of_canary(compiled, route);
            let outcome = if failed { "failed" } else { "answered" };
            let labels = [route_label, agent, ("outcome", outcome)];
            let metric = host.counter("waykeeper_canary_requests_total", &labels)?;
            metrics.insert((route, failed), metric);
            Some(metric)
        });
        if let Some(metric) = metric {
            host.increment(metric);
        }
    }

    /// A route's canary gets nothing any more, or is tried.
    pub(in crate::lifecycle) fn canary_stands<H: Host>(
        &self,
        host: &H,
        compiled: &Compiled,
        route: RouteId,
        aborted: bool,
    ) {
        let labels = labels_of_canary(compiled, route);
        if let Some(metric) = host.gauge("waykeeper_canary_aborted", &labels) {
            host.record(metric, u64::from(aborted));
        }
    }

    /// How a canary does could not be read or written.
    #[cold]
    pub(in crate::lifecycle) fn canary_unknown<H: Host>(&self, host: &H, error: StateError) {
        self.log.log(
            Level::Error,
            "canary",
            host.now(),
            format_args!("how canaries do is not known, so they get nothing: {error}"),
        );
    }

    /// Who has given an answer could not be read or written.
    #[cold]
    pub(in crate::lifecycle) fn responses_unavailable<H: Host>(&self, host: &H, error: StateError) {
        self.log.log(
            Level::Error,
            "responses",
            host.now(),
            format_args!("who has given which answer is not known, so agent and host are chosen anew: {error}"),
        );
    }

    /// So busy is an agent, in per cent of what it is meant to do; `None` if that is not known now.
    pub(in crate::lifecycle) fn load<H: Host>(
        &self,
        host: &H,
        compiled: &Compiled,
        agent: AgentId,
        load: Option<u64>,
    ) {
        let (_, name) = compiled.names(None, Some(agent));
        let labels = [("agent", name.unwrap_or(NONE))];
        self.show(
            host,
            "waykeeper_agent_load_known",
            &labels,
            u64::from(load.is_some()),
        );
        if let Some(load) = load {
            self.show(host, "waykeeper_agent_load_percent", &labels, load);
        }
    }

    /// So many milliseconds an agent takes for its first token on this route.
    pub(in crate::lifecycle) fn first_token<H: Host>(
        &self,
        host: &H,
        compiled: &Compiled,
        route: RouteId,
        agent: AgentId,
        time: u64,
    ) {
        let labels = labels(compiled, Some(route), Some(agent));
        self.show(host, "waykeeper_first_token_milliseconds", &labels, time);
    }

    /// An agent's report means nothing, or there is none where there should be one.
    #[cold]
    pub(in crate::lifecycle) fn report_unread<H: Host>(
        &self,
        host: &H,
        from: &'static str,
        agent: &str,
    ) {
        let labels = [("agent", agent)];
        if let Some(metric) = host.counter("waykeeper_load_reports_unread_total", &labels) {
            host.increment(metric);
        }
        self.log.log(
            Level::Warn,
            "load: no report",
            host.now(),
            format_args!("agent {agent} reports no load that can be read (load.from: {from})"),
        );
    }

    /// How busy agents are could not be read or written.
    #[cold]
    pub(in crate::lifecycle) fn loads_unknown<H: Host>(&self, host: &H, error: StateError) {
        self.log.log(
            Level::Error,
            "load",
            host.now(),
            format_args!("how busy agents are is not known, so weights alone count: {error}"),
        );
    }

    /// An agent has named a session, and Envoy has not put down where.
    #[cold]
    pub(in crate::lifecycle) fn session_without_host<H: Host>(
        &self,
        host: &H,
        header: &str,
        agent: &str,
    ) {
        self.log.log(
            Level::Warn,
            "session: no host",
            host.now(),
            format_args!(
                "agent {agent} names a session in {header}, and Envoy has not noted its host there: the caller is not told of it"
            ),
        );
    }

    /// An agent has named a session by more than may be sent back.
    #[cold]
    pub(in crate::lifecycle) fn session_too_long<H: Host>(
        &self,
        host: &H,
        header: &str,
        agent: &str,
    ) {
        self.log.log(
            Level::Warn,
            "session: too long",
            host.now(),
            format_args!(
                "agent {agent} names a session in {header} by too long a name: the caller is not told of it"
            ),
        );
    }

    /// A server of MCP is missing from what all of a route were asked.
    #[cold]
    pub(in crate::lifecycle) fn server_missing<H: Host>(
        &self,
        host: &H,
        compiled: &Compiled,
        route: RouteId,
        server: &Server,
        why: &str,
    ) {
        let labels = labels(compiled, Some(route), Some(server.agent));
        let [(_, route), (_, agent)] = labels;
        if let Some(metric) = host.counter("waykeeper_mcp_servers_missing_total", &labels) {
            host.increment(metric);
        }
        self.log.log(
            Level::Warn,
            "mcp: server missing",
            host.now(),
            format_args!(
                "the server {} (agent {agent}) of route {route} is missing from what callers are told of all: {why}",
                server.name
            ),
        );
    }

    /// So many questions to servers of MCP are under way that no more may be.
    #[cold]
    pub(in crate::lifecycle) fn servers_crowded<H: Host>(&self, host: &H) {
        self.log.log(
            Level::Warn,
            "mcp: crowded",
            host.now(),
            format_args!("too many questions to servers of MCP are under way: no more are asked"),
        );
    }
}

/// The labels of a route's canary.
fn labels_of_canary(compiled: &Compiled, route: RouteId) -> [(&'static str, &str); 2] {
    let canary = compiled
        .route(route)
        .and_then(|route| route.canary.as_ref());
    labels(compiled, Some(route), canary.map(|canary| canary.agent))
}
