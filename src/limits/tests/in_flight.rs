//! Requests in flight, over workers that come, go, are silent and come back, whose rings get lost and whose cells are refused.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;
use crate::host::StreamId;

const MOST: usize = 3;
const CLIENTS: [&str; 2] = ["acme", "globex"];
/// Whoever is silent for as long as so many ticks of another may be taken for gone.
const SILENT: u32 = 10;

/// A request that has a place, or waits for one.
struct Flying {
    worker: usize,
    id: StreamId,
    client: usize,
    tickets: Tickets,
    is_in: bool,
}

struct Worker {
    host: SimulatedHost,
    limits: Limits,
    refuses: Rc<Cell<bool>>,
    /// How often each other worker has ticked since this one did.
    silent: Vec<u32>,
}

struct Run {
    world: World,
    workers: Vec<Worker>,
    flying: Vec<Flying>,
    next: u32,
    /// Somebody was taken for gone, and what it had was given to others.
    doubtful: bool,
}

impl Run {
    fn new() -> Self {
        let mut document = document("1/day", json!([]), &[None]);
        document["plans"]["standard"] = json!({"in_flight": MOST, "wait": "5s"});
        let mut run = Self {
            world: World::new(document),
            workers: Vec::new(),
            flying: Vec::new(),
            next: 0,
            doubtful: false,
        };
        for _ in 0..3 {
            run.worker_comes();
        }
        run
    }

    /// As a configuration that is read anew brings one, beside which the one before it still has its requests.
    fn worker_comes(&mut self) {
        let super::Worker { host, limits } = self.world.worker();
        let refuses = Rc::new(Cell::new(false));
        let (is_on, mut calls) = (Rc::clone(&refuses), 0);
        host.refuse(move |_, _| {
            calls += 1;
            is_on.get() && calls % 3 != 0
        });
        for worker in &mut self.workers {
            worker.silent.push(0);
        }
        self.workers.push(Worker {
            host,
            limits,
            refuses,
            silent: vec![0; self.workers.len() + 1],
        });
    }

    fn comes(&mut self, worker: usize, client: usize) {
        self.next += 1;
        self.flying.push(Flying {
            worker,
            id: StreamId(self.next),
            client,
            tickets: Tickets::default(),
            is_in: false,
        });
        self.enters(self.flying.len() - 1);
    }

    fn enters(&mut self, index: usize) {
        let flying = &mut self.flying[index];
        let Worker { host, limits, .. } = &self.workers[flying.worker];
        let met = limits.met_in_flight(of(CLIENTS[flying.client], 0));
        match limits.enter(host, &mut flying.tickets, &met[0], flying.id) {
            Ok(Came::In { .. }) => flying.is_in = true,
            Ok(Came::Waits) => assert!(flying.tickets.wait()),
            Ok(Came::Full) | Err(_) => self.leaves(index),
        }
    }

    fn leaves(&mut self, index: usize) {
        let flying = self.flying.swap_remove(index);
        let Worker { host, limits, .. } = &self.workers[flying.worker];
        limits.leave(host, flying.tickets);
    }

    fn ticks(&mut self, worker: usize) {
        let Worker { host, limits, .. } = &self.workers[worker];
        let of_worker = self.flying.iter_mut().filter(|it| it.worker == worker);
        let tickets = of_worker.map(|it| (it.id, &mut it.tickets));
        let kept = limits.keep_in_flight(host, tickets);
        for (other, seen) in self.workers.iter_mut().enumerate() {
            if other != worker {
                seen.silent[worker] += 1;
                self.doubtful |= seen.silent[worker] >= SILENT;
            } else if kept.is_ok() {
                // Where the host refuses it, nobody else may have heard of this tick.
                seen.silent.fill(0);
            }
        }
        self.turns(worker, kept.unwrap_or_default());
    }

    fn is_rung(&mut self, worker: usize) {
        let woken = self.workers[worker].host.woken();
        self.turns(worker, woken);
    }

    fn turns(&mut self, worker: usize, turns: Vec<StreamId>) {
        for id in turns {
            let its = |it: &Flying| it.worker == worker && it.id == id && !it.is_in;
            let Some(index) = self.flying.iter().position(its) else {
                continue;
            };
            let flying = &mut self.flying[index];
            let Worker { host, limits, .. } = &self.workers[worker];
            let met = limits.met_in_flight(of(CLIENTS[flying.client], 0));
            match limits.take_up(host, &mut flying.tickets, &met[0]) {
                Ok(Some(Came::In { .. })) => flying.is_in = true,
                Ok(None) => self.enters(index),
                Ok(Some(Came::Waits | Came::Full)) | Err(_) => {}
            }
        }
    }

