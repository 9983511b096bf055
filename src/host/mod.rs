//! What the filter asks of its host: of the process a clock, chance, shared cells, callouts and counters ([`Host`]), and of
//! each stream its headers and what is to become of it ([`StreamIo`]).
//!
//! Two hosts stand behind this door: `envoy`, raw hostcalls of proxy-wasm (built for wasm32 only), and
//! [`simulated`], plain memory for tests, properties and benchmarks. Header values and bodies are bytes, as they
//! come from outside; every call that can fail says so.
//!
//! | file | what it says |
//! |---|---|
//! | `headers.rs` | how headers are read as bytes; what must not be shown (`Sensitive`) |
//! | `time.rs` | moments, and seconds rounded up |
//! | `throttle.rs` | how often a line may be logged |
//! | `callout.rs` | what is sent by HTTP or gRPC, and what comes back |
//! | `flags.rs` | by which of its flags Envoy says that an agent was not reached |
//! | `grpc_service.rs` | how Envoy is told a gRPC callout's cluster |
//! | `metrics.rs` | labels in the names of metrics |
//! | `envoy/` | Envoy's hostcalls, its streams and callouts, and how streams are woken |
//! | `simulated.rs`, `simulated/` | the host of the tests |

mod callout;
#[cfg(target_arch = "wasm32")]
pub mod envoy;
#[cfg(any(target_arch = "wasm32", test))]
mod flags;
#[cfg(any(target_arch = "wasm32", test))]
mod grpc_service;
mod headers;
mod metrics;
#[cfg(not(target_arch = "wasm32"))]
pub mod simulated;
mod throttle;
mod time;

use std::fmt;

pub use callout::{Callout, CalloutAnswer, CalloutId, CalloutRequest, STATUS_TEXT_BYTES};
pub use headers::{HeaderBlock, HeaderBlockError, Sensitive, encode};
pub use throttle::Throttle;
pub use time::{Timestamp, seconds_up};

/// What the filter asks of its host that belongs to the process and not to a stream.
///
/// # What a host promises
/// The gateway relies on this; another host must keep to it.
///
/// - **It never calls back during a call.** While the gateway is in a callback, the host does not call it again, whatever
///   was asked for: an answer that is there at once, the end of a stream that was reset, an event by [`Self::wake`] come in
///   a later callback. A gateway belongs to one thread.
/// - **Each stream has its order.** Its request's headers come first and its end comes last; no callback of it follows, but
///   for its end once more. The host lends [`Self::Stream`] in the stream's own callbacks only, and whatever happens to a
///   stream is asked for there.
/// - **Answers go to the gateway**, in any order, each with its [`CalloutId`] and at most once. An answer may get lost, for
///   example where the host gives it to the stream that was at hand, and that stream is gone: the gateway gives up by its own
///   clock. Callouts under way are lost with the gateway. An answer to a callout that was refused, or that nobody sent, does
///   no harm.
/// - **What fails says so.** The gateway waits for an answer or an event only after an `Ok`.
pub trait Host: 'static {
    /// How a stream is reached.
    type Stream: StreamIo;

    /// The time now.
    fn now(&self) -> Timestamp;

    /// A random number, good enough to share load by, not for secrets.
    fn random(&self) -> u64;

    /// Bytes from the system's random source, for the seeds of hashes.
    ///
    /// # Errors
    /// When the source has none to give.
    fn seed(&self) -> Result<[u8; 16], HostError>;

    /// Reads a cell of the memory that all workers share. `None`: it was never created.
    ///
    /// # Errors
    /// When the host does not give it.
    fn read_cell(&self, cell: CellName) -> Result<Option<(Vec<u8>, Version)>, HostError>;

    /// Replaces a cell's value, if its version is still `version`.
    fn swap_cell(&self, cell: CellName, value: &[u8], version: Version) -> Swap;

    /// Creates a cell, or replaces its value whatever it is. Only while the filter is being configured: workers
    /// that create the same cell at once overwrite each other.
    ///
    /// # Errors
    /// When the host refuses.
    fn create_cell(&self, cell: CellName, value: &[u8]) -> Result<(), HostError>;

    /// Asks for a callback of the stream's own, in which it alone is answered, resumed or reset. It comes soon, from
    /// the host's event loop, and never on top of a callback that is under way: what a host does in return for an
    /// answer runs the stream's next callbacks at once, and hundreds of these on top of each other overflow the stack.
    /// A stream that has ended meanwhile gets none; one that was woken twice may get one or two.
    ///
    /// # Errors
    /// When the host has no such event to give.
    fn wake(&self, stream: StreamId) -> Result<(), HostError>;

    /// By which other workers wake this gateway's streams. `None`: they cannot.
    fn bell(&self) -> Option<Bell>;

    /// Wakes a stream of the gateway that has this bell, as by [`Self::wake`], in whichever worker that is. If it is gone,
    /// nothing happens.
    ///
    /// # Errors
    /// When the host has no such event to give.
    fn ring(&self, bell: Bell, stream: StreamId) -> Result<(), HostError>;

    /// Sends a request of the filter's own. The answer comes in a later callback, whatever stream is at hand when it is
    /// sent, or none.
    ///
    /// # Errors
    /// When it cannot be sent: no such cluster, none of its hosts is there, or too many are under way.
    fn call(&self, callout: &Callout<'_>) -> Result<CalloutId, HostError>;

    /// The first value of a header of the answer to a callout by HTTP. Only while that is handed over.
    fn answer_header(&self, name: &str) -> Option<Vec<u8>>;

    /// Finds or defines a counter. Names and values of labels hold no `;` or `=`.
    fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Option<MetricId>;

    /// Finds or defines a histogram.
    fn histogram(&self, name: &str) -> Option<MetricId>;

    /// Finds or defines a gauge. Names and values of labels hold no `;` or `=`.
    fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Option<MetricId>;

    /// Adds one to a counter.
    fn increment(&self, counter: MetricId);

    /// Records a value in a histogram, or sets a gauge.
    fn record(&self, metric: MetricId, value: u64);
}

