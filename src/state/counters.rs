//! Records of counters: for each a tag and one moment, as GCRA keeps it.
//!
//! A record whose moment has passed says nothing any more and gives its slot free. When a cell is full of records
//! that still count, the one with the earliest moment makes room, and the newcomer starts from that moment: so
//! whoever was put out finds, on coming back, a moment at least as late as the one it left. A table that is too
//! small therefore refuses too much, never too little.

use crate::host::Timestamp;

/// How many records a cell holds.
pub const RECORDS_PER_CELL: u32 = 32;

/// The bytes of one record: tag and moment.
pub const RECORD_BYTES: u32 = 16;

const SLOTS: usize = RECORDS_PER_CELL as usize;
const RECORD: usize = RECORD_BYTES as usize;

/// The records of one cell.
#[derive(Debug, Clone)]
pub struct Records {
    bytes: Vec<u8>,
}

impl Records {
    /// Reads a cell's value; records that no longer count at `now` are dropped.
    #[must_use]
    pub fn read(mut bytes: Vec<u8>, now: Timestamp) -> Self {
        let mut kept = 0;
        let mut start = 0;
        while let Some(record) = record_at(&bytes, start) {
            if moment(&record) > now {
                if let Some(slot) = bytes.get_mut(kept..kept + RECORD) {
                    slot.copy_from_slice(&record);
                }
                kept += RECORD;
            }
            start += RECORD;
        }
        bytes.truncate(kept);
        Self { bytes }
    }

    /// The moment kept under `tag`; for a tag that is not there, the moment that a newcomer starts from:
    /// `None` while there is room.
    #[must_use]
    pub fn get(&self, tag: u64) -> Option<Timestamp> {
        self.find(tag)
            .or_else(|| {
                if self.is_full() {
                    self.earliest()
                } else {
                    None
                }
            })
            .map(|(_, moment)| moment)
    }

    /// Keeps `moment` under `tag`, in place of the earliest record if there is no room.
    pub fn put(&mut self, tag: u64, moment: Timestamp) {
        let mut record = [0; RECORD];
        let (tag_bytes, moment_bytes) = record.split_at_mut(8);
        tag_bytes.copy_from_slice(&tag.to_le_bytes());
        moment_bytes.copy_from_slice(&moment.0.to_le_bytes());
        let place = self.find(tag).or_else(|| {
            if self.is_full() {
                self.earliest()
            } else {
                None
            }
        });
        match place {
            Some((start, _)) => {
                if let Some(slot) = self.bytes.get_mut(start..start + RECORD) {
                    slot.copy_from_slice(&record);
                }
            }
            None => self.bytes.extend(record),
        }
    }

    /// True when a newcomer would put another record out.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= SLOTS * RECORD
    }

    /// The cell's value.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn find(&self, tag: u64) -> Option<(usize, Timestamp)> {
        let tag = tag.to_le_bytes();
        self.iter()
            .find(|(_, record)| record.starts_with(&tag))
            .map(|(start, record)| (start, moment(record)))
    }

    fn earliest(&self) -> Option<(usize, Timestamp)> {
        self.iter()
            .map(|(start, record)| (start, moment(record)))
            .min_by_key(|(_, moment)| *moment)
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[u8; RECORD])> {
        let (records, _) = self.bytes.as_chunks::<RECORD>();
        records
            .iter()
            .enumerate()
            .map(|(index, record)| (index * RECORD, record))
    }
}

fn record_at(bytes: &[u8], start: usize) -> Option<[u8; RECORD]> {
    bytes.get(start..)?.first_chunk().copied()
}

fn moment(record: &[u8; RECORD]) -> Timestamp {
    let (_, moment) = record.split_last_chunk().unwrap_or((&[], &[0; 8]));
    Timestamp(u64::from_le_bytes(*moment))
}
