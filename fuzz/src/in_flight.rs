//! Requests in flight: several workers share places, of clients and of an agent, while callers come, wait and leave, others act in
//! the middle, calls fail, wakes are late or lost, and workers are silent, trap and come back. Never are more in flight than may be
//! while nobody can be taken for gone; who waits is served or refused; and in the end each place is free, and no more than these.
//!
//! The first byte of an input chooses the bounds. Then follow steps: one byte says which, the next ones what it needs.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::rc::Rc;

use serde_json::{Value, json};
use waykeeper::config::Policy;
use waykeeper::host::StreamId;

use crate::host::{Plan, Trouble};
use crate::input::Input;
use crate::worker::{Outcome, Worker, World, headers, key, keys, policy};

const WORKERS: usize = 3;
const CLIENTS: usize = 3;
const MOST_STEPS: usize = 96;
/// Of a client, and of the agent.
const MOST: usize = 2;
const MOST_OF_AGENT: usize = 4;
/// Whoever is silent for as long as so many ticks of another may be taken for gone.
const SILENT: usize = 10;
/// So many ticks are longer than anybody waits, for both places.
const PATIENCE: usize = 16;

const SECOND: u64 = 1_000_000_000;

/// Whether requests wait, and whether the agent's places are shared.
const SHAPES: [(bool, bool); 4] = [(false, false), (true, false), (true, true), (false, true)];

thread_local! {
    static POLICIES: [Policy; SHAPES.len()] = SHAPES.map(|shape| policy(&document(shape)));
}

/// A request that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flying {
    worker: usize,
    id: StreamId,
    client: usize,
    is_in: bool,
}

type Workers = Rc<Vec<RefCell<Worker>>>;
type Requests = Rc<RefCell<Vec<Flying>>>;

struct Run {
    world: World,
    policy: Policy,
    workers: Workers,
    flying: Requests,
    next: Rc<Cell<u32>>,
    /// How often the other has ticked since this one has said that it is alive.
    silent: [[usize; WORKERS]; WORKERS],
    /// Somebody may have been taken for gone, and what it has be given to others.
    doubtful: bool,
    /// Something has gone wrong at some time: a place may be free that nobody is told of yet.
    troubled: bool,
    /// What happened, to be shown.
    story: String,
}

/// Runs one input.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let mut run = Run::new(input.below(SHAPES.len()));
    let mut meanwhile = Vec::new();
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        let step = input.below(14);
        let worker = input.below(WORKERS);
        match step {
            0..=3 => {
                let client = input.below(CLIENTS);
                run.comes(worker, client, std::mem::take(&mut meanwhile));
            }
            4 | 5 => run.leaves(input.below(256), std::mem::take(&mut meanwhile)),
            6 => run.ticks(worker),
            7 => run.all_tick(),
            8 => run.turns(worker),
            9 => run.plan(worker, &mut input),
            10 => run.heal(),
            11 => run.traps(worker),
            12 => run.is_silent(worker),
            // Comes into the next step, when that has looked at so many cells.
            _ => meanwhile.push((input.below(6), worker, input.below(CLIENTS))),
        }
        run.is_within();
    }
    run.conclude();
}

