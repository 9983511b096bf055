//! Who has given an answer of the Responses API. A later request names it, and only who has given it knows it: so the answer's
//! name is read while it passes, and remembered with its agent and host before the caller can know it.

use std::rc::Rc;

use super::choose::MOST_AT_ONCE;
use super::compiled::Compiled;
use super::request::Request;
use super::shared::Shared;
use super::stream::{Answered, Facts};
use super::walk::Walk;
use crate::config::Policy;
use crate::config::policy::{Agent, Sticky};
use crate::host::{Host, StreamIo};
use crate::routing::{Answer, Known, Names, Seen, in_path};
use crate::state::responses::{Giver, Responses};
use crate::state::{OpenError, State};

/// What is kept of answers where something is sticky by them.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) table: Responses,
    names: Rc<Names>,
}

/// An answer whose name is to be remembered.
#[derive(Debug, Default)]
pub(super) struct Learns {
    /// It, once its headers have come.
    answer: Option<Answer>,
    address: Vec<u8>,
}

impl Kept {
    /// `None`: nothing is sticky by answers.
    pub(super) fn new<H: Host>(
        host: &H,
        policy: &Policy,
        state: &State,
    ) -> Result<Option<Self>, OpenError> {
        if !Sticky::all(policy).any(Sticky::names_responses) {
            return Ok(None);
        }
        let Some(names) = Names::new() else {
            return Ok(None);
        };
        let table = Responses::open(host, state, policy.tables.responses)?;
        Ok(Some(Self { table, names }))
    }
}

fn names_responses(sticky: Option<&Sticky>) -> bool {
    sticky.is_some_and(Sticky::names_responses)
}

impl<H: Host> Walk<H> {
    /// Who has given the answer that the request names, in its path or in its body, to the same client.
    pub(super) fn giver(&self, request: &Request, facts: &Facts) -> Option<Giver> {
        let shared = &self.shared;
        let responses = shared.compiled.responses.as_ref()?;
        let client = facts.client.as_ref().map(|client| client.id.as_str());
        let in_body = match facts.look.as_deref().map(|look| look.named()) {
            Some(Known::Found(name)) => Some(name),
            _ => None,
        };
        let paths = [
            request.path(),
            facts.rewritten_path.as_deref().map(Vec::as_slice),
        ];
        let in_paths = paths
            .into_iter()
            .flatten()
            .filter_map(|path| in_path(path)?);
        let mut names = in_paths.chain(in_body.as_deref());
        names.find_map(|name| {
            let key = responses.table.key(client, name);
            let found = responses.table.find(&*shared.host, key);
            found.unwrap_or_else(|error| {
                shared.telemetry.responses_unavailable(&*shared.host, error);
                None
            })
        })
    }

    /// Whether it was this agent.
    pub(super) fn is_by(&self, giver: &Giver, agent: &Agent) -> bool {
        let responses = self.shared.compiled.responses.as_ref();
        responses.is_some_and(|it| it.table.is_by(giver, &agent.name))
    }
}

/// Whether the answer to this request, which goes on now, is to be remembered.
pub(super) fn will_learn(compiled: &Compiled, facts: &Facts, path: Option<&[u8]>) -> bool {
    if compiled.responses.is_none() {
        return false;
    }
    let route = facts
        .route
        .and_then(|id| compiled.route(id)?.sticky.as_ref());
    let agent = facts
        .agent
        .and_then(|id| compiled.policy.agents.get(id.0)?.sticky.as_ref());
    let paths = [path, facts.rewritten_path.as_deref().map(Vec::as_slice)];
    let mut paths = paths.into_iter().flatten();
    (names_responses(route) || names_responses(agent)) && paths.any(|path| in_path(path).is_some())
}

impl<H: Host> Shared<H> {
    /// The headers of an answer have come whose name is to be remembered.
    #[inline(never)]
    pub(super) fn learn_from(&self, io: &H::Stream, facts: &mut Facts, answered: Answered) {
        facts.learns = self.learns(io, answered).map(Box::new);
    }

    fn learns(&self, io: &H::Stream, answered: Answered) -> Option<Learns> {
        let responses = self.compiled.responses.as_ref()?;
        let is_good = io.response_header(":status")?.first() == Some(&b'2');
        let is_plain = io.response_header("content-encoding").is_none();
        if answered != Answered::ByAgent || !is_good || !is_plain {
            return None;
        }
        Some(Learns {
            answer: Some(Answer::new(
                &responses.names,
                &io.response_header("content-type")?,
            )?),
            address: io.agent_address().unwrap_or_default(),
        })
    }

    /// So many bytes of the answer pass.
    #[inline(never)]
    pub(super) fn learn(&self, io: &H::Stream, facts: &mut Facts, size: usize) {
        let Some(mut learns) = facts.learns.take() else {
            return;
        };
        let Some(answer) = &mut learns.answer else {
            return;
        };
        let mut start = 0;
        while start < size {
            let most = MOST_AT_ONCE.min(size - start);
            let piece = io.response_body(start, most).unwrap_or_default();
            start += piece.len();
            match answer.feed(&piece) {
                Seen::Nothing if piece.is_empty() => return,
                Seen::Nothing => {}
                Seen::NoName => return,
                Seen::Name(name) => {
                    return self.remember(facts, name.as_bytes(), &learns.address);
                }
            }
        }
        facts.learns = Some(learns);
    }

    fn remember(&self, facts: &Facts, name: &[u8], address: &[u8]) {
        let (host, compiled) = (&*self.host, &self.compiled);
        let agent = facts.agent.and_then(|id| compiled.policy.agents.get(id.0));
        let (Some(responses), Some(agent)) = (&compiled.responses, agent) else {
            return;
        };
        let client = facts.client.as_ref().map(|client| client.id.as_str());
        let key = responses.table.key(client, name);
        let remembered = responses.table.remember(host, key, &agent.name, address);
        if let Err(error) = remembered {
            self.telemetry.responses_unavailable(host, error);
        }
    }
}
