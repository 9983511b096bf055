//! Configurations come and go: what was counted stays counted, in requests.

use proptest::prelude::*;

use super::*;

/// Uses `used` requests of a plan, then says how many pass under another one.
fn left_after(used: usize, before: (&str, Option<u64>), after: (&str, Option<u64>)) -> usize {
    let world = World::new(plan(before.0, before.1));
    assert_eq!(world.worker().passing("acme", used), used);
    let changed = world.changed(plan(after.0, after.1));
    changed.worker().passing("acme", 1000)
}

#[test]
fn a_changed_limit_counts_what_was_used_as_requests() {
    assert_eq!(left_after(5, ("5/day", None), ("50/day", None)), 45);
    assert_eq!(left_after(5, ("50/day", None), ("5/day", None)), 0);
    assert_eq!(left_after(3, ("50/day", None), ("5/day", None)), 2);
    assert_eq!(left_after(50, ("50/day", None), ("5/day", None)), 0);
    assert_eq!(left_after(30, ("60/minute", None), ("100/hour", None)), 70);
    assert_eq!(
        left_after(7, ("10/second", None), ("10/second", Some(20))),
        13
    );
    assert_eq!(
        left_after(7, ("10/second", None), ("10/second", Some(8))),
        1
    );
}

#[test]
fn a_lowered_limit_leaves_an_empty_bucket_that_fills_at_the_new_rate() {
    for (used, before) in [(5, "50/day"), (50, "50/day"), (400, "400/hour")] {
        let world = World::new(plan(before, None));
        assert_eq!(world.worker().passing("acme", used), used);
        let changed = world.changed(plan("5/day", None));
        let worker = changed.worker();
        let refused = worker.admit("acme", 0);
        assert!(refused.is_refused());
        assert_eq!(refused.wait(|| worker.host.now()), 86_400 / 5);
        world.process.pass(DAY / 5 - Duration::from_nanos(1));
        assert!(!worker.passes("acme"), "{used} of {before}");
        world.process.pass(Duration::from_nanos(1));
        assert_eq!(worker.passing("acme", 10), 1, "{used} of {before}");
        world.process.pass(DAY * 4 / 5);
        assert_eq!(worker.passing("acme", 10), 4, "{used} of {before}");
    }
}

#[test]
fn a_limit_that_does_not_refuse_is_carried_over_all_the_same() {
    // The plan refuses; of what everyone has, three were used, and that was carried over at the first look.
    let everyone =
        |requests: &str| json!([{ "name": "everyone", "each": [], "requests": requests }]);
    let world = World::new(document("3/day", everyone("50/day"), &[None]));
    assert_eq!(world.worker().passing("acme", 10), 3);
    let changed = world.changed(document("3/day", everyone("5/day"), &[None]));
    let worker = changed.worker();
    assert!(!worker.passes("acme"));
    // In an hour and a half the three would have flowed in again at the old rate.
    world.process.pass(HOUR * 3 / 2);
    assert_eq!(worker.passing("other", 10), 2);
}

#[test]
fn a_ninth_limited_route_resets_no_count() {
    for more in [9, 30, 300] {
        let few = document("1000/hour", json!([]), &[Some("5/hour"); 8]);
        let many = document("1000/hour", json!([]), &vec![Some("5/hour"); more]);
        for (before, after) in [(&few, &many), (&many, &few)] {
            let world = World::new(before.clone());
            let worker = world.worker();
            for route in 0..8 {
                assert_eq!(worker.remaining("acme", route), 4);
            }
            let worker = world.changed(after.clone()).worker();
            for route in 0..8 {
                assert_eq!(worker.remaining("acme", route), 3, "{route} of {more}");
            }
            // Both run side by side for a while.
            assert_eq!(world.worker().remaining("acme", 0), 2);
            assert_eq!(worker.remaining("acme", 0), 1);
        }
    }
}

#[test]
fn a_second_route_on_a_prefix_resets_no_count() {
    let limits = json!([
        { "name": "on-route", "each": "route", "requests": "100/hour" },
        { "name": "fair", "each": ["client", "route"], "requests": "90/hour" },
    ]);
    let before = document("1000/hour", limits, &[Some("5/hour"), None]);
    let second = |rate: &str| json!({"prefix": "/r0", "agents": ["a"], "methods": ["PUT"], "rate_limit": {"requests": rate}});
    for (second, at_first) in [(second("5/hour"), 1), (second("9/hour"), 8)] {
        for place in [0, 2] {
            let mut after = before.clone();
            after["routes"][0]["methods"] = json!(["POST"]);
            let routes = after["routes"].as_array_mut().unwrap();
            routes.insert(place, second.clone());
            let (old, new) = if place == 0 { (1, 0) } else { (0, 2) };
            let world = World::new(before.clone());
            let worker = world.worker();
            for remaining in [4, 3] {
                assert_eq!(worker.remaining("acme", 0), remaining);
            }
            let worker = world.changed(after).worker();
            if place == 2 || at_first == 1 {
                assert_eq!(worker.remaining("acme", old), 2);
                // The same limit counts both; another one counts for itself.
                assert_eq!(worker.remaining("acme", new), at_first);
            }
        }
    }
}

/// A bucket in requests and not in moments.
struct Exact {
    owed: f64,
    at: f64,
    /// Requests that flow in, in a nanosecond, by the last configuration that looked.
    flow: f64,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Two configurations side by side, asked in any order: what one has counted counts for the other, request for request.
    #[test]
    fn configurations_side_by_side_count_together(
        rates in [(1_u64..400, 1_u64..60), (1_u64..400, 1_u64..60)],
        requests in prop::collection::vec((0_usize..2, 0_u64..20_000_000_000), 1..200),
    ) {
        let rate = |(quantity, burst): (u64, u64)| plan(&format!("{quantity}/minute"), Some(burst));
        let first = World::new(rate(rates[0]));
        let second = first.changed(rate(rates[1]));
        let workers = [first.worker(), second.worker()];
        let mut exact = Exact { owed: 0.0, at: 0.0, flow: 0.0 };
        let begin = first.process.now();
        for (asked, gap) in requests {
            first.process.pass(Duration::from_nanos(gap));
            let (quantity, burst) = rates[asked];
            let now = first.process.now().since(begin).as_nanos() as f64;
            let flow = 1.0 / 60_000_000_000_u64.div_ceil(quantity) as f64;
            let burst = burst as f64;
            exact.owed = (exact.owed - (now - exact.at) * exact.flow).clamp(0.0, burst);
            (exact.at, exact.flow) = (now, flow);
            let passes = workers[asked].passes("acme");
            let doubt = (exact.owed + 1.0 - burst).abs() < 1e-5;
            prop_assert!(doubt || passes == (exact.owed + 1.0 <= burst), "{} of {burst}", exact.owed);
            exact.owed += f64::from(u8::from(passes));
        }
    }
}
