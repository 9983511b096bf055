//! How agents do, over all workers: each that may rest has a record, and what comes back from an agent changes its record.
//!
//! A record is made when a configuration with the agent comes, never when a request ends, and is found by the agent's name and
//! cluster: an agent that is somewhere else begins anew. Of an agent without a record nothing is held against it.
//!
//! An agent is *fit*, or it *rests*, or its rest is over and it is *due*: then one request at a time, the probe, goes there, and
//! what comes back to that one decides. All that is decided here is a pure function of the record, of what came and of the time.

use std::time::Duration;

use super::grid::{Decision, Grid, StateError, read};
use super::{Hashed, SET_BACK, State};
use crate::config::policy::Rest;
use crate::host::{CellName, Host, Timestamp};

/// For so long one probe keeps others away. One of which nothing was heard by then, as its worker is gone or its agent takes
/// its time, keeps nobody away any more.
pub const PROBE: Duration = Duration::from_secs(30);

/// Over so long a time the part of requests is counted that fail. It begins with a failure.
pub const WINDOW: Duration = Duration::from_secs(10);

/// So many are waited for in that time before anything is concluded.
pub const LEAST: u32 = 20;

/// When nothing has come back from an agent for so long but failures of one client, another one counts: nobody else is there.
pub const ALONE: Duration = Duration::from_secs(30);

/// Over so many cells the records are spread. Nearly always there is one in a cell.
pub(super) const CELLS: u32 = 64;

/// So many records are kept in a cell: some more than there may be agents for each. The oldest goes.
const MOST: usize = 64;

const WORDS: usize = 9;
const RECORD: usize = 8 * WORDS;

/// Rests grow no further by then: twice as long this often is longer than any.
const MOST_GROWN: u32 = 20;

/// How agents do.
#[derive(Debug, Clone, Copy)]
pub struct Health {
    cells: Grid,
}

/// An agent, as its record is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    cell: CellName,
    tag: u64,
}

/// What is known of how an agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// By which it is told from others in its cell.
    tag: u64,
    /// Who has provoked the last failure that somebody has provoked; 0: nobody.
    client: u64,
    /// When a failure was last counted.
    failed_at: Timestamp,
    /// Since when the part of failures is counted, and of how many how many have failed.
    window: Timestamp,
    came: u32,
    failed: u32,
    /// Since when the agent rests, or has not rested. What began before bears on nothing.
    since: Timestamp,
    /// Until when it rests. The beginning of time: it does not.
    until: Timestamp,
    /// Until when a probe keeps others away.
    probe: Timestamp,
    /// How many failures have come one after the other.
    row: u32,
    /// How often the rest has grown.
    grown: u32,
}

/// Whether an agent may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Fit,
    /// By one request at a time.
    Due,
    /// Not before this moment.
    Rests(Timestamp),
}

/// One request that finds out whether an agent is fit again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Since when the agent rests.
    pub rest: Timestamp,
    /// Until when it keeps others away.
    pub until: Timestamp,
}

/// A request as an agent is asked it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// When.
    pub began: Timestamp,
    /// Who asks, by a hash.
    pub client: u64,
    /// It is a probe.
    pub probe: Option<Probe>,
}

/// What has come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// An answer.
    Answer,
    /// A failure that the client may have provoked.
    Provoked,
    /// A failure that no client can provoke: no connection.
    Unconnected,
    /// That the agent has too much to do, for so long.
    Busy(Duration),
}

/// What that has changed for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The agent rests, for so long.
    Rests(Duration),
    /// It is fit again, after so long.
    Returns(Duration),
}

impl Key {
    /// The agent of this name, at this cluster.
    #[must_use]
    pub fn new(state: &State, name: &str, cluster: &str) -> Self {
        let hashed: Hashed = state
            .hash
            .of(&[b"agent", name.as_bytes(), cluster.as_bytes()]);
        Self {
            cell: state.health.locate(hashed.cell),
            tag: hashed.tag,
        }
    }

