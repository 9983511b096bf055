//! What the workers of one simulated process share: cells and a clock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::host::{Bell, CellName, StreamId, Swap, Timestamp, Version};

type Cells = HashMap<CellName, (Vec<u8>, Version)>;

/// What the workers of one process share: cells, and a clock that only moves when told to, or one that runs.
#[derive(Debug, Clone)]
pub struct Process {
    cells: Arc<Mutex<Cells>>,
    clock: Arc<AtomicU64>,
    bells: Arc<AtomicU32>,
    rung: Arc<Mutex<Vec<(Bell, StreamId)>>>,
    /// Since when the clock runs by itself.
    runs: Option<Instant>,
}

impl Default for Process {
    /// A process whose clock stands in November 2023.
    fn default() -> Self {
        Self {
            cells: Arc::default(),
            clock: Arc::new(AtomicU64::new(1_700_000_000_000_000_000)),
            bells: Arc::default(),
            rung: Arc::default(),
            runs: None,
        }
    }
}

impl Process {
    /// A process whose clock runs.
    #[must_use]
    pub fn running() -> Self {
        Self {
            runs: Some(Instant::now()),
            ..Self::default()
        }
    }

    /// The time by the process's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let time = Timestamp(self.clock.load(Ordering::SeqCst));
        self.runs.map_or(time, |since| time.after(since.elapsed()))
    }

    /// Sets the clock back.
    pub fn set_back(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.clock.fetch_sub(nanoseconds, Ordering::SeqCst);
    }

    /// Moves the clock on.
    pub fn pass(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.clock.fetch_add(nanoseconds, Ordering::SeqCst);
    }

    /// The number of cells, and the bytes of all their values.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let cells = self.cells();
        (
            cells.len(),
            cells.values().map(|(value, _)| value.len()).sum(),
        )
    }

    pub(super) fn next_bell(&self) -> u32 {
        self.bells.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn ring(&self, bell: Bell, stream: StreamId) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        rung.push((bell, stream));
    }

    /// Whom this bell was rung for.
    pub(super) fn rung(&self, bell: u32) -> Vec<StreamId> {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let own = rung.extract_if(.., |(other, _)| *other == Bell(bell));
        own.map(|(_, stream)| stream).collect()
    }

    pub(super) fn read(&self, cell: CellName) -> Option<(Vec<u8>, Version)> {
        self.cells().get(&cell).cloned()
    }

    pub(super) fn swap(&self, cell: CellName, value: &[u8], version: Version) -> Swap {
        match self.cells().get_mut(&cell) {
            Some((old, current)) if *current == version => {
                *old = value.to_vec();
                current.0 += 1;
                Swap::Done
            }
            Some(_) => Swap::Changed,
            None => Swap::Failed,
        }
    }

    pub(super) fn create(&self, cell: CellName, value: &[u8]) {
        self.cells().insert(cell, (value.to_vec(), Version(1)));
    }

    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