/// What the filter asks of its host about one stream.
///
/// The host lends it for the time of one of that stream's own callbacks, in which alone a stream can be reached; nothing
/// keeps it for longer. What the host cannot do any more, such as a change of headers that have gone on, changes nothing. After
/// [`Self::reply`] or [`Self::reset`] the gateway asks no more of a stream but its end.
pub trait StreamIo: Clone + 'static {
    /// All headers of the request, in one pass.
    ///
    /// # Errors
    /// When the host does not give them.
    fn request_headers(&self) -> Result<HeaderBlock, HostError>;

    /// Puts one value in place of all that the request's header has.
    fn set_request_header(&self, name: &str, value: &[u8]);

    /// Puts a value beside those that the request's header has.
    fn add_request_header(&self, name: &str, value: &[u8]);

    /// Removes the request's header, all its values.
    fn remove_request_header(&self, name: &[u8]);

    /// The bytes of the request's body from `start` on, `most` at most. Only while a piece of it arrives, and only of what
    /// is at hand then: the new piece, or all that was collected.
    ///
    /// # Errors
    /// When the host does not give them.
    fn request_body(&self, start: usize, most: usize) -> Result<Vec<u8>, HostError>;

    /// Puts these bytes in place of the first `most` of those at hand, of which there are at least so many. Where
    /// [`Self::request_body`] may be asked; and while all that came is collected, at any time.
    ///
    /// # Errors
    /// When the host does not take them.
    fn replace_request_body(&self, most: usize, bytes: &[u8]) -> Result<(), HostError>;

    /// All trailers of the request, in one pass. Only while they arrive.
    ///
    /// # Errors
    /// When the host does not give them.
    fn request_trailers(&self) -> Result<HeaderBlock, HostError>;

    /// Puts one value in place of all that the request's trailer has.
    fn set_request_trailer(&self, name: &str, value: &[u8]);

    /// Removes the request's trailer, all its values.
    fn remove_request_trailer(&self, name: &[u8]);

    /// The answer that has arrived, if the host gives it itself in the agent's place. Only at its headers.
    fn own_answer(&self) -> Option<OwnAnswer>;

    /// How an attempt at the agent has ended, on the agent's side and only at its end; `sent`: all of the request was handed over.
    fn attempt_end(&self, sent: bool) -> AttemptEnd;

    /// Whether the agent has broken off the answer whose headers have arrived. Only when the stream is over, before it is logged.
    fn has_broken_off(&self) -> bool;

    /// The address of the host that has answered, with its port. From the answer's headers on; `None`: it was no such host.
    fn agent_address(&self) -> Option<Vec<u8>>;

    /// The bytes of the response's body from `start` on, `most` at most. Only while a piece of it passes, and only of that.
    ///
    /// # Errors
    /// When the host does not give them.
    fn response_body(&self, start: usize, most: usize) -> Result<Vec<u8>, HostError>;

    /// The cluster at which the request was tried last, once the answer's headers have arrived or the stream is over.
    fn upstream_cluster(&self) -> Option<Vec<u8>>;

    /// How often the request was tried by then.
    fn attempts(&self) -> Option<u64>;

    /// The first value of the response's header.
    fn response_header(&self, name: &str) -> Option<Vec<u8>>;

    /// All headers of the response.
    ///
    /// # Errors
    /// When the host does not give them.
    fn response_headers(&self) -> Result<HeaderBlock, HostError>;

    /// Puts one value in place of all that the response's header has.
    fn set_response_header(&self, name: &str, value: &[u8]);

    /// Puts a value beside those that the response's header has.
    fn add_response_header(&self, name: &str, value: &[u8]);

    /// Removes the response's header, all its values.
    fn remove_response_header(&self, name: &str);

    /// The first value of the response's trailer. Only while they arrive.
    fn response_trailer(&self, name: &str) -> Option<Vec<u8>>;

    /// Removes the response's trailer, all its values. Only while they arrive.
    fn remove_response_trailer(&self, name: &str);

    /// Takes out what is at hand of the response's body, which are so many bytes. Only while a piece of it arrives.
    ///
    /// # Errors
    /// When the host does not give them.
    fn take_response_body(&self, size: usize) -> Result<Vec<u8>, HostError>;

    /// Puts these bytes where all that was at hand of the response's body was taken out. In the same callback.
    ///
    /// # Errors
    /// When the host does not take them.
    fn put_response_body(&self, bytes: &[u8]) -> Result<(), HostError>;

    /// Notes something for the access log, which nobody else is told. A name is written again over what it was.
    fn note(&self, name: &str, value: &[u8]);

    /// What was noted under this name.
    fn noted(&self, name: &str) -> Option<Vec<u8>>;

    /// The address of the caller with its port, as the host's listener understands it (trusted proxies regarded).
    fn caller_address(&self) -> Option<Vec<u8>>;

    /// Answers the request here. Nothing goes on to an agent.
    fn reply(&self, reply: &LocalReply);

    /// Lets a request that was waiting go on.
    fn resume(&self);

    /// Ends the stream at once; both peers see it broken off.
    fn reset(&self);
}

