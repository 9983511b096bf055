//! Which of a route's requests try its canary: by their caller's word, else by a draw.

use super::spread::{hash_for, is_within};
use crate::config::policy::Canary;
use crate::host::HeaderBlock;

/// What the caller says of the canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Nothing, or nothing that means something.
    Nothing,
    /// It is to answer.
    Always,
    /// Another is to.
    Never,
}

/// What the caller says, where the canary has a header for it.
#[must_use]
pub fn said(canary: &Canary, headers: &HeaderBlock) -> Said {
    let Some(header) = &canary.header else {
        return Said::Nothing;
    };
    let is =
        |value: &[u8], words: [&[u8]; 2]| words.iter().any(|it| value.eq_ignore_ascii_case(it));
    let said = |value: &[u8]| match value.trim_ascii() {
        value if is(value, [b"always", b"true"]) => Said::Always,
        value if is(value, [b"never", b"false"]) => Said::Never,
        _ => Said::Nothing,
    };
    let mut values = headers.get_all(header).map(said);
    let first = values.next().unwrap_or(Said::Nothing);
    if values.any(|other| other != first) {
        return Said::Nothing;
    }
    first
}

/// Whether a request is one of those so many of a hundred that try this agent: all with the same value are or are not, and who
/// is stays so when they become more. Without a value it is drawn.
#[must_use]
pub fn tries(
    percent: u32,
    agent: &str,
    value: Option<&[u8]>,
    random: impl FnOnce() -> u64,
) -> bool {
    match value.filter(|value| !value.is_empty()) {
        Some(value) => is_within(percent, || hash_for(value, agent)),
        None => is_within(percent, random),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::policy::AgentId;

    fn canary(header: Option<&str>) -> Canary {
        Canary {
            agent: AgentId(0),
            percent: 5,
            header: header.map(str::to_owned),
            abort_at: None,
        }
    }

    #[test]
    fn a_caller_says_always_or_never_and_nothing_else_means_anything() {
        for (values, expected) in [
            (&["true"][..], Said::Always),
            (&["Always"], Said::Always),
            (&["always", "true"], Said::Always),
            (&["never"], Said::Never),
            (&[" FALSE "], Said::Never),
            (&[], Said::Nothing),
            (&[""], Said::Nothing),
            (&["1"], Said::Nothing),
            (&["always, never"], Said::Nothing),
            (&["always", "never"], Said::Nothing),
        ] {
            let headers: Vec<_> = values.iter().map(|value| ("x-canary", *value)).collect();
            let headers = HeaderBlock::from_pairs(&headers);
            assert_eq!(
                said(&canary(Some("x-canary")), &headers),
                expected,
                "{values:?}"
            );
            assert_eq!(said(&canary(Some("x-other")), &headers), Said::Nothing);
            assert_eq!(said(&canary(None), &headers), Said::Nothing);
        }
    }

    #[test]
    fn who_tries_goes_on_trying_when_they_become_more_and_is_no_part_of_an_agents_share() {
        let tries_it = |percent: u32, value: u64| {
            tries(percent, "new", Some(value.to_string().as_bytes()), || 0)
        };
        let mut earlier = 0;
        for percent in 0..=100 {
            let trying = (0..4000).filter(|value| tries_it(percent, *value)).count();
            // 5.5 standard deviations, and one.
            let mean = 40.0 * f64::from(percent);
            let strays = (mean * (1.0 - f64::from(percent) / 100.0)).sqrt() * 5.5 + 1.0;
            assert!(
                (trying as f64 - mean).abs() <= strays,
                "{percent}: {trying}"
            );
            assert!(trying >= earlier);
            earlier = trying;
            if percent > 0 {
                let before = (0..4000).filter(|value| tries_it(percent - 1, *value));
                assert!(before.into_iter().all(|value| tries_it(percent, value)));
            }
        }
        // Without a value, or with an empty one, the draw decides.
        for value in [None, Some(&b""[..])] {
            assert!(tries(5, "new", value, || 0));
            assert!(!tries(5, "new", value, || u64::MAX));
        }
    }
}
