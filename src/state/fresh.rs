//! Fresh starts of counts that another service keeps: one cell in which whoever gave one says so, and in which every worker
//! looks before it uses what it has fetched of such a count ahead of need.
//!
//! The cell is empty nearly always, and an empty one costs next to nothing to read. What stands in it goes after a while, which
//! each worker has looked in long before; who has not had a look for so long takes all counts for begun anew.

use std::time::Duration;

use super::grid::{Decision, Grid, StateError, read};
use super::{Hashed, SET_BACK};
use crate::host::{CellName, Host, Timestamp, Version};

/// So long a fresh start stands there.
const STANDS: Duration = Duration::from_secs(60);

/// So many stand there at most. In place of more stands one of all counts.
const MOST: usize = 64;

const ENTRY: usize = 24;

/// A fresh start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshStart {
    /// Of which count; `None`: of all.
    key: Option<Hashed>,
    /// When it was given. What was asked for until then is of the time before it.
    at: Timestamp,
}

/// What a worker has seen of them.
#[derive(Debug)]
pub struct FreshStarts {
    cell: CellName,
    seen: Option<(Version, Timestamp)>,
    all: Vec<FreshStart>,
}

impl FreshStart {
    /// True if what was asked for then of this count is worth nothing any more.
    #[must_use]
    pub fn ends(&self, key: Hashed, asked: Timestamp) -> bool {
        self.key.is_none_or(|it| it == key) && asked <= self.at
    }

