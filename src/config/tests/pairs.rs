//! Two faults, wherever they stand, are both told at once.

use serde_json::{Value, json};

use super::agreement::OBJECTS;
use super::random::places;
use super::{faults, reference, with};

/// Where something can be wrong in the reference: at each of its values, and at each field that it leaves out.
fn all_places() -> Vec<String> {
    let mut all = places(&reference());
    for (_, fields, object) in OBJECTS {
        all.extend(fields.iter().map(|field| format!("{object}/{field}")));
    }
    all.sort();
    all.dedup();
    all
}

/// A place as a fault names it.
fn named(place: &str) -> String {
    place
        .split('/')
        .skip(1)
        .fold(String::new(), |mut named, step| {
            if step.parse::<usize>().is_ok() {
                named += &format!("[{step}]");
            } else {
                let dot = if named.is_empty() { "" } else { "." };
                named += &format!("{dot}{step}");
            }
            named
        })
}

/// Whether a fault is told of a place, or of what is in it.
fn is_of(fault: &str, place: &str) -> bool {
    let rest = fault.strip_prefix(place);
    rest.is_some_and(|rest| rest.starts_with(['.', '[', ':']))
}

/// What no field wants: a text that is no name, time, path or rate.
fn wrong() -> Value {
    json!("\u{1}")
}

#[test]
fn a_fault_is_of_a_place_and_not_of_one_whose_name_is_longer() {
    for fault in ["agents: no", "agents.chat: no", "agents[0]: no"] {
        assert!(is_of(fault, "agents"), "{fault}");
    }
    for fault in ["agents_see: no", "agents", "routes[1].agents: no"] {
        assert!(!is_of(fault, "agents"), "{fault}");
    }
}

#[test]
fn of_two_faults_none_hides_the_other() {
    let whole = with(reference(), "/address", json!({"from": "x-forwarded-for"}));
    let all = all_places();
    let mut hidden = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let once = with(whole.clone(), one, wrong());
        for other in all.iter().skip(index + 1) {
            if other.starts_with(&format!("{one}/")) || one.starts_with(&format!("{other}/")) {
                continue;
            }
            let told = faults(&with(once.clone(), other, wrong()));
            for place in [one, other] {
                let place = named(place);
                if !told.iter().any(|fault| is_of(fault, &place)) {
                    hidden.push(format!("{place}: with {one} and {other}: {told:?}"));
                }
            }
        }
    }
    assert!(all.len() > 100, "{all:?}");
    assert!(hidden.is_empty(), "{hidden:#?}");
}

#[test]
fn all_that_is_wrong_in_a_list_is_told() {
    let two = json!(["\u{1}", "\u{2}"]);
    for place in [
        "/clients/key_sources",
        "/clients/keys",
        "/clients/keys/0/roles",
        "/limits",
        "/limits/0/each",
        "/routes",
        "/routes/0/agents",
        "/routes/0/methods",
        "/routes/0/roles",
        "/routes/3/retry/retry_on",
        "/tell",
        "/agents_see",
    ] {
        let told = faults(&with(reference(), place, two.clone()));
        for item in ["[0]", "[1]"] {
            let item = named(place) + item;
            let is_told = told.iter().any(|fault| is_of(fault, &item));
            assert!(is_told, "{item}: {told:?}");
        }
    }
}

#[test]
fn a_limit_without_a_rate_says_what_else_is_wrong_with_it() {
    for (place, limit) in [
        (
            "/limits/0",
            json!({"name": "n", "each": "client", "burst": 0}),
        ),
        ("/routes/0/rate_limit", json!({"burst": 0})),
    ] {
        let told = faults(&with(reference(), place, limit));
        let begin = named(place);
        let burst = format!(
            "{begin}.burst: expected a whole number from 1 to 9007199254740991, found the number 0"
        );
        assert_eq!(told, [burst, format!("{begin}.requests: is missing")]);
    }
}
