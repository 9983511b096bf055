//! Prometheus' text format, as far as a test looks things up in it.

/// One scrape.
pub(crate) struct Metrics(Vec<Sample>);

struct Sample {
    name: String,
    /// As written between the braces: `route="chat",agent="a"`.
    labels: String,
    value: f64,
}

impl Metrics {
    pub(crate) fn parse(text: &str) -> Self {
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        Self(samples.map(Sample::parse).collect())
    }

    /// The sum of all series of a metric that carry these labels, whatever else they carry; 0 if there are none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.0
            .iter()
            .filter(|sample| sample.name == name && sample.carries(labels))
            .map(|sample| sample.value)
            .sum()
    }

    /// Whether the metric exists at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|sample| sample.name == name)
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').expect("a sample");
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect("a closing brace")),
            None => (series, ""),
        };
        Self {
            name: name.to_owned(),
            labels: labels.to_owned(),
            value: value.parse().expect("a number"),
        }
    }

    fn carries(&self, labels: &[(&str, &str)]) -> bool {
        let all = format!(",{},", self.labels);
        labels
            .iter()
            .all(|(name, value)| all.contains(&format!(",{name}=\"{value}\",")))
    }
}
