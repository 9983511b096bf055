//! A report for the terminal.

use std::fmt::Write;

use crate::contender::TIMES;
use crate::goals::goals;
use crate::measure::{LARGE, SMALL};
use crate::report::{Metric, Report, View};
use crate::statistics::Estimate;

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

/// Ways to choose by a body in the order in which they are listed, each with what it is.
const BODIES: [(&str, &str); 5] = [
    ("bare", "bare Envoy"),
    ("waykeeper", "Waykeeper, no rule"),
    ("rule", "Waykeeper, a rule by model"),
    ("renamed", "the same, the model renamed"),
    ("json_to_metadata", "json_to_metadata, a route by model"),
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

fn comparison(text: &mut String, title: &str, view: &View<'_>) {
    if view.is_empty() {
        return;
    }
    heading(text, title, view);
    line(
        text,
        format_args!(
            "{:36}{:>8}{:>8}{:>8}  {:15}{:>8}  {:15}{:>8}{:>8}{:>8}{:>8}",
            "",
            "µs CPU",
            "least",
            "added",
            "95 %",
            "/floor",
            "95 %",
            "req/s",
            "p50 µs",
            "p99 µs",
            "MB"
        ),
    );
    let rows = rows(view);
    for (name, label) in &rows {
        let base = |estimate: Option<Estimate>| estimate.filter(|_| *name != "bare");
        let added = base(view.added(name, "bare", Metric::Cpu));
        let floor = base(view.ratio_of_added(name, "floor", "bare", Metric::Cpu));
        line(
            text,
            format_args!(
                "{label:36}{:>8}{:>8}{:>8}  {:15}{:>8}  {:15}{:>8}{:>8}{:>8}{:>8}",
                number(view.median(name, Metric::Cpu), 1),
                number(view.minimum(name, Metric::Cpu), 1),
                value(added, 1),
                interval(added, 1),
                value(floor, 2),
                interval(floor, 2),
                number(view.median(name, Metric::Throughput), 0),
                number(view.median(name, Metric::P50), 0),
                number(view.median(name, Metric::P99), 0),
                megabytes(view.maximum(name, Metric::PeakMemory)),
            ),
        );
    }
    for (name, label) in rows
        .iter()
        .filter(|(name, _)| name.starts_with("ext_authz"))
    {
        let server = view.median(name, Metric::ServerCpu);
        line(
            text,
            format_args!(
                "{label}: beside that, its server used {} µs",
                number(server, 1)
            ),
        );
    }
    let builds = view.ratio_of_added("waykeeper", "waykeeper-other", "bare", Metric::Cpu);
    if builds.is_some() {
        line(
            text,
            format_args!(
                "Waykeeper adds {} times what the other build adds ({})",
                value(builds, 3),
                interval(builds, 3)
            ),
        );
    }
    line(
        text,
        format_args!(
            "{:36}{:>8}  {:15}{:>8}  {:15}{:>8}  {:15}{:>8}  {:15}{:>8}",
            "  in times of bare Envoy",
            "CPU",
            "95 %",
            "req/s",
            "95 %",
            "p50",
            "95 %",
            "p99",
            "95 %",
            "MB"
        ),
    );
    for (name, label) in rows.iter().filter(|(name, _)| *name != "bare") {
        let ratio = |metric| view.ratio(name, "bare", metric);
        let [cpu, throughput, p50, p99] =
            [Metric::Cpu, Metric::Throughput, Metric::P50, Metric::P99].map(ratio);
        line(
            text,
            format_args!(
                "  {label:34}{:>8}  {:15}{:>8}  {:15}{:>8}  {:15}{:>8}  {:15}{:>8}",
                value(cpu, 2),
                interval(cpu, 2),
                value(throughput, 2),
                interval(throughput, 2),
                value(p50, 2),
                interval(p50, 2),
                value(p99, 2),
                interval(p99, 2),
                value(ratio(Metric::PeakMemory), 2),
            ),
        );
    }
}

/// The contenders that a measurement has, in order.
fn rows(view: &View<'_>) -> Vec<(&'static str, &'static str)> {
    labelled(view, &CONTENDERS)
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

fn latency(text: &mut String, view: &View<'_>) {
    if view.is_empty() {
        return;
    }
    heading(text, "A steady rate, half of what bare Envoy can do", view);
    line(
        text,
        format_args!(
            "{:36}{:>8}{:>8}{:>8}{:>10}{:>10}  {}",
            "", "req/s", "p50 µs", "p99 µs", "added p50", "added p99", "95 %"
        ),
    );
    for (name, label) in rows(view) {
        let added = |metric| {
            (name != "bare")
                .then(|| view.added(name, "bare", metric))
                .flatten()
        };
        let (p50, p99) = (added(Metric::P50), added(Metric::P99));
        line(
            text,
            format_args!(
                "{label:36}{:>8}{:>8}{:>8}{:>10}{:>10}  {}",
                number(view.median(name, Metric::Throughput), 0),
                number(view.median(name, Metric::P50), 0),
                number(view.median(name, Metric::P99), 0),
                value(p50, 0),
                value(p99, 0),
                interval(p99, 0),
            ),
        );
    }
}

fn growth(text: &mut String, title: &str, view: &View<'_>) {
    if view.is_empty() {
        return;
    }
    heading(text, title, view);
    line(
        text,
        format_args!(
            "{:36}{:>8}{:>8}  {:15}{:>8}  {:15}{:>9}{:>8}",
            "", "µs CPU", "added", "95 %", "of least", "95 %", "questions", "MB"
        ),
    );
    let mut names: Vec<(u64, &str)> = view
        .columns()
        .into_iter()
        .filter_map(|name| Some((name.parse().ok()?, name)))
        .collect();
    names.sort_unstable();
    let least = names.first().map_or("", |(_, name)| name);
    for (_, name) in &names {
        let added = view.added(name, "bare", Metric::Cpu);
        let ratio = view.ratio_of_added(name, least, "bare", Metric::Cpu);
        line(
            text,
            format_args!(
                "{name:36}{:>8}{:>8}  {:15}{:>8}  {:15}{:>9}{:>8}",
                number(view.median(name, Metric::Cpu), 1),
                value(added, 1),
                interval(added, 1),
                value(ratio, 2),
                interval(ratio, 2),
                number(view.maximum(name, Metric::Questions), 4),
                megabytes(view.maximum(name, Metric::PeakMemory)),
            ),
        );
    }
}

fn workers(text: &mut String, view: &View<'_>) {
    if view.is_empty() {
        return;
    }
    heading(text, "Workers", view);
    line(
        text,
        format_args!(
            "{:36}{:>8}{:>8}  {:15}{:>8}",
            "", "µs CPU", "added", "95 %", "req/s"
        ),
    );
    for workers in ["1", "2"] {
        let (bare, name) = (format!("bare {workers}"), format!("waykeeper {workers}"));
        let added = view.added(&name, &bare, Metric::Cpu);
        line(
            text,
            format_args!(
                "{workers:36}{:>8}{:>8}  {:15}{:>8}",
                number(view.median(&name, Metric::Cpu), 1),
                value(added, 1),
                interval(added, 1),
                number(view.median(&name, Metric::Throughput), 0),
            ),
        );
    }
}

fn memory(text: &mut String, view: &View<'_>) {
    if view.is_empty() {
        return;
    }
    heading(
        text,
        "Peak memory after as many requests, half of them with invalid keys",
        view,
    );
    let mut names = view.columns();
    names.sort_by_key(|name| name.parse::<u64>().unwrap_or(0));
    for name in names {
        let megabytes = megabytes(view.maximum(name, Metric::PeakMemory));
        line(
            text,
            format_args!(
                "{:36}{megabytes:>8} MB",
                format!("{name} keys, and {name} invalid")
            ),
        );
    }
}

fn events(text: &mut String, view: &View<'_>) {
    if view.is_empty() {
        return;
    }
    heading(text, "An event of a stream", view);
    line(
        text,
        format_args!("{:36}{:>8}{:>8}  95 %", "", "µs CPU", "added"),
    );
    for (name, label) in rows(view) {
        let added = view
            .added(name, "bare", Metric::Cpu)
            .filter(|_| name != "bare");
        line(
            text,
            format_args!(
                "{label:36}{:>8}{:>8}  {}",
                number(view.median(name, Metric::Cpu), 2),
                value(added, 2),
                interval(added, 2),
            ),
        );
    }
}

fn start(text: &mut String, view: &View<'_>) {
    if view.is_empty() {
        return;
    }
    heading(
        text,
        "From the start of Envoy to the first good answer",
        view,
    );
    for (name, label) in rows(view) {
        let typical = view.typical(name, Metric::Start);
        line(
            text,
            format_args!(
                "{label:36}{:>8} s  {}",
                value(typical, 3),
                interval(typical, 3)
            ),
        );
    }
}

/// `bases`: what others are compared with, by name, and how their column is headed.
fn instructions(
    text: &mut String,
    title: &str,
    view: &View<'_>,
    labels: &[(&'static str, &'static str)],
    bases: &[(&str, &str)],
) {
    if view.is_empty() {
        return;
    }
    heading(text, title, view);
    let heads = bases.iter().map(|(_, head)| format!("{head:>8}"));
    let heads: String = heads.collect();
    line(
        text,
        format_args!("{:36}{:>8}{:>8}{heads}", "", "all", "added"),
    );
    for (name, label) in labelled(view, labels) {
        let others = |estimate: Option<Estimate>| estimate.filter(|_| name != "bare");
        let added = others(view.added(name, "bare", Metric::Instructions));
        let ratio = |base| view.ratio_of_added(name, base, "bare", Metric::Instructions);
        let ratios = bases
            .iter()
            .map(|(base, _)| format!("{:>8}", value(others(ratio(base)), 2)));
        let ratios: String = ratios.collect();
        line(
            text,
            format_args!(
                "{label:36}{:>8}{:>8}{ratios}",
                number(view.median(name, Metric::Instructions), 0),
                value(added, 0),
            ),
        );
    }
}

/// What each adds to bare Envoy for a small body and a large one, and to the filter without a rule; and what each byte costs.
fn bodies(text: &mut String, view: &View<'_>) {
    if view.is_empty() {
        return;
    }
    let sizes = [SMALL, LARGE];
    heading(
        text,
        "Instructions of Envoy for a request with a chat as its body",
        view,
    );
    let heads = sizes.map(|(name, _)| format!("{name:>12}{:>12}{:>12}", "added", "by rule"));
    line(
        text,
        format_args!("{:36}{}{:>8}{:>8}", "", heads.concat(), "/byte", "by rule"),
    );
    let columns = view.columns();
    for (name, label) in BODIES {
        let of = |name: &str, (size, _)| format!("{name}{size}");
        if !sizes
            .iter()
            .all(|size| columns.contains(&of(name, *size).as_str()))
        {
            continue;
        }
        let over = |base: &str, size| {
            let added = view.added(&of(name, size), &of(base, size), Metric::Instructions);
            added.map(|found| found.value)
        };
        // Whoever has no filter of ours has no rule of ours.
        let added = |size| over("bare", size).filter(|_| name != "bare");
        let by_rule =
            |size| over("waykeeper", size).filter(|_| ["rule", "renamed"].contains(&name));
        let numbers = sizes.map(|size| {
            format!(
                "{:>12}{:>12}{:>12}",
                number(view.median(&of(name, size), Metric::Instructions), 0),
                number(added(size), 0),
                number(by_rule(size), 0),
            )
        });
        let each = |all: &dyn Fn((&'static str, usize)) -> Option<f64>| {
            let more = all(LARGE)? - all(SMALL)?;
            Some(more / (LARGE.1 - SMALL.1) as f64)
        };
        line(
            text,
            format_args!(
                "{label:36}{}{:>8}{:>8}",
                numbers.concat(),
                number(each(&added), 2),
                number(each(&by_rule), 2),
            ),
        );
    }
}

/// When an agent hears of a request whose body comes in pieces.
fn pieces(text: &mut String, view: &View<'_>) {
    if view.is_empty() {
        return;
    }
    heading(
        text,
        "When the agent hears of a request whose body comes in ten pieces",
        view,
    );
    line(
        text,
        format_args!(
            "{:36}{:>10}{:>10}  {:19}{:>10}{:>10}  95 %",
            "  the model stands in", "µs", "added", "95 %", "behind it", "added"
        ),
    );
    let columns = view.columns();
    for (name, label) in BODIES {
        for (place, said) in [("first", "the first piece"), ("last", "the last")] {
            let column = format!("{name} {place}");
            if !columns.contains(&column.as_str()) {
                continue;
            }
            let added = |metric, base: &str| {
                view.added(&column, base, metric)
                    .filter(|_| !["bare", "waykeeper"].contains(&name))
            };
            let heard = added(Metric::Heard, &format!("waykeeper {place}"));
            // Without a rule nobody waits, so the first piece is what others are behind.
            let behind = view.median(&column, Metric::HeardOfModel);
            let of_model = added(Metric::HeardOfModel, "waykeeper first");
            line(
                text,
                format_args!(
                    "{:36}{:>10}{:>10}  {:19}{:>10}{:>10}  {}",
                    format!("{label}: {said}"),
                    number(view.median(&column, Metric::Heard), 0),
                    value(heard, 0),
                    interval(heard, 0),
                    number(behind, 0),
                    value(of_model, 0),
                    interval(of_model, 0),
                ),
            );
        }
    }
}

/// What one call costs: each with the probe that makes all but this call.
const CALLS: [(&str, &str, &str, usize); 15] = [
    ("a module without callbacks", "empty", "bare", 1),
    (
        "callback: request headers, the first",
        "request headers",
        "empty",
        1,
    ),
    (
        "callback: response headers",
        "response headers",
        "request headers",
        1,
    ),
    (
        "callback: response body",
        "response body",
        "request headers",
        1,
    ),
    (
        "callbacks: a stream begins, ends",
        "streams",
        "request headers",
        1,
    ),
    (
        "all headers of the request",
        "all headers",
        "request headers",
        TIMES,
    ),
    ("the time", "time", "request headers", TIMES),
    (
        "set a header of the request",
        "set request header",
        "request headers",
        TIMES,
    ),
    (
        "remove one",
        "remove request header",
        "set request header",
        TIMES,
    ),
    (
        "set a header of the response",
        "set response header",
        "response headers",
        TIMES,
    ),
    (
        "read shared data",
        "read shared data",
        "request headers",
        TIMES,
    ),
    (
        "write shared data",
        "write shared data",
        "request headers",
        TIMES,
    ),
    ("add to a counter", "counter", "request headers", TIMES),
    (
        "the caller's address, a property",
        "property",
        "request headers",
        TIMES,
    ),
    (
        "a note for the access log, a property",
        "set property",
        "request headers",
        TIMES,
    ),
];

fn calls(text: &mut String, view: &View<'_>) {
    if view.is_empty() {
        return;
    }
    heading(
        text,
        "Instructions of Envoy for a call between it and a module",
        view,
    );
    for (label, name, base, times) in CALLS {
        let added = view.added(name, base, Metric::Instructions);
        let each = added.map(|added| added.value / times as f64);
        line(text, format_args!("{label:36}{:>8}", number(each, 0)));
    }
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

fn heading(text: &mut String, title: &str, view: &View<'_>) {
    let rounds = view.rounds();
    let s = if rounds == 1 { "" } else { "s" };
    line(text, format_args!("\n{title} ({rounds} round{s})"));
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
