//! Who has given an answer of the Responses API, or has a task of A2A. A later request names it, and only who has given it knows it: so the answer's
//! name is read while it passes, and remembered with its agent and host before the caller can know it.

use std::borrow::Cow;
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
use crate::routing::{
    Answer, Known, Look, Names, Seen, Task, context_in_path, in_path, key_of_task, task_in_path,
};
use crate::state::responses::{Giver, Responses};
use crate::state::{OpenError, State};

/// What is kept of answers where something is sticky by them.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) table: Responses,
    names: Rc<Names>,
    tasks: Rc<Names>,
}

/// An answer whose name is to be remembered.
#[derive(Debug)]
pub(super) struct Learns {
    /// It, once its headers have come.
    answer: Option<Answer>,
    address: Vec<u8>,
    /// Of A2A.
    is_of_task: bool,
}

/// What is remembered of A2A, by its name.
const TASK: &str = "task";
const CONTEXT: &str = "context";

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
        let (Some(names), Some(tasks)) = (Names::new(), Names::of_tasks()) else {
            return Ok(None);
        };
        let table = Responses::open(host, state, policy.tables.responses)?;
        Ok(Some(Self {
            table,
            names,
            tasks,
        }))
    }
}

impl<H: Host> Walk<H> {
    /// Who has given the answer that the request names, in its path or in its body, to the same client; or who has its task.
    pub(super) fn giver(&self, request: &Request, facts: &Facts, way: &Sticky) -> Option<Giver> {
        let shared = &self.shared;
        let responses = shared.compiled.responses.as_ref()?;
        let client = facts.client.as_ref().map(|client| client.id.as_str());
        let look = facts.look.as_deref();
        let in_body = |known: fn(&Look) -> Known<Cow<'_, [u8]>>| match look.map(known) {
            Some(Known::Found(name)) => Some(name.into_owned()),
            _ => None,
        };
        let paths = [
            request.path(),
            facts.rewritten_path.as_deref().map(Vec::as_slice),
        ];
        let paths = paths.into_iter().flatten();
        let names: Vec<Vec<u8>> = if *way == Sticky::Task {
            let tasks = paths.filter_map(task_in_path).chain(in_body(Look::task));
            let tasks = tasks.map(|name| key_of_task(TASK, &name));
            let context = request.path().and_then(context_in_path);
            let contexts = context.into_iter().chain(in_body(Look::context));
            let contexts = contexts.map(|name| key_of_task(CONTEXT, &name));
            tasks.chain(contexts).collect()
        } else {
            let in_paths = paths.filter_map(|path| in_path(path)?).map(<[u8]>::to_vec);
            in_paths.chain(in_body(Look::named)).collect()
        };
        names.iter().find_map(|name| {
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

/// What is to be remembered of the answer to this request, which goes on now.
pub(super) fn will_learn(
    compiled: &Compiled,
    facts: &Facts,
    path: Option<&[u8]>,
) -> Option<Box<Learns>> {
    compiled.responses.as_ref()?;
    let route = facts
        .route
        .and_then(|id| compiled.route(id)?.sticky.as_ref());
    let agent = facts
        .agent
        .and_then(|id| compiled.policy.agents.get(id.0)?.sticky.as_ref());
    let has = |way| {
        [route, agent]
            .into_iter()
            .flatten()
            .any(|it| it.ways().contains(&way))
    };
    let paths = [path, facts.rewritten_path.as_deref().map(Vec::as_slice)];
    let mut paths = paths.into_iter().flatten();
    let names_response = has(Sticky::Response) && paths.any(|path| in_path(path).is_some());
    let is_of_task = !names_response && has(Sticky::Task);
    (names_response || is_of_task).then(|| {
        Box::new(Learns {
            answer: None,
            address: Vec::new(),
            is_of_task,
        })
    })
}

impl<H: Host> Shared<H> {
    /// The headers of an answer have come whose name is to be remembered.
    #[inline(never)]
    pub(super) fn learn_from(&self, io: &H::Stream, facts: &mut Facts, answered: Answered) {
        let is_of_task = facts.learns.as_ref().is_some_and(|it| it.is_of_task);
        facts.learns = self.learns(io, answered, is_of_task).map(Box::new);
    }

    fn learns(&self, io: &H::Stream, answered: Answered, is_of_task: bool) -> Option<Learns> {
        let responses = self.compiled.responses.as_ref()?;
        let is_good = io.response_header(":status")?.first() == Some(&b'2');
        let is_plain = io.response_header("content-encoding").is_none();
        if answered != Answered::ByAgent || !is_good || !is_plain {
            return None;
        }
        Some(Learns {
            answer: Some(Answer::new(
                match is_of_task {
                    true => &responses.tasks,
                    false => &responses.names,
                },
                &io.response_header("content-type")?,
            )?),
            address: io.agent_address().unwrap_or_default(),
            is_of_task,
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
                Seen::Task(Task { task, context }) => {
                    for (kind, name) in [(TASK, task), (CONTEXT, context)] {
                        if let Some(name) = name {
                            let name = key_of_task(kind, name.as_bytes());
                            self.remember(facts, &name, &learns.address);
                        }
                    }
                    if task.is_some() {
                        return;
                    }
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
