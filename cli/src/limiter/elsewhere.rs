//! The limits' files of other services that speak the protocol, for who counts there: so that the numbers stand in the gateway's file
//! alone.

use std::fmt::Write;

use waykeeper::config::Policy;
use waykeeper::limits::fleet::{described, unit};

use super::protocol::Unit;

/// A key, and its value.
type Entry = (String, Option<String>);

/// A limit as it is asked about.
pub(crate) struct SharedLimit {
    /// What its descriptor is made of, in order; without a value, whatever comes is counted by itself.
    pub(crate) entries: Vec<Entry>,
    pub(crate) requests: u32,
    pub(crate) unit: Unit,
    pub(crate) name: String,
}

/// All limits of a configuration that are counted for all gateways, as the filter asks about them.
pub(crate) fn shared(policy: &Policy) -> Vec<SharedLimit> {
    let shared = described(policy).into_iter().map(|it| SharedLimit {
        entries: it.entries,
        requests: u32::try_from(it.limit.rate.quantity).unwrap_or(u32::MAX),
        // The filter's own kind of it has the same names.
        unit: Unit::try_from(i32::from(unit(it.limit.rate))).unwrap_or(Unit::Unknown),
        name: it.limit.name.clone(),
    });
    shared.collect()
}

/// Of envoyproxy/ratelimit: one file for each domain, in its `config` directory. It obeys the limits that come with a question, but
/// only in a domain that it has a file for.
///
/// It knows no two descriptors of the same key and value beside each other: limits that begin alike share what they begin with.
pub(crate) fn ratelimit(domain: &str, limits: &[SharedLimit]) -> String {
    let mut text = format!("domain: {}\n", quoted(domain));
    let all: Vec<_> = limits
        .iter()
        .map(|limit| (limit.entries.as_slice(), limit))
        .collect();
    descriptors(&mut text, "", &all);
    text
}

/// What is left of limits' entries, as one level and those below it.
fn descriptors(text: &mut String, indent: &str, all: &[(&[Entry], &SharedLimit)]) {
    let mut firsts: Vec<&Entry> = Vec::new();
    firsts.extend(all.iter().filter_map(|(entries, _)| entries.first()));
    let mut seen = Vec::new();
    firsts.retain(|first| {
        let is_new = !seen.contains(first);
        seen.push(*first);
        is_new
    });
    if firsts.is_empty() {
        return;
    }
    line(text, indent, "descriptors:");
    let inner = format!("{indent}    ");
    for first in firsts {
        let (key, value) = first;
        line(text, indent, &format!("  - key: {}", quoted(key)));
        if let Some(value) = value {
            line(text, &inner, &format!("value: {}", quoted(value)));
        }
        let below = all.iter().filter_map(|(entries, limit)| {
            let (other, rest) = entries.split_first()?;
            (other == first).then_some((rest, *limit))
        });
        let below: Vec<_> = below.collect();
        if let Some((_, limit)) = below.iter().find(|(rest, _)| rest.is_empty()) {
            line(text, &inner, "rate_limit:");
            line(text, &inner, &format!("  unit: {}", limit.unit.name()));
            line(
                text,
                &inner,
                &format!("  requests_per_unit: {}", limit.requests),
            );
        }
        descriptors(text, &inner, &below);
    }
}

/// Of Limitador's server: `LIMITS_FILE`. A limit finds its descriptor wherever it stands in the question. What Limitador counts
/// in begins with the first hit, and months and years of the calendar it does not know: they have 30 and 365 days.
///
/// Its conditions are CEL, but a name that a macro binds counts as unknown there, and an index that is not there ends the call. So each
/// place is asked for by itself, behind the size.
pub(crate) fn limitador(domain: &str, limits: &[SharedLimit]) -> String {
    let mut text = String::new();
    for limit in limits {
        let places = 0..limits.len().max(1);
        let conditions: Vec<_> = places.clone().map(|place| is_at(limit, place)).collect();
        let variables = limit.entries.iter().filter(|(_, value)| value.is_none());
        let variables: Vec<_> = variables
            .map(|(key, _)| {
                let last = at(limits.len().saturating_sub(1), key);
                let before = places.clone().rev().skip(1);
                let chosen = before.fold(last, |otherwise, place| {
                    format!(
                        "({} ? {} : {otherwise})",
                        is_at(limit, place),
                        at(place, key)
                    )
                });
                quoted(&chosen)
            })
            .collect();
        let _ = writeln!(
            text,
            "- namespace: {}\n  name: {}\n  max_value: {}\n  seconds: {}\n  conditions: [{}]\n  variables: [{}]",
            quoted(domain),
            quoted(&limit.name),
            limit.requests,
            seconds(limit.unit),
            quoted(&conditions.join(" || ")),
            variables.join(", "),
        );
    }
    text
}

/// Whether a question has a limit's descriptor at a place.
fn is_at(limit: &SharedLimit, place: usize) -> String {
    let there = (place > 0).then(|| format!("size(descriptors) > {place}"));
    let values = limit.entries.iter().filter_map(|(key, value)| {
        let value = value.as_ref()?;
        Some(format!("{} == {}", at(place, key), quoted(value)))
    });
    let all: Vec<_> = there.into_iter().chain(values).collect();
    format!("({})", all.join(" && "))
}

fn at(place: usize, key: &str) -> String {
    format!("descriptors[{place}][{}]", quoted(key))
}

