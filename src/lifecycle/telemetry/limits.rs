//! What is told of limits, and of the service that counts them for all gateways.

use log::Level;

use super::Telemetry;
use crate::config::policy::OnFailure;
use crate::host::Host;
use crate::limits::fleet::{Change, Verdict};
use crate::limits::{Admission, Met};
use crate::state::StateError;

/// Limits' names have series of their own up to here: the validator may name any number of them. What comes later is counted
/// as [`OTHER`], but for names that are there already.
const MOST_LIMITS: usize = 1024;
const OTHER: &str = "other";
const WARNINGS: &str = "waykeeper_limit_warnings_total";
const WOULD_REFUSE: &str = "waykeeper_limit_would_refuse_total";

impl Telemetry {
    /// What limits remark on a request beside whether it passes.
    #[inline(never)]
    pub(in crate::lifecycle) fn limits<H: Host>(&self, host: &H, admission: &Admission) {
        for limit in admission.warning() {
            self.remark(host, WARNINGS, limit);
        }
        for limit in admission.would_refuse() {
            self.remark(host, WOULD_REFUSE, limit);
        }
    }

    /// A request has a place among those in flight. `beyond`: it would have none if the bound were in force for it.
    pub(in crate::lifecycle) fn entered<H: Host>(
        &self,
        host: &H,
        met: &Met,
        beyond: bool,
        warns: bool,
    ) {
        if warns {
            self.remark(host, WARNINGS, met.name());
        }
        if beyond {
            self.remark(host, WOULD_REFUSE, met.name());
        }
    }

    /// A request waits for its place.
    pub(in crate::lifecycle) fn waits<H: Host>(&self, host: &H, met: &Met) {
        self.remark(host, "waykeeper_limit_waits_total", met.name());
    }

    /// The service that counts for all gateways has answered, or not.
    pub(in crate::lifecycle) fn fleet_answered<H: Host>(
        &self,
        host: &H,
        verdict: &Verdict,
        change: Change,
    ) {
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
    pub(in crate::lifecycle) fn alone<H: Host>(&self, host: &H, on_failure: OnFailure) {
        let held = match on_failure {
            OnFailure::ProcessShare => "process_share",
            OnFailure::Allow => "allow",
            OnFailure::Deny => "deny",
        };
        self.count(host, "waykeeper_limiter_missed_total", ("on_failure", held));
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

    /// An operator has given a client a fresh start. Each is told: only operators can cause it.
    pub(in crate::lifecycle) fn limits_reset(
        &self,
        operator: &str,
        client: &str,
        names: &[String],
        place: &str,
    ) {
        let which = match names {
            [] => "all that are counted for it alone".to_owned(),
            names => names.join(", "),
        };
        log::info!("limits: {operator} resets those of {client} in {place}: {which}");
    }

    /// A request was refused because nobody could say whether its limits are full.
    pub(in crate::lifecycle) fn limits_unavailable<H: Host>(&self, host: &H, error: StateError) {
        self.log.log(
            Level::Error,
            "limits",
            host.now(),
            format_args!("the limits could not be checked: {error}"),
        );
    }
}