    fn encode(&self) -> [u8; ENTRY] {
        // No hash that is drawn by chance is all of one bit.
        let Hashed { cell, tag } = self.key.unwrap_or(ALL);
        let mut bytes = [0; ENTRY];
        let numbers = [cell, tag, self.at.0].map(u64::to_le_bytes);
        for (to, from) in bytes.iter_mut().zip(numbers.iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    fn decode(bytes: &[u8; ENTRY]) -> Self {
        let (numbers, _) = bytes.as_chunks::<8>();
        let number = |at: usize| numbers.get(at).copied().map_or(0, u64::from_le_bytes);
        let key = Hashed {
            cell: number(0),
            tag: number(1),
        };
        Self {
            key: (key != ALL).then_some(key),
            at: Timestamp(number(2)),
        }
    }
}

const ALL: Hashed = Hashed {
    cell: u64::MAX,
    tag: u64::MAX,
};

impl FreshStarts {
    /// Of which nothing was seen yet.
    #[must_use]
    pub fn new(grid: Grid) -> Self {
        Self {
            cell: grid.locate(0),
            seen: None,
            all: Vec::new(),
        }
    }

    /// Those that were seen.
    #[must_use]
    pub fn all(&self) -> &[FreshStart] {
        &self.all
    }

    /// Looks, and says whether there is anything new.
    ///
    /// # Errors
    /// When the cell cannot be read.
    pub fn look<H: Host>(&mut self, host: &H, now: Timestamp) -> Result<bool, StateError> {
        let (bytes, version) = read(host, self.cell)?;
        let before = self.seen.replace((version, now));
        if before.is_some_and(|(seen, _)| seen == version) {
            return Ok(false);
        }
        self.all = standing(&bytes, now);
        // One may have come and gone meanwhile.
        if before.is_some_and(|(_, at)| now.since(at) >= STANDS / 2) {
            self.all.push(FreshStart { key: None, at: now });
        }
        Ok(!self.all.is_empty())
    }

    /// Says that these counts have begun anew.
    ///
    /// # Errors
    /// When the cell cannot be changed.
    pub fn add<H: Host>(&self, host: &H, keys: &[Hashed]) -> Result<(), StateError> {
        Grid::update(host, self.cell, |bytes| {
            let at = host.now();
            let mut all = standing(&bytes, at);
            all.retain(|it| it.key.is_none_or(|key| !keys.contains(&key)));
            let started = |key: &Hashed| FreshStart {
                key: Some(*key),
                at,
            };
            all.extend(keys.iter().map(started));
            if all.len() > MOST {
                all = vec![FreshStart { key: None, at }];
            }
            Decision::Replace(encode(&all), ())
        })
    }

    /// Takes out what has stood there long enough. To be called once a second.
    ///
    /// # Errors
    /// When the cell cannot be read or changed.
    pub fn tick<H: Host>(&self, host: &H) -> Result<(), StateError> {
        Grid::update(host, self.cell, |bytes| {
            if bytes.is_empty() {
                return Decision::Keep(());
            }
            let left = encode(&standing(&bytes, host.now()));
            if left.len() == bytes.len() {
                return Decision::Keep(());
            }
            Decision::Replace(left, ())
        })
    }
}

fn encode(all: &[FreshStart]) -> Vec<u8> {
    all.iter().flat_map(FreshStart::encode).collect()
}

/// Those of a cell that still count. Of one from the future, the clock was set back since, and nothing of before it holds.
fn standing(bytes: &[u8], now: Timestamp) -> Vec<FreshStart> {
    let (entries, _) = bytes.as_chunks();
    let all = entries.iter().map(FreshStart::decode);
    all.filter(|it| now.since(it.at) < STANDS && it.at.since(now) < SET_BACK)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::policy::Tables;
    use crate::host::simulated::{Process, SimulatedHost};
    use crate::state::State;

    const KEY: Hashed = Hashed { cell: 1, tag: 2 };
    const OTHER: Hashed = Hashed { cell: 1, tag: 3 };

    fn worker(process: &Process) -> (SimulatedHost, FreshStarts) {
        let host = process.worker();
        let tables = Tables {
            keys: 8,
            counters: 8,
            address_counters: 8,
            responses: 64,
        };
        let (state, _) = State::open(&host, tables, &[]).unwrap();
        (host, FreshStarts::new(state.fresh_starts))
    }

    fn ends(seen: &FreshStarts, key: Hashed, asked: Timestamp) -> bool {
        seen.all().iter().any(|it| it.ends(key, asked))
    }

    #[test]
    fn every_worker_sees_a_fresh_start_once() {
        let process = Process::default();
        let [(host, one), (_, mut two)] = [worker(&process), worker(&process)];
        assert_eq!(two.look(&host, process.now()), Ok(false));
        one.add(&host, &[KEY]).unwrap();
        assert_eq!(two.look(&host, process.now()), Ok(true));
        assert_eq!(two.look(&host, process.now()), Ok(false));
        let (at, later) = (process.now(), process.now().after(Duration::from_nanos(1)));
        assert!(ends(&two, KEY, at));
        assert!(!ends(&two, KEY, later), "asked for after it");
        assert!(!ends(&two, OTHER, at), "another count");
    }

    #[test]
    fn it_goes_when_all_have_seen_it_and_who_has_not_takes_all_for_begun_anew() {
        let process = Process::default();
        let [(host, mut one), (_, mut late)] = [worker(&process), worker(&process)];
        late.look(&host, process.now()).unwrap();
        one.add(&host, &[KEY]).unwrap();
        let before = process.now();
        process.pass(STANDS);
        one.tick(&host).unwrap();
        assert!(read(&host, one.cell).unwrap().0.is_empty());
        assert_eq!(one.look(&host, process.now()), Ok(false));
        assert_eq!(late.look(&host, process.now()), Ok(true));
        assert!(ends(&late, KEY, before) && ends(&late, OTHER, before));
    }

    #[test]
    fn more_than_there_is_room_for_are_one_of_all() {
        let process = Process::default();
        let (host, mut seen) = worker(&process);
        let key = |tag| Hashed { cell: 0, tag };
        let many: Vec<_> = (0..MOST as u64).map(key).collect();
        seen.add(&host, &many).unwrap();
        // The same again takes no more room.
        seen.add(&host, &many).unwrap();
        seen.look(&host, process.now()).unwrap();
        assert!(!ends(&seen, KEY, process.now()));
        seen.add(&host, &[OTHER]).unwrap();
        seen.look(&host, process.now()).unwrap();
        assert!(ends(&seen, KEY, process.now()));
    }

    #[test]
    fn one_from_before_the_clock_was_set_back_ends_nothing() {
        let process = Process::default();
        process.pass(Duration::from_secs(3_600));
        let (host, mut seen) = worker(&process);
        seen.add(&host, &[KEY]).unwrap();
        let back = Timestamp(process.now().0 - 10_000_000_000);
        seen.look(&host, back).unwrap();
        assert!(!ends(&seen, KEY, back));
    }
}
