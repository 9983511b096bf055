//! A table of cells in shared memory, and how many workers change one of them at once: by compare-and-swap, with a pure
//! function of its value.

use std::fmt;

use super::LAYOUT;
use crate::host::{CellName, Host, HostError, Swap, Version};

/// How often a change of one cell is tried again before it is given up. Some worker makes progress at each try, so
/// this is only reached when a cell is fought over by far more workers than a machine has.
const ATTEMPTS: usize = 1_000;

/// A fixed number of shared cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    table: u8,
    cells: u32,
}

impl Grid {
    pub(super) fn new(table: u8, cells: u32) -> Self {
        Self {
            table,
            cells: cells.max(1),
        }
    }

    pub(super) fn create<H: Host>(&self, host: &H) -> Result<(), HostError> {
        (0..self.cells).try_for_each(|number| host.create_cell(self.cell(number), &[]))
    }

    /// Makes those cells that are not there. A process whose tables an older module has made has none of a younger table. A
    /// configuration is read on the main thread before any worker has it, so nobody else makes them at the same time.
    pub(super) fn complete<H: Host>(&self, host: &H) -> Result<(), StateError> {
        for number in 0..self.cells {
            let cell = self.cell(number);
            let value = host.read_cell(cell).map_err(|_| StateError::Refused)?;
            if value.is_none() {
                host.create_cell(cell, &[])
                    .map_err(|_| StateError::Refused)?;
            }
        }
        Ok(())
    }

    /// The cell where a record with this hash lives.
    #[must_use]
    pub fn locate(&self, hash: u64) -> CellName {
        // The upper half of the product spreads the hash over the cells without a division.
        let number = ((hash >> 32) * u64::from(self.cells)) >> 32;
        self.cell(u32::try_from(number).unwrap_or(0))
    }

    /// True if the cell is one of this table.
    #[must_use]
    pub fn holds(&self, cell: CellName) -> bool {
        self.table == cell.table
    }

    /// How many cells there are.
    #[must_use]
    pub fn cells(&self) -> u32 {
        self.cells
    }

    pub(super) fn cell(&self, number: u32) -> CellName {
        CellName {
            layout: LAYOUT,
            table: self.table,
            number,
        }
    }

    /// Changes a cell by a pure function of its value (and of the time, if it reads the clock then: a time read before
    /// the cell is not one to decide by, since a faster worker may have written a later one), tried again as long as other
    /// workers are faster.
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
            let (value, version) = read(host, cell)?;
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

/// A cell that must be there.
///
/// # Errors
/// When it is not, or the host refuses.
pub fn read<H: Host>(host: &H, cell: CellName) -> Result<(Vec<u8>, Version), StateError> {
    let value = host.read_cell(cell).map_err(|_| StateError::Refused)?;
    value.ok_or(StateError::NoCell)
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
    /// The host refuses to read or change it.
    Refused,
    /// Too many workers change it at once.
    Contended,
    /// It holds as much as a cell may.
    NoRoom,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCell => "the shared cell does not exist",
            Self::Refused => "the host refuses the shared cell",
            Self::Contended => "too many workers change the shared cell at once",
            Self::NoRoom => "the shared cell holds as much as it may",
        })
    }
}

impl std::error::Error for StateError {}
