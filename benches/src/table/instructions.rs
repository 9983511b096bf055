//! Instructions: of a request, and of a call between Envoy and a module.

use super::{begin, labelled, line, number, value};
use crate::contender::TIMES;
use crate::report::{Metric, View};
use crate::statistics::Estimate;

/// `bases`: what others are compared with, by name, and how their column is headed.
pub(super) fn instructions(
    text: &mut String,
    title: &str,
    view: &View<'_>,
    labels: &[(&'static str, &'static str)],
    bases: &[(&str, &str)],
) {
    if !begin(text, title, view) {
        return;
    }
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

pub(super) fn calls(text: &mut String, view: &View<'_>) {
    if !begin(
        text,
        "Instructions of Envoy for a call between it and a module",
        view,
    ) {
        return;
    }
    for (label, name, base, times) in CALLS {
        let added = view.added(name, base, Metric::Instructions);
        let each = added.map(|added| added.value / times as f64);
        line(text, format_args!("{label:36}{:>8}", number(each, 0)));
    }
}
