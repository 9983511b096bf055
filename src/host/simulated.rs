//! A host in plain memory: for tests of races and faults that a real one cannot be made to show, for properties,
//! and for benchmarks. A [`Process`] is what all workers share; each worker is a [`SimulatedHost`] over it.

mod callouts;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::metrics::named;
use super::{
    Callout, CalloutId, CellName, HeaderBlock, Host, HostError, LocalReply, MetricId, StreamId,
    StreamIo, Swap, Timestamp, Version,
};

use callouts::Callouts;
pub use callouts::{SentCallout, SentRequest};

type Cells = HashMap<CellName, (Vec<u8>, Version)>;

/// What the workers of one process share: cells, and a clock that only moves when told to, or one that runs.
#[derive(Debug, Clone)]
pub struct Process {
    cells: Arc<Mutex<Cells>>,
    clock: Arc<AtomicU64>,
    /// Since when the clock runs by itself.
    runs: Option<Instant>,
}

/// What a worker does with a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It reads it.
    Read,
    /// It changes it.
    Swap,
}

/// What became of a simulated stream.
#[derive(Clone, Default)]
pub struct SimulatedStream {
    /// The request's headers as they stand.
    pub request: Vec<(Vec<u8>, Vec<u8>)>,
    /// The request's trailers as they stand.
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The response's headers as they stand.
    pub response: Vec<(Vec<u8>, Vec<u8>)>,
    /// The filter's own answer.
    pub reply: Option<LocalReply>,
    /// A waiting request was let go on.
    pub resumed: bool,
    /// The stream was broken off.
    pub reset: bool,
}

/// Of headers the names only: a value may be a key.
impl fmt::Debug for SimulatedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedStream")
            .field("request", &HeaderBlock::from_pairs(&self.request))
            .field("trailers", &HeaderBlock::from_pairs(&self.trailers))
            .field("response", &HeaderBlock::from_pairs(&self.response))
            .field("reply", &self.reply)
            .field("resumed", &self.resumed)
            .field("reset", &self.reset)
            .finish()
    }
}

type Streams = Rc<RefCell<HashMap<StreamId, SimulatedStream>>>;

/// A stream of a simulated host, as it is lent to the filter.
#[derive(Debug, Clone)]
pub struct SimulatedIo {
    id: StreamId,
    streams: Streams,
    address: Vec<u8>,
    unreadable: bool,
}

impl SimulatedIo {
    fn with<T: Default>(&self, f: impl FnOnce(&mut SimulatedStream) -> T) -> T {
        let mut streams = self.streams.borrow_mut();
        streams.get_mut(&self.id).map(f).unwrap_or_default()
    }
}

/// One worker.
#[derive(Default)]
pub struct SimulatedHost {
    process: Process,
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

impl Default for Process {
    /// A process whose clock stands in November 2023.
    fn default() -> Self {
        Self {
            cells: Arc::default(),
            clock: Arc::new(AtomicU64::new(1_700_000_000_000_000_000)),
            runs: None,
        }
    }
}

impl Process {
    /// A process whose clock runs.
    #[must_use]
    pub fn running() -> Self {
        Self {
            runs: Some(Instant::now()),
            ..Self::default()
        }
    }

    /// The time by the process's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let time = Timestamp(self.clock.load(Ordering::SeqCst));
        self.runs.map_or(time, |since| time.after(since.elapsed()))
    }

    /// Sets the clock back.
    pub fn set_back(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.clock.fetch_sub(nanoseconds, Ordering::SeqCst);
    }

    /// Moves the clock on.
    pub fn pass(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.clock.fetch_add(nanoseconds, Ordering::SeqCst);
    }

