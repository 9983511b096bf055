//! What is measured of agents and reported by them, over all workers: a number each, with its time.
//!
//! A number is an average in which what is older counts less: of many at a time each counts an eighth, and one that comes after a
//! while counts as much as that while is long. One that is older than it may be is replaced.

use std::time::Duration;

use super::grid::{Decision, Grid, StateError, read};
use super::{SET_BACK, State};
use crate::host::{CellName, Host, Timestamp};

/// Over so many cells they are spread.
pub(super) const CELLS: u32 = 64;

/// So many lie in a cell. Names come from configurations; the one that was not touched for longest goes.
const MOST: usize = 256;

const RECORD: usize = 32;

/// No number is larger.
const LARGEST: u64 = 1 << 52;

/// Where all are.
#[derive(Debug, Clone, Copy)]
pub struct Measures {
    grid: Grid,
}

/// Where one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    cell: CellName,
    tag: u64,
}

/// One of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measure {
    /// The number. It means nothing where `at` is 0.
    pub value: u64,
    /// When it was last measured or reported. 0: never.
    pub at: Timestamp,
    /// When somebody last set out to measure it. 0: never.
    pub claimed: Timestamp,
}

/// How a number is averaged.
#[derive(Debug, Clone, Copy)]
pub struct Average {
    /// After so long a new number counts as much as all before it.
    pub half: Duration,
    /// After so long those before it count no more.
    pub lasts: Duration,
}

impl Key {
    /// What is known of this agent on its own.
    #[must_use]
    pub fn of_agent(state: &State, agent: &str, cluster: &str) -> Self {
        let hashed = (state.hash).of(&[b"load", agent.as_bytes(), cluster.as_bytes()]);
        Self {
            cell: state.measures.locate(hashed.cell),
            tag: hashed.tag,
        }
    }

    /// What is known of one of those that make up what is known of an agent. All lie in its cell.
    #[must_use]
    pub fn of_part(state: &State, agent: &str, cluster: &str, part: &str) -> Self {
        let [by_agent, by_cluster, by_part] = [agent, cluster, part].map(str::as_bytes);
        Self {
            tag: (state.hash)
                .of(&[b"part", by_agent, by_cluster, by_part])
                .tag,
            ..Self::of_agent(state, agent, cluster)
        }
    }

    /// What is known of this agent on this route. All of a route lie in one cell.
    #[must_use]
    pub fn of_route(state: &State, route: &str, agent: &str) -> Self {
        let (route, agent) = (route.as_bytes(), agent.as_bytes());
        let cell = state.hash.of(&[b"speeds", route]).cell;
        Self {
            cell: state.measures.locate(cell),
            tag: state.hash.of(&[b"speed", route, agent]).tag,
        }
    }
}

impl Measure {
    /// Takes in one more number.
    fn take(&mut self, number: u64, average: Average, now: Timestamp) {
        let number = number.min(LARGEST);
        let before = self.fresh(now, average.lasts);
        self.value = match before {
            None => number,
            Some(before) => {
                let gone = now.since(self.at).as_nanos() as f64;
                let part = gone / (gone + average.half.as_nanos() as f64);
                let (old, new) = (before as f64, number as f64);
                (old + (new - old) * part.max(0.125)) as u64
            }
        };
        // Another worker's clock may be ahead of this one's.
        self.at = match before {
            Some(_) => self.at.max(now),
            None => now,
        };
    }

    /// The number, if it is not older than that.
    #[must_use]
    pub fn fresh(&self, now: Timestamp, lasts: Duration) -> Option<u64> {
        is_within(self.at, now, lasts).then_some(self.value)
    }

    /// True if somebody has set out to measure it, not longer ago than that.
    #[must_use]
    pub fn is_claimed(&self, now: Timestamp, lasts: Duration) -> bool {
        is_within(self.claimed, now, lasts)
    }
}

/// Whether a moment lies not longer back than that. One from the future was before the clock was set back.
fn is_within(at: Timestamp, now: Timestamp, lasts: Duration) -> bool {
    at.0 != 0 && now.since(at) < lasts && at.since(now) < SET_BACK
}

impl Measures {
    /// In this state, where there may be no cells for them yet.
    #[must_use]
    pub fn new(state: &State) -> Self {
        Self {
            grid: state.measures,
        }
    }

    /// A configuration has come that needs them.
    ///
    /// # Errors
    /// When the host does not give the cells.
    pub fn come<H: Host>(&self, host: &H) -> Result<(), StateError> {
        self.grid.complete(host)
    }

    /// What is known now, of all in the cell of this one.
    ///
    /// # Errors
    /// When the cell cannot be read.
    pub fn read<H: Host>(host: &H, key: Key) -> Result<Seen, StateError> {
        let (value, _) = read(host, key.cell)?;
        Ok(Seen(value))
    }

    /// A number was measured or reported.
    ///
    /// # Errors
    /// When the cell cannot be changed.
    pub fn note<H: Host>(
        host: &H,
        key: Key,
        number: u64,
        average: Average,
    ) -> Result<(), StateError> {
        Self::change(host, key, &mut |measure, now| {
            measure.take(number, average, now);
            true
        })
        .map(|_| ())
    }

