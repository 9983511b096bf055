//! Each attempt at an agent, judged on the agent's side of Envoy's router: where a request is tried again, here or at another
//! agent, the caller's side sees the last attempt alone.
//!
//! A configuration of its own has the module do this and nothing else: it lets everything pass. Whose attempt it is stands in a
//! note of the caller's side, which is read only when it matters: there is none of a request that no gateway has decided on, such as
//! a copy for another agent, and what provokes that counts nothing.

use std::cell::OnceCell;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::health::{ASKED, Asked, Judged, Watched};
use super::judge::{judge, unknown};
use super::rest::read_note;
use crate::config::Attempts as Policy;
use crate::host::{Host, StreamId, StreamIo, Throttle};
use crate::state::State;
use crate::state::health::{Came, Probe};

/// The attempts at one agent, in one worker.
#[derive(Debug)]
pub struct Attempts<H> {
    host: Rc<H>,
    policy: Policy,
    /// The agent, once the gateway's configuration has come, which may be later.
    watched: OnceCell<Watched>,
    under_way: FxHashMap<StreamId, UnderWay>,
    log: Throttle,
}

/// One of them.
#[derive(Debug)]
struct UnderWay {
    asked: Asked,
    /// It has become the probe here, and not on the caller's side.
    probe: Option<Probe>,
}

impl<H: Host> Attempts<H> {
    /// Of the agent that this configuration names.
    pub fn new(host: Rc<H>, policy: Policy) -> Self {
        Self {
            host,
            policy,
            watched: OnceCell::new(),
            under_way: FxHashMap::default(),
            log: Throttle::default(),
        }
    }

    /// An attempt begins; `end`: all of the request is there. Where only a probe may come, it is the probe: on the caller's side nobody
    /// knows of those that come behind a request's first.
    pub fn on_request_headers(&mut self, id: StreamId, io: &H::Stream, end: bool) {
        let now = self.host.now();
        let mut asked = Asked::new(now, 0, None);
        if end {
            asked.is_sent(now);
        }
        let mut probe = None;
        if let Some(watched) = self.watched()
            && watched.is_due(&*self.host, now)
            && let Some(note) = io.noted(ASKED).and_then(|note| read_note(&note, watched))
        {
            (asked.attempt.client, asked.attempt.probe) = note;
            if note.1.is_none() {
                probe = watched.take_probe(&*self.host, note.0).ok().flatten();
                asked.attempt.probe = probe;
            }
        }
        self.under_way.insert(id, UnderWay { asked, probe });
        if end {
            self.keeps_probe(id);
        }
    }

    /// All of the request was handed over.
    pub fn on_request_end(&mut self, id: StreamId) {
        if let Some(under_way) = self.under_way.get_mut(&id) {
            under_way.asked.is_sent(self.host.now());
            self.keeps_probe(id);
        }
    }

    /// All of a request is there that has become the probe here.
    fn keeps_probe(&mut self, id: StreamId) {
        if let Some(probe) = self.under_way.get(&id).and_then(|it| it.probe)
            && let Some(watched) = self.watched()
            && let Err(error) = watched.hold(&*self.host, probe, true)
        {
            unknown(&self.log, &*self.host, error);
        }
    }

    /// The headers of the agent's answer have come; `end`: that is all.
    pub fn on_response_headers(&mut self, id: StreamId, io: &H::Stream, end: bool) {
        let host = Rc::clone(&self.host);
        if let Some(watched) = self.watched()
            && watched.is_held_against(&*host)
            && let Some(note) = io.noted(ASKED).and_then(|note| read_note(&note, watched))
            && let Some(UnderWay { asked, .. }) = self.under_way.get_mut(&id)
            && asked.attempt.client == 0
        {
            // It may be the probe.
            (asked.attempt.client, asked.attempt.probe) = note;
        }
        self.judge(id, io, |asked, policy| {
            asked.headers(&*host, io, &policy.rest)
        });
        if end {
            self.on_response_end(id, io);
        }
    }

    /// The agent's answer is whole.
    pub fn on_response_end(&mut self, id: StreamId, io: &H::Stream) {
        self.judge(id, io, |asked, _| asked.whole());
    }

    /// The attempt is over.
    pub fn on_end(&mut self, id: StreamId, io: &H::Stream) {
        let host = Rc::clone(&self.host);
        self.judge(id, io, |asked, policy| {
            if asked.is_judged() {
                return None;
            }
            asked.ends(&*host, io.attempt_end(asked.is_all_sent()), &policy.rest)
        });
        self.on_lost(id);
    }

    /// The attempt is over, and nothing is known of how it ended.
    pub fn on_lost(&mut self, id: StreamId) {
        if let Some(probe) = self.under_way.remove(&id).and_then(|it| it.probe)
            && let Some(watched) = self.watched()
            && let Err(error) = watched.give_back(&*self.host, probe)
        {
            // Where it was judged that would have changed nothing.
            unknown(&self.log, &*self.host, error);
        }
    }

    fn judge(
        &mut self,
        id: StreamId,
        io: &H::Stream,
        hear: impl FnOnce(&mut Asked, &Policy) -> Option<Judged>,
    ) {
        let Some(UnderWay { asked, .. }) = self.under_way.get_mut(&id) else {
            return;
        };
        let Some(judged) = hear(asked, &self.policy) else {
            return;
        };
        let mut attempt = asked.attempt;
        let Some(watched) = self.watched() else {
            return;
        };
        if judged.0 != Came::Answer && attempt.client == 0 {
            let note = io.noted(ASKED);
            let Some((client, probe)) = note.and_then(|note| read_note(&note, watched)) else {
                return;
            };
            (attempt.client, attempt.probe) = (client, probe);
        }
        judge(
            &self.log,
            &*self.host,
            &self.policy.agent,
            watched,
            &attempt,
            judged,
        );
    }

    fn watched(&self) -> Option<&Watched> {
        if self.watched.get().is_none() {
            let state = State::find(&*self.host).ok().flatten()?;
            let Policy {
                agent,
                cluster,
                rest,
            } = &self.policy;
            let watched = Watched::new(&state, agent, cluster, *rest);
            return Some(self.watched.get_or_init(|| watched));
        }
        self.watched.get()
    }
}
