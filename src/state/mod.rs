//! State that all workers share, in memory bounded by configuration.
//!
//! Shared data never frees a name, so the names are fixed when the filter is configured: each table is a grid of
//! cells, and what is remembered lies in the cells' values as records. [`Grid`] knows how to change a cell by
//! compare-and-swap with a pure function, and nothing of what the records mean; [`counters`] and [`keys`] know
//! the records, and nothing of workers.
//!
//! | file | what it says |
//! |---|---|
//! | this one | how tables are made and found again, and how a cell is changed by many workers |
//! | `keys.rs` | how a remembered key is laid out, and which goes when a cell is full |
//! | `counters.rs` | the same for counters |
//! | `room.rs` | for how many keys and clients a table has room |

pub mod counters;
pub mod keys;
pub mod room;

use std::fmt;
use std::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::config::policy::Tables;
use crate::host::{CellName, Host, HostError, Swap, Version};

/// By less than this, clocks of cores differ or are slewed; a clock that is behind by more was set back.
const SET_BACK: Duration = Duration::from_secs(1);

/// How often a change of one cell is tried again before it is given up. Some worker makes progress at each try, so
/// this is only reached when a cell is fought over by far more workers than a machine has.
const ATTEMPTS: usize = 1_000;

/// How records are laid out. It stands in the names of all cells: whoever changes the layout changes this, and no module
/// reads records that it does not understand.
const LAYOUT: u8 = b'3';

/// The layouts before it. The first one's names had a slash here.
const EARLIER_LAYOUTS: [u8; 2] = [b'/', b'2'];

/// At most so many names of routes are kept with the tables.
const MOST_TOGETHER: usize = 64;

/// The tables of one gateway.
#[derive(Debug)]
pub struct State {
    /// Remembered keys.
    pub keys: Grid,
    /// Counters of limits.
    pub counters: Grid,
    /// Counters of limits whose caller is known only by its address: strangers fill a table of their own.
    pub address_counters: Grid,
    /// The hash by which records find their cells.
    pub hash: SeededHash,
    /// The routes whose counters lie with the others of their client, by hash.
    together: Vec<u64>,
}

/// What is to be told of the tables that were opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The running process was started with other sizes than the configuration's.
    SizesDiffer {
        /// What is in force until Envoy starts anew.
        in_force: Tables,
    },
    /// The running process has tables of another layout, which stay as they are.
    OtherLayout,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SizesDiffer { in_force } => {
                let Tables {
                    keys,
                    counters,
                    address_counters,
                } = in_force;
                write!(
                    f,
                    "tables: the new sizes take effect when Envoy starts anew; until then {keys} keys, {counters} counters \
                     and {address_counters} address counters"
                )
            }
            Self::OtherLayout => f.write_str(
                "tables: this module lays its records out in another way than the one before it; counts begin anew, no \
                 key is remembered, and the memory of the old tables stays taken until Envoy starts anew",
            ),
        }
    }
}

