//! Callouts by Envoy, and their answers as Envoy's callbacks give them.
//!
//! Envoy counts HTTP and gRPC callouts apart, each from one: their tokens are told apart here, and nowhere else.
//!
//! An answer never comes on top of the call: Envoy hands over what is there at once when the callback that called is over.
//! It does so also for a gRPC callout that it has refused; nobody was told that callout's id.

use std::time::Duration;

use super::abi::{BufferType, MapType, Status};
use super::{Envoy, hostcalls};
use waykeeper::host::grpc_service::grpc_service;
use waykeeper::host::{Callout, CalloutAnswer, CalloutId, CalloutRequest, HostError, encode};

/// A callout by HTTP.
const fn http(token: u32) -> CalloutId {
    CalloutId(token as u64)
}

/// A callout by gRPC: above all tokens of HTTP.
const fn grpc(token: u32) -> CalloutId {
    CalloutId(1 << u32::BITS | token as u64)
}

pub(super) fn send(callout: &Callout<'_>) -> Result<CalloutId, HostError> {
    let timeout = milliseconds(callout.timeout);
    match callout.request {
        CalloutRequest::Http { headers, body } => {
            hostcalls::http_call(callout.cluster, &encode(headers), body, timeout).map(http)
        }
        // What Envoy makes of a message without a name is not worth finding out.
        CalloutRequest::Grpc { .. } if callout.cluster.is_empty() => Err(HostError {
            call: "a callout to a cluster without a name",
            status: Status::BadArgument as u32,
        }),
        CalloutRequest::Grpc {
            authority,
            service,
            method,
            metadata,
            message,
        } => {
            let cluster = grpc_service(callout.cluster, authority);
            let metadata = encode(metadata);
            hostcalls::grpc_call(&cluster, (service, method), &metadata, message, timeout).map(grpc)
        }
    }
}

/// To Envoy, 0 is a callout that lasts for ever, and the number a signed one.
fn milliseconds(timeout: Duration) -> u32 {
    const MOST: u32 = i32::MAX as u32;
    u32::try_from(timeout.as_millis()).map_or(MOST, |timeout| timeout.clamp(1, MOST))
}

impl Envoy {
    /// The answer to the HTTP callout whose callback is under way, if it is not larger than `max_body` says of it.
    pub(crate) fn http_answer(
        &self,
        token: u32,
        (headers, body): (usize, usize),
        max_body: impl FnOnce(CalloutId) -> usize,
    ) -> (CalloutId, CalloutAnswer) {
        let id = http(token);
        let answer = read_http_answer(headers, body, max_body(id));
        (id, answer.unwrap_or(CalloutAnswer::Failed))
    }

    /// The message that answers the gRPC callout whose callback is under way, if it is not larger than `max_size`.
    pub(crate) fn grpc_message(
        &self,
        token: u32,
        size: usize,
        max_size: usize,
    ) -> (CalloutId, CalloutAnswer) {
        let message = match size {
            0 => Some(Vec::new()),
            _ if size > max_size => None,
            _ => hostcalls::buffer(BufferType::GrpcReceiveBuffer, size).ok(),
        };
        let answer = message.map_or(CalloutAnswer::Failed, CalloutAnswer::Message);
        (grpc(token), answer)
    }

    /// The status with which the gRPC callout whose callback is under way ended without a message.
    pub(crate) fn grpc_status(&self, token: u32, status: u32) -> (CalloutId, CalloutAnswer) {
        let text = hostcalls::grpc_status_text().unwrap_or_default();
        (grpc(token), CalloutAnswer::status(status, &text))
    }
}

fn read_http_answer(headers: usize, body: usize, max_body: usize) -> Option<CalloutAnswer> {
    // Without headers there was no answer, and asking for one would be refused.
    if headers == 0 || body > max_body {
        return None;
    }
    let header = |name| hostcalls::header(MapType::HttpCallResponseHeaders, name).ok();
    let status = std::str::from_utf8(&header(b":status")?)
        .ok()?
        .parse()
        .ok()?;
    // Envoy's own words, for a time that is over and a host that cannot be reached; what was answered took its time.
    let envoys = matches!(status, 503 | 504);
    if envoys && header(b"x-envoy-upstream-service-time").is_none() {
        return None;
    }
    let body = match body {
        0 => Vec::new(),
        _ => hostcalls::buffer(BufferType::HttpCallResponseBody, body).ok()?,
    };
    Some(CalloutAnswer::Response { status, body })
}
