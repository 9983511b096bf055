//! A host that does to the filter what a test would not think of: clocks that differ between workers and are set back,
//! calls that fail, rivals that act between a read and a swap. It counts what the filter does with each stream.

mod stream;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use waykeeper::host::simulated::{Process, SentCallout, SimulatedHost};
use waykeeper::host::{
    Bell, Callout, CalloutId, CellName, Host, HostError, LocalReply, MetricId, StreamId, Swap,
    Timestamp, Version,
};

pub(crate) use stream::FuzzIo;

/// Headers as they stand, names and values.
pub(crate) type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// A response with this header is the host's own.
pub(crate) const OWN: &str = "own";

/// What became of a stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) request: Headers,
    pub(crate) trailers: Headers,
    pub(crate) response: Headers,
    /// What is at hand of the response's body.
    pub(crate) answer: Vec<u8>,
    pub(crate) replies: Vec<LocalReply>,
    pub(crate) resumed: usize,
    pub(crate) reset: usize,
    /// The host did not hand its headers over.
    pub(crate) unread: bool,
}

/// A fault of the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A cell cannot be read.
    Unreadable,
    /// A cell cannot be changed.
    Unchangeable,
    /// Another worker was faster, but changed nothing.
    Overtaken,
    /// The request's headers are not handed over.
    NoHeaders,
    /// The request's trailers are not handed over.
    NoTrailers,
    /// No event of its own is given to a stream.
    NoWake,
    /// A callout is not sent.
    NoCallout,
    /// The caller's address is not known.
    NoAddress,
}

/// How often a fault comes, and how many calls of its kind go well before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) trouble: Trouble,
    pub(crate) after: usize,
    pub(crate) times: usize,
}

type Interference = Box<dyn FnMut()>;

/// One worker's host.
pub(crate) struct FuzzHost {
    memory: SimulatedHost,
    clock: Rc<Cell<u64>>,
    /// How far this worker's clock is from the process's, in nanoseconds.
    pub(crate) skew: Cell<i64>,
    pub(crate) address: RefCell<Vec<u8>>,
    streams: RefCell<HashMap<StreamId, Seen>>,
    woken: RefCell<VecDeque<StreamId>>,
    troubles: RefCell<Vec<Plan>>,
    interference: RefCell<Option<Interference>>,
}

impl std::fmt::Debug for FuzzHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FuzzHost")
    }
}

impl FuzzHost {
    pub(crate) fn new(process: &Process, clock: &Rc<Cell<u64>>) -> Self {
        Self {
            memory: process.worker(),
            clock: Rc::clone(clock),
            skew: Cell::new(0),
            address: RefCell::new(b"192.0.2.1:40000".to_vec()),
            streams: RefCell::default(),
            woken: RefCell::default(),
            troubles: RefCell::default(),
            interference: RefCell::default(),
        }
    }

    /// Begins a stream.
    pub(crate) fn begin(&self, id: StreamId, request: Headers) {
        let seen = Seen {
            request,
            ..Seen::default()
        };
        self.streams.borrow_mut().insert(id, seen);
    }

    pub(crate) fn trail(&self, id: StreamId, trailers: Headers) {
        self.seen_mut(id, |seen| seen.trailers = trailers);
    }

    pub(crate) fn respond(&self, id: StreamId, response: Headers) {
        self.seen_mut(id, |seen| seen.response = response);
    }

    pub(crate) fn end(&self, id: StreamId) {
        self.streams.borrow_mut().remove(&id);
    }

    pub(crate) fn seen(&self, id: StreamId) -> Seen {
        self.streams.borrow().get(&id).cloned().unwrap_or_default()
    }

    pub(crate) fn sent_callouts(&self) -> Vec<SentCallout> {
        self.memory.sent_callouts()
    }

    /// The stream whose turn comes next, of those that were woken.
    pub(crate) fn next_woken(&self) -> Option<StreamId> {
        self.woken.borrow_mut().extend(self.memory.woken());
        self.woken.borrow_mut().pop_front()
    }

    pub(crate) fn plan(&self, plan: Plan) {
        self.troubles.borrow_mut().push(plan);
    }

