//! A clock that only counts the host's ticks, enough for bounds in seconds and free to read for every chunk; and the bounds
//! that are kept by it once a request has been handed over.

use std::time::Duration;

/// Ticks, one a second, since the gateway was configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Ticks(u64);

impl Ticks {
    #[cfg(test)]
    pub(super) const START: Self = Self(0);

    pub(super) fn advance(&mut self) {
        self.0 = self.0.saturating_add(1);
    }

    /// The first tick at which so much time has certainly passed. Between two moments that are `n` ticks apart lie at
    /// least `n - 1` seconds.
    #[inline]
    pub(super) fn after(self, time: Duration) -> Self {
        let seconds = time
            .as_secs()
            .saturating_add(u64::from(time.subsec_nanos() > 0));
        Self(self.0.saturating_add(seconds).saturating_add(1))
    }
}

/// For how long a request that was handed over may go on: until its answer is due, or while no answer is, until it has
/// been silent for too long.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds {
    silence: Option<Duration>,
    /// When it gave the last sign of life.
    last: Ticks,
    /// How much time the answer has, as long as the request has not arrived in full.
    answer: Option<Duration>,
    /// When the answer is due.
    due: Option<Ticks>,
}

impl Bounds {
    /// Bounds of a request that is handed over now. The time for its `answer` begins with [`Self::request_ended`].
    #[inline]
    pub(super) fn new(silence: Option<Duration>, answer: Option<Duration>, now: Ticks) -> Self {
        Self {
            silence,
            last: now,
            answer,
            due: None,
        }
    }

    /// There was a sign of life.
    #[inline]
    pub(super) fn active(&mut self, now: Ticks) {
        self.last = now;
    }

    /// The request has arrived in full. It may be said again.
    #[inline]
    pub(super) fn request_ended(&mut self, now: Ticks) {
        if let Some(time) = self.answer.take() {
            self.due = Some(now.after(time));
        }
    }

    /// The answer has begun, and is a stream: it may take as long as it gives signs of life.
    pub(super) fn answer_is_stream(&mut self) {
        self.answer = None;
        self.due = None;
    }

    #[inline]
    pub(super) fn are_over(&self, now: Ticks) -> bool {
        let due = self.due.or_else(|| Some(self.last.after(self.silence?)));
        due.is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tick: u64) -> Ticks {
        Ticks(tick)
    }

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn a_time_has_passed_when_one_tick_more_has() {
        for (milliseconds, ticks) in [(1, 2), (1000, 2), (1001, 3), (60_000, 61)] {
            let time = Duration::from_millis(milliseconds);
            assert_eq!(at(5).after(time), at(5 + ticks), "{time:?}");
        }
        assert_eq!(at(u64::MAX).after(Duration::MAX), at(u64::MAX));
    }

    #[test]
    fn silence_is_bounded_from_the_last_sign_of_life() {
        let mut bounds = Bounds::new(seconds(3), None, at(10));
        bounds.request_ended(at(11));
        assert!(!bounds.are_over(at(13)));
        assert!(bounds.are_over(at(14)));
        bounds.active(at(13));
        assert!(!bounds.are_over(at(16)));
        assert!(bounds.are_over(at(17)));
        assert!(!Bounds::default().are_over(at(u64::MAX)));
    }

    #[test]
    fn an_answer_has_its_time_from_the_end_of_the_request_whatever_is_said_meanwhile() {
        let mut bounds = Bounds::new(seconds(3), seconds(5), at(10));
        assert!(
            bounds.are_over(at(14)),
            "a caller that stops in its request"
        );
        bounds.active(at(12));
        bounds.request_ended(at(13));
        assert!(!bounds.are_over(at(18)), "an agent that thinks");
        bounds.active(at(18));
        bounds.request_ended(at(18));
        assert!(bounds.are_over(at(19)));
    }

    #[test]
    fn a_stream_may_last_for_as_long_as_it_says_something() {
        let mut bounds = Bounds::new(seconds(3), seconds(5), at(10));
        bounds.request_ended(at(10));
        bounds.active(at(12));
        bounds.answer_is_stream();
        bounds.active(at(90));
        assert!(!bounds.are_over(at(93)));
        assert!(bounds.are_over(at(94)));
        // An agent may answer before it has the whole request.
        let mut bounds = Bounds::new(seconds(3), seconds(5), at(10));
        bounds.answer_is_stream();
        bounds.request_ended(at(12));
        bounds.active(at(90));
        assert!(!bounds.are_over(at(93)));
    }
}