    /// By which it is told from others.
    #[must_use]
    pub fn tag(self) -> u64 {
        self.tag
    }
}

impl Record {
    /// Of an agent of which nothing is known.
    #[must_use]
    pub fn new(key: Key) -> Self {
        let never = Timestamp(0);
        Self {
            tag: key.tag,
            client: 0,
            failed_at: never,
            window: never,
            came: 0,
            failed: 0,
            since: never,
            until: never,
            probe: never,
            row: 0,
            grown: 0,
        }
    }

    /// Whether the agent may be asked now. `longest` is the longest that it may rest.
    #[must_use]
    pub fn standing(&self, now: Timestamp, longest: Duration) -> Standing {
        if self.until == Timestamp(0) {
            Standing::Fit
        } else if now >= self.until || is_beyond(self.until, now, longest) {
            Standing::Due
        } else {
            Standing::Rests(self.until)
        }
    }

    /// True if answers change nothing.
    #[must_use]
    pub fn is_clean(&self, now: Timestamp) -> bool {
        self.until == Timestamp(0) && self.row == 0 && now.since(self.window) >= WINDOW
    }

    /// True if an answer ends a row of failures.
    #[must_use]
    pub fn has_row(&self) -> bool {
        self.row > 0
    }

    /// True if a probe keeps others away.
    #[must_use]
    pub fn is_probed(&self, now: Timestamp) -> bool {
        self.probe > now && !is_beyond(self.probe, now, PROBE)
    }

    /// Whether a request of this client may be the probe, and is from now on. Who has provoked the last failure is not the
    /// next for as long as the agent would have rested for it: others' word counts first.
    pub fn take_probe(&mut self, rest: &Rest, client: u64, now: Timestamp) -> Option<Probe> {
        if self.standing(now, rest.longest) != Standing::Due {
            return None;
        }
        let barred = client != 0
            && client == self.client
            && now.since(self.failed_at) < self.length(rest)
            && self.failed_at >= self.until;
        if self.is_probed(now) || barred {
            return None;
        }
        self.probe = now.after(PROBE);
        Some(Probe {
            rest: self.since,
            until: self.probe,
        })
    }

    /// The probe has not come to anything: another may be.
    pub fn give_back(&mut self, probe: Probe) {
        if self.since == probe.rest && self.probe == probe.until {
            self.probe = Timestamp(0);
        }
    }

    /// So many answers have come, the last of them then. A failure that has come later is not made good by it.
    pub fn answered(&mut self, times: u32, last: Timestamp, now: Timestamp) {
        if self.until == Timestamp(0) && times > 0 {
            if last >= self.failed_at {
                self.row = 0;
            }
            if now.since(self.window) < WINDOW {
                self.came = self.came.saturating_add(times);
            }
        }
    }

    /// Something has come back.
    pub fn judge(
        &mut self,
        rest: &Rest,
        attempt: &Attempt,
        came: Came,
        now: Timestamp,
        random: u64,
    ) -> Change {
        if self.until != Timestamp(0) {
            return self.judge_probe(rest, attempt, came, now, random);
        }
        // The clock was set back.
        for moment in [&mut self.since, &mut self.failed_at, &mut self.window] {
            if moment.since(now) >= SET_BACK {
                *moment = Timestamp(0);
            }
        }
        if attempt.began < self.since {
            return Change::None;
        }
        match came {
            Came::Answer => {
                self.answered(1, now, now);
                Change::None
            }
            Came::Busy(wait) => self.begin(busy(rest, wait, random), now),
            Came::Provoked | Came::Unconnected => {
                let again = came == Came::Provoked && attempt.client == self.client;
                if again && self.row > 0 && now.since(self.failed_at) < ALONE {
                    return Change::None;
                }
                if came == Came::Provoked {
                    self.client = attempt.client;
                }
                self.failed_at = now;
                self.row = self.row.saturating_add(1);
                if now.since(self.window) >= WINDOW {
                    (self.window, self.came, self.failed) = (now, 1, 1);
                } else if !again {
                    self.came = self.came.saturating_add(1);
                    self.failed = self.failed.saturating_add(1);
                }
                let part = u64::from(self.failed) * 100;
                let above = part > u64::from(self.came) * u64::from(rest.error_rate);
                if self.row < rest.failures && !(above && self.came >= LEAST) {
                    return Change::None;
                }
                // Whoever fails again sooner than it had to rest the last time rests longer.
                let soon = self.since != Timestamp(0) && now.since(self.since) < self.length(rest);
                self.grown = if soon { self.grown + 1 } else { 0 };
                self.begin(self.jittered(rest, random), now)
            }
        }
    }

