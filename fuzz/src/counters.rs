//! Counters: several workers count over the same cells, under any interleaving, with clocks that differ or are set
//! back, calls that fail, and cells that are full. Never does more pass than an exact bucket lets through; where the clocks
//! agree, exactly that, and so for windows; and an error leaves nothing taken. Beside requests, which take one each, amounts are taken, and
//! released or settled for what was used: nobody gains by it, and nothing of it is forgiven.
//!
//! The first byte of an input chooses the limits, the second what goes wrong with the clocks. Then follow steps: one byte says
//! which, the next ones what it needs.

mod limits;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use waykeeper::config::Policy;
use waykeeper::host::StreamId;
use waykeeper::limits::Admission;

use crate::host::{Plan, Trouble};
use crate::input::Input;
use crate::model::{Clocks, Counted, Rate};
use crate::receipts::{Asked, Counter};
use crate::worker::{Outcome, Worker, World, headers, policy};
use limits::{Each, LIMITS, Limits, ROUTES, document, key};

const WORKERS: usize = 3;
const MOST_STEPS: usize = 96;
const FEW: usize = 4;
const CROWD: usize = 64;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
const PASSES: [u64; 8] = [
    1,
    MILLISECOND,
    100 * MILLISECOND,
    333 * MILLISECOND,
    SECOND,
    2 * SECOND,
    60 * SECOND,
    17_280 * SECOND,
];
/// No two workers are a second apart.
const SKEWS: [i64; 8] = [
    0,
    -1_000,
    -1_000_000,
    -10_000_000,
    -400_000_000,
    1_000,
    1_000_000,
    400_000_000,
];
const SET_BACKS: [u64; 6] = [
    MILLISECOND,
    500 * MILLISECOND,
    SECOND,
    2 * SECOND,
    3_600 * SECOND,
    86_400 * SECOND,
];

/// What goes wrong with the clocks, or how many call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// One clock for all, which only goes on.
    Calm,
    /// Workers read other times.
    Skewed,
    /// The clock of all is set back.
    SetBack,
    /// More clients than the table is made for.
    Crowded,
}

const MODES: [Mode; 4] = [Mode::Calm, Mode::Skewed, Mode::SetBack, Mode::Crowded];

thread_local! {
    static POLICIES: [[Policy; 2]; LIMITS.len()] =
        std::array::from_fn(|index| [FEW, CROWD].map(|clients| policy(&document(&LIMITS[index], clients))));
}

/// A request to be made.
#[derive(Debug, Clone, Copy)]
struct Request {
    worker: usize,
    client: usize,
    route: usize,
    address: usize,
}

/// What came of it.
#[derive(Debug)]
struct Made {
    request: Request,
    outcome: Outcome,
    /// The answer names limits of the gate, and of admit: these were asked.
    gate: bool,
    admit: bool,
    retry_after: Option<i128>,
}

/// An amount that was taken, and of which nobody knows yet how much will be used.
struct Open {
    admission: Admission,
    /// Where each bucket has noted it.
    noted: Vec<(String, Rate, usize)>,
}

type Workers = Rc<Vec<RefCell<Worker>>>;

/// The workers, and what they should have counted.
struct Run {
    limits: &'static Limits,
    mode: Mode,
    world: World,
    policy: Policy,
    workers: Workers,
    counters: Vec<Counter>,
    open: Vec<Open>,
    buckets: BTreeMap<String, Counted>,
    /// By how much the clock was set back in all.
    set_back: u64,
    /// The latest time that any worker read.
    latest: i128,
    /// A fault is planned, or what was taken may not have been given back yet.
    troubled: bool,
    /// Time has passed while something was to be given back: what has drained by then is not, so less may be left.
    late: bool,
    /// What happened, to be shown.
    story: String,
}

