//! How canaries do, over all workers: one cell in which each has a record.
//!
//! A record is made when a configuration with the canary comes, and told from others by all that its lines say, so that it outlives
//! a reload that leaves them as they are. It goes when a configuration comes in which the same route has another canary; who
//! counts for one that is gone, as a request does that began before, counts nothing. Of a canary without a record nothing
//! is known, and it gets nothing.

use std::time::Duration;

use super::grid::{Decision, Grid, StateError, read};
use super::{Hashed, SET_BACK, State};
use crate::host::{CellName, Host, Timestamp};

/// So many requests are waited for before anything is concluded.
const LEAST: u64 = 50;

/// From so many on, half of what was counted is forgotten: a canary that fails after it has long done well is noticed as soon.
const FORGETS_AT: u64 = 1_000;

/// So many records are kept. The oldest that the configuration at hand does not know goes.
const MOST: usize = 128;

/// Where nobody but one client has come for so long, what that provokes counts as what all do.
pub const ALONE: Duration = Duration::from_secs(60);

const RECORD: usize = 64;

/// How canaries do.
#[derive(Debug)]
pub struct Canaries {
    cell: CellName,
}

/// A canary as its record is found: its route, and all that its lines say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lines {
    route: u64,
    lines: u64,
}

/// How one does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many requests were counted, less what was forgotten.
    pub requests: u64,
    /// How many of them have failed.
    pub failed: u64,
    /// It gets nothing any more.
    pub aborted: bool,
}

/// How a request to a canary has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// With an answer.
    Answer,
    /// With a failure that the client may have provoked.
    Provoked,
    /// With a failure that no client can provoke: no connection.
    Unconnected,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    key: Lines,
    standing: Standing,
    /// Whose request was the last to provoke a failure that counts; 0: nobody's.
    failing: u64,
    /// Who has come last, and since when nobody else has.
    last: u64,
    alone_since: Timestamp,
}

impl Lines {
    /// Of the canary of this route whose lines say this.
    #[must_use]
    pub fn new(state: &State, route: &str, lines: &[&[u8]]) -> Self {
        let of_route: Hashed = state.hash.of(&[b"canary", route.as_bytes()]);
        let all = [&[b"lines".as_slice(), route.as_bytes()], lines].concat();
        Self {
            route: of_route.tag,
            lines: state.hash.of(&all).tag,
        }
    }
}

impl Canaries {
    /// In this state, where there may be no cell for them yet.
    #[must_use]
    pub fn new(state: &State) -> Self {
        Self {
            cell: state.canaries.locate(0),
        }
    }

    /// A configuration with these canaries has come: each has a record from now on, and others of their routes have none. How
    /// each does, in their order.
    ///
    /// # Errors
    /// When the cell cannot be made or changed.
    pub fn come<H: Host>(&self, host: &H, all: &[Lines]) -> Result<Vec<Standing>, StateError> {
        // A process whose tables an older module has made has no such cell. A configuration is read on the main thread before
        // any worker has it, so nobody else makes it at the same time.
        let value = host.read_cell(self.cell).map_err(|_| StateError::Refused)?;
        if value.is_none() {
            if all.is_empty() {
                return Ok(Vec::new());
            }
            host.create_cell(self.cell, &[])
                .map_err(|_| StateError::Refused)?;
        }
        Grid::update(host, self.cell, |value| {
            let mut records = decode(&value);
            let replaced = |it: &Record| {
                let of_route = |other: &&Lines| other.route == it.key.route;
                all.iter().any(|other| of_route(&other)) && !all.contains(&it.key)
            };
            records.retain(|it| !replaced(it));
            for key in all {
                if !records.iter().any(|it| it.key == *key) {
                    records.push(Record::new(*key));
                }
            }
            while records.len() > MOST
                && let Some(index) = records.iter().position(|it| !all.contains(&it.key))
            {
                records.remove(index);
            }
            records.truncate(MOST);
            let standing = |key: &Lines| standing(&records, *key).unwrap_or(GONE);
            let standings = all.iter().map(standing).collect();
            let changed = encode(&records);
            if changed == value {
                Decision::Keep(standings)
            } else {
                Decision::Replace(changed, standings)
            }
        })
    }

