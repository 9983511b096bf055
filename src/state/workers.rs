//! Which workers are there: one cell in which each says on its ticks that it is.
//!
//! A worker is a gateway in one of the process's virtual machines. It has a number that nobody had before. Who says nothing
//! for ten of another's ticks is gone, and its number with it; if it was only slow, it finds that out on its next tick
//! and takes another. No clock is asked: when the process as a whole stood still, all ticks did, and nobody is taken for gone.

use super::grid::{Decision, Grid, StateError};
use crate::host::{CellName, Host};

/// A worker that has said nothing for more than so many ticks of another one is gone.
const SILENT: u32 = 10;

/// So many workers are told apart. A process has one for each thread, and for each configuration whose requests still run.
const MOST: usize = 4_096;

const ENTRY: usize = 8;

/// What one worker knows of all.
#[derive(Debug)]
pub struct Workers {
    cell: CellName,
    own: u32,
    /// The others, as they were on the last tick.
    others: Vec<Seen>,
    /// Who has a higher number has come since the last tick.
    newest: u32,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    number: u32,
    beat: u32,
    /// For how many ticks it has said nothing.
    silent: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    number: u32,
    beat: u32,
}

/// The cell's value: the number that was given out last, and those who are there.
#[derive(Debug, Default)]
struct Present {
    last: u32,
    entries: Vec<Entry>,
}

impl Workers {
    /// Comes in.
    ///
    /// # Errors
    /// When the cell cannot be changed.
    pub fn join<H: Host>(host: &H, grid: Grid) -> Result<Self, StateError> {
        let cell = grid.locate(0);
        let (own, present) = Grid::update(host, cell, |value| {
            let mut present = Present::decode(&value);
            let own = present.add();
            Decision::Replace(present.encode(), (own, present))
        })?;
        let mut workers = Self {
            cell,
            own,
            others: Vec::new(),
            newest: present.last,
        };
        workers.see(&present.entries);
        Ok(workers)
    }

    /// The number of this one.
    #[must_use]
    pub fn own(&self) -> u32 {
        self.own
    }

    /// True unless that one is known to be gone.
    #[must_use]
    pub fn is_there(&self, number: u32) -> bool {
        number == self.own
            || number > self.newest
            || self.others.iter().any(|it| it.number == number)
    }

    /// Says that this one is there, and sees who else is. True: it was taken for gone, and has another number now. What it
    /// had counted under the one before is to be counted again.
    ///
    /// # Errors
    /// When the cell cannot be changed. It is tried again on the next tick.
    pub fn tick<H: Host>(&mut self, host: &H) -> Result<bool, StateError> {
        for seen in &mut self.others {
            seen.silent = seen.silent.saturating_add(1);
        }
        let gone = |entry: &Entry, others: &[Seen]| {
            let same = |it: &&Seen| it.number == entry.number && it.beat == entry.beat;
            others
                .iter()
                .find(same)
                .is_some_and(|it| it.silent > SILENT)
        };
        let (others, before) = (&self.others, self.own);
        let (own, present) = Grid::update(host, self.cell, |value| {
            let mut present = Present::decode(&value);
            present
                .entries
                .retain(|it| it.number == before || !gone(it, others));
            let own = match present.entries.iter_mut().find(|it| it.number == before) {
                Some(entry) => {
                    entry.beat = entry.beat.wrapping_add(1);
                    before
                }
                None => present.add(),
            };
            Decision::Replace(present.encode(), (own, present))
        })?;
        self.own = own;
        self.newest = present.last;
        self.see(&present.entries);
        Ok(own != before)
    }

    fn see(&mut self, entries: &[Entry]) {
        let own = self.own;
        let others = entries.iter().filter(|it| it.number != own);
        let seen = others.map(|entry| {
            let before = self.others.iter();
            let mut before = before.filter(|it| it.number == entry.number && it.beat == entry.beat);
            Seen {
                number: entry.number,
                beat: entry.beat,
                silent: before.next().map_or(0, |it| it.silent),
            }
        });
        self.others = seen.collect();
    }
}

