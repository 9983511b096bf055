//! What was measured, as it lies in `target/bench/report.json`: every round's numbers, so that figures can be worked
//! out again, and over several runs.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::machine::Machine;
use crate::statistics::{Draw, Estimate, estimate, median, minimum};

/// All runs that are spoken of together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Where they ran.
    pub machine: Machine,
    /// The runs.
    pub runs: Vec<Run>,
}

/// One run of the benchmark.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// When it began, in UTC.
    pub started: String,
    /// The command that made it.
    pub command: String,
    /// The filter that was measured.
    pub filter: Build,
    /// What was measured, by name.
    pub measurements: BTreeMap<String, Measurement>,
}

/// A build of the filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The SHA-256 of the module, in hexadecimal digits.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// What was compared within the same rounds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measurement {
    /// How many rounds there were.
    pub rounds: usize,
    /// What was compared, by name; of each, every kind of number round by round.
    pub columns: BTreeMap<String, Column>,
}

/// The numbers of one contender, round by round.
pub type Column = BTreeMap<Metric, Vec<f64>>;

/// The numbers of one contender in one round.
pub type Sample = BTreeMap<Metric, f64>;

/// A kind of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Processor time of the gateway per request (or per event of a stream), in microseconds.
    Cpu,
    /// Processor time of the validator or authorizer per request, in microseconds.
    ServerCpu,
    /// Requests per second.
    Throughput,
    /// Half of the requests took no longer, in microseconds.
    P50,
    /// All but one in a hundred took no longer, in microseconds.
    P99,
    /// The most memory that the gateway had so far, in bytes.
    PeakMemory,
    /// Questions to the validator or authorizer per request.
    Questions,
    /// From the gateway's start to its first good answer, in seconds.
    Start,
    /// Instructions of the gateway per request, outside the kernel.
    Instructions,
    /// From the first byte that the caller sends until the agent hears of the request, in microseconds.
    Heard,
    /// The same from when the caller sends what names the model.
    HeardOfModel,
}

/// One measurement of all runs that have it.
#[derive(Clone, Debug)]
pub struct View<'a> {
    runs: Vec<&'a Measurement>,
}

// === impl Report ===

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// If it cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::at(path, error))?;
        serde_json::from_str(&text).map_err(|error| Error::at(path, error))
    }

    /// Writes the report, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::at(path, error);
        let text = serde_json::to_string(self).map_err(|error| failed(error.into()))?;
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        let beside = path.with_extension("json.new");
        std::fs::write(&beside, text + "\n").map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)
    }

    /// Takes the runs of an earlier report in before those of this one.
    pub fn pool(&mut self, earlier: Self) {
        self.runs.splice(0..0, earlier.runs);
    }

    /// Makes sure that figures of this report can be spoken of together with those of `build` on `machine`.
    ///
    /// # Errors
    /// If they do not, with the reason.
    pub fn speaks_of(&self, machine: &Machine, build: &Build) -> Result<(), Error> {
        if self.machine != *machine {
            return Err(Error::new(
                "the report at hand is of another machine or other programs: run once without --pool",
            ));
        }
        if self.runs.iter().any(|run| run.filter != *build) {
            return Err(Error::new(
                "the report at hand is of another build of the filter: run once without --pool",
            ));
        }
        Ok(())
    }

    /// A measurement, of all runs that have it.
    #[must_use]
    pub fn view(&self, measurement: &str) -> View<'_> {
        View {
            runs: self
                .runs
                .iter()
                .filter_map(|run| run.measurements.get(measurement))
                .collect(),
        }
    }

    /// The last run.
    #[must_use]
    pub fn last(&self) -> Option<&Run> {
        self.runs.last()
    }
}

// === impl Measurement ===

impl Measurement {
    /// Notes one round of one contender.
    pub fn add(&mut self, column: &str, sample: Sample) {
        let column = self.columns.entry(column.to_owned()).or_default();
        for (metric, value) in sample {
            column.entry(metric).or_default().push(value);
        }
    }
}

// === impl View ===

