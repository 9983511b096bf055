//! What was taken can be given back or settled for what was used: nobody gains by it, and nothing is forgiven.

use std::cell::{Cell as Shared, RefCell};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::host::simulated::Access;
use crate::state::counters::{Debt, Records};

const SECOND: u64 = 1_000_000_000;

impl Worker {
    fn take(&self, client: &str, requests: u64) -> Admission {
        let admission = self.try_take(client, 0, requests).unwrap();
        assert!(!admission.is_refused(), "{requests} of {client}");
        admission
    }

    fn release(&self, admission: Admission) -> Admission {
        self.limits.release(&self.host, admission)
    }

    fn settle(&self, admission: Admission, requests: u64) -> Admission {
        self.limits
            .settle(&self.host, admission, Amounts { requests })
    }

    /// What a client's plan owes by its record, and in which unit.
    fn debt(&self, client: &str) -> (Debt, u64) {
        let claim = self.claim(&self.limits.plans[0][0], client);
        let value = crate::state::read(&self.host, claim.cell).unwrap().0;
        let records = Records::read(value, self.host.now());
        let unit = claim.rule.algorithm.gcra().unit();
        match records.find(claim.tag) {
            Some((_, record)) => (record.debt(records.now()), record.unit),
            None => (Debt::default(), unit),
        }
    }

    /// How many seconds a client's plan owes, and how many of them are overdrawn. The plans here are of a request a second.
    fn owes(&self, client: &str) -> (u64, u64) {
        let (debt, unit) = self.debt(client);
        assert_eq!(unit, SECOND);
        (debt.owed / SECOND, debt.overdrawn / SECOND)
    }
}

fn told(admission: &Admission) -> String {
    admission.fields(Tell::ALL)[1].1.clone()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A plan of a request a second and of so many at once.
fn of_ten(burst: u64) -> World {
    World::new(plan("60/minute", Some(burst)))
}

#[test]
fn what_is_released_leaves_the_bucket_as_it_was_whoever_is_first() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0], [2, 0, 1]] {
        let world = of_ten(10);
        let workers = [world.worker(), world.worker()];
        workers[0].take("acme", 1);
        let mut taken = [2, 4, 3].map(|amount| Some(workers[1].take("acme", amount)));
        assert_eq!(workers[0].owes("acme"), (10, 0));
        for (index, worker) in order.into_iter().zip([0, 1, 0]) {
            let admission = taken[index].take().unwrap();
            workers[worker].release(admission);
        }
        assert_eq!(workers[0].owes("acme"), (1, 0), "{order:?}");
    }
}

