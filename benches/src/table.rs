//! A report for the terminal.

mod bodies;
mod instructions;
mod load;

use std::fmt::Write;

use crate::goals::goals;
use crate::report::{Report, View};
use crate::statistics::Estimate;
use bodies::{bodies, pieces};
use instructions::{calls, instructions};
use load::{comparison, events, growth, latency, memory, start, workers};

/// Contenders in the order in which they are listed, each with what it is.
pub const CONTENDERS: [(&str, &str); 12] = [
    ("bare", "bare Envoy"),
    ("empty", "empty Wasm module"),
    ("floor", "floor: the least Wasm for the work"),
    ("floor-equal", "floor: equal work, by hand"),
    ("native", "api_key_auth + local_ratelimit"),
    ("lua", "Lua"),
    ("ext_authz", "ext_authz over HTTP"),
    ("ext_authz+limit", "ext_authz + local_ratelimit"),
    ("waykeeper", "Waykeeper"),
    ("waykeeper-large", "Waykeeper, 3 limits, 200 routes"),
    ("waykeeper-other", "Waykeeper, the other build"),
    ("tutorial", "FastAPI + httpx"),
];

/// How an agent is judged.
const JUDGES: [(&str, &str); 4] = [
    ("bare", "bare Envoy"),
    ("waykeeper", "Waykeeper, no agent judged"),
    ("rest", "judged by what callers get"),
    ("each-attempt", "judged by each attempt, on its side"),
];

/// Settings of Waykeeper in the order in which they are listed, each with what it is.
const SETTINGS: [(&str, &str); 12] = [
    ("bare", "bare Envoy"),
    ("waykeeper", "Waykeeper, one limit"),
    ("tell-ratelimit", "tell: [ratelimit]"),
    ("tell-openai", "tell: [openai]"),
    ("tell-nothing", "tell: []"),
    ("see-client", "agents_see: [client]"),
    ("see-nothing", "agents_see: []"),
    ("neither", "tell: [], agents_see: []"),
    ("streams", "streams: true on the route"),
    ("three-of-client", "three limits of the client"),
    ("three", "limits of address, client and route"),
    ("three-forwarded", "the same, from: x-forwarded-for"),
];

const CLIENTS: [(&str, &str); 3] = [
    ("bare", "bare Envoy"),
    ("10", "Waykeeper, 10 clients"),
    ("1000", "1,000 clients, as densely as 1,000,000"),
];

/// The whole report, in lines.
#[must_use]
pub fn show(report: &Report) -> String {
    let mut text = format!("{}\n", report.machine);
    for run in &report.runs {
        let build: String = run.filter.sha256.chars().take(12).collect();
        line(
            &mut text,
            format_args!("{}  {}  filter {build}", run.started, run.command),
        );
    }
    comparison(&mut text, "Envoy answers by itself", &report.view("direct"));
    comparison(&mut text, "An agent behind", &report.view("upstream"));
    comparison(
        &mut text,
        "An agent behind, a body of 1 KB posted to it",
        &report.view("posted"),
    );
    latency(&mut text, &report.view("latency"));
    growth(
        &mut text,
        "Clients, another one in each request",
        &report.view("clients"),
    );
    growth(&mut text, "Routes, all in turn", &report.view("routes"));
    workers(&mut text, &report.view("workers"));
    memory(&mut text, &report.view("memory"));
    events(&mut text, &report.view("events"));
    pieces(&mut text, &report.view("pieces"));
    start(&mut text, &report.view("start"));
    instructions(
        &mut text,
        "Instructions of Envoy for a request",
        &report.view("instructions"),
        &CONTENDERS,
        &[("floor", "/floor"), ("floor-equal", "/equal")],
    );
    instructions(
        &mut text,
        "Instructions of Envoy for a request, by Waykeeper's settings",
        &report.view("settings"),
        &SETTINGS,
        &[("waykeeper", "/1st")],
    );
    instructions(
        &mut text,
        "Instructions of Envoy for a request with an agent behind that is judged",
        &report.view("attempts"),
        &JUDGES,
        &[("waykeeper", "/1st")],
    );
    instructions(
        &mut text,
        "Instructions of Envoy for a request, another client in each",
        &report.view("dense"),
        &CLIENTS,
        &[("10", "/few")],
    );
    bodies(&mut text, &report.view("bodies"));
    calls(&mut text, &report.view("calls"));
    standings(&mut text, report);
    text
}

/// What a measurement has of these, in order.
fn labelled(
    view: &View<'_>,
    labels: &[(&'static str, &'static str)],
) -> Vec<(&'static str, &'static str)> {
    let columns = view.columns();
    let labels = labels.iter().copied();
    labels.filter(|(name, _)| columns.contains(name)).collect()
}

fn standings(text: &mut String, report: &Report) {
    line(text, format_args!("\nGoals"));
    let (measured, others): (Vec<_>, Vec<_>) = goals(report)
        .into_iter()
        .partition(|goal| goal.figure.is_some());
    for goal in measured {
        line(
            text,
            format_args!(
                "{:76}{:>9}  {:15}{:>8}  {}",
                goal.text,
                value(goal.figure, goal.decimals),
                interval(goal.figure, goal.decimals),
                goal.bound.to_string(),
                goal.standing(),
            ),
        );
    }
    if !others.is_empty() {
        line(
            text,
            format_args!("{} more, not measured here", others.len()),
        );
    }
}

/// Begins a table. False: nothing of it was measured.
fn begin(text: &mut String, title: &str, view: &View<'_>) -> bool {
    if view.is_empty() {
        return false;
    }
    let rounds = view.rounds();
    let s = if rounds == 1 { "" } else { "s" };
    line(text, format_args!("\n{title} ({rounds} round{s})"));
    true
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{arguments}");
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

fn value(estimate: Option<Estimate>, decimals: usize) -> String {
    number(estimate.map(|found| found.value), decimals)
}

fn interval(estimate: Option<Estimate>, decimals: usize) -> String {
    match estimate {
        Some(Estimate { low, high, .. }) if low < high => {
            format!("{low:.decimals$} … {high:.decimals$}")
        }
        _ => String::new(),
    }
}

fn megabytes(bytes: Option<f64>) -> String {
    number(bytes.map(|bytes| bytes / 1e6), 1)
}
