//! `waykeeper limiter`: the real binary, asked over real gRPC, with the real Redis behind it, and by the real Envoy's own rate
//! limit filter. Limits are per year where a test is not about windows, so that none ends in its midst.

#[allow(
    dead_code,
    reason = "made for the tests of gateway.yaml, of which this needs a part"
)]
#[path = "../gateway_file/certificates.rs"]
mod certificates;
mod client;
mod counting;
mod envoy;
mod keeping;
#[allow(
    dead_code,
    reason = "made for the tool, of which the tests need a part"
)]
#[path = "../../cli/src/limiter/protocol.rs"]
mod protocol;
mod redis;
mod service;
mod serving;
#[allow(
    dead_code,
    reason = "made for several test targets, of which this needs a part"
)]
#[path = "../shared.rs"]
mod shared;
mod tls;

use client::{Client, Refused, ask, descriptor, of};
use service::Service;
