//! Records of remembered keys: the hash of a key, what the validator said of it, and until when that holds.
//!
//! What does not fit puts out first what has expired, then invalid keys, then what expires soonest. An invalid
//! key never puts out a valid one: whoever floods the gateway with made-up keys costs others nothing.

use super::SET_BACK;
use crate::host::Timestamp;
use crate::sort::sort_by_key;

/// How many records a cell holds at most.
pub const RECORDS_PER_CELL: u32 = 8;

/// The size of a cell's value at most, in bytes. Eight records of common size need a quarter of it.
pub const CELL_BYTES: u32 = 4096;

/// The length of a key's hash.
pub const HASH_BYTES: usize = 32;

/// A remembered key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// SHA-256 of the key.
    pub hash: [u8; HASH_BYTES],
    /// Which validator said so: what one knows does not count for another.
    pub realm: u64,
    /// Before then nobody knew it: a clock that shows an earlier time was set back, and the record counts no more.
    pub learned: Timestamp,
    /// From then on the record counts no more.
    pub expires: Timestamp,
    /// What is remembered of a valid key; `None`: the key is invalid.
    pub answer: Option<Vec<u8>>,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// The key is valid: what was remembered of it.
    Valid(Vec<u8>),
    /// The key is invalid.
    Invalid,
}

const HEAD: usize = HASH_BYTES + 8 + 8 + 8 + 2;
const INVALID: u16 = u16::MAX;

/// Looks a key up in a cell's value: what is known of it, and until when that holds.
#[must_use]
pub fn find(
    value: &[u8],
    hash: &[u8; HASH_BYTES],
    realm: u64,
    now: Timestamp,
) -> Option<(Known, Timestamp)> {
    let record = records(value)
        .find(|record| record.hash == hash && record.realm == realm && record.counts(now))?;
    let known = record
        .answer
        .map_or(Known::Invalid, |answer| Known::Valid(answer.to_vec()));
    Some((known, record.expires))
}

/// A cell's value with `new` in it. `None`: there is no room for it, the value stays.
#[must_use]
pub fn insert(value: &[u8], new: &Record, now: Timestamp) -> Option<Vec<u8>> {
    let mut kept: Vec<View<'_>> = records(value)
        .filter(|old| old.counts(now) && !(old.hash == &new.hash && old.realm == new.realm))
        .collect();
    // What is worth most stands first, so that what has to go goes from the end.
    sort_by_key(&mut kept, |record| {
        std::cmp::Reverse((record.answer.is_some(), record.expires))
    });
    let new = View::of(new);
    let fits = |kept: &[View<'_>]| {
        kept.len() < RECORDS_PER_CELL as usize
            && kept.iter().map(View::size).sum::<usize>() + new.size() <= CELL_BYTES as usize
    };
    while !fits(&kept) {
        let last = kept.pop()?;
        if last.answer.is_some() && new.answer.is_none() {
            return None;
        }
    }
    let mut bytes = Vec::with_capacity(CELL_BYTES as usize);
    for record in kept.iter().chain([&new]) {
        record.write(&mut bytes);
    }
    Some(bytes)
}

/// How many keys of a cell's value are known to be valid.
#[must_use]
pub fn valid(value: &[u8], now: Timestamp) -> usize {
    let valid = |record: &View<'_>| record.answer.is_some() && record.counts(now);
    records(value).filter(valid).count()
}

/// A record where it lies.
#[derive(Debug, Clone, Copy)]
struct View<'a> {
    hash: &'a [u8; HASH_BYTES],
    realm: u64,
    learned: Timestamp,
    expires: Timestamp,
    answer: Option<&'a [u8]>,
}

impl<'a> View<'a> {
    /// Clocks of cores may differ a little; what was learned later than that will be learned again.
    fn counts(&self, now: Timestamp) -> bool {
        self.expires > now && self.learned <= now.after(SET_BACK)
    }

    fn of(record: &'a Record) -> Self {
        Self {
            hash: &record.hash,
            realm: record.realm,
            learned: record.learned,
            expires: record.expires,
            answer: record.answer.as_deref(),
        }
    }

    fn size(&self) -> usize {
        HEAD + self.answer.map_or(0, <[u8]>::len)
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.hash);
        bytes.extend(self.realm.to_le_bytes());
        bytes.extend(self.learned.0.to_le_bytes());
        bytes.extend(self.expires.0.to_le_bytes());
        let length = self.answer.map_or(INVALID, |answer| {
            u16::try_from(answer.len()).unwrap_or(INVALID)
        });
        bytes.extend(length.to_le_bytes());
        bytes.extend(self.answer.unwrap_or_default());
    }

    fn split_from(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (hash, rest) = bytes.split_first_chunk()?;
        let (realm, rest) = rest.split_first_chunk()?;
        let (learned, rest) = rest.split_first_chunk()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (answer, rest) = match u16::from_le_bytes(*length) {
            INVALID => (None, rest),
            length => {
                let (answer, rest) = rest.split_at_checked(usize::from(length))?;
                (Some(answer), rest)
            }
        };
        let record = Self {
            hash,
            realm: u64::from_le_bytes(*realm),
            learned: Timestamp(u64::from_le_bytes(*learned)),
            expires: Timestamp(u64::from_le_bytes(*expires)),
            answer,
        };
        Some((record, rest))
    }
}

fn records(mut value: &[u8]) -> impl Iterator<Item = View<'_>> {
    std::iter::from_fn(move || {
        let (record, rest) = View::split_from(value)?;
        value = rest;
        Some(record)
    })
}
