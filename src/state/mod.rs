//! State that all workers share, in memory bounded by configuration.
//!
//! Shared data never frees a name, so the names are fixed when the filter is configured: each table is a grid of
//! cells, and what is remembered lies in the cells' values as records. [`Grid`] knows how to change a cell by
//! compare-and-swap with a pure function, and nothing of what the records mean; [`counters`] and [`keys`] know
//! the records, and nothing of workers.
//!
//! | file | what it says |
//! |---|---|
//! | this one | how tables are made and found again |
//! | `grid.rs` | how a cell is changed by many workers |
//! | `hash.rs` | how records find their cells, which no caller can foresee |
//! | `keys.rs` | how a remembered key is laid out, and which goes when a cell is full |
//! | `counters.rs`, `counters/record.rs` | the same for counters; which time counts where workers' clocks differ or are set back |
//! | `room.rs` | for how many keys and clients a table has room |
//! | `survey.rs` | how full the tables are, and how large they should be |
//! | `in_flight.rs` | how requests under way are counted, and who waits for a place among them |
//! | `fresh.rs` | which counts of another service have begun anew |
//! | `measures.rs` | what is measured of agents, and reported by them |
//! | `health.rs` | how agents do, and which rest |
//! | `canary.rs` | how canaries do, and which get nothing any more |
//! | `responses.rs` | who has given which answer |
//! | `workers.rs` | which workers are there: what those that are gone had counted counts no more |

pub mod canary;
pub mod counters;
pub mod fresh;
mod grid;
mod hash;
pub mod health;
pub mod in_flight;
pub mod keys;
pub mod measures;
pub mod responses;
pub mod room;
pub mod survey;
pub mod workers;

use std::fmt;
use std::time::Duration;

use crate::config::policy::Tables;
use crate::host::{CellName, Host, HostError};

pub use grid::{Decision, Grid, StateError, read};
pub use hash::{Hashed, SeededHash};

/// By less than this, clocks of cores differ or are slewed; a clock that is behind by more was set back.
const SET_BACK: Duration = Duration::from_secs(1);

/// How records are laid out. It stands in the names of all cells: whoever changes the layout changes this, and no module
/// reads records that it does not understand.
const LAYOUT: u8 = b'4';

/// The layouts before it. The first one's names had a slash here.
const EARLIER_LAYOUTS: [u8; 3] = [b'/', b'2', b'3'];

/// Over so many cells requests in flight are spread. A cell is as large as what is under way, so this is no bound.
const IN_FLIGHT_CELLS: u32 = 1024;

/// The hashes of at most so many routes' names are kept with the tables.
const MOST_ROUTES_KEPT: usize = 64;

/// The tables of one gateway.
#[derive(Debug)]
pub struct State {
    /// Remembered keys.
    pub keys: Grid,
    /// Counters of limits.
    pub counters: Grid,
    /// Counters of limits whose caller is known only by its address: strangers fill a table of their own.
    pub address_counters: Grid,
    /// Requests in flight, and those that wait.
    pub in_flight: Grid,
    /// The one cell of all workers.
    pub workers: Grid,
    /// The one cell in which workers note how full the tables are.
    pub survey: Grid,
    /// The one cell of fresh starts.
    pub fresh_starts: Grid,
    /// The one cell in which canaries have their records. Not there where an older module has made the tables.
    pub canaries: Grid,
    /// The one cell that says how many cells the table of answers has, if it is there.
    pub responses: Grid,
    /// What is measured of agents. Not there where an older module has made the tables.
    pub measures: Grid,
    /// How agents do that may rest. Not there where an older module has made the tables.
    pub health: Grid,
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
                    responses: _,
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
            let in_force = Tables {
                responses: wanted.responses,
                ..foundation.tables
            };
            let differ = (in_force != wanted).then_some(Notice::SizesDiffer { in_force });
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
        let together = together.iter().take(MOST_ROUTES_KEPT);
        let foundation_laid = Foundation {
            tables: wanted,
            seed,
            together: together.map(|route| hash.route(route)).collect(),
        };
        let state = foundation_laid.state();
        for grid in [
            &state.keys,
            &state.counters,
            &state.address_counters,
            &state.in_flight,
            &state.workers,
            &state.survey,
            &state.fresh_starts,
            &state.canaries,
            &state.measures,
            &state.health,
        ] {
            grid.create(host)?;
        }
        host.create_cell(foundation(LAYOUT), &foundation_laid.encode())?;
        Ok((state, other_layout))
    }

    /// Finds the tables, where the first configuration has been read already.
    ///
    /// # Errors
    /// When the host refuses, and when the tables that are there cannot be understood.
    pub fn find<H: Host>(host: &H) -> Result<Option<Self>, OpenError> {
        let Some((bytes, _)) = host.read_cell(foundation(LAYOUT))? else {
            return Ok(None);
        };
        let foundation = Foundation::decode(&bytes).ok_or(OpenError::Unreadable)?;
        Ok(Some(foundation.state()))
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
            responses: _,
        } = self.tables;
        let counters_grid = |table: u8, records: u32| {
            Grid::new(table, records.div_ceil(counters::USUAL_RECORDS_PER_CELL))
        };
        State {
            keys: Grid::new(b'k', keys.div_ceil(keys::RECORDS_PER_CELL)),
            counters: counters_grid(b'c', counters),
            address_counters: counters_grid(b'a', address_counters),
            in_flight: Grid::new(b'i', IN_FLIGHT_CELLS),
            workers: Grid::new(b'w', 1),
            survey: Grid::new(b's', 1),
            fresh_starts: Grid::new(b'r', 1),
            canaries: Grid::new(b'n', 1),
            responses: Grid::new(b'p', 1),
            measures: Grid::new(b'm', measures::CELLS),
            health: Grid::new(b'h', health::CELLS),
            hash: SeededHash::new(self.seed),
            together: self.together.clone(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let Tables {
            keys,
            counters,
            address_counters,
            responses: _,
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
                // Made later, and says itself how large it is.
                responses: 0,
            },
            seed: *seed,
            together: together.iter().copied().map(u64::from_le_bytes).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
