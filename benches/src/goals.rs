//! What the filter is to reach, each with its figure from a report.

use crate::report::{Metric, Report, View};
use crate::statistics::Estimate;

/// A goal and where it stands.
#[derive(Clone, Debug)]
pub struct Goal {
    /// What is asked.
    pub text: String,
    /// The bound.
    pub bound: Bound,
    /// What was measured; none if it was not.
    pub figure: Option<Estimate>,
    /// Figures behind the point.
    pub decimals: usize,
}

/// A bound, and from which side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// Where a goal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The whole interval is within the bound.
    Met,
    /// The figure is within the bound, but not all of its interval.
    Barely,
    /// The figure is beyond the bound, but not all of its interval.
    Nearly,
    /// The whole interval is beyond the bound.
    Missed,
    /// It was not measured.
    Unknown,
}

/// All goals, with what the report says of them.
#[must_use]
pub fn goals(report: &Report) -> Vec<Goal> {
    let (direct, upstream) = (report.view("direct"), report.view("upstream"));
    let clients = report.view("clients");
    let memory = report.view("memory");
    let (instructions, settings) = (report.view("instructions"), report.view("settings"));
    let dense = report.view("dense");
    let added_by_setting =
        |column: &str| settings.ratio_of_added(column, "waykeeper", "bare", Metric::Instructions);
    let few_and_many = |view: &View<'_>| {
        let mut numbers: Vec<u64> = view
            .columns()
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        numbers.sort_unstable();
        let few = numbers.first().copied().unwrap_or(10);
        (few, numbers.last().copied().unwrap_or(1_000_000))
    };
    let (few_clients, many_clients) = few_and_many(&clients);
    let (few_keys, many_keys) = few_and_many(&memory);
    let [few_clients_name, many_clients_name] = [few_clients, many_clients].map(|n| n.to_string());
    let [few_keys_name, many_keys_name] = [few_keys, many_keys].map(|n| n.to_string());
    let added =
        |column: &str, other: &str| direct.ratio_of_added(column, other, "bare", Metric::Cpu);
    let goal = |text: &str, bound, figure, decimals| Goal {
        text: text.to_owned(),
        bound,
        figure,
        decimals,
    };
    vec![
        goal(
            "instructions that Waykeeper adds, in times of the floor of equal work",
            Bound::AtMost(1.1),
            instructions.ratio_of_added("waykeeper", "floor-equal", "bare", Metric::Instructions),
            2,
        ),
        goal(
            "instructions added with three limits of one client, in times of one limit",
            Bound::AtMost(1.25),
            added_by_setting("three-of-client"),
            2,
        ),
        goal(
            "the same with limits of address, client and route, the address from a header",
            Bound::AtMost(1.25),
            added_by_setting("three-forwarded"),
            2,
        ),
        goal(
            "the same with another client in each request, in times of 10 clients",
            Bound::AtMost(1.3),
            dense.ratio_of_added("1000", "10", "bare", Metric::Instructions),
            2,
        ),
        goal(
            "CPU that Waykeeper adds, in times of what the floor adds",
            Bound::AtMost(1.15),
            added("waykeeper", "floor"),
            2,
        ),
        goal(
            "the same, in times of what ext_authz and its server add",
            Bound::AtMost(1.0 / 3.0),
            direct.ratio_of_added_with_server("waykeeper", "ext_authz", "bare"),
            2,
        ),
        goal(
            "the same, in times of what ext_authz adds without its server",
            Bound::AtMost(1.0 / 3.0),
            added("waykeeper", "ext_authz"),
            2,
        ),
        goal(
            "the same, in times of what Lua adds",
            Bound::AtMost(1.9),
            added("waykeeper", "lua"),
            2,
        ),
        goal(
            "CPU added with three limits and 200 routes, in times of one of each",
            Bound::AtMost(1.25),
            added("waykeeper-large", "waykeeper"),
            2,
        ),
        goal(
            &format!("CPU added with {many_clients} clients, in times of {few_clients}"),
            Bound::AtMost(1.3),
            clients.ratio_of_added(&many_clients_name, &few_clients_name, "bare", Metric::Cpu),
            2,
        ),
        goal(
            &format!(
                "memory with {many_keys} valid and as many invalid keys, over {few_keys} (MB)"
            ),
            Bound::AtMost(64.0),
            scaled(
                memory.added(&many_keys_name, &few_keys_name, Metric::PeakMemory),
                1e-6,
            ),
            1,
        ),
        goal(
            "throughput, in times of the tutorial's gateway",
            Bound::AtLeast(20.0),
            upstream.ratio("waykeeper", "tutorial", Metric::Throughput),
            1,
        ),
        goal(
            "throughput with an agent behind, in times of the floor's",
            Bound::AtLeast(0.95),
            upstream.ratio("waykeeper", "floor", Metric::Throughput),
            3,
        ),
        goal(
            "added p99 at half load (ms)",
            Bound::AtMost(0.2),
            scaled(
                report
                    .view("latency")
                    .added("waykeeper", "bare", Metric::P99),
                1e-3,
            ),
            3,
        ),
        goal(
            "size of the filter (KB)",
            Bound::AtMost(600.0),
            report
                .last()
                .map(|run| exact(run.filter.bytes as f64 / 1e3)),
            1,
        ),
        goal(
            "from the start of Envoy to the first good answer (s)",
            Bound::AtMost(0.5),
            report.view("start").typical("waykeeper", Metric::Start),
            3,
        ),
    ]
}

