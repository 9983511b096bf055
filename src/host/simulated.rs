//! A host in plain memory: for tests of races and faults that a real one cannot be made to show, for properties,
//! and for benchmarks. A [`Process`] is what all workers share; each worker is a [`SimulatedHost`] over it.

mod callouts;
mod process;
mod streams;

use std::cell::{Cell, RefCell};
use std::fmt;

use super::metrics::named;
use super::{
    Bell, Callout, CalloutId, CellName, Host, HostError, MetricId, StreamId, Swap, Timestamp,
    Version,
};

use callouts::Callouts;
use streams::Streams;

pub use callouts::{SentCallout, SentRequest};
pub use process::Process;
pub use streams::{SimulatedIo, SimulatedStream};

/// What a worker does with a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It reads it.
    Read,
    /// It changes it.
    Swap,
}

/// One worker.
#[derive(Default)]
pub struct SimulatedHost {
    process: Process,
    bell: u32,
    streams: Streams,
    woken: RefCell<Vec<StreamId>>,
    callouts: Callouts,
    metrics: RefCell<Vec<(String, u64)>>,
    address: RefCell<Vec<u8>>,
    random: Cell<u64>,
    unwakeable: Cell<usize>,
    unreadable: Cell<bool>,
    before_swap: RefCell<Option<Interference>>,
    refuses: RefCell<Option<Refusals>>,
    /// Nanoseconds by which this worker's clock is ahead of the process's.
    ahead: Cell<i64>,
}

type Interference = Box<dyn FnMut(CellName)>;
type Refusals = Box<dyn FnMut(Access, CellName) -> bool>;

impl fmt::Debug for SimulatedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedHost")
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

impl Process {
    /// A worker of this process.
    #[must_use]
    pub fn worker(&self) -> SimulatedHost {
        SimulatedHost {
            process: self.clone(),
            bell: self.next_bell(),
            address: RefCell::new(b"192.0.2.1:40000".to_vec()),
            ..SimulatedHost::default()
        }
    }
}

impl SimulatedHost {
    /// The streams that were promised an event since this was last asked, here or elsewhere.
    pub fn woken(&self) -> Vec<StreamId> {
        let mut woken = self.woken.take();
        woken.extend(self.process.rung(self.bell));
        woken
    }

    /// The callouts sent since this was last asked.
    pub fn sent_callouts(&self) -> Vec<SentCallout> {
        self.callouts.take()
    }

    /// A counter's value, or how often a histogram or gauge was written.
    #[must_use]
    pub fn metric(&self, name: &str) -> u64 {
        let metrics = self.metrics.borrow();
        metrics
            .iter()
            .find(|(other, _)| other == name)
            .map_or(0, |(_, value)| *value)
    }

    /// From now on no callout can be sent.
    pub fn refuse_callouts(&self) {
        self.refuse_callouts_if(|_| true);
    }

    /// The answers to callouts have this header from now on; `None`: they do not.
    pub fn answer_with(&self, header: Option<(&str, &str)>) {
        self.callouts.answer_with(header);
    }

    /// From now on those callouts cannot be sent of which `refuses` says so.
    pub fn refuse_callouts_if(&self, refuses: impl FnMut(&Callout<'_>) -> bool + 'static) {
        self.callouts.refuse(refuses);
    }

    /// The next streams are given no event of their own, so many of them.
    pub fn refuse_wakes(&self, number: usize) {
        self.unwakeable.set(number);
    }

    /// Calls `interfere` before each swap of a cell, as if another worker were at it just then.
    pub fn before_swap(&self, interfere: impl FnMut(CellName) + 'static) {
        self.before_swap.replace(Some(Box::new(interfere)));
    }

    /// From now on the host refuses what `refuses` says.
    pub fn refuse(&self, refuses: impl FnMut(Access, CellName) -> bool + 'static) {
        self.refuses.replace(Some(Box::new(refuses)));
    }

    /// From now on this worker's clock is ahead of the process's by so many nanoseconds; behind, if it is less than none.
    pub fn set_ahead(&self, nanoseconds: i64) {
        self.ahead.set(nanoseconds);
    }

    fn is_refused(&self, access: Access, cell: CellName) -> bool {
        let mut refuses = self.refuses.borrow_mut();
        refuses
            .as_mut()
            .is_some_and(|refuses| refuses(access, cell))
    }

    fn metric_id(&self, name: &str) -> MetricId {
        let mut metrics = self.metrics.borrow_mut();
        let index = metrics
            .iter()
            .position(|(other, _)| other == name)
            .unwrap_or_else(|| {
                metrics.push((name.to_owned(), 0));
                metrics.len() - 1
            });
        MetricId(u32::try_from(index).unwrap_or(u32::MAX))
    }

    fn count(&self, metric: MetricId) {
        let mut metrics = self.metrics.borrow_mut();
        if let Some((_, value)) = metrics.get_mut(metric.0 as usize) {
            *value += 1;
        }
    }
}

impl Host for SimulatedHost {
    type Stream = SimulatedIo;

    fn now(&self) -> Timestamp {
        let Timestamp(now) = self.process.now();
        Timestamp(now.saturating_add_signed(self.ahead.get()))
    }

    fn random(&self) -> u64 {
        // A Weyl sequence: evenly spread, and the same in each run.
        let next = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(next);
        next
    }

    fn seed(&self) -> Result<[u8; 16], HostError> {
        Ok([7; 16])
    }

    fn read_cell(&self, cell: CellName) -> Result<Option<(Vec<u8>, Version)>, HostError> {
        if self.is_refused(Access::Read, cell) {
            return Err(HostError {
                call: "shared data",
                status: 10,
            });
        }
        Ok(self.process.read(cell))
    }

    fn swap_cell(&self, cell: CellName, value: &[u8], version: Version) -> Swap {
        if let Some(interfere) = self.before_swap.borrow_mut().as_mut() {
            interfere(cell);
        }
        if self.is_refused(Access::Swap, cell) {
            return Swap::Failed;
        }
        self.process.swap(cell, value, version)
    }

    fn create_cell(&self, cell: CellName, value: &[u8]) -> Result<(), HostError> {
        self.process.create(cell, value);
        Ok(())
    }

    fn wake(&self, stream: StreamId) -> Result<(), HostError> {
        if let Some(left) = self.unwakeable.get().checked_sub(1) {
            self.unwakeable.set(left);
            return Err(HostError {
                call: "a wake",
                status: 2,
            });
        }
        self.woken.borrow_mut().push(stream);
        Ok(())
    }

    fn bell(&self) -> Option<Bell> {
        Some(Bell(self.bell))
    }

    fn ring(&self, bell: Bell, stream: StreamId) -> Result<(), HostError> {
        self.process.ring(bell, stream);
        Ok(())
    }

    fn call(&self, callout: &Callout<'_>) -> Result<CalloutId, HostError> {
        self.callouts.send(callout)
    }

    fn answer_header(&self, name: &str) -> Option<Vec<u8>> {
        self.callouts.header(name)
    }

    fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Option<MetricId> {
        Some(self.metric_id(&named(name, labels)))
    }

    fn histogram(&self, name: &str) -> Option<MetricId> {
        Some(self.metric_id(name))
    }

    fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Option<MetricId> {
        Some(self.metric_id(&named(name, labels)))
    }

    fn increment(&self, counter: MetricId) {
        self.count(counter);
    }

    fn record(&self, metric: MetricId, _value: u64) {
        self.count(metric);
    }
}