/// The name of a shared cell: the layout of what it holds, a table's letter and the cell's number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellName {
    /// Cells of another layout bear other names: nobody reads what it does not understand.
    pub layout: u8,
    /// The table's letter.
    pub table: u8,
    /// The cell's number in the table.
    pub number: u32,
}

/// Which value of a cell was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub u32);

/// What became of a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// The cell holds the new value.
    Done,
    /// Another worker was faster: read again.
    Changed,
    /// The host refuses.
    Failed,
}

/// A stream's handle: one request and its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// By which a gateway's streams are woken from elsewhere in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bell(pub u32);

/// The handle of a counter, a histogram or a gauge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MetricId(pub u32);

/// An answer that the host gives itself, since the agent gives none: what Envoy calls a local reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnAnswer {
    /// HTTP's status, also where the caller speaks gRPC and is sent another.
    pub status: u16,
    /// No host of the agent is known, healthy or free, or the connection to it failed; or the gateway lacks its credential.
    pub unreached: bool,
    /// The agent asks for a credential of the caller's own, and none came.
    pub asks_credential: bool,
    /// What was wrong with the agent. `None`: nothing, as far as is known.
    pub fault: Option<AgentFault>,
}

/// What was wrong with an agent in whose place the host answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentFault {
    /// It has no host that is healthy, so that nobody was asked. Not said of a second attempt.
    NoHost,
    /// There was no connection to it.
    Unconnected,
    /// It has broken off, has not answered in time, or not in a way that is understood.
    Broken,
}

/// How an attempt at an agent has ended that was not answered, or not to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// By the caller or by the gateway.
    Left,
    /// There was no connection to the agent.
    Unconnected,
    /// There was none by then: none could be made in time, or there was no room for one more request.
    Waited,
    /// By the agent, or because that has taken too long.
    Broken,
}

/// A finished answer of the filter itself.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalReply {
    /// HTTP's status.
    pub status: u16,
    /// gRPC's status, for callers that speak gRPC.
    pub grpc_status: Option<u8>,
    /// Headers beside the status.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// What the access log shall call it; no spaces.
    pub details: String,
}

/// What it holds may be a key, or repeat one: it shows none of it.
impl fmt::Debug for LocalReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalReply")
            .field("status", &self.status)
            .field("grpc_status", &self.grpc_status)
            .field("details", &self.details)
            .finish_non_exhaustive()
    }
}

/// The host could not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostError {
    /// What was asked.
    pub call: &'static str,
    /// The host's own number for what went wrong.
    pub status: u32,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the host refused {} (status {})", self.call, self.status)
    }
}

impl std::error::Error for HostError {}