    /// The number of cells, and the bytes of all their values.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let cells = self.cells();
        (
            cells.len(),
            cells.values().map(|(value, _)| value.len()).sum(),
        )
    }

    /// A worker of this process.
    #[must_use]
    pub fn worker(&self) -> SimulatedHost {
        SimulatedHost {
            process: self.clone(),
            address: RefCell::new(b"192.0.2.1:40000".to_vec()),
            ..SimulatedHost::default()
        }
    }

    fn cells(&self) -> std::sync::MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SimulatedHost {
    /// A stream, as it is lent to the filter in one of its callbacks.
    #[must_use]
    pub fn io(&self, id: StreamId) -> SimulatedIo {
        SimulatedIo {
            id,
            streams: Rc::clone(&self.streams),
            address: self.address.borrow().clone(),
            unreadable: self.unreadable.get(),
        }
    }

    /// Begins a stream with these request headers.
    pub fn begin(&self, id: StreamId, headers: &[(&str, &str)]) {
        let stream = SimulatedStream {
            request: owned(headers),
            ..SimulatedStream::default()
        };
        self.streams.borrow_mut().insert(id, stream);
    }

    /// Ends the stream's request with trailers.
    pub fn trail(&self, id: StreamId, trailers: &[(&str, &str)]) {
        self.io(id).with(|stream| stream.trailers = owned(trailers));
    }

    /// Gives the stream a response.
    pub fn respond(&self, id: StreamId, headers: &[(&str, &str)]) {
        self.io(id).with(|stream| stream.response = owned(headers));
    }

    /// Ends a stream: nothing can be done with it any more.
    pub fn end(&self, id: StreamId) {
        self.streams.borrow_mut().remove(&id);
    }

    /// What became of a stream so far.
    #[must_use]
    pub fn stream(&self, id: StreamId) -> SimulatedStream {
        self.streams.borrow().get(&id).cloned().unwrap_or_default()
    }

    /// The streams that were promised an event since this was last asked.
    pub fn woken(&self) -> Vec<StreamId> {
        self.woken.take()
    }

    /// The callouts sent since this was last asked.
    pub fn sent_callouts(&self) -> Vec<SentCallout> {
        self.callouts.take()
    }

    /// A counter's value, or the number of a histogram's records.
    #[must_use]
    pub fn metric(&self, name: &str) -> u64 {
        let metrics = self.metrics.borrow();
        metrics
            .iter()
            .find(|(other, _)| other == name)
            .map_or(0, |(_, value)| *value)
    }

    /// The address that callers come from, from now on.
    pub fn call_from(&self, address: &str) {
        self.address.replace(address.as_bytes().to_vec());
    }

    /// From now on no callout can be sent.
    pub fn refuse_callouts(&self) {
        self.refuse_callouts_if(|_| true);
    }

    /// From now on those callouts cannot be sent of which `refuses` says so.
    pub fn refuse_callouts_if(&self, refuses: impl FnMut(&Callout<'_>) -> bool + 'static) {
        self.callouts.refuse(refuses);
    }

    /// The next streams are given no event of their own, so many of them.
    pub fn refuse_wakes(&self, number: usize) {
        self.unwakeable.set(number);
    }

    /// From now on no headers of a request can be read.
    pub fn refuse_request_headers(&self) {
        self.unreadable.set(true);
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

fn owned(headers: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect()
}

fn replace(headers: &mut Vec<(Vec<u8>, Vec<u8>)>, name: &[u8], value: &[u8]) {
    match headers.iter().position(|(other, _)| other == name) {
        Some(first) => {
            let mut index = 0;
            headers.retain(|(other, _)| {
                index += 1;
                other != name || index - 1 == first
            });
            if let Some((_, old)) = headers.get_mut(first) {
                *old = value.to_vec();
            }
        }
        None => headers.push((name.to_vec(), value.to_vec())),
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
        Ok(self.process.cells().get(&cell).cloned())
    }

    fn swap_cell(&self, cell: CellName, value: &[u8], version: Version) -> Swap {
        if let Some(interfere) = self.before_swap.borrow_mut().as_mut() {
            interfere(cell);
        }
        if self.is_refused(Access::Swap, cell) {
            return Swap::Failed;
        }
        let mut cells = self.process.cells();
        match cells.get_mut(&cell) {
            Some((old, current)) if *current == version => {
                *old = value.to_vec();
                current.0 += 1;
                Swap::Done
            }
            Some(_) => Swap::Changed,
            None => Swap::Failed,
        }
    }

    fn create_cell(&self, cell: CellName, value: &[u8]) -> Result<(), HostError> {
        self.process
            .cells()
            .insert(cell, (value.to_vec(), Version(1)));
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

    fn call(&self, callout: &Callout<'_>) -> Result<CalloutId, HostError> {
        self.callouts.send(callout)
    }

    fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Option<MetricId> {
        Some(self.metric_id(&named(name, labels)))
    }

    fn histogram(&self, name: &str) -> Option<MetricId> {
        Some(self.metric_id(name))
    }

    fn increment(&self, counter: MetricId) {
        self.count(counter);
    }

    fn record(&self, histogram: MetricId, _value: u64) {
        self.count(histogram);
    }
}

impl StreamIo for SimulatedIo {
    fn request_headers(&self) -> Result<HeaderBlock, HostError> {
        if self.unreadable {
            return Err(HostError {
                call: "the headers",
                status: 2,
            });
        }
        Ok(self.with(|stream| HeaderBlock::from_pairs(&stream.request)))
    }

    fn set_request_header(&self, name: &str, value: &[u8]) {
        self.with(|stream| replace(&mut stream.request, name.as_bytes(), value));
    }

    fn remove_request_header(&self, name: &[u8]) {
        self.with(|stream| stream.request.retain(|(other, _)| other != name));
    }

    fn request_trailers(&self) -> Result<HeaderBlock, HostError> {
        Ok(self.with(|stream| HeaderBlock::from_pairs(&stream.trailers)))
    }

    fn set_request_trailer(&self, name: &str, value: &[u8]) {
        self.with(|stream| replace(&mut stream.trailers, name.as_bytes(), value));
    }

    fn remove_request_trailer(&self, name: &[u8]) {
        self.with(|stream| stream.trailers.retain(|(other, _)| other != name));
    }

    fn response_headers(&self) -> Result<HeaderBlock, HostError> {
        Ok(self.with(|stream| HeaderBlock::from_pairs(&stream.response)))
    }

    fn set_response_header(&self, name: &str, value: &[u8]) {
        self.with(|stream| replace(&mut stream.response, name.as_bytes(), value));
    }

    fn caller_address(&self) -> Option<Vec<u8>> {
        Some(self.address.clone())
    }

    fn reply(&self, reply: &LocalReply) {
        self.with(|stream| stream.reply = Some(reply.clone()));
    }

    fn resume(&self) {
        self.with(|stream| stream.resumed = true);
    }

    fn reset(&self) {
        self.with(|stream| stream.reset = true);
    }
}
