//! Leases: the shares of limits that a worker has fetched ahead of need, and takes from without asking.

use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::host::{Host, Timestamp};
use crate::state::fresh::FreshStarts;
use crate::state::{Grid, Hashed, StateError};

/// So many limits' shares are kept in a worker. Those of others are asked for on each request.
const MOST: usize = 4_096;

/// The share of a worker of one limit, in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    /// What is left of it.
    pub(super) left: u32,
    /// What was left of the limit beside it, when that was told last.
    pub(super) beside: u32,
    /// When it was asked for. It holds no earlier: a clock that was set back would make it longer.
    pub(super) since: Timestamp,
    /// Its window ends no earlier.
    pub(super) until: Timestamp,
    /// How many fresh starts went before it. What was taken of a share before one is put back into none after it.
    pub(super) era: u64,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Leases {
    by_key: FxHashMap<Hashed, Lease>,
    fresh_starts: FreshStarts,
    era: u64,
}

/// What a lease comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// So much of it is left, in one that still has something.
    Some(Lease),
    /// Nothing is left of it, and nothing of the limit, until its window ends.
    Exhausted(Lease),
    /// There is none, or nothing is left of it.
    Nothing,
}

impl Leases {
    /// None. `grid` is where other workers say whose counts have begun anew.
    pub(super) fn new(grid: Grid) -> Self {
        Self {
            by_key: FxHashMap::default(),
            fresh_starts: FreshStarts::new(grid),
            era: 0,
        }
    }

    /// Ends the leases of counts that have begun anew, whoever of this process has seen to that. To be called before one is used.
    ///
    /// # Errors
    /// When it cannot be known: no lease may be used then.
    pub(super) fn end_old<H: Host>(&mut self, host: &H, now: Timestamp) -> Result<(), StateError> {
        if self.fresh_starts.look(host, now)? {
            let Self {
                by_key,
                fresh_starts,
                era,
            } = self;
            let all = fresh_starts.all();
            by_key.retain(|key, lease| !all.iter().any(|it| it.ends(*key, lease.since)));
            *era = era.wrapping_add(1);
        }
        Ok(())
    }

    /// Ends the leases of these counts in all workers of the process.
    ///
    /// # Errors
    /// When they cannot be told.
    pub(super) fn end<H: Host>(&self, host: &H, keys: &[Hashed]) -> Result<(), StateError> {
        self.fresh_starts.add(host, keys)
    }

    /// What is due once a second.
    ///
    /// # Errors
    /// When it cannot be done now.
    pub(super) fn tick<H: Host>(&mut self, host: &H) -> Result<(), StateError> {
        self.end_old(host, host.now())?;
        self.fresh_starts.tick(host)
    }

    /// What is left of one, if it holds.
    pub(super) fn left(&self, key: Hashed, now: Timestamp) -> u32 {
        let lease = self.by_key.get(&key).filter(|lease| lease.holds(now));
        lease.map_or(0, |lease| lease.left)
    }

    /// How one stands.
    pub(super) fn get(&self, key: Hashed, now: Timestamp) -> Held {
        match self.by_key.get(&key) {
            Some(lease) if !lease.holds(now) => Held::Nothing,
            Some(lease) if lease.left > 0 => Held::Some(*lease),
            Some(lease) if lease.beside == 0 => Held::Exhausted(*lease),
            _ => Held::Nothing,
        }
    }

    /// What was left of the limit beside one, as far as that is known.
    pub(super) fn beside(&self, key: Hashed, now: Timestamp) -> Option<u32> {
        let lease = self.by_key.get(&key).filter(|lease| lease.holds(now));
        lease.map(|lease| lease.beside)
    }

    /// Takes one of it, which [`Self::get`] has found there.
    pub(super) fn take(&mut self, key: Hashed) {
        if let Some(lease) = self.by_key.get_mut(&key) {
            lease.left = lease.left.saturating_sub(1);
        }
    }

    /// Puts one back that was taken at `taken`, if its window is still the same.
    pub(super) fn put_back(&mut self, key: Hashed, taken: &Lease) {
        if let Some(lease) = self.by_key.get_mut(&key)
            && lease.until >= taken.until
            && lease.since < taken.until
            && lease.era == taken.era
        {
            lease.left = lease.left.saturating_add(1);
        }
    }

    /// True if there is room for one more, or this one is there.
    pub(super) fn has_room(&mut self, key: Hashed, now: Timestamp) -> bool {
        if self.by_key.len() >= MOST && !self.by_key.contains_key(&key) {
            self.by_key.retain(|_, lease| lease.holds(now));
        }
        self.by_key.len() < MOST || self.by_key.contains_key(&key)
    }

    /// Adds what was granted by an answer that took so long, of a limit with such windows. What was left of one of the same
    /// window stays.
    ///
    /// A window ends no earlier than `until`, and no later than that and the time that the question was under way. So if even
    /// that is less than a window behind the earliest end of the former share's, it is the same one.
    pub(super) fn grant(&mut self, key: Hashed, granted: Lease, took: Duration, window: Duration) {
        let mut old = self.fresh_starts.all().iter();
        if old.any(|it| it.ends(key, granted.since)) {
            return;
        }
        let latest = granted.until.after(took);
        let (left, era) = match self.by_key.get(&key) {
            Some(old) if latest < old.until.after(window) && granted.since < old.until => {
                (old.left, old.era)
            }
            _ => (0, self.era),
        };
        let left = left.saturating_add(granted.left);
        self.by_key.insert(
            key,
            Lease {
                left,
                era,
                ..granted
            },
        );
    }
}

