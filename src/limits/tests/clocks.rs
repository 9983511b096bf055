//! Workers read the time at different moments, and clocks of cores differ: nobody gains by it.

use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;

use super::*;

const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MILLISECOND;

/// Lets so many threads ask as fast as they can for a while, and says how many were admitted and in what time.
fn race(world: &World, threads: usize, clients: &[&str]) -> (Vec<usize>, Duration) {
    // The tables are made before any worker runs.
    world.worker();
    let barrier = Barrier::new(threads);
    let begin = world.process.now();
    let end = begin.after(Duration::from_millis(400));
    let admitted: Vec<Vec<usize>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let worker = world.worker();
                    let mut admitted = vec![0; clients.len()];
                    barrier.wait();
                    while world.process.now() < end {
                        for (client, admitted) in clients.iter().zip(&mut admitted) {
                            *admitted += usize::from(worker.passes(client));
                        }
                    }
                    admitted
                })
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.collect()
    });
    let took = world.process.now().since(begin);
    let of = |client: usize| admitted.iter().map(|admitted| admitted[client]).sum();
    ((0..clients.len()).map(of).collect(), took)
}

/// The most that a limit lets pass in this time.
fn most(burst: u64, a_second: u64, took: Duration) -> usize {
    usize::try_from(burst + (took.as_nanos() * u128::from(a_second) / 1_000_000_000) as u64)
        .unwrap()
}

#[test]
fn while_time_runs_threads_admit_no_more_than_the_limit() {
    for threads in [2, 8] {
        for (rate, a_second) in [("1000/second", 1_000), ("20000/second", 20_000)] {
            let world = World::over(Process::running(), plan(rate, Some(10)));
            let (admitted, took) = race(&world, threads, &["acme"]);
            let most = most(10, a_second, took);
            println!("{threads} threads, {rate}: {} of {most}", admitted[0]);
            assert!(admitted[0] > 10 && admitted[0] <= most);
        }
    }
}

#[test]
fn while_time_runs_limits_in_several_cells_are_kept_as_well() {
    let limits = json!([
        { "name": "everyone", "each": [], "requests": "1500/second", "burst": 10 },
        { "name": "on-route", "each": "route", "requests": "1200/second", "burst": 5 },
        { "name": "client", "each": "client", "requests": "1000/second", "burst": 10 },
    ]);
    for threads in [2, 8] {
        let document = document("900/second", limits.clone(), &[None]);
        let world = World::over(Process::running(), document);
        let (admitted, took) = race(&world, threads, &["one", "two"]);
        println!("{threads} threads: {admitted:?} in {took:?}");
        for admitted in &admitted {
            assert!(*admitted <= most(10, 1_000, took));
        }
        let all = admitted[0] + admitted[1];
        assert!(all > 5 && all <= most(5, 1_200, took), "{all}");
    }
}

#[test]
fn exactly_what_a_limit_allows_is_admitted_over_many_workers() {
    let limits = json!([{ "name": "everyone", "each": [], "requests": "300/day" }]);
    for threads in [2, 8] {
        let document = document("250/day", limits.clone(), &[None]);
        let world = World::over(Process::running(), document);
        let (admitted, _) = race(&world, threads, &["acme"]);
        assert_eq!(admitted, [250]);
    }
}

#[test]
fn workers_that_take_turns_with_clocks_apart_admit_not_one_request_more() {
    for apart in [MILLISECOND, 20 * MILLISECOND, SECOND - 1] {
        let admitted = |clocks: &[i64]| {
            let world = World::new(plan("1000/second", Some(10)));
            let workers: Vec<_> = clocks
                .iter()
                .map(|ahead| {
                    let worker = world.worker();
                    worker.host.set_ahead(*ahead);
                    worker
                })
                .collect();
            let turns = (0..20_000).filter(|turn| {
                world.process.pass(Duration::from_micros(100));
                workers[turn % workers.len()].passes("acme")
            });
            turns.count()
        };
        let alone = admitted(&[apart]);
        assert_eq!(alone, 10 + 1_999);
        assert_eq!(admitted(&[apart, 0]), alone, "{apart} ns apart");
        assert_eq!(admitted(&[apart, 0, 1]), alone, "{apart} ns apart");
    }
}