    fn holding(&self, client: usize) -> usize {
        let held = self.flying.iter();
        held.filter(|it| it.client == client && it.is_in).count()
    }

    /// Whoever was taken for gone learns of it, and what is counted holds again.
    fn all_tick(&mut self) {
        (0..self.workers.len()).for_each(|it| self.ticks(it));
        let well = self.workers.iter().all(|it| !it.refuses.get());
        let over = (0..CLIENTS.len()).any(|client| self.holding(client) > MOST);
        self.doubtful &= over || !well;
    }

    fn step(&mut self, what: u8, which: u8) {
        let which = usize::from(which);
        let worker = which % self.workers.len();
        match what % 12 {
            0..=2 => self.comes(worker, which / 16 % CLIENTS.len()),
            3 | 4 if !self.flying.is_empty() => self.leaves(which % self.flying.len()),
            5 => self.ticks(worker),
            6 => self.all_tick(),
            7 => drop(self.workers[worker].host.woken()),
            8 => self.is_rung(worker),
            9 => {
                let refuses = &self.workers[worker].refuses;
                refuses.set(!refuses.get());
            }
            10 if self.workers.len() < 6 => self.worker_comes(),
            11 => {
                for _ in 0..SILENT + 2 {
                    let others = (0..self.workers.len()).filter(|it| *it != worker);
                    others
                        .collect::<Vec<_>>()
                        .into_iter()
                        .for_each(|it| self.ticks(it));
                }
            }
            _ => {}
        }
        let over = (0..CLIENTS.len()).any(|client| self.holding(client) > MOST);
        assert!(!over || self.doubtful, "more than {MOST} are in");
    }

    /// All is well again: nobody is silent, nothing is refused, and whoever is in leaves in the end.
    fn conclude(&mut self) {
        for worker in &self.workers {
            worker.refuses.set(false);
        }
        for _ in 0..2 {
            (0..self.workers.len()).for_each(|it| self.ticks(it));
        }
        while self.flying.iter().any(|it| it.is_in) {
            let first = self.flying.iter().position(|it| it.is_in).unwrap();
            let client = self.flying[first].client;
            let before = self.holding(client);
            self.leaves(first);
            (0..self.workers.len()).for_each(|it| self.is_rung(it));
            // What was counted again may be more than there are places, and drains first.
            let waits = |it: &Flying| it.client == client && !it.is_in;
            let waits = self.flying.iter().any(waits);
            assert!(!waits || before > MOST || self.holding(client) == MOST);
        }
        assert!(self.flying.is_empty(), "somebody waits for ever");
        self.doubtful = false;
        for client in 0..CLIENTS.len() {
            for number in 0..MOST {
                self.comes(number % self.workers.len(), client);
            }
            assert_eq!(self.holding(client), MOST, "a place has leaked");
            self.comes(0, client);
            assert_eq!(self.holding(client), MOST);
        }
        while !self.flying.is_empty() {
            self.leaves(0);
        }
        let Worker { host, limits, .. } = &self.workers[0];
        for client in CLIENTS {
            let cell = limits.met_in_flight(of(client, 0))[0].cell();
            let value = crate::state::read(host, cell).unwrap().0;
            assert!(value.is_empty(), "something is left");
        }
    }
}

#[test]
fn who_comes_back_from_silence_counts_all_its_requests_though_the_host_refuses_some_at_first() {
    let mut run = Run::new();
    for _ in 0..MOST {
        run.comes(0, 0);
    }
    run.comes(1, 1);
    for _ in 0..SILENT + 2 {
        run.ticks(1);
    }
    // It learns that it was taken for gone, and the host gives it nothing to write that down in.
    let in_flight = run.workers[0].limits.met_in_flight(of("acme", 0))[0].cell();
    let refuses = Rc::new(Cell::new(true));
    let is_on = Rc::clone(&refuses);
    run.workers[0]
        .host
        .refuse(move |_, cell| is_on.get() && cell == in_flight);
    run.ticks(0);
    refuses.set(false);
    run.ticks(0);
    run.comes(1, 0);
    assert_eq!(run.holding(0), MOST);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever comes in whatever order: never more are in flight than may be while nobody is silent, who waits is served when
    /// somebody leaves, and in the end every place is free.
    #[test]
    fn no_order_of_things_lets_more_in_or_loses_a_place(
        steps in prop::collection::vec((any::<u8>(), any::<u8>()), 0..120),
    ) {
        let mut run = Run::new();
        for (what, which) in steps {
            run.step(what, which);
        }
        run.conclude();
    }
}

/// So many places there are for each tool.
const PLACES: usize = 4;