/// Runs one input.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = input.below(LIMITS.len());
    let mode = *input.one_of(&MODES);
    let mut run = Run::new(limits, mode);
    let mut meanwhile = Vec::new();
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        match input.below(13) {
            0..=2 => {
                let request = run.choose(&mut input);
                run.request(request, std::mem::take(&mut meanwhile));
            }
            3 => run.pass(*input.one_of(&PASSES)),
            4 => run.turn_clock(&mut input),
            5 => run.plan(&mut input),
            // Comes into the next request, when that has looked at so many cells.
            6 => meanwhile.push((input.below(6), run.choose(&mut input))),
            7 => run.heal(),
            8 | 9 => {
                let request = run.choose(&mut input);
                run.take_amount(request, input.below(12) as u64);
            }
            10 => run.settle(&mut input, false),
            11 => run.settle(&mut input, true),
            _ => run.reload(&mut input),
        }
    }
    run.conclude();
}

impl Run {
    fn new(limits: usize, mode: Mode) -> Self {
        let world = World::new();
        let policy =
            POLICIES.with(|policies| policies[limits][usize::from(mode == Mode::Crowded)].clone());
        let worker = |_| RefCell::new(world.worker(&policy));
        let workers: Vec<_> = (0..WORKERS).map(worker).collect();
        let counter = |worker: &RefCell<Worker>| Counter::new(&worker.borrow().host, &policy);
        let counters = workers.iter().map(counter).collect();
        Self {
            limits: &LIMITS[limits],
            mode,
            workers: Rc::new(workers),
            counters,
            open: Vec::new(),
            world,
            policy,
            buckets: BTreeMap::new(),
            set_back: 0,
            latest: 0,
            troubled: false,
            late: false,
            story: String::new(),
        }
    }

    fn choose(&self, input: &mut Input<'_>) -> Request {
        let clients = if self.mode == Mode::Crowded {
            CROWD
        } else {
            FEW
        };
        Request {
            worker: input.below(WORKERS),
            client: input.below(clients),
            route: input.below(ROUTES.len()),
            address: input.below(3),
        }
    }

    // === steps ===

    /// A request, and others that other workers make meanwhile.
    fn request(&mut self, request: Request, meanwhile: Vec<(usize, Request)>) {
        let alone = meanwhile.is_empty();
        let made = Rc::new(RefCell::new(Vec::new()));
        if !alone {
            self.interfere(request.worker, meanwhile, &made);
        }
        let own = make(&self.workers, request);
        self.workers[request.worker].borrow().host.interfere(|| {});
        made.borrow_mut().extend(own);
        let made = made.take();
        for made in &made {
            self.latest = self.latest.max(self.read(made.request));
        }
        for made in &made {
            self.count(made, alone);
        }
    }

    fn interfere(
        &self,
        worker: usize,
        meanwhile: Vec<(usize, Request)>,
        made: &Rc<RefCell<Vec<Made>>>,
    ) {
        let workers = Rc::clone(&self.workers);
        let made = Rc::clone(made);
        let looks = Cell::new(0);
        self.workers[worker].borrow().host.interfere(move || {
            for (_, request) in meanwhile.iter().filter(|(after, _)| *after == looks.get()) {
                let others = make(&workers, *request);
                made.borrow_mut().extend(others);
            }
            looks.set(looks.get() + 1);
        });
    }

    /// Several requests' worth at once, of which it is not known yet how much will be used.
    fn take_amount(&mut self, request: Request, amount: u64) {
        let Request {
            worker,
            client,
            route,
            ..
        } = request;
        let host = Rc::clone(&self.workers[worker].borrow().host);
        let asked = self.counters[worker].take(&host, client, route, amount);
        let (now, read) = (self.now(), self.read(request));
        self.latest = self.latest.max(read);
        let subjects = self.subjects(request, false);
        let fits = subjects
            .iter()
            .all(|(name, rate)| self.bucket(name, *rate).wait(now, amount) == Some(0));
        let exact = self.is_exact();
        match asked {
            Asked::Taken(admission) => {
                self.tell(format_args!("{request:?} takes {amount}"));
                assert!(!exact || fits, "more is taken than is left\n{}", self.story);
                let mut noted = Vec::new();
                for (name, rate) in subjects {
                    noted.push((name.clone(), rate, self.take_one(&name, rate, read, amount)));
                }
                self.open.push(Open { admission, noted });
            }
            Asked::Refused => {
                self.tell(format_args!("{request:?} may not take {amount}"));
                let is_exact = |(name, rate): &(String, Rate)| self.bucket(name, *rate).is_exact();
                let exact = subjects.iter().all(is_exact) && exact;
                assert!(
                    !exact || !fits,
                    "less is taken than is left\n{}",
                    self.story
                );
            }
            Asked::Failed => assert!(self.troubled, "nothing was wrong\n{}", self.story),
        }
    }

