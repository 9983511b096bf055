//! Records of counters, and the cells that hold them.
//!
//! A record is a tag, the moment from which nothing is owed any more, and three words of the limit's own. A token bucket
//! keeps in them the unit in which it counts, how much of what is owed lies in the bucket (what is beyond it is overdrawn),
//! and what was given back. A window keeps its beginning, marked, and its two counts. A record whose moment has passed says
//! nothing any more and gives its slot free.
//!
//! Before the records a cell holds the time of its last change, by which workers whose clocks differ agree on one time,
//! and two numbers by which receipts are checked (see `limits/receipt.rs`): the era, which begins anew whenever debts
//! change otherwise than by requests and by time, and how much was given back of one record at most.
//!
//! A cell grows with its records up to a bound that a table of the documented size does not reach (see [`super::room`]).
//! At the bound a newcomer takes over the record of its own limit that owes least, with what it owes; if there is none, it
//! takes the slot of the record that would have been free first. What a limit of seconds meets never depends on a limit
//! of days. An overdrawn record goes to nobody: what was drawn too much is paid by whoever drew it.

mod record;

use super::SET_BACK;
use crate::host::Timestamp;

pub use record::{Counts, Debt, Record};

/// How many records lie in a cell of a table that holds as many as it was made for, on average.
pub const USUAL_RECORDS_PER_CELL: u32 = 32;

/// How many records a cell holds at most. Eight times the usual: cells fill unevenly, and a client's records lie together.
pub const MOST_RECORDS_PER_CELL: u32 = 256;

/// The bytes of one record: tag, moment, and the three words of a limit.
pub const RECORD_BYTES: u32 = 40;

/// The bytes before a cell's records: the time of its last change, the era, and what was given back.
pub const HEAD_BYTES: u32 = 24;

const MOST: usize = MOST_RECORDS_PER_CELL as usize;
const RECORD: usize = RECORD_BYTES as usize;
const HEAD: usize = HEAD_BYTES as usize;

/// The words of a cell's head.
const LAST: usize = 0;
const ERA: usize = 1;
const RETURNED: usize = 2;

/// The bits of a tag that name the limit. The others name the limit and whom it is counted for.
const LIMIT_BITS: u64 = 0xffff << 48;

/// The tag of what is counted by `limit` for `subject`, both hashes.
#[must_use]
pub fn tag(limit: u64, subject: u64) -> u64 {
    limit & LIMIT_BITS | (limit ^ subject) & !LIMIT_BITS
}

/// Where a record lies in its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(usize);

/// The record that makes room in a full cell.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing {
    /// Its slot.
    pub slot: Slot,
    /// If it is of the newcomer's own limit, the record that the newcomer starts from.
    pub inherited: Option<Record>,
}

/// The records of one cell.
#[derive(Debug, Clone)]
pub struct Records {
    bytes: Vec<u8>,
    now: Timestamp,
    set_back: bool,
}

/// How many records of a cell's value still say something.
#[must_use]
pub fn in_use(value: &[u8], now: Timestamp) -> usize {
    let records: &[[u8; RECORD]] = value.get(HEAD..).unwrap_or_default().as_chunks().0;
    let counts = |raw: &&[u8; RECORD]| Record::decode(raw).moment > now;
    records.iter().filter(counts).count()
}

impl Records {
    /// Reads a cell's value. `clock` was read after the cell was. Records that no longer count are dropped.
    ///
    /// Where the clock is a little earlier than the cell's last change, another worker's clock is ahead: the time of
    /// the change is taken, so that nobody gains by it. Where it is much earlier, it was set back: all moments go
    /// back by as much, so that debts keep their size. A clock of zero is a host that has no time to give, for which
    /// time stands still.
    #[must_use]
    pub fn read(mut bytes: Vec<u8>, clock: Timestamp) -> Self {
        if bytes.len() < HEAD {
            bytes.clear();
            bytes.resize(HEAD, 0);
        }
        let last = Timestamp(word(&bytes, LAST));
        let behind = last.since(clock);
        let set_back = behind >= SET_BACK && clock.0 != 0;
        let mut records = Self {
            bytes,
            now: if set_back { clock } else { clock.max(last) },
            set_back,
        };
        if set_back {
            let behind = u64::try_from(behind.as_nanos()).unwrap_or(u64::MAX);
            records.move_back(behind);
            records.begin_era();
        }
        records.drop_the_past();
        records
    }

    /// The time to decide by.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// True if the clock was set back, and moments were moved. That must be written, whatever else comes of it: else they
    /// would be moved anew each time.
    #[must_use]
    pub fn set_back(&self) -> bool {
        self.set_back
    }

    /// In which era the cell is. Receipts of an earlier one are not honoured.
    #[must_use]
    pub fn era(&self) -> u64 {
        word(&self.bytes, ERA)
    }

    /// Debts change otherwise than by requests and by time: nobody can tell any more what is left of what was taken before.
    pub fn begin_era(&mut self) {
        self.set_word(ERA, self.era().wrapping_add(1));
    }

