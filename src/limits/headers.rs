//! What the caller is told of its limits: the `RateLimit` fields of draft-ietf-httpapi-ratelimit-headers, and the
//! `x-ratelimit-*-requests` that OpenAI's clients know.

use std::cmp::Reverse;
use std::time::Duration;

use super::Rule;
use super::fleet::Told;
use super::standing::Standing;
use crate::config::policy::{Rate, Tell};
use crate::host::seconds_up;

/// Names the limits of which as much is used as the operator wants callers to be warned of.
const WARNING: &str = "x-waykeeper-limit-warning";

/// Tells the names of the limits that warn, if any does.
pub(super) fn warning(names: &[&str], told: &mut impl FnMut(&'static str, &str)) {
    if !names.is_empty() {
        told(WARNING, &names.join(", "));
    }
}

/// Tells each field of `tell`, name and value: all policies, and the state of the tightest.
pub(super) fn each_field(
    standings: &[Standing],
    fleet: &[Told],
    tell: Tell,
    mut told: impl FnMut(&'static str, &str),
) {
    let in_force = || standings.iter().filter(|standing| standing.enforced);
    let in_fleet = fleet.iter().map(|told| (told.rule(), told.level()));
    let tightest = in_force()
        .map(|standing| (&*standing.rule, standing.level()))
        .chain(in_fleet)
        .min_by_key(|(_, level)| (level.remaining, Reverse(level.next)));
    let Some((rule, level)) = tightest else {
        return;
    };
    let mut numbers = itoa::Buffer::new();
    let remaining = numbers.format(level.remaining);
    let mut text = String::new();
    if tell.ratelimit {
        match (standings, fleet) {
            ([one], []) => told("ratelimit-policy", &one.rule.policy),
            _ => {
                let rules = in_force().map(|standing| &*standing.rule);
                let rules = rules.chain(fleet.iter().map(Told::rule));
                told("ratelimit-policy", &policies(rules));
            }
        }
        let mut numbers = itoa::Buffer::new();
        let wait = numbers.format(seconds_up(level.next));
        text.reserve(rule.name.len() + remaining.len() + wait.len() + 8);
        text.extend(["\"", &rule.name, "\";r=", remaining, ";t=", wait]);
        told("ratelimit", &text);
    }
    if tell.openai {
        told("x-ratelimit-limit-requests", &rule.told_limit);
        told("x-ratelimit-remaining-requests", remaining);
        text.clear();
        write_compact(level.full, &mut text);
        told("x-ratelimit-reset-requests", &text);
    }
}

fn policies<'r>(rules: impl Iterator<Item = &'r Rule>) -> String {
    let mut policies = String::new();
    for rule in rules {
        if !policies.is_empty() {
            policies.push_str(", ");
        }
        policies.push_str(&rule.policy);
    }
    policies
}

/// A limit as `RateLimit-Policy` names it. The names are checked with the configuration: they need no escape.
pub(super) fn policy(name: &str, rate: &Rate) -> String {
    format!("\"{name}\";q={};w={}", rate.quantity, rate.period.as_secs())
}

/// What `x-ratelimit-limit-requests` says of a limit: no less than can ever remain, since clients reckon with the share that
/// is left.
pub(super) fn limit(rate: &Rate) -> u64 {
    rate.quantity.max(rate.burst)
}

/// Writes a duration as OpenAI does: `40ms`, `1s`, `6m0s`, `1h0m12s`. Rounded up, to the second from one second on.
#[inline]
fn write_compact(time: Duration, text: &mut String) {
    let mut write = |number: u64, unit: &str| {
        text.push_str(itoa::Buffer::new().format(number));
        text.push_str(unit);
    };
    let milliseconds = time.subsec_nanos().div_ceil(1_000_000);
    if time < Duration::from_secs(1) && milliseconds < 1000 {
        return write(milliseconds.into(), "ms");
    }
    let seconds = seconds_up(time);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        write(hours, "h");
    }
    if hours > 0 || minutes > 0 {
        write(minutes, "m");
    }
    write(seconds, "s");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compact(time: Duration) -> String {
        let mut text = String::new();
        write_compact(time, &mut text);
        text
    }

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
