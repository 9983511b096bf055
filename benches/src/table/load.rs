//! Envoy under load: processor time, throughput, waiting and memory; and how long it takes to start.

use super::{CONTENDERS, begin, interval, labelled, line, megabytes, number, value};
use crate::report::{Metric, View};
use crate::statistics::Estimate;

pub(super) fn comparison(text: &mut String, title: &str, view: &View<'_>) {
    if !begin(text, title, view) {
        return;
    }
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

pub(super) fn latency(text: &mut String, view: &View<'_>) {
    if !begin(text, "A steady rate, half of what bare Envoy can do", view) {
        return;
    }
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

pub(super) fn growth(text: &mut String, title: &str, view: &View<'_>) {
    if !begin(text, title, view) {
        return;
    }
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

pub(super) fn workers(text: &mut String, view: &View<'_>) {
    if !begin(text, "Workers", view) {
        return;
    }
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

pub(super) fn memory(text: &mut String, view: &View<'_>) {
    if !begin(
        text,
        "Peak memory after as many requests, half of them with invalid keys",
        view,
    ) {
        return;
    }
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

pub(super) fn events(text: &mut String, view: &View<'_>) {
    if !begin(text, "An event of a stream", view) {
        return;
    }
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

pub(super) fn start(text: &mut String, view: &View<'_>) {
    if !begin(
        text,
        "From the start of Envoy to the first good answer",
        view,
    ) {
        return;
    }
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

/// The contenders that a measurement has, in order.
fn rows(view: &View<'_>) -> Vec<(&'static str, &'static str)> {
    labelled(view, &CONTENDERS)
}