    /// Whether a fault is planned.
    pub(crate) fn is_troubled(&self) -> bool {
        !self.troubles.borrow().is_empty()
    }

    pub(crate) fn heal(&self) {
        self.troubles.borrow_mut().clear();
    }

    /// Calls `interfere` whenever a cell is about to be read or swapped, as if another worker acted just then.
    pub(crate) fn interfere(&self, interfere: impl FnMut() + 'static) {
        self.interference.replace(Some(Box::new(interfere)));
    }

    /// A stream, as it is lent to the filter in one of its callbacks.
    pub(crate) fn io(self: &Rc<Self>, id: StreamId) -> FuzzIo {
        FuzzIo {
            id,
            host: Rc::clone(self),
        }
    }

    fn seen_mut<T: Default>(&self, id: StreamId, f: impl FnOnce(&mut Seen) -> T) -> T {
        let mut streams = self.streams.borrow_mut();
        streams.get_mut(&id).map(f).unwrap_or_default()
    }

    /// Whether a planned fault comes now.
    fn is_due(&self, trouble: Trouble) -> bool {
        let mut troubles = self.troubles.borrow_mut();
        let Some(at) = troubles.iter().position(|plan| plan.trouble == trouble) else {
            return false;
        };
        let plan = &mut troubles[at];
        if plan.after > 0 {
            plan.after -= 1;
            return false;
        }
        plan.times = plan.times.saturating_sub(1);
        if plan.times == 0 {
            troubles.remove(at);
        }
        true
    }

    fn let_others_act(&self) {
        // Whoever acts meanwhile may come to its own cells, but not back to this worker's interference.
        let Some(mut interfere) = self.interference.take() else {
            return;
        };
        interfere();
        self.interference.replace(Some(interfere));
    }
}

impl Host for FuzzHost {
    type Stream = FuzzIo;

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.get().saturating_add_signed(self.skew.get()))
    }

    fn random(&self) -> u64 {
        self.memory.random()
    }

    fn seed(&self) -> Result<[u8; 16], HostError> {
        self.memory.seed()
    }

    fn read_cell(&self, cell: CellName) -> Result<Option<(Vec<u8>, Version)>, HostError> {
        self.let_others_act();
        if self.is_due(Trouble::Unreadable) {
            return Err(HostError {
                call: "a cell",
                status: 2,
            });
        }
        self.memory.read_cell(cell)
    }

    fn swap_cell(&self, cell: CellName, value: &[u8], version: Version) -> Swap {
        self.let_others_act();
        if self.is_due(Trouble::Unchangeable) {
            return Swap::Failed;
        }
        if self.is_due(Trouble::Overtaken) {
            return Swap::Changed;
        }
        self.memory.swap_cell(cell, value, version)
    }

    fn create_cell(&self, cell: CellName, value: &[u8]) -> Result<(), HostError> {
        self.memory.create_cell(cell, value)
    }

    fn wake(&self, stream: StreamId) -> Result<(), HostError> {
        if self.is_due(Trouble::NoWake) {
            return Err(HostError {
                call: "a wake",
                status: 2,
            });
        }
        self.woken.borrow_mut().push_back(stream);
        Ok(())
    }

    fn bell(&self) -> Option<Bell> {
        self.memory.bell()
    }

    fn ring(&self, bell: Bell, stream: StreamId) -> Result<(), HostError> {
        self.memory.ring(bell, stream)
    }

    fn call(&self, callout: &Callout<'_>) -> Result<CalloutId, HostError> {
        if self.is_due(Trouble::NoCallout) {
            return Err(HostError {
                call: "a callout",
                status: 2,
            });
        }
        self.memory.call(callout)
    }

    fn answer_header(&self, name: &str) -> Option<Vec<u8>> {
        self.memory.answer_header(name)
    }

    fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Option<MetricId> {
        self.memory.counter(name, labels)
    }

    fn histogram(&self, name: &str) -> Option<MetricId> {
        self.memory.histogram(name)
    }

    fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Option<MetricId> {
        self.memory.gauge(name, labels)
    }

    fn increment(&self, counter: MetricId) {
        self.memory.increment(counter);
    }

    fn record(&self, metric: MetricId, value: u64) {
        self.memory.record(metric, value);
    }
}