    /// Something has come back while the agent rests, or is due: only the word of the probe of this very rest counts.
    fn judge_probe(
        &mut self,
        rest: &Rest,
        attempt: &Attempt,
        came: Came,
        now: Timestamp,
        random: u64,
    ) -> Change {
        let Some(probe) = attempt.probe.filter(|probe| probe.rest == self.since) else {
            return Change::None;
        };
        self.give_back(probe);
        match came {
            Came::Answer => {
                let rested = now.since(self.since);
                self.until = Timestamp(0);
                (self.since, self.row, self.window) = (now, 0, Timestamp(0));
                Change::Returns(rested)
            }
            Came::Busy(wait) => self.begin(busy(rest, wait, random), now),
            Came::Provoked if attempt.client == self.client && attempt.client != 0 => {
                self.failed_at = now;
                Change::None
            }
            Came::Provoked | Came::Unconnected => {
                if came == Came::Provoked {
                    self.client = attempt.client;
                }
                self.failed_at = now;
                self.grown = self.grown.saturating_add(1);
                self.begin(self.jittered(rest, random), now)
            }
        }
    }

    fn begin(&mut self, rests: Duration, now: Timestamp) -> Change {
        self.grown = self.grown.min(MOST_GROWN);
        (self.since, self.until) = (now, now.after(rests));
        (self.row, self.window, self.probe) = (0, Timestamp(0), Timestamp(0));
        Change::Rests(rests)
    }

    /// For how long it rests, before chance.
    fn length(&self, rest: &Rest) -> Duration {
        let times = 1_u32.checked_shl(self.grown).unwrap_or(u32::MAX);
        rest.first.saturating_mul(times).min(rest.longest)
    }

    /// A tenth more or less, so that not all gateways probe at the same moment.
    fn jittered(&self, rest: &Rest, random: u64) -> Duration {
        let tenth = self.length(rest) / 10;
        (self.length(rest) - tenth + part(tenth * 2, random)).min(rest.longest)
    }
}

/// What an agent says itself is never cut short, unless it is beyond all bounds.
fn busy(rest: &Rest, wait: Duration, random: u64) -> Duration {
    (wait.min(rest.longest) + part(wait / 10, random)).min(rest.longest)
}

