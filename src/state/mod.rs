//! State that all workers share, in memory bounded by configuration.
//!
//! Shared data never frees a name, so the names are fixed when the filter is configured: each table is a grid of
//! cells, and what is remembered lies in the cells' values as records. [`Grid`] knows how to change a cell by
//! compare-and-swap with a pure function, and nothing of what the records mean; [`counters`] and [`keys`] know
//! the records, and nothing of workers.

pub mod counters;
pub mod keys;

use std::fmt;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::config::policy::Tables;
use crate::host::{CellName, Host, HostError, Swap};

/// How often a change of one cell is tried again before it is given up. Some worker makes progress at each try, so
/// this is only reached when a cell is fought over by far more workers than a machine has.
const ATTEMPTS: usize = 1_000;

/// The cell with what all tables agree on: their sizes and the seed of their hash.
const FOUNDATION: CellName = CellName {
    table: b'f',
    number: 0,
};

/// The tables of one gateway.
#[derive(Debug)]
pub struct State {
    /// Remembered keys.
    pub keys: Grid,
    /// Counters of limits.
    pub counters: Grid,
    /// The hash by which records find their cells.
    pub hash: SeededHash,
}

/// The sizes that the running process was started with differ from those of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizesDiffer {
    /// What is in force until Envoy starts anew.
    pub in_force: Tables,
}

impl State {
    /// Finds the tables, or creates them if this is the first configuration that the process sees.
    ///
    /// The first configuration is read on the main thread before any worker starts, so nobody else creates them at
    /// the same time; later ones find them and leave them as they are.
    ///
    /// # Errors
    /// When the host has no randomness or refuses the cells.
    pub fn open<H: Host>(
        host: &H,
        wanted: Tables,
    ) -> Result<(Self, Option<SizesDiffer>), HostError> {
        if let Some((bytes, _)) = host.read_cell(FOUNDATION)
            && let Some(foundation) = Foundation::decode(&bytes)
        {
            let differ = (foundation.tables != wanted).then_some(SizesDiffer {
                in_force: foundation.tables,
            });
            return Ok((foundation.state(), differ));
        }
        let foundation = Foundation {
            tables: wanted,
            seed: host.seed()?,
        };
        let state = foundation.state();
        for grid in [&state.keys, &state.counters] {
            grid.create(host)?;
        }
        host.create_cell(FOUNDATION, &foundation.encode())?;
        Ok((state, None))
    }
}

/// What all tables agree on.
struct Foundation {
    tables: Tables,
    seed: [u8; 16],
}

impl Foundation {
    fn state(&self) -> State {
        State {
            keys: Grid::new(b'k', self.tables.keys.div_ceil(keys::RECORDS_PER_CELL)),
            counters: Grid::new(
                b'c',
                self.tables.counters.div_ceil(counters::RECORDS_PER_CELL),
            ),
            hash: SeededHash::new(self.seed),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.tables.keys.to_le_bytes().to_vec();
        bytes.extend(self.tables.counters.to_le_bytes());
        bytes.extend(self.seed);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (keys, rest) = bytes.split_first_chunk()?;
        let (counters, rest) = rest.split_first_chunk()?;
        Some(Self {
            tables: Tables {
                keys: u32::from_le_bytes(*keys),
                counters: u32::from_le_bytes(*counters),
            },
            seed: rest.try_into().ok()?,
        })
    }
}

/// A fixed number of shared cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    table: u8,
    cells: u32,
}

impl Grid {
    fn new(table: u8, cells: u32) -> Self {
        Self {
            table,
            cells: cells.max(1),
        }
    }

    fn create<H: Host>(&self, host: &H) -> Result<(), HostError> {
        (0..self.cells).try_for_each(|number| {
            host.create_cell(
                CellName {
                    table: self.table,
                    number,
                },
                &[],
            )
        })
    }

    /// The cell where a record with this hash lives.
    #[must_use]
    pub fn locate(&self, hash: u64) -> CellName {
        // The upper half of the product spreads the hash over the cells without a division.
        let number = ((hash >> 32) * u64::from(self.cells)) >> 32;
        CellName {
            table: self.table,
            number: u32::try_from(number).unwrap_or(0),
        }
    }

    /// Changes a cell by a pure function of its value, tried again as long as other workers are faster.
    ///
    /// # Errors
    /// When the cell does not exist, the host refuses, or the cell is fought over beyond reason. Nothing was changed
    /// then.
    pub fn update<H: Host, T>(
        host: &H,
        cell: CellName,
        mut decide: impl FnMut(Vec<u8>) -> Decision<T>,
    ) -> Result<T, StateError> {
        for _ in 0..ATTEMPTS {
            let (value, version) = host.read_cell(cell).ok_or(StateError::NoCell)?;
            match decide(value) {
                Decision::Keep(outcome) => return Ok(outcome),
                Decision::Replace(value, outcome) => match host.swap_cell(cell, &value, version) {
                    Swap::Done => return Ok(outcome),
                    Swap::Changed => {}
                    Swap::Failed => return Err(StateError::Refused),
                },
            }
        }
        Err(StateError::Contended)
    }
}

/// What to do with a cell's value, and what came of it.
#[derive(Debug)]
pub enum Decision<T> {
    /// Leave it.
    Keep(T),
    /// Put this in its place.
    Replace(Vec<u8>, T),
}

/// Shared state could not be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateError {
    /// The cell was not created at the start.
    NoCell,
    /// The host refuses to change it.
    Refused,
    /// Too many workers change it at once.
    Contended,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCell => "the shared cell does not exist",
            Self::Refused => "the host refuses to change the shared cell",
            Self::Contended => "too many workers change the shared cell at once",
        })
    }
}

impl std::error::Error for StateError {}

/// A hash that nobody outside can predict: its seed is drawn once per process, so that no caller can choose
/// names that fall into one cell.
#[derive(Debug, Clone, Copy)]
pub struct SeededHash {
    seed: [u8; 16],
}

/// Where a record lives, and what tells it from its neighbours: two independent halves of one hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Leads to the cell, see [`Grid::locate`].
    pub cell: u64,
    /// Tells records of a cell apart.
    pub tag: u64,
}

impl SeededHash {
    /// A hash with this seed.
    #[must_use]
    pub fn new(seed: [u8; 16]) -> Self {
        Self { seed }
    }

    /// The place of what these parts name together. Where one part ends and the next begins counts.
    #[must_use]
    pub fn place(&self, parts: &[&[u8]]) -> Place {
        use std::hash::Hasher;
        let mut hasher = SipHasher13::new_with_key(&self.seed);
        for part in parts {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        let hash = hasher.finish128();
        Place {
            cell: hash.h1,
            tag: hash.h2,
        }
    }
}

#[cfg(test)]
mod tests;
