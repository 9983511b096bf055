//! How much a table has room for.
//!
//! A hash spreads the records over the cells, so some cells get more than others, the more so as all records of one subject
//! lie together. A table of counters has room for as many subjects as leave the chance that any of its cells has to hold
//! more than it can below one in a million. Whoever goes beyond that loses nothing at once: a cell that is full forgets one
//! record for each new one.
//!
//! A key that is forgotten costs a question and nothing else. So a table of keys has room for as many as leave the chance
//! that a key lies in a cell of more than it can hold below one in a thousand. Who uses the keys of such a cell in turn
//! asks about each of them each time.

use super::counters::{MOST_RECORDS_PER_CELL, USUAL_RECORDS_PER_CELL};
use super::keys;

/// The chance that is left that any counter is forgotten.
pub const CHANCE: f64 = 1e-6;

/// The chance that is left for each key that it is forgotten early.
pub const CHANCE_OF_KEY: f64 = 1e-3;

/// The most keys that a table of so many has room for.
#[must_use]
pub fn room_for_keys(table_keys: u32) -> u64 {
    most(table_keys.into(), |keys| {
        crowded(table_keys, keys) < CHANCE_OF_KEY
    })
}

/// The chance, or a little more, that a key shares its cell with as many others as fill it, when `keys` are there.
#[must_use]
pub fn crowded(table_keys: u32, keys: u64) -> f64 {
    let fit = keys::RECORDS_PER_CELL;
    if keys <= u64::from(fit) {
        return 0.0;
    }
    let cells = table_keys.div_ceil(fit).max(1);
    tail(keys as f64 / f64::from(cells), fit.into())
}

/// The most subjects that a table of so many records has room for, if each has `in_all` records, of which `in_one_cell` lie
/// together: as many as have all of theirs in lots of that size.
#[must_use]
pub fn room_for(table_records: u32, in_one_cell: u32, in_all: u32) -> u64 {
    let lots = room(table_records, in_one_cell);
    lots.saturating_mul(in_one_cell.into()) / u64::from(in_all.max(1))
}

/// The most subjects, of so many records each, that a table of so many records has room for.
#[must_use]
pub fn room(table_records: u32, records_each: u32) -> u64 {
    let cells = cells(table_records);
    let all = u64::from(cells) * u64::from(MOST_RECORDS_PER_CELL);
    most(all, |subjects| {
        overflow(cells, subjects, records_each) < CHANCE
    })
}

/// The largest number up to `bound` that fits; what is smaller than one that fits does so too.
fn most(bound: u64, is_fit: impl Fn(u64) -> bool) -> u64 {
    let (mut fits, mut does_not) = (0, bound + 1);
    while fits + 1 < does_not {
        let number = fits.midpoint(does_not);
        if is_fit(number) {
            fits = number;
        } else {
            does_not = number;
        }
    }
    fits
}

/// The cells of a table of so many records.
#[must_use]
pub fn cells(table_records: u32) -> u32 {
    table_records.div_ceil(USUAL_RECORDS_PER_CELL).max(1)
}

/// The chance, or a little more, that one of `cells` has to hold more than it can when `subjects` of `records_each` are there.
///
/// The number of subjects in one cell is Poisson's, in whose tail lies a little more than in the binomial distribution's;
/// and that any of the cells overflows is no more probable than all of their chances together.
#[must_use]
pub fn overflow(cells: u32, subjects: u64, records_each: u32) -> f64 {
    let fit = u64::from(MOST_RECORDS_PER_CELL / records_each.max(1));
    if subjects <= fit {
        return 0.0;
    }
    let mean = subjects as f64 / f64::from(cells);
    (tail(mean, fit + 1) * f64::from(cells)).min(1.0)
}

/// The chance that a number of this mean, of Poisson's distribution, is `first` or more.
fn tail(mean: f64, first: u64) -> f64 {
    // What comes first in the tail: mean^first * e^-mean / first!. Each of the three has hundreds of digits, so they are
    // multiplied a factor of each at a time.
    let share = exp_of_minus(mean / first as f64);
    let mut term: f64 = (1..=first)
        .map(|factor| mean / factor as f64 * share)
        .product();
    let mut tail = 0.0;
    let mut number = first as f64;
    // Terms grow as far as the mean, then shrink.
    while term > tail * f64::EPSILON || number < mean {
        tail += term;
        number += 1.0;
        term *= mean / number;
    }
    tail
}

/// e^-x, for an x that is not negative, by its series. The standard library's, for any x, takes 4 KB of the filter.
fn exp_of_minus(x: f64) -> f64 {
    // Made so small that a few terms are all that a double can tell.
    let (mut small, mut halvings) = (x, 0);
    while small > 0.5 && halvings < 64 {
        small /= 2.0;
        halvings += 1;
    }
    let (mut term, mut sum) = (1.0, 1.0);
    for power in 1..16 {
        term *= small / f64::from(power);
        sum += term;
    }
    (0..halvings).fold(1.0 / sum, |root: f64, _| root * root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e_to_a_negative_power_is_that_of_the_standard_library() {
        for x in [0.0, 1e-9, 0.1, 0.5, 1.0, 7.3, 128.0, 700.0] {
            let (ours, theirs) = (exp_of_minus(x), (-x).exp());
            assert!((ours / theirs - 1.0).abs() < 1e-12, "{x}: {ours} {theirs}");
        }
    }
}