    /// A number of one of several was measured or reported, of which the mean is known as `whole`: of those among them that are
    /// not too old. All lie in one cell.
    ///
    /// # Errors
    /// When the cell cannot be changed.
    pub fn note_part<H: Host>(
        host: &H,
        whole: Key,
        parts: &[Key],
        part: Key,
        number: u64,
        average: Average,
    ) -> Result<(), StateError> {
        Grid::update(host, whole.cell, |value| {
            // As below.
            let now = host.now();
            let mut seen = Seen(value);
            let mut measure = seen.of(part).unwrap_or_default();
            measure.take(number, average, now);
            seen.put(part, measure);
            let known = parts
                .iter()
                .filter_map(|part| seen.of(*part)?.fresh(now, average.lasts));
            let (sum, number) = known.fold((0_u64, 0), |(sum, number), it| {
                (sum.saturating_add(it), number + 1)
            });
            let mut mean = seen.of(whole).unwrap_or_default();
            mean.value = sum.checked_div(number).unwrap_or_default();
            mean.at = measure.at;
            seen.put(whole, mean);
            Decision::Replace(seen.0, ())
        })
    }

    /// A number is at least so large, by what is known already.
    ///
    /// # Errors
    /// When the cell cannot be changed.
    pub fn raise<H: Host>(host: &H, key: Key, least: u64) -> Result<(), StateError> {
        let least = least.min(LARGEST);
        Self::change(host, key, &mut |measure, now| {
            if measure.at.0 != 0 && measure.value >= least {
                return false;
            }
            (measure.value, measure.at) = (least, now);
            true
        })
        .map(|_| ())
    }

    /// Sets out to measure a number, if nobody has for so long.
    ///
    /// # Errors
    /// When the cell cannot be changed.
    pub fn claim<H: Host>(host: &H, key: Key, every: Duration) -> Result<bool, StateError> {
        Self::change(host, key, &mut |measure, now| {
            let claims = !measure.is_claimed(now, every);
            if claims {
                measure.claimed = now;
            }
            claims
        })
    }

    /// Gives back what was claimed, as nothing came of it.
    ///
    /// # Errors
    /// When the cell cannot be changed.
    pub fn unclaim<H: Host>(host: &H, key: Key) -> Result<(), StateError> {
        Self::change(host, key, &mut |measure, _| {
            measure.claimed = Timestamp(0);
            true
        })
        .map(|_| ())
    }

    /// Changes a record, which begins empty, by what `change` makes of it at this time. What comes back is whether it did.
    #[inline(never)]
    fn change<H: Host>(
        host: &H,
        key: Key,
        change: &mut dyn FnMut(&mut Measure, Timestamp) -> bool,
    ) -> Result<bool, StateError> {
        Grid::update(host, key.cell, |value| {
            // The time is read behind the cell: a faster worker may have written a later one.
            let now = host.now();
            let mut seen = Seen(value);
            let mut measure = seen.of(key).unwrap_or_default();
            if !change(&mut measure, now) {
                return Decision::Keep(false);
            }
            seen.put(key, measure);
            Decision::Replace(seen.0, true)
        })
    }
}

/// The value of a cell.
#[derive(Debug)]
pub struct Seen(Vec<u8>);

impl Seen {
    /// What is known of this one.
    #[must_use]
    pub fn of(&self, key: Key) -> Option<Measure> {
        let (records, _) = self.0.as_chunks::<RECORD>();
        let mut all = records.iter().map(decode);
        let (_, measure) = all.find(|(tag, _)| *tag == key.tag)?;
        Some(measure)
    }

    fn put(&mut self, key: Key, measure: Measure) {
        let (records, _) = self.0.as_chunks::<RECORD>();
        let touched = |it: &[u8; RECORD]| {
            let (_, measure) = decode(it);
            measure.at.max(measure.claimed)
        };
        let place = records.iter().position(|it| decode(it).0 == key.tag);
        let place = place.or_else(|| {
            let all = records.iter().enumerate();
            let oldest = all.min_by_key(|(_, it)| touched(it)).map(|(at, _)| at);
            oldest.filter(|_| records.len() >= MOST)
        });
        let Measure { value, at, claimed } = measure;
        let words = [key.tag, value, at.0, claimed.0];
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        let (records, _) = self.0.as_chunks_mut::<RECORD>();
        match place.and_then(|place| records.get_mut(place)) {
            Some(record) => record.iter_mut().zip(bytes).for_each(|(to, it)| *to = it),
            None => self.0.extend(bytes),
        }
    }
}

fn decode(bytes: &[u8; RECORD]) -> (u64, Measure) {
    let (words, _) = bytes.as_chunks::<8>();
    let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
    let mut next = || words.next().unwrap_or_default();
    let tag = next();
    let measure = Measure {
        value: next(),
        at: Timestamp(next()),
        claimed: Timestamp(next()),
    };
    (tag, measure)
}

#[cfg(test)]
mod tests;
