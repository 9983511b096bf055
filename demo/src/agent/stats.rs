//! What an agent remembers of its requests, so that a test can show what reached it: how many, which of them ended
//! before their end, and what the last ones carried.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::request::Parts;
use serde::{Deserialize, Serialize};

use crate::headers::Headers;

/// So many requests are remembered one by one.
const MAX_LAST: usize = 64;

/// Of so many ids the attempts are counted; beyond them the oldest is forgotten.
const MAX_IDS: usize = 10_000;

/// Requests since the start, or since the last reset. Health checks and requests to `/demo` are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Stats {
    /// All requests that arrived.
    pub total: u64,
    /// Requests that wait for their answer or its end now, open WebSockets included.
    pub in_flight: u64,
    /// The most of these that there were at once.
    pub most_in_flight: u64,
    /// Answers that were sent to their end, WebSockets closed with a close frame included.
    pub complete: u64,
    /// Requests whose client left before the end of the request or of its answer.
    pub aborted: u64,
    /// Answers that the agent itself broke off, as asked by `x-demo-reset`.
    pub cut: u64,
    /// Requests by their `x-demo-id`.
    pub attempts: BTreeMap<String, u64>,
    /// The last 64 requests, the latest at the end.
    pub last: VecDeque<Seen>,
}

/// A request that arrived.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The path and the query, as they arrived.
    pub path: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// The headers.
    pub headers: Headers,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    Aborted,
    Cut,
}

/// The counts that all requests share.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stats: Stats,
    /// The ids of `stats.attempts`, the oldest first.
    ids: VecDeque<String>,
    /// Answers given since the start, which no reset sets back.
    answers: u64,
}

/// A request under way. Unless told otherwise, it counts as aborted when it is dropped: that is what happens to it
/// when its client leaves.
#[derive(Debug)]
pub(super) struct Passing {
    ledger: Arc<Ledger>,
    ended: bool,
}

// === impl Stats ===

impl Stats {
    /// How many requests arrived with this `x-demo-id`.
    pub fn attempts_of(&self, id: &str) -> u64 {
        self.attempts.get(id).copied().unwrap_or(0)
    }
}

// === impl Ledger ===

impl Ledger {
    /// A copy of all counts.
    pub(super) fn stats(&self) -> Stats {
        self.lock().stats.clone()
    }

    /// All counts to zero, but for requests under way.
    pub(super) fn reset(&self) {
        let mut inner = self.lock();
        inner.ids.clear();
        inner.stats = Stats {
            in_flight: inner.stats.in_flight,
            most_in_flight: inner.stats.in_flight,
            ..Stats::default()
        };
    }

    /// Counts a request that arrived.
    pub(super) fn arrived(self: &Arc<Self>, request: &Parts) -> Passing {
        let seen = Seen {
            method: request.method.to_string(),
            path: request
                .uri
                .path_and_query()
                .map_or_else(String::new, ToString::to_string),
            version: format!("{:?}", request.version),
            headers: Headers::of(request),
        };
        let stats = &mut self.lock().stats;
        stats.total += 1;
        stats.in_flight += 1;
        stats.most_in_flight = stats.most_in_flight.max(stats.in_flight);
        if stats.last.len() == MAX_LAST {
            stats.last.pop_front();
        }
        stats.last.push_back(seen);
        Passing {
            ledger: Arc::clone(self),
            ended: false,
        }
    }

    /// Counts a request with this id; the first is 1.
    pub(super) fn attempt(&self, id: &str) -> u64 {
        let inner = &mut *self.lock();
        let attempts = &mut inner.stats.attempts;
        if let Some(count) = attempts.get_mut(id) {
            *count += 1;
            return *count;
        }
        if inner.ids.len() == MAX_IDS
            && let Some(oldest) = inner.ids.pop_front()
        {
            attempts.remove(&oldest);
        }
        inner.ids.push_back(id.to_owned());
        attempts.insert(id.to_owned(), 1);
        1
    }

    /// A number for an answer, different from that of any other.
    pub(super) fn answer_number(&self) -> u64 {
        let mut inner = self.lock();
        inner.answers += 1;
        inner.answers
    }

    /// No code that holds the lock leaves the counts half changed, so a panic elsewhere does not spoil them.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Passing ===

impl Passing {
    /// Tells how the request ended; only the first time counts.
    pub(super) fn end(&mut self, end: End) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let stats = &mut self.ledger.lock().stats;
        stats.in_flight -= 1;
        let count = match end {
            End::Complete => &mut stats.complete,
            End::Aborted => &mut stats.aborted,
            End::Cut => &mut stats.cut,
        };
        *count += 1;
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.end(End::Aborted);
    }
}