/// A list of calls in the worker of this number, and how many of its bounds it has entered.
struct List {
    worker: usize,
    tools: Vec<&'static [u8]>,
    tickets: Tickets,
    entered: usize,
}

/// Lists of calls under bounds counted per tool, in two workers.
struct Lists {
    workers: Vec<super::Worker>,
    all: Vec<List>,
}

impl Lists {
    fn new() -> Self {
        let mut document = document("1/day", json!([]), &[None]);
        let bound = |name: &str, most: usize| json!({"name": name, "each": "tool", "in_flight": most, "wait": "60s"});
        document["limits"] = json!([bound("first", PLACES), bound("second", PLACES)]);
        document["routes"][0]["mcp"] = json!({});
        let world = World::new(document);
        let workers = vec![world.worker(), world.worker()];
        Self {
            workers,
            all: Vec::new(),
        }
    }

    fn comes(&mut self, worker: usize, tools: &[&'static [u8]]) {
        self.all.push(List {
            worker,
            tools: tools.to_vec(),
            tickets: Tickets::default(),
            entered: 0,
        });
        self.goes_on(self.all.len() - 1);
    }

    /// As far as it comes. True if it has all its places.
    fn goes_on(&mut self, index: usize) -> bool {
        let List {
            worker,
            tools,
            tickets,
            entered,
        } = &mut self.all[index];
        let super::Worker { host, limits } = &self.workers[*worker];
        let tools: Vec<Option<&[u8]>> = tools.iter().map(|it| Some(*it)).collect();
        let asked = Asked {
            tool: tools[0],
            further: &tools[1..],
            ..of(CLIENTS[0], 0)
        };
        let met = limits.met_in_flight(asked);
        assert!(Met::too_small(&met).is_none());
        while let Some(next) = met.get(*entered) {
            let came = match tickets.wait() {
                true => limits.take_up(host, tickets, next).unwrap(),
                false => {
                    let id = StreamId(u32::try_from(index).unwrap());
                    Some(limits.enter(host, tickets, next, id).unwrap())
                }
            };
            match came {
                Some(Came::In { .. }) => *entered += 1,
                Some(Came::Waits) => return false,
                other => panic!("{other:?}"),
            }
        }
        true
    }

    /// All that can go on do, and leave; how many are left that wait for each other.
    fn end(mut self) -> usize {
        let mut left: Vec<usize> = (0..self.all.len()).collect();
        loop {
            let before = left.len();
            let there: Vec<usize> = left.clone();
            for index in there {
                if self.goes_on(index) {
                    let List {
                        worker, tickets, ..
                    } = &mut self.all[index];
                    let super::Worker { host, limits } = &self.workers[*worker];
                    limits.leave(host, std::mem::take(tickets));
                    left.retain(|it| *it != index);
                }
            }
            if left.len() == before {
                return left.len();
            }
        }
    }
}

#[test]
fn lists_that_call_the_same_tools_do_not_wait_for_each_other() {
    let [one, other] = [b"one".as_slice(), b"other"].map(|tool| vec![tool; PLACES]);
    // Those that come first have all places. Then each list would have a part of what another needs: of one tool, or of one each.
    let few = &one[1..];
    let [ahead, behind] = [[one.clone(), other.clone()], [other.clone(), one.clone()]];
    for lists in [
        vec![few, few, few],
        vec![&*ahead.concat(), &*behind.concat()],
    ] {
        let mut all = Lists::new();
        let first = [&*one, &*other];
        for (number, tools) in first.into_iter().chain(lists).enumerate() {
            all.comes(number % 2, tools);
        }
        assert_eq!(all.end(), 0);
    }
}

proptest! {
    /// Whatever lists come in whichever order and go on when they may: all have their places in the end.
    #[test]
    fn whatever_lists_come_none_waits_for_ever(
        lists in prop::collection::vec((0..2_usize, prop::collection::vec(0..3_usize, 1..9)), 1..12),
        turns in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        const TOOLS: [&[u8]; 3] = [b"one", b"two", b"three"];
        let mut all = Lists::new();
        let mut turns = turns.iter();
        for (worker, tools) in lists {
            let few = |tool: &usize| tools.iter().filter(|it| *it == tool).count() <= PLACES;
            let tools: Vec<&[u8]> = tools.iter().filter(|it| few(it)).map(|it| TOOLS[*it]).collect();
            if tools.is_empty() {
                continue;
            }
            all.comes(worker, &tools);
            if let Some(turn) = turns.next() {
                all.goes_on(turn.index(all.all.len()));
            }
        }
        prop_assert_eq!(all.end(), 0);
    }
}
