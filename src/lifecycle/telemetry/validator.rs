//! What is told of the validator, and of what is remembered of its answers.

use std::fmt;
use std::time::Duration;

use log::Level;

use super::Telemetry;
use crate::host::{Host, HostError};
use crate::identity::{Failure, Heard, Knowledge};
use crate::state::StateError;

impl Telemetry {
    /// A key was looked up. `hit`: it is known without asking.
    pub(in crate::lifecycle) fn remembered<H: Host>(&self, host: &H, hit: bool) {
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

    /// The validator answered, or did not.
    pub(in crate::lifecycle) fn validator_answered<H: Host>(
        &self,
        host: &H,
        heard: &Heard,
        took: Duration,
    ) {
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
    pub(in crate::lifecycle) fn validator_lost<H: Host>(&self, host: &H) {
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
    pub(in crate::lifecycle) fn validator_unreachable<H: Host>(&self, host: &H, error: HostError) {
        self.validator_call(host, "failed");
        self.validator_failed(
            host,
            "validator: cannot be asked",
            format_args!("the validator cannot be asked: {error}"),
        );
    }

    /// The validator was not asked, since it is being asked about so many other keys.
    pub(in crate::lifecycle) fn validator_crowded<H: Host>(&self, host: &H, most: usize) {
        self.log.log(
            Level::Warn,
            "validator: crowded",
            host.now(),
            format_args!(
                "the validator is not asked about a further key: {most} questions are under way (max_pending)"
            ),
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

    /// The validator named a plan that is not configured.
    pub(in crate::lifecycle) fn unknown_plan<H: Host>(&self, host: &H, name: &str) {
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
}