impl Goal {
    /// Where it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let Some(Estimate { value, low, high }) = self.figure else {
            return Standing::Unknown;
        };
        let within = |figure: f64| match self.bound {
            Bound::AtMost(bound) => figure <= bound,
            Bound::AtLeast(bound) => figure >= bound,
        };
        match (
            within(value),
            within(low) && within(high),
            within(low) || within(high),
        ) {
            (true, true, _) => Standing::Met,
            (true, false, _) => Standing::Barely,
            (false, _, true) => Standing::Nearly,
            (false, _, false) => Standing::Missed,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A third is no round number.
        let shown = |bound: f64| format!("{}", (bound * 1e3).round() / 1e3);
        match self {
            Self::AtMost(bound) => write!(formatter, "≤ {}", shown(*bound)),
            Self::AtLeast(bound) => write!(formatter, "≥ {}", shown(*bound)),
        }
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Met => "met",
            Self::Barely => "met, not surely",
            Self::Nearly => "missed, not surely",
            Self::Missed => "missed",
            Self::Unknown => "not measured",
        })
    }
}

fn exact(value: f64) -> Estimate {
    Estimate {
        value,
        low: value,
        high: value,
    }
}

fn scaled(estimate: Option<Estimate>, factor: f64) -> Option<Estimate> {
    estimate.map(|Estimate { value, low, high }| Estimate {
        value: value * factor,
        low: low * factor,
        high: high * factor,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_surely_met_only_if_its_whole_interval_is() {
        let standing = |bound, value, low, high| {
            let goal = Goal {
                text: String::new(),
                bound,
                figure: Some(Estimate { value, low, high }),
                decimals: 2,
            };
            goal.standing()
        };
        assert_eq!(standing(Bound::AtMost(2.0), 1.5, 1.0, 1.9), Standing::Met);
        assert_eq!(
            standing(Bound::AtMost(2.0), 1.9, 1.5, 2.3),
            Standing::Barely
        );
        assert_eq!(
            standing(Bound::AtMost(2.0), 2.1, 1.9, 2.3),
            Standing::Nearly
        );
        assert_eq!(
            standing(Bound::AtMost(2.0), 3.0, 2.5, 3.5),
            Standing::Missed
        );
        assert_eq!(
            standing(Bound::AtLeast(20.0), 25.0, 22.0, 28.0),
            Standing::Met
        );
        assert_eq!(
            standing(Bound::AtLeast(20.0), 15.0, 12.0, 18.0),
            Standing::Missed
        );
    }
}
