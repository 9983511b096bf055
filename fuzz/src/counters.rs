//! Counters: several workers count over the same cells, under any interleaving, with clocks that differ or are set
//! back, calls that fail, and cells that are full. Never does more pass than an exact bucket lets through; where the clocks
//! agree, exactly that, and so for windows; and an error leaves nothing taken. Beside requests, which take one each, amounts are taken, and
//! released or settled for what was used: nobody gains by it, and nothing of it is forgiven.
//!
//! The first byte of an input chooses the limits, the second what goes wrong with the clocks. Then follow steps: one byte says
//! which, the next ones what it needs.
//!
//! | file | what it says |
//! |---|---|
//! | this one | what a run is, and how an input is read |
//! | `limits.rs` | the limits |
//! | `steps.rs` | what happens |
//! | `expected.rs` | what should come of it |
//! | `conclusion.rs` | what is left in the end |

mod conclusion;
mod expected;
mod limits;
mod steps;

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
use crate::worker::{Outcome, Worker, World, headers, key, policy};
use limits::{Each, LIMITS, Limits, ROUTES, document};

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
