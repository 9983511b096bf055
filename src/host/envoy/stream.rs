//! The stream that Envoy is at: its headers, bodies and properties, and what becomes of it.

use std::rc::Rc;

use proxy_wasm::types::{BufferType, MapType, Status, StreamType};

use super::{Vm, hostcalls};
use crate::host::flags;
use crate::host::{AttemptEnd, HeaderBlock, HostError, LocalReply, OwnAnswer, StreamIo, encode};

/// The stream that Envoy is at.
#[derive(Debug, Clone)]
pub(crate) struct EnvoyStream {
    pub(super) vm: Rc<Vm>,
}

/// What Envoy calls an answer that its agent has broken off.
const BROKEN_OFF: &[u8] = b"upstream_reset_after_response_started";
/// What it calls one that came from an agent.
const BY_AGENT: &[u8] = b"via_upstream";
/// What it calls one for want of the gateway's credential for the agent: there is none, or what there is fits no header.
const NO_CREDENTIAL: [&[u8]; 2] = [
    b"failed_to_inject_credential",
    b"filter_removed_required_request_headers",
];
/// And one of a script: with 401 that of the one that looks for the caller's.
const BY_SCRIPT: &[u8] = b"lua_response";

impl StreamIo for EnvoyStream {
    fn request_headers(&self) -> Result<HeaderBlock, HostError> {
        headers(MapType::HttpRequestHeaders)
    }

    fn set_request_header(&self, name: &str, value: &[u8]) {
        self.vm.tell(hostcalls::replace_header(
            MapType::HttpRequestHeaders,
            name.as_bytes(),
            value,
        ));
    }

    fn add_request_header(&self, name: &str, value: &[u8]) {
        self.vm.tell(hostcalls::add_header(
            MapType::HttpRequestHeaders,
            name.as_bytes(),
            value,
        ));
    }

    fn remove_request_header(&self, name: &[u8]) {
        self.vm
            .tell(hostcalls::remove_header(MapType::HttpRequestHeaders, name));
    }

    fn request_body(&self, start: usize, most: usize) -> Result<Vec<u8>, HostError> {
        hostcalls::part_of_buffer(BufferType::HttpRequestBody, start, most)
    }

    fn replace_request_body(&self, most: usize, bytes: &[u8]) -> Result<(), HostError> {
        hostcalls::set_part_of_buffer(BufferType::HttpRequestBody, 0, most, bytes)
    }

    fn request_trailers(&self) -> Result<HeaderBlock, HostError> {
        headers(MapType::HttpRequestTrailers)
    }

    fn set_request_trailer(&self, name: &str, value: &[u8]) {
        self.vm.tell(hostcalls::replace_header(
            MapType::HttpRequestTrailers,
            name.as_bytes(),
            value,
        ));
    }

    fn remove_request_trailer(&self, name: &[u8]) {
        self.vm
            .tell(hostcalls::remove_header(MapType::HttpRequestTrailers, name));
    }

    /// Envoy's `local_reply_config` gives each of its own answers a `request-id`. Few agents send one, and to find that it is
    /// not there costs less than a tenth of what it costs to ask who has answered.
    fn own_answer(&self) -> Option<OwnAnswer> {
        self.response_header("request-id")?;
        own_answer()
    }

    fn has_broken_off(&self) -> bool {
        let details = hostcalls::property(hostcalls::CODE_DETAILS);
        details.is_ok_and(|details| details.starts_with(BROKEN_OFF))
    }

    fn agent_address(&self) -> Option<Vec<u8>> {
        hostcalls::property(hostcalls::UPSTREAM_ADDRESS).ok()
    }

    fn response_body(&self, start: usize, most: usize) -> Result<Vec<u8>, HostError> {
        hostcalls::part_of_buffer(BufferType::HttpResponseBody, start, most)
    }

    fn upstream_cluster(&self) -> Option<Vec<u8>> {
        hostcalls::property(hostcalls::UPSTREAM_CLUSTER).ok()
    }

    fn attempts(&self) -> Option<u64> {
        number(hostcalls::ATTEMPTS)
    }

    fn attempt_end(&self, sent: bool) -> AttemptEnd {
        let flags = number(hostcalls::RESPONSE_FLAGS).unwrap_or_default();
        let details = hostcalls::property(hostcalls::CODE_DETAILS).ok();
        // It has one from the moment on in which there is a connection.
        let connected = hostcalls::property(hostcalls::LOCAL_ADDRESS);
        let connected = connected.map(drop);
        let connected = connected.map_err(|_| hostcalls::property(hostcalls::NO_CONNECTION).ok());
        flags::attempt_end(flags, details.as_deref(), connected, sent)
    }

    fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        hostcalls::header(MapType::HttpResponseHeaders, name.as_bytes()).ok()
    }

    fn response_headers(&self) -> Result<HeaderBlock, HostError> {
        headers(MapType::HttpResponseHeaders)
    }

    fn set_response_header(&self, name: &str, value: &[u8]) {
        self.vm.tell(hostcalls::replace_header(
            MapType::HttpResponseHeaders,
            name.as_bytes(),
            value,
        ));
    }

    fn add_response_header(&self, name: &str, value: &[u8]) {
        self.vm.tell(hostcalls::add_header(
            MapType::HttpResponseHeaders,
            name.as_bytes(),
            value,
        ));
    }

    fn remove_response_header(&self, name: &str) {
        self.vm.tell(hostcalls::remove_header(
            MapType::HttpResponseHeaders,
            name.as_bytes(),
        ));
    }

    fn response_trailer(&self, name: &str) -> Option<Vec<u8>> {
        hostcalls::header(MapType::HttpResponseTrailers, name.as_bytes()).ok()
    }

    fn remove_response_trailer(&self, name: &str) {
        self.vm.tell(hostcalls::remove_header(
            MapType::HttpResponseTrailers,
            name.as_bytes(),
        ));
    }

    fn take_response_body(&self, size: usize) -> Result<Vec<u8>, HostError> {
        if size == 0 {
            return Ok(Vec::new());
        }
        let bytes = hostcalls::part_of_buffer(BufferType::HttpResponseBody, 0, size)?;
        hostcalls::set_part_of_buffer(BufferType::HttpResponseBody, 0, size, &[])?;
        Ok(bytes)
    }

    fn put_response_body(&self, bytes: &[u8]) -> Result<(), HostError> {
        hostcalls::set_part_of_buffer(BufferType::HttpResponseBody, 0, 0, bytes)
    }

    fn note(&self, name: &str, value: &[u8]) {
        self.vm
            .tell(hostcalls::set_property(name.as_bytes(), value));
    }

    fn noted(&self, name: &str) -> Option<Vec<u8>> {
        hostcalls::property(name.as_bytes()).ok()
    }

    fn caller_address(&self) -> Option<Vec<u8>> {
        hostcalls::property(hostcalls::SOURCE_ADDRESS).ok()
    }

    fn reply(&self, reply: &LocalReply) {
        let headers = encode(&reply.headers);
        self.vm.tell(hostcalls::send_local_response(
            reply.status,
            &reply.details,
            &headers,
            &reply.body,
            reply.grpc_status,
        ));
    }

    fn resume(&self) {
        self.vm
            .tell(hostcalls::continue_stream(StreamType::HttpRequest));
    }

    fn reset(&self) {
        self.vm
            .tell(hostcalls::close_stream(StreamType::HttpRequest));
    }
}

fn number(path: &[u8]) -> Option<u64> {
    let bytes = hostcalls::property(path).ok()?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// The answer at hand, if Envoy gives it itself.
#[cold]
fn own_answer() -> Option<OwnAnswer> {
    let details = hostcalls::property(hostcalls::CODE_DETAILS).ok()?;
    if details == BY_AGENT {
        return None;
    }
    let status = u16::try_from(number(hostcalls::RESPONSE_CODE)?).ok()?;
    // Of an agent that takes no WebSocket Envoy says so in place of that.
    if status < 400 {
        return None;
    }
    let flags = number(hostcalls::RESPONSE_FLAGS).unwrap_or_default();
    let again = number(hostcalls::ATTEMPTS).is_some_and(|attempts| attempts > 1);
    Some(OwnAnswer {
        status,
        unreached: flags::is_unreached(flags)
            || NO_CREDENTIAL.iter().any(|it| details.starts_with(it)),
        asks_credential: details == BY_SCRIPT,
        fault: flags::fault(status, flags, again),
    })
}

fn headers(kind: MapType) -> Result<HeaderBlock, HostError> {
    HeaderBlock::from_host(hostcalls::header_map(kind)?).map_err(|_| HostError {
        call: "headers that can be read",
        status: Status::ParseFailure as u32,
    })
}
