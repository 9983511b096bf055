//! Requests whose agent is chosen by their body.

use super::{begin, interval, line, number, value};
use crate::measure::{LARGE, SMALL};
use crate::report::{Metric, View};

/// Ways to choose by a body in the order in which they are listed, each with what it is.
const BODIES: [(&str, &str); 5] = [
    ("bare", "bare Envoy"),
    ("waykeeper", "Waykeeper, no rule"),
    ("rule", "Waykeeper, a rule by model"),
    ("renamed", "the same, the model renamed"),
    ("json_to_metadata", "json_to_metadata, a route by model"),
];

/// What each adds to bare Envoy for a small body and a large one, and to the filter without a rule; and what each byte costs.
pub(super) fn bodies(text: &mut String, view: &View<'_>) {
    if !begin(
        text,
        "Instructions of Envoy for a request with a chat as its body",
        view,
    ) {
        return;
    }
    let sizes = [SMALL, LARGE];
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
pub(super) fn pieces(text: &mut String, view: &View<'_>) {
    if !begin(
        text,
        "When the agent hears of a request whose body comes in ten pieces",
        view,
    ) {
        return;
    }
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
