//! Limits that warn, that only count, and that are in force for some.

use super::*;

fn world(more: Value) -> World {
    let mut limit = json!({ "name": "trial", "each": "client", "requests": "10/hour" });
    for (name, value) in more.as_object().unwrap() {
        limit[name] = value.clone();
    }
    World::new(document("1000/hour", json!([limit]), &[None]))
}

fn warning(count: &Admission) -> Vec<&str> {
    count.warning().collect()
}

#[test]
fn from_its_share_on_a_limit_warns_and_nothing_else_changes() {
    for algorithm in ["token_bucket", "sliding_window", "fixed_window"] {
        let worker = world(json!({ "warn_at": "80%", "algorithm": algorithm })).worker();
        for number in 1..=10 {
            let count = worker.admit("acme", 0);
            assert!(!count.is_refused());
            let expected: &[&str] = if number >= 8 { &["trial"] } else { &[] };
            assert_eq!(warning(&count), expected, "{algorithm} {number}");
            let told = count.fields(Tell::ALL);
            let first = told.first().map(|(name, _)| *name);
            assert_eq!(first == Some("x-waykeeper-limit-warning"), number >= 8);
        }
        let refused = worker.admit("acme", 0);
        assert_eq!(full(&refused), ["trial"]);
        assert_eq!(warning(&refused), [""; 0]);
    }
}

#[test]
fn a_limit_that_is_not_in_force_counts_and_is_told_to_nobody() {
    let worker = world(json!({ "enforce": false })).worker();
    for number in 1..=30 {
        let count = worker.admit("acme", 0);
        assert!(!count.is_refused());
        assert_eq!(count.would_refuse().count(), usize::from(number > 10));
        assert_eq!(count.fields(Tell::ALL)[0].1, r#""plan";q=1000;w=3600"#);
        assert_eq!(count.fields(Tell::ALL)[3].1, (1000 - number).to_string());
        assert_eq!(count.opens(), None);
    }
}

#[test]
fn what_is_refused_takes_nothing_of_a_limit_that_is_not_in_force() {
    let limits = json!([
        { "name": "shadow", "each": "client", "requests": "3/hour", "enforce": false },
        { "name": "hard", "each": "client", "requests": "1/hour" },
    ]);
    let worker = World::new(document("1000/hour", limits, &[None])).worker();
    worker.admit("acme", 0);
    for _ in 0..9 {
        assert_eq!(full(&worker.admit("acme", 0)), ["hard"]);
    }
    let count = worker.admit("acme", 0);
    let shadow = &count.standings[1];
    assert_eq!(
        (shadow.rule.name.as_str(), shadow.level().remaining),
        ("shadow", 2)
    );
}

#[test]
fn a_share_holds_always_for_the_same_clients_in_every_process_and_for_more_as_it_grows() {
    let held = |enforce: &str| -> Vec<usize> {
        let worker = world(json!({ "enforce": enforce, "requests": "1/hour" })).worker();
        let clients = 0..2000;
        let is_held = |number: &usize| {
            let client = format!("client-{number}");
            worker.admit(&client, 0);
            worker.admit(&client, 0).is_refused()
        };
        clients.filter(is_held).collect()
    };
    let (few, more) = (held("10%"), held("30%"));
    assert_eq!(few, held("10%"));
    // Five standard deviations.
    assert!((135..=265).contains(&few.len()), "{}", few.len());
    assert!((500..=700).contains(&more.len()), "{}", more.len());
    assert!(few.iter().all(|client| more.contains(client)));
    assert_eq!(held("0%").len(), 0);
    assert_eq!(held("100%").len(), 2000);
}
