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
    let all = all_places();
    assert!(all.len() > 100, "{all:?}");
    let hidden = std::thread::scope(|scope| {
        // Each takes every so-manieth place: the first ones have the most to be paired with.
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let parts = (0..threads).map(|part| (part, &all));
        let running: Vec<_> = parts
            .map(|(part, all)| scope.spawn(move || hidden(all, part, threads)))
            .collect();
        let parts = running
            .into_iter()
            .map(|thread| thread.join().expect("a part"));
        parts.flatten().collect::<Vec<_>>()
    });
    assert!(hidden.is_empty(), "{hidden:#?}");
}

/// Whether two places are both in one agent, route, plan or the like.
fn are_near(one: &str, other: &str) -> bool {
    let object = |place: &str| place.split('/').take(3).collect::<Vec<_>>().join("/");
    object(one) == object(other)
}

/// Of places that are far from each other so many pairs are left out for each that is tried: all take minutes, and one reader
/// reads them one after the other.
const LEFT_OUT: usize = 16;

/// What is not told of two faults, of which one stands at every `step`th of these places from `first` on.
fn hidden(all: &[String], first: usize, step: usize) -> Vec<String> {
    let whole = with(reference(), "/address", json!({"from": "x-forwarded-for"}));
    let mut hidden = Vec::new();
    for (index, one) in all.iter().enumerate().skip(first).step_by(step) {
        let once = with(whole.clone(), one, wrong());
        for (other_index, other) in all.iter().enumerate().skip(index + 1) {
            if !are_near(one, other) && !(index + other_index).is_multiple_of(LEFT_OUT + 1) {
                continue;
            }
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
    hidden
}
