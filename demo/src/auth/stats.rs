//! What the auth service remembers of its callers, so that a test can show what the gateway asked and how often.
//! Keys stand here as their SHA-256 only.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::headers::Headers;

/// Of so many different keys the calls are counted; those of any other only in the total.
const MAX_KEYS: usize = 65_536;

/// So many calls are remembered one by one.
const MAX_LAST: usize = 64;

/// Calls to `/validate` since the start, or since the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Stats {
    /// All calls, answered or not.
    pub total: u64,
    /// Calls that wait for their answer now.
    pub in_flight: u64,
    /// Calls by how they went.
    pub outcomes: Outcomes,
    /// Calls by the SHA-256 of the key, in hexadecimal digits.
    pub calls: BTreeMap<String, u64>,
    /// The last 64 calls, the latest at the end.
    pub last: VecDeque<Call>,
}

/// Calls by how they went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Outcomes {
    /// The key is known, and the answer said so.
    pub valid: u64,
    /// The key is unknown or revoked, and the answer said so.
    pub invalid: u64,
    /// The call was no question about a key.
    pub bad_request: u64,
    /// A fault was in force, or the key has an answer word for word.
    pub fault: u64,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Call {
    /// The method, `POST`.
    pub method: String,
    /// The path and the query.
    pub path: String,
    /// What the caller sent. Where a value held the key, it reads `[key]`.
    pub headers: Headers,
    /// The SHA-256 of the key; none if the body held no key.
    pub key_sha256: Option<String>,
}

/// How a call went.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Valid,
    Invalid,
    BadRequest,
    Fault,
}

// === impl Stats ===

impl Stats {
    /// The calls about one key.
    pub fn calls_about(&self, key: &str) -> u64 {
        self.calls
            .get(&crate::text::sha256(key.as_bytes()))
            .copied()
            .unwrap_or(0)
    }

    pub(super) fn arrived(&mut self, call: Call) {
        self.total += 1;
        if let Some(key) = &call.key_sha256
            && (self.calls.len() < MAX_KEYS || self.calls.contains_key(key))
        {
            *self.calls.entry(key.clone()).or_default() += 1;
        }
        if self.last.len() == MAX_LAST {
            self.last.pop_front();
        }
        self.last.push_back(call);
    }

    pub(super) fn went(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Valid => &mut self.outcomes.valid,
            Outcome::Invalid => &mut self.outcomes.invalid,
            Outcome::BadRequest => &mut self.outcomes.bad_request,
            Outcome::Fault => &mut self.outcomes.fault,
        };
        *count += 1;
    }

    /// All counts to zero, but for the calls under way.
    pub(super) fn reset(&mut self) {
        *self = Self {
            in_flight: self.in_flight,
            ..Self::default()
        };
    }
}