    /// What a new record begins to count from what is given back: no less than any record before it had counted.
    #[must_use]
    pub fn returned(&self) -> u64 {
        word(&self.bytes, RETURNED)
    }

    /// How many more records there is room for.
    #[must_use]
    pub fn room(&self) -> usize {
        MOST.saturating_sub(self.bytes.len().saturating_sub(HEAD) / RECORD)
    }

    /// All records.
    pub fn all(&self) -> impl Iterator<Item = Record> {
        self.raw().iter().map(Record::decode)
    }

    /// The record kept under `tag`.
    #[must_use]
    pub fn find(&self, tag: u64) -> Option<(Slot, Record)> {
        let tag = tag.to_le_bytes();
        self.raw()
            .iter()
            .position(|record| record.starts_with(&tag))
            .and_then(|index| self.get(Slot(index)).map(|record| (Slot(index), record)))
    }

    /// Has those who come later know how much was given back of a record.
    pub fn note_returned(&mut self, record: &Record) {
        let ahead = record.returned.wrapping_sub(self.returned());
        if ahead < u64::MAX / 2 {
            self.set_word(RETURNED, record.returned);
        }
    }

    /// Puts a record in place of the one in `slot`.
    pub fn set(&mut self, slot: Slot, record: Record) {
        let start = HEAD + slot.0 * RECORD;
        if let Some(old) = self.bytes.get_mut(start..start + RECORD) {
            old.copy_from_slice(&record.encode());
        }
    }

    /// Adds a record.
    pub fn push(&mut self, record: Record) {
        self.bytes.extend(record.encode());
    }

    /// Takes a record out. False: there is none under `tag`.
    pub fn remove(&mut self, tag: u64) -> bool {
        let Some((Slot(index), _)) = self.find(tag) else {
            return false;
        };
        let records = self.raw_mut();
        let last = records.len().saturating_sub(1);
        records.swap(index, last);
        self.bytes.truncate(HEAD + last * RECORD);
        true
    }

    /// The record that makes room for a newcomer with this tag: of its own limit the one that owes least (`owes` says how
    /// much in the newcomer's unit); if there is none, the one that would be free first. Those that `stays` says are
    /// not considered.
    #[must_use]
    pub fn outgoing(
        &self,
        tag: u64,
        owes: impl Fn(&Record) -> Timestamp,
        stays: impl Fn(Slot, &Record) -> bool,
    ) -> Option<Outgoing> {
        let others = || {
            let records = self.raw().iter().map(Record::decode).enumerate();
            records
                .map(|(index, record)| (Slot(index), record))
                .filter(|(slot, record)| !stays(*slot, record))
        };
        let of_the_limit = |record: &Record| record.tag & LIMIT_BITS == tag & LIMIT_BITS;
        let own = others()
            .filter(|(_, record)| of_the_limit(record))
            .min_by_key(|(_, record)| owes(record))
            .map(|(slot, record)| Outgoing {
                slot,
                inherited: Some(record),
            });
        own.or_else(|| {
            let first = others().min_by_key(|(_, record)| record.moment);
            first.map(|(slot, _)| Outgoing {
                slot,
                inherited: None,
            })
        })
    }

    /// The cell's value, as changed now. No records are left here.
    #[must_use]
    pub fn take_bytes(&mut self) -> Vec<u8> {
        self.set_word(LAST, self.now.0);
        std::mem::take(&mut self.bytes)
    }

    fn set_word(&mut self, index: usize, value: u64) {
        let words = self.bytes.as_chunks_mut().0;
        if let Some(word) = words.get_mut(index) {
            *word = value.to_le_bytes();
        }
    }

    fn get(&self, slot: Slot) -> Option<Record> {
        self.raw().get(slot.0).map(Record::decode)
    }

    fn raw(&self) -> &[[u8; RECORD]] {
        self.bytes.get(HEAD..).unwrap_or_default().as_chunks().0
    }

    fn raw_mut(&mut self) -> &mut [[u8; RECORD]] {
        let bytes = self.bytes.get_mut(HEAD..).unwrap_or_default();
        bytes.as_chunks_mut().0
    }

    fn move_back(&mut self, nanoseconds: u64) {
        let now = self.now;
        for raw in self.raw_mut() {
            *raw = Record::decode(raw).set_back(nanoseconds, now).encode();
        }
    }

    fn drop_the_past(&mut self) {
        let now = self.now;
        let records = self.raw_mut();
        let mut kept = 0;
        for index in 0..records.len() {
            let counts = |raw: &[u8; RECORD]| Record::decode(raw).moment > now;
            if records.get(index).is_some_and(counts) {
                if kept < index {
                    records.swap(kept, index);
                }
                kept += 1;
            }
        }
        self.bytes.truncate(HEAD + kept * RECORD);
    }
}

/// A word of a cell or of a record.
fn word(bytes: &[u8], index: usize) -> u64 {
    let words: &[[u8; 8]] = bytes.as_chunks().0;
    words.get(index).copied().map_or(0, u64::from_le_bytes)
}
