//! Envoy's callbacks, and nothing else: each is handed on to the gateway of its configuration.
//!
//! The entry points are our own; the crate's dispatcher of the same names is left out when the module is linked (see
//! `build.rs`). So every callout belongs to the gateway and not to the stream that happened to make it, an unknown
//! context is no panic, and a request that waits can be held with its body stopped at the sender.

mod entry;
mod missed;
#[cfg(feature = "probe")]
mod probe;
mod version;

use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::VERSION;
use crate::config::{self, Loaded};
use crate::host::envoy::{Envoy, EnvoyStream, woken};
use crate::host::{CalloutAnswer, CalloutId, StreamId, StreamIo};
use crate::lifecycle::{Attempts, Flow, Gateway, MAX_ANSWER_BYTES};
use crate::memory::Memory;
use crate::reply::{Refusal, ReplyTo, local_reply};

#[global_allocator]
static MEMORY: Memory = Memory::new();

/// What lives in one VM: a gateway for each configuration that is in use. A new configuration comes as a new root
/// context in the same VM, while streams of the old one still run.
struct Vm {
    host: Envoy,
    gateways: FxHashMap<u32, Gateway<Envoy>>,
    /// What judges attempts, by root contexts of the agents' side.
    attempts: FxHashMap<u32, Attempts<Envoy>>,
    /// The root context of each stream.
    roots: FxHashMap<u32, u32>,
    #[cfg(feature = "probe")]
    probe: probe::Probe,
}

impl Vm {
    fn new() -> Self {
        let host = Envoy::new();
        proxy_wasm::set_log_level(host.log_level());
        log::info!("Waykeeper {VERSION}");
        Self {
            host,
            gateways: FxHashMap::default(),
            attempts: FxHashMap::default(),
            roots: FxHashMap::default(),
            #[cfg(feature = "probe")]
            probe: probe::Probe::default(),
        }
    }

    fn on_context_create(&mut self, context: u32, root: u32) {
        if root != 0 {
            self.roots.insert(context, root);
        }
    }

    fn on_configure(&mut self, root: u32, size: usize) -> bool {
        let bytes = self.host.configuration(size);
        // Of Envoy's environment that is what the plugin's configuration shows.
        let environment = |name: &str| std::env::var(name).ok();
        let policy = match config::load_any(&bytes, &environment) {
            Ok(Loaded::Gateway(policy)) => *policy,
            Ok(Loaded::Attempts(policy)) => {
                let host = Rc::new(self.host.without_wakes());
                self.attempts.insert(root, Attempts::new(host, *policy));
                missed::is_of_attempts(root);
                return true;
            }
            Err(faults) => {
                for fault in faults.to_string().lines() {
                    log::error!("configuration refused: {fault}");
                }
                return false;
            }
        };
        let host = match self.host.for_root() {
            Ok(host) => host,
            Err(error) => {
                log::error!("streams could not be woken: {error}");
                return false;
            }
        };
        match Gateway::new(Rc::new(host), policy) {
            Ok((gateway, notice)) => {
                if let Some(notice) = notice {
                    log::warn!("{notice}");
                }
                if gateway.needs_ticks() {
                    self.host.tick_each_second();
                }
                self.gateways.insert(root, gateway);
                true
            }
            Err(error) => {
                log::error!("the shared tables cannot be opened: {error}");
                false
            }
        }
    }

    /// The gateway of a stream's configuration.
    fn gateway(&mut self, stream: u32) -> Option<&mut Gateway<Envoy>> {
        self.gateways.get_mut(self.roots.get(&stream)?)
    }

    /// What judges a stream that is an attempt at an agent.
    fn attempts_of(&mut self, stream: u32) -> Option<&mut Attempts<Envoy>> {
        self.attempts.get_mut(self.roots.get(&stream)?)
    }

    /// Has it do something about the attempt whose own callback this is.
    #[inline(never)]
    fn at_attempt(
        &mut self,
        stream: u32,
        f: impl FnOnce(&mut Attempts<Envoy>, StreamId, &EnvoyStream),
    ) {
        let io = self.host.stream_at_hand();
        if let Some(attempts) = self.attempts_of(stream) {
            f(attempts, StreamId(stream), &io);
        }
    }

    /// Has the gateway do something about the stream whose own callback this is.
    fn at_stream<T>(
        &mut self,
        stream: u32,
        f: impl FnOnce(&mut Gateway<Envoy>, StreamId, &EnvoyStream) -> T,
    ) -> Option<T> {
        let io = self.host.stream_at_hand();
        let gateway = self.gateway(stream)?;
        Some(f(gateway, StreamId(stream), &io))
    }

    fn on_request_headers(&mut self, stream: u32, end_of_stream: bool) -> Flow {
        let io = self.host.stream_at_hand();
        #[cfg(feature = "probe")]
        if let Some(root) = self.roots.get(&stream)
            && let Some(flow) =
                self.probe
                    .on_request_headers(&self.host, *root, StreamId(stream), &io)
        {
            return flow;
        }
        if let Some(gateway) = self.gateway(stream) {
            return gateway.on_request_headers(StreamId(stream), &io, end_of_stream);
        }
        if let Some(attempts) = self.attempts_of(stream) {
            attempts.on_request_headers(StreamId(stream), &io, end_of_stream);
            return Flow::Continue;
        }
        // The root context was never configured: nobody gets in that way.
        let refusal = Refusal::GatewayUnavailable;
        io.reply(&local_reply(&refusal, ReplyTo::default(), Vec::new()));
        Flow::Hold
    }