#[test]
fn a_rival_that_is_ahead_wins_the_race_and_nobody_gains_by_it() {
    let world = World::new(plan("1000/second", Some(10)));
    let (worker, rival) = (world.worker(), world.worker());
    rival.host.set_ahead(MILLISECOND);
    let of_rival = Rc::new(std::cell::Cell::new(0));
    let count = Rc::clone(&of_rival);
    worker.host.before_swap(move |_| {
        count.set(count.get() + usize::from(rival.passes("acme")));
    });
    let mut admitted = 0;
    for _ in 0..10_000 {
        world.process.pass(Duration::from_micros(10));
        admitted += usize::from(worker.passes("acme"));
    }
    // A tenth of a second and a millisecond.
    assert!(admitted + of_rival.get() <= 10 + 101);
}

#[test]
fn a_clock_set_back_leaves_debts_as_they_are() {
    for back in [HOUR, DAY * 1000] {
        let world = World::new(plan("60/minute", Some(5)));
        let (worker, other) = (world.worker(), world.worker());
        assert_eq!(worker.passing("acme", 10), 5);
        assert_eq!(worker.passing("other", 3), 3);
        world.process.set_back(back);
        // Not once, and not when looked at again.
        for _ in 0..3 {
            let refused = worker.admit("acme", 0);
            assert!(refused.is_refused());
            assert_eq!(refused.wait(|| worker.host.now()), 1);
        }
        assert_eq!(other.passing("other", 10), 2);
        world.process.pass(Duration::from_secs(1));
        assert!(worker.passes("acme") && !other.passes("acme"));
        world.process.pass(Duration::from_secs(3));
        assert_eq!(other.passing("acme", 10), 3);
    }
}

#[test]
fn a_clock_set_back_is_seen_in_every_cell_of_a_decision() {
    let limits = json!([
        { "name": "everyone", "each": [], "requests": "60/minute", "burst": 2 },
        { "name": "on-route", "each": "route", "requests": "60/minute", "burst": 3 },
    ]);
    let world = World::new(document("60/minute", limits, &[None]));
    let worker = world.worker();
    assert_eq!(worker.passing("acme", 10), 2);
    world.process.set_back(HOUR);
    assert!(!worker.passes("acme"));
    world.process.pass(Duration::from_secs(1));
    assert!(worker.passes("acme"));
    assert!(!worker.passes("acme"));
    world.process.pass(Duration::from_secs(2));
    assert_eq!(worker.passing("acme", 10), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against the exact bucket: whatever clocks the workers have (less than a second apart) and however they overtake each
    /// other, between any two admitted requests lie no more than the bucket holds and what has flowed in by the clock
    /// that is the furthest ahead.
    #[test]
    fn over_workers_whose_clocks_differ_no_window_sees_more_than_its_bucket(
        quantity in 1_u64..2_000,
        burst in 1_u64..20,
        clocks in prop::collection::vec(0_i64..SECOND / 2, 2..5),
        requests in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_u64..3_000_000, any::<bool>()),
            1..250,
        ),
    ) {
        let world = World::new(plan(&format!("{quantity}/second"), Some(burst)));
        let interval = 1_000_000_000_u64.div_ceil(quantity);
        let spread = u64::try_from(clocks.iter().max().unwrap() - clocks.iter().min().unwrap()).unwrap();
        let workers: Vec<_> = clocks
            .iter()
            .map(|ahead| {
                let worker = Rc::new(world.worker());
                worker.host.set_ahead(*ahead);
                worker
            })
            .collect();
        let passed = Rc::new(std::cell::RefCell::new(Vec::new()));
        for (first, second, gap, overtaken) in requests {
            world.process.pass(Duration::from_nanos(gap));
            let (worker, rival) = (first.get(&workers), Rc::clone(second.get(&workers)));
            if overtaken && !Rc::ptr_eq(worker, &rival) {
                rival.host.before_swap(|_| ());
                let (passed, process) = (Rc::clone(&passed), world.process.clone());
                let mut once = true;
                worker.host.before_swap(move |_| {
                    if std::mem::take(&mut once) && rival.passes("acme") {
                        passed.borrow_mut().push(process.now().0);
                    }
                });
            } else {
                worker.host.before_swap(|_| ());
            }
            if worker.passes("acme") {
                passed.borrow_mut().push(world.process.now().0);
            }
        }
        let passed = passed.borrow();
        for (index, first) in passed.iter().enumerate() {
            for (number, last) in passed.iter().enumerate().skip(index) {
                let seen = (number - index + 1) as u64;
                let flowed_in = (last - first + spread) / interval;
                prop_assert!(seen <= burst + flowed_in, "{seen} of {burst} and {flowed_in}");
            }
        }
    }
}
