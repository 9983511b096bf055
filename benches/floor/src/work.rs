//! What both forms of the floor do with a request: all headers read in place, a key that is good by its beginning, and its
//! client counted by GCRA in shared data.

use crate::host::{begin, now, read, write};

/// Counters that clients share, by the hash of their keys.
const CELLS: u32 = 1024;

/// What a key that is good begins with.
pub(crate) const GOOD: &[u8] = b"key-";

/// The limit of each client.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    /// Nanoseconds for one request.
    pub(crate) interval: u64,
    /// How many may come at once.
    pub(crate) burst: u64,
}

impl Limit {
    pub(crate) const NONE: Self = Self {
        interval: 0,
        burst: 0,
    };

    /// From text, two numbers. What stands behind them is handed back.
    pub(crate) fn parse(text: &[u8]) -> Option<(Self, &str)> {
        let (interval, rest) = core::str::from_utf8(text).ok()?.split_once(' ')?;
        let (burst, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let limit = Self {
            interval: interval.parse().ok()?,
            burst: burst.parse().ok()?,
        };
        Some((limit, rest))
    }

    /// Counts a request: what is owed behind it, or `Some(None)` if it is one too many. `None`: the cell cannot be read or
    /// written.
    pub(crate) fn admit(self, key: u32) -> Option<Option<u64>> {
        let cell = (key % CELLS).to_le_bytes();
        let now = now();
        loop {
            let (moment, cas) = read(&cell)?;
            let taken = moment.max(now) + self.interval;
            if taken - now > self.capacity() {
                return Some(None);
            }
            if write(&cell, taken, cas)? {
                return Some(Some(taken - now));
            }
        }
    }

    /// Nanoseconds in which an empty bucket becomes full.
    pub(crate) fn capacity(self) -> u64 {
        self.interval.saturating_mul(self.burst)
    }
}

/// The first VM creates the cells, before any worker starts; the others find them.
pub(crate) fn cells_are_there() -> bool {
    (0..CELLS).all(|number| {
        begin();
        let cell = number.to_le_bytes();
        read(&cell).is_some() || write(&cell, 0, 0) == Some(true)
    })
}

/// FNV-1a.
pub(crate) fn hash(key: &[u8]) -> u32 {
    key.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// Names and values in the host's layout: the number of headers, the sizes of each name and value, then all of them, each
/// with a zero behind it.
pub(crate) fn pairs(headers: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let number = headers
        .first_chunk()
        .map_or(0, |number| u32::from_le_bytes(*number) as usize);
    let sizes = headers.get(4..4 + 8 * number).unwrap_or_default();
    let mut place = 4 + 8 * number;
    sizes
        .as_chunks::<8>()
        .0
        .iter()
        .filter_map(move |&[a, b, c, d, e, f, g, h]| {
            let name = place..place + u32::from_le_bytes([a, b, c, d]) as usize;
            let value = name.end + 1..name.end + 1 + u32::from_le_bytes([e, f, g, h]) as usize;
            place = value.end + 1;
            Some((headers.get(name)?, headers.get(value)?))
        })
}
