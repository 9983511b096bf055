//! What the caller is told of its limits: the `RateLimit` fields of draft-ietf-httpapi-ratelimit-headers, and the
//! `x-ratelimit-*-requests` that OpenAI's clients know.

use std::cmp::Reverse;
use std::time::Duration;

use super::standing::Standing;
use crate::config::policy::Rate;
use crate::host::seconds_up;

/// Every field, name and value: all policies, and the state of the tightest.
pub(super) fn fields(standings: &[Standing]) -> Vec<(&'static str, String)> {
    let tightest = standings
        .iter()
        .map(|standing| (&standing.rule, standing.level()))
        .min_by_key(|(_, level)| (level.remaining, Reverse(level.next)));
    let Some((rule, level)) = tightest else {
        return Vec::new();
    };
    let mut policies = String::new();
    for standing in standings {
        if !policies.is_empty() {
            policies.push_str(", ");
        }
        policies.push_str(&standing.rule.policy);
    }
    let (mut numbers, mut others) = (itoa::Buffer::new(), itoa::Buffer::new());
    let remaining = numbers.format(level.remaining);
    let wait = others.format(seconds_up(level.next));
    vec![
        ("ratelimit-policy", policies),
        (
            "ratelimit",
            ["\"", &rule.name, "\";r=", remaining, ";t=", wait].concat(),
        ),
        ("x-ratelimit-limit-requests", rule.quantity.clone()),
        ("x-ratelimit-remaining-requests", remaining.to_owned()),
        ("x-ratelimit-reset-requests", compact(level.full)),
    ]
}

/// A limit as `RateLimit-Policy` names it. The names are checked with the configuration: they need no escape.
pub(super) fn policy(name: &str, rate: &Rate) -> String {
    format!("\"{name}\";q={};w={}", rate.quantity, rate.period.as_secs())
}

/// A duration as OpenAI writes it: `40ms`, `1s`, `6m0s`, `1h0m12s`. Rounded up, to the second from one second on.
fn compact(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        let milliseconds = time.subsec_nanos().div_ceil(1_000_000);
        return if milliseconds < 1000 {
            [itoa::Buffer::new().format(milliseconds), "ms"].concat()
        } else {
            "1s".to_owned()
        };
    }
    let seconds = seconds_up(time);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    let mut write = |number: u64, unit: &str| {
        text.push_str(itoa::Buffer::new().format(number));
        text.push_str(unit);
    };
    if hours > 0 {
        write(hours, "h");
    }
    if hours > 0 || minutes > 0 {
        write(minutes, "m");
    }
    write(seconds, "s");
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
}
