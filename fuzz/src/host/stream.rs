//! A stream of such a host, as it is lent to the filter.

use std::rc::Rc;

use waykeeper::host::{
    AttemptEnd, HeaderBlock, HostError, LocalReply, OwnAnswer, StreamId, StreamIo,
};

use super::{FuzzHost, Headers, OWN, Seen, Trouble};

/// A stream of a worker's host.
#[derive(Debug, Clone)]
pub(crate) struct FuzzIo {
    pub(super) id: StreamId,
    pub(super) host: Rc<FuzzHost>,
}

impl FuzzIo {
    fn seen<T: Default>(&self, f: impl FnOnce(&mut Seen) -> T) -> T {
        self.host.seen_mut(self.id, f)
    }
}

fn first(headers: &Headers, name: &str) -> Option<Vec<u8>> {
    let mut found = headers.iter().filter(|(other, _)| other == name.as_bytes());
    found.next().map(|(_, value)| value.clone())
}

fn replace(headers: &mut Headers, name: &[u8], value: &[u8]) {
    match headers.iter().position(|(other, _)| other == name) {
        Some(first) => {
            headers[first].1 = value.to_vec();
            let mut index = 0;
            headers.retain(|(other, _)| {
                index += 1;
                other != name || index - 1 == first
            });
        }
        None => headers.push((name.to_vec(), value.to_vec())),
    }
}

fn add(headers: &mut Headers, name: &str, value: &[u8]) {
    headers.push((name.into(), value.to_vec()));
}

fn remove(headers: &mut Headers, name: &[u8]) {
    headers.retain(|(other, _)| other != name);
}

impl StreamIo for FuzzIo {
    fn request_headers(&self) -> Result<HeaderBlock, HostError> {
        if self.host.is_due(Trouble::NoHeaders) {
            self.seen(|seen| seen.unread = true);
            return Err(HostError {
                call: "the headers",
                status: 2,
            });
        }
        Ok(self.seen(|seen| HeaderBlock::from_pairs(&seen.request)))
    }

    fn set_request_header(&self, name: &str, value: &[u8]) {
        self.seen(|seen| replace(&mut seen.request, name.as_bytes(), value));
    }

    fn add_request_header(&self, name: &str, value: &[u8]) {
        self.seen(|seen| add(&mut seen.request, name, value));
    }

    fn remove_request_header(&self, name: &[u8]) {
        self.seen(|seen| remove(&mut seen.request, name));
    }

    /// Blanks: what bodies say is searched by the target `bodies`.
    fn request_body(&self, _: usize, most: usize) -> Result<Vec<u8>, HostError> {
        Ok(vec![b' '; most.min(1 << 16)])
    }

    fn replace_request_body(&self, _: usize, _: &[u8]) -> Result<(), HostError> {
        Ok(())
    }

    fn request_trailers(&self) -> Result<HeaderBlock, HostError> {
        if self.host.is_due(Trouble::NoTrailers) {
            return Err(HostError {
                call: "the trailers",
                status: 2,
            });
        }
        Ok(self.seen(|seen| HeaderBlock::from_pairs(&seen.trailers)))
    }

    fn set_request_trailer(&self, name: &str, value: &[u8]) {
        self.seen(|seen| replace(&mut seen.trailers, name.as_bytes(), value));
    }

    fn remove_request_trailer(&self, name: &[u8]) {
        self.seen(|seen| remove(&mut seen.trailers, name));
    }

    fn attempt_end(&self, _sent: bool) -> AttemptEnd {
        AttemptEnd::Left
    }

    fn noted(&self, _name: &str) -> Option<Vec<u8>> {
        None
    }

    fn has_broken_off(&self) -> bool {
        false
    }

    fn upstream_cluster(&self) -> Option<Vec<u8>> {
        None
    }

    fn attempts(&self) -> Option<u64> {
        None
    }

    fn own_answer(&self) -> Option<OwnAnswer> {
        let (status, own) = self.seen(|seen| {
            let status = first(&seen.response, ":status");
            (status, first(&seen.response, OWN).is_some())
        });
        let status = str::from_utf8(&status?).ok()?.parse().ok()?;
        own.then_some(OwnAnswer {
            fault: None,
            status,
            unreached: false,
            asks_credential: false,
        })
    }

    fn agent_address(&self) -> Option<Vec<u8>> {
        Some(b"192.0.2.2:80".to_vec())
    }

    fn response_body(&self, _: usize, most: usize) -> Result<Vec<u8>, HostError> {
        Ok(vec![b' '; most.min(1 << 16)])
    }

    fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        self.seen(|seen| first(&seen.response, name))
    }

    fn response_headers(&self) -> Result<HeaderBlock, HostError> {
        Ok(self.seen(|seen| HeaderBlock::from_pairs(&seen.response)))
    }

    fn set_response_header(&self, name: &str, value: &[u8]) {
        self.seen(|seen| replace(&mut seen.response, name.as_bytes(), value));
    }

    fn add_response_header(&self, name: &str, value: &[u8]) {
        self.seen(|seen| add(&mut seen.response, name, value));
    }

    fn remove_response_header(&self, name: &str) {
        self.seen(|seen| remove(&mut seen.response, name.as_bytes()));
    }

    fn response_trailer(&self, _name: &str) -> Option<Vec<u8>> {
        None
    }

    fn remove_response_trailer(&self, _name: &str) {}

    fn take_response_body(&self, _: usize) -> Result<Vec<u8>, HostError> {
        Ok(self.seen(|seen| std::mem::take(&mut seen.answer)))
    }

    fn put_response_body(&self, bytes: &[u8]) -> Result<(), HostError> {
        self.seen(|seen| seen.answer = bytes.to_vec());
        Ok(())
    }

    fn note(&self, _name: &str, _value: &[u8]) {}

    fn caller_address(&self) -> Option<Vec<u8>> {
        if self.host.is_due(Trouble::NoAddress) {
            return None;
        }
        Some(self.host.address.borrow().clone())
    }

    fn reply(&self, reply: &LocalReply) {
        self.seen(|seen| seen.replies.push(reply.clone()));
    }

    fn resume(&self) {
        self.seen(|seen| seen.resumed += 1);
    }

    fn reset(&self) {
        self.seen(|seen| seen.reset += 1);
    }
}
