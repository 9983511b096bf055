//! The streams of a simulated host: what a caller and an agent sent, and what the filter made of it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use super::SimulatedHost;
use crate::host::{AttemptEnd, HeaderBlock, HostError, LocalReply, OwnAnswer, StreamId, StreamIo};

/// What became of a simulated stream.
#[derive(Clone, Default)]
pub struct SimulatedStream {
    /// The request's headers as they stand.
    pub request: Vec<(Vec<u8>, Vec<u8>)>,
    /// What is at hand of the request's body.
    pub body: Vec<u8>,
    /// The request's trailers as they stand.
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The response's headers as they stand.
    pub response: Vec<(Vec<u8>, Vec<u8>)>,
    /// The response's trailers as they stand.
    pub response_trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// What is at hand of the response's body.
    pub answer: Vec<u8>,
    /// The response, if the host gives it itself.
    pub own_answer: Option<OwnAnswer>,
    /// The agent has broken off its answer.
    pub broken_off: bool,
    /// What is at hand of the response's body.
    pub response_body: Vec<u8>,
    /// The address of the host that has answered.
    pub agent_address: Option<Vec<u8>>,
    /// The cluster at which it was tried last.
    pub cluster: Option<Vec<u8>>,
    /// How often it was tried.
    pub attempts: Option<u64>,
    /// How the attempt at the agent has ended.
    pub attempt_end: Option<AttemptEnd>,
    /// What was noted for the access log.
    pub notes: Vec<(Vec<u8>, Vec<u8>)>,
    /// The filter's own answer.
    pub reply: Option<LocalReply>,
    /// That answer came when the response had begun, and broke it off.
    pub cut_off: bool,
    /// A waiting request was let go on.
    pub resumed: bool,
    /// The stream was broken off.
    pub reset: bool,
}

pub(super) type Streams = Rc<RefCell<HashMap<StreamId, SimulatedStream>>>;

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

/// Of headers the names only: a value may be a key.
impl fmt::Debug for SimulatedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedStream")
            .field("request", &HeaderBlock::from_pairs(&self.request))
            .field("body", &self.body.len())
            .field("trailers", &HeaderBlock::from_pairs(&self.trailers))
            .field("response", &HeaderBlock::from_pairs(&self.response))
            .field("reply", &self.reply)
            .field("cut_off", &self.cut_off)
            .field("resumed", &self.resumed)
            .field("reset", &self.reset)
            .finish()
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
    pub fn begin<V: AsRef<[u8]> + ?Sized>(&self, id: StreamId, headers: &[(&str, &V)]) {
        let stream = SimulatedStream {
            request: owned(headers),
            ..SimulatedStream::default()
        };
        self.streams.borrow_mut().insert(id, stream);
    }

    /// What is at hand of the stream's body from now on.
    pub fn send(&self, id: StreamId, body: &[u8]) {
        self.io(id).with(|stream| stream.body = body.to_vec());
    }

    /// Ends the stream's request with trailers.
    pub fn trail(&self, id: StreamId, trailers: &[(&str, &str)]) {
        self.io(id).with(|stream| stream.trailers = owned(trailers));
    }

    /// Gives the stream a response.
    pub fn respond(&self, id: StreamId, headers: &[(&str, &str)]) {
        self.io(id).with(|stream| stream.response = owned(headers));
    }

    /// Ends the stream's response with trailers.
    pub fn trail_response(&self, id: StreamId, trailers: &[(&str, &str)]) {
        self.io(id)
            .with(|stream| stream.response_trailers = owned(trailers));
    }

    /// What is at hand of the body of the stream's response from now on.
    pub fn say(&self, id: StreamId, body: &[u8]) {
        self.io(id).with(|stream| stream.answer = body.to_vec());
    }

    /// Has the agent break off the stream's response.
    pub fn break_off(&self, id: StreamId) {
        self.io(id).with(|stream| stream.broken_off = true);
    }

    /// Has the stream's response come from this host.
    pub fn respond_from(&self, id: StreamId, address: &str) {
        self.io(id)
            .with(|stream| stream.agent_address = Some(address.as_bytes().to_vec()));
    }

    /// What is at hand of the response's body from now on.
    pub fn pass(&self, id: StreamId, body: &[u8]) {
        self.io(id)
            .with(|stream| stream.response_body = body.to_vec());
    }

    /// Has the stream be tried at this cluster.
    pub fn try_at(&self, id: StreamId, cluster: &str) {
        self.io(id)
            .with(|stream| stream.cluster = Some(cluster.into()));
    }

    /// Has the stream be tried so often.
    pub fn try_often(&self, id: StreamId, attempts: u64) {
        self.io(id).with(|stream| stream.attempts = Some(attempts));
    }

    /// Has the attempt at the agent end in this way.
    pub fn attempt_ends(&self, id: StreamId, end: AttemptEnd) {
        self.io(id).with(|stream| stream.attempt_end = Some(end));
    }

    /// Gives the stream a response of the host's own.
    pub fn respond_itself(&self, id: StreamId, answer: OwnAnswer) {
        self.respond(id, &[(":status", &answer.status.to_string())]);
        self.io(id).with(|stream| stream.own_answer = Some(answer));
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

    /// The address that callers come from, from now on.
    pub fn call_from(&self, address: &str) {
        self.address.replace(address.as_bytes().to_vec());
    }

    /// From now on no headers of a request can be read.
    pub fn refuse_request_headers(&self) {
        self.unreadable.set(true);
    }
}

