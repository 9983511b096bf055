//! Limits that count in windows, over workers and whole configurations.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;

use super::*;

const MINUTE: u64 = 60;

/// A plan that is counted so, and a request a moment after the beginning of an hour.
fn counted_by(plan: Value) -> World {
    let mut document = document("1/day", json!([]), &[None]);
    document["plans"]["standard"] = plan;
    let world = World::new(document);
    let now = world.process.now().0;
    let hour = 3_600_000_000_000;
    world.process.pass(Duration::from_nanos(hour - now % hour));
    world
}

fn sliding(requests: &str) -> World {
    counted_by(json!({ "requests": requests, "algorithm": "sliding_window" }))
}

fn fixed(requests: &str) -> World {
    counted_by(json!({ "requests": requests, "algorithm": "fixed_window" }))
}

fn pass(world: &World, seconds: u64) {
    world.process.pass(Duration::from_secs(seconds));
}

#[test]
fn a_fixed_window_lets_its_quantity_pass_and_tells_when_it_ends() {
    let world = fixed("3/minute");
    let workers = [world.worker(), world.worker()];
    pass(&world, 50);
    for worker in &workers {
        assert!(worker.passes("acme"));
    }
    let third = workers[0].admit("acme", 0);
    assert_eq!(
        third.fields(Tell::ALL)[..2],
        [
            ("ratelimit-policy", r#""plan";q=3;w=60"#.to_owned()),
            ("ratelimit", r#""plan";r=0;t=10"#.to_owned())
        ]
    );
    let refused = workers[1].admit("acme", 0);
    assert!(refused.is_refused());
    assert_eq!(refused.wait(|| workers[1].host.now()), 10);
    pass(&world, 9);
    assert!(!workers[1].passes("acme"));
    pass(&world, 1);
    assert_eq!(workers[1].passing("acme", 9), 3);
}

#[test]
fn a_sliding_window_opens_by_and_by() {
    let world = sliding("60/minute");
    let worker = world.worker();
    pass(&world, 30);
    assert_eq!(worker.passing("acme", 99), 60);
    pass(&world, 29);
    assert!(!worker.passes("acme"));
    pass(&world, 2);
    assert_eq!(worker.passing("acme", 99), 1);
    pass(&world, 30);
    assert_eq!(worker.passing("acme", 99), 30);
    pass(&world, 2 * MINUTE);
    assert_eq!(worker.passing("acme", 99), 60);
}

#[test]
fn threads_admit_exactly_the_quantity_of_a_window() {
    for world in [sliding("500/hour"), fixed("500/hour")] {
        world.worker();
        let barrier = Barrier::new(4);
        let admitted: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let worker = world.worker();
                        barrier.wait();
                        (0..400).filter(|_| worker.passes("acme")).count()
                    })
                })
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).sum()
        });
        assert_eq!(admitted, 500);
    }
}

#[test]
fn a_clock_that_is_set_back_lets_nothing_more_pass_and_nobody_wait_for_long() {
    for (world, back) in [
        (fixed("5/hour"), 600),
        (fixed("5/hour"), 400 * 86_400),
        (sliding("5/hour"), 600),
        (sliding("5/hour"), 400 * 86_400),
    ] {
        let worker = world.worker();
        pass(&world, 1800);
        assert_eq!(worker.passing("acme", 9), 5);
        world.process.set_back(Duration::from_secs(back));
        assert!(!worker.passes("acme"), "{back}");
        pass(&world, 7199);
        assert_eq!(worker.passing("acme", 9), 5, "{back}");
    }
}

#[test]
fn a_worker_whose_clock_is_behind_does_not_open_a_window_again() {
    let world = fixed("5/minute");
    let (ahead, behind) = (world.worker(), world.worker());
    world.process.pass(Duration::from_millis(59_700));
    ahead.host.set_ahead(400_000_000);
    // It counts in the next window already, which all do from then on.
    assert_eq!(ahead.passing("acme", 3), 3);
    assert_eq!(behind.passing("acme", 9), 2);
    pass(&world, 1);
    assert!(!behind.passes("acme"));
    pass(&world, 60);
    assert_eq!(behind.passing("acme", 9), 5);
}

