//! Metrics, and the lines of the log that traffic can cause.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::Duration;

use log::Level;
use rustc_hash::FxHashMap;

use super::compiled::Compiled;
use super::stream::Facts;
use crate::VERSION;
use crate::config::NONE;
use crate::config::policy::{AgentId, OnFailure, RouteId, Server};
use crate::host::{Host, HostError, MetricId, Throttle};
use crate::identity::{Failure, Heard, Knowledge};
use crate::limits::fleet::{Change, Verdict};
use crate::limits::{Admission, Met};
use crate::state::StateError;
use crate::state::survey::{Fullness, Table};

/// The labels of a route's canary.
fn labels_of_canary(compiled: &Compiled, route: RouteId) -> [(&'static str, &str); 2] {
    let canary = compiled
        .route(route)
        .and_then(|route| route.canary.as_ref());
    let (route, agent) = compiled.names(Some(route), canary.map(|canary| canary.agent));
    [
        ("route", route.unwrap_or(NONE)),
        ("agent", agent.unwrap_or(NONE)),
    ]
}

/// How a request ended: its route and agent, as far as it came, and its outcome.
type End = (Option<RouteId>, Option<AgentId>, &'static str);

/// Limits' names have series of their own up to here: the validator may name any number of them. What comes later is counted
/// as [`OTHER`], but for names that are there already.
const MOST_LIMITS: usize = 1024;
const OTHER: &str = "other";
const WARNINGS: &str = "waykeeper_limit_warnings_total";
const WOULD_REFUSE: &str = "waykeeper_limit_would_refuse_total";

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
            let (name, agent_name) = compiled.names(Some(route), Some(agent));
            let labels = [
                ("route", name.unwrap_or(NONE)),
                ("agent", agent_name.unwrap_or(NONE)),
            ];
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
            let (route, agent) = compiled.names(facts.route, facts.agent);
            let (route, agent) = (route.unwrap_or(NONE), agent.unwrap_or(NONE));
            let labels = [("route", route), ("agent", agent), ("outcome", outcome)];
            let metric = host.counter("waykeeper_requests_total", &labels)?;
            requests.insert(id, metric);
            Some(metric)
        });
        if let Some(metric) = metric {
            host.increment(metric);
        }
    }

    /// A request has ended that tried its route's canary.
    pub(super) fn canary_ended<H: Host>(
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
    pub(super) fn canary_stands<H: Host>(
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
    pub(super) fn canary_unknown<H: Host>(&self, host: &H, error: StateError) {
        self.log.log(
            Level::Error,
            "canary",
            host.now(),
            format_args!("how canaries do is not known, so they get nothing: {error}"),
        );
    }

    /// Who has given an answer could not be read or written.
    #[cold]
    pub(super) fn responses_unavailable<H: Host>(&self, host: &H, error: StateError) {
        self.log.log(
            Level::Error,
            "responses",
            host.now(),
            format_args!("who has given which answer is not known, so agent and host are chosen anew: {error}"),
        );
    }

    /// So busy is an agent, in per cent of what it is meant to do; `None` if that is not known now.
    pub(super) fn load<H: Host>(
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
    pub(super) fn first_token<H: Host>(
        &self,
        host: &H,
        compiled: &Compiled,
        route: RouteId,
        agent: AgentId,
        time: u64,
    ) {
        let (route, agent) = compiled.names(Some(route), Some(agent));
        let labels = [
            ("route", route.unwrap_or(NONE)),
            ("agent", agent.unwrap_or(NONE)),
        ];
        self.show(host, "waykeeper_first_token_milliseconds", &labels, time);
    }

    #[inline(never)]
    fn show<H: Host>(&self, host: &H, name: &str, labels: &[(&str, &str)], value: u64) {
        if let Some(metric) = host.gauge(name, labels) {
            host.record(metric, value);
        }
    }

    /// An agent's report means nothing, or there is none where there should be one.
    #[cold]
    pub(super) fn report_unread<H: Host>(&self, host: &H, from: &'static str, agent: &str) {
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
    pub(super) fn loads_unknown<H: Host>(&self, host: &H, error: StateError) {
        self.log.log(
            Level::Error,
            "load",
            host.now(),
            format_args!("how busy agents are is not known, so weights alone count: {error}"),
        );
    }

    /// A key was looked up. `hit`: it is known without asking.
    pub(super) fn remembered<H: Host>(&self, host: &H, hit: bool) {
        let [miss_metric, hit_metric] = &self.remembered;
        let (cell, outcome) = if hit {
            (hit_metric, "hit")
        } else {
            (miss_metric, "miss")
        };
        if cell.get().is_none() {
            let labels = [("outcome", outcome)];
            cell.set(host.counter("waykeeper_remembered_keys_total", &labels));
        }
        if let Some(metric) = cell.get() {
            host.increment(metric);
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

    /// What limits remark on a request beside whether it passes.
    #[inline(never)]
    pub(super) fn limits<H: Host>(&self, host: &H, admission: &Admission) {
        for limit in admission.warning() {
            self.remark(host, WARNINGS, limit);
        }
        for limit in admission.would_refuse() {
            self.remark(host, WOULD_REFUSE, limit);
        }
    }

    /// A request has a place among those in flight. `beyond`: it would have none if the bound were in force for it.
    pub(super) fn entered<H: Host>(&self, host: &H, met: &Met, beyond: bool, warns: bool) {
        if warns {
            self.remark(host, WARNINGS, met.name());
        }
        if beyond {
            self.remark(host, WOULD_REFUSE, met.name());
        }
    }

    /// A request waits for its place.
    pub(super) fn waits<H: Host>(&self, host: &H, met: &Met) {
        self.remark(host, "waykeeper_limit_waits_total", met.name());
    }

    /// The service that counts for all gateways has answered, or not.
    pub(super) fn fleet_answered<H: Host>(&self, host: &H, verdict: &Verdict, change: Change) {
        let outcome = match verdict {
            Verdict::Failed => "failed",
            Verdict::Noted => "share",
            Verdict::Said(_) | Verdict::Unable => "answered",
        };
        self.count(host, "waykeeper_limiter_calls_total", ("outcome", outcome));
        let line = match change {
            Change::Nothing => return,
            Change::Fails => {
                "the limiter does not answer: limits of scope fleet are kept as fleet.on_failure says"
            }
            Change::Answers => {
                "the limiter answers again: limits of scope fleet are counted for all gateways"
            }
        };
        let level = if change == Change::Fails {
            Level::Warn
        } else {
            Level::Info
        };
        (self.log).log(level, line, host.now(), format_args!("{line}"));
    }

    /// A request was decided on without the service that counts for all gateways.
    pub(super) fn alone<H: Host>(&self, host: &H, on_failure: OnFailure) {
        let held = match on_failure {
            OnFailure::ProcessShare => "process_share",
            OnFailure::Allow => "allow",
            OnFailure::Deny => "deny",
        };
        self.count(host, "waykeeper_limiter_missed_total", ("on_failure", held));
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

    fn remark<H: Host>(&self, host: &H, name: &'static str, limit: &str) {
        let mut metrics = self.limits.borrow_mut();
        let mut id = (name, limit.to_owned());
        if metrics.len() >= MOST_LIMITS && !metrics.contains_key(&id) {
            OTHER.clone_into(&mut id.1);
        }
        let metric = metrics.get(&id).copied().or_else(|| {
            let limit = id.1.as_str();
            let metric = host.counter(name, &[("limit", limit)])?;
            metrics.insert(id.clone(), metric);
            Some(metric)
        });
        if let Some(metric) = metric {
            host.increment(metric);
        }
    }

    /// The validator answered, or did not.
    pub(super) fn validator_answered<H: Host>(&self, host: &H, heard: &Heard, took: Duration) {
        let outcome = match (&heard.failure, &heard.knowledge) {
            (Some(_), _) => "failed",
            (None, Knowledge::Invalid) => "invalid",
            (None, _) => "valid",
        };
        self.validator_call(host, outcome);
        let histogram = self
            .validator_duration
            .get()
            .or_else(|| host.histogram("waykeeper_validator_duration_milliseconds"));
        self.validator_duration.set(histogram);
        if let Some(histogram) = histogram {
            host.record(
                histogram,
                u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            );
        }
        match &heard.failure {
            None => self.validator_answers(host),
            Some(failure) => {
                let kind = match failure {
                    Failure::NoAnswer => "validator: no answer",
                    Failure::Status(_) => "validator: status",
                    Failure::Answer(_) => "validator: answer",
                };
                self.validator_failed(host, kind, format_args!("the validator fails: {failure}"));
            }
        }
        if let Err(error) = heard.remembered {
            self.not_remembered(host, error);
        }
    }

    /// What is counted as no answer, though the host never said so.
    pub(super) fn validator_lost<H: Host>(&self, host: &H) {
        self.validator_call(host, "failed");
        self.validator_failed(
            host,
            "validator: lost",
            format_args!("the validator fails: its answer got lost, or comes too late"),
        );
    }

    #[cold]
    fn validator_failed<H: Host>(&self, host: &H, kind: &'static str, line: fmt::Arguments<'_>) {
        if self.log.log(Level::Warn, kind, host.now(), line) {
            self.validator_fails.set(true);
        }
    }

    /// Said once after the failures that the log told of; later, if it was said within the last minute.
    fn validator_answers<H: Host>(&self, host: &H) {
        const KIND: &str = "validator: answers";
        if self.validator_fails.get() && self.log.is_due(KIND, host.now()) {
            self.log.log(
                Level::Info,
                KIND,
                host.now(),
                format_args!("the validator answers again"),
            );
            self.validator_fails.set(false);
        }
    }

    /// The validator could not even be asked.
    pub(super) fn validator_unreachable<H: Host>(&self, host: &H, error: HostError) {
        self.validator_call(host, "failed");
        self.validator_failed(
            host,
            "validator: cannot be asked",
            format_args!("the validator cannot be asked: {error}"),
        );
    }

    /// The validator was not asked, since it is being asked about so many other keys.
    pub(super) fn validator_crowded<H: Host>(&self, host: &H, most: usize) {
        self.log.log(
            Level::Warn,
            "validator: crowded",
            host.now(),
            format_args!(
                "the validator is not asked about a further key: {most} questions are under way (max_pending)"
            ),
        );
    }

    /// A request would have had too much held: of what, and by the bound of which name.
    pub(super) fn holds_too_much<H: Host>(
        &self,
        host: &H,
        most: u64,
        what: &str,
        bound: &'static str,
    ) {
        self.log.log(
            Level::Warn,
            bound,
            host.now(),
            format_args!(
                "a request was refused with 503: with it, more than {most} bytes would be held of {what} (clients.hold.{bound})"
            ),
        );
    }

    /// The validator named a plan that is not configured.
    pub(super) fn unknown_plan<H: Host>(&self, host: &H, name: &str) {
        self.log.log(
            Level::Warn,
            "unknown plan",
            host.now(),
            format_args!(
                "the validator names a plan that the configuration does not know: {name:?}"
            ),
        );
    }

    /// What the validator said holds for those who wait for it, but not for the next.
    fn not_remembered<H: Host>(&self, host: &H, error: StateError) {
        self.log.log(
            Level::Warn,
            "not remembered",
            host.now(),
            format_args!("a validator's answer could not be remembered: {error}"),
        );
    }

    /// An agent has named a session, and Envoy has not put down where.
    #[cold]
    pub(super) fn session_without_host<H: Host>(&self, host: &H, header: &str, agent: &str) {
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
    pub(super) fn session_too_long<H: Host>(&self, host: &H, header: &str, agent: &str) {
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
    pub(super) fn server_missing<H: Host>(
        &self,
        host: &H,
        compiled: &Compiled,
        route: RouteId,
        server: &Server,
        why: &str,
    ) {
        let (route, agent) = compiled.names(Some(route), Some(server.agent));
        let (route, agent) = (route.unwrap_or(NONE), agent.unwrap_or(NONE));
        let labels = [("route", route), ("agent", agent)];
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
    pub(super) fn servers_crowded<H: Host>(&self, host: &H) {
        self.log.log(
            Level::Warn,
            "mcp: crowded",
            host.now(),
            format_args!("too many questions to servers of MCP are under way: no more are asked"),
        );
    }

    /// An operator has given a client a fresh start. Each is told: only operators can cause it.
    pub(super) fn limits_reset(&self, operator: &str, client: &str, names: &[String], place: &str) {
        let which = match names {
            [] => "all that are counted for it alone".to_owned(),
            names => names.join(", "),
        };
        log::info!("limits: {operator} resets those of {client} in {place}: {which}");
    }

    /// A request was refused because nobody could say whether its limits are full.
    pub(super) fn limits_unavailable<H: Host>(&self, host: &H, error: StateError) {
        self.log.log(
            Level::Error,
            "limits",
            host.now(),
            format_args!("the limits could not be checked: {error}"),
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

    #[inline(never)]
    fn validator_call<H: Host>(&self, host: &H, outcome: &'static str) {
        self.count(
            host,
            "waykeeper_validator_calls_total",
            ("outcome", outcome),
        );
    }
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
