//! Records of counters, and the cells that hold them.
//!
//! A record is a tag, the moment that GCRA keeps, and the unit in which the debt up to that moment is counted. Before the
//! records a cell holds the time of its last change, by which workers whose clocks differ agree on one time. A record
//! whose moment has passed says nothing any more and gives its slot free.
//!
//! A cell grows with its records up to a bound that a table of the documented size does not reach (see [`super::room`]).
//! At the bound a newcomer takes over the record of its own limit that owes least, with what it owes; if there is none, it
//! takes the slot of the record that would have been free first. What a limit of seconds meets never depends on a limit
//! of days.

use super::SET_BACK;
use crate::host::Timestamp;

/// How many records lie in a cell of a table that holds as many as it was made for, on average.
pub const USUAL_RECORDS_PER_CELL: u32 = 32;

/// How many records a cell holds at most. Eight times the usual: cells fill unevenly, and a client's records lie together.
pub const MOST_RECORDS_PER_CELL: u32 = 256;

/// The bytes of one record: tag, moment, unit.
pub const RECORD_BYTES: u32 = 24;

/// The bytes before a cell's records: the time of its last change.
pub const HEAD_BYTES: u32 = 8;

const MOST: usize = MOST_RECORDS_PER_CELL as usize;
const RECORD: usize = RECORD_BYTES as usize;
const HEAD: usize = HEAD_BYTES as usize;

/// The bits of a tag that name the limit. The others name the limit and whom it is counted for.
const LIMIT_BITS: u64 = 0xffff << 48;

/// The tag of what is counted by `limit` for `subject`, both hashes.
#[must_use]
pub fn tag(limit: u64, subject: u64) -> u64 {
    limit & LIMIT_BITS | (limit ^ subject) & !LIMIT_BITS
}

/// One counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Tells it from the other records of its cell.
    pub tag: u64,
    /// When nothing will be owed any more.
    pub moment: Timestamp,
    /// The nanoseconds that one request owes.
    pub unit: u64,
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

impl Records {
    /// Reads a cell's value. `clock` was read after the cell was. Records that no longer count are dropped.
    ///
    /// Where the clock is a little earlier than the cell's last change, another worker's clock is ahead: the time of
    /// the change is taken, so that nobody gains by it. Where it is much earlier, it was set back: all moments go
    /// back by as much, so that debts keep their size. A clock of zero is a host that has no time to give, for which
    /// time stands still.
    #[must_use]
    pub fn read(mut bytes: Vec<u8>, clock: Timestamp) -> Self {
        let last = match bytes.first_chunk() {
            Some(last) => Timestamp(u64::from_le_bytes(*last)),
            None => {
                bytes.clear();
                bytes.resize(HEAD, 0);
                Timestamp(0)
            }
        };
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

    /// How many more records there is room for.
    #[must_use]
    pub fn room(&self) -> usize {
        MOST.saturating_sub(self.bytes.len().saturating_sub(HEAD) / RECORD)
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

    /// The record that makes room for a newcomer with this tag: of its own limit the one that owes least (`owes` says how
    /// much in the newcomer's unit); if there is none, the one that would be free first. Those that `stays` says are
    /// not considered.
    #[must_use]
    pub fn outgoing(
        &self,
        tag: u64,
        owes: impl Fn(&Record) -> Timestamp,
        stays: impl Fn(Slot, u64) -> bool,
    ) -> Option<Outgoing> {
        let others = || {
            let records = self.raw().iter().map(Record::decode).enumerate();
            records
                .map(|(index, record)| (Slot(index), record))
                .filter(|(slot, record)| !stays(*slot, record.tag))
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
        if let Some(last) = self.bytes.first_chunk_mut() {
            *last = self.now.0.to_le_bytes();
        }
        std::mem::take(&mut self.bytes)
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
        for raw in self.raw_mut() {
            let mut record = Record::decode(raw);
            record.moment = Timestamp(record.moment.0.saturating_sub(nanoseconds));
            *raw = record.encode();
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

impl Record {
    fn encode(self) -> [u8; RECORD] {
        let mut raw = [0; RECORD];
        if let ([tag, moment, unit], _) = raw.as_chunks_mut() {
            *tag = self.tag.to_le_bytes();
            *moment = self.moment.0.to_le_bytes();
            *unit = self.unit.to_le_bytes();
        }
        raw
    }

    fn decode(raw: &[u8; RECORD]) -> Self {
        let number = |start: usize| {
            let bytes = raw.get(start..).and_then(|rest| rest.first_chunk());
            u64::from_le_bytes(bytes.copied().unwrap_or_default())
        };
        Self {
            tag: number(0),
            moment: Timestamp(number(8)),
            unit: number(16),
        }
    }
}