    /// Somebody knows now how much was used: nothing, or any amount.
    fn settle(&mut self, input: &mut Input<'_>, anything: bool) {
        let worker = input.below(WORKERS);
        let which = input.below(256);
        let used = if anything { input.below(24) as u64 } else { 0 };
        if self.open.is_empty() {
            return;
        }
        let which = which % self.open.len();
        let Open { admission, noted } = self.open.swap_remove(which);
        self.tell(format_args!(
            "worker {worker}: of {noted:?} {used} were used"
        ));
        let host = Rc::clone(&self.workers[worker].borrow().host);
        self.counters[worker].settle(&host, admission, used);
        let now = self.now();
        for (name, rate, noted) in noted {
            self.bucket(&name, rate).settle(noted, now, used);
        }
    }

    fn pass(&mut self, time: u64) {
        self.tell(format_args!("{time} ns pass"));
        self.world.pass(time);
        self.late |= self.troubled;
    }

    fn turn_clock(&mut self, input: &mut Input<'_>) {
        let worker = input.below(WORKERS);
        match self.mode {
            Mode::Skewed => {
                let skew = *input.one_of(&SKEWS);
                self.tell(format_args!("worker {worker} is {skew} ns off"));
                self.workers[worker].borrow().host.skew.set(skew);
            }
            Mode::SetBack => {
                let time = *input.one_of(&SET_BACKS);
                self.tell(format_args!("the clock is set back by {time} ns"));
                self.set_back += time;
                self.world.clock.set(self.world.clock.get() - time);
            }
            Mode::Calm | Mode::Crowded => {}
        }
    }

    fn plan(&mut self, input: &mut Input<'_>) {
        let worker = input.below(WORKERS);
        let plan = Plan {
            trouble: *input.one_of(&[
                Trouble::Unreadable,
                Trouble::Unchangeable,
                Trouble::Overtaken,
            ]),
            after: input.below(8),
            times: 1 + input.below(4),
        };
        self.tell(format_args!("worker {worker} will have {plan:?}"));
        self.workers[worker].borrow().host.plan(plan);
        self.troubled = true;
    }

    /// A worker gets its configuration anew. What it was still to give back is not any more.
    fn reload(&mut self, input: &mut Input<'_>) {
        let worker = input.below(WORKERS);
        self.tell(format_args!("worker {worker} has its configuration anew"));
        let new = self.world.worker(&self.policy);
        let before = self.workers[worker].replace(new);
        let now = self.workers[worker].borrow();
        now.host.skew.set(before.host.skew.get());
        self.counters[worker] = Counter::new(&now.host, &self.policy);
        self.late |= self.troubled;
    }

    /// All faults are over, and a second has passed on every worker.
    fn heal(&mut self) {
        self.tell(format_args!("all is well again"));
        for worker in self.workers.iter() {
            let mut worker = worker.borrow_mut();
            worker.host.heal();
            worker.tick();
        }
        for (worker, counter) in self.workers.iter().zip(&self.counters) {
            counter.tick(&worker.borrow().host);
        }
        self.troubled = false;
    }

    // === what should be ===

    /// The time, as if it had never been set back.
    fn now(&self) -> i128 {
        i128::from(self.world.clock.get()) + i128::from(self.set_back)
    }

