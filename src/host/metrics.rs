//! Labels of metrics, for hosts that know names only.

use std::fmt::Write as _;

/// Names a metric so that its labels stand in the name, as `requests_total;route=chat;`. Stats tags take them apart.
pub fn named(name: &str, labels: &[(&str, &str)]) -> String {
    let mut all = name.to_owned();
    if !labels.is_empty() {
        all.push(';');
    }
    for (label, value) in labels {
        // A string takes whatever is written into it.
        let _ = write!(all, "{label}={value};");
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_in_the_name() {
        assert_eq!(named("a_total", &[]), "a_total");
        let labels = [("route", "chat"), ("agent", "gpu")];
        assert_eq!(named("a_total", &labels), "a_total;route=chat;agent=gpu;");
    }
}
