use proptest::prelude::*;

use super::*;
use crate::config::policy::Tables;
use crate::host::simulated::{Process, SimulatedHost};

const SECOND: Duration = Duration::from_secs(1);
const AVERAGE: Average = Average {
    half: SECOND,
    lasts: Duration::from_secs(10),
};

fn worker(process: &Process) -> (SimulatedHost, State) {
    let host = process.worker();
    let tables = Tables {
        keys: 8,
        counters: 8,
        address_counters: 8,
        responses: 8,
    };
    let (state, _) = State::open(&host, tables, &[]).unwrap();
    Measures::new(&state).come(&host).unwrap();
    (host, state)
}

fn value(host: &SimulatedHost, key: Key) -> Option<Measure> {
    Measures::read(host, key).unwrap().of(key)
}

#[test]
fn all_workers_know_what_one_has_noted() {
    let process = Process::default();
    process.pass(SECOND);
    let [(one, state), (two, _)] = [worker(&process), worker(&process)];
    let key = Key::of_agent(&state, "gpu", "cluster");
    assert_eq!(value(&two, key), None);
    Measures::note(&one, key, 700, AVERAGE).unwrap();
    let seen = value(&two, key).unwrap();
    assert_eq!(seen.fresh(two.now(), SECOND), Some(700));
    for (agent, cluster) in [("gpu", "other"), ("cpu", "cluster")] {
        assert_eq!(value(&two, Key::of_agent(&state, agent, cluster)), None);
    }
}

#[test]
fn a_number_counts_for_as_long_as_it_comes_late() {
    let process = Process::default();
    process.pass(SECOND);
    let (host, state) = worker(&process);
    let key = Key::of_route(&state, "/chat", "gpu");
    let noted = |number| {
        Measures::note(&host, key, number, AVERAGE).unwrap();
        value(&host, key).unwrap().value
    };
    assert_eq!(noted(800), 800, "the first one is all that is known");
    assert_eq!(noted(0), 700, "an eighth, of those that come at once");
    process.pass(SECOND);
    assert_eq!(noted(100), 400, "a half after a second");
    process.pass(9 * SECOND);
    assert_eq!(noted(1000), 940);
    process.pass(10 * SECOND);
    assert_eq!(
        value(&host, key).unwrap().fresh(host.now(), 10 * SECOND),
        None
    );
    assert_eq!(noted(5), 5, "what was before is too old");
}

#[test]
fn of_parts_the_mean_is_known_of_those_that_are_not_too_old() {
    let process = Process::default();
    process.pass(SECOND);
    let (host, state) = worker(&process);
    let whole = Key::of_agent(&state, "gpu", "cluster");
    let part = |name| Key::of_part(&state, "gpu", "cluster", name);
    let parts = ["one", "two", "three"].map(part);
    let noted = |part: usize, number| {
        Measures::note_part(&host, whole, &parts, parts[part], number, AVERAGE).unwrap();
        value(&host, whole).unwrap().fresh(host.now(), SECOND)
    };
    assert_eq!(noted(0, 900), Some(900), "nobody else has said anything");
    assert_eq!(noted(1, 300), Some(600));
    assert_eq!(noted(2, 0), Some(400));
    process.pass(5 * SECOND);
    assert_eq!(noted(1, 300), Some(400));
    process.pass(5 * SECOND);
    assert_eq!(noted(1, 300), Some(300), "two have said nothing for long");
    process.pass(10 * SECOND);
    let seen = value(&host, whole).unwrap();
    assert_eq!(seen.fresh(host.now(), AVERAGE.lasts), None, "nobody has");
    let other = Key::of_part(&state, "gpu", "cluster~2", "one");
    assert_eq!(value(&host, other), None);
}

#[test]
fn a_number_that_is_known_to_be_larger_is_raised_and_not_lowered() {
    let process = Process::default();
    process.pass(SECOND);
    let (host, state) = worker(&process);
    let key = Key::of_route(&state, "/chat", "gpu");
    Measures::raise(&host, key, 300).unwrap();
    Measures::raise(&host, key, 200).unwrap();
    assert_eq!(value(&host, key).unwrap().value, 300);
    Measures::raise(&host, key, 400).unwrap();
    assert_eq!(value(&host, key).unwrap().value, 400);
}

