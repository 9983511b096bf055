//! A report as a picture (SVG): what each contender adds to Envoy's work, and how much goes through each in all. Under it
//! stand the command that measured it and the machine.

use std::fmt::Write;

use crate::Error;
use crate::report::{Metric, Report, View};
use crate::statistics::Estimate;
use crate::table::CONTENDERS;

const WIDTH: f64 = 820.0;
const MARGIN: f64 = 24.0;
/// Where bars begin, behind their labels.
const START: f64 = 285.0;
/// Room behind the longest bar for its figure.
const FIGURE: f64 = 150.0;
const ROW: f64 = 26.0;
const BAR: f64 = 16.0;
/// Characters of the small print in a line.
const LINE: usize = 125;

const OURS: &str = "#2563eb";
const OTHERS: &str = "#94a3b8";

/// A row of a chart.
struct Row {
    label: &'static str,
    estimate: Estimate,
    ours: bool,
}

struct Drawing {
    body: String,
    /// How far down it is drawn.
    bottom: f64,
}

/// Draws the comparison of a report.
///
/// # Errors
/// If the report has none.
pub fn draw(report: &Report) -> Result<String, Error> {
    let added = rows(&report.view("direct"), |view, name| {
        (name != "bare")
            .then(|| view.added(name, "bare", Metric::Cpu))
            .flatten()
    });
    let throughput = rows(&report.view("upstream"), |view, name| {
        view.typical(name, Metric::Throughput)
    });
    if added.is_empty() {
        return Err(Error::new(
            "the report has no comparison: run `make bench` first",
        ));
    }
    let mut drawing = Drawing {
        body: String::new(),
        bottom: MARGIN,
    };
    drawing.chart(
        "Processor time that each adds to a request in Envoy",
        "microseconds; Envoy answers by itself",
        &added,
        1,
    );
    if !throughput.is_empty() {
        drawing.chart(
            "Requests per second on one core",
            "an agent behind answers at once",
            &throughput,
            0,
        );
    }
    drawing.small_print(report);
    Ok(drawing.whole())
}

fn rows(view: &View<'_>, estimate: impl Fn(&View<'_>, &str) -> Option<Estimate>) -> Vec<Row> {
    let columns = view.columns();
    CONTENDERS
        .iter()
        .filter(|(name, _)| columns.contains(name))
        .filter_map(|(name, label)| {
            Some(Row {
                label,
                estimate: estimate(view, name)?,
                ours: name.starts_with("waykeeper"),
            })
        })
        .collect()
}

impl Drawing {
    fn chart(&mut self, title: &str, unit: &str, rows: &[Row], decimals: usize) {
        self.bottom += 20.0;
        self.text(
            MARGIN,
            title,
            "font-size=\"17\" font-weight=\"600\" fill=\"#0f172a\"",
        );
        self.bottom += 19.0;
        self.text(MARGIN, unit, "font-size=\"13\" fill=\"#64748b\"");
        self.bottom += 12.0;
        let most = rows
            .iter()
            .map(|row| row.estimate.high.max(row.estimate.value))
            .fold(f64::MIN_POSITIVE, f64::max);
        let scale = (WIDTH - START - FIGURE) / most;
        for row in rows {
            self.bar(row, scale, decimals);
        }
        self.bottom += 12.0;
    }

    fn bar(&mut self, row: &Row, scale: f64, decimals: usize) {
        let top = self.bottom + (ROW - BAR) / 2.0;
        let middle = top + BAR / 2.0;
        // What cannot be told from nothing may come out below it.
        let place = |value: f64| START + value.max(0.0) * scale;
        let Estimate { value, low, high } = row.estimate;
        let (colour, weight) = if row.ours { (OURS, 600) } else { (OTHERS, 400) };
        self.put(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" font-size=\"14\" font-weight=\"{weight}\" fill=\"#0f172a\">{}</text>",
            START - 10.0,
            middle + 5.0,
            escaped(row.label)
        ));
        self.put(format_args!(
            "<rect x=\"{START:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{colour}\"/>",
            (place(value) - START).max(1.0)
        ));
        self.put(format_args!(
            "<path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"#0f172a\" stroke-width=\"1.5\"/>",
            place(low),
            place(high)
        ));
        self.put(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"14\" font-weight=\"{weight}\" fill=\"#0f172a\">{value:.decimals$}</text>",
            place(high.max(value)) + 8.0,
            middle + 5.0
        ));
        self.bottom += ROW;
    }

    fn small_print(&mut self, report: &Report) {
        let rounds = report.view("direct").rounds();
        let mut lines = vec![format!(
            "Medians of {rounds} rounds; the thin lines are 95 % confidence intervals. One Envoy worker on a core of its own, \
             16 connections."
        )];
        for (number, run) in report.runs.iter().enumerate() {
            let day = run.started.split('T').next().unwrap_or_default();
            let after = if number == 0 { "" } else { "and: " };
            lines.push(format!("{after}{}, {day}", run.command));
        }
        lines.push(report.machine.to_string());
        self.bottom += 6.0;
        for line in lines.iter().flat_map(|line| wrapped(line)) {
            self.bottom += 17.0;
            self.text(MARGIN, &line, "font-size=\"12\" fill=\"#64748b\"");
        }
    }

    fn text(&mut self, x: f64, text: &str, attributes: &str) {
        let y = self.bottom;
        self.put(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{}</text>",
            escaped(text)
        ));
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.body, "  {element}");
    }

    fn whole(self) -> String {
        let height = (self.bottom + MARGIN).ceil();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             role=\"img\" font-family=\"system-ui, sans-serif\">\n  \
             <title>What Waykeeper costs, beside other ways to do its work</title>\n  \
             <rect width=\"{WIDTH}\" height=\"{height}\" rx=\"8\" fill=\"#ffffff\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// Lines of at most [`LINE`] characters, broken between words.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= LINE => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words() {
        let text = "word ".repeat(40);
        let lines = wrapped(&text);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.len() <= LINE));
        assert_eq!(lines.join(" "), text.trim());
    }

    #[test]
    fn what_a_machine_calls_itself_breaks_no_drawing() {
        assert_eq!(escaped("A<B> & C"), "A&lt;B&gt; &amp; C");
    }
}