fn owned<V: AsRef<[u8]> + ?Sized>(headers: &[(&str, &V)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_ref().to_vec()))
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

    fn add_request_header(&self, name: &str, value: &[u8]) {
        self.with(|stream| stream.request.push((name.into(), value.to_vec())));
    }

    fn remove_request_header(&self, name: &[u8]) {
        self.with(|stream| stream.request.retain(|(other, _)| other != name));
    }

    fn request_body(&self, start: usize, most: usize) -> Result<Vec<u8>, HostError> {
        let part = self.with(|stream| {
            let rest = stream.body.get(start..)?;
            Some(rest.get(..most).unwrap_or(rest).to_vec())
        });
        part.ok_or(HostError {
            call: "a part of the body",
            status: 2,
        })
    }

    fn replace_request_body(&self, most: usize, bytes: &[u8]) -> Result<(), HostError> {
        let replaced = self.with(|stream| {
            let rest = stream.body.get(most..)?;
            stream.body = [bytes, rest].concat();
            Some(())
        });
        replaced.ok_or(HostError {
            call: "a change of the body",
            status: 2,
        })
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

    fn own_answer(&self) -> Option<OwnAnswer> {
        self.with(|stream| stream.own_answer)
    }

    fn attempt_end(&self, _sent: bool) -> AttemptEnd {
        let end = self.with(|stream| stream.attempt_end);
        end.unwrap_or(AttemptEnd::Left)
    }

    fn noted(&self, name: &str) -> Option<Vec<u8>> {
        self.with(|stream| {
            let mut notes = stream.notes.iter().rev();
            let found = notes.find(|(other, _)| other == name.as_bytes());
            found.map(|(_, value)| value.clone())
        })
    }

    fn has_broken_off(&self) -> bool {
        self.with(|stream| stream.broken_off)
    }

    fn agent_address(&self) -> Option<Vec<u8>> {
        self.with(|stream| stream.agent_address.clone())
    }

    fn response_body(&self, start: usize, most: usize) -> Result<Vec<u8>, HostError> {
        let part = self.with(|stream| {
            let rest = stream.response_body.get(start..)?;
            Some(rest.get(..most).unwrap_or(rest).to_vec())
        });
        part.ok_or(HostError {
            call: "a part of the answer",
            status: 2,
        })
    }

    fn upstream_cluster(&self) -> Option<Vec<u8>> {
        self.with(|stream| stream.cluster.clone())
    }

    fn attempts(&self) -> Option<u64> {
        self.with(|stream| stream.attempts)
    }

    fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        let headers = self.response_headers().ok()?;
        headers.get(name).map(<[u8]>::to_vec)
    }

    fn response_headers(&self) -> Result<HeaderBlock, HostError> {
        Ok(self.with(|stream| HeaderBlock::from_pairs(&stream.response)))
    }

    fn set_response_header(&self, name: &str, value: &[u8]) {
        self.with(|stream| replace(&mut stream.response, name.as_bytes(), value));
    }

    fn add_response_header(&self, name: &str, value: &[u8]) {
        self.with(|stream| stream.response.push((name.into(), value.to_vec())));
    }

    fn remove_response_header(&self, name: &str) {
        self.with(|stream| {
            stream
                .response
                .retain(|(other, _)| other != name.as_bytes());
        });
    }

    fn response_trailer(&self, name: &str) -> Option<Vec<u8>> {
        let trailers = self.with(|stream| HeaderBlock::from_pairs(&stream.response_trailers));
        trailers.get(name).map(<[u8]>::to_vec)
    }

    fn remove_response_trailer(&self, name: &str) {
        self.with(|stream| {
            let trailers = &mut stream.response_trailers;
            trailers.retain(|(other, _)| other != name.as_bytes());
        });
    }

    fn take_response_body(&self, size: usize) -> Result<Vec<u8>, HostError> {
        let taken = self.with(|stream| std::mem::take(&mut stream.answer));
        if taken.len() == size {
            return Ok(taken);
        }
        Err(HostError {
            call: "a piece of the answer",
            status: 2,
        })
    }

    fn put_response_body(&self, bytes: &[u8]) -> Result<(), HostError> {
        self.with(|stream| stream.answer = bytes.to_vec());
        Ok(())
    }

    fn note(&self, name: &str, value: &[u8]) {
        self.with(|stream| replace(&mut stream.notes, name.as_bytes(), value));
    }

    fn caller_address(&self) -> Option<Vec<u8>> {
        Some(self.address.clone())
    }

    fn reply(&self, reply: &LocalReply) {
        self.with(|stream| {
            stream.reply = Some(reply.clone());
            stream.cut_off = !stream.response.is_empty();
        });
    }

    fn resume(&self) {
        self.with(|stream| stream.resumed = true);
    }

    fn reset(&self) {
        self.with(|stream| stream.reset = true);
    }
}