impl<'a> View<'a> {
    /// True if no run has this measurement.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many rounds there are in all.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.runs.iter().map(|run| run.rounds).sum()
    }

    /// The names of what all runs compare.
    #[must_use]
    pub fn columns(&self) -> Vec<&'a str> {
        let Some((first, rest)) = self.runs.split_first() else {
            return Vec::new();
        };
        let everywhere = |name: &&str| rest.iter().all(|run| run.columns.contains_key(*name));
        let names = first.columns.keys().map(String::as_str);
        names.filter(everywhere).collect()
    }

    /// The median over all rounds.
    #[must_use]
    pub fn median(&self, column: &str, metric: Metric) -> Option<f64> {
        median(&self.values(column, metric)?.concat())
    }

    /// The smallest over all rounds.
    #[must_use]
    pub fn minimum(&self, column: &str, metric: Metric) -> Option<f64> {
        minimum(&self.values(column, metric)?.concat())
    }

    /// The largest over all rounds.
    #[must_use]
    pub fn maximum(&self, column: &str, metric: Metric) -> Option<f64> {
        let values = self.values(column, metric)?.concat();
        values.into_iter().max_by(f64::total_cmp)
    }

    /// The median with its confidence interval.
    #[must_use]
    pub fn typical(&self, column: &str, metric: Metric) -> Option<Estimate> {
        let values = self.values(column, metric)?;
        self.estimate(|draw| median(&draw.of(&values)))
    }

    /// By how much `column` exceeds `base` within a round.
    #[must_use]
    pub fn added(&self, column: &str, base: &str, metric: Metric) -> Option<Estimate> {
        let (values, bases) = (self.values(column, metric)?, self.values(base, metric)?);
        self.estimate(|draw| difference(draw, &values, &bases))
    }

    /// How many times `base` is `column` within a round.
    #[must_use]
    pub fn ratio(&self, column: &str, base: &str, metric: Metric) -> Option<Estimate> {
        let (values, bases) = (self.values(column, metric)?, self.values(base, metric)?);
        self.estimate(|draw| {
            let pairs = draw.of(&values).into_iter().zip(draw.of(&bases));
            median(&pairs.map(|(value, base)| value / base).collect::<Vec<_>>())
        })
    }

    /// How many times what `other` adds to `base` is what `column` adds to it.
    #[must_use]
    pub fn ratio_of_added(
        &self,
        column: &str,
        other: &str,
        base: &str,
        metric: Metric,
    ) -> Option<Estimate> {
        let values = self.values(column, metric)?;
        let others = self.values(other, metric)?;
        let bases = self.values(base, metric)?;
        self.estimate(|draw| {
            Some(difference(draw, &values, &bases)? / difference(draw, &others, &bases)?)
        })
    }

    /// How many times the processor time that `other` and the server it asks add to `base` is what `column` adds to it.
    #[must_use]
    pub fn ratio_of_added_with_server(
        &self,
        column: &str,
        other: &str,
        base: &str,
    ) -> Option<Estimate> {
        let values = self.values(column, Metric::Cpu)?;
        let others = self.values(other, Metric::Cpu)?;
        let servers = self.values(other, Metric::ServerCpu)?;
        let bases = self.values(base, Metric::Cpu)?;
        self.estimate(|draw| {
            let all = difference(draw, &others, &bases)? + median(&draw.of(&servers))?;
            Some(difference(draw, &values, &bases)? / all)
        })
    }

    fn estimate(&self, figure: impl Fn(&Draw) -> Option<f64>) -> Option<Estimate> {
        let rounds: Vec<usize> = self.runs.iter().map(|run| run.rounds).collect();
        estimate(&rounds, figure)
    }

    fn values(&self, column: &str, metric: Metric) -> Option<Vec<&'a [f64]>> {
        let values = |run: &&'a Measurement| {
            let values = run.columns.get(column)?.get(&metric)?;
            Some(values.as_slice())
        };
        let values: Option<Vec<_>> = self.runs.iter().map(values).collect();
        values.filter(|values| !values.is_empty())
    }
}

fn difference(draw: &Draw, values: &[&[f64]], bases: &[&[f64]]) -> Option<f64> {
    let pairs = draw.of(values).into_iter().zip(draw.of(bases));
    median(&pairs.map(|(value, base)| value - base).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(columns: &[(&str, &[f64])]) -> Measurement {
        let mut measurement = Measurement {
            rounds: columns.first().map_or(0, |(_, values)| values.len()),
            ..Measurement::default()
        };
        for (name, values) in columns {
            for value in *values {
                measurement.add(name, Sample::from([(Metric::Cpu, *value)]));
            }
        }
        measurement
    }

    fn report(build: &str, measurement: Measurement) -> Report {
        let build = Build {
            sha256: build.to_owned(),
            bytes: 1,
        };
        Report {
            machine: Machine::default(),
            runs: vec![Run {
                started: String::new(),
                command: String::new(),
                filter: build,
                measurements: BTreeMap::from([("direct".to_owned(), measurement)]),
            }],
        }
    }

    #[test]
    fn a_server_that_is_asked_costs_too() {
        let mut asking = measurement(&[
            ("bare", &[20.0, 20.0]),
            ("asking", &[40.0, 40.0]),
            ("way", &[30.0, 30.0]),
        ]);
        for _ in 0..2 {
            asking.add("asking", Sample::from([(Metric::ServerCpu, 5.0)]));
        }
        let report = report("a", asking);
        let view = report.view("direct");
        let ratio = view.ratio_of_added_with_server("way", "asking", "bare");
        assert_eq!(ratio.map(|found| found.value), Some(0.4));
    }

    #[test]
    fn pooled_runs_are_compared_round_by_round() {
        let slow = measurement(&[
            ("bare", &[20.0, 40.0]),
            ("floor", &[28.0, 48.0]),
            ("way", &[36.0, 56.0]),
        ]);
        let fast = measurement(&[("bare", &[10.0]), ("floor", &[18.0]), ("way", &[26.0])]);
        let mut pooled = report("a", fast);
        pooled.pool(report("a", slow));
        let view = pooled.view("direct");
        assert_eq!(view.rounds(), 3);
        assert_eq!(view.columns(), ["bare", "floor", "way"]);
        assert_eq!(
            view.added("way", "bare", Metric::Cpu)
                .map(|found| found.value),
            Some(16.0)
        );
        let ratio = view
            .ratio_of_added("way", "floor", "bare", Metric::Cpu)
            .expect("a ratio");
        assert_eq!((ratio.low, ratio.value, ratio.high), (2.0, 2.0, 2.0));
        assert_eq!(view.ratio_of_added("way", "lua", "bare", Metric::Cpu), None);
    }

    #[test]
    fn runs_of_different_builds_are_not_pooled() {
        let one = report("a", measurement(&[]));
        let build = |sha256: &str| Build {
            sha256: sha256.to_owned(),
            bytes: 1,
        };
        assert!(one.speaks_of(&Machine::default(), &build("a")).is_ok());
        assert!(one.speaks_of(&Machine::default(), &build("b")).is_err());
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("deep/report.json");
        let written = report("a", measurement(&[("bare", &[1.5, 2.5])]));
        written.write(&path).expect("written");
        let read = Report::read(&path).expect("read");
        assert_eq!(read.view("direct").median("bare", Metric::Cpu), Some(2.0));
    }
}
