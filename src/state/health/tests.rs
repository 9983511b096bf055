use proptest::prelude::*;

use super::cells::{MOST, RECORD, bytes_of, record};
use super::*;
use crate::config::policy::Tables;
use crate::host::Host;
use crate::host::simulated::{Process, SimulatedHost};
use crate::state::grid::{Grid, StateError, read};

const REST: Rest = Rest {
    failures: 3,
    error_rate: 50,
    first: Duration::from_secs(10),
    longest: Duration::from_secs(60),
    ..Rest::DEFAULT
};
const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);
const EVEN: u64 = 1 << 63;

/// An agent's record, and the time.
struct One {
    record: Record,
    now: Timestamp,
}

impl One {
    fn new() -> Self {
        let process = Process::default();
        Self {
            record: Record::new(key(&process.worker())),
            now: process.now(),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    fn comes_to(&mut self, client: u64, probe: Option<Probe>, came: Came) -> Change {
        let attempt = Attempt {
            began: self.now,
            client,
            probe,
        };
        (self.record).judge(&REST, &attempt, came, self.now, EVEN)
    }

    fn comes(&mut self, client: u64, came: Came) -> Change {
        self.comes_to(client, None, came)
    }

    fn standing(&self) -> Standing {
        self.record.standing(self.now, REST.longest)
    }

    /// Fails until it rests; for how long.
    fn fail(&mut self) -> Duration {
        for _ in 0..2 {
            assert_eq!(self.comes(0, Came::Unconnected), Change::None);
        }
        match self.comes(0, Came::Unconnected) {
            Change::Rests(time) => time,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the agent is due, and has the request of this client be the probe.
    fn probe(&mut self, client: u64) -> Option<Probe> {
        if let Standing::Rests(until) = self.standing() {
            self.now = until;
        }
        self.record.take_probe(&REST, client, self.now)
    }
}

fn state(host: &SimulatedHost) -> State {
    let tables = Tables {
        keys: 8,
        counters: 8,
        address_counters: 8,
        responses: 8,
    };
    State::open(host, tables, &[]).unwrap().0
}

fn key(host: &SimulatedHost) -> Key {
    Key::new(&state(host), "one", "cluster-one")
}

#[test]
fn an_agent_rests_after_so_many_failures_in_a_row_and_an_answer_ends_the_row() {
    let mut one = One::new();
    for _ in 0..5 {
        assert_eq!(one.comes(1, Came::Provoked), Change::None);
        assert_eq!(one.comes(2, Came::Unconnected), Change::None);
        assert_eq!(one.comes(1, Came::Answer), Change::None);
    }
    let mut one = One::new();
    one.comes(1, Came::Provoked);
    one.comes(2, Came::Provoked);
    assert_eq!(one.standing(), Standing::Fit);
    assert_eq!(one.comes(3, Came::Provoked), Change::Rests(REST.first));
    assert_eq!(one.standing(), Standing::Rests(one.now.after(REST.first)));
}

#[test]
fn answers_that_are_put_down_late_make_no_failure_good_that_came_after_them() {
    let mut one = One::new();
    let before = one.now;
    one.pass(SECOND);
    one.comes(1, Came::Provoked);
    one.comes(2, Came::Provoked);
    one.record.answered(7, before, one.now);
    assert!(matches!(one.comes(3, Came::Provoked), Change::Rests(_)));
    let mut one = One::new();
    one.comes(1, Came::Provoked);
    one.pass(SECOND);
    one.record.answered(1, one.now, one.now);
    assert!(!one.record.has_row());
}

#[test]
fn what_one_client_provokes_counts_once_while_others_are_there() {
    let mut one = One::new();
    for _ in 0..1_000 {
        assert_eq!(one.comes(1, Came::Provoked), Change::None);
        one.pass(Duration::from_millis(20));
    }
    // Nor by the part of requests that fail, whatever the others' come to.
    for number in 0..1_000 {
        assert_eq!(one.comes(1, Came::Provoked), Change::None, "{number}");
        if number % 3 == 0 {
            one.comes(2, Came::Answer);
        }
        one.pass(Duration::from_millis(20));
    }
    assert_eq!(one.standing(), Standing::Fit);
    // That there is no connection counts always.
    one.comes(1, Came::Answer);
    one.fail();
}

#[test]
fn of_a_client_that_is_alone_there_a_failure_counts_each_half_minute() {
    let mut one = One::new();
    one.comes(1, Came::Provoked);
    one.pass(ALONE);
    assert_eq!(one.comes(1, Came::Provoked), Change::None);
    one.pass(ALONE - SECOND);
    assert_eq!(one.comes(1, Came::Provoked), Change::None);
    one.pass(SECOND);
    assert!(matches!(one.comes(1, Came::Provoked), Change::Rests(_)));
}

#[test]
fn an_agent_rests_when_too_large_a_part_has_failed_of_enough_within_ten_seconds() {
    let rest = |answers: u32, pause: Duration| {
        let mut one = One::new();
        for number in 0..200 {
            for _ in 0..answers {
                one.comes(9, Came::Answer);
            }
            for client in 1..=2 {
                if one.comes(client, Came::Provoked) != Change::None {
                    return Some(number * (2 + answers) + client as u32);
                }
            }
            one.pass(pause);
        }
        None
    };
    // 2 of 5, and 2 of 3; the first answers came before the window began.
    assert_eq!(rest(3, Duration::ZERO), None);
    assert_eq!(rest(1, Duration::ZERO), Some(20));
    // So few come in ten seconds that nothing is concluded.
    assert_eq!(rest(1, SECOND * 2), None);
}

#[test]
fn a_rest_doubles_with_each_probe_that_fails_and_is_short_again_after_a_while_of_health() {
    let mut one = One::new();
    assert_eq!(one.fail(), REST.first);
    for seconds in [20, 40, 60, 60] {
        let probe = one.probe(7);
        assert!(probe.is_some());
        let rests = Change::Rests(SECOND * seconds);
        assert_eq!(one.comes_to(7, probe, Came::Unconnected), rests);
    }
    let probe = one.probe(7);
    let back = one.comes_to(7, probe, Came::Answer);
    assert_eq!(back, Change::Returns(SECOND * 60));
    assert_eq!(one.standing(), Standing::Fit);
    // Sooner than it has rested: longer, if that can be.
    one.pass(SECOND * 59);
    assert_eq!(one.fail(), SECOND * 60);
    let probe = one.probe(7);
    one.comes_to(7, probe, Came::Answer);
    one.pass(SECOND * 60);
    assert_eq!(one.fail(), REST.first);
}

#[test]
fn a_busy_agent_rests_for_as_long_as_it_says_within_bounds() {
    for (said, least, most) in [
        (3, 3, 4),
        (60, 60, 66),
        (100_000, 60, 66),
        (u64::MAX, 60, 66),
    ] {
        for random in [0, EVEN, u64::MAX] {
            let mut one = One::new();
            let attempt = Attempt {
                began: one.now,
                client: 1,
                probe: None,
            };
            let came = Came::Busy(Duration::from_secs(said));
            let change = one.record.judge(&REST, &attempt, came, one.now, random);
            let Change::Rests(time) = change else {
                panic!("{change:?}")
            };
            assert!((SECOND * least..=SECOND * most).contains(&time), "{time:?}");
        }
    }
}

#[test]
fn one_probe_at_a_time_decides_and_no_other_request() {
    let mut one = One::new();
    one.fail();
    assert_eq!(one.record.take_probe(&REST, 1, one.now), None, "it rests");
    let probe = one.probe(1);
    assert!(probe.is_some());
    assert_eq!(one.standing(), Standing::Due);
    assert_eq!(one.probe(2), None);
    for came in [Came::Answer, Came::Unconnected, Came::Busy(SECOND)] {
        assert_eq!(one.comes(2, came), Change::None);
    }
    // One that does not come to anything is given back; one that is lost runs out.
    one.record.give_back(probe.unwrap(), one.now);
    let probe = one.probe(2);
    one.record.hold(probe.unwrap(), true, one.now);
    one.pass(PROBE - NANOSECOND);
    assert_eq!(one.probe(3), None);
    one.pass(NANOSECOND);
    let other = one.probe(3);
    assert!(other.is_some());
    // It has run out: to go on, to be given back or to fail changes nothing, and that it was answered counts still.
    let before = one.record;
    one.record.hold(probe.unwrap(), true, one.now);
    one.record.give_back(probe.unwrap(), one.now);
    for came in [Came::Provoked, Came::Unconnected, Came::Busy(SECOND)] {
        assert_eq!(one.comes_to(2, probe, came), Change::None);
    }
    assert_eq!(one.record, before);
    assert_eq!(one.probe(4), None);
    assert!(matches!(
        one.comes_to(2, probe, Came::Answer),
        Change::Returns(_)
    ));
    // The other's is not of this time any more.
    assert_eq!(one.comes_to(3, other, Came::Unconnected), Change::None);
    assert_eq!(one.standing(), Standing::Fit);
}

#[test]
fn a_probe_that_is_never_sent_whole_keeps_others_away_for_a_second() {
    let mut one = One::new();
    one.fail();
    let probe = one.probe(1).unwrap();
    one.pass(UNSENT / 2);
    one.record.hold(probe, false, one.now);
    one.pass(UNSENT - NANOSECOND);
    assert_eq!(one.probe(2), None);
    one.pass(NANOSECOND);
    assert!(one.probe(2).is_some());
    // Where nobody else came meanwhile it goes on as it is.
    let mut one = One::new();
    one.fail();
    let probe = one.probe(1).unwrap();
    one.pass(UNSENT);
    one.record.hold(probe, true, one.now);
    assert_eq!(one.probe(2), None);
    one.pass(PROBE);
    assert!(one.probe(2).is_some());
}

#[test]
fn whose_probe_has_come_to_nothing_is_not_the_next_for_a_while() {
    for given_back in [true, false] {
        let mut one = One::new();
        one.fail();
        let probe = one.probe(1).unwrap();
        if given_back {
            one.record.give_back(probe, one.now);
        } else {
            one.pass(UNSENT);
        }
        let now = one.now;
        one.pass(OTHERS_FIRST - NANOSECOND);
        assert_eq!(one.probe(1), None);
        // Who is alone has its turn later, and anybody else has it at once.
        one.pass(NANOSECOND);
        assert!(one.probe(1).is_some());
        one.now = now;
        assert_eq!(one.probe(1), None, "the clock was set back");
        one.record.probe = Timestamp(0);
        assert!(one.probe(2).is_some());
    }
}

/// Two workers of one process, whose clocks differ by so many milliseconds, and an agent whose rest is over in both.
struct Two {
    process: Process,
    hosts: [SimulatedHost; 2],
    health: Health,
    key: Key,
}

impl Two {
    fn new(skew: i64) -> Self {
        let process = Process::default();
        let hosts = [process.worker(), process.worker()];
        let (health, key) = (Health::new(&state(&hosts[0])), key(&hosts[0]));
        health.come(&hosts[0], key).unwrap();
        let two = Self {
            process,
            hosts,
            health,
            key,
        };
        two.change(0, |record, now| {
            record.begin(SECOND, now);
        });
        two.process.pass(SECOND + SECOND);
        two.hosts[1].set_ahead(skew * 1_000_000);
        two
    }

    fn change(&self, worker: usize, mut change: impl FnMut(&mut Record, Timestamp)) {
        let changed = (self.health).update(&self.hosts[worker], self.key, &mut change);
        assert!(changed.unwrap().is_some());
    }

    fn take(&self, worker: usize, client: u64) -> Option<Probe> {
        let mut probe = None;
        self.change(worker, |record, now| {
            probe = record.take_probe(&REST, client, now);
        });
        probe
    }
}

#[test]
fn one_client_keeps_a_probe_from_no_other_whichever_workers_they_come_to() {
    for (skew, (hostile, other)) in [-1, 0, 1]
        .into_iter()
        .flat_map(|skew| [(skew, (0, 1)), (skew, (1, 0))])
    {
        for leaves in [true, false] {
            let two = Two::new(skew);
            // The one asks each millisecond, and first; it leaves its probes at once, or never says all of what it asks.
            let mut waited = 0;
            loop {
                match two.take(hostile, 1) {
                    Some(probe) if leaves => {
                        two.change(hostile, |record, now| record.give_back(probe, now))
                    }
                    Some(probe) => {
                        two.change(hostile, |record, now| record.hold(probe, false, now))
                    }
                    None => {}
                }
                if two.take(other, 2).is_some() {
                    break;
                }
                waited += 1;
                two.process.pass(Duration::from_millis(1));
            }
            assert!(
                waited <= if leaves { 1 } else { 1_001 },
                "{skew}, {hostile}: {waited}"
            );
            // While nobody else is there it has its turn now and then.
            let two = Two::new(skew);
            let taken = (0..60_000).filter(|_| {
                two.process.pass(Duration::from_millis(1));
                let probe = two.take(hostile, 1);
                if let Some(probe) = probe.filter(|_| leaves) {
                    two.change(hostile, |record, now| record.give_back(probe, now));
                }
                probe.is_some()
            });
            let keeps = if leaves { Duration::ZERO } else { UNSENT };
            let turns = 60_000 / (keeps + OTHERS_FIRST).as_millis() as usize;
            let taken = taken.count();
            assert!(
                (turns - 1..=turns).contains(&taken),
                "{skew}, {hostile}: {taken}"
            );
        }
    }
}

#[test]
fn a_client_whose_probes_fail_keeps_no_other_from_probing() {
    let mut one = One::new();
    one.comes(1, Came::Provoked);
    one.comes(0, Came::Unconnected);
    one.comes(0, Came::Unconnected);
    let probe = one.probe(1);
    assert_eq!(one.comes_to(1, probe, Came::Provoked), Change::None);
    one.pass(Duration::from_nanos(1));
    assert_eq!(one.probe(1), None, "it has had its turn");
    let probe = one.probe(2);
    assert!(probe.is_some());
    assert_eq!(
        one.comes_to(2, probe, Came::Provoked),
        Change::Rests(REST.first * 2),
        "another one"
    );
    // Who is alone has its turn again later.
    let probe = one.probe(2);
    assert!(probe.is_some());
    one.pass(SECOND);
    one.comes_to(2, probe, Came::Provoked);
    one.pass(SECOND * 19);
    assert_eq!(one.probe(2), None);
    one.pass(SECOND);
    assert!(one.probe(2).is_some());
}

#[test]
fn what_began_before_a_rest_neither_lengthens_it_nor_counts_behind_it() {
    let mut one = One::new();
    let before = Attempt {
        began: one.now,
        client: 0,
        probe: None,
    };
    one.pass(SECOND);
    one.fail();
    let rested = one.record;
    let late = |one: &mut One| (one.record).judge(&REST, &before, Came::Unconnected, one.now, EVEN);
    for _ in 0..5_000 {
        assert_eq!(late(&mut one), Change::None);
    }
    assert_eq!(one.record, rested);
    let probe = one.probe(1);
    one.comes_to(1, probe, Came::Answer);
    for _ in 0..5_000 {
        assert_eq!(late(&mut one), Change::None);
    }
    assert!(one.record.is_clean(one.now));
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_an_agent_away() {
    let mut one = One::new();
    one.fail();
    one.now = Timestamp(one.now.0 - 3_600 * 1_000_000_000);
    assert_eq!(one.standing(), Standing::Due);
    let probe = one.probe(1);
    assert!(probe.is_some());
    assert_eq!(one.probe(2), None);
    one.comes_to(1, probe, Came::Answer);
    one.now = Timestamp(one.now.0 - 3_600 * 1_000_000_000);
    one.fail();
}

#[test]
fn records_are_found_by_name_and_cluster_and_one_that_is_not_there_holds_nothing_against_anybody() {
    let process = Process::default();
    let [host, other] = [process.worker(), process.worker()];
    let state = state(&host);
    let health = Health::new(&state);
    let keys = [("one", "a"), ("one", "b"), ("two", "a")];
    let keys = keys.map(|(name, cluster)| Key::new(&state, name, cluster));
    for key in &keys[..2] {
        health.come(&host, *key).unwrap();
    }
    let begin = |key: Key| {
        let rest = &mut |record: &mut Record, now| {
            record.begin(SECOND, now);
        };
        health.update(&other, key, rest).unwrap()
    };
    assert!(begin(keys[0]).is_some());
    assert!(begin(keys[2]).is_none());
    let rests = |key| {
        let record = health.look(&host, key).unwrap();
        record.standing(process.now(), REST.longest) != Standing::Fit
    };
    assert_eq!(keys.map(rests), [true, false, false]);
    // A configuration that comes again changes nothing.
    health.open(&host).unwrap();
    for key in keys {
        health.come(&host, key).unwrap();
    }
    assert_eq!(keys.map(rests), [true, false, false]);
}

#[test]
fn the_cells_are_made_where_an_older_module_has_made_the_tables_and_never_grow_beyond_their_bound()
{
    let process = Process::default();
    let host = process.worker();
    let state = state(&host);
    let health = Health {
        cells: Grid::new(b'?', CELLS),
    };
    let key = |number: usize| Key {
        cell: health.cells.locate(0),
        tag: number as u64 + 1,
    };
    assert_eq!(health.come(&host, key(0)), Err(StateError::NoCell));
    assert_eq!(health.look(&host, key(0)), Err(StateError::NoCell));
    health.open(&host).unwrap();
    for number in 0..2 * MOST {
        health.come(&host, key(number)).unwrap();
    }
    let (value, _) = read(&host, key(0).cell).unwrap();
    assert_eq!(value.len(), MOST * RECORD);
    let there = |number| {
        let found = health.update(&host, key(number), &mut |_, _| {});
        found.unwrap().is_some()
    };
    assert!(!there(MOST - 1) && there(MOST) && there(2 * MOST - 1));
    drop(state);
}

/// One step of a history that two workers write together.
#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Comes {
        worker: usize,
        client: u64,
        came: Came,
        began_ago: u64,
    },
    Probe {
        worker: usize,
        client: u64,
    },
    /// A probe goes on to the agent, with all that belongs to it or without.
    Goes {
        worker: usize,
        number: usize,
        sent: bool,
    },
    Ends {
        number: usize,
        came: Option<Came>,
    },
}

fn came() -> impl Strategy<Value = Came> {
    prop_oneof![
        Just(Came::Answer),
        Just(Came::Provoked),
        Just(Came::Unconnected),
        (1..200_u64).prop_map(|seconds| Came::Busy(Duration::from_secs(seconds))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..40_000_u64).prop_map(Step::Pass),
        (0..2_usize, 1..4_u64, came(), 0..20_000_u64).prop_map(
            |(worker, client, came, began_ago)| Step::Comes {
                worker,
                client,
                came,
                began_ago
            }
        ),
        (0..2_usize, 1..4_u64).prop_map(|(worker, client)| Step::Probe { worker, client }),
        (0..2_usize, 0..4_usize, any::<bool>()).prop_map(|(worker, number, sent)| Step::Goes {
            worker,
            number,
            sent
        }),
        (0..4_usize, proptest::option::of(came()))
            .prop_map(|(number, came)| Step::Ends { number, came }),
    ]
}

proptest! {
    /// Whatever comes in whichever order, from workers whose clocks differ: nobody rests for longer than may be, no two probes are
    /// under way that both keep others away, and only a probe's word ends or lengthens a rest.
    #[test]
    fn whatever_comes_rests_are_bounded_and_probes_are_one(steps in prop::collection::vec(step(), 1..200), skew in -900_000_000_i64..900_000_000) {
        let process = Process::default();
        let hosts = [process.worker(), process.worker()];
        hosts[1].set_ahead(skew);
        let state = state(&hosts[0]);
        let (health, key) = (Health::new(&state), key(&hosts[0]));
        health.come(&hosts[0], key).unwrap();
        // Each with when it keeps nobody away any more, by the clock that is ahead.
        let mut probes: Vec<(u64, Probe, Timestamp)> = Vec::new();
        let mut last: Option<(u64, Probe, Timestamp)> = None;
        let latest = || hosts[0].now().max(hosts[1].now());
        for step in steps {
            let before = health.look(&hosts[0], key).unwrap();
            let resting = before.until != Timestamp(0);
            match step {
                Step::Pass(milliseconds) => process.pass(Duration::from_millis(milliseconds)),
                Step::Comes { worker, client, came, began_ago } => {
                    let began = Timestamp(hosts[worker].now().0 - began_ago * 1_000_000);
                    let attempt = Attempt { began, client, probe: None };
                    health.update(&hosts[worker], key, &mut |record, now| {
                        record.judge(&REST, &attempt, came, now, EVEN);
                    }).unwrap();
                    if resting {
                        prop_assert_eq!(health.look(&hosts[0], key).unwrap(), before);
                    }
                }
                Step::Probe { worker, client } => {
                    let mut probe = None;
                    health.update(&hosts[worker], key, &mut |record, now| {
                        probe = record.take_probe(&REST, client, now);
                    }).unwrap();
                    if let Some(probe) = probe {
                        prop_assert!(resting && hosts[worker].now() >= before.until);
                        // A probe is over when it is by the clock of any worker.
                        prop_assert!(probes.iter().all(|(_, other, until)| other.rest != probe.rest || *until <= latest()));
                        prop_assert!(probes.iter().all(|(_, other, _)| *other != probe), "told from all others");
                        // Its client's last one was some time ago, unless another's came since.
                        if let Some((of, other, until)) = last && (of, other.rest) == (client, probe.rest) {
                            prop_assert!(until.after(OTHERS_FIRST) <= latest());
                        }
                        last = Some((client, probe, hosts[worker].now()));
                        probes.push((client, probe, hosts[worker].now().after(UNSENT)));
                    }
                }
                Step::Goes { worker, number, sent } => {
                    if let Some((_, probe, until)) = probes.get_mut(number) {
                        let probe = *probe;
                        health.update(&hosts[worker], key, &mut |record, now| {
                            record.hold(probe, sent, now);
                        }).unwrap();
                        if health.look(&hosts[0], key).unwrap() != before {
                            *until = hosts[worker].now().after(if sent { PROBE } else { UNSENT });
                        }
                    }
                }
                Step::Ends { number, came } => {
                    if number < probes.len() {
                        let (client, probe, _) = probes.remove(number);
                        let attempt = Attempt { began: process.now(), client, probe: Some(probe) };
                        health.update(&hosts[0], key, &mut |record, now| match came {
                            Some(came) => drop(record.judge(&REST, &attempt, came, now, EVEN)),
                            None => record.give_back(probe, now),
                        }).unwrap();
                    }
                }
            }
            let after = health.look(&hosts[0], key).unwrap();
            let latest = process.now().after(Duration::from_secs(66 + 1));
            prop_assert!(after.until <= latest);
            prop_assert!(after.probe <= process.now().after(PROBE + SECOND));
        }
    }

    /// A record is read as it was written.
    #[test]
    fn records_are_read_as_written(words in prop::array::uniform12(any::<u64>())) {
        let mut bytes = [0; RECORD];
        for (to, from) in bytes.iter_mut().zip(words.map(u64::to_le_bytes).iter().flatten()) {
            *to = *from;
        }
        prop_assert_eq!(bytes_of(&record(&bytes)), bytes);
    }
}
