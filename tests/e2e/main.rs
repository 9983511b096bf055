//! The whole of it, end to end: each test has a world of its own, made of a real Envoy with the filter in it, the auth
//! service and the agents, all on free ports. One module per topic; `harness` is what they share.

mod harness;

mod anthropic;
mod bodies;
mod browser;
mod configuration;
mod cors;
mod crowds;
mod gateway;
mod grpc_callouts;
mod grpc_web;
mod holding;
mod identity;
mod keys;
mod limits;
mod log;
mod may_stream;
mod memory;
mod metrics;
mod openai;
mod outcomes;
mod paths;
mod protocols;
mod refusals;
mod reload;
mod retries;
mod routing;
mod spoofing;
mod streaming;
mod switches;
mod traps;
mod validator;
mod waiting;
mod websocket;
mod websocket_http2;
