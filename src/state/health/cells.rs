//! Where the records of agents lie: some in each of a few cells, found by their keys.

use super::{Key, Record};
use crate::host::{Host, Timestamp};
use crate::state::State;
use crate::state::grid::{Decision, Grid, StateError, read};

/// Over so many cells the records are spread. Nearly always there is one in a cell.
pub(in crate::state) const CELLS: u32 = 64;

/// So many records are kept in a cell: some more than there may be agents for each. The oldest goes.
pub(super) const MOST: usize = 64;

const WORDS: usize = 12;
pub(super) const RECORD: usize = 8 * WORDS;

/// How agents do.
#[derive(Debug, Clone, Copy)]
pub struct Health {
    pub(super) cells: Grid,
}

impl Health {
    /// In this state, where there may be no cells for it yet.
    #[must_use]
    pub fn new(state: &State) -> Self {
        Self {
            cells: state.health,
        }
    }

    /// A configuration has come in which agents may rest: there is a cell for each of them from now on.
    ///
    /// # Errors
    /// When a cell cannot be made.
    pub fn open<H: Host>(&self, host: &H) -> Result<(), StateError> {
        self.cells.complete(host)
    }

    /// This agent may rest: it has a record from now on. It, as it is.
    ///
    /// # Errors
    /// When its cell is not there or cannot be changed.
    pub fn come<H: Host>(&self, host: &H, key: Key) -> Result<Record, StateError> {
        Grid::update(host, key.cell, |value| {
            let (chunks, _) = value.as_chunks::<RECORD>();
            if let Some(bytes) = chunks.iter().find(|bytes| is_of(bytes, key)) {
                return Decision::Keep(record(bytes));
            }
            let new = Record::new(key);
            let from = (value.len() + RECORD).saturating_sub(MOST * RECORD);
            let kept = value.get(from..).unwrap_or_default();
            Decision::Replace([kept, &bytes_of(&new)].concat(), new)
        })
    }

    /// An agent's record; one of which nothing is known if it has none.
    ///
    /// # Errors
    /// When its cell cannot be read.
    pub fn look<H: Host>(&self, host: &H, key: Key) -> Result<Record, StateError> {
        let (value, _) = read(host, key.cell)?;
        let (chunks, _) = value.as_chunks::<RECORD>();
        let found = chunks.iter().find(|bytes| is_of(bytes, key));
        Ok(found.map_or(Record::new(key), record))
    }

    /// Changes an agent's record by a pure function of it and of the time. The record as it is then. `None`: it has none.
    ///
    /// # Errors
    /// When its cell cannot be changed.
    pub fn update<H: Host>(
        &self,
        host: &H,
        key: Key,
        change: &mut dyn FnMut(&mut Record, Timestamp),
    ) -> Result<Option<Record>, StateError> {
        Grid::update(host, key.cell, |mut value| {
            let (chunks, _) = value.as_chunks_mut::<RECORD>();
            let Some(bytes) = chunks.iter_mut().find(|bytes| is_of(bytes, key)) else {
                return Decision::Keep(None);
            };
            let before = record(bytes);
            let mut after = before;
            change(&mut after, host.now());
            if after == before {
                return Decision::Keep(Some(after));
            }
            *bytes = bytes_of(&after);
            Decision::Replace(value, Some(after))
        })
    }
}

fn is_of(bytes: &[u8; RECORD], key: Key) -> bool {
    bytes.starts_with(&key.tag.to_le_bytes())
}

pub(super) fn bytes_of(record: &Record) -> [u8; RECORD] {
    let two = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let words: [u64; WORDS] = [
        record.tag,
        record.client,
        record.failed_at.0,
        record.window.0,
        two(record.came, record.failed),
        record.since.0,
        record.until.0,
        record.probe.0,
        record.taken.0,
        record.prober,
        record.barred.0,
        two(record.row, record.grown),
    ];
    let mut bytes = [0; RECORD];
    for (to, from) in bytes
        .iter_mut()
        .zip(words.map(u64::to_le_bytes).iter().flatten())
    {
        *to = *from;
    }
    bytes
}

pub(super) fn record(bytes: &[u8; RECORD]) -> Record {
    let (words, _) = bytes.as_chunks::<8>();
    let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
    let mut next = || words.next().unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "these are the halves")]
    let halves = |word: u64| ((word >> 32) as u32, word as u32);
    let (tag, client, failed_at, window) = (next(), next(), next(), next());
    let (came, failed) = halves(next());
    let (since, until, probe) = (next(), next(), next());
    let (taken, prober, barred) = (next(), next(), next());
    let (row, grown) = halves(next());
    Record {
        tag,
        client,
        failed_at: Timestamp(failed_at),
        window: Timestamp(window),
        came,
        failed,
        since: Timestamp(since),
        until: Timestamp(until),
        probe: Timestamp(probe),
        taken: Timestamp(taken),
        prober,
        barred: Timestamp(barred),
        row,
        grown,
    }
}