    /// The time that a request's worker reads.
    fn read(&self, request: Request) -> i128 {
        self.now() + i128::from(self.workers[request.worker].borrow().host.skew.get())
    }

    fn count(&mut self, made: &Made, alone: bool) {
        self.tell(format_args!("{made:?}"));
        let request = made.request;
        let (now, read) = (self.now(), self.read(request));
        let gate = self.subjects(request, true);
        let admit = self.subjects(request, false);
        let exact = alone && self.is_exact();
        let exactly = |(name, rate): &(String, Rate)| self.bucket(name, *rate).is_exact();
        let less_exact = exact && [&gate, &admit].into_iter().flatten().all(exactly);
        let refused = self.is_empty(&gate, now) || self.is_empty(&admit, now);
        match &made.outcome {
            Outcome::Forwarded => {
                assert!(
                    !exact || !refused,
                    "more passes than is left\n{}",
                    self.story
                );
                self.take(&gate, read);
                self.take(&admit, read);
            }
            Outcome::Refused(code) if code == "rate_limited" => {
                assert!(
                    !less_exact || refused,
                    "less passes than is left\n{}",
                    self.story
                );
                // Who was refused at admit was counted at the gate.
                if made.admit {
                    self.take(&gate, read);
                }
                if less_exact {
                    let known = if made.admit {
                        [gate, admit].concat()
                    } else {
                        gate
                    };
                    let wait = known
                        .iter()
                        .map(|(name, rate)| self.bucket(name, *rate).wait(now, 1).unwrap_or(0))
                        .max()
                        .unwrap_or(0);
                    let seconds = wait.div_euclid(SECOND.into())
                        + i128::from(wait.rem_euclid(SECOND.into()) > 0);
                    assert_eq!(
                        made.retry_after,
                        Some(seconds),
                        "Retry-After is not the wait\n{}",
                        self.story
                    );
                }
            }
            Outcome::Refused(code) if code == "limits_unavailable" => {
                assert!(self.troubled, "nothing was wrong\n{}", self.story);
                if made.gate {
                    self.take(&gate, read);
                }
            }
            other => panic!("{other:?}\n{}", self.story),
        }
    }

    /// True if a calm clock and a host without faults leave no doubt of what is left.
    fn is_exact(&self) -> bool {
        let calm = [Mode::Calm, Mode::SetBack].contains(&self.mode) && self.set_back == 0;
        calm && !self.troubled && !self.late
    }

    fn is_empty(&mut self, subjects: &[(String, Rate)], now: i128) -> bool {
        subjects
            .iter()
            .any(|(name, rate)| self.bucket(name, *rate).wait(now, 1) != Some(0))
    }

    fn take(&mut self, subjects: &[(String, Rate)], read: i128) {
        for (name, rate) in subjects {
            self.take_one(name, *rate, read, 1);
        }
    }

    fn take_one(&mut self, name: &str, rate: Rate, read: i128, amount: u64) -> usize {
        let now = self.now();
        let clocks = Clocks {
            read,
            latest: self.latest,
            set_back: self.set_back.into(),
        };
        let bucket = self.bucket(name, rate);
        let noted = bucket.take(now, amount);
        let fits = bucket.passes(noted, amount, clocks);
        assert!(
            fits,
            "{name}: more passes than the rate and the clocks allow\n{}",
            self.story
        );
        noted
    }

    fn bucket(&mut self, name: &str, rate: Rate) -> &mut Counted {
        self.buckets
            .entry(name.to_owned())
            .or_insert_with(|| Counted::new(rate))
    }

