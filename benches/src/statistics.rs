//! Medians, percentiles, and how sure one can be of them.
//!
//! A machine wanders by a tenth from minute to minute, and all contenders with it; so what is compared is compared
//! within a round, and a figure is the median over rounds. Its confidence interval is made by the bootstrap: the
//! rounds are drawn anew many times, with repetition, within each run, and the figure is taken from each draw.

/// Draws of the bootstrap: enough that a limit of the interval wanders less than what it bounds.
const DRAWS: usize = 2000;

/// How much of all draws the interval holds.
const CONFIDENCE: f64 = 0.95;

/// A figure with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// The interval's lower limit.
    pub low: f64,
    /// The interval's upper limit.
    pub high: f64,
}

/// The rounds of a draw: for each run, which of its rounds, some repeatedly.
#[derive(Clone, Debug)]
pub struct Draw(Vec<Vec<usize>>);

/// A small generator of random numbers (SplitMix64; Steele, Lea, Flood 2014), so that a report says the same each time.
pub(crate) struct Random(pub(crate) u64);

// === impl Draw ===

impl Draw {
    /// All rounds, each once.
    fn all(rounds: &[usize]) -> Self {
        Self(rounds.iter().map(|number| (0..*number).collect()).collect())
    }

    fn random(rounds: &[usize], random: &mut Random) -> Self {
        let draw = |number: &usize| (0..*number).map(|_| random.below(*number)).collect();
        Self(rounds.iter().map(draw).collect())
    }

    /// The values of the drawn rounds; `runs` holds each run's values, round by round.
    #[must_use]
    pub fn of(&self, runs: &[&[f64]]) -> Vec<f64> {
        self.0
            .iter()
            .zip(runs)
            .flat_map(|(rounds, values)| rounds.iter().filter_map(|round| values.get(*round)))
            .copied()
            .collect()
    }
}

// === impl Random ===

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below the limit.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        // The upper half of a product is evenly spread, but for one part in 2^64.
        let product = u128::from(self.next()) * limit as u128;
        (product >> 64) as usize
    }
}

/// Takes a figure from all rounds, and its confidence interval from draws of them. `rounds`: how many each run has.
/// None if there is nothing to take it from.
pub fn estimate(rounds: &[usize], figure: impl Fn(&Draw) -> Option<f64>) -> Option<Estimate> {
    let value = figure(&Draw::all(rounds))?;
    let mut random = Random(1);
    let mut drawn: Vec<f64> = (0..DRAWS)
        .filter_map(|_| figure(&Draw::random(rounds, &mut random)))
        .filter(|value| value.is_finite())
        .collect();
    drawn.sort_by(f64::total_cmp);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    Some(Estimate {
        value,
        low: percentile(&drawn, tail),
        high: percentile(&drawn, 1.0 - tail),
    })
}

/// The median; none of nothing.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len().is_multiple_of(2) {
        let lower = sorted.get(middle.checked_sub(1)?)?;
        Some(f64::midpoint(*lower, upper))
    } else {
        Some(upper)
    }
}

/// The smallest; none of nothing.
#[must_use]
pub fn minimum(values: &[f64]) -> Option<f64> {
    values.iter().copied().min_by(f64::total_cmp)
}

/// The value below or at which `part` of the values lie, of values in ascending order; not a number of nothing.
#[must_use]
pub fn percentile(sorted: &[f64], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles_are_what_the_words_mean() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.50), 50.0);
        assert_eq!(percentile(&hundred, 0.99), 99.0);
        assert_eq!(percentile(&hundred, 1.0), 100.0);
        assert_eq!(minimum(&hundred), Some(1.0));
    }

    #[test]
    fn a_draw_takes_the_same_rounds_of_all_that_it_compares() {
        // The machine wanders, the difference does not: so the interval has no width.
        let bare: Vec<f64> = (0..30).map(|round| f64::from(round * round)).collect();
        let other: Vec<f64> = bare.iter().map(|value| value + 8.0).collect();
        let added = estimate(&[30], |draw| {
            let pairs = draw.of(&[&other]).into_iter().zip(draw.of(&[&bare]));
            median(&pairs.map(|(other, bare)| other - bare).collect::<Vec<_>>())
        });
        let exact = Estimate {
            value: 8.0,
            low: 8.0,
            high: 8.0,
        };
        assert_eq!(added, Some(exact));
    }

    #[test]
    fn the_interval_holds_the_true_median_and_shrinks_with_more_rounds() {
        let mut random = Random(7);
        let mut width = |rounds: usize| {
            let values: Vec<f64> = (0..rounds).map(|_| random.below(1000) as f64).collect();
            let found =
                estimate(&[rounds], |draw| median(&draw.of(&[&values]))).expect("an estimate");
            assert!(found.low < 500.0 && 500.0 < found.high, "{found:?}");
            found.high - found.low
        };
        assert!(width(1000) < width(20));
    }
}