#[test]
fn one_of_all_workers_claims_each_time() {
    let process = Process::default();
    process.pass(SECOND);
    let [(one, state), (two, _)] = [worker(&process), worker(&process)];
    let key = Key::of_agent(&state, "gpu", "cluster");
    let rival = two;
    let (tries, inner) = (
        std::cell::Cell::new(0),
        std::rc::Rc::new(std::cell::Cell::new(false)),
    );
    let won = std::rc::Rc::clone(&inner);
    one.before_swap(move |_| {
        // The other worker is a moment ahead, once.
        tries.set(tries.get() + 1);
        if tries.get() == 1 {
            won.set(Measures::claim(&rival, key, SECOND).unwrap());
        }
    });
    assert!(!Measures::claim(&one, key, SECOND).unwrap());
    assert!(inner.get());
    process.pass(SECOND);
    assert!(Measures::claim(&one, key, SECOND).unwrap());
    assert!(!Measures::claim(&one, key, SECOND).unwrap());
    Measures::unclaim(&one, key).unwrap();
    assert!(Measures::claim(&one, key, SECOND).unwrap());
}

#[test]
fn what_stands_in_the_future_was_before_the_clock_was_set_back() {
    let process = Process::default();
    process.pass(Duration::from_secs(3_600));
    let (host, state) = worker(&process);
    let key = Key::of_agent(&state, "gpu", "cluster");
    Measures::note(&host, key, 7, AVERAGE).unwrap();
    assert!(Measures::claim(&host, key, SECOND).unwrap());
    host.set_ahead(-1_800_000_000_000);
    assert_eq!(value(&host, key).unwrap().fresh(host.now(), SECOND), None);
    assert!(Measures::claim(&host, key, SECOND).unwrap());
    Measures::note(&host, key, 9, AVERAGE).unwrap();
    assert_eq!(
        value(&host, key).unwrap().fresh(host.now(), SECOND),
        Some(9)
    );
}

#[test]
fn the_one_that_was_not_touched_for_longest_goes() {
    let process = Process::default();
    process.pass(SECOND);
    let (host, state) = worker(&process);
    let key = |number: usize| Key::of_route(&state, "/chat", &number.to_string());
    for number in 0..=MOST {
        process.pass(Duration::from_millis(1));
        Measures::note(&host, key(number), 1, AVERAGE).unwrap();
    }
    assert_eq!(value(&host, key(0)), None);
    assert!(value(&host, key(1)).is_some() && value(&host, key(MOST)).is_some());
}

#[test]
fn cells_that_an_older_module_has_not_made_are_made_once() {
    let process = Process::default();
    process.pass(SECOND);
    let (host, state) = worker(&process);
    let key = Key::of_agent(&state, "gpu", "cluster");
    Measures::note(&host, key, 7, AVERAGE).unwrap();
    Measures::new(&state).come(&host).unwrap();
    assert_eq!(value(&host, key).map(|it| it.value), Some(7));
}

proptest! {
    /// However the clocks of workers differ, an average lies between what it is made of, and its time never runs ahead of all.
    #[test]
    fn an_average_lies_between_what_was_noted(
        steps in proptest::collection::vec((0..3_usize, -500_000_000..500_000_000_i64, 0..20_000_u64, 0..LARGEST), 1..40),
    ) {
        let process = Process::default();
        process.pass(Duration::from_secs(100));
        let workers: Vec<_> = (0..3).map(|_| worker(&process)).collect();
        let key = Key::of_agent(&workers[0].1, "gpu", "cluster");
        let (mut least, mut most, mut last) = (u64::MAX, 0, Timestamp(0));
        for (index, ahead, passes, number) in steps {
            process.pass(Duration::from_millis(passes));
            let (host, _) = &workers[index];
            host.set_ahead(ahead);
            least = least.min(number);
            most = most.max(number);
            last = last.max(host.now());
            Measures::note(host, key, number, AVERAGE).unwrap();
            let measure = value(host, key).unwrap();
            // Doubles round.
            let slack = most >> 40;
            prop_assert!(measure.value + slack >= least && measure.value <= most + slack, "{measure:?}");
            prop_assert!(measure.at <= last);
            prop_assert!(measure.fresh(host.now(), AVERAGE.lasts).is_some());
        }
    }
}
