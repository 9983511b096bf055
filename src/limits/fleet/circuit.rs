//! Whether the service that counts for all gateways is asked at all: after a failure it is let alone for a while, and then one
//! question tells.

use std::time::Duration;

use crate::host::Timestamp;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// What is known of the service.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    /// So many attempts in a row have failed.
    failures: u32,
    /// When the last of them did.
    failed: Timestamp,
    /// When it is asked again.
    until: Timestamp,
}

/// What an answer, or none, has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Nothing,
    /// It fails now.
    Fails,
    /// It answers again.
    Answers,
}

impl Circuit {
    /// Whether it may be asked now. If it fails, whoever asks first when its time has come is the one who tries; `patience` is
    /// how long that may take.
    pub(super) fn may_ask(&mut self, now: Timestamp, patience: Duration) -> bool {
        if self.failures == 0 {
            return true;
        }
        // A clock that was set back does not make it longer.
        let far = self.until.since(now) > LONGEST + LONGEST + patience;
        if now < self.until && !far {
            return false;
        }
        self.until = now.after(patience + FIRST);
        true
    }

    pub(super) fn answered(&mut self) -> Change {
        if std::mem::take(&mut self.failures) > 0 {
            Change::Answers
        } else {
            Change::Nothing
        }
    }

    /// It has failed. All questions that were under way then are one failure. `chance` spreads the gateways that try again.
    pub(super) fn failed(&mut self, sent: Timestamp, now: Timestamp, chance: u64) -> Change {
        let first = self.failures == 0;
        if !first && sent < self.failed {
            return Change::Nothing;
        }
        self.failed = now;
        self.failures = self.failures.saturating_add(1);
        let wait = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        let quarter = wait / 4;
        let spread = quarter.saturating_mul((chance % 1_000) as u32) / 500;
        self.until = now.after(wait - quarter + spread);
        if first {
            Change::Fails
        } else {
            Change::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_000).after(Duration::from_millis(milliseconds))
    }

    #[test]
    fn a_service_that_fails_is_let_alone_and_then_tried_by_one() {
        let mut circuit = Circuit::default();
        assert!(circuit.may_ask(at(0), PATIENCE));
        assert_eq!(circuit.failed(at(0), at(50), 500), Change::Fails);
        // It was under way.
        assert_eq!(circuit.failed(at(40), at(90), 500), Change::Nothing);
        assert!(!circuit.may_ask(at(60), PATIENCE));
        assert!(circuit.may_ask(at(300), PATIENCE));
        assert!(!circuit.may_ask(at(301), PATIENCE), "one is under way");
        assert_eq!(circuit.answered(), Change::Answers);
        assert!(circuit.may_ask(at(302), PATIENCE));
        assert_eq!(circuit.answered(), Change::Nothing);
    }

    #[test]
    fn it_is_tried_less_and_less_often_but_every_few_seconds() {
        let mut circuit = Circuit::default();
        let mut now = at(1);
        let mut waits = Vec::new();
        for _ in 0..12 {
            circuit.failed(now, now, 999);
            let mut wait = 0;
            while !circuit.may_ask(now.after(Duration::from_millis(wait)), PATIENCE) {
                wait += 10;
            }
            waits.push(wait);
            now = now.after(Duration::from_millis(wait));
        }
        assert!(waits[0] < 300 && waits[3] > waits[0], "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= 6_300), "{waits:?}");
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_from_asking_for_long() {
        let mut circuit = Circuit::default();
        circuit.failed(at(3_600_000), at(3_600_000), 0);
        assert!(circuit.may_ask(at(0), PATIENCE));
    }
}
