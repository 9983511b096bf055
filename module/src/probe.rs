//! What a test can ask the module to do by the request header `x-probe`, before the gateway sees the request. It is built
//! with the feature `probe` only, into a file of its own (`make probe-filter`); no module that is installed has it.
//!
//! - `trap`: the module traps.
//! - `call [{…}, …]`: it sends callouts, all in one callback, and answers the request with what came of each.
//! - `body START MOST`: it collects the request's body until that part is there, and answers the request with it.

mod callouts;

use rustc_hash::FxHashMap;

use crate::envoy::{Envoy, EnvoyStream};
use waykeeper::host::{CalloutAnswer, CalloutId, LocalReply, StreamId, StreamIo};
use waykeeper::lifecycle::Flow;

use callouts::Callouts;

const HEADER: &str = "x-probe";

/// What was asked of this VM, by root context.
#[derive(Default)]
pub(super) struct Probe {
    callouts: FxHashMap<u32, Callouts>,
    /// The part of its body that is asked for, by stream.
    bodies: FxHashMap<StreamId, (usize, usize)>,
}

impl Probe {
    /// Does what the request at hand asks for. `None`: it asks for nothing.
    #[expect(clippy::panic, reason = "to trap is what it is for")]
    pub(super) fn on_request_headers(
        &mut self,
        host: &Envoy,
        root: u32,
        stream: StreamId,
        io: &EnvoyStream,
    ) -> Option<Flow> {
        let headers = io.request_headers().ok()?;
        let asked = std::str::from_utf8(headers.get(HEADER)?).ok()?;
        match asked.split_once(' ') {
            None if asked == "trap" => panic!("asked to trap"),
            Some(("call", callouts)) => {
                let known = self.callouts.entry(root);
                let known = known.or_insert_with(|| Callouts::new(host));
                known.send(stream, io, callouts);
            }
            Some(("body", part)) => {
                let (start, most) = part.split_once(' ')?;
                let part = (start.parse().ok()?, most.parse().ok()?);
                self.bodies.insert(stream, part);
                return Some(Flow::Collect);
            }
            _ => reply(io, 400, format!("no such probe: {asked}").into_bytes()),
        }
        Some(Flow::Hold)
    }

    /// `None`: the stream is not one whose body was asked for.
    pub(super) fn on_request_body(
        &mut self,
        stream: StreamId,
        io: &EnvoyStream,
        size: usize,
        end_of_stream: bool,
    ) -> Option<Flow> {
        let (start, most) = *self.bodies.get(&stream)?;
        if !end_of_stream && size < start.saturating_add(most) {
            return Some(Flow::Collect);
        }
        match io.request_body(start, most) {
            Ok(part) => reply(io, 200, part),
            Err(error) => reply(io, 500, error.to_string().into_bytes()),
        }
        Some(Flow::Hold)
    }

    /// True if the callout was sent from here.
    pub(super) fn on_callout(&mut self, root: u32, id: CalloutId, answer: &CalloutAnswer) -> bool {
        let callouts = self.callouts.get_mut(&root);
        callouts.is_some_and(|callouts| callouts.hear(id, answer))
    }

    /// True if the stream waited here.
    pub(super) fn on_wake(&mut self, root: u32, stream: StreamId, io: &EnvoyStream) -> bool {
        let callouts = self.callouts.get_mut(&root);
        callouts.is_some_and(|callouts| callouts.answer(stream, io))
    }

    pub(super) fn on_end(&mut self, root: u32, stream: StreamId) {
        self.bodies.remove(&stream);
        if let Some(callouts) = self.callouts.get_mut(&root) {
            callouts.forget(stream);
        }
    }

    pub(super) fn on_root_end(&mut self, root: u32) {
        self.callouts.remove(&root);
    }
}

fn reply(io: &EnvoyStream, status: u16, body: Vec<u8>) {
    io.reply(&LocalReply {
        status,
        grpc_status: None,
        headers: Vec::new(),
        body,
        details: "waykeeper_probe".to_owned(),
    });
}