#[test]
fn what_comes_back_tells_of_the_limits_as_they_stand_and_gives_nothing_back_again() {
    let limits = json!([{ "name": "everyone", "each": [], "requests": "7/hour" }]);
    let world = World::new(document("5/hour", limits, &[None]));
    let worker = world.worker();
    worker.take("acme", 2);
    let admission = worker.take("acme", 2);
    assert_eq!(told(&admission), r#""plan";r=1;t=720"#);
    let released = worker.release(admission);
    assert_eq!(told(&released), r#""plan";r=3;t=720"#);
    let again = worker.release(worker.settle(released, 3));
    assert_eq!(told(&again), r#""plan";r=3;t=720"#);
    assert_eq!(worker.remaining("acme", 0), 2);
    assert_eq!(worker.remaining("other", 0), 3);
}

#[test]
fn the_gates_count_is_not_given_back() {
    let limits = json!([{ "name": "address", "each": "address", "requests": "9/day" }]);
    let world = World::new(document("9/day", limits, &[None]));
    let worker = world.worker();
    let gate = || {
        worker
            .limits
            .gate(&worker.host, from(b"192.0.2.1"))
            .unwrap()
    };
    let both = worker.take("acme", 1).and(gate());
    worker.release(both);
    assert_eq!(gate().fields(Tell::ALL)[3].1, "7");
    assert_eq!(worker.debt("acme").0, Debt::default());
}

#[test]
fn who_took_meanwhile_keeps_all_of_it() {
    let world = of_ten(30);
    let worker = world.worker();
    let [first, second] = [(); 2].map(|()| worker.take("acme", 10));
    worker.release(first);
    // The second one has drained by then, and the record begins anew with what a third one takes.
    world.process.pass(seconds(10));
    worker.take("acme", 10);
    worker.release(second);
    assert_eq!(worker.owes("acme"), (10, 0));
}

#[test]
fn a_bucket_that_owed_more_gets_back_all_of_it_also_after_a_while() {
    let world = of_ten(100);
    let worker = world.worker();
    worker.take("acme", 40);
    let [first, second] = [(); 2].map(|()| worker.take("acme", 10));
    world.process.pass(seconds(20));
    worker.settle(first, 1);
    worker.release(second);
    assert_eq!(worker.owes("acme"), (21, 0));
}

#[test]
fn what_was_used_beyond_is_owed_below_empty_and_only_time_pays_it() {
    let world = of_ten(10);
    let worker = world.worker();
    let admission = worker.take("acme", 4);
    let settled = worker.settle(admission, 25);
    assert_eq!(told(&settled), r#""plan";r=0;t=16"#);
    assert_eq!(worker.owes("acme"), (25, 15));
    let refused = worker.try_take("acme", 0, 0).unwrap();
    assert!(refused.is_refused());
    assert_eq!(worker.admit("acme", 0).wait(|| worker.host.now()), 16);
    world.process.pass(seconds(16) - Duration::from_nanos(1));
    assert!(!worker.passes("acme"));
    world.process.pass(Duration::from_nanos(1));
    assert_eq!(worker.passing("acme", 5), 1);
}

#[test]
fn what_was_used_beyond_is_owed_also_by_a_bucket_that_was_full_again() {
    let world = of_ten(10);
    let worker = world.worker();
    let admission = worker.take("acme", 4);
    world.process.pass(seconds(60));
    worker.settle(admission, 16);
    assert_eq!(worker.owes("acme"), (12, 2));
}

#[test]
fn an_overdraft_outlives_any_change_of_the_limit() {
    let world = of_ten(10);
    let worker = world.worker();
    let admission = worker.take("acme", 10);
    worker.settle(admission, 15);
    let under = |rate: &str, burst: u64| {
        let changed = world.changed(plan(rate, Some(burst))).worker();
        assert!(!changed.passes("acme"));
        let (debt, unit) = changed.debt("acme");
        (debt.owed.div_ceil(unit), debt.overdrawn.div_ceil(unit))
    };
    assert_eq!(under("60/minute", 2), (7, 5));
    assert_eq!(under("600/minute", 2), (7, 5));
    // A larger bucket than all of it, and back: what is overdrawn stays so.
    let large = world.changed(plan("60/minute", Some(100))).worker();
    assert!(large.passes("acme"));
    assert_eq!(under("60/minute", 2), (7, 5));
    assert_eq!(under("6/hour", 1), (6, 5));
}

#[test]
fn an_overdraft_outlives_a_clock_that_was_set_back() {
    let world = of_ten(10);
    let worker = world.worker();
    let admission = worker.take("acme", 10);
    worker.settle(admission, 15);
    for back in [HOUR, DAY * 300, seconds(1)] {
        world.process.set_back(back);
        assert!(!worker.passes("acme"));
        assert_eq!(worker.owes("acme"), (15, 5));
    }
}

#[test]
fn after_a_clock_was_set_back_or_a_limit_was_changed_nothing_is_given_back() {
    let change: [fn(&World); 5] = [
        |world| world.process.set_back(HOUR),
        |world| {
            // And by the time of the receipt, all of it has drained that could be given back.
            world.process.set_back(HOUR);
            world.worker().passes("acme");
            world.process.pass(HOUR);
            world.worker().take("acme", 5);
        },
        |world| {
            world
                .changed(plan("60/minute", Some(3)))
                .worker()
                .passes("acme");
        },
        |world| {
            for rate in ["6000/minute", "60/minute"] {
                world.changed(plan(rate, Some(9))).worker().passes("acme");
            }
        },
        |world| {
            for rate in ["6/minute", "60/minute"] {
                world.changed(plan(rate, Some(9))).worker().passes("acme");
            }
        },
    ];
    for (number, change) in change.into_iter().enumerate() {
        let world = of_ten(9);
        let worker = world.worker();
        let admission = worker.take("acme", 5);
        change(&world);
        // Whoever notices the change begins a new era.
        world.worker().passes("acme");
        let before = worker.debt("acme");
        worker.release(admission);
        assert_eq!(worker.debt("acme"), before, "{number}");
    }
}

#[test]
fn a_request_that_asks_for_more_than_the_burst_is_told_of_no_wait() {
    let limits =
        json!([{ "name": "small", "each": "client", "requests": "60/minute", "burst": 3 }]);
    let world = World::new(document("60/minute", limits, &[None]));
    let worker = world.worker();
    let refused = worker.try_take("acme", 0, 4).unwrap();
    assert!(refused.is_refused());
    assert_eq!(full(&refused), ["small"]);
    let too_small: Vec<_> = refused.too_small().map(|it| it.name).collect();
    assert_eq!(too_small, ["small"]);
    assert_eq!(refused.opens(), None);
    worker.take("acme", 3);
    let refused = worker.try_take("acme", 0, 2).unwrap();
    assert_eq!(full(&refused), ["small"]);
    assert_eq!(refused.too_small().count(), 0);
    assert_eq!(refused.wait(|| worker.host.now()), 2);
}

#[test]
fn what_cannot_be_put_right_at_once_is_on_a_later_tick() {
    let world = of_ten(10);
    let worker = world.worker();
    assert!(worker.limits.have_chores());
    let broken = Rc::new(Shared::new(true));
    let still = Rc::clone(&broken);
    let [unused, overdrawn, drained] = [3, 4, 1].map(|amount| worker.take("acme", amount));
    worker
        .host
        .refuse(move |access, _| access == Access::Swap && still.get());
    // What is told is what still holds.
    assert_eq!(told(&worker.release(unused)), r#""plan";r=7;t=1"#);
    worker.settle(overdrawn, 16);
    worker.limits.chores(&worker.host);
    assert_eq!(world.worker().owes("acme"), (8, 0));
    broken.set(false);
    worker.limits.chores(&worker.host);
    assert_eq!(world.worker().owes("acme"), (17, 7));
    worker.limits.chores(&worker.host);
    assert_eq!(world.worker().owes("acme"), (17, 7));
    // When all of it has drained, no cell is touched for what would be given back.
    broken.set(true);
    world.process.pass(seconds(30));
    worker.release(drained);
    broken.set(false);
    assert!(worker.passes("acme"));
    worker.limits.chores(&worker.host);
    assert_eq!(world.worker().owes("acme"), (1, 0));
}

#[test]
fn a_rival_that_is_faster_loses_nothing_when_something_is_given_back() {
    let world = of_ten(10);
    let (worker, rival) = (world.worker(), world.worker());
    let admission = worker.take("acme", 4);
    let left = Shared::new(3);
    worker.host.before_swap(move |_| {
        if left.get() > 0 {
            left.set(left.get() - 1);
            rival.take("acme", 1);
        }
    });
    worker.release(admission);
    assert_eq!(worker.owes("acme"), (3, 0));
}

/// A cell whose records all are overdrawn by five requests, and two more clients of it.
fn overdrawn_cell() -> (World, Worker, Vec<String>) {
    let world = of_ten(1);
    let worker = world.worker();
    let clients = worker.neighbours(counters::MOST_RECORDS_PER_CELL as usize + 2);
    for client in &clients[2..] {
        let admission = worker.take(client, 1);
        worker.settle(admission, 6);
    }
    (world, worker, clients)
}

#[test]
fn who_is_overdrawn_is_not_put_out_and_a_newcomer_waits_for_the_first_to_pay() {
    let (world, worker, clients) = overdrawn_cell();
    let refused = worker.admit(&clients[0], 0);
    assert!(refused.is_refused());
    let wait = refused.wait(|| worker.host.now());
    assert_eq!(wait, 6);
    for client in &clients[2..] {
        assert_eq!(worker.owes(client), (6, 5));
    }
    world.process.pass(seconds(wait));
    assert!(worker.passes(&clients[0]));
}

#[test]
fn what_finds_no_place_is_owed_as_soon_as_there_is_one() {
    let (world, worker, clients) = overdrawn_cell();
    world.process.pass(seconds(7));
    let admission = worker.take(&clients[0], 1);
    world.process.pass(seconds(1));
    for client in &clients[2..] {
        let admission = worker.take(client, 1);
        worker.settle(admission, 6);
    }
    // It has drained, and others have filled the cell.
    worker.settle(admission, 4);
    assert_eq!(worker.owes(&clients[0]), (0, 0));
    worker.limits.chores(&worker.host);
    assert_eq!(worker.owes(&clients[0]), (0, 0));
    assert_eq!(worker.host.metric(FORGOTTEN), 0);
    world.process.pass(seconds(5));
    worker.limits.chores(&worker.host);
    // It takes over a record that owes a second, and three more are used.
    assert_eq!(worker.owes(&clients[0]), (4, 3));
    assert_eq!(worker.host.metric(FORGOTTEN), 1);
}

#[test]
fn who_was_put_out_neither_gains_by_giving_back_nor_loses_what_it_overdraws() {
    let world = of_ten(5);
    let worker = world.worker();
    let clients = worker.neighbours(counters::MOST_RECORDS_PER_CELL as usize + 1);
    let admissions: Vec<_> = clients[1..]
        .iter()
        .map(|client| worker.take(client, 2))
        .collect();
    // The newcomer takes over a record that owes two.
    assert!(worker.passes(&clients[0]));
    let mut admissions = clients[1..].iter().zip(admissions);
    let (put_out, admission) = admissions
        .by_ref()
        .find(|(client, _)| worker.owes(client).0 == 0)
        .unwrap();
    // What was taken before that is given back to nobody: whoever was put out would find a record that owes less.
    for (client, admission) in admissions {
        worker.release(admission);
        assert_eq!(worker.owes(client), (2, 0));
    }
    worker.settle(admission, 9);
    assert_eq!(worker.owes(put_out), (9, 4));
}

#[test]
fn who_makes_room_for_what_was_used_beyond_finds_no_less_than_it_owed() {
    let world = of_ten(5);
    let worker = world.worker();
    let clients = worker.neighbours(counters::MOST_RECORDS_PER_CELL as usize + 1);
    let (late, others) = clients.split_first().unwrap();
    let admission = worker.take(late, 1);
    world.process.pass(seconds(1));
    let taken: Vec<_> = others.iter().map(|client| worker.take(client, 2)).collect();
    // It takes over a record that owes two, and two more.
    worker.settle(admission, 3);
    assert_eq!(worker.owes(late), (4, 0));
    for (client, admission) in others.iter().zip(taken) {
        let before = worker.owes(client);
        worker.release(admission);
        assert_eq!(worker.owes(client), before);
    }
    for client in others {
        assert!(worker.passing(client, 5) <= 3, "{client}");
    }
}

// === any interleaving ===

/// What a request took, and what became of it.
struct Taken {
    at: u64,
    client: usize,
    amount: u64,
    used: Option<(u64, u64)>,
    admission: Option<Admission>,
}

/// The exact bucket of what was used, taken when it was taken; what is not known yet counts as it was taken.
fn exact(all: &[Taken], client: usize, now: u64, interval: u64) -> u64 {
    let mut events = Vec::new();
    for taken in all.iter().filter(|taken| taken.client == client) {
        let (used, at) = taken.used.unwrap_or((taken.amount, now));
        events.push((taken.at, used.min(taken.amount)));
        events.push((at, used.saturating_sub(taken.amount)));
    }
    events.sort_unstable();
    let full_at = events
        .iter()
        .fold(0_u64, |full_at, (at, amount)| match amount {
            0 => full_at,
            _ => full_at.max(*at) + amount * interval,
        });
    full_at.saturating_sub(now)
}

#[derive(Debug, Clone)]
enum Step {
    Take {
        worker: Index,
        client: usize,
        amount: u64,
    },
    Settle {
        worker: Index,
        which: Index,
        used: u64,
    },
    Release {
        worker: Index,
        which: Index,
    },
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<Index>(), 0_usize..2, 0_u64..8)
            .prop_map(|(worker, client, amount)| Step::Take { worker, client, amount }),
        2 => (any::<Index>(), any::<Index>(), 0_u64..14)
            .prop_map(|(worker, which, used)| Step::Settle { worker, which, used }),
        2 => (any::<Index>(), any::<Index>()).prop_map(|(worker, which)| Step::Release { worker, which }),
        2 => prop_oneof![Just(0), 0..SECOND, 0..20 * SECOND].prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Whatever is taken, settled and released in whatever order, by workers that overtake each other: the bucket is never
    /// fuller than one of what was used, and no request passes that this one would refuse. It is emptier by no more than the
    /// time that lay between taking and giving back, so not at all if none did. In the end all of it drains.
    #[test]
    fn no_order_of_giving_back_makes_a_bucket_fuller_than_what_was_used(
        burst in 1_u64..30,
        steps in prop::collection::vec((step(), prop::option::of((any::<Index>(), 0_u64..4))), 1..60),
    ) {
        let world = of_ten(burst);
        let begin = world.process.now().0;
        let workers: Vec<_> = (0..3).map(|_| Rc::new(world.worker())).collect();
        let clients = workers[0].neighbours(2);
        let all: Rc<RefCell<Vec<Taken>>> = Rc::default();
        let now = || world.process.now().0 - begin;
        let mut late = [0, 0];
        for (step, overtaken) in steps {
            // In between a rival takes something.
            let rival = overtaken.map(|(rival, amount)| (Rc::clone(rival.get(&workers)), amount));
            let overtake = |worker: &Rc<Worker>| {
                worker.host.before_swap(|_| ());
                let Some((rival, amount)) = rival.clone().filter(|(rival, _)| !Rc::ptr_eq(rival, worker)) else {
                    return;
                };
                rival.host.before_swap(|_| ());
                let (all, client, at) = (Rc::clone(&all), clients[0].clone(), now());
                let mut once = true;
                worker.host.before_swap(move |_| {
                    if std::mem::take(&mut once) {
                        let admission = rival.try_take(&client, 0, amount).unwrap();
                        if !admission.is_refused() {
                            let admission = Some(admission);
                            all.borrow_mut().push(Taken { at, client: 0, amount, used: None, admission });
                        }
                    }
                });
            };
            let undecided = |which: Index| {
                let mut all = all.borrow_mut();
                let mut open: Vec<_> = all.iter_mut().filter(|taken| taken.admission.is_some()).collect();
                if open.is_empty() {
                    return None;
                }
                let which = which.index(open.len());
                let taken = &mut open[which];
                Some((taken.client, taken.at, taken.amount, taken.admission.take().unwrap()))
            };
            let settle = |worker: &Rc<Worker>, which: Index, used: u64, late: &mut [u64; 2]| {
                overtake(worker);
                if let Some((client, at, amount, admission)) = undecided(which) {
                    worker.settle(admission, used);
                    late[client] += (now() - at).min(amount.saturating_sub(used) * SECOND);
                    let mut all = all.borrow_mut();
                    let this = all
                        .iter_mut()
                        .find(|taken| taken.admission.is_none() && taken.used.is_none() && taken.at == at
                            && taken.client == client && taken.amount == amount);
                    this.unwrap().used = Some((used, now()));
                }
            };
            match step {
                Step::Take { worker, client, amount } => {
                    let worker = worker.get(&workers);
                    overtake(worker);
                    let admission = worker.try_take(&clients[client], 0, amount).unwrap();
                    let owed = exact(&all.borrow(), client, now(), SECOND);
                    if !admission.is_refused() {
                        prop_assert!(owed + amount * SECOND <= burst * SECOND, "{owed} and {amount} of {burst}");
                        let (at, admission) = (now(), Some(admission));
                        all.borrow_mut().push(Taken { at, client, amount, used: None, admission });
                    } else if late[client] == 0 {
                        prop_assert!(owed + amount * SECOND > burst * SECOND, "{owed} and {amount} of {burst}");
                    }
                }
                Step::Settle { worker, which, used } => settle(worker.get(&workers), which, used, &mut late),
                Step::Release { worker, which } => settle(worker.get(&workers), which, 0, &mut late),
                Step::Pass(time) => world.process.pass(Duration::from_nanos(time)),
            }
            for (client, name) in clients.iter().enumerate() {
                let (owed, exact) = (workers[0].debt(name).0.owed, exact(&all.borrow(), client, now(), SECOND));
                prop_assert!(owed >= exact, "{owed} owed, {exact} used");
                prop_assert!(owed <= exact + late[client], "{owed} owed, {exact} used, late by {}", late[client]);
            }
        }
        let most: u64 = clients.iter().map(|name| workers[0].debt(name).0.owed).max().unwrap();
        world.process.pass(Duration::from_nanos(most));
        for name in &clients {
            prop_assert_eq!(workers[0].debt(name).0, Debt::default());
        }
    }
}

/// What a client must still pay of what it has overdrawn, in requests.
#[derive(Default, Clone)]
struct Overdraft {
    owed: f64,
}

#[derive(Debug, Clone)]
enum Trouble {
    Take {
        client: usize,
        amount: u64,
        used: Option<u64>,
    },
    Finish {
        which: Index,
        used: u64,
    },
    Change(usize),
    Pass(u64),
    SetBack(u64),
    Break(bool),
    Tick,
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        8 => (0_usize..300, 0_u64..4, prop::option::of(0_u64..12))
            .prop_map(|(client, amount, used)| Trouble::Take { client, amount, used }),
        2 => (any::<Index>(), 0_u64..12).prop_map(|(which, used)| Trouble::Finish { which, used }),
        1 => (0_usize..4).prop_map(Trouble::Change),
        2 => (0..SECOND).prop_map(Trouble::Pass),
        1 => prop_oneof![0..SECOND, Just(3600 * SECOND)].prop_map(Trouble::SetBack),
        1 => any::<bool>().prop_map(Trouble::Break),
        1 => Just(Trouble::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// In a cell that is far too small, under limits that change, clocks that are set back and a host that fails: what was
    /// overdrawn is paid by time alone. No time that passes pays more of it than flows in under the fastest of the limits.
    #[test]
    fn no_trouble_forgives_an_overdraft(steps in prop::collection::vec(trouble(), 200..800)) {
        let rates = [("60/minute", 3), ("60/minute", 1), ("120/minute", 9), ("6/minute", 2)];
        let world = of_ten(3);
        let first = world.worker();
        let clients = first.neighbours(300);
        let worlds = rates.map(|(rate, burst)| world.changed(plan(rate, Some(burst))));
        let workers = worlds.each_ref().map(World::worker);
        let broken = Rc::new(Shared::new(false));
        for worker in &workers {
            let broken = Rc::clone(&broken);
            worker.host.refuse(move |access, _| access == Access::Swap && broken.get());
        }
        let mut now_under = 0;
        let mut overdrawn = vec![Overdraft::default(); clients.len()];
        let mut open = Vec::new();
        for step in steps {
            // By how much the client has overdrawn then, and whether that could be written.
            let finish = |client: usize, amount: u64, under: usize, admission: Admission, used: u64| {
                let burst = rates[under].1 as f64;
                let (before, unit) = workers[under].debt(&clients[client]);
                let _ = workers[under].settle(admission, used);
                let more = used.saturating_sub(amount) as f64;
                // What the record owes then is more than the bucket holds by so much.
                let beyond = (before.owed as f64 / unit as f64 + more - burst).min(more).max(0.0);
                let written = !broken.get() && workers[under].debt(&clients[client]).0.owed > 0;
                (client, beyond, written)
            };
            let mut finished = None;
            match step {
                Trouble::Take { client, amount, used } => {
                    let Ok(admission) = workers[now_under].try_take(&clients[client], 0, amount) else {
                        prop_assert!(broken.get());
                        continue;
                    };
                    if !admission.is_refused() {
                        let owed = overdrawn[client].owed;
                        let room = rates[now_under].1 as f64 - amount as f64;
                        prop_assert!(owed <= room + 1e-6, "{owed} are overdrawn, and {amount} pass");
                        match used {
                            Some(used) => finished = Some(finish(client, amount, now_under, admission, used)),
                            None => open.push((client, amount, now_under, admission)),
                        }
                    }
                }
                Trouble::Finish { which, used } if !open.is_empty() => {
                    let (client, amount, under, admission) = open.swap_remove(which.index(open.len()));
                    finished = Some(finish(client, amount, under, admission, used));
                }
                Trouble::Finish { .. } => {}
                Trouble::Change(to) => now_under = to,
                Trouble::Pass(time) => {
                    world.process.pass(Duration::from_nanos(time));
                    for overdraft in &mut overdrawn {
                        // Two requests a second flow in under the fastest.
                        overdraft.owed = (overdraft.owed - time as f64 * 2.0 / SECOND as f64).max(0.0);
                    }
                }
                Trouble::SetBack(time) => world.process.set_back(Duration::from_nanos(time)),
                Trouble::Break(to) => broken.set(to),
                Trouble::Tick => {
                    for worker in &workers {
                        worker.limits.chores(&worker.host);
                    }
                }
            }
            if let Some((client, beyond, true)) = finished {
                overdrawn[client].owed += beyond;
            }
            for (client, overdraft) in overdrawn.iter().enumerate().filter(|(_, it)| it.owed > 0.0) {
                let (debt, unit) = workers[0].debt(&clients[client]);
                let seen = debt.overdrawn as f64 / unit as f64;
                prop_assert!(seen >= overdraft.owed - 1e-6, "{seen} of {}", overdraft.owed);
            }
        }
        // In the end all of it is paid, also what could not be written at once, and nothing is left to be put right.
        broken.set(false);
        let owed = || clients.iter().map(|client| workers[0].debt(client).0.owed).max().unwrap();
        let chores = || workers.iter().for_each(|worker| worker.limits.chores(&worker.host));
        for _ in 0..4 {
            // A cell notices that the clock was set back when it next counts.
            let _ = workers[0].try_take(&clients[0], 0, 0).unwrap();
            chores();
            world.process.pass(Duration::from_nanos(owed()) + seconds(1));
        }
        chores();
        prop_assert_eq!(owed(), 0);
    }
}
