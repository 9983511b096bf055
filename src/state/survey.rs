//! How full the tables are, so that an operator is told before anything is forgotten.
//!
//! Nothing is counted when records come and go: once a second one worker looks at some cells of each table. A round of a table
//! takes a minute at most, and sees each cell of a small one, or as many of a large one as tell the rest. How unevenly
//! the cells fill is seen as well, since that decides how much a table has room for. What a round has seen so far lies in a
//! cell of its own: who changes that first looks next, whichever worker it is, and a worker that is gone leaves nothing behind
//! that others could not go on with.

use std::time::Duration;

use super::grid::{Decision, Grid, StateError, read};
use super::{SET_BACK, State, counters, keys, room};
use crate::config::policy::Tables;
use crate::host::{CellName, Host, Timestamp};

/// Ticks come each second, and never quite.
const PAUSE: Duration = Duration::from_millis(900);

/// So many cells of each table are looked at in one go: a small part of a millisecond.
const AT_ONCE: u32 = 64;

/// So many in one round.
const IN_ROUND: u32 = 60 * AT_ONCE;

/// From so many per cent on, of what a table has room for or of what its fullest cell can hold, it is nearly full.
const NEARLY_FULL: u64 = 80;

/// A table of the size that is named is filled to so many per cent at most.
const FILLED_BY_THEN: u64 = 50;

/// Nothing is nearly full whose fullest cell holds less, in per cent: where few lie, how they lie says little of how more would.
const FILLED_SOMEWHERE: u64 = 50;

/// A size that is named is so many times the present one at most. If that is too small, the next line says so.
const MOST_AT_ONCE: u32 = 8;

/// How long it is until the same table is told of again.
const UNTIL_TOLD_AGAIN: Duration = Duration::from_secs(60);

/// A table whose size an operator chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Remembered keys.
    Keys,
    /// Counters of limits.
    Counters,
    /// Counters of those who are known only by their address.
    AddressCounters,
}

/// How full a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fullness {
    /// Which one it is.
    pub table: Table,
    /// How many records of it say something now. Of keys the valid ones: others never put one out.
    pub in_use: u64,
    /// How many it has room for, as unevenly as its cells fill.
    pub room: u64,
    /// How many of them lie in the fullest cell that was seen.
    pub fullest: u64,
    /// The operator is to be told that it is nearly full, and should be so large.
    pub should_be: Option<u32>,
}

/// Who looks at the tables.
#[derive(Debug)]
pub struct Survey {
    cell: CellName,
    grids: [(Table, Grid); 3],
}

/// What has been seen of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    /// Where this round began, and how far it is.
    first: u64,
    next: u64,
    cells: u64,
    records: u64,
    squares: u64,
    fullest: u64,
    /// The size that was named last, and when.
    told: u64,
    told_at: u64,
}

const WORDS: usize = 8;

impl Table {
    /// The field of the configuration that says how large it is.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Counters => "counters",
            Self::AddressCounters => "address_counters",
        }
    }

    /// How many records a cell of it holds at most.
    #[must_use]
    pub fn most_in_a_cell(self) -> u64 {
        match self {
            Self::Keys => keys::RECORDS_PER_CELL,
            Self::Counters | Self::AddressCounters => counters::MOST_RECORDS_PER_CELL,
        }
        .into()
    }

    fn size(self, cells: u32) -> u32 {
        cells.saturating_mul(match self {
            Self::Keys => keys::RECORDS_PER_CELL,
            Self::Counters | Self::AddressCounters => counters::USUAL_RECORDS_PER_CELL,
        })
    }

    /// How many records a table of this size has room for, if so many lie together.
    fn room(self, size: u32, together: u32) -> u64 {
        match self {
            Self::Keys => room::room_for_keys(size),
            Self::Counters | Self::AddressCounters => {
                room::room(size, together).saturating_mul(together.into())
            }
        }
    }

    fn in_use(self, value: Vec<u8>, now: Timestamp) -> usize {
        match self {
            Self::Keys => keys::valid(&value, now),
            Self::Counters | Self::AddressCounters => counters::in_use(&value, now),
        }
    }
}

impl Survey {
    /// Of these tables.
    #[must_use]
    pub fn new(state: &State) -> Self {
        Self {
            cell: state.survey.locate(0),
            grids: [
                (Table::Keys, state.keys),
                (Table::Counters, state.counters),
                (Table::AddressCounters, state.address_counters),
            ],
        }
    }

    /// Looks at some cells, unless another worker has within this second. Those tables come back of which a round is done.
    ///
    /// # Errors
    /// When the shared state cannot be reached.
    pub fn tick<H: Host>(&self, host: &H) -> Result<Vec<Fullness>, StateError> {
        let Some((now, mut seen)) = self.begin(host)? else {
            return Ok(Vec::new());
        };
        let mut done = Vec::new();
        for ((table, grid), seen) in self.grids.iter().zip(&mut seen) {
            if seen.look(host, *table, *grid, now)? {
                done.push(seen.conclude(*table, grid.cells(), now));
            }
        }
        let mine = Grid::update(host, self.cell, |value| {
            if time_of(&value) == now {
                Decision::Replace(encode(now, &seen), true)
            } else {
                Decision::Keep(false)
            }
        })?;
        // Whoever was slower than a second has looked for nothing.
        Ok(if mine { done } else { Vec::new() })
    }

