//! What is said of how long callers waited.

use std::fmt::Write;

use super::{LONG, ONE_IN, Plan, Played, SHORT, SLOTS, Waited};
use crate::generator::Outcome;
use crate::machine::Machine;
use crate::statistics::median;

/// The tables, as a page has them.
#[must_use]
pub fn show(played: &[Played], plan: Plan, machine: &Machine) -> String {
    let mut text = format!(
        "An answer is worked at for {SHORT} ms, 1 in {ONE_IN} for {LONG} ms; an endpoint works at {SLOTS} side by side, others wait. \
         {} rounds of {} s.\n{}, {} cores, Envoy {}\n",
        plan.rounds, plan.seconds, machine.processor, machine.cores, machine.envoy
    );
    for scene in played {
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            "\n{}, {} requests per second:\n\n\
             | `balance` | weights | p50 | p90 | p99 | p99 against the first | answered by each endpoint | refused |\n\
             |---|---|---|---|---|---|---|---|\n",
            scene.said, scene.rate
        );
        let Some(first) = scene.ways.first() else {
            continue;
        };
        for way in &scene.ways {
            let _ = writeln!(text, "{}", row(way, first));
        }
    }
    text
}

fn row(way: &Waited, first: &Waited) -> String {
    let milliseconds = |part: fn(&Outcome) -> f64| {
        let values: Vec<f64> = way.outcomes.iter().map(part).collect();
        format!("{:.0} ms", median(&values).unwrap_or(f64::NAN) / 1000.0)
    };
    let ratios: Vec<f64> = way
        .outcomes
        .iter()
        .zip(&first.outcomes)
        .map(|(own, first)| own.p99 / first.p99)
        .collect();
    let [low, high] = [f64::min, f64::max].map(|of_two| {
        let ratios = ratios.iter().copied();
        ratios.reduce(of_two).unwrap_or(f64::NAN)
    });
    let middle = median(&ratios).unwrap_or(f64::NAN);
    let all: u64 = way.answered.iter().sum();
    let shares = way
        .answered
        .map(|number| format!("{:.0} %", 100.0 * number as f64 / all.max(1) as f64));
    let refused: u64 = way.outcomes.iter().map(|outcome| outcome.refused).sum();
    format!(
        "| `{}` | {} | {} | {} | {} | {middle:.2} ({low:.2} to {high:.2}) | {} | {refused} |",
        way.balance,
        way.weights.map(|weight| weight.to_string()).join(" : "),
        milliseconds(|outcome| outcome.p50),
        milliseconds(|outcome| outcome.p90),
        milliseconds(|outcome| outcome.p99),
        shares.join(", "),
    )
}
