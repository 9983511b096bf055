//! The hash by which records find their cells, and are told from their neighbours there.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

/// A hash that nobody outside can predict: its seed is drawn once per process, so that no caller can choose
/// names that fall into one cell.
#[derive(Debug, Clone, Copy)]
pub struct SeededHash {
    seed: [u8; 16],
}

/// A hash in two independent halves: one leads to a cell, the other tells a record from its neighbours there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hashed {
    /// Leads to the cell, see [`Grid::locate`](super::Grid::locate).
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
    pub(super) fn route(&self, name: &str) -> u64 {
        self.of(&[b"route", name.as_bytes()]).tag
    }

    /// The hash of what these parts name together. Where one part ends and the next begins counts.
    #[must_use]
    pub fn of(&self, parts: &[&[u8]]) -> Hashed {
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