impl Present {
    /// One more. Where there are too many, the one goes that came first.
    fn add(&mut self) -> u32 {
        self.last = self.last.wrapping_add(1).max(1);
        if self.entries.len() >= MOST {
            self.entries.remove(0);
        }
        self.entries.push(Entry {
            number: self.last,
            beat: 0,
        });
        self.last
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + ENTRY * self.entries.len());
        bytes.extend(self.last.to_le_bytes());
        for entry in &self.entries {
            bytes.extend(entry.number.to_le_bytes());
            bytes.extend(entry.beat.to_le_bytes());
        }
        bytes
    }

    fn decode(value: &[u8]) -> Self {
        let Some((last, rest)) = value.split_first_chunk() else {
            return Self::default();
        };
        let (entries, _) = rest.as_chunks::<ENTRY>();
        let entry = |bytes: &[u8; ENTRY]| {
            let [a, b, c, d, e, f, g, h] = *bytes;
            Entry {
                number: u32::from_le_bytes([a, b, c, d]),
                beat: u32::from_le_bytes([e, f, g, h]),
            }
        };
        Self {
            last: u32::from_le_bytes(*last),
            entries: entries.iter().map(entry).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::simulated::{Process, SimulatedHost};

    fn world(number: usize) -> (SimulatedHost, Vec<Workers>) {
        let host = Process::default().worker();
        let grid = Grid::new(b'w', 1);
        grid.create(&host).unwrap();
        let workers = (0..number).map(|_| Workers::join(&host, grid).unwrap());
        let workers = workers.collect();
        (host, workers)
    }

    #[test]
    fn each_has_a_number_of_its_own_and_is_there_from_the_start() {
        let (_, workers) = world(3);
        let numbers: Vec<_> = workers.iter().map(Workers::own).collect();
        assert_eq!(numbers, [1, 2, 3]);
        for worker in &workers {
            assert!(numbers.iter().all(|number| worker.is_there(*number)));
        }
        assert!(!workers[1].is_there(0));
    }

    #[test]
    fn who_says_nothing_for_ten_ticks_of_another_is_gone() {
        let (host, mut workers) = world(3);
        let mut silent = workers.pop().unwrap();
        for tick in 0..=SILENT {
            for worker in &mut workers {
                assert!(worker.is_there(silent.own()), "after {tick}");
                assert!(!worker.tick(&host).unwrap());
            }
        }
        for worker in &mut workers {
            worker.tick(&host).unwrap();
            assert!(!worker.is_there(silent.own()));
            assert!(worker.is_there(1) && worker.is_there(2));
        }
        // It was only slow: it has another number now, and the others know that one.
        assert!(silent.tick(&host).unwrap());
        assert_eq!(silent.own(), 4);
        assert!(
            workers
                .iter()
                .all(|worker| worker.is_there(4) && !worker.is_there(3))
        );
        workers[0].tick(&host).unwrap();
        assert!(workers[0].is_there(4));
    }

    #[test]
    fn nobody_is_gone_after_all_have_stood_still() {
        let (host, mut workers) = world(2);
        for _ in 0..100 {
            for worker in &mut workers {
                assert!(!worker.tick(&host).unwrap());
            }
        }
        // However long that took, a tick is a tick.
        assert!(workers[0].is_there(2) && workers[1].is_there(1));
    }

    #[test]
    fn a_tick_that_cannot_be_written_is_made_up_for_by_the_next() {
        let (host, mut workers) = world(2);
        host.refuse(|_, _| true);
        for _ in 0..3 {
            assert!(workers[0].tick(&host).is_err());
        }
        host.refuse(|_, _| false);
        assert!(!workers[0].tick(&host).unwrap());
        assert!(workers[0].is_there(2));
    }
}
