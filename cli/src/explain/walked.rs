//! What the filter does with a request: its own code, on a host in plain memory.

use std::rc::Rc;
use std::time::Duration;

use waykeeper::config::Policy;
use waykeeper::config::policy::{AgentId, OnFailure, Prefer, Route, Tables};
use waykeeper::host::simulated::{Process, SimulatedStream};
use waykeeper::host::{Host, LocalReply, StreamId};
use waykeeper::lifecycle::{Flow, Gateway};

use super::caller::now;
use super::request::Arrived;

/// So many bytes of a body come at once. What it comes to does not depend on that.
pub(super) const PIECE: usize = 16 << 10;

/// A request behind the filter.
pub(super) struct Walked {
    /// Its headers as they stand, with those of HTTP/2 for method, host and path.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    /// What has gone on of its body.
    pub(super) body: Vec<u8>,
    /// The agent that was chosen, where one was.
    pub(super) agent: Option<String>,
    pub(super) end: End,
}

/// What became of it.
pub(super) enum End {
    /// It goes on.
    Forwarded,
    /// The filter has answered it itself; `late`: a part of it had gone on before.
    Answered { reply: Box<LocalReply>, late: bool },
    /// It waits for something that does not come.
    Waits,
}

/// Walks a request through the filter. `to`: of those that may answer this one does.
///
/// # Errors
/// One line, where there is no filter with such a configuration.
pub(super) fn walk(
    policy: &Policy,
    arrived: &Arrived,
    to: Option<AgentId>,
) -> Result<Walked, String> {
    let mut policy = policy.clone();
    if let Some(agent) = to {
        policy
            .routes
            .iter_mut()
            .for_each(|route| prefer(route, agent));
    }
    policy.tables = Tables {
        keys: Tables::LEAST,
        counters: Tables::LEAST,
        address_counters: Tables::LEAST,
        responses: Tables::LEAST,
    };
    if let Some(fleet) = &mut policy.fleet {
        // Nobody is asked, and no limit is full.
        fleet.on_failure = OnFailure::Allow;
    }
    let process = Process::default();
    let host = Rc::new(process.worker());
    process.pass(now().saturating_sub(Duration::from_nanos(host.now().0)));
    host.refuse_callouts();
    let id = StreamId(1);
    let headers: Vec<(&str, &[u8])> = arrived
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    host.begin(id, &headers);
    let made = Gateway::new(Rc::clone(&host), policy);
    let (mut gateway, _) = made.map_err(|error| error.to_string())?;
    let mut body = arrived.body.as_deref().unwrap_or_default();
    let ends = body.is_empty() && !arrived.stays_open();
    let mut flow = gateway.on_request_headers(id, &host.io(id), ends);
    let (mut sent, mut at_hand): (Vec<u8>, Vec<u8>) = Default::default();
    let mut forwarded = flow == Flow::Continue;
    while !body.is_empty() && host.stream(id).reply.is_none() {
        let (new, rest) = body.split_at(PIECE.min(body.len()));
        body = rest;
        // Where the host collects it has all that came at hand, else the new piece alone.
        if flow == Flow::Collect {
            at_hand.extend(new);
        } else {
            sent.append(&mut at_hand);
            at_hand = new.to_vec();
        }
        host.send(id, &at_hand);
        flow = gateway.on_request_body(id, &host.io(id), at_hand.len(), body.is_empty());
        at_hand = host.stream(id).body;
        forwarded |= flow == Flow::Continue;
    }
    sent.append(&mut at_hand);
    let SimulatedStream {
        request,
        reply,
        notes,
        ..
    } = host.stream(id);
    let agent = agent_of(&request, &notes);
    let headers = request
        .into_iter()
        .map(|(name, value)| (String::from_utf8_lossy(&name).into_owned(), value));
    Ok(Walked {
        headers: headers.collect(),
        body: sent,
        agent,
        end: match (reply, forwarded) {
            (Some(reply), late) => End::Answered {
                reply: Box::new(reply),
                late,
            },
            (None, true) => End::Forwarded,
            (None, false) => End::Waits,
        },
    })
}

/// Has an agent answer all requests of a route that it may answer. The others keep a weight: they come behind it as before.
fn prefer(route: &mut Route, agent: AgentId) {
    let of_rules = route.rules.iter_mut().map(|rule| {
        rule.prefer = None;
        &mut rule.agents
    });
    for choice in of_rules.chain([&mut route.agents]).flatten() {
        choice.weight = match choice.agent == agent {
            true => u32::MAX,
            false => choice.weight.min(1),
        };
    }
    route.prefer = Prefer::Weighted;
    if let Some(canary) = &mut route.canary {
        canary.percent = if canary.agent == agent { 100 } else { 0 };
    }
}

/// The agent, as it is told itself, or else the access log.
fn agent_of(headers: &[(Vec<u8>, Vec<u8>)], notes: &[(Vec<u8>, Vec<u8>)]) -> Option<String> {
    let value = |all: &[(Vec<u8>, Vec<u8>)], name: &str| {
        let mut named = all.iter().filter(|(other, _)| other == name.as_bytes());
        named.next().map(|(_, value)| value.clone())
    };
    if let Some(agent) = value(headers, "x-waykeeper-agent") {
        return String::from_utf8(agent).ok();
    }
    let noted: serde_json::Value = serde_json::from_slice(&value(notes, "waykeeper")?).ok()?;
    noted.get("agent")?.as_str().map(str::to_owned)
}

impl Walked {
    /// The first value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        let mut headers = self.headers.iter();
        headers
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_slice())
    }
}