/// A part of a time, by chance.
fn part(whole: Duration, random: u64) -> Duration {
    let nanoseconds = (whole.as_nanos() * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}

/// True if a moment lies further ahead than it can have been put: the clock was set back since.
fn is_beyond(moment: Timestamp, now: Timestamp, most: Duration) -> bool {
    moment.since(now) > most + most / 4 + SET_BACK
}

impl Health {
    /// In this state, where there may be no cells for it yet.
    #[must_use]
    pub fn new(state: &State) -> Self {
        Self {
            cells: state.health,
        }
    }

    /// A configuration has come in which agents may rest: there is a cell for each of them from now on.
    ///
    /// # Errors
    /// When a cell cannot be made.
    pub fn open<H: Host>(&self, host: &H) -> Result<(), StateError> {
        // A process whose tables an older module has made has no such cells. A configuration is read on the main thread before
        // any worker has it, so nobody else makes them at the same time.
        for number in 0..self.cells.cells() {
            let cell = self.cells.cell(number);
            let value = host.read_cell(cell).map_err(|_| StateError::Refused)?;
            if value.is_none() {
                host.create_cell(cell, &[])
                    .map_err(|_| StateError::Refused)?;
            }
        }
        Ok(())
    }

    /// This agent may rest: it has a record from now on. It, as it is.
    ///
    /// # Errors
    /// When its cell is not there or cannot be changed.
    pub fn come<H: Host>(&self, host: &H, key: Key) -> Result<Record, StateError> {
        Grid::update(host, key.cell, |value| {
            let (chunks, _) = value.as_chunks::<RECORD>();
            if let Some(bytes) = chunks.iter().find(|bytes| is_of(bytes, key)) {
                return Decision::Keep(record(bytes));
            }
            let new = Record::new(key);
            let from = (value.len() + RECORD).saturating_sub(MOST * RECORD);
            let kept = value.get(from..).unwrap_or_default();
            Decision::Replace([kept, &bytes_of(&new)].concat(), new)
        })
    }

    /// An agent's record; one of which nothing is known if it has none.
    ///
    /// # Errors
    /// When its cell cannot be read.
    pub fn look<H: Host>(&self, host: &H, key: Key) -> Result<Record, StateError> {
        let (value, _) = read(host, key.cell)?;
        let (chunks, _) = value.as_chunks::<RECORD>();
        let found = chunks.iter().find(|bytes| is_of(bytes, key));
        Ok(found.map_or(Record::new(key), record))
    }

    /// Changes an agent's record by a pure function of it and of the time. The record as it is then. `None`: it has none.
    ///
    /// # Errors
    /// When its cell cannot be changed.
    pub fn update<H: Host>(
        &self,
        host: &H,
        key: Key,
        change: &mut dyn FnMut(&mut Record, Timestamp),
    ) -> Result<Option<Record>, StateError> {
        Grid::update(host, key.cell, |mut value| {
            let (chunks, _) = value.as_chunks_mut::<RECORD>();
            let Some(bytes) = chunks.iter_mut().find(|bytes| is_of(bytes, key)) else {
                return Decision::Keep(None);
            };
            let before = record(bytes);
            let mut after = before;
            change(&mut after, host.now());
            if after == before {
                return Decision::Keep(Some(after));
            }
            *bytes = bytes_of(&after);
            Decision::Replace(value, Some(after))
        })
    }
}

fn is_of(bytes: &[u8; RECORD], key: Key) -> bool {
    bytes.starts_with(&key.tag.to_le_bytes())
}

fn bytes_of(record: &Record) -> [u8; RECORD] {
    let two = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let words: [u64; WORDS] = [
        record.tag,
        record.client,
        record.failed_at.0,
        record.window.0,
        two(record.came, record.failed),
        record.since.0,
        record.until.0,
        record.probe.0,
        two(record.row, record.grown),
    ];
    let mut bytes = [0; RECORD];
    for (to, from) in bytes
        .iter_mut()
        .zip(words.map(u64::to_le_bytes).iter().flatten())
    {
        *to = *from;
    }
    bytes
}

fn record(bytes: &[u8; RECORD]) -> Record {
    let (words, _) = bytes.as_chunks::<8>();
    let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
    let mut next = || words.next().unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "these are the halves")]
    let halves = |word: u64| ((word >> 32) as u32, word as u32);
    let (tag, client, failed_at, window) = (next(), next(), next(), next());
    let (came, failed) = halves(next());
    let (since, until, probe) = (next(), next(), next());
    let (row, grown) = halves(next());
    Record {
        tag,
        client,
        failed_at: Timestamp(failed_at),
        window: Timestamp(window),
        came,
        failed,
        since: Timestamp(since),
        until: Timestamp(until),
        probe: Timestamp(probe),
        row,
        grown,
    }
}

#[cfg(test)]
mod tests;
