//! The log, for whatever traffic can cause: one line a minute of each kind, so that no caller, validator or agent can
//! fill it, and nothing is drowned in it.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use log::Level;
use rustc_hash::FxHashMap;

use super::Timestamp;

/// The time from one line of a kind to the next.
const PAUSE: Duration = Duration::from_secs(60);

/// Writes lines to the log, one a minute of each kind. The kinds are words of the program's own, never of its input,
/// so their number is bounded.
#[derive(Debug, Default)]
pub struct Throttle {
    kinds: RefCell<FxHashMap<&'static str, Slot>>,
}

/// What was written of one kind.
#[derive(Debug)]
struct Slot {
    written: Timestamp,
    left_out: u64,
}

/// How many lines of a kind were left out before this one. Shown as what stands behind the line; nothing if none was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LeftOut(u64);

impl Throttle {
    /// Writes a line, unless one of its kind was written less than a minute ago. Says whether it was written.
    pub fn log(
        &self,
        level: Level,
        kind: &'static str,
        now: Timestamp,
        line: fmt::Arguments<'_>,
    ) -> bool {
        let passed = self.pass(kind, now);
        if let Some(left_out) = passed {
            log::log!(level, "{line}{left_out}");
        }
        passed.is_some()
    }

    /// Whether a line of this kind would be written now. For what is not to be counted if it is not written.
    #[must_use]
    pub fn is_due(&self, kind: &'static str, now: Timestamp) -> bool {
        let kinds = self.kinds.borrow();
        kinds.get(kind).is_none_or(|slot| slot.is_over(now))
    }

    /// Whether a line of this kind may be written now, and what is to stand behind it.
    fn pass(&self, kind: &'static str, now: Timestamp) -> Option<LeftOut> {
        let mut kinds = self.kinds.borrow_mut();
        let left_out = match kinds.get_mut(kind) {
            Some(slot) if !slot.is_over(now) => {
                slot.left_out = slot.left_out.saturating_add(1);
                return None;
            }
            Some(slot) => slot.left_out,
            None => 0,
        };
        let slot = Slot {
            written: now,
            left_out: 0,
        };
        kinds.insert(kind, slot);
        Some(LeftOut(left_out))
    }
}

impl Slot {
    /// Whether the pause is over. It is in either direction: a clock that was set back must not silence the log until it
    /// has caught up.
    fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.written) >= PAUSE || self.written.since(now) >= PAUSE
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            number => write!(f, " ({number} more like this were left out)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_700_000_000);

    fn seconds(seconds: u64) -> Timestamp {
        START.after(Duration::from_secs(seconds))
    }

    /// What stands behind the line that is written at that time, if one is.
    fn written(throttle: &Throttle, kind: &'static str, now: Timestamp) -> Option<String> {
        throttle
            .pass(kind, now)
            .map(|left_out| left_out.to_string())
    }

    #[test]
    fn a_flood_is_one_line_a_minute_and_the_next_says_how_many_there_were() {
        let throttle = Throttle::default();
        let nothing = Some(String::new());
        assert_eq!(written(&throttle, "a", seconds(0)), nothing);
        for millisecond in 0..60_000 {
            let now = START.after(Duration::from_millis(millisecond));
            assert_eq!(written(&throttle, "a", now), None);
        }
        let told = written(&throttle, "a", seconds(60));
        assert_eq!(
            told.as_deref(),
            Some(" (60000 more like this were left out)")
        );
        assert_eq!(written(&throttle, "a", seconds(119)), None);
        let told = written(&throttle, "a", seconds(3_600));
        assert_eq!(told.as_deref(), Some(" (1 more like this were left out)"));
        assert_eq!(written(&throttle, "a", seconds(7_200)), nothing);
    }

    #[test]
    fn one_kind_does_not_hide_another() {
        let throttle = Throttle::default();
        for kind in ["a", "b", "c"] {
            assert!(throttle.pass(kind, START).is_some(), "{kind}");
            assert!(throttle.pass(kind, START).is_none(), "{kind}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_silences_nothing() {
        let throttle = Throttle::default();
        assert!(throttle.pass("a", seconds(1_000)).is_some());
        assert!(throttle.pass("a", seconds(999)).is_none());
        assert!(throttle.pass("a", seconds(940)).is_some());
        assert!(throttle.pass("a", seconds(941)).is_none());
        assert!(throttle.pass("a", seconds(1_000)).is_some());
    }
}