#[test]
fn what_was_not_used_comes_back_to_the_request() {
    for world in [sliding("10/hour"), fixed("10/hour")] {
        let worker = world.worker();
        let taken = worker.try_take("acme", 0, 7).unwrap();
        assert!(worker.admit("acme", 0).wait(|| worker.host.now()) == 0);
        let back = worker
            .limits
            .settle(&worker.host, taken, Amounts { requests: 2 });
        assert_eq!(back.fields(Tell::ALL)[3].1, "7");
        let overdrawn = worker.limits.settle(
            &worker.host,
            worker.admit("acme", 0),
            Amounts { requests: 20 },
        );
        assert_eq!(overdrawn.fields(Tell::ALL)[3].1, "0");
        assert!(!worker.passes("acme"));
    }
}

#[test]
fn a_changed_quantity_keeps_the_count_and_another_algorithm_begins_anew() {
    let world = fixed("5/hour");
    assert_eq!(world.worker().passing("acme", 9), 5);
    let changed = |plan: Value| {
        let mut document = document("1/day", json!([]), &[None]);
        document["plans"]["standard"] = plan;
        world.changed(document).worker().passing("acme", 99)
    };
    assert_eq!(
        changed(json!({ "requests": "8/hour", "algorithm": "fixed_window" })),
        3
    );
    assert_eq!(
        changed(json!({ "requests": "4/hour", "algorithm": "fixed_window" })),
        0
    );
    assert_eq!(changed(json!({ "requests": "4/hour" })), 4);
}

#[test]
fn a_bucket_and_windows_of_one_client_lie_in_one_cell_and_are_decided_at_once() {
    let limits = json!([
        { "name": "hourly", "each": "client", "requests": "4/hour", "algorithm": "sliding_window" },
        { "name": "monthly", "each": "client", "requests": "9/month", "algorithm": "fixed_window" },
    ]);
    let world = World::new(document("6/hour", limits, &[None]));
    let worker = world.worker();
    let first = worker.admit("acme", 0);
    assert!(
        first
            .standings
            .iter()
            .all(|it| it.cell == worker.cell("acme"))
    );
    assert_eq!(
        first.fields(Tell::ALL)[0].1,
        r#""plan";q=6;w=3600, "hourly";q=4;w=3600, "monthly";q=9;w=2678400"#
    );
    assert_eq!(worker.passing("acme", 9), 3);
    let refused = worker.admit("acme", 0);
    assert_eq!(full(&refused), ["hourly"]);
}

/// What a worker does: who, after how many milliseconds, how much it takes, how much of that it uses in the end, and whether a
/// rival comes between its look and its swap.
type Step = (usize, u64, u64, u64, bool);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..3_usize, 0..700_u64, 1..6_u64, 0..6_u64, any::<bool>());
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whoever is first, whatever its clock says, whatever is given back and whoever comes between: what is used in a window of
    /// the calendar, by the time that decided, is never more than the quantity.
    #[test]
    fn no_interleaving_admits_more_than_the_quantity(
        is_sliding in any::<bool>(), aheads in prop::array::uniform3(-400_000_000..400_000_000_i64), steps in steps(),
    ) {
        let world = if is_sliding { sliding("9/second") } else { fixed("9/second") };
        let workers: Vec<_> = aheads
            .iter()
            .map(|ahead| {
                let worker = world.worker();
                worker.host.set_ahead(*ahead);
                Rc::new(worker)
            })
            .collect();
        let used: Rc<RefCell<BTreeMap<u64, u64>>> = Rc::default();
        let note = |used: &RefCell<BTreeMap<u64, u64>>, admission: &Admission, amount: u64| {
            if !admission.is_refused() {
                let window = admission.standings[0].now.0 / 1_000_000_000;
                *used.borrow_mut().entry(window).or_default() += amount;
            }
        };
        for (index, milliseconds, amount, in_the_end, has_rival) in steps {
            world.process.pass(Duration::from_millis(milliseconds));
            let worker = &workers[index];
            if has_rival {
                let (rival, used) = (Rc::clone(&workers[(index + 1) % 3]), Rc::clone(&used));
                let mut came = false;
                worker.host.before_swap(move |_| {
                    if !std::mem::replace(&mut came, true) {
                        note(&used, &rival.admit("acme", 0), 1);
                    }
                });
            }
            let admission = worker.try_take("acme", 0, amount).unwrap();
            worker.host.before_swap(|_| ());
            let in_the_end = in_the_end.min(amount);
            note(&used, &admission, in_the_end);
            if !admission.is_refused() {
                let used = Amounts { requests: in_the_end };
                drop(worker.limits.settle(&worker.host, admission, used));
            }
            for (window, used) in used.borrow().iter() {
                prop_assert!(*used <= 9, "{used} in {window}");
            }
        }
    }
}
