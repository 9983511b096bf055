//! Windows in their simplest form: everything that was taken, and when. A fixed window counts what was taken in it; a sliding one
//! beside that the share of the one before that its period still covers, rounded up.

use crate::model::{Algorithm, Clocks, Rate};

const SECOND: i128 = 1_000_000_000;

/// What is known of one limit that is counted in windows.
#[derive(Debug, Clone)]
pub(crate) struct Windows {
    rate: Rate,
    taken: Vec<Taken>,
    /// How often the clock was set back over the beginning of a window: what came before was counted in another one.
    times_set_back: usize,
    set_back: i128,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    at: i128,
    amount: i128,
    /// Where it is counted, if the workers' clocks leave no doubt of that.
    counted: Option<(usize, i128)>,
}

impl Windows {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            taken: Vec::new(),
            times_set_back: 0,
            set_back: 0,
        }
    }

    fn quantity(&self) -> i128 {
        self.rate.quantity.into()
    }

    fn number(&self, at: i128) -> i128 {
        at.div_euclid(self.rate.period())
    }

    fn in_window(&self, number: i128) -> i128 {
        let taken = self.taken.iter();
        let taken = taken.filter(|it| self.number(it.at) == number);
        taken.map(|it| it.amount).sum()
    }

    fn used(&self, now: i128) -> i128 {
        let (number, period) = (self.number(now), self.rate.period());
        let before = match self.rate.algorithm {
            Algorithm::Sliding => {
                let left = (number + 1) * period - now;
                let share = self.in_window(number - 1) * left;
                share.div_euclid(period) + i128::from(share.rem_euclid(period) > 0)
            }
            _ => 0,
        };
        self.in_window(number) + before
    }

    /// How long until so much fits; zero if it does now. `None`: it never will.
    pub(crate) fn wait(&self, now: i128, amount: u64) -> Option<i128> {
        let amount = i128::from(amount);
        let fits = |wait: i128| self.used(now + wait) + amount <= self.quantity();
        if amount > self.quantity() {
            return None;
        }
        if fits(0) {
            return Some(0);
        }
        // Nothing more comes, so once it fits it does.
        let (mut does_not, mut does) = (0, 2 * self.rate.period());
        while does_not + 1 < does {
            let wait = (does_not + does) / 2;
            if fits(wait) {
                does = wait;
            } else {
                does_not = wait;
            }
        }
        Some(does)
    }

    pub(crate) fn is_full(&self, now: i128) -> bool {
        let period = self.rate.period();
        let mut taken = self.taken.iter();
        taken.all(|it| it.amount == 0 || it.at + 2 * period <= now)
    }

    /// So much is taken at `now`. What comes back says where that is noted.
    pub(crate) fn take(&mut self, now: i128, amount: u64) -> usize {
        self.taken.push(Taken {
            at: now,
            amount: amount.into(),
            counted: None,
        });
        self.taken.len() - 1
    }

    /// Of what is noted there, so much was used.
    pub(crate) fn settle(&mut self, noted: usize, now: i128, used: u64) {
        let used = i128::from(used);
        let beyond = (used - self.taken[noted].amount).max(0);
        self.taken[noted].amount = self.taken[noted].amount.min(used);
        // That is nothing that anybody let pass.
        self.taken.push(Taken {
            at: now,
            amount: beyond,
            counted: None,
        });
    }

    /// What was noted there has passed. False: that is more than a window has.
    pub(crate) fn passes(&mut self, noted: usize, clocks: Clocks) -> bool {
        let Clocks {
            read,
            latest,
            set_back,
        } = clocks;
        if set_back != self.set_back {
            // All that is known is that what was counted stays counted while the window does; another one may begin.
            self.times_set_back += 1;
            self.set_back = set_back;
        }
        // A clock that is less than a second behind is one that lags.
        let latest =
            (latest - set_back).max(read - set_back + if set_back > 0 { SECOND } else { 0 });
        let (first, last) = (self.number(read - set_back), self.number(latest));
        if first != last {
            return true;
        }
        let counted = Some((self.times_set_back, first));
        self.taken[noted].counted = counted;
        let with = self.taken.iter().filter(|it| it.counted == counted);
        with.map(|it| it.amount).sum::<i128>() <= self.quantity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_window_is_empty_again_at_its_end() {
        let mut windows = Windows::new(Rate::fixed(3, "second"));
        let noted = windows.take(SECOND - 1, 3);
        assert_eq!(windows.wait(SECOND - 1, 1), Some(1));
        assert_eq!(windows.wait(SECOND - 1, 4), None);
        windows.settle(noted, SECOND - 1, 5);
        assert_eq!(windows.wait(SECOND, 3), Some(0));
    }

    #[test]
    fn of_a_sliding_window_the_share_counts_that_its_period_covers() {
        let mut windows = Windows::new(Rate::sliding(4, "second"));
        windows.take(0, 4);
        assert_eq!(windows.wait(0, 1), Some(SECOND * 5 / 4));
        assert_eq!(windows.wait(SECOND * 3 / 2, 2), Some(0));
        assert_eq!(windows.wait(SECOND * 3 / 2 - 1, 2), Some(1));
        assert!(windows.is_full(2 * SECOND) && !windows.is_full(2 * SECOND - 1));
    }

    #[test]
    fn more_than_a_window_has_is_too_much_where_the_clocks_leave_no_doubt() {
        let mut windows = Windows::new(Rate::fixed(1, "minute"));
        let passes = |windows: &mut Windows, read: i128, latest: i128| {
            let noted = windows.take(read, 1);
            let clocks = Clocks {
                read,
                latest,
                set_back: 0,
            };
            windows.passes(noted, clocks)
        };
        assert!(passes(&mut windows, 10 * SECOND, 10 * SECOND));
        assert!(!passes(&mut windows.clone(), 20 * SECOND, 20 * SECOND));
        assert!(passes(&mut windows, 60 * SECOND - 1, 60 * SECOND));
        assert!(passes(&mut windows, 61 * SECOND, 61 * SECOND));
    }
}
