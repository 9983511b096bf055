//! What is counted of the service itself, in Prometheus' text form.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    OverLimit,
    Invalid,
    Full,
    Unavailable,
}

impl Outcome {
    const ALL: [(Self, &str); 5] = [
        (Self::Ok, "ok"),
        (Self::OverLimit, "over_limit"),
        (Self::Invalid, "invalid"),
        (Self::Full, "full"),
        (Self::Unavailable, "unavailable"),
    ];
}

/// Upper bounds of the histogram, in microseconds and as Prometheus has them.
const BOUNDS: [(u64, &str); 9] = [
    (10, "0.00001"),
    (100, "0.0001"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (10_000, "0.01"),
    (50_000, "0.05"),
    (250_000, "0.25"),
    (1_000_000, "1"),
];

#[derive(Debug, Default)]
pub(super) struct Metrics {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    /// How many answers of the store took up to each bound and longer than the one before; the last is longer than all.
    times: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
    pub(super) up: AtomicBool,
}

impl Metrics {
    pub(super) fn count(&self, outcome: Outcome) {
        let index = Outcome::ALL.iter().position(|(it, _)| *it == outcome);
        if let Some(count) = index.and_then(|index| self.outcomes.get(index)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// The store took so long for an answer.
    pub(super) fn took(&self, time: Duration) {
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let index = BOUNDS.iter().position(|(bound, _)| microseconds <= *bound);
        if let Some(count) = self.times.get(index.unwrap_or(BOUNDS.len())) {
            count.fetch_add(1, Relaxed);
        }
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    /// All of it. `counters`: how many are held here, where they are.
    pub(super) fn text(&self, counters: Option<usize>) -> String {
        let mut text = String::from(
            "# HELP waykeeper_limiter_requests_total Questions, by what became of them.\n\
             # TYPE waykeeper_limiter_requests_total counter\n",
        );
        for ((_, name), count) in Outcome::ALL.iter().zip(&self.outcomes) {
            let count = count.load(Relaxed);
            let _ = writeln!(
                text,
                "waykeeper_limiter_requests_total{{outcome=\"{name}\"}} {count}"
            );
        }
        text.push_str(
            "# HELP waykeeper_limiter_store_duration_seconds How long the store took for an answer.\n\
             # TYPE waykeeper_limiter_store_duration_seconds histogram\n",
        );
        let mut sum = 0;
        let bounds = BOUNDS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        for (bound, count) in bounds.zip(&self.times) {
            sum += count.load(Relaxed);
            let _ = writeln!(
                text,
                "waykeeper_limiter_store_duration_seconds_bucket{{le=\"{bound}\"}} {sum}"
            );
        }
        let seconds = Duration::from_nanos(self.nanoseconds.load(Relaxed)).as_secs_f64();
        let _ = writeln!(
            text,
            "waykeeper_limiter_store_duration_seconds_sum {seconds}"
        );
        let _ = writeln!(text, "waykeeper_limiter_store_duration_seconds_count {sum}");
        let up = u8::from(self.up.load(Relaxed));
        let _ = writeln!(
            text,
            "# HELP waykeeper_limiter_store_up Whether the store can be used.\n\
             # TYPE waykeeper_limiter_store_up gauge\n\
             waykeeper_limiter_store_up {up}"
        );
        if let Some(counters) = counters {
            let _ = writeln!(
                text,
                "# HELP waykeeper_limiter_counters Counters held; --max-counters bounds them.\n\
                 # TYPE waykeeper_limiter_counters gauge\n\
                 waykeeper_limiter_counters {counters}"
            );
        }
        text
    }
}