    /// `None`: it is not this worker's turn.
    fn begin<H: Host>(&self, host: &H) -> Result<Option<(Timestamp, [Seen; 3])>, StateError> {
        Grid::update(host, self.cell, |value| {
            let (now, last) = (host.now(), time_of(&value));
            let set_back = last.since(now) >= SET_BACK;
            if now.since(last) < PAUSE && !set_back {
                return Decision::Keep(None);
            }
            let seen = decode(&value);
            Decision::Replace(encode(now, &seen), Some((now, seen)))
        })
    }
}

impl Seen {
    /// Looks at the next cells. True: that was the rest of them.
    fn look<H: Host>(
        &mut self,
        host: &H,
        table: Table,
        grid: Grid,
        now: Timestamp,
    ) -> Result<bool, StateError> {
        let cells = u64::from(grid.cells());
        let stride = cells.div_ceil(IN_ROUND.into());
        for _ in 0..AT_ONCE {
            let Ok(number) = u32::try_from(self.next) else {
                return Ok(true);
            };
            if self.next >= cells {
                return Ok(true);
            }
            let (value, _) = read(host, grid.cell(number))?;
            let records = u64::try_from(table.in_use(value, now)).unwrap_or(u64::MAX);
            self.cells += 1;
            self.records = self.records.saturating_add(records);
            self.squares = self.squares.saturating_add(records.saturating_mul(records));
            self.fullest = self.fullest.max(records);
            self.next = self.next.saturating_add(stride);
        }
        Ok(self.next >= cells)
    }

    /// What all came to. The next round sees other cells, where it does not see all.
    fn conclude(&mut self, table: Table, cells: u32, now: Timestamp) -> Fullness {
        let seen = self.cells.max(1);
        let in_use = self.records.saturating_mul(cells.into()) / seen;
        let (size, together) = (table.size(cells), self.together());
        let room = table.room(size, together);
        let fullest = self.fullest;
        let fills = |per_cent: u64| in_use.saturating_mul(100) >= room.saturating_mul(per_cent);
        let most = table.most_in_a_cell();
        let some = |per_cent: u64| fullest.saturating_mul(100) >= most.saturating_mul(per_cent);
        // A cell of keys that is full is nothing rare, and what it forgets is only asked for again.
        let alone = table != Table::Keys && some(NEARLY_FULL);
        let nearly_full = alone || some(FILLED_SOMEWHERE) && fills(NEARLY_FULL);
        let should_be = nearly_full.then(|| {
            let fits = |size: &u32| {
                let room = table.room(*size, together);
                in_use.saturating_mul(100) <= room.saturating_mul(FILLED_BY_THEN)
            };
            let most = size.saturating_mul(MOST_AT_ONCE);
            let powers = (0..u32::BITS).map(|power| 1 << power);
            let mut larger = powers.filter(|larger| (size + 1..=most).contains(larger));
            let first = larger.find(fits).unwrap_or(most);
            first.min(Tables::MOST)
        });
        let should_be = should_be.filter(|should_be| {
            let told_at = Timestamp(self.told_at);
            let pause_is_over = now.since(told_at) >= UNTIL_TOLD_AGAIN || told_at > now;
            *should_be > size && u64::from(*should_be) > self.told && pause_is_over
        });
        if let Some(size) = should_be {
            (self.told, self.told_at) = (size.into(), now.0);
        } else if !nearly_full && !fills(FILLED_BY_THEN) {
            self.told = 0;
        }
        let stride = u64::from(cells.div_ceil(IN_ROUND));
        let first = (self.first + 1) % stride.max(1);
        *self = Self {
            first,
            next: first,
            told: self.told,
            told_at: self.told_at,
            ..Self::default()
        };
        Fullness {
            table,
            in_use,
            room,
            fullest,
            should_be,
        }
    }

    /// How many records lie together, by how unevenly the cells fill: their variance in terms of their mean.
    fn together(&self) -> u32 {
        let cells = self.cells.max(1) as f64;
        let mean = self.records as f64 / cells;
        let variance = self.squares as f64 / cells - mean * mean;
        let together = if mean > 0.0 { variance / mean } else { 1.0 };
        let most = f64::from(counters::MOST_RECORDS_PER_CELL);
        // Whole by now, and in bounds.
        together.round().clamp(1.0, most) as u32
    }

    fn words(&mut self) -> [&mut u64; WORDS] {
        let Self {
            first,
            next,
            cells,
            records,
            squares,
            fullest,
            told,
            told_at,
        } = self;
        [first, next, cells, records, squares, fullest, told, told_at]
    }
}

/// When somebody looked last.
fn time_of(value: &[u8]) -> Timestamp {
    Timestamp(value.first_chunk().copied().map_or(0, u64::from_le_bytes))
}

fn encode(now: Timestamp, seen: &[Seen; 3]) -> Vec<u8> {
    let mut bytes = now.0.to_le_bytes().to_vec();
    for mut seen in *seen {
        for word in seen.words() {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes
}

fn decode(value: &[u8]) -> [Seen; 3] {
    let (words, _) = value.as_chunks();
    let mut words = words.iter().skip(1).copied().map(u64::from_le_bytes);
    let mut all = [Seen::default(); 3];
    for seen in &mut all {
        for word in seen.words() {
            *word = words.next().unwrap_or(0);
        }
    }
    all
}

#[cfg(test)]
mod tests;
