//! How agents do, over all workers: each that may rest has a record, and what comes back from an agent changes its record.
//!
//! A record is made when a configuration with the agent comes, never when a request ends, and is found by the agent's name and
//! cluster: an agent that is somewhere else begins anew. Of an agent without a record nothing is held against it.
//!
//! An agent is *fit*, or it *rests*, or its rest is over and it is *due*: then one request at a time, the probe, goes there, and
//! what comes back to that one decides. All that is decided here is a pure function of the record, of what came and of the time.

use std::time::Duration;

use super::{Hashed, SET_BACK, State};
use crate::config::policy::Rest;
use crate::host::{CellName, Timestamp};

mod cells;

pub(super) use cells::CELLS;
pub use cells::Health;

/// For so long one probe keeps others away, once the agent has all of it. One of which nothing was heard by then, as its worker is
/// gone or its agent takes its time, keeps nobody away any more.
pub const PROBE: Duration = Duration::from_secs(10);

/// For so long it does before: whoever never says all of what it asks would have no agent find out anything.
pub const UNSENT: Duration = Duration::from_secs(1);

/// For so long whose probe has come to nothing is not the next, so that others' word counts first.
pub const OTHERS_FIRST: Duration = Duration::from_secs(2);

/// Over so long a time the part of requests is counted that fail. It begins with a failure.
pub const WINDOW: Duration = Duration::from_secs(10);

/// So many are waited for in that time before anything is concluded.
pub const LEAST: u32 = 20;

/// When nothing has come back from an agent for so long but failures of one client, another one counts: nobody else is there.
pub const ALONE: Duration = Duration::from_secs(30);

/// Rests grow no further by then: twice as long this often is longer than any.
const MOST_GROWN: u32 = 20;

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
    /// Until when a probe keeps others away. The beginning of time: none does.
    probe: Timestamp,
    /// By which the last probe is told from those before it: when it was taken, but later than they were.
    taken: Timestamp,
    /// Whose it was,
    prober: u64,
    /// and until when that client is not the next.
    barred: Timestamp,
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
    /// By which it is told from others of this rest.
    pub taken: Timestamp,
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
            taken: never,
            prober: 0,
            barred: never,
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

    /// Whether a request of this client may be the probe, and is from now on. Whose probe has come to nothing, or has failed as
    /// the same client's request had before, is not the next for a while: others' word counts first.
    pub fn take_probe(&mut self, rest: &Rest, client: u64, now: Timestamp) -> Option<Probe> {
        let most = rest.longest.max(PROBE + OTHERS_FIRST);
        let barred =
            client == self.prober && self.barred > now && !is_beyond(self.barred, now, most);
        if self.standing(now, rest.longest) != Standing::Due || self.is_probed(now) || barred {
            return None;
        }
        self.taken = now.max(Timestamp(self.taken.0.saturating_add(1)));
        self.prober = client;
        self.keep_away(UNSENT, now);
        Some(Probe {
            rest: self.since,
            taken: self.taken,
        })
    }

    /// The request that is the probe goes on to the agent; `sent`: with all that belongs to it. If another has become the probe
    /// since, as this one took too long, that is left to it.
    pub fn hold(&mut self, probe: Probe, sent: bool, now: Timestamp) {
        if self.is_last(probe) {
            self.keep_away(if sent { PROBE } else { UNSENT }, now);
        }
    }

    /// The probe has not come to anything: another client's may be.
    pub fn give_back(&mut self, probe: Probe, now: Timestamp) {
        if self.is_last(probe) {
            self.keep_away(Duration::ZERO, now);
            self.probe = Timestamp(0);
        }
    }

    /// True if there was no other after this one, and it was not given back.
    fn is_last(&self, probe: Probe) -> bool {
        (self.since, self.taken) == (probe.rest, probe.taken) && self.probe != Timestamp(0)
    }

    fn keep_away(&mut self, time: Duration, now: Timestamp) {
        self.probe = now.after(time);
        self.barred = self.probe.after(OTHERS_FIRST);
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
        // One that ran out since may still tell that the agent answers, but not that it fails: that is left to the one under way.
        if probe.taken != self.taken && came != Came::Answer {
            return Change::None;
        }
        match came {
            Came::Answer => {
                let rested = now.since(self.since);
                self.reset(now, Timestamp(0));
                Change::Returns(rested)
            }
            Came::Busy(wait) => self.begin(busy(rest, wait, random), now),
            Came::Provoked if attempt.client == self.client && attempt.client != 0 => {
                self.failed_at = now;
                if self.is_last(probe) {
                    self.probe = Timestamp(0);
                    self.barred = now.after(self.length(rest));
                }
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
        self.reset(now, now.after(rests));
        Change::Rests(rests)
    }

    /// It rests from now on until then, or does not.
    fn reset(&mut self, now: Timestamp, until: Timestamp) {
        let never = Timestamp(0);
        (self.since, self.until) = (now, until);
        (self.row, self.window, self.probe) = (0, never, never);
        (self.prober, self.barred) = (0, never);
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
    let wait = wait.min(rest.longest);
    (wait + part(wait / 10, random)).min(rest.longest)
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

#[cfg(test)]
mod tests;