    /// The buckets that a request takes from, at the gate or at admit.
    fn subjects(&self, request: Request, at_gate: bool) -> Vec<(String, Rate)> {
        let Request {
            client,
            route,
            address,
            ..
        } = request;
        let mut subjects = Vec::new();
        if !at_gate {
            let plan = self
                .limits
                .plan
                .map(|rate| (format!("plan of {client}"), rate));
            let own = self.limits.route.filter(|_| ROUTES[route] == "/b");
            subjects.extend(plan);
            subjects.extend(own.map(|rate| (format!("route of {client}"), rate)));
        }
        for (name, each, rate) in self.limits.named {
            let of = match each {
                Each::Address => format!("address {address}"),
                Each::Client => format!("client {client}"),
                Each::Route => format!("route {route}"),
                Each::All => String::new(),
            };
            if (*each == Each::Address) == at_gate {
                subjects.push((format!("{name} {of}"), *rate));
            }
        }
        subjects
    }

    // === the end ===

    /// What is left is what should be: at once if the clocks agreed, and in any case when all buckets have had the time to
    /// fill.
    fn conclude(&mut self) {
        self.heal();
        if self.mode == Mode::Calm {
            self.probe();
        }
        for worker in self.workers.iter() {
            worker.borrow().host.skew.set(0);
        }
        // A cell notices that the clock was set back when it next counts, and a request that is refused on the way
        // comes to no further cell.
        self.open.clear();
        let now = self.now();
        let overdrawn = self.buckets.values().map(|bucket| bucket.fills_in(now));
        let longest = self
            .all_rates()
            .map(|rate| rate.fills_in())
            .chain(overdrawn)
            .max()
            .unwrap_or(0);
        for _ in 0..=self.all_rates().count() {
            self.touch();
            self.pass(u64::try_from(longest).expect("some days") + 2 * SECOND);
        }
        let (now, mode) = (self.now(), self.mode);
        assert!(self.buckets.values().all(|bucket| bucket.is_full(now)));
        self.buckets.clear();
        (self.mode, self.set_back, self.late) = (Mode::Calm, 0, false);
        self.tell(format_args!(
            "the run was {mode:?}, and all buckets are full again"
        ));
        self.probe();
    }

    /// Takes what is left.
    fn probe(&mut self) {
        let most = self.all_rates().map(|rate| rate.burst).max().unwrap_or(0);
        for (client, route) in [(0, 0), (1, 1)] {
            for count in 0..=most {
                let worker = usize::try_from(count).expect("few") % WORKERS;
                let request = Request {
                    worker,
                    client,
                    route,
                    address: client,
                };
                self.request(request, Vec::new());
            }
        }
    }

    fn touch(&mut self) {
        for (client, route) in [(0, 0), (1, 1)] {
            let request = Request {
                worker: 0,
                client,
                route,
                address: client,
            };
            self.request(request, Vec::new());
        }
    }

    fn all_rates(&self) -> impl Iterator<Item = Rate> {
        let named = self.limits.named.iter().map(|(_, _, rate)| *rate);
        self.limits
            .plan
            .into_iter()
            .chain(self.limits.route)
            .chain(named)
    }

    fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        writeln!(self.story, "{what}").expect("a string takes any text");
    }
}

/// Makes a request. Nothing comes of it if its worker is at another one: each does one thing at a time.
fn make(workers: &Workers, request: Request) -> Option<Made> {
    let mut worker = workers[request.worker].try_borrow_mut().ok()?;
    worker
        .host
        .address
        .replace(format!("192.0.2.{}:9", request.address).into_bytes());
    let headers = headers(&[
        (":method", "GET"),
        (":path", ROUTES[request.route]),
        ("x-api-key", &key(request.client)),
    ]);
    let (outcome, seen) = worker.exchange(StreamId(1), headers);
    let field = |name: &str| {
        let reply = seen.replies.first()?;
        reply
            .headers
            .iter()
            .find(|(other, _)| *other == name)
            .map(|(_, value)| value.clone())
    };
    let told = field("ratelimit-policy").unwrap_or_default();
    Some(Made {
        request,
        outcome,
        gate: told.contains("\"per-address\""),
        admit: told.contains("\"plan\""),
        retry_after: field("retry-after").and_then(|seconds| seconds.parse().ok()),
    })
}