/// As JSON, YAML in one line and CEL all read it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn line(text: &mut String, indent: &str, what: &str) {
    let _ = writeln!(text, "{indent}{what}");
}

fn seconds(unit: Unit) -> u32 {
    match unit {
        Unit::Unknown | Unit::Second => 1,
        Unit::Minute => 60,
        Unit::Hour => 3_600,
        Unit::Day => 86_400,
        Unit::Month => 30 * 86_400,
        Unit::Year => 365 * 86_400,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn limits() -> Vec<SharedLimit> {
        let limit = |name: &str, subjects: &[&str], requests, unit| {
            let mut entries = vec![("limit".to_owned(), Some(name.to_owned()))];
            entries.extend(subjects.iter().map(|subject| ((*subject).to_owned(), None)));
            SharedLimit {
                entries,
                requests,
                unit,
                name: name.to_owned(),
            }
        };
        vec![
            limit("plan", &["client"], 50, Unit::Minute),
            limit("tenant", &["header:x-tenant", "route"], 9, Unit::Month),
            limit("all", &[], 1_000, Unit::Second),
        ]
    }

    fn read(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn ratelimits_file_nests_the_entries_as_its_readme_says() {
        let expected = json!({
            "domain": "waykeeper",
            "descriptors": [
                {"key": "limit", "value": "plan", "descriptors": [
                    {"key": "client", "rate_limit": {"unit": "minute", "requests_per_unit": 50}},
                ]},
                {"key": "limit", "value": "tenant", "descriptors": [
                    {"key": "header:x-tenant", "descriptors": [
                        {"key": "route", "rate_limit": {"unit": "month", "requests_per_unit": 9}},
                    ]},
                ]},
                {"key": "limit", "value": "all", "rate_limit": {"unit": "second", "requests_per_unit": 1_000}},
            ],
        });
        assert_eq!(read(&ratelimit("waykeeper", &limits())), expected);
    }

    #[test]
    fn limits_that_begin_alike_stand_together_in_ratelimits_file() {
        let limit = |entries: &[(&str, Option<&str>)], requests| SharedLimit {
            entries: { entries.iter() }
                .map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)))
                .collect(),
            requests,
            unit: Unit::Day,
            name: "plan".to_owned(),
        };
        let limits = [
            limit(
                &[
                    ("limit", Some("plan")),
                    ("plan", Some("a")),
                    ("client", None),
                ],
                1,
            ),
            limit(&[("limit", Some("all"))], 2),
            limit(
                &[
                    ("limit", Some("plan")),
                    ("plan", Some("b")),
                    ("client", None),
                ],
                3,
            ),
        ];
        let of = |requests| json!({"unit": "day", "requests_per_unit": requests});
        let of_plan = |name, requests| json!({"key": "plan", "value": name, "descriptors": [{"key": "client", "rate_limit": of(requests)}]});
        let expected = json!({"domain": "d", "descriptors": [
            {"key": "limit", "value": "plan", "descriptors": [of_plan("a", 1), of_plan("b", 3)]},
            {"key": "limit", "value": "all", "rate_limit": of(2)},
        ]});
        assert_eq!(read(&ratelimit("d", &limits)), expected);
    }

    #[test]
    fn limitadors_file_is_a_list_of_limits_that_look_for_their_descriptor() {
        let read = read(&limitador("waykeeper", &limits()));
        let here = |place: usize, name: &str| {
            let there = if place > 0 {
                format!("size(descriptors) > {place} && ")
            } else {
                String::new()
            };
            format!("({there}descriptors[{place}][\"limit\"] == \"{name}\")")
        };
        let anywhere = |name: &str| {
            (0..3)
                .map(|place| here(place, name))
                .collect::<Vec<_>>()
                .join(" || ")
        };
        let chosen = |name: &str, key: &str| {
            format!(
                "({} ? descriptors[0][\"{key}\"] : ({} ? descriptors[1][\"{key}\"] : descriptors[2][\"{key}\"]))",
                here(0, name),
                here(1, name)
            )
        };
        let expected = json!([
            {
                "namespace": "waykeeper", "name": "plan", "max_value": 50, "seconds": 60,
                "conditions": [anywhere("plan")], "variables": [chosen("plan", "client")],
            },
            {
                "namespace": "waykeeper", "name": "tenant", "max_value": 9, "seconds": 2_592_000,
                "conditions": [anywhere("tenant")],
                "variables": [chosen("tenant", "header:x-tenant"), chosen("tenant", "route")],
            },
            {
                "namespace": "waykeeper", "name": "all", "max_value": 1_000, "seconds": 1,
                "conditions": [anywhere("all")], "variables": [],
            },
        ]);
        assert_eq!(read, expected);
    }

    #[test]
    fn what_stands_in_quotes_comes_out_as_it_is() {
        let name = "odd \"name' \\ \u{e9}";
        let limit = SharedLimit {
            entries: vec![("limit".to_owned(), Some(name.to_owned()))],
            requests: 1,
            unit: Unit::Day,
            name: name.to_owned(),
        };
        let limits = [limit];
        assert_eq!(
            read(&ratelimit("d", &limits))["descriptors"][0]["value"],
            name
        );
        let condition = read(&limitador("d", &limits))[0]["conditions"][0].clone();
        let literal = quoted(name);
        assert_eq!(
            condition,
            format!("(descriptors[0][\"limit\"] == {literal})")
        );
    }
}
