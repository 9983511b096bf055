//! Metrics, and the lines of the log that traffic can cause.
//!
//! | file | of what it tells |
//! |---|---|
//! | this one | requests, tables and the host |
//! | `agents.rs` | canaries, loads, sessions, and servers of MCP |
//! | `limits.rs` | limits, and the service that counts them for all gateways |
//! | `validator.rs` | the validator, and what is remembered of its answers |

mod agents;
mod limits;
mod validator;

use std::cell::{Cell, RefCell};

use log::Level;
use rustc_hash::FxHashMap;

use super::compiled::Compiled;
use super::hold::Full;
use super::stream::Facts;
use crate::VERSION;
use crate::config::NONE;
use crate::config::policy::{AgentId, RouteId};
use crate::host::{Host, HostError, MetricId, Throttle};
use crate::state::survey::{Fullness, Table};

/// How a request ended: its route and agent, as far as it came, and its outcome.
type End = (Option<RouteId>, Option<AgentId>, &'static str);

/// The gateway's metrics, each defined when it is first needed, and its log.
#[derive(Debug, Default)]
pub(super) struct Telemetry {
    requests: RefCell<FxHashMap<End, MetricId>>,
    validator_duration: Cell<Option<MetricId>>,
    remembered: [Cell<Option<MetricId>>; 2],
    /// Of each limit that remarks something: whether it has let the request pass with a warning, or would have refused it.
    limits: RefCell<FxHashMap<(&'static str, String), MetricId>>,
    fullness: RefCell<FxHashMap<&'static str, MetricId>>,
    /// Of callouts: the counter's name, and the value of its one label.
    callouts: RefCell<FxHashMap<(&'static str, &'static str), MetricId>>,
    /// Of canaries: the route, and whether it is counted that they fail or that they do not.
    canaries: RefCell<FxHashMap<(RouteId, bool), MetricId>>,
    /// Of agents that did not answer, so that another had to.
    passed_over: RefCell<FxHashMap<(RouteId, AgentId), MetricId>>,
    log: Throttle,
    /// The log says that the validator fails, and not yet that it answers again.
    validator_fails: Cell<bool>,
}

impl Telemetry {
    /// Which version runs.
    pub(super) fn runs<H: Host>(host: &H) {
        if let Some(metric) = host.gauge("waykeeper_build_info", &[("version", VERSION)]) {
            host.record(metric, 1);
        }
    }

    /// An agent did not answer, and the request has gone on to another.
    pub(super) fn passed_over<H: Host>(
        &self,
        host: &H,
        compiled: &Compiled,
        route: RouteId,
        agent: AgentId,
    ) {
        let mut passed_over = self.passed_over.borrow_mut();
        let metric = passed_over.get(&(route, agent)).copied().or_else(|| {
            let labels = labels(compiled, Some(route), Some(agent));
            let metric = host.counter("waykeeper_fallbacks_total", &labels)?;
            passed_over.insert((route, agent), metric);
            Some(metric)
        });
        if let Some(metric) = metric {
            host.increment(metric);
        }
    }

    /// A request has ended, and this became of it.
    pub(super) fn ended<H: Host>(
        &self,
        host: &H,
        compiled: &Compiled,
        facts: &Facts,
        outcome: &'static str,
    ) {
        let mut requests = self.requests.borrow_mut();
        let id = (facts.route, facts.agent, outcome);
        let metric = requests.get(&id).copied().or_else(|| {
            let [route, agent] = labels(compiled, facts.route, facts.agent);
            let labels = [route, agent, ("outcome", outcome)];
            let metric = host.counter("waykeeper_requests_total", &labels)?;
            requests.insert(id, metric);
            Some(metric)
        });
        if let Some(metric) = metric {
            host.increment(metric);
        }
    }

    #[inline(never)]
    fn show<H: Host>(&self, host: &H, name: &str, labels: &[(&str, &str)], value: u64) {
        if let Some(metric) = host.gauge(name, labels) {
            host.record(metric, value);
        }
    }

    /// So full is a table. Whether it is to be told is settled for all workers, so that the log has one line of it.
    pub(super) fn fullness<H: Host>(&self, host: &H, fullness: &Fullness) {
        let Fullness {
            table,
            in_use,
            room,
            fullest,
            should_be,
        } = *fullness;
        let mut metrics = self.fullness.borrow_mut();
        for (name, value) in gauges(table).into_iter().zip([in_use, room, fullest]) {
            let metric = metrics.get(name).copied().or_else(|| {
                let metric = host.gauge(name, &[])?;
                metrics.insert(name, metric);
                Some(metric)
            });
            if let Some(metric) = metric {
                host.record(metric, value);
            }
        }
        if let Some(size) = should_be {
            let (field, most) = (table.field(), table.most_in_a_cell());
            log::warn!(
                "tables.{field}: nearly full: {in_use} in use, room for {room}; {fullest} in the fullest cell, which holds {most}. \
                 Write {field}: {size} and start Envoy anew"
            );
        }
    }

    fn count<H: Host>(&self, host: &H, name: &'static str, (label, value): (&str, &'static str)) {
        let mut metrics = self.callouts.borrow_mut();
        let metric = metrics.get(&(name, value)).copied().or_else(|| {
            let metric = host.counter(name, &[(label, value)])?;
            metrics.insert((name, value), metric);
            Some(metric)
        });
        if let Some(metric) = metric {
            host.increment(metric);
        }
    }

    /// A request would have had too much held.
    pub(super) fn holds_too_much<H: Host>(&self, host: &H, full: &Full) {
        let Full {
            what,
            bound,
            most,
            for_others,
        } = *full;
        let (topic, why) = match for_others {
            true => (
                what,
                "its caller would have more held than is left for others",
            ),
            false => (bound, "more would be held"),
        };
        self.log.log(
            Level::Warn,
            topic,
            host.now(),
            format_args!(
                "a request was refused with 503: with it, {why}, of {what}, at most {most} bytes in all (clients.hold.{bound})"
            ),
        );
    }

    /// The host did not give what a request was to be decided by, or an answer to be told of.
    #[cold]
    pub(super) fn host_failed<H: Host>(&self, host: &H, error: HostError) {
        self.log.log(
            Level::Error,
            error.call,
            host.now(),
            format_args!("{error}"),
        );
    }
}

/// The labels by which a route and an agent are told, as far as a request has come.
fn labels(
    compiled: &Compiled,
    route: Option<RouteId>,
    agent: Option<AgentId>,
) -> [(&'static str, &str); 2] {
    let (route, agent) = compiled.names(route, agent);
    [
        ("route", route.unwrap_or(NONE)),
        ("agent", agent.unwrap_or(NONE)),
    ]
}

/// The metrics of a table: its records in use, how many it has room for, and those in its fullest cell.
fn gauges(table: Table) -> [&'static str; 3] {
    match table {
        Table::Keys => [
            "waykeeper_keys_in_use",
            "waykeeper_keys_room",
            "waykeeper_keys_fullest_cell",
        ],
        Table::Counters => [
            "waykeeper_counters_in_use",
            "waykeeper_counters_room",
            "waykeeper_counters_fullest_cell",
        ],
        Table::AddressCounters => [
            "waykeeper_address_counters_in_use",
            "waykeeper_address_counters_room",
            "waykeeper_address_counters_fullest_cell",
        ],
    }
}
