//! Whose turn it is where agents may rest: to which of them a request may go, and whether it is the probe of one whose rest is over.
//!
//! Where an agent is judged by each attempt, a note with the request tells its own side who asks, and of which agent it is the probe.

use super::health::{ASKED, Asked, Watched};
use super::judge::{Answering, Rests};
use super::request::Request;
use super::walk::Walk;
use crate::config::policy::{AgentId, Choice, Prefer};
use crate::host::{Host, StreamIo, Timestamp, seconds_up};
use crate::reply::Refusal;
use crate::routing::{Turn, choose_rested};
use crate::state::health::{Probe, Standing};

impl<H: Host> Walk<H> {
    /// As `choose` does, where agents may rest.
    #[inline(never)]
    pub(super) fn choose_rested(
        &self,
        request: &Request,
        choices: &[Choice],
        prefer: Prefer,
        value: Option<&[u8]>,
    ) -> Result<AgentId, Refusal> {
        let agents = &self.shared.compiled.policy.agents;
        let wanted: Vec<&[u8]> = request.wanted_agents().collect();
        let draw = &|left: &[Choice]| self.draw(left, prefer);
        let turn = &mut |agent| self.turn(request, agent);
        let chosen = choose_rested(agents, choices, &wanted, value, draw, turn);
        chosen.map_err(Refusal::from)
    }

    /// Whether this request may go to this agent. If the agent has rested, and only one request may: it is the one from now on,
    /// until it is judged or over.
    pub(super) fn turn(&self, request: &Request, agent: AgentId) -> Turn {
        let host = &*self.shared.host;
        let Some(rests) = &self.shared.compiled.rests else {
            return Turn::Yes;
        };
        let Some(watched) = rests.of(agent) else {
            return Turn::Yes;
        };
        let standing = watched.standing(host).and_then(|standing| match standing {
            Standing::Due => match watched.take_probe(host, self.caller(request))? {
                Some(probe) => {
                    self.probes(agent, probe);
                    Ok(Standing::Fit)
                }
                None => watched.standing(host),
            },
            standing => Ok(standing),
        });
        match standing {
            Ok(Standing::Fit) => Turn::Yes,
            Ok(Standing::Due) => Turn::No(1),
            Ok(Standing::Rests(until)) => Turn::No(seconds_up(until.since(host.now())).max(1)),
            Err(error) => {
                rests.unknown(host, error);
                Turn::Yes
            }
        }
    }

    fn probes(&self, agent: AgentId, probe: Probe) {
        self.common.facts.borrow_mut().answering = Some(Box::new(Answering {
            agent,
            asked: Asked::new(Timestamp(0), 0, Some(probe)),
            forwarded: false,
        }));
    }

    /// The request goes on to its agent.
    #[inline(never)]
    pub(super) fn asks(&self, rests: &Rests, request: &Request) -> Result<(), Refusal> {
        let host = &*self.shared.host;
        let (chosen, is_watched, is_noted) = {
            let facts = self.common.facts.borrow();
            let next = facts.order.iter().flat_map(|it| it.all()).copied();
            let mut all = facts.agent.into_iter().chain(next);
            let each_attempt = |agent| rests.of(agent).is_some_and(|it| it.rest.each_attempt);
            let is_watched = all.clone().any(|agent| rests.of(agent).is_some());
            (facts.agent, is_watched, all.any(each_attempt))
        };
        let Some(agent) = chosen.filter(|_| is_watched) else {
            return Ok(());
        };
        let client = self.caller(request);
        let mut facts = self.common.facts.borrow_mut();
        let before = facts.answering.take();
        let probe = before.filter(|it| it.agent == agent);
        let probe = probe.and_then(|it| it.asked.attempt.probe);
        if is_noted {
            let note = note(client, rests.of(agent), probe);
            self.with_stream(|stream| stream.note(ASKED, &note))?;
        }
        let now = host.now();
        let mut asked = Asked::new(now, client, probe);
        if facts.body.has_ended() {
            asked.is_sent(now);
        }
        facts.answering = Some(Box::new(Answering {
            agent,
            asked,
            forwarded: true,
        }));
        self.shared.keeps_probe(&facts);
        Ok(())
    }
}

/// Who asks, and of which agent the request is the probe.
fn note(client: u64, watched: Option<&Watched>, probe: Option<Probe>) -> Vec<u8> {
    let (tag, rest, taken) = match watched.zip(probe) {
        Some((watched, probe)) => (watched.key.tag(), probe.rest.0, probe.taken.0),
        None => (0, 0, 0),
    };
    let words = [client, tag, rest, taken].map(u64::to_le_bytes);
    words.concat()
}

/// Who asks, and the probe that the request is of this agent, out of such a note.
pub(super) fn read_note(note: &[u8], watched: &Watched) -> Option<(u64, Option<Probe>)> {
    let (words, _) = note.as_chunks::<8>();
    let [client, tag, rest, taken] = <[[u8; 8]; 4]>::try_from(words)
        .ok()?
        .map(u64::from_le_bytes);
    let probe = Probe {
        rest: Timestamp(rest),
        taken: Timestamp(taken),
    };
    Some((client, (tag == watched.key.tag()).then_some(probe)))
}