    /// Whether one gets nothing any more. Also of one that has no record.
    ///
    /// # Errors
    /// When the cell cannot be read.
    pub fn is_aborted<H: Host>(&self, host: &H, key: Lines) -> Result<bool, StateError> {
        let (value, _) = read(host, self.cell)?;
        let standing = standing(&decode(&value), key);
        Ok(standing.is_none_or(|it| it.aborted))
    }

    /// Counts a request of this client. What comes back is how it stands if this request was the one by which it came to be aborted:
    /// if more than `abort_at` per cent have failed, out of at least `LEAST`.
    ///
    /// # Errors
    /// When the cell cannot be changed.
    pub fn count<H: Host>(
        &self,
        host: &H,
        key: Lines,
        client: u64,
        came: Came,
        abort_at: u8,
    ) -> Result<Option<Standing>, StateError> {
        Grid::update(host, self.cell, |value| {
            let mut records = decode(&value);
            let Some(record) = records.iter_mut().find(|it| it.key == key) else {
                return Decision::Keep(None);
            };
            if record.standing.aborted {
                return Decision::Keep(None);
            }
            record.count(client, came, abort_at, host.now());
            let standing = record.standing;
            let changed = encode(&records);
            let aborted = standing.aborted.then_some(standing);
            if changed == value {
                Decision::Keep(aborted)
            } else {
                Decision::Replace(changed, aborted)
            }
        })
    }
}

impl Record {
    fn new(key: Lines) -> Self {
        Self {
            key,
            standing: Standing::default(),
            failing: 0,
            last: 0,
            alone_since: Timestamp(0),
        }
    }

    /// While others are there, nothing counts of the client whose request has provoked the last failure, until another's does. So one
    /// client's failures weigh no more than all others' do, and what is left out on either side bears on no part.
    fn count(&mut self, client: u64, came: Came, abort_at: u8, now: Timestamp) {
        let set_back = self.alone_since.since(now) >= SET_BACK;
        if client != self.last || set_back {
            (self.last, self.alone_since) = (client, now);
        }
        let is_alone = now.since(self.alone_since) >= ALONE;
        if came != Came::Unconnected && client == self.failing && !is_alone {
            return;
        }
        if came == Came::Provoked {
            self.failing = client;
        }
        let standing = &mut self.standing;
        if standing.requests >= FORGETS_AT {
            standing.requests /= 2;
            standing.failed /= 2;
        }
        standing.requests += 1;
        standing.failed += u64::from(came != Came::Answer);
        let above = standing.failed.saturating_mul(100)
            > standing.requests.saturating_mul(u64::from(abort_at));
        // The first failure may be one client's alone.
        standing.aborted = standing.requests >= LEAST && standing.failed > 1 && above;
    }
}

/// What is thought of a canary that has no record.
const GONE: Standing = Standing {
    requests: 0,
    failed: 0,
    aborted: true,
};

fn standing(records: &[Record], key: Lines) -> Option<Standing> {
    let record = records.iter().find(|it| it.key == key);
    record.map(|it| it.standing)
}

fn encode(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD * records.len());
    for record in records {
        let Standing {
            requests,
            failed,
            aborted,
        } = record.standing;
        let words = [
            record.key.route,
            record.key.lines,
            requests,
            failed,
            u64::from(aborted),
            record.failing,
            record.last,
            record.alone_since.0,
        ];
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
    bytes
}

fn decode(value: &[u8]) -> Vec<Record> {
    let (records, _) = value.as_chunks::<RECORD>();
    records.iter().map(record).collect()
}

fn record(bytes: &[u8; RECORD]) -> Record {
    let (words, _) = bytes.as_chunks::<8>();
    let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
    let mut next = || words.next().unwrap_or_default();
    Record {
        key: Lines {
            route: next(),
            lines: next(),
        },
        standing: Standing {
            requests: next(),
            failed: next(),
            aborted: next() != 0,
        },
        failing: next(),
        last: next(),
        alone_since: Timestamp(next()),
    }
}

#[cfg(test)]
mod tests;