    fn on_request_body(&mut self, stream: u32, size: usize, end_of_stream: bool) -> Flow {
        #[cfg(feature = "probe")]
        if let Some(flow) = self.probe.on_request_body(
            StreamId(stream),
            &self.host.stream_at_hand(),
            size,
            end_of_stream,
        ) {
            return flow;
        }
        let arrived = self.at_stream(stream, |gateway, id, io| {
            gateway.on_request_body(id, io, size, end_of_stream)
        });
        arrived.unwrap_or_else(|| self.pass(stream, end_of_stream))
    }

    fn on_request_trailers(&mut self, stream: u32) -> Flow {
        let arrived = self.at_stream(stream, Gateway::on_request_trailers);
        arrived.unwrap_or_else(|| self.pass(stream, true))
    }

    /// A part of an attempt's request passes; `end`: the last. Nothing else does that no gateway knows.
    fn pass(&mut self, stream: u32, end: bool) -> Flow {
        match self.attempts_of(stream) {
            Some(attempts) => {
                if end {
                    attempts.on_request_end(StreamId(stream));
                }
                Flow::Continue
            }
            None => Flow::Hold,
        }
    }

    fn on_response_headers(&mut self, stream: u32, end_of_stream: bool) -> Flow {
        let arrived = self.at_stream(stream, |gateway, id, io| {
            gateway.on_response_headers(id, io, end_of_stream)
        });
        arrived.unwrap_or_else(|| {
            self.at_attempt(stream, |attempts, id, io| {
                attempts.on_response_headers(id, io, end_of_stream);
            });
            Flow::Continue
        })
    }

    fn on_response_body(&mut self, stream: u32, size: usize, end_of_stream: bool) -> Flow {
        let arrived = self.at_stream(stream, |gateway, id, io| {
            gateway.on_response_body(id, io, size, end_of_stream)
        });
        arrived.unwrap_or_else(|| self.pass_back(stream, end_of_stream))
    }

    fn on_response_trailers(&mut self, stream: u32) -> Flow {
        let arrived = self.at_stream(stream, Gateway::on_response_trailers);
        arrived.unwrap_or_else(|| self.pass_back(stream, true))
    }

    /// A part of the answer to an attempt passes; `end`: the last.
    fn pass_back(&mut self, stream: u32, end: bool) -> Flow {
        if end {
            self.at_attempt(stream, Attempts::on_response_end);
        }
        Flow::Continue
    }

    fn on_http_answer(&mut self, root: u32, token: u32, headers: usize, body: usize) {
        let most = |id| match self.gateways.get(&root) {
            Some(gateway) => gateway.most_bytes(id),
            None => MAX_ANSWER_BYTES,
        };
        let (id, answer) = self.host.http_answer(token, (headers, body), most);
        self.on_callout(root, id, &answer);
    }

    fn on_grpc_message(&mut self, root: u32, token: u32, size: usize) {
        let (id, answer) = self.host.grpc_message(token, size, MAX_ANSWER_BYTES);
        self.on_callout(root, id, &answer);
    }

    fn on_grpc_status(&mut self, root: u32, token: u32, status: u32) {
        let (id, answer) = self.host.grpc_status(token, status);
        self.on_callout(root, id, &answer);
    }

    /// Every answer comes here, whatever it was asked by.
    #[inline(never)]
    fn on_callout(&mut self, root: u32, id: CalloutId, answer: &CalloutAnswer) {
        #[cfg(feature = "probe")]
        if self.probe.on_callout(root, id, answer) {
            return;
        }
        if let Some(gateway) = self.gateways.get_mut(&root) {
            gateway.on_callout(id, answer);
        }
    }

    /// An event has come that a stream was promised.
    fn on_woken(&mut self, queue: u32) {
        let Some(stream) = woken(queue) else {
            return;
        };
        let io = self.host.stream(stream);
        #[cfg(feature = "probe")]
        if let (Some(root), Some(io)) = (self.roots.get(&stream.0), &io)
            && self.probe.on_wake(*root, stream, io)
        {
            return;
        }
        if let Some(gateway) = self.gateway(stream.0) {
            match io {
                Some(io) => gateway.on_wake(stream, &io),
                None => gateway.on_end(stream),
            }
        }
    }

    /// The access log is about to be written. Over HTTP/3 that may be after the stream is deleted.
    fn on_log(&mut self, stream: u32) {
        self.at_stream(stream, Gateway::on_log);
    }

    fn on_delete(&mut self, context: u32) {
        if !self.attempts.is_empty() {
            // The access log is not written on that side.
            self.at_attempt(context, Attempts::on_end);
        }
        self.forget(context);
    }

    /// The same of one that was deleted while a callback was under way: what is at hand now is another's, so nobody is judged by it.
    fn on_missed_delete(&mut self, context: u32) {
        if let Some(attempts) = self.attempts_of(context) {
            attempts.on_lost(StreamId(context));
        }
        self.forget(context);
    }

    fn forget(&mut self, context: u32) {
        match self.roots.remove(&context) {
            Some(root) => {
                #[cfg(feature = "probe")]
                self.probe.on_end(root, StreamId(context));
                if let Some(gateway) = self.gateways.get_mut(&root) {
                    gateway.on_end(StreamId(context));
                }
            }
            None => {
                #[cfg(feature = "probe")]
                self.probe.on_root_end(context);
                self.gateways.remove(&context);
                if self.attempts.remove(&context).is_some() {
                    missed::is_no_more(context);
                }
            }
        }
    }
}
