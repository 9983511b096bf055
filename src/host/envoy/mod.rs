//! Envoy (or another proxy-wasm host) as the filter's host.

mod callouts;
mod hostcalls;
mod stream;
mod wakes;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use log::Level;
use proxy_wasm::types::{BufferType, LogLevel, MapType, MetricType, Status};

use super::metrics::named;
use super::{
    Bell, Callout, CalloutId, CellName, Host, HostError, MetricId, StreamId, Swap, Throttle,
    Timestamp, Version,
};
pub(crate) use stream::EnvoyStream;
pub(crate) use wakes::woken;

use wakes::Wakes;

/// Envoy, for a root context or for what needs none.
#[derive(Debug)]
pub(crate) struct Envoy {
    vm: Rc<Vm>,
    /// `None`: streams are not woken here.
    wakes: Option<Wakes>,
}

/// What all root contexts of a VM share.
#[derive(Debug)]
struct Vm {
    /// A metric is defined once, whatever the number of configurations that use it.
    metrics: RefCell<HashMap<String, MetricId>>,
    random: Cell<u64>,
    queues: Rc<wakes::Names>,
    log: Throttle,
}

impl Envoy {
    /// Envoy, with chance of its own for this VM.
    pub(crate) fn new() -> Self {
        let seed = || getrandom::u64().unwrap_or_default();
        Self {
            vm: Rc::new(Vm {
                metrics: RefCell::default(),
                random: Cell::new(seed()),
                queues: wakes::Names::new(seed()),
                log: Throttle::default(),
            }),
            wakes: None,
        }
    }

    /// Envoy for the streams of the root context that is at hand.
    ///
    /// # Errors
    /// When Envoy gives no queue to wake streams by.
    pub(crate) fn for_root(&self) -> Result<Self, HostError> {
        Ok(Self {
            vm: Rc::clone(&self.vm),
            wakes: Some(Wakes::register(&self.vm.queues)?),
        })
    }

    /// Envoy for streams that never wait.
    pub(crate) fn without_wakes(&self) -> Self {
        Self {
            vm: Rc::clone(&self.vm),
            wakes: None,
        }
    }

    /// The stream whose own callback is under way.
    pub(crate) fn stream_at_hand(&self) -> EnvoyStream {
        EnvoyStream {
            vm: Rc::clone(&self.vm),
        }
    }

    /// A stream whose turn has come, in an event that is its own but not by name. `None`: it is gone.
    pub(crate) fn stream(&self, id: StreamId) -> Option<EnvoyStream> {
        hostcalls::set_effective_context(id.0).ok()?;
        Some(self.stream_at_hand())
    }

    /// The least severe messages that Envoy's log takes.
    pub(crate) fn log_level(&self) -> LogLevel {
        hostcalls::log_level().unwrap_or(LogLevel::Info)
    }

    /// The configuration as the plugin was given it.
    pub(crate) fn configuration(&self, size: usize) -> Vec<u8> {
        let bytes = hostcalls::buffer(BufferType::PluginConfiguration, size);
        bytes.unwrap_or_else(|error| {
            log::error!("configuration: {error}");
            Vec::new()
        })
    }

    /// Has `on_tick` called once a second.
    pub(crate) fn tick_each_second(&self) {
        self.vm.tell(hostcalls::set_tick_period(1000));
    }

    fn metric(&self, kind: MetricType, name: &str) -> Option<MetricId> {
        if let Some(id) = self.vm.metrics.borrow().get(name) {
            return Some(*id);
        }
        let id = hostcalls::define_metric(kind, name).map(MetricId);
        if let Err(error) = id {
            self.vm.complain("metric", format_args!("{name}: {error}"));
        }
        let id = id.ok()?;
        self.vm.metrics.borrow_mut().insert(name.to_owned(), id);
        Some(id)
    }
}

impl Vm {
    /// A refused hostcall changes nothing about a request that was decided on; the log tells of it.
    fn tell(&self, result: Result<(), HostError>) {
        if let Err(error) = result {
            self.complain(error.call, format_args!("{error}"));
        }
    }

    #[cold]
    fn complain(&self, kind: &'static str, line: fmt::Arguments<'_>) {
        self.log.log(Level::Warn, kind, now(), line);
    }
}

/// The time now. A host without a clock would be no host; at the beginning of time all limits still hold.
fn now() -> Timestamp {
    Timestamp(hostcalls::current_time().unwrap_or(0))
}

impl Host for Envoy {
    type Stream = EnvoyStream;

    fn now(&self) -> Timestamp {
        now()
    }

    fn random(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014): one draw of the system's randomness for each VM, then arithmetic.
        let state = self.vm.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.vm.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn seed(&self) -> Result<[u8; 16], HostError> {
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).map_err(|_| HostError {
            call: "randomness",
            status: Status::InternalFailure as u32,
        })?;
        Ok(seed)
    }

    fn read_cell(&self, cell: CellName) -> Result<Option<(Vec<u8>, Version)>, HostError> {
        match hostcalls::shared_data(&key(cell)) {
            Ok((value, version)) => Ok(Some((value, Version(version)))),
            Err(HostError { status, .. }) if status == Status::NotFound as u32 => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn swap_cell(&self, cell: CellName, value: &[u8], version: Version) -> Swap {
        // To the host, version 0 means to write whatever is there.
        if version == Version(0) {
            return Swap::Failed;
        }
        match hostcalls::set_shared_data(&key(cell), value, version.0) {
            Ok(()) => Swap::Done,
            Err(HostError { status, .. }) if status == Status::CasMismatch as u32 => Swap::Changed,
            Err(_) => Swap::Failed,
        }
    }

    fn create_cell(&self, cell: CellName, value: &[u8]) -> Result<(), HostError> {
        hostcalls::set_shared_data(&key(cell), value, 0)
    }

    fn wake(&self, stream: StreamId) -> Result<(), HostError> {
        let nobody = HostError {
            call: "to wake a stream",
            status: Status::BadArgument as u32,
        };
        self.wakes.as_ref().ok_or(nobody)?.wake(stream)
    }

    fn bell(&self) -> Option<Bell> {
        self.wakes.as_ref().map(Wakes::bell)
    }

    fn ring(&self, bell: Bell, stream: StreamId) -> Result<(), HostError> {
        wakes::ring(bell, stream)
    }

    fn call(&self, callout: &Callout<'_>) -> Result<CalloutId, HostError> {
        callouts::send(callout)
    }

    fn answer_header(&self, name: &str) -> Option<Vec<u8>> {
        hostcalls::header(MapType::HttpCallResponseHeaders, name.as_bytes()).ok()
    }

    fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Option<MetricId> {
        self.metric(MetricType::Counter, &named(name, labels))
    }

    fn histogram(&self, name: &str) -> Option<MetricId> {
        self.metric(MetricType::Histogram, name)
    }

    fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Option<MetricId> {
        self.metric(MetricType::Gauge, &named(name, labels))
    }

    fn increment(&self, counter: MetricId) {
        self.vm.tell(hostcalls::increment_metric(counter.0));
    }

    fn record(&self, metric: MetricId, value: u64) {
        self.vm.tell(hostcalls::record_metric(metric.0, value));
    }
}

/// The name of a cell in shared data, which other filters of the same VM id may use too.
fn key(cell: CellName) -> [u8; 15] {
    let mut key = *b"waykeeper??????";
    let (_, place) = key.split_at_mut(9);
    let [a, b, c, d] = cell.number.to_le_bytes();
    place.copy_from_slice(&[cell.layout, cell.table, a, b, c, d]);
    key
}