impl Run {
    fn new(shape: usize) -> Self {
        let world = World::new();
        let policy = POLICIES.with(|policies| policies[shape].clone());
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| RefCell::new(world.worker(&policy)))
            .collect();
        let mut run = Self {
            world,
            policy,
            workers: Rc::new(workers),
            flying: Requests::default(),
            next: Rc::default(),
            silent: [[0; WORKERS]; WORKERS],
            doubtful: false,
            troubled: false,
            story: format!("{:?}\n", SHAPES[shape]),
        };
        // As Envoy ticks from the beginning.
        run.all_tick();
        run
    }

    // === steps ===

    fn comes(&mut self, worker: usize, client: usize, meanwhile: Vec<(usize, usize, usize)>) {
        let alone = meanwhile.is_empty() && !self.troubled && !self.doubtful;
        let free = {
            let flying = self.flying.borrow();
            let of_client = flying.iter().filter(|it| it.client == client).count();
            of_client < MOST && flying.len() < MOST_OF_AGENT && flying.iter().all(|it| it.is_in)
        };
        self.interfere(worker, meanwhile);
        let outcome = come(&self.workers, &self.flying, &self.next, worker, client);
        self.workers[worker].borrow().host.interfere(|| {});
        self.tell(format_args!("{client} comes to {worker}: {outcome:?}"));
        assert!(
            !alone || !free || outcome == Some(Outcome::Forwarded),
            "there is a place, and nobody waits\n{}",
            self.story
        );
    }

    fn leaves(&mut self, which: usize, meanwhile: Vec<(usize, usize, usize)>) {
        let leaving = {
            let mut flying = self.flying.borrow_mut();
            if flying.is_empty() {
                return;
            }
            let which = which % flying.len();
            flying.swap_remove(which)
        };
        self.tell(format_args!("{leaving:?} leaves"));
        self.interfere(leaving.worker, meanwhile);
        let worker = &self.workers[leaving.worker];
        worker.borrow_mut().end(leaving.id);
        worker.borrow().host.interfere(|| {});
    }

    /// Requests that other workers take meanwhile.
    fn interfere(&self, worker: usize, meanwhile: Vec<(usize, usize, usize)>) {
        if meanwhile.is_empty() {
            return;
        }
        let (workers, flying) = (Rc::clone(&self.workers), Rc::clone(&self.flying));
        let (next, looks) = (Rc::clone(&self.next), Cell::new(0));
        self.workers[worker].borrow().host.interfere(move || {
            for (_, worker, client) in meanwhile.iter().filter(|(after, ..)| *after == looks.get())
            {
                come(&workers, &flying, &next, *worker, *client);
            }
            looks.set(looks.get() + 1);
        });
    }

    fn ticks(&mut self, worker: usize) {
        let is_heard = {
            let mut ticking = self.workers[worker].borrow_mut();
            let is_heard = !ticking.host.is_troubled();
            ticking.tick();
            is_heard
        };
        for other in (0..WORKERS).filter(|other| *other != worker) {
            self.silent[other][worker] += 1;
            self.doubtful |= self.silent[other][worker] >= SILENT;
        }
        if is_heard {
            self.silent[worker] = [0; WORKERS];
        }
        self.tell(format_args!("{worker} ticks"));
        self.look();
    }

    fn all_tick(&mut self) {
        self.world.pass(SECOND);
        (0..WORKERS).for_each(|worker| self.ticks(worker));
        // Whoever was taken for gone has learned of it, and what is counted holds again.
        let heard = self.silent.iter().flatten().all(|ticks| *ticks < WORKERS);
        self.doubtful &= !heard || !self.fits();
    }

    /// Whoever was woken has its turn.
    fn turns(&mut self, worker: usize) {
        self.tell(format_args!("whoever was woken at {worker} has its turn"));
        self.workers[worker].borrow_mut().give_turns();
        self.look();
    }

    fn plan(&mut self, worker: usize, input: &mut Input<'_>) {
        let plan = Plan {
            trouble: *input.one_of(&[
                Trouble::Unreadable,
                Trouble::Unchangeable,
                Trouble::Overtaken,
                Trouble::NoWake,
            ]),
            after: input.below(8),
            times: 1 + input.below(4),
        };
        self.tell(format_args!("worker {worker} will have {plan:?}"));
        self.workers[worker].borrow().host.plan(plan);
        self.troubled = true;
    }

    fn heal(&mut self) {
        self.tell(format_args!("all is well again"));
        for worker in self.workers.iter() {
            worker.borrow().host.heal();
        }
    }

    /// A worker's module is gone, with all its requests; what it has counted is not, and another one is in its place.
    fn traps(&mut self, worker: usize) {
        self.tell(format_args!("worker {worker} traps"));
        self.flying.borrow_mut().retain(|it| it.worker != worker);
        self.workers[worker].replace(self.world.worker(&self.policy));
        self.silent[worker] = [0; WORKERS];
        self.troubled = true;
        self.ticks(worker);
    }

    /// All others tick until this one may be taken for gone.
    fn is_silent(&mut self, worker: usize) {
        for _ in 0..SILENT + 2 {
            for other in (0..WORKERS).filter(|other| *other != worker) {
                self.ticks(other);
            }
        }
    }

    /// What has become of those who waited.
    fn look(&mut self) {
        let workers = Rc::clone(&self.workers);
        let mut over = Vec::new();
        for flying in self.flying.borrow_mut().iter_mut().filter(|it| !it.is_in) {
            match workers[flying.worker].borrow().waited(flying.id) {
                Outcome::Waits => {}
                Outcome::Forwarded => flying.is_in = true,
                Outcome::Refused(code) => over.push((*flying, code)),
            }
        }
        for (flying, code) in over {
            self.tell(format_args!("{flying:?} is refused: {code}"));
            is_a_reason(&code);
            self.flying.borrow_mut().retain(|it| *it != flying);
            workers[flying.worker].borrow_mut().end(flying.id);
        }
    }

    // === what should be ===

    fn fits(&self) -> bool {
        let flying = self.flying.borrow();
        let within = |client| {
            flying
                .iter()
                .filter(|it| it.is_in && it.client == client)
                .count()
                <= MOST
        };
        flying.iter().filter(|it| it.is_in).count() <= MOST_OF_AGENT && (0..CLIENTS).all(within)
    }

    fn is_within(&self) {
        assert!(
            self.doubtful || self.fits(),
            "more are in flight than may be\n{}",
            self.story
        );
    }

    // === the end ===

    /// All is well again: nobody is silent, and whoever is in leaves in the end.
    fn conclude(&mut self) {
        self.heal();
        // Longer than one that is gone is waited for, and than anybody waits.
        for _ in 0..SILENT + 2 + PATIENCE {
            self.all_tick();
            (0..WORKERS).for_each(|worker| self.turns(worker));
        }
        self.is_within();
        let waits = self.flying.borrow().iter().any(|it| !it.is_in);
        assert!(!waits, "somebody waits for ever\n{}", self.story);
        while !self.flying.borrow().is_empty() {
            self.leaves(0, Vec::new());
        }
        self.troubled = false;
        // Each place is free, and there is no further one. The agent's are two clients'.
        for client in 0..CLIENTS {
            for number in 0..MOST {
                self.comes(number % WORKERS, client, Vec::new());
            }
            self.comes(WORKERS - 1, client, Vec::new());
            self.look();
            let flying = self.flying.borrow();
            let is_in = flying.iter().filter(|it| it.is_in).count();
            let places = MOST_OF_AGENT.min((client + 1) * MOST);
            assert_eq!(is_in, places, "a place has leaked\n{}", self.story);
        }
    }

    fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        writeln!(self.story, "{what}").expect("a string takes any text");
    }
}

