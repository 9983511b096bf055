//! Metrics. Names of labels stand in the metric's name, as
//! `waykeeper_requests_total;route=chat;agent=gpu;outcome=allowed;`; Envoy's stats tags take them apart.

use std::cell::Cell;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::compiled::Compiled;
use super::stream::Stream;
use crate::config::policy::{AgentId, RouteId};
use crate::host::{Host, HostError, MetricId};
use crate::identity::{Failure, Verdict};
use crate::reply::Refusal;

/// Stands for a route or an agent that was not reached.
const NONE: &str = "none";

/// The gateway's metrics, each defined when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Telemetry {
    requests: FxHashMap<(Option<RouteId>, Option<AgentId>, &'static str), MetricId>,
    validator_calls: FxHashMap<&'static str, MetricId>,
    validator_duration: Option<MetricId>,
    remembered: [Cell<Option<MetricId>>; 2],
    /// The log tells when the validator begins to fail and when it recovers, not every failure.
    validator_fails: bool,
}

impl Telemetry {
    /// The request was handed over.
    pub(super) fn allowed<H: Host>(&mut self, host: &H, policy: &Compiled, stream: &Stream) {
        self.request(host, policy, stream, "allowed");
    }

    /// The request was refused.
    pub(super) fn refused<H: Host>(
        &mut self,
        host: &H,
        policy: &Compiled,
        stream: &Stream,
        refusal: &Refusal,
    ) {
        self.request(host, policy, stream, refusal.code());
    }

    fn request<H: Host>(
        &mut self,
        host: &H,
        policy: &Compiled,
        stream: &Stream,
        outcome: &'static str,
    ) {
        let id = (stream.route, stream.agent, outcome);
        let metric = self.requests.get(&id).copied().or_else(|| {
            let (route, agent) = policy.names(stream.route, stream.agent);
            let (route, agent) = (route.unwrap_or(NONE), agent.unwrap_or(NONE));
            let name =
                format!("waykeeper_requests_total;route={route};agent={agent};outcome={outcome};");
            let metric = host.counter(&name)?;
            self.requests.insert(id, metric);
            Some(metric)
        });
        if let Some(metric) = metric {
            host.increment(metric);
        }
    }

    /// Shared memory was asked for a key.
    pub(super) fn remembered<H: Host>(&self, host: &H, hit: bool) {
        let [miss_metric, hit_metric] = &self.remembered;
        let (cell, outcome) = if hit {
            (hit_metric, "hit")
        } else {
            (miss_metric, "miss")
        };
        if cell.get().is_none() {
            cell.set(host.counter(&format!(
                "waykeeper_remembered_keys_total;outcome={outcome};"
            )));
        }
        if let Some(metric) = cell.get() {
            host.increment(metric);
        }
    }

    /// The validator answered, or did not.
    pub(super) fn validator_answered<H: Host>(
        &mut self,
        host: &H,
        verdict: Result<&Verdict, &Failure>,
        took: Duration,
    ) {
        let outcome = match verdict {
            Ok(Verdict::Valid { .. }) => "valid",
            Ok(Verdict::Invalid { .. }) => "invalid",
            Err(_) => "failed",
        };
        self.validator_call(host, outcome);
        let histogram = self
            .validator_duration
            .or_else(|| host.histogram("waykeeper_validator_duration_milliseconds"));
        self.validator_duration = histogram;
        if let Some(histogram) = histogram {
            host.record(
                histogram,
                u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            );
        }
        let failed = verdict.is_err();
        if let Err(failure) = verdict
            && !self.validator_fails
        {
            log::warn!("the validator fails: {failure}");
        } else if !failed && self.validator_fails {
            log::info!("the validator answers again");
        }
        self.validator_fails = failed;
    }

    /// The validator could not even be asked.
    pub(super) fn validator_unreachable<H: Host>(&mut self, host: &H, error: HostError) {
        self.validator_call(host, "failed");
        if !self.validator_fails {
            log::warn!("the validator cannot be asked: {error}");
        }
        self.validator_fails = true;
    }

    fn validator_call<H: Host>(&mut self, host: &H, outcome: &'static str) {
        let metric = self.validator_calls.get(outcome).copied().or_else(|| {
            let metric = host.counter(&format!(
                "waykeeper_validator_calls_total;outcome={outcome};"
            ))?;
            self.validator_calls.insert(outcome, metric);
            Some(metric)
        });
        if let Some(metric) = metric {
            host.increment(metric);
        }
    }
}