/// The tables cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// The host refuses.
    Host(HostError),
    /// The cell that says how large the tables are cannot be understood. Whoever made new tables now would take those that
    /// workers are counting in.
    Unreadable,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(error) => error.fmt(f),
            Self::Unreadable => f.write_str(
                "the shared cell that says how large they are cannot be understood; another filter may use the same \
                 vm_id. Start Envoy anew, or give this filter a vm_id of its own",
            ),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<HostError> for OpenError {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl State {
    /// Finds the tables, or creates them if this is the first configuration that the process sees.
    ///
    /// The first configuration is read on the main thread before any worker starts, so nobody else creates them at
    /// the same time; later ones find them and leave them as they are. `together` are the routes whose counters shall
    /// lie with the others of their client: what the first configuration says holds as long as the process, so that counts
    /// are found again whatever routes come and go.
    ///
    /// # Errors
    /// When the host has no randomness or refuses the cells, and when the tables that are there cannot be understood.
    pub fn open<H: Host>(
        host: &H,
        wanted: Tables,
        together: &[&str],
    ) -> Result<(Self, Option<Notice>), OpenError> {
        if let Some((bytes, _)) = host.read_cell(foundation(LAYOUT))? {
            let foundation = Foundation::decode(&bytes).ok_or(OpenError::Unreadable)?;
            let differ = (foundation.tables != wanted).then_some(Notice::SizesDiffer {
                in_force: foundation.tables,
            });
            return Ok((foundation.state(), differ));
        }
        let mut other_layout = None;
        for layout in EARLIER_LAYOUTS {
            if host.read_cell(foundation(layout))?.is_some() {
                other_layout = Some(Notice::OtherLayout);
            }
        }
        let seed = host.seed()?;
        let hash = SeededHash::new(seed);
        let together = together.iter().take(MOST_TOGETHER);
        let foundation_laid = Foundation {
            tables: wanted,
            seed,
            together: together.map(|route| hash.route(route)).collect(),
        };
        let state = foundation_laid.state();
        for grid in [&state.keys, &state.counters, &state.address_counters] {
            grid.create(host)?;
        }
        host.create_cell(foundation(LAYOUT), &foundation_laid.encode())?;
        Ok((state, other_layout))
    }

    /// True if a route's counters lie with the others of their client.
    #[must_use]
    pub fn is_together(&self, route: &str) -> bool {
        self.together.contains(&self.hash.route(route))
    }
}

/// The name of the cell with what all tables of a layout agree on.
fn foundation(layout: u8) -> CellName {
    CellName {
        layout,
        table: b'f',
        number: 0,
    }
}

/// What all tables agree on.
struct Foundation {
    tables: Tables,
    seed: [u8; 16],
    together: Vec<u64>,
}

impl Foundation {
    fn state(&self) -> State {
        let Tables {
            keys,
            counters,
            address_counters,
        } = self.tables;
        let counters_grid = |table: u8, records: u32| {
            Grid::new(table, records.div_ceil(counters::USUAL_RECORDS_PER_CELL))
        };
        State {
            keys: Grid::new(b'k', keys.div_ceil(keys::RECORDS_PER_CELL)),
            counters: counters_grid(b'c', counters),
            address_counters: counters_grid(b'a', address_counters),
            hash: SeededHash::new(self.seed),
            together: self.together.clone(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let Tables {
            keys,
            counters,
            address_counters,
        } = self.tables;
        let mut bytes = Vec::new();
        for records in [keys, counters, address_counters] {
            bytes.extend(records.to_le_bytes());
        }
        bytes.extend(self.seed);
        for route in &self.together {
            bytes.extend(route.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (keys, rest) = bytes.split_first_chunk()?;
        let (counters, rest) = rest.split_first_chunk()?;
        let (address_counters, rest) = rest.split_first_chunk()?;
        let (seed, rest) = rest.split_first_chunk()?;
        let (together, []) = rest.as_chunks() else {
            return None;
        };
        Some(Self {
            tables: Tables {
                keys: u32::from_le_bytes(*keys),
                counters: u32::from_le_bytes(*counters),
                address_counters: u32::from_le_bytes(*address_counters),
            },
            seed: *seed,
            together: together.iter().copied().map(u64::from_le_bytes).collect(),
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
        (0..self.cells).try_for_each(|number| host.create_cell(self.cell(number), &[]))
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

    fn cell(&self, number: u32) -> CellName {
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
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCell => "the shared cell does not exist",
            Self::Refused => "the host refuses the shared cell",
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

/// A hash in two independent halves: one leads to a cell, the other tells a record from its neighbours there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hashed {
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

    /// A route, by its name.
    fn route(&self, name: &str) -> u64 {
        self.of(&[b"route", name.as_bytes()]).tag
    }

    /// The hash of what these parts name together. Where one part ends and the next begins counts.
    #[must_use]
    pub fn of(&self, parts: &[&[u8]]) -> Hashed {
        use std::hash::Hasher;
        let mut hasher = SipHasher13::new_with_key(&self.seed);
        for part in parts {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        let hash = hasher.finish128();
        Hashed {
            cell: hash.h1,
            tag: hash.h2,
        }
    }
}

#[cfg(test)]
mod tests;