/// A request comes. Nothing comes of it if its worker is at another one: each does one thing at a time.
fn come(
    workers: &Workers,
    flying: &Requests,
    next: &Rc<Cell<u32>>,
    worker: usize,
    client: usize,
) -> Option<Outcome> {
    let mut at = workers[worker].try_borrow_mut().ok()?;
    let id = StreamId(next.get() + 1);
    next.set(id.0);
    let request = headers(&[
        (":method", "GET"),
        (":path", "/a"),
        ("x-api-key", &key(client)),
    ]);
    let outcome = at.request(id, request, true);
    if let Outcome::Refused(code) = &outcome {
        is_a_reason(code);
        at.end(id);
    } else {
        let is_in = outcome == Outcome::Forwarded;
        flying.borrow_mut().push(Flying {
            worker,
            id,
            client,
            is_in,
        });
    }
    Some(outcome)
}

fn is_a_reason(code: &str) {
    assert!(
        ["too_many_in_flight", "limits_unavailable"].contains(&code),
        "{code}"
    );
}

fn document((waits, shared): (bool, bool)) -> Value {
    let keys = keys(CLIENTS);
    let mut plan = json!({ "in_flight": MOST });
    let mut agent = json!({ "cluster": "a", "max_in_flight": MOST_OF_AGENT });
    if waits {
        plan["wait"] = json!("5s");
        plan["max_waiting"] = json!(2);
        agent["wait"] = json!("5s");
    }
    if shared {
        agent["share"] = json!({ "by": "client" });
        agent["wait"] = json!("5s");
    }
    json!({
        "clients": { "key_sources": [{ "header": "x-api-key" }], "keys": keys },
        "plans": { "plan": plan },
        "agents": { "a": agent },
        "routes": [{ "prefix": "/a", "agents": ["a"] }],
        "tables": { "keys": 1024, "counters": 1024 },
    })
}
