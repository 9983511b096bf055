//! What the caller is told of its limits: the `RateLimit` fields of draft-ietf-httpapi-ratelimit-headers, and the
//! `x-ratelimit-*-requests` that OpenAI's clients know.

use std::fmt::Write as _;
use std::time::Duration;

use super::count::Standing;
use crate::config::policy::Rate;

/// The fields of a limited response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitHeaders {
    policy: String,
    limit: String,
    quantity: u64,
    remaining: u64,
    reset: String,
    /// Seconds until the tightest limit lets one more request through.
    pub retry_after: u64,
}

impl RateLimitHeaders {
    /// The fields for these limits: all policies, and the state of the tightest.
    pub(super) fn of(standings: &[Standing]) -> Option<Self> {
        let tightest = standings.iter().min_by_key(|standing| {
            (
                standing.level.remaining,
                std::cmp::Reverse(standing.level.next),
            )
        })?;
        let policies: Vec<_> = standings
            .iter()
            .map(|standing| standing.rule.policy.as_str())
            .collect();
        let level = tightest.level;
        let retry_after = seconds_up(level.next);
        Some(Self {
            policy: policies.join(", "),
            limit: format!(
                "\"{}\";r={};t={retry_after}",
                tightest.rule.name, level.remaining
            ),
            quantity: tightest.rule.quantity,
            remaining: level.remaining,
            reset: compact(level.full),
            retry_after,
        })
    }

    /// Every field, name and value.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, String); 5] {
        [
            ("ratelimit-policy", self.policy.clone()),
            ("ratelimit", self.limit.clone()),
            ("x-ratelimit-limit-requests", self.quantity.to_string()),
            ("x-ratelimit-remaining-requests", self.remaining.to_string()),
            ("x-ratelimit-reset-requests", self.reset.clone()),
        ]
    }
}

/// A limit as `RateLimit-Policy` names it. The names are checked with the configuration: they need no escape.
pub(super) fn policy(name: &str, rate: &Rate) -> String {
    format!("\"{name}\";q={};w={}", rate.quantity, rate.period.as_secs())
}

/// Whole seconds, rounded up.
pub(super) fn seconds_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// A duration as OpenAI writes it: `40ms`, `1s`, `6m0s`, `1h0m12s`. Rounded up, to the second from one second on.
fn compact(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        let milliseconds = time.as_nanos().div_ceil(1_000_000);
        return if milliseconds < 1000 {
            format!("{milliseconds}ms")
        } else {
            "1s".to_owned()
        };
    }
    let seconds = seconds_up(time);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    let _ = write!(text, "{seconds}s");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_openai_writes_them() {
        for (milliseconds, text) in [
            (0, "0ms"),
            (12, "12ms"),
            (999, "999ms"),
            (1000, "1s"),
            (1001, "2s"),
            (72_000, "1m12s"),
            (360_000, "6m0s"),
            (3_612_000, "1h0m12s"),
        ] {
            assert_eq!(compact(Duration::from_millis(milliseconds)), text);
        }
        assert_eq!(compact(Duration::from_nanos(999_000_001)), "1s");
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(seconds_up(Duration::from_nanos(1)), 1);
        assert_eq!(seconds_up(Duration::from_secs(2)), 2);
        assert_eq!(seconds_up(Duration::ZERO), 0);
    }
}