impl Lease {
    fn holds(&self, now: Timestamp) -> bool {
        self.since <= now && now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::policy::Tables;
    use crate::host::simulated::{Process, SimulatedHost};
    use crate::state::State;

    const KEY: Hashed = Hashed { cell: 1, tag: 2 };

    const MINUTE: Duration = Duration::from_secs(60);

    impl Leases {
        fn granted(&mut self, key: Hashed, granted: Lease) {
            self.grant(key, granted, Duration::from_millis(25), MINUTE);
        }
    }

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_000).after(Duration::from_millis(milliseconds))
    }

    fn lease(left: u32, beside: u32, since: u64, until: u64) -> Lease {
        Lease {
            left,
            beside,
            since: at(since),
            until: at(until),
            era: 0,
        }
    }

    fn leases(process: &Process) -> (SimulatedHost, Leases) {
        let host = process.worker();
        let tables = Tables {
            keys: 8,
            counters: 8,
            address_counters: 8,
            responses: 64,
        };
        let (state, _) = State::open(&host, tables, &[]).unwrap();
        (host, Leases::new(state.fresh_starts))
    }

    fn none() -> Leases {
        leases(&Process::default()).1
    }

    #[test]
    fn a_share_is_taken_from_until_it_is_empty_or_its_window_ends() {
        let mut leases = none();
        assert_eq!(leases.get(KEY, at(0)), Held::Nothing);
        leases.granted(KEY, lease(2, 5, 0, 60_000));
        for left in [2, 1] {
            assert_eq!(
                leases.get(KEY, at(10)),
                Held::Some(lease(left, 5, 0, 60_000))
            );
            leases.take(KEY);
        }
        assert_eq!(leases.get(KEY, at(10)), Held::Nothing);
        leases.granted(KEY, lease(3, 0, 20, 60_000));
        assert_eq!(
            leases.get(KEY, at(59_999)),
            Held::Some(lease(3, 0, 20, 60_000))
        );
        assert_eq!(leases.get(KEY, at(60_000)), Held::Nothing);
        // The clock was set back.
        assert_eq!(leases.get(KEY, at(19)), Held::Nothing);
    }

    #[test]
    fn nothing_beside_an_empty_share_is_nothing_until_the_window_ends() {
        let mut leases = none();
        leases.granted(KEY, lease(0, 0, 0, 1_000));
        assert_eq!(
            leases.get(KEY, at(999)),
            Held::Exhausted(lease(0, 0, 0, 1_000))
        );
        assert_eq!(leases.get(KEY, at(1_000)), Held::Nothing);
    }

    #[test]
    fn shares_of_one_window_add_up_and_nothing_goes_over_into_the_next() {
        let mut leases = none();
        leases.granted(KEY, lease(2, 9, 0, 60_000));
        leases.granted(KEY, lease(3, 6, 30, 60_020));
        assert_eq!(leases.get(KEY, at(40)), Held::Some(lease(5, 6, 30, 60_020)));
        // Asked for before the end, counted after it.
        let next = lease(4, 90, 59_990, 120_000);
        leases.granted(KEY, next);
        assert_eq!(leases.get(KEY, at(60_000)), Held::Some(next));
    }

    #[test]
    fn what_is_put_back_goes_into_its_own_window_only() {
        let mut leases = none();
        let first = lease(2, 9, 0, 60_000);
        leases.granted(KEY, first);
        leases.take(KEY);
        leases.put_back(KEY, &first);
        assert_eq!(leases.get(KEY, at(1)), Held::Some(first));
        let next = lease(4, 9, 60_100, 120_000);
        leases.granted(KEY, next);
        leases.put_back(KEY, &first);
        assert_eq!(leases.get(KEY, at(60_200)), Held::Some(next));
    }

    #[test]
    fn shares_are_bounded_in_number_and_those_that_have_ended_make_room() {
        let mut leases = none();
        let key = |number: usize| Hashed {
            cell: number as u64,
            tag: 0,
        };
        for number in 0..MOST {
            assert!(leases.has_room(key(number), at(0)));
            leases.granted(key(number), lease(1, 1, 0, 1_000));
        }
        assert!(!leases.has_room(key(MOST), at(1)));
        assert!(leases.has_room(key(0), at(1)));
        assert!(leases.has_room(key(MOST), at(1_000)));
    }

    #[test]
    fn a_fresh_start_ends_what_was_asked_for_before_it_in_every_worker() {
        let process = Process::default();
        let [(host, one), (_, mut two)] = [leases(&process), leases(&process)];
        let granted = |since: Timestamp, left| Lease {
            since,
            until: since.after(MINUTE),
            ..lease(left, 9, 0, 0)
        };
        two.end_old(&host, process.now()).unwrap();
        let before = granted(process.now(), 4);
        two.granted(KEY, before);
        let Held::Some(taken) = two.get(KEY, process.now()) else {
            panic!("no share");
        };
        two.take(KEY);

        process.pass(Duration::from_millis(1));
        one.end(&host, &[KEY]).unwrap();
        two.end_old(&host, process.now()).unwrap();
        assert_eq!(two.get(KEY, process.now()), Held::Nothing);
        // A question that was under way.
        two.granted(KEY, before);
        assert_eq!(two.get(KEY, process.now()), Held::Nothing);

        process.pass(Duration::from_millis(1));
        two.granted(KEY, granted(process.now(), 3));
        two.put_back(KEY, &taken);
        assert_eq!(two.left(KEY, process.now()), 3, "nothing of before it");
        two.end_old(&host, process.now()).unwrap();
        assert_eq!(two.left(KEY, process.now()), 3);
    }
}
