//! Handing a request over to Envoy's router, and telling the caller of its limits on the way back.

use super::compiled::Compiled;
use super::stream::Facts;
use super::telemetry::Telemetry;
use crate::host::{HeaderBlock, Host, StreamIo, Timestamp};
use crate::reply::{Refusal, retry_after};
use crate::routing::CLUSTER;

/// Sets what the agent is told and what steers Envoy's router.
pub(super) fn forward<S: StreamIo>(stream: &S, compiled: &Compiled, facts: &Facts) {
    let (Some(route), Some(agent)) = (facts.route, facts.agent) else {
        return;
    };
    let Some(agent) = compiled.policy.agents.get(agent.0) else {
        return;
    };
    if let Some(length) = facts.new_length {
        stream.set_request_header("content-length", length.to_string().as_bytes());
    }
    if let Some(path) = &facts.rewritten_path {
        stream.set_request_header(":path", path);
    }
    name_who(stream, compiled, facts);
    if let Some(client) = &facts.client {
        if let Some(team) = &client.team {
            stream.set_request_header("x-waykeeper-team", team.as_bytes());
        }
        if !client.roles.is_empty() {
            stream.set_request_header("x-waykeeper-roles", client.roles.join(",").as_bytes());
        }
    }
    stream.set_request_header(CLUSTER, agent.cluster.as_bytes());
    for (name, value) in compiled.steering.get(route.0).into_iter().flatten() {
        stream.set_request_header(name, value.as_bytes());
    }
}

/// Writes who calls, and where to, into the request as far as it is known. Agents read it, and so does the access log,
/// also of requests that are refused.
fn name_who<S: StreamIo>(stream: &S, compiled: &Compiled, facts: &Facts) {
    let client = facts.client.as_ref();
    let plan = client
        .and_then(|client| client.plan)
        .and_then(|plan| compiled.policy.plans.get(plan.0));
    let (route, agent) = compiled.names(facts.route, facts.agent);
    for (name, value) in [
        (
            "x-waykeeper-client",
            client.map(|client| client.id.as_str()),
        ),
        ("x-waykeeper-plan", plan.map(|plan| plan.name.as_str())),
        ("x-waykeeper-agent", agent),
        ("x-waykeeper-route", route),
    ] {
        if let Some(value) = value {
            stream.set_request_header(name, value.as_bytes());
        }
    }
}

/// Writes into a request that is refused what the access log reads there, and lets a refusal's `upgrade` through to the
/// caller: Envoy takes it out of answers to requests that ask for none.
pub(super) fn refuse<S: StreamIo>(
    stream: &S,
    compiled: &Compiled,
    facts: &Facts,
    refusal: &Refusal,
) {
    name_who(stream, compiled, facts);
    if *refusal == Refusal::UpgradeRequired {
        stream.set_request_header("connection", b"upgrade");
        stream.set_request_header("upgrade", b"websocket");
    }
}

/// Sets what the caller is told on a response that passes.
pub(super) fn tell_caller<H: Host>(
    host: &H,
    stream: &H::Stream,
    telemetry: &Telemetry,
    facts: &mut Facts,
) {
    for (name, value) in facts.rate_limit_headers() {
        stream.set_response_header(name, value.as_bytes());
    }
    let wait = facts.wait(|| host.now());
    let protocol = facts.protocol.take();
    // To read what nearly no response needs would cost each of them.
    if wait == 0 && protocol.is_none() {
        return;
    }
    match stream.response_headers() {
        Ok(headers) => {
            tell_to_wait(stream, host.now(), &headers, wait);
            if let Some(protocol) = protocol {
                name_protocol(stream, &headers, &protocol);
            }
        }
        Err(error) => telemetry.host_failed(host, error),
    }
}

/// An agent or Envoy has no place now: the caller must not come back before its limits let it through.
fn tell_to_wait(stream: &impl StreamIo, now: Timestamp, response: &HeaderBlock, wait: u64) {
    if wait == 0 || !matches!(response.get(":status"), Some(b"429" | b"503")) {
        return;
    }
    let theirs = response.get_all("retry-after");
    let theirs = theirs.filter_map(|value| retry_after::seconds(value, now));
    if theirs.max().is_none_or(|theirs| theirs < wait) {
        stream.set_response_header("retry-after", wait.to_string().as_bytes());
    }
}

/// Names a subprotocol in a handshake's answer that names none.
fn name_protocol(stream: &impl StreamIo, response: &HeaderBlock, protocol: &[u8]) {
    let switched = response.get(":status") == Some(b"101");
    if switched && response.get("sec-websocket-protocol").is_none() {
        stream.set_response_header("sec-websocket-protocol", protocol);
    }
}
